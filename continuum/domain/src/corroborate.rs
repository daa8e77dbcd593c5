//! A second opinion before an automatic failover: whether the name that says a region is well still
//! answers, as several resolvers see it.
//!
//! It is never a lock. Resolvers keep answers, so what they say may be as old as the name's time to
//! live; and where they do not answer, nothing is known. So it can speak against a failover, and never
//! for one: whatever it says, nobody takes over who could not without it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::duration_text;
use crate::mutation::{Bug, planted};

/// The port of a resolver that names none.
const DNS_PORT: u16 = 53;
/// Resolvers asked at most.
const RESOLVERS_MAX: usize = 7;
/// Bounds of `deadline`: below, a healthy resolver far away may miss it; above, a failover would wait.
const DEADLINE_MIN: Duration = Duration::from_millis(100);
const DEADLINE_MAX: Duration = Duration::from_secs(5);

/// A recursive resolver: an address, and a port if not 53.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct Resolver(pub SocketAddr);

impl FromStr for Resolver {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, DNS_PORT));
        let address = address.or_else(|_| text.parse::<SocketAddr>());
        address.ok().filter(|address| address.port() != 0).map(Self).ok_or_else(|| {
            format!("{text:?} is not a resolver; write its IP address, as 9.9.9.9 or [::1]:5353")
        })
    }
}

impl TryFrom<String> for Resolver {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Resolver> for String {
    fn from(resolver: Resolver) -> Self {
        resolver.to_string()
    }
}

impl fmt::Display for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.port() == DNS_PORT { self.0.ip().fmt(f) } else { self.0.fmt(f) }
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The members' health names, at resolvers.
    #[default]
    Dns,
}

/// What comes of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CorroborationEffect {
    /// It is recorded, and nothing else.
    #[default]
    Annotate,
    /// While the name answers, nobody fails over automatically. A person still can.
    Veto,
}

/// How a pair asks for a second opinion: `"dns"`, or what differs from its defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Corroborate {
    /// What is asked.
    pub by: Source,
    /// What comes of the answer.
    pub effect: CorroborationEffect,
    /// Who is asked.
    pub resolvers: Vec<Resolver>,
    /// How many must say the same; by default the smallest majority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agree: Option<usize>,
    /// How long an answer is waited for.
    #[serde(with = "duration_text")]
    pub deadline: Duration,
}

impl JsonSchema for Corroborate {
    fn schema_name() -> Cow<'static, str> {
        "Corroborate".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<Table>();
        json_schema!({
            "description": "A second opinion before an automatic failover: `\"dns\"` with its defaults, or a table.",
            "anyOf": [{ "const": "dns" }, table],
        })
    }
}

impl Default for Corroborate {
    fn default() -> Self {
        Self {
            by: Source::Dns,
            effect: CorroborationEffect::default(),
            resolvers: default_resolvers(),
            agree: None,
            deadline: default_deadline(),
        }
    }
}

fn default_resolvers() -> Vec<Resolver> {
    let addresses = [[8, 8, 8, 8], [1, 1, 1, 1], [9, 9, 9, 9]];
    let resolver = |address| Resolver(SocketAddr::new(Ipv4Addr::from(address).into(), DNS_PORT));
    addresses.into_iter().map(resolver).collect()
}

fn default_deadline() -> Duration {
    Duration::from_secs(1)
}

impl<'de> Deserialize<'de> for Corroborate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOrTable)
    }
}

/// The long form.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CorroborateTable")]
struct Table {
    /// What is asked.
    by: Source,
    /// What comes of the answer.
    #[serde(default)]
    effect: CorroborationEffect,
    /// Who is asked.
    #[serde(default = "default_resolvers")]
    resolvers: Vec<Resolver>,
    /// How many must say the same; by default the smallest majority.
    #[serde(default)]
    agree: Option<usize>,
    /// How long an answer is waited for.
    #[serde(default = "default_deadline", with = "duration_text")]
    #[schemars(with = "String")]
    deadline: Duration,
}

/// Reads `"dns"` and the long form alike, so that what is wrong is said of the form that was used.
struct WordOrTable;

