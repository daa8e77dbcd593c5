//! REST resources of `/api/v1`.

use std::collections::BTreeMap;

use continuum_domain::objective::{Loss, Objectives};
use continuum_domain::operation::{Method, Operation};
use continuum_domain::spec::{PairSpec, Takeover};
use continuum_domain::{Epoch, OperationId, PairId, RegionId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::GlassView;
pub use crate::audit::{
    ArchiveVerdict, AuditGap, AuditHead, AuditOrigin, AuditVerdict, ExportFormat, ExportHeader,
    ExportNote, ExportQuery, VerifyQuery,
};
use crate::link::{AcceptorReport, Blocked, MemberReport, SwitchReport};
pub use crate::moves::{
    FailbackRequest, FailoverRequest, PausePairRequest, Plan, RejoinRequest, ResumePairRequest,
    Started, SwitchoverRequest,
};
pub use crate::posture::{
    Fleet, Known, PairPosture, Posture, REPORT_AGE_MS_MAX, posture, record_is_fresh,
};

/// Version prefix of every route.
pub const API: &str = "/api/v1";

/// One version of a spec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpecVersion {
    /// 1, 2, 3, ...
    pub version: u64,
    /// The spec; `None` marks the removal of the pair.
    pub spec: Option<PairSpec>,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
}

/// A pair with everything known of it. `GET /pairs/{id}`; a list of them `GET /pairs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PairView {
    /// Its spec.
    pub spec: PairSpec,
    /// The spec's version.
    pub version: u64,
    /// Newest known epoch; absent when no agent ever reported it.
    pub epoch: Option<Epoch>,
    /// The lease holder by the newest known register; absent when unknown or vacant.
    pub holder: Option<RegionId>,
    /// The pair is paused: stopped everywhere, by this region's hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resting: Option<RegionId>,
    /// Nobody but the holder may hold the pair: a pause is under way, or was left behind.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub barred: bool,
    /// Age in milliseconds of that knowledge.
    pub record_age_ms: Option<u64>,
    /// The in-sync ledger; absent when unknown.
    pub in_sync: Option<Vec<RegionId>>,
    /// What each member's agent said last; absent when it never did.
    pub members: BTreeMap<RegionId, Option<AgedReport>>,
    /// Members whose agents do not understand the spec in this version, and go on by an older one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub not_understood: BTreeMap<RegionId, Blocked>,
    /// The acceptors of the witness's quorum as the members' agents see them; a member is absent
    /// when its agent does not say, and all are where the witness is one server.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub acceptors: BTreeMap<RegionId, AgedAcceptors>,
    /// The pair's traffic switches as the agents that drive them see them; absent where an agent drives
    /// none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub traffic: BTreeMap<RegionId, AgedSwitches>,
    /// Automation pause, if any.
    pub automation: Option<AutomationPause>,
    /// The operation under way.
    pub operation: Option<OperationId>,
    /// What losing the holder now would cost, and how a planned move would be made.
    #[serde(default)]
    pub takeover: TakeoverView,
}

/// When a standby would take over if the holder were lost now, from fresh reports and the newest
/// register only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TakeoverView {
    /// As the spec says.
    pub configured: Takeover,
    /// The spec's `suspect_after`, milliseconds.
    pub suspect_after_ms: u64,
    /// What would be used now; absent when it is not known, or nobody holds the pair.
    pub effective: Option<Takeover>,
    /// Who could take over by the ledger now.
    #[serde(default)]
    pub by: Vec<RegionId>,
    /// Configured `ledger`: every reason against it, or why it is not known.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// A planned switchover to each standby; empty while the holder is not known.
    #[serde(default)]
    pub planned: BTreeMap<RegionId, PlannedMove>,
}

/// How a planned switchover would be made if none is asked for by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedMove {
    /// The method.
    pub method: Method,
    /// Every reason against `hot`.
    pub hot_refusals: Vec<String>,
}

/// A report and how old it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgedReport {
    /// Milliseconds since the core received it.
    pub age_ms: u64,
    /// The report; ages inside it are to be added to `age_ms`.
    pub report: MemberReport,
}

