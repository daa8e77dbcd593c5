//! The changes of the replicated state, and what their proposer is told.

use std::fmt;

use continuum_control_api::access::{GlassView, GrantView, TokenView};
use continuum_control_api::approvals::Approval;
use continuum_control_api::ask::{Condition, RequestKey};
use continuum_control_api::audit::AuditOrigin;
use continuum_control_api::link::{GrantAnswer, JournalEntry};
use continuum_control_api::rest::{AutomationPause, SpecVersion};
use continuum_control_api::routes::ApiError;
use continuum_domain::access::SafetyRule;
use continuum_domain::corroborate::Corroboration;
use continuum_domain::operation::{Operation, OperationState, Step, StepOutcome};
use continuum_domain::safety::Reason;
use continuum_domain::spec::PairSpec;
use continuum_domain::trace::TraceContext;
use continuum_domain::{Epoch, OperationId, PairId, RegionId};
use serde::{Deserialize, Serialize};

use super::access::AccessChange;
use super::approvals::ApprovalChange;
use super::cells::{CellPut, CellState};
use super::sinks::SinkProgress;

/// A change of the replicated state. Only ever add variants and optional fields: older nodes'
/// logs must stay readable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// The proposer's wall clock. The state takes the later of this and the latest before it, so
    /// that its time never goes back; no lease depends on it.
    pub at_ms: i64,
    /// Who.
    pub actor: String,
    /// What.
    pub change: Change,
    /// By which a repetition of the request is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<RequestKey>,
    /// From where, when it is a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<AuditOrigin>,
    /// In which trace it is told, when it is a request of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

/// What a command changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// A pair's spec, new or changed.
    ApplyPair {
        /// The spec.
        spec: PairSpec,
        /// Why.
        reason: String,
        /// On which version in force.
        #[serde(default, skip_serializing_if = "Condition::is_none")]
        condition: Condition,
    },
    /// Removal of a pair's spec.
    RemovePair {
        /// The pair.
        pair: PairId,
        /// Why.
        reason: String,
        /// On which version in force.
        #[serde(default, skip_serializing_if = "Condition::is_none")]
        condition: Condition,
    },
    /// The spec of an older version of a pair becomes the newest.
    RollBack {
        /// The pair.
        pair: PairId,
        /// The version.
        version: u64,
        /// Why.
        reason: String,
        /// On which version in force.
        #[serde(default, skip_serializing_if = "Condition::is_none")]
        condition: Condition,
    },
    /// An operation a person asked for.
    Start {
        /// Its name, drawn by the proposer.
        id: OperationId,
        /// The pair.
        pair: PairId,
        /// What it is.
        kind: continuum_domain::operation::OperationKind,
        /// The pair's epoch when it was asked for.
        at_epoch: Epoch,
        /// Why.
        reason: String,
    },
    /// An agent asks to fail over.
    RequestFailover(FailoverAsk),
    /// A line of the core in an operation's journal.
    Line {
        /// The operation.
        operation: OperationId,
        /// The step.
        step: Step,
        /// Its outcome.
        outcome: StepOutcome,
        /// For people.
        detail: String,
    },
    /// An operation's state.
    Become {
        /// The operation.
        operation: OperationId,
        /// The state.
        state: OperationState,
    },
    /// Somebody wants an operation undone.
    Cancel {
        /// The operation.
        operation: OperationId,
        /// Why.
        reason: String,
    },
    /// Somebody approves an operation that waits for it.
    Approve {
        /// The operation.
        operation: OperationId,
        /// Why.
        reason: String,
    },
    /// Automation is paused.
    Pause {
        /// One pair, or all when absent.
        pair: Option<PairId>,
        /// Why.
        reason: String,
        /// For how long.
        for_ms: u64,
    },
    /// A pause is ended.
    Resume {
        /// One pair's, or the one of all pairs when absent.
        pair: Option<PairId>,
        /// Why.
        reason: String,
    },
    /// Facts from a region's journal.
    Facts {
        /// The region.
        region: RegionId,
        /// Its entries, oldest first.
        entries: Vec<JournalEntry>,
    },
    /// The first write of an epoch was seen. Not audited: it changes nothing, and tells how long a
    /// change took that is.
    WritesResumed {
        /// The pair.
        pair: PairId,
        /// The epoch.
        epoch: Epoch,
        /// At most so long no write was seen before it, milliseconds.
        outage_ms: u64,
    },
    /// A region's agent lost its journal and counts from the beginning again.
    JournalReset {
        /// The region.
        region: RegionId,
    },
    /// Something outside the replicated state that belongs into the audit chain.
    Note {
        /// What.
        action: String,
        /// Why.
        reason: String,
        /// State before.
        before: String,
        /// State after.
        after: String,
    },
    /// A sink went on. Not audited: it happens for every record.
    SinkProgress(SinkProgress),
    /// Dead letters of a sink were taken by it after all.
    SinkSettled {
        /// The sink.
        sink: String,
        /// Positions of the records.
        positions: Vec<u64>,
    },
    /// A cell's content, new or changed. Not audited: sessions change theirs all the time.
    PutCell(CellPut),
    /// A cell is removed.
    DeleteCell {
        /// Its key.
        key: String,
        /// The tag it must have.
        expected: String,
    },
    /// Who may do what.
    Access(AccessChange),
    /// Which requests take a second person, and what becomes of them.
    Approval(ApprovalChange),
}

