//! Configuration of one control node.

use std::path::PathBuf;
use std::time::Duration;

use continuum_domain::access::Tier;
use continuum_domain::duration_text;
use continuum_runtime::traces::TracesConfig;
use serde::{Deserialize, Serialize};

use crate::archive::AuditSettings;
use crate::outbox::SinkConfig;
use crate::raft::Member;

/// Configuration of one control node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoreConfig {
    /// The node's name, as in its certificate.
    pub name: String,
    /// Its Raft number; never given to another disk once used.
    pub id: u64,
    /// Where it answers gRPC (control nodes and agents), `host:port`.
    pub listen_rpc: String,
    /// Where it answers REST, `host:port`.
    pub listen_api: String,
    /// Where others reach `listen_rpc`; the same when absent.
    #[serde(default)]
    pub advertise_rpc: Option<String>,
    /// Where others reach `listen_api`; the same when absent.
    #[serde(default)]
    pub advertise_api: Option<String>,
    /// Its durable state.
    pub data_directory: PathBuf,
    /// All founding control nodes, this one included. Empty for a node that is added to a core
    /// that exists already.
    #[serde(default)]
    pub peers: Vec<Peer>,
    /// Most failovers at once, over all pairs.
    #[serde(default = "default_max_failovers")]
    pub max_failovers_at_once: usize,
    /// Allows drills that crash this process on purpose. Never in production.
    #[serde(default)]
    pub drills: bool,
    /// Timing of Raft.
    #[serde(default)]
    pub raft: RaftTiming,
    /// Who may call the API.
    #[serde(default)]
    pub access: AccessConfig,
    /// The audit archive and its exports.
    #[serde(default)]
    pub audit: AuditSettings,
    /// Where audit records are sent to; the same on all nodes.
    #[serde(default)]
    pub sinks: Vec<SinkConfig>,
    /// Where spans are sent to; nowhere when absent.
    #[serde(default)]
    pub traces: Option<TracesConfig>,
}

/// Who may call the API, beside what is granted in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessConfig {
    /// What a certificate of the role operator may do by itself.
    #[serde(default)]
    pub operator_certificates: OperatorCertificates,
    /// How often one caller may ask one node.
    #[serde(default)]
    pub rate: RateConfig,
    /// The identity provider that knows people.
    #[serde(default)]
    pub oidc: Option<OidcConfig>,
}

/// An identity provider, by OpenID Connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// Its name and address, as it says them itself: `https://...`.
    pub issuer: String,
    /// For whom its tokens must be.
    pub audience: String,
    /// Which claim names the person.
    #[serde(default = "default_name_claim")]
    pub name_claim: String,
    /// Which claim tells the person's groups.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// Certificates of the authority that signs the provider's, PEM; the system's when absent.
    #[serde(default)]
    pub authority: Option<PathBuf>,
}

fn default_name_claim() -> String {
    "email".into()
}
fn default_groups_claim() -> String {
    "groups".into()
}

/// What a certificate of the role operator may do by itself, over everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperatorCertificates {
    /// Everything.
    #[default]
    Owner,
    /// As the tier.
    Admin,
    /// As the tier.
    Operator,
    /// As the tier.
    Developer,
    /// As the tier.
    Viewer,
    /// Only what grants say. Breaking the glass stays possible.
    Granted,
}

impl OperatorCertificates {
    /// The tier over everything, if any.
    pub fn tier(self) -> Option<Tier> {
        match self {
            Self::Owner => Some(Tier::Owner),
            Self::Admin => Some(Tier::Admin),
            Self::Operator => Some(Tier::Operator),
            Self::Developer => Some(Tier::Developer),
            Self::Viewer => Some(Tier::Viewer),
            Self::Granted => None,
        }
    }
}

/// How often one caller may ask one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateConfig {
    /// For as long as it likes.
    #[serde(default = "default_per_second")]
    pub per_second: u32,
    /// At once, after a rest.
    #[serde(default = "default_burst")]
    pub burst: u32,
}

impl Default for RateConfig {
    fn default() -> Self {
        Self { per_second: default_per_second(), burst: default_burst() }
    }
}

fn default_per_second() -> u32 {
    300
}
fn default_burst() -> u32 {
    600
}

/// A founding control node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its name, as in its certificate.
    pub name: String,
    /// Its Raft number.
    pub id: u64,
    /// Where it answers gRPC.
    pub address: String,
    /// Where it answers REST.
    pub api_address: String,
}

