//! Configuration of a region's agent.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use continuum_dns::provider::config::ProviderConfig;
use continuum_domain::{PairId, RegionId, Timing, duration_text};
use continuum_runtime::net::TlsFiles;
use continuum_runtime::traces::TracesConfig;
use serde::{Deserialize, Serialize};

use crate::at_rest::config::AtRestConfig;
use crate::kubernetes::KubernetesConfig;
use crate::traffic::config::TrafficConfig;

/// Everything one agent needs to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// The region this agent answers for; its certificate must say the same.
    pub region: RegionId,
    /// Where other agents and operators reach it: gRPC over mutual TLS, `host:port`.
    pub listen_peer: String,
    /// Where load balancers ask for health: plain HTTP, `host:port`.
    pub listen_health: String,
    /// Directory of its small durable state.
    pub state_directory: PathBuf,
    /// Certificate, key and authority.
    pub tls: TlsFiles,
    /// Lease timing.
    #[serde(default)]
    pub timing: TimingConfig,
    /// The control nodes; may be empty, then the agent acts alone by its specs.
    #[serde(default)]
    pub core: Vec<ServerAddress>,
    /// The agents of the other regions.
    #[serde(default)]
    pub peers: Vec<PeerAddress>,
    /// The members this agent runs as PostgreSQL under a guard.
    #[serde(default)]
    pub pairs: Vec<AgentPair>,
    /// The members that are CloudNativePG Clusters.
    #[serde(default)]
    pub clusters: Vec<ClusterMember>,
    /// Name servers that are told who holds the lease.
    #[serde(default)]
    pub names: Vec<ServerAddress>,
    /// Name servers of others that specs keep names at.
    #[serde(default)]
    pub name_provider: Vec<ProviderConfig>,
    /// Traffic switches that this agent drives.
    #[serde(default)]
    pub traffic: Vec<TrafficConfig>,
    /// What becomes of the surroundings of paused pairs.
    #[serde(default)]
    pub at_rest: AtRestConfig,
    /// Where spans are sent to; nowhere when absent.
    #[serde(default)]
    pub traces: Option<TracesConfig>,
    /// The Kubernetes cluster this agent runs in; none when absent.
    #[serde(default)]
    pub kubernetes: Option<KubernetesConfig>,
}

impl AgentConfig {
    /// Whether it runs a member of this pair, of either kind.
    pub fn runs(&self, pair: &PairId) -> bool {
        let mut pairs = self.pairs.iter().map(|pair| &pair.id);
        let mut clusters = self.clusters.iter().map(|member| &member.id);
        pairs.any(|id| id == pair) || clusters.any(|id| id == pair)
    }
}

/// A server to dial: the name in its certificate, and its address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerAddress {
    /// Name, as in its certificate.
    pub name: String,
    /// `host:port`.
    pub address: String,
}

/// Another region's agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerAddress {
    /// The region.
    pub region: RegionId,
    /// Its `listen_peer`.
    pub address: String,
}

/// One member this agent runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentPair {
    /// The pair.
    pub id: PairId,
    /// Unix socket of the member's guard.
    pub guard_socket: PathBuf,
    /// PostgreSQL's port.
    pub postgres_port: u16,
    /// Directory of PostgreSQL's unix socket.
    pub postgres_socket_directory: PathBuf,
    /// File with the password of the replication roles, one line; the same as the guard's.
    pub replication_password_file: PathBuf,
    /// The spec (JSON) to start from until the core sends one.
    #[serde(default)]
    pub spec_file: Option<PathBuf>,
}

/// One member that is a CloudNativePG Cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterMember {
    /// The pair.
    pub id: PairId,
    /// The namespace of this region's Cluster.
    pub namespace: String,
    /// The pair's Clusters by region, this one's among them.
    pub clusters: BTreeMap<RegionId, String>,
    /// How this one's PostgreSQL is reached: the Service that leads to its primary instance.
    pub host: String,
    /// Its port.
    #[serde(default = "postgres_port")]
    pub port: u16,
    /// The agent's role in PostgreSQL, with the rights of a superuser; the same in all Clusters.
    #[serde(default = "postgres_user")]
    pub user: String,
    /// File with its password, one line.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Whether the connection is encrypted.
    #[serde(default = "yes")]
    pub tls: bool,
    /// File of the authority that PostgreSQL's certificates are believed by; what the operating system
    /// trusts where it is absent.
    #[serde(default)]
    pub authority: Option<PathBuf>,
    /// The role that standbys stream as.
    #[serde(default = "replication_role")]
    pub replication_role: String,
    /// File that says where the API server is; the cluster of the agent's own pod where it is absent.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// The spec (JSON) to start from until the core sends one.
    #[serde(default)]
    pub spec_file: Option<PathBuf>,
}

fn postgres_port() -> u16 {
    5432
}

fn postgres_user() -> String {
    "continuum".into()
}

fn replication_role() -> String {
    continuum_cnpg_pair::kubernetes::plane::REPLICATION_ROLE.into()
}

fn yes() -> bool {
    true
}

/// Lease timing as written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimingConfig {
    /// How long a renewal counts.
    #[serde(with = "duration_text")]
    pub ttl: Duration,
    /// Interval between renewals.
    #[serde(with = "duration_text")]
    pub renew: Duration,
    /// Longest time PostgreSQL may take to stop.
    #[serde(with = "duration_text")]
    pub stop_budget: Duration,
    /// Safety margin.
    #[serde(with = "duration_text")]
    pub guard: Duration,
    /// Bound of the relative rate of two hosts' clocks, in percent.
    pub drift_percent: f64,
}

impl Default for TimingConfig {
    fn default() -> Self {
        let Timing { ttl, renew, stop_budget, guard, drift_ppm } = Timing::default();
        Self { ttl, renew, stop_budget, guard, drift_percent: f64::from(drift_ppm) / 10_000.0 }
    }
}

impl TimingConfig {
    /// The timing, or the key to change first and why it is refused.
    pub fn timing(&self) -> Result<Timing, (&'static str, String)> {
        use continuum_domain::timing::TimingError;
        let Self { ttl, renew, stop_budget, guard, drift_percent } = *self;
        if !(0.0..=20.0).contains(&drift_percent) {
            let problem = format!("{drift_percent} is not plausible: 0 to 20 is accepted");
            return Err(("drift_percent", problem));
        }
        // In 0 to 200000 by the check above, so that the cast is exact.
        let drift_ppm = (drift_percent * 10_000.0).round() as u32;
        let timing = Timing { ttl, renew, stop_budget, guard, drift_ppm };
        timing.check().map(|()| timing).map_err(|error| match error {
            TimingError::Zero(key) => (key, "must be longer than zero".into()),
            TimingError::Inequality { .. } => {
                ("ttl", format!("{error}; raise ttl or lower renew, stop_budget or guard"))
            }
            TimingError::Drift(_) => ("drift_percent", error.to_string()),
        })
    }
}
