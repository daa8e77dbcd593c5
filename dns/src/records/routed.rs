//! Records beyond plain addresses: services, and addresses that a provider chooses among.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use continuum_domain::name_spec::absolute;
use continuum_domain::spec::Service;

use crate::lua::Family;

/// One SRV record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Srv {
    /// Lower ones are tried first.
    pub priority: u16,
    /// Share among those of one priority.
    pub weight: u16,
    /// Port.
    pub port: u16,
    /// The host, with its last dot.
    pub target: String,
}

impl From<&Service> for Srv {
    fn from(service: &Service) -> Self {
        let Service { priority, weight, port, target } = service;
        Self { priority: *priority, weight: *weight, port: port.get(), target: absolute(target) }
    }
}

/// As a zone file has it.
impl fmt::Display for Srv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.priority, self.weight, self.port, self.target)
    }
}

impl FromStr for Srv {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [priority, weight, port, target] = words[..] else { return Err(()) };
        let number = |word: &str| word.parse::<u16>().map_err(drop);
        let (priority, weight, port) = (number(priority)?, number(weight)?, number(port)?);
        Ok(Self { priority, weight, port, target: target.to_owned() })
    }
}

/// By which rule a provider answers a set of addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// While its health check passes, or none does.
    Primary,
    /// When the primary's health check fails.
    Secondary,
    /// With this share.
    Weight(u64),
    /// One that we never write, by its name.
    Other(String),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primary => f.write_str("primary"),
            Self::Secondary => f.write_str("secondary"),
            Self::Weight(weight) => write!(f, "weight={weight}"),
            Self::Other(name) => write!(f, "rule={name}"),
        }
    }
}

/// Addresses among which a provider chooses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Routed {
    /// What the provider tells it from its siblings by; ours are regions.
    pub id: String,
    /// The rule.
    pub rule: Rule,
    /// The provider's health check.
    pub health_check: Option<String>,
    /// A and AAAA.
    pub addresses: BTreeSet<IpAddr>,
}

impl Routed {
    /// Whether it is what should be answered, rather than what may be when that fails.
    pub fn is_preferred(&self) -> bool {
        match self.rule {
            Rule::Primary => true,
            Rule::Weight(weight) => weight > 0,
            Rule::Secondary | Rule::Other(_) => false,
        }
    }

    /// Each address as `TYPE content`, with its rule behind it.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.addresses.iter().map(|address| {
            let check = self.health_check.as_ref().map(|id| format!(" check={id}"));
            let (kind, check) = (Family::of(address).record_type(), check.unwrap_or_default());
            format!("{kind} {address} id={} {}{check}", self.id, self.rule)
        })
    }

    /// Reads one line of [`Routed::lines`], without its type.
    pub fn read(content: &str) -> Option<Self> {
        let mut words = content.split(' ');
        let addresses = [words.next()?.parse().ok()?].into();
        let id = words.next()?.strip_prefix("id=")?.to_owned();
        let rule = match words.next()? {
            "primary" => Rule::Primary,
            "secondary" => Rule::Secondary,
            word => match word.split_once('=')? {
                ("weight", weight) => Rule::Weight(weight.parse().ok()?),
                ("rule", name) => Rule::Other(name.to_owned()),
                _ => return None,
            },
        };
        let health_check = match words.next() {
            None => None,
            Some(word) => Some(word.strip_prefix("check=")?.to_owned()),
        };
        words.next().is_none().then_some(Self { id, rule, health_check, addresses })
    }
}

/// Adds to the set of the same id, rule and check, so that equal records are equal sets.
pub fn insert(sets: &mut BTreeSet<Routed>, mut routed: Routed) {
    let same = |other: &Routed| {
        (&other.id, &other.rule, &other.health_check)
            == (&routed.id, &routed.rule, &routed.health_check)
    };
    if let Some(stands) = sets.iter().find(|other| same(other)).cloned() {
        sets.remove(&stands);
        routed.addresses.extend(stands.addresses);
    }
    sets.insert(routed);
}