/// An agent's wish to fail over, with what the leader knows beside the replicated state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailoverAsk {
    /// The operation's name if one is created, drawn by the proposer.
    pub id: OperationId,
    /// The region that asks.
    pub region: RegionId,
    /// The pair.
    pub pair: PairId,
    /// The epoch that would be superseded.
    pub epoch: Epoch,
    /// The holder as last reported.
    pub from: Option<RegionId>,
    /// What made it due.
    pub trigger: String,
    /// Why this member may take over.
    pub evidence: String,
    /// The member is in the in-sync ledger.
    #[serde(default)]
    pub listed: bool,
    /// Lag in bytes, if it was measured.
    pub lag_bytes: Option<u64>,
    /// What resolvers say of the holder's health name, if they were asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corroboration: Option<Corroboration>,
    /// The region is the best of several candidates, as the leader sees them.
    #[serde(default)]
    pub preferred: bool,
    /// Most failovers at once.
    pub failovers_max: usize,
    /// Reasons against it that only the leader's live view gives.
    pub objections: Vec<Reason>,
}

impl Command {
    /// A change that is no request of a person.
    pub fn new(at_ms: i64, actor: &str, change: Change) -> Self {
        Self { at_ms, actor: actor.to_owned(), change, key: None, origin: None, trace: None }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.change.label(), self.actor)
    }
}

impl Change {
    /// A short name, for logs.
    pub fn label(&self) -> &'static str {
        match self {
            Change::ApplyPair { .. } => "apply-pair",
            Change::RemovePair { .. } => "remove-pair",
            Change::RollBack { .. } => "roll-back",
            Change::Start { .. } => "start",
            Change::RequestFailover(_) => "request-failover",
            Change::Line { .. } => "line",
            Change::Become { .. } => "become",
            Change::Cancel { .. } => "cancel",
            Change::Approve { .. } => "approve",
            Change::Pause { .. } => "pause",
            Change::Resume { .. } => "resume",
            Change::Facts { .. } => "facts",
            Change::WritesResumed { .. } => "writes-resumed",
            Change::JournalReset { .. } => "journal-reset",
            Change::Note { .. } => "note",
            Change::SinkProgress(_) => "sink-progress",
            Change::SinkSettled { .. } => "sink-settled",
            Change::PutCell(_) => "put-cell",
            Change::DeleteCell { .. } => "delete-cell",
            Change::Access(_) => "access",
            Change::Approval(_) => "approval",
        }
    }
}

/// A journal line that a command added, for the drills' crash points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedLine {
    /// The operation.
    pub operation: OperationId,
    /// Its kind, `switchover` or `failover`.
    pub kind: String,
    /// The step.
    pub step: Step,
    /// Its outcome.
    pub outcome: StepOutcome,
}

/// What the proposer is told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It was done, or changed nothing.
    #[default]
    Done,
    /// The spec as it stands now.
    Pair(SpecVersion),
    /// The operation as it stands now.
    Operation(Operation),
    /// The answer to an agent that asked to fail over.
    Grant(GrantAnswer),
    /// The pause.
    Pause(AutomationPause),
    /// A line or facts were taken.
    Journalled {
        /// Newest entry of the region that is in the replicated log.
        seq: u64,
        /// Lines that were added.
        added: Vec<AddedLine>,
    },
    /// The grant as it stands now, or stood when it was taken away.
    AccessGrant(GrantView),
    /// The token as it stands now, or stood when it was ended.
    AccessToken(TokenView),
    /// The broken glass.
    AccessGlass(GlassView),
    /// The request that is kept, as it stands now.
    Approval(Approval),
    /// The safety rule.
    Rule(SafetyRule),
    /// The cell was written, under this tag.
    CellWritten(String),
    /// The cell did not have the expected tag; what it holds.
    CellConflict(Option<CellState>),
    /// Whether the cell is gone.
    CellGone(bool),
    /// It was refused; nothing was changed.
    Refused(ApiError),
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Done => f.write_str("done"),
            Reply::Pair(version) => write!(f, "spec version {}", version.version),
            Reply::Operation(operation) => write!(f, "operation {}", operation.id),
            Reply::Grant(_) => f.write_str("grant answer"),
            Reply::Pause(pause) => write!(f, "pause until {}", pause.until_ms),
            Reply::Journalled { seq, added } => write!(f, "{} lines, seq {seq}", added.len()),
            Reply::AccessGrant(view) => write!(f, "grant {}", view.grant.name),
            Reply::AccessToken(token) => write!(f, "token {}", token.name),
            Reply::AccessGlass(glass) => write!(f, "glass broken until {}", glass.until_ms),
            Reply::Approval(view) => write!(f, "request {}", view.id),
            Reply::Rule(rule) => write!(f, "rule {}", rule.name),
            Reply::CellWritten(tag) => write!(f, "cell {tag} written"),
            Reply::CellConflict(_) => f.write_str("cell not as expected"),
            Reply::CellGone(gone) => write!(f, "cell gone: {gone}"),
            Reply::Refused(error) => write!(f, "refused: {error}"),
        }
    }
}
