//! `Continuum`: what is wanted of a pair, and how it stands.

use std::collections::BTreeMap;

use continuum_domain::spec::{
    Durability, NamePolicy, NameRole, PairMode, Takeover, WitnessLossPolicy,
};
use continuum_domain::traffic::DrainFailure;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::StatusCondition;
use crate::kubernetes::foreign::ForeignPolicy;

/// What is wanted of a pair. The control core owns it once it was admitted there.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(group = "dr.openova.io", version = "v1", kind = "Continuum", plural = "continuums")]
#[kube(shortname = "dr", category = "continuum", namespaced, status = "ContinuumStatus")]
#[kube(derive = "PartialEq")]
#[kube(doc = "A pair: one PostgreSQL database, writable in one region, standing by in others")]
#[kube(printcolumn = r#"{"name":"Primary","type":"string","jsonPath":".status.primaryRegion"}"#)]
#[kube(printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#)]
#[kube(
    printcolumn = r#"{"name":"Lag","type":"number","jsonPath":".status.replicationLagSeconds"}"#
)]
#[kube(
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#
)]
#[kube(printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#)]
#[kube(validation = Rule::new("self.metadata.name.matches('^[a-z][a-z0-9-]{0,39}$')")
    .message("metadata.name is the pair's name: at most 40 of a-z, 0-9 and -, a letter first"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("!(self.primaryRegion in self.hotStandbyRegions)")
    .message("primaryRegion must not be in hotStandbyRegions"))]
#[x_kube(validation = Rule::new(
        "self.regions.all(r, r.name == self.primaryRegion || r.name in self.hotStandbyRegions)")
    .message("each of regions must be the primaryRegion or one of hotStandbyRegions"))]
#[x_kube(validation = Rule::new(
        "self.regions.exists(r, r.name == self.primaryRegion) && \
         self.hotStandbyRegions.all(s, self.regions.exists(r, r.name == s))")
    .message("primaryRegion and each of hotStandbyRegions need their entry in regions"))]
#[x_kube(validation = Rule::new(
        "!has(self.switchover) || !has(self.switchover.targetRegion) || \
         self.switchover.targetRegion == self.primaryRegion || \
         self.switchover.targetRegion in self.hotStandbyRegions")
    .message("switchover.targetRegion must be one of the regions"))]
#[x_kube(validation = Rule::new(
        "!has(self.lossApproval) || (has(self.durability) && self.durability == 'async')")
    .message("lossApproval is only for durability async"))]
#[x_kube(validation = Rule::new(
        "!has(self.takeover) || self.takeover != 'ledger' || !has(self.durability) || \
         self.durability != 'async'")
    .message("takeover ledger needs durability strict or available"))]
#[x_kube(validation = Rule::new(
        "!has(self.mode) || !has(self.autoFailover) || \
         self.autoFailover == (self.mode == 'automatic')")
    .message("autoFailover and mode say different things; leave one out"))]