/// What one agent says of the acceptors, and how old it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgedAcceptors {
    /// Milliseconds since the core received it.
    pub age_ms: u64,
    /// By name; ages inside are to be added to `age_ms`.
    pub acceptors: BTreeMap<String, AcceptorReport>,
}

/// What one agent says of the traffic switches of a pair, and how old it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgedSwitches {
    /// Milliseconds since the core received it.
    pub age_ms: u64,
    /// By name; ages inside are to be added to `age_ms`.
    pub switches: BTreeMap<String, SwitchReport>,
}

/// `PUT /pairs/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyPair {
    /// The whole spec.
    pub spec: PairSpec,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `PUT /pairs/{pair}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyQuery {
    /// Only check and compare: nothing is changed.
    #[serde(default)]
    pub dry_run: bool,
}

/// What comes of `PUT /pairs/{pair}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Applied {
    /// The version in force.
    Version(Box<SpecVersion>),
    /// A dry run: what would change.
    Diff(SpecDiff),
}

/// `GET /pairs/{pair}/diff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiffQuery {
    /// The older version.
    pub from: u64,
    /// The newer one; the newest when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

/// What differs between two specs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpecDiff {
    /// Version of the older one; absent when there is none.
    pub from: Option<u64>,
    /// Version of the newer one; absent when it is not in force.
    pub to: Option<u64>,
    /// Every field that differs, by path.
    pub changes: Vec<FieldChange>,
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FieldChange {
    /// Where, for example `members.hel.port`.
    pub path: String,
    /// What was there; absent when nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<serde_json::Value>,
    /// What is there; absent when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<serde_json::Value>,
}

/// `POST /pairs/{pair}/rollback`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The version whose spec is wanted.
    pub version: u64,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `PUT /automation/pause`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// One pair, or all when absent.
    #[serde(default)]
    pub pair: Option<PairId>,
    /// Why; must not be empty.
    pub reason: String,
    /// For how long, milliseconds; a pause always ends.
    pub for_ms: u64,
}

/// A pause of automation in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AutomationPause {
    /// One pair, or all when absent.
    pub pair: Option<PairId>,
    /// Why.
    pub reason: String,
    /// Who.
    pub actor: String,
    /// When it ends, milliseconds since 1970.
    pub until_ms: i64,
}

/// One line of the audit chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRecord {
    /// Position, from 1.
    pub index: u64,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// Who.
    pub actor: String,
    /// What, for example `switchover.start`.
    pub action: String,
    /// On which pair.
    pub pair: Option<PairId>,
    /// Under which epoch.
    pub epoch: Option<Epoch>,
    /// Under which operation.
    pub operation: Option<OperationId>,
    /// Why.
    pub reason: String,
    /// State before, for people.
    pub before: String,
    /// State after, for people.
    pub after: String,
    /// From where; absent where it was no request, and in records of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<AuditOrigin>,
    /// Hash of the record before this one, hexadecimal.
    pub previous_hash: String,
    /// Hash over all the above.
    pub hash: String,
}

/// One control node as the answering node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CoreNodeView {
    /// Name.
    pub name: String,
    /// Raft number.
    pub id: u64,
    /// gRPC address.
    pub address: String,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it leads.
    pub leader: bool,
}

/// `GET /core`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CoreView {
    /// The answering node.
    pub node: String,
    /// The leader, if known.
    pub leader: Option<String>,
    /// Raft term.
    pub term: u64,
    /// Last applied index.
    pub applied: Option<u64>,
    /// All members.
    pub members: Vec<CoreNodeView>,
}

/// `POST /core/members`: adds a node as a voter once it has caught up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddCoreNode {
    /// Name, as in its certificate.
    pub name: String,
    /// Raft number, never used before.
    pub id: u64,
    /// gRPC address.
    pub address: String,
    /// REST address.
    pub api_address: String,
}

