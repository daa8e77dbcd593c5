//! Configuration of the embedded name server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use continuum_domain::corroborate::Resolver;
use continuum_domain::spec::{NameKind, NameSpec, Service};
use continuum_domain::{PairId, RegionId, duration_text};
use hickory_proto::rr::{LowerName, Name};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Longest time to live; longer ones would hide a failover for too long.
const TTL_MAX: Duration = Duration::from_secs(3600);
/// A read of the witness gets half of `max_age`, between these bounds.
const READ_DEADLINE_MIN: Duration = Duration::from_millis(200);
const READ_DEADLINE_MAX: Duration = Duration::from_secs(2);
/// Names of a zone that is transferred, at most: a transfer stays one of megabytes.
const TRANSFERRED_NAMES_MAX: usize = 10_000;
/// Shortest time for which secondaries go on without this server.
const EXPIRE_MIN: Duration = Duration::from_secs(3600);

/// Configuration of an embedded name server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsConfig {
    /// Its name: the certificate must carry `<name>.dns.continuum.internal`.
    pub name: String,
    /// Address for questions, UDP and TCP, `host:port`; port 0 takes any.
    pub listen_dns: String,
    /// Address for publishing, gRPC over mutual TLS, `host:port`; port 0 takes any.
    pub listen_rpc: String,
    /// The zone it is the authority for.
    pub zone: String,
    /// Names in the zone that follow a pair's lease.
    pub names: Vec<NameConfig>,
    /// Time between two reads of a pair's register.
    #[serde(default = "default_poll", with = "duration_text")]
    pub poll: Duration,
    /// What is known of a pair counts as unknown when it is older than this.
    #[serde(default = "default_max_age", with = "duration_text")]
    pub max_age: Duration,
    /// Counts changes of this zone's configuration where it has secondaries: the high part of the
    /// serial. One more with each change of a name, an address or a ttl, the same at every server
    /// of the zone.
    #[serde(default)]
    pub edition: u32,
    /// What the zone's NS records say. Without any it is this server itself, as `ns` in the zone.
    #[serde(default)]
    pub name_servers: Vec<NameServerConfig>,
    /// Servers that this one is the hidden primary of.
    #[serde(default)]
    pub secondaries: Vec<SecondaryConfig>,
    /// How long secondaries go on answering while no primary can be reached.
    #[serde(default = "default_expire", with = "duration_text")]
    pub expire: Duration,
}

/// A name server as the zone's NS records and the delegation list it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameServerConfig {
    /// Fully qualified name.
    pub name: String,
    /// Its addresses, when the name lies in the zone.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
}

/// A server that transfers the zone from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecondaryConfig {
    /// Where it takes NOTIFY.
    pub address: Resolver,
    /// File with the TSIG key that it signs by and that NOTIFY is signed by, as `tsig-keygen`
    /// writes it.
    pub key_file: PathBuf,
}

fn default_expire() -> Duration {
    Duration::from_secs(7 * 24 * 3600)
}

fn default_poll() -> Duration {
    Duration::from_millis(100)
}

fn default_max_age() -> Duration {
    Duration::from_secs(2)
}

/// A name that points at the holder of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameConfig {
    /// Fully qualified name.
    pub name: String,
    /// The pair whose holder it points at.
    pub pair: PairId,
    /// Time to live of the answers, whole seconds.
    #[serde(with = "duration_text")]
    pub ttl: Duration,
    /// Addresses of each member.
    #[serde(default)]
    pub addresses: BTreeMap<RegionId, Vec<IpAddr>>,
    /// What is answered.
    #[serde(default)]
    pub kind: NameKind,
    /// `kind = "cname"`: the name that each member is reached by.
    #[serde(default)]
    pub targets: BTreeMap<RegionId, String>,
    /// `kind = "srv"`: where each member's PostgreSQL is.
    #[serde(default)]
    pub services: BTreeMap<RegionId, Service>,
}

impl NameConfig {
    /// A name with addresses.
    pub fn plain(
        name: impl Into<String>,
        pair: PairId,
        ttl: Duration,
        addresses: BTreeMap<RegionId, Vec<IpAddr>>,
    ) -> Self {
        Self {
            name: name.into(),
            pair,
            ttl,
            addresses,
            kind: NameKind::default(),
            targets: BTreeMap::new(),
            services: BTreeMap::new(),
        }
    }

    /// Checks that each member has what the kind needs; the error is the field and what is wrong.
    fn check_content(&self) -> Result<(), (String, String)> {
        let (table, empty, what) = match self.kind {
            NameKind::Address => {
                let empty = self.addresses.is_empty() || self.addresses.values().any(Vec::is_empty);
                ("addresses", empty, "at least one address")
            }
            NameKind::Cname => ("targets", self.targets.is_empty(), "a target"),
            NameKind::Srv => ("services", self.services.is_empty(), "a service"),
        };
        if empty {
            return Err((table.into(), format!("every member needs {what}")));
        }
        let listed = self.addresses.iter();
        let addresses: BTreeMap<RegionId, BTreeSet<IpAddr>> =
            listed.map(|(region, all)| (region.clone(), all.iter().copied().collect())).collect();
        let spec = NameSpec {
            kind: self.kind,
            addresses,
            targets: self.targets.clone(),
            services: self.services.clone(),
            ..NameSpec::new(&*self.name, self.ttl)
        };
        let members: BTreeSet<&RegionId> =
            self.addresses.keys().chain(self.targets.keys()).chain(self.services.keys()).collect();
        spec.check_kind(members.iter().copied())
    }
}

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct ConfigError {
    /// Path of the field, dotted.
    pub path: String,
    /// What is wrong and what is accepted.
    pub problem: String,
}