impl<'de> Visitor<'de> for WordOrTable {
    type Value = Corroborate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"dns\", or a table with by, effect, resolvers, agree and deadline")
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Corroborate, E> {
        match word {
            "dns" => Ok(Corroborate::default()),
            other => Err(E::custom(format!("{other:?} can not corroborate; \"dns\" can"))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Corroborate, A::Error> {
        let table =
            Table::deserialize(MapAccessDeserializer::new(map)).map_err(A::Error::custom)?;
        let Table { by, effect, resolvers, agree, deadline } = table;
        Ok(Corroborate { by, effect, resolvers, agree, deadline })
    }
}

impl Corroborate {
    /// How many resolvers must say the same.
    pub fn needed(&self) -> usize {
        self.agree.unwrap_or(self.resolvers.len() / 2 + 1)
    }

    /// What is wrong with it, with the field's name.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let resolvers = self.resolvers.len();
        if !(1..=RESOLVERS_MAX).contains(&resolvers) {
            return Err(("resolvers", format!("1 to {RESOLVERS_MAX} resolvers are accepted")));
        }
        let distinct: BTreeSet<_> = self.resolvers.iter().collect();
        if distinct.len() != resolvers {
            return Err(("resolvers", "the same resolver twice would count twice".into()));
        }
        let needed = self.needed();
        if needed > resolvers || needed * 2 <= resolvers {
            let least = resolvers / 2 + 1;
            let why = format!("must be a majority of the {resolvers} resolvers: {least} or more");
            return Err(("agree", why));
        }
        if !(DEADLINE_MIN..=DEADLINE_MAX).contains(&self.deadline) {
            return Err(("deadline", "100ms to 5s is accepted".into()));
        }
        Ok(())
    }
}

/// Why `name` is no host name that could be asked for, if so.
pub fn name_problem(name: &str) -> Option<String> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(allowed)
    };
    let well = bare.len() <= 253 && bare.contains('.') && bare.split('.').all(label);
    (!well).then(|| format!("{name:?} is not a full host name such as health.fsn.example.net"))
}

/// What is known of a health name. Unknown is neither of the others (I7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NameState {
    /// It has an address.
    Up,
    /// It certainly has none.
    Down,
    /// Nobody said, or what was said proves nothing; or a word of another version.
    #[default]
    #[serde(other)]
    Unknown,
}

impl NameState {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

/// What one resolver said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResolverAnswer {
    /// What it makes of the name.
    pub state: NameState,
    /// For people: the addresses, or why there are none.
    pub detail: String,
}

impl ResolverAnswer {
    /// An answer from its parts.
    pub fn new(state: NameState, detail: impl Into<String>) -> Self {
        Self { state, detail: detail.into() }
    }
}

/// What several resolvers say together: up or down when as many as `needed` agree, else unknown. An
/// answer that did not come is no answer.
pub fn verdict(answers: &BTreeMap<Resolver, ResolverAnswer>, needed: usize) -> NameState {
    let count = |state| answers.values().filter(|answer| answer.state == state).count();
    let down = count(NameState::Down)
        + if planted(Bug::UnknownIsDown) { count(NameState::Unknown) } else { 0 };
    if count(NameState::Up) >= needed {
        NameState::Up
    } else if down >= needed {
        NameState::Down
    } else {
        NameState::Unknown
    }
}

/// A second opinion as it is recorded and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Corroboration {
    /// The name that was asked for.
    pub name: String,
    /// What the resolvers say together.
    pub verdict: NameState,
    /// What each of them said.
    pub answers: BTreeMap<Resolver, ResolverAnswer>,
    /// Milliseconds since they were asked.
    pub age_ms: u64,
}

impl fmt::Display for Corroboration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, verdict, answers, age_ms } = self;
        let said = |(resolver, answer): (&Resolver, &ResolverAnswer)| {
            format!("{resolver} {}: {}", answer.state.word(), answer.detail)
        };
        let said: Vec<String> = answers.iter().map(said).collect();
        let (verdict, said) = (verdict.word(), said.join("; "));
        write!(f, "health name {name}: {verdict}, asked {age_ms} ms ago ({said})")
    }
}

#[cfg(test)]
#[path = "corroborate_tests.rs"]
mod tests;
