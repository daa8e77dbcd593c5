//! Names that follow a pair's lease, as its spec says them.
//!
//! A name without a provider is answered by the embedded name servers, from the lease itself. A
//! name with one is a set of records at a name server of others, written by the holder's agent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::corroborate::{Resolver, name_problem};
use crate::duration_text;
use crate::ids::RegionId;
use crate::name_kind::{NameKind, Routing, Service};

/// Longest time to live; longer ones would hide a move for too long.
const TTL_MAX: Duration = Duration::from_secs(3600);
/// Authorities that are asked at most.
const AUTHORITIES_MAX: usize = 16;

/// How a name at a provider follows the lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NamePolicy {
    /// Only addresses that are right now are in the records; they are written anew when that changes.
    #[default]
    Flip,
    /// All members are in the records and the server probes each one's lease-gated URL: LUA records.
    Follow,
}

/// Whom a name leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NameRole {
    /// The holder.
    #[default]
    Primary,
    /// Standbys that are known to be at most `lag_max` behind.
    Standby,
}

/// What a name says while its pair is paused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WhilePaused {
    /// What it said before: an address where nobody answers.
    #[default]
    Keep,
    /// Nothing: the name is there and has no records.
    Nodata,
    /// `paused_addresses`, where somebody says that the pair is paused.
    Answer,
}

/// What a newer PowerDNS knows. An older one says nothing about it and answers any address instead.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum LuaFeature {
    /// `backupSelector='empty'`: no answer rather than a wrong one when nothing is up.
    EmptyBackup,
    /// `failOnIncompleteCheck`: no answer rather than the backup's before the first check ended.
    FailOnIncomplete,
}

/// A name that clients use. All but `name` and `ttl` is for names at a provider (and, for an embedded
/// one with authorities, what these should serve), and left out of what is sent where it is not used, so
/// that agents which do not know it understand the spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NameSpec {
    /// Fully qualified name.
    pub name: String,
    /// Time to live of the records.
    #[serde(with = "duration_text")]
    #[schemars(with = "String")]
    pub ttl: Duration,
    /// Who keeps the records: a `name_provider` of the agents' files. Without one the embedded name
    /// servers answer for the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The zone that it lies in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Whom it leads to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub role: NameRole,
    /// `role = "standby"`: a standby further behind is left out.
    #[serde(default, with = "duration_text::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub lag_max: Option<Duration>,
    /// How it follows.
    #[serde(default, skip_serializing_if = "is_default")]
    pub policy: NamePolicy,
    /// `policy = "follow"`: the port of every agent's `listen_health`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_port: Option<NonZeroU16>,
    /// `policy = "follow"`: what the server is new enough for.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lua: BTreeSet<LuaFeature>,
    /// Servers that are asked whether they serve it; those of the provider without any, and nobody
    /// without a provider.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<Resolver>,
    /// What stands there.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: NameKind,
    /// Where clients reach each member.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub addresses: BTreeMap<RegionId, BTreeSet<IpAddr>>,
    /// `kind = "cname"`: the name that each member is reached by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<RegionId, String>,
    /// `kind = "srv"`: where each member's PostgreSQL is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<RegionId, Service>,
    /// How a provider that has health checks of its own chooses.
    #[serde(default, skip_serializing_if = "is_default")]
    pub routing: Routing,
    /// The provider's health check of each member's lease-gated URL, by its id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub health_checks: BTreeMap<RegionId, String>,
    /// What it says while the pair is paused.
    #[serde(default, skip_serializing_if = "is_default")]
    pub while_paused: WhilePaused,
    /// `while_paused = "answer"`: the addresses it has meanwhile.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub paused_addresses: BTreeSet<IpAddr>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A fully qualified name in one form: in lower case, with its last dot.
pub fn absolute(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.').to_ascii_lowercase())
}

impl NameSpec {
    /// A name that the embedded name servers answer for.
    pub fn new(name: impl Into<String>, ttl: Duration) -> Self {
        Self {
            name: name.into(),
            ttl,
            provider: None,
            zone: None,
            role: NameRole::default(),
            lag_max: None,
            policy: NamePolicy::default(),
            health_port: None,
            lua: BTreeSet::new(),
            authorities: Vec::new(),
            kind: NameKind::default(),
            addresses: BTreeMap::new(),
            targets: BTreeMap::new(),
            services: BTreeMap::new(),
            routing: Routing::default(),
            health_checks: BTreeMap::new(),
            while_paused: WhilePaused::default(),
            paused_addresses: BTreeSet::new(),
        }
    }

    /// A name at a provider: the writer's, with these addresses.
    pub fn at_provider(
        name: impl Into<String>,
        ttl: Duration,
        (provider, zone): (&str, &str),
        addresses: BTreeMap<RegionId, BTreeSet<IpAddr>>,
    ) -> Self {
        let (provider, zone) = (Some(provider.to_owned()), Some(zone.to_owned()));
        Self { provider, zone, addresses, ..Self::new(name, ttl) }
    }

    /// Whether agents tell how it stands: it is written by them, or its authorities are asked by them.
    pub fn is_followed(&self) -> bool {
        self.provider.is_some() || !self.authorities.is_empty()
    }