impl DnsConfig {
    /// Deadline of one read of a register: what is late is not waited for until all is too old.
    pub fn read_deadline(&self) -> Duration {
        (self.max_age / 2).clamp(READ_DEADLINE_MIN, READ_DEADLINE_MAX)
    }

    /// What tells apart configurations from which the same registers make different zones.
    pub fn fingerprint(&self) -> String {
        let made_of = (&self.zone, &self.names, &self.name_servers, self.expire);
        // What it is made of has no map whose keys are not text, which is all that could fail.
        let written = serde_json::to_vec(&made_of).unwrap_or_default();
        let digest = Sha256::digest(&written);
        let sum: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("edition={} names={sum}", self.edition)
    }

    /// Checks what the types cannot: names in the zone, durations, addresses.
    pub fn check(&self) -> Result<(), ConfigError> {
        let zone = parse_name("zone", &self.zone)?;
        if self.poll.is_zero() {
            return fail("poll", "must be longer than zero");
        }
        if self.max_age < self.poll * 2 {
            return fail("max_age", "must be at least twice `poll`, or one late read is a failure");
        }
        let mut seen = BTreeSet::new();
        for (index, entry) in self.names.iter().enumerate() {
            let path = |field: &str| format!("names[{index}].{field}");
            let name = parse_name(&path("name"), &entry.name)?;
            if !zone.zone_of(&name) || name == zone {
                return fail(&path("name"), &format!("must lie under the zone {}", self.zone));
            }
            if !seen.insert(name) {
                return fail(&path("name"), "is listed twice");
            }
            if entry.ttl.subsec_nanos() != 0 || entry.ttl > TTL_MAX {
                return fail(&path("ttl"), "must be whole seconds, at most one hour");
            }
            if let Err((field, problem)) = entry.check_content() {
                return fail(&path(&field), &problem);
            }
        }
        self.check_servers(&zone)?;
        self.check_secondaries()
    }

    fn check_servers(&self, zone: &LowerName) -> Result<(), ConfigError> {
        let mut seen = BTreeSet::new();
        for (index, server) in self.name_servers.iter().enumerate() {
            let path = |field: &str| format!("name_servers[{index}].{field}");
            let name = parse_name(&path("name"), &server.name)?;
            if name == *zone {
                return fail(&path("name"), "must not be the zone itself");
            }
            let inside = zone.zone_of(&name);
            if !seen.insert(name) {
                return fail(&path("name"), "is listed twice");
            }
            match (inside, server.addresses.is_empty()) {
                (true, true) => {
                    let problem =
                        "is needed: the name lies in the zone, which must say its address";
                    return fail(&path("addresses"), problem);
                }
                (false, false) => {
                    let problem = "must be left out: the name lies in another zone, which says it";
                    return fail(&path("addresses"), problem);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_secondaries(&self) -> Result<(), ConfigError> {
        if self.secondaries.is_empty() {
            return Ok(());
        }
        if self.name_servers.is_empty() {
            let problem = "is needed with `secondaries`: the servers that resolvers ask";
            return fail("name_servers", problem);
        }
        if self.names.len() > TRANSFERRED_NAMES_MAX {
            let problem =
                format!("at most {TRANSFERRED_NAMES_MAX} names in a zone with secondaries");
            return fail("names", &problem);
        }
        let mut seen = BTreeSet::new();
        for (index, secondary) in self.secondaries.iter().enumerate() {
            if !seen.insert(secondary.address.0) {
                return fail(&format!("secondaries[{index}].address"), "is listed twice");
            }
        }
        if self.expire < EXPIRE_MIN || i32::try_from(self.expire.as_secs()).is_err() {
            return fail("expire", "1h or more is accepted, up to 68 years");
        }
        Ok(())
    }
}

fn fail<T>(path: &str, problem: &str) -> Result<T, ConfigError> {
    Err(ConfigError { path: path.into(), problem: problem.into() })
}

/// A fully qualified name, with or without the last dot, in lower case.
pub(crate) fn parse_name(path: &str, text: &str) -> Result<LowerName, ConfigError> {
    let mut name = Name::from_str(text).map_err(|error| ConfigError {
        path: path.into(),
        problem: format!("{text:?}: {error}"),
    })?;
    if name.is_root() {
        return fail(path, "must not be empty or the root");
    }
    name.set_fqdn(true);
    Ok(LowerName::new(&name))
}