pub struct ContinuumSpec {
    /// The application the pair belongs to; kept as the pair's label `application`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub application_ref: Option<String>,
    /// What pairs are sorted by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The region whose Cluster is the first primary. Where the primary is now stands in the status.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z][a-z0-9-]{0,39}$"))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("primaryRegion is where the pair began; ask for a move with spec.switchover"))]
    pub primary_region: String,
    /// The other regions, the preferred one first.
    #[schemars(length(min = 1, max = 6))]
    #[schemars(inner(length(min = 1, max = 40), regex(pattern = r"^[a-z][a-z0-9-]{0,39}$")))]
    pub hot_standby_regions: Vec<String>,
    /// Where each region's PostgreSQL answers.
    #[schemars(length(min = 2, max = 7))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub regions: Vec<Region>,
    /// The lease the agents keep. It is set in the agents' files; what is said here is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_client: Option<LeaseClient>,
    /// Names answered by a name server that probes the lease-gated URLs. The shorter way of saying
    /// `names` with policy `follow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lua_record: Option<LuaRecord>,
    /// Names that follow the lease.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub names: Vec<NamedRecord>,
    /// Longest time without writes that a move may cost; a move is held against it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,9}(s|m|h)$"))]
    pub rto: Option<String>,
    /// Only `0s`: a loss is measured in bytes of WAL, see `rpoBytes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,9}(s|m|h)$"))]
    pub rpo: Option<String>,
    /// Most bytes of acknowledged WAL that a move may lose; a move is held against it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpo_bytes: Option<u64>,
    /// Whether it fails over by itself; the shorter way of saying `mode` automatic or manual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_failover: Option<bool>,
    /// How far automation goes; manual where neither this nor `autoFailover` is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<PairMode>,
    /// What an acknowledged commit survives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// Durability async: the loss that an automatic failover may cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_approval: Option<LossApproval>,
    /// When a listed standby may take over from a silent holder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub takeover: Option<Takeover>,
    /// What the holder does without a witness.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_witness_loss: Option<WitnessLossPolicy>,
    /// Whether an agent may fail over alone when the core has no quorum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autonomous: Option<bool>,
    /// Preflight refuses a target further behind than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lag_bytes: Option<u64>,
    /// Restarts in place before the lease is let go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts_in_place: Option<u32>,
    /// How long an agent asks for the core's answer before it goes alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,9}(ms|s|m|h)$"))]
    pub core_grace: Option<String>,
    /// How long commits may wait before the ledger shrinks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,9}(ms|s|m|h)$"))]
    pub stall_timeout: Option<String>,
    /// Automatic failovers closer together than this are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,9}(ms|s|m|h)$"))]
    pub anti_flap: Option<String>,
    /// How long a switchover may keep the old primary stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,9}(ms|s|m|h)$"))]
    pub switchover_deadline: Option<String>,
    /// Longest time one restart in place may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,9}(ms|s|m|h)$"))]
    pub restart_budget: Option<String>,
    /// A holder whose writes do not reach its disk for so long lets go of the lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,9}(ms|s|m|h)$"))]
    pub write_stall_timeout: Option<String>,
    /// Takeover ledger: for how long the holder must have been silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,9}(ms|s|m|h)$"))]
    pub suspect_after: Option<String>,
    /// How long a planned move waits for the traffic switches.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,9}(ms|s|m|h)$"))]
    pub drain: Option<String>,
    /// What becomes of the move when one has not emptied its pools by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_failure: Option<DrainFailure>,
    /// What is done when somebody else writes the role fields of a Cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foreign_writes: Option<ForeignPolicy>,
    /// A wish to move. It is a request to the control core, and goes through its rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switchover: Option<Switchover>,
    /// The two Clusters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cnpg_pair: Option<CnpgPairReference>,
}

/// One region's member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Region {
    /// The region.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z][a-z0-9-]{0,39}$"))]
    pub name: String,
    /// Where its PostgreSQL answers the others.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// Its port.
    #[serde(default = "postgres_port")]
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Higher is preferred; by the order of `hotStandbyRegions` where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// Where clients reach it, for names at a provider.
    #[serde(rename = "lbIPs", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(regex(pattern = r"^[0-9a-fA-F.:]{2,45}$")))]
    pub lb_ips: Vec<String>,
}

fn postgres_port() -> u16 {
    5432
}

/// The lease.
#[derive(Clone, Debug, Default, PartialEq, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaseClient {
    /// Only `witness`: the registers that the agents' files name.
    #[x_kube(validation = Rule::new("self == 'witness'")
        .message("only witness: its registers are set in the agents' files. A key-value store \
                  without compare-and-swap lets two regions both win"))]
    pub kind: String,
    /// Its timing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<LeaseConfig>,
}

/// The timing of the lease, in seconds. A holder that cannot renew must have stopped before anybody
/// else may act.
#[derive(Clone, Debug, PartialEq, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new(
        "self.renewSeconds * 3 <= self.ttlSeconds - self.stopBudgetSeconds - self.guardSeconds")
    .message("ttlSeconds - stopBudgetSeconds - guardSeconds must be at least 3 * renewSeconds"))]
pub struct LeaseConfig {
    /// How long a renewal counts.
    #[serde(default = "ttl_seconds")]
    #[schemars(range(min = 5, max = 600))]
    pub ttl_seconds: u32,
    /// Interval between renewals.
    #[serde(default = "renew_seconds")]
    #[schemars(range(min = 1, max = 60))]
    pub renew_seconds: u32,
    /// Longest time PostgreSQL may take to stop.
    #[serde(default = "stop_budget_seconds")]
    #[schemars(range(min = 1, max = 60))]
    pub stop_budget_seconds: u32,
    /// Margin on top.
    #[serde(default = "guard_seconds")]
    #[schemars(range(min = 1, max = 60))]
    pub guard_seconds: u32,
}

fn ttl_seconds() -> u32 {
    10
}
fn renew_seconds() -> u32 {
    2
}
fn stop_budget_seconds() -> u32 {
    3
}
fn guard_seconds() -> u32 {
    1
}