    /// Checks what the types cannot; the error is the field and what is accepted there.
    pub(crate) fn check<'a>(
        &self,
        members: impl Iterator<Item = &'a RegionId> + Clone,
    ) -> Result<(), (String, String)> {
        let fail = |field: &str, problem: &str| Err((field.to_owned(), problem.to_owned()));
        if self.provider.is_none() {
            return self.check_embedded(members);
        }
        if self.provider.as_ref().is_some_and(|name| name.trim().is_empty()) {
            return fail("provider", "must not be empty");
        }
        self.check_place()?;
        if self.ttl.subsec_nanos() != 0 || self.ttl.is_zero() || self.ttl > TTL_MAX {
            return fail("ttl", "must be whole seconds, 1s to 1h");
        }
        match (self.role, self.lag_max) {
            (NameRole::Standby, None) => {
                return fail("lag_max", "is needed with role \"standby\"");
            }
            (NameRole::Standby, Some(lag)) if lag.is_zero() => {
                return fail("lag_max", "must be longer than zero");
            }
            (NameRole::Primary, Some(_)) => {
                return fail("lag_max", "is only for role \"standby\"");
            }
            _ => {}
        }
        match (self.while_paused, self.paused_addresses.is_empty()) {
            (WhilePaused::Answer, true) => {
                return fail("paused_addresses", "is needed with while_paused \"answer\"");
            }
            (WhilePaused::Keep | WhilePaused::Nodata, false) => {
                return fail("paused_addresses", "is only for while_paused \"answer\"");
            }
            (WhilePaused::Answer, false) if self.kind != NameKind::Address => {
                return fail("while_paused", "\"answer\" is only for names of kind \"address\"");
            }
            (WhilePaused::Answer, false) if self.routing != Routing::Simple => {
                return fail("while_paused", "\"answer\" is only for routing \"simple\"");
            }
            _ => {}
        }
        self.check_kind(members)?;
        self.check_policy()
    }

    /// A name that the embedded servers answer for. What they and their secondaries should serve is told
    /// only for whoever looks: they have it from their own file.
    fn check_embedded<'a>(
        &self,
        members: impl Iterator<Item = &'a RegionId> + Clone,
    ) -> Result<(), (String, String)> {
        let mut plain = Self::new(self.name.clone(), self.ttl);
        let is_watched = self.is_followed();
        if is_watched {
            plain = Self {
                zone: self.zone.clone(),
                authorities: self.authorities.clone(),
                kind: self.kind,
                addresses: self.addresses.clone(),
                targets: self.targets.clone(),
                services: self.services.clone(),
                ..plain
            };
        }
        if let Some(field) = self.beyond(&plain) {
            let what = match is_watched {
                true => "is only for names at a provider",
                false => "is only for names at a provider or with authorities",
            };
            return Err((field.into(), what.into()));
        }
        if is_watched {
            self.check_place()?;
            self.check_kind(members)?;
        }
        Ok(())
    }

    /// The zone it lies in, and who is asked.
    fn check_place(&self) -> Result<(), (String, String)> {
        let fail = |field: &str, problem: String| Err((field.to_owned(), problem));
        if let Some(problem) = name_problem(&self.name) {
            return fail("name", problem);
        }
        let Some(zone) = &self.zone else {
            return fail("zone", "is needed: the zone that the name lies in".into());
        };
        let (name, zone) = (absolute(&self.name), absolute(zone));
        if !name.strip_suffix(&zone).is_some_and(|below| below.ends_with('.')) {
            return fail("name", format!("must lie under the zone {zone}"));
        }
        if self.authorities.len() > AUTHORITIES_MAX {
            return fail("authorities", format!("at most {AUTHORITIES_MAX} are accepted"));
        }
        Ok(())
    }

    /// The first field that differs from a name without a provider.
    fn beyond(&self, plain: &Self) -> Option<&'static str> {
        let fields = [
            ("zone", self.zone != plain.zone),
            ("role", self.role != plain.role),
            ("lag_max", self.lag_max != plain.lag_max),
            ("policy", self.policy != plain.policy),
            ("health_port", self.health_port != plain.health_port),
            ("lua", self.lua != plain.lua),
            ("authorities", self.authorities != plain.authorities),
            ("kind", self.kind != plain.kind),
            ("addresses", self.addresses != plain.addresses),
            ("targets", self.targets != plain.targets),
            ("services", self.services != plain.services),
            ("routing", self.routing != plain.routing),
            ("health_checks", self.health_checks != plain.health_checks),
            ("while_paused", self.while_paused != plain.while_paused),
            ("paused_addresses", self.paused_addresses != plain.paused_addresses),
        ];
        fields.into_iter().find(|(_, differs)| *differs).map(|(field, _)| field)
    }

    fn check_policy(&self) -> Result<(), (String, String)> {
        let fail = |field: &str, problem: &str| Err((field.to_owned(), problem.to_owned()));
        if self.policy == NamePolicy::Flip {
            return match (self.health_port, self.lua.is_empty()) {
                (Some(_), _) => fail("health_port", "is only for policy \"follow\""),
                (None, false) => fail("lua", "is only for policy \"follow\""),
                (None, true) => Ok(()),
            };
        }
        if self.health_port.is_none() {
            return fail(
                "health_port",
                "is needed with policy \"follow\": the agents' listen_health",
            );
        }
        let common = |is_v4: bool| {
            self.addresses.values().all(|listed| listed.iter().any(|one| one.is_ipv4() == is_v4))
        };
        if common(true) || common(false) {
            return Ok(());
        }
        fail("addresses", "policy \"follow\" needs an IPv4 or an IPv6 address of every member")
    }
}

/// The standbys that a read-only name lists, from how far each is known to be behind. One that is not
/// listed comes back only when it is well below the bound, so that one at the bound does not make the
/// records change with every look; an unknown lag is not a small one.
pub fn readers(
    lags: &BTreeMap<RegionId, Option<Duration>>,
    lag_max: Duration,
    listed: &BTreeSet<RegionId>,
) -> BTreeSet<RegionId> {
    let near = |(region, lag): &(&RegionId, &Option<Duration>)| {
        let bound = if listed.contains(*region) { lag_max } else { lag_max / 2 };
        lag.is_some_and(|lag| lag <= bound)
    };
    lags.iter().filter(near).map(|(region, _)| region.clone()).collect()
}