/// `GET /status`: the page read at three in the morning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The core.
    pub core: CoreView,
    /// All pairs.
    pub pairs: Vec<PairView>,
    /// Pauses in force.
    pub automation: Vec<AutomationPause>,
    /// Operations that are not final.
    pub operations: Vec<Operation>,
    /// Whose glass is broken: they are owners of everything for a time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub break_glass: Vec<GlassView>,
}

/// Body of requests that carry nothing but a reason: cancel, approve, resume, remove. May be left
/// out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReasonBody {
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `GET /operations`, filtered by query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperationsQuery {
    /// Only operations on this pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<PairId>,
    /// At most this many (1 to 1000). Default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Where the page before this one ended, as its `Link` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// `GET /fleet`: all pairs on one page, or those whose labels fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FleetQuery {
    /// Only pairs whose labels fit: `env=prod,tier!=bronze,team`, all of which must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
}

/// `GET /pairs`, filtered by query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PairsQuery {
    /// Only pairs whose labels fit: `env=prod,tier!=bronze,team`, all of which must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// At most this many (1 to 1000). Default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Where the page before this one ended, as its `Link` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A page of a list, and the query of the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// The query that asks for what follows; `None` at the end.
    pub next: Option<String>,
}

/// `GET /events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// Only records on this pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<PairId>,
    /// Begin after this position, as far back as records are kept; with what comes now when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// One line of `GET /leases`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseView {
    /// The pair.
    pub pair: PairId,
    /// Newest known epoch; absent when no agent ever reported it.
    pub epoch: Option<Epoch>,
    /// Who holds the lease; absent when unknown or vacant.
    pub holder: Option<RegionId>,
    /// Age in milliseconds of that knowledge.
    pub record_age_ms: Option<u64>,
    /// Until the holder must have renewed it, milliseconds, by its own agent's last word; absent when
    /// that is not known.
    pub remaining_ms: Option<u64>,
    /// The in-sync ledger; absent when unknown.
    pub in_sync: Option<Vec<RegionId>>,
}

/// One line of `GET /regions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegionView {
    /// The region.
    pub region: RegionId,
    /// Whether its agent is connected to the core's leader.
    pub connected: bool,
    /// Since it last reported, milliseconds; absent when it never did to this leader.
    pub report_age_ms: Option<u64>,
    /// Pairs it has a member of.
    pub pairs: Vec<PairId>,
    /// Pairs it holds the lease of, as far as is known.
    pub holds: Vec<PairId>,
    /// Whether its agent reaches the witness; absent when it did not say lately.
    pub witness_reachable: Option<bool>,
}

/// `DELETE /automation/pause`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseQuery {
    /// The pause of one pair, or the one of all pairs when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<PairId>,
}

/// `GET /audit`: a page of the chain, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Only records on this pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<PairId>,
    /// Only records after this position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// At most this many (1 to 1000); the newest ones when `after` is absent. Default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}
/// Query of `GET /pairs/{pair}/history`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryQuery {
    /// Most entries, 1 to 1000; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// One change of holder, and what it cost against what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryEntry {
    /// The epoch it led to.
    pub epoch: Epoch,
    /// Who holds that epoch.
    pub holder: RegionId,
    /// Who held the epoch before; absent where that is not known, or nobody did.
    pub from: Option<RegionId>,
    /// Why it was allowed: `handover`, `hot`, `ledger`, `expired`, `vacant`, `returned`, `approved`,
    /// `created`.
    pub by: String,
    /// The operation that it belongs to.
    pub operation: Option<OperationId>,
    /// Wall clock of the new holder, milliseconds since 1970.
    pub at_ms: i64,
    /// For at most so long no write was seen, in milliseconds, by the leader's own clock and up to the
    /// delays of two reports; absent when it was not measured.
    pub outage_ms: Option<u64>,
    /// What acknowledged writes were lost.
    pub loss: Loss,
    /// What was asked for by the spec in force then.
    pub objectives: Objectives,
    /// Whether the outage was within it; absent when that is not known.
    pub rto_met: Option<bool>,
    /// Whether the loss was within it; absent when that is not known.
    pub rpo_met: Option<bool>,
}