/// Timing of Raft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RaftTiming {
    /// Interval between the leader's heartbeats.
    #[serde(default = "default_heartbeat", with = "duration_text")]
    pub heartbeat: Duration,
    /// Shortest silence after which a follower campaigns.
    #[serde(default = "default_election_min", with = "duration_text")]
    pub election_min: Duration,
    /// Longest.
    #[serde(default = "default_election_max", with = "duration_text")]
    pub election_max: Duration,
}

impl Default for RaftTiming {
    fn default() -> Self {
        Self {
            heartbeat: default_heartbeat(),
            election_min: default_election_min(),
            election_max: default_election_max(),
        }
    }
}

fn default_max_failovers() -> usize {
    3
}
fn default_heartbeat() -> Duration {
    Duration::from_millis(150)
}
fn default_election_min() -> Duration {
    Duration::from_millis(600)
}
fn default_election_max() -> Duration {
    Duration::from_millis(1_200)
}

impl From<&Peer> for Member {
    fn from(peer: &Peer) -> Member {
        Member {
            id: peer.id,
            name: peer.name.clone(),
            address: peer.address.clone(),
            api_address: peer.api_address.clone(),
        }
    }
}

/// A configuration that cannot be run, with the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigError {
    /// The key, dotted.
    pub key: String,
    /// What is wrong and what is accepted.
    pub problem: String,
}

impl CoreConfig {
    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        let fail = |key: &str, problem: String| Err(ConfigError { key: key.into(), problem });
        if self.name.is_empty() {
            return fail("name", "must not be empty".into());
        }
        if self.max_failovers_at_once == 0 {
            return fail(
                "max_failovers_at_once",
                "must be at least 1; to stop automation, pause it".into(),
            );
        }
        for (index, peer) in self.peers.iter().enumerate() {
            if self.peers.iter().take(index).any(|old| old.id == peer.id || old.name == peer.name) {
                return fail(&format!("peers[{index}]"), "its name or id is given twice".into());
            }
        }
        if !self.peers.is_empty()
            && !self.peers.iter().any(|peer| peer.id == self.id && peer.name == self.name)
        {
            return fail(
                "peers",
                format!("does not list this node ({}, id {})", self.name, self.id),
            );
        }
        if self.access.rate.per_second == 0 || self.access.rate.burst == 0 {
            return fail("access.rate", "per_second and burst must be at least 1".into());
        }
        if let Some(oidc) = &self.access.oidc {
            if !oidc.issuer.starts_with("https://") || oidc.issuer.contains(['?', '#']) {
                return fail("access.oidc.issuer", "must be https:// without a query".into());
            }
            let texts = [
                ("access.oidc.audience", &oidc.audience),
                ("access.oidc.name_claim", &oidc.name_claim),
                ("access.oidc.groups_claim", &oidc.groups_claim),
            ];
            if let Some((key, _)) = texts.iter().find(|(_, text)| text.is_empty()) {
                return fail(key, "must not be empty".into());
            }
        }
        if let Err((key, problem)) = self.audit.check() {
            return fail(key, problem);
        }
        for (index, sink) in self.sinks.iter().enumerate() {
            if self.sinks.iter().take(index).any(|old| old.name == sink.name) {
                return fail(&format!("sinks.{index}.name"), "is given twice".into());
            }
            if let Some((key, problem)) = sink.problems().into_iter().next() {
                return fail(&format!("sinks.{index}.{key}"), problem);
            }
        }
        let traces = self.traces.iter().flat_map(TracesConfig::problems).next();
        if let Some((key, problem)) = traces {
            return fail(&format!("traces.{key}"), problem);
        }
        let RaftTiming { heartbeat, election_min, election_max } = self.raft;
        if heartbeat.is_zero() || election_min < heartbeat * 3 || election_max <= election_min {
            return fail(
                "raft",
                format!(
                    "heartbeat * 3 <= election_min < election_max does not hold: \
                     {heartbeat:?} * 3, {election_min:?}, {election_max:?}"
                ),
            );
        }
        Ok(())
    }

    /// This node as the others know it.
    pub fn member(&self) -> Member {
        Member {
            id: self.id,
            name: self.name.clone(),
            address: self.advertise_rpc.clone().unwrap_or_else(|| self.listen_rpc.clone()),
            api_address: self.advertise_api.clone().unwrap_or_else(|| self.listen_api.clone()),
        }
    }
}