/// Names whose server probes the lease-gated URL of every member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LuaRecord {
    /// The names.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 253)))]
    pub hostnames: Vec<String>,
    /// The provider, by its name in the agents' files.
    #[schemars(length(min = 1))]
    pub provider: String,
    /// The zone there.
    #[schemars(length(min = 1, max = 253))]
    pub zone: String,
    /// Time to live in seconds.
    #[serde(default = "lua_ttl")]
    #[schemars(range(min = 1, max = 3600))]
    pub ttl: u32,
    /// The port of the agents' health URLs.
    #[schemars(range(min = 1))]
    pub health_port: u16,
}

fn lua_ttl() -> u32 {
    30
}

/// A name that follows the lease.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedRecord {
    /// The name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Time to live.
    #[schemars(regex(pattern = r"^[0-9]{1,9}(ms|s|m|h)$"))]
    pub ttl: String,
    /// The provider, by its name in the agents' files; the embedded name servers without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The zone at the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Whom it leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<NameRole>,
    /// Role standby: one further behind is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,9}(ms|s|m|h)$"))]
    pub lag_max: Option<String>,
    /// How it follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<NamePolicy>,
    /// Policy follow: the port of the agents' health URLs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub health_port: Option<u16>,
}

/// A standing approval of a bounded loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LossApproval {
    /// Most bytes of WAL.
    pub rpo_bytes: u64,
}

/// How the role moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// By the two Clusters of a `CnpgPair`.
    #[default]
    CnpgPair,
}

/// A wish to move.
#[derive(Clone, Debug, Default, PartialEq, KubeSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("!has(self.requested) || !self.requested || has(self.targetRegion)")
    .message("a requested switchover names its targetRegion"))]
pub struct Switchover {
    /// How.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<Mechanism>,
    /// Whether it is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested: Option<bool>,
    /// Tells one request from the next; the object's generation where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z][a-z0-9-]{0,39}$"))]
    pub request_id: Option<String>,
    /// To where.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z][a-z0-9-]{0,39}$"))]
    pub target_region: Option<String>,
    /// Who wants it; the audit says who wrote the object as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub requested_by: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
}

/// A `CnpgPair`, in the same namespace unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CnpgPairReference {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// How the pair stands, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ContinuumPhase {
    /// Not admitted yet.
    Pending,
    /// Writable, with a standby in sync.
    Healthy,
    /// Writable, and something is missing.
    Degraded,
    /// On its way.
    SwitchingOver,
    /// The last move was a failover, and its loser is not back.
    FailedOver,
    /// Not writable.
    Failed,
    /// Stopped everywhere, on purpose.
    Paused,
    /// Not known.
    Unknown,
}

/// How the pair stands. A field that is missing was not measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContinuumStatus {
    /// In one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<ContinuumPhase>,
    /// Where the primary is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary_region: Option<String>,
    /// Who holds the lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_holder: Option<String>,
    /// Under which epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// How far behind the standby is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_lag_seconds: Option<f64>,
    /// The same in bytes of WAL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_lag_bytes: Option<u64>,
    /// Whether a standby could take over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standby_available: Option<bool>,
    /// The operation under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Whether a move is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switchover_in_progress: Option<bool>,
    /// Its step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switchover_step: Option<String>,
    /// The last move.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_switchover: Option<LastSwitchover>,
    /// What became of the last request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_request: Option<RequestOutcome>,
    /// Requests that were taken up, the newest last: none of them is asked for again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub handled_requests: Vec<String>,
    /// What of this object the core has last taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admitted: Option<Admitted>,
    /// The newest version of the pair's spec that the core was seen to have, whoever made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core_version: Option<u64>,
    /// The generation of the spec that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<StatusCondition>,
}

/// A move that has ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastSwitchover {
    /// How it ended.
    pub result: String,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// To where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub at: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// On whose word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiated_by: Option<String>,
    /// How long there were no writes, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rto_observed: Option<String>,
    /// How many bytes of acknowledged WAL were lost, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpo_observed_bytes: Option<u64>,
}

/// What of an object the core has taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Admitted {
    /// The generation of the object.
    pub generation: i64,
    /// The version of the pair's spec it is at the core.
    pub version: u64,
    /// What was asked for then, as a digest: tells a change by somebody from one of anything else.
    pub digest: String,
}

/// What became of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestOutcome {
    /// The request.
    pub id: String,
    /// What was asked for, as a digest, for as long as it stands in the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stanza: Option<String>,
    /// The operation it became.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// What a person has to approve first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// Why it became none, with what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}
