//! The replicated state: what the core knows for certain, and how commands change it.
//!
//! Pure and deterministic: the same commands in the same order give the same state on every node.
//! Time is the commands' own (`max` of all stamps so far); nothing here reads a clock.

use std::collections::BTreeMap;

use continuum_control_api::ask::RequestKey;
use continuum_control_api::rest::{AuditRecord, AuditVerdict, AutomationPause, SpecVersion};
use continuum_control_api::routes::ApiError;
use continuum_domain::operation::{
    Method, Operation, OperationKind, OperationState, RejoinMethod, StepRecord,
};
use continuum_domain::safety::Pause;
use continuum_domain::sequence::failover::waits_for_approval;
use continuum_domain::spec::PairSpec;
use continuum_domain::trace::TraceContext;
use continuum_domain::{Epoch, OperationId, PairId, RegionId};
use serde::{Deserialize, Serialize};

use crate::raft::Machine;

pub mod access;
pub mod approvals;
pub mod audit;
mod cells;
pub mod command;
mod facts;
mod failover;
mod history;
mod operations;
mod pairs;
mod remembered;
mod sinks;
mod traces;

pub use access::{AccessChange, AccessState, Ended, SecretHash, TokenOrder};
pub(crate) use approvals::approval_not_found;
pub use approvals::{ApprovalChange, Approvals, Kept};
pub use cells::{Blob, CellPut, CellState};
pub use command::{AddedLine, Change, Command, FailoverAsk, Reply};
pub use failover::Judgement;
pub use history::Cost;
pub(crate) use pairs::version_not_found;
pub use sinks::{SinkProgress, SinkState};

use audit::{AuditChain, Line};
use remembered::Remembered;

/// Ended operations kept; older ones live on in the audit chain only.
const ENDED_MAX: usize = 1_000;
/// Steps without an operation kept per pair until an acquisition claims them.
const LOOSE_MAX: usize = 64;
/// Changes of holder kept per pair.
const EPOCHS_MAX: usize = 1_000;

/// What is known of one pair.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PairState {
    /// All versions of its spec, oldest first; the last one is in force.
    pub versions: Vec<SpecVersion>,
    /// Changes of holder, as agents reported them.
    pub epochs: BTreeMap<Epoch, EpochRecord>,
    /// What moves were seen to cost, by the epoch they led to. Absent in snapshots of older nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub costs: BTreeMap<Epoch, Cost>,
    /// When it last failed over, for the anti-flap period.
    pub last_failover_ms: Option<i64>,
    /// Steps reported without an operation, waiting for the acquisition they belong to.
    loose: Vec<LooseStep>,
    /// The last refusal of an agent's wish to fail over; repeated ones are not audited again.
    last_denial: Option<Denial>,
}

/// One change of holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The new holder.
    pub holder: RegionId,
    /// The holder before, as the new one knows it. Absent in snapshots of older nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<RegionId>,
    /// Why it was allowed.
    pub by: String,
    /// The operation it belongs to.
    pub operation: Option<OperationId>,
    /// The reporter's wall clock.
    pub at_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LooseStep {
    epoch: Epoch,
    line: StepRecord,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Denial {
    region: RegionId,
    epoch: Epoch,
    codes: Vec<String>,
}

/// What an operation waits to have approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// For people.
    pub reason: String,
    /// The approval is one of a possible loss.
    pub data_loss: bool,
}

/// Everything the core knows for certain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CoreState {
    last_ms: i64,
    pairs: BTreeMap<PairId, PairState>,
    operations: BTreeMap<OperationId, Operation>,
    waiting: BTreeMap<OperationId, Waiting>,
    pause_all: Option<Pause>,
    pauses: BTreeMap<PairId, Pause>,
    journal_seq: BTreeMap<RegionId, u64>,
    audit: AuditChain,
    /// What this core keeps as one acceptor of the witness. Absent in snapshots of older nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    cells: BTreeMap<String, CellState>,
    /// Requests that were answered. Absent in snapshots of older nodes.
    #[serde(default, skip_serializing_if = "Remembered::is_empty")]
    remembered: Remembered,
    /// Who may do what. Absent in snapshots of older nodes.
    #[serde(default, skip_serializing_if = "AccessState::is_empty")]
    access: AccessState,
    /// Which requests take a second person. Absent in snapshots of older nodes.
    #[serde(default, skip_serializing_if = "Approvals::is_empty")]
    approvals: Approvals,
    /// Where audit records are sent to, and how far that is. Absent in snapshots of older nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    sinks: BTreeMap<String, SinkState>,
    /// Which request of which trace asked for an operation. Absent in snapshots of older nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    traces: BTreeMap<OperationId, TraceContext>,
}

impl Machine for CoreState {
    type Command = Command;
    type Reply = Reply;

    fn apply(&mut self, index: u64, command: Command) -> Reply {
        let now_ms = self.last_ms.max(command.at_ms);
        self.last_ms = now_ms;
        let Command { actor, change, key, origin, trace, .. } = command;
        let traced = traces::begun(&change, trace);
        self.audit.speaks(origin);
        let reply = self.answer(index, (now_ms, &actor), (key, change));
        self.audit.speaks(None);
        self.keep_trace(traced);
        reply
    }
}

impl CoreState {
    /// Makes the change, once for each key.
    fn answer(
        &mut self,
        index: u64,
        (now_ms, actor): (i64, &str),
        (key, change): (Option<RequestKey>, Change),
    ) -> Reply {
        let Some(key) = key else { return self.change(index, (now_ms, actor), change) };
        match self.remembered.find(actor, &key) {
            Some(Ok(reply)) => return reply.clone(),
            Some(Err(error)) => return Reply::Refused(error),
            None => {}
        }
        let reply = self.change(index, (now_ms, actor), change);
        self.remembered.keep(now_ms, actor, key, &reply);
        reply
    }

    fn change(&mut self, index: u64, (now_ms, asked_by): (i64, &str), change: Change) -> Reply {
        let shown = self.access.shown(asked_by, now_ms);
        let actor = shown.as_str();
        let by = (now_ms, actor);
        match change {
            Change::ApplyPair { spec, reason, condition } => {
                self.apply_pair(by, "pair.apply", spec, (reason, condition))
            }
            Change::RemovePair { pair, reason, condition } => {
                self.remove_pair(by, &pair, (reason, condition))
            }
            Change::RollBack { pair, version, reason, condition } => {
                self.roll_back(by, &pair, version, (reason, condition))
            }
            Change::Start { id, pair, kind, at_epoch, reason } => self.start(
                now_ms,
                actor,
                Operation {
                    id,
                    pair,
                    kind,
                    at_epoch,
                    actor: actor.to_owned(),
                    reason,
                    created_ms: now_ms,
                    ended_ms: None,
                    state: OperationState::Running,
                    cancel_requested: false,
                    steps: Vec::new(),
                },
            ),
            Change::RequestFailover(ask) => self.request_failover(now_ms, actor, ask),
            Change::Line { operation, step, outcome, detail } => {
                let line = StepRecord {
                    step,
                    outcome,
                    region: None,
                    at_ms: now_ms,
                    took_us: None,
                    detail,
                };
                self.core_line(now_ms, actor, &operation, line)
            }
            Change::Become { operation, state } => self.change_to(now_ms, actor, &operation, state),
            Change::Cancel { operation, reason } => self.cancel(now_ms, actor, &operation, reason),
            Change::Approve { operation, reason } => {
                self.approve(now_ms, actor, &operation, reason)
            }
            Change::Pause { pair, reason, for_ms } => {
                self.pause(now_ms, actor, pair, reason, for_ms)
            }
            Change::Resume { pair, reason } => self.resume(now_ms, actor, pair.as_ref(), reason),
            Change::Facts { region, entries } => self.take_facts(now_ms, actor, &region, entries),
            Change::WritesResumed { pair, epoch, outage_ms } => {
                self.writes_resumed(&pair, epoch, outage_ms)
            }
            Change::JournalReset { region } => self.reset_journal(now_ms, actor, region),
            Change::Note { action, reason, before, after } => {
                let line = Line { action, reason, before, after, ..Line::default() };
                self.audit.append(now_ms, actor, line);
                Reply::Done
            }
            Change::SinkProgress(progress) => self.sink_progress(progress),
            Change::SinkSettled { sink, positions } => self.sink_settled(by, &sink, &positions),
            Change::PutCell(put) => self.put_cell(index, put),
            Change::DeleteCell { key, expected } => self.delete_cell(&key, &expected),
            Change::Approval(change) => self.change_approvals(by, change),
            Change::Access(change) => self.change_access((now_ms, asked_by, actor), change),
        }
    }

    /// What a request was answered under its key; an error where another request had it.
    pub fn remembered(&self, actor: &str, key: &RequestKey) -> Option<Result<&Reply, ApiError>> {
        self.remembered.find(actor, key)
    }

    /// The core's time at `wall_ms`: it never goes back.
    pub fn now_ms(&self, wall_ms: i64) -> i64 {
        self.last_ms.max(wall_ms)
    }

    /// A pair's state, also when its spec was removed.
    pub fn pair(&self, pair: &PairId) -> Option<&PairState> {
        self.pairs.get(pair)
    }

    /// The spec in force of a pair and its version.
    pub fn spec(&self, pair: &PairId) -> Option<(u64, &PairSpec)> {
        self.pairs.get(pair)?.spec()
    }

    /// A pair with a spec in force, under the name that is kept.
    pub fn named(&self, pair: &PairId) -> Option<(&PairId, (u64, &PairSpec))> {
        let (name, known) = self.pairs.get_key_value(pair)?;
        Some((name, known.spec()?))
    }

    /// The spec of one version of a pair.
    pub fn spec_of_version(&self, pair: &PairId, version: u64) -> Option<&PairSpec> {
        let versions = &self.pairs.get(pair)?.versions;
        versions.iter().find(|one| one.version == version)?.spec.as_ref()
    }

    /// All pairs with a spec in force.
    pub fn specs(&self) -> impl Iterator<Item = (&PairId, u64, &PairSpec)> {
        self.pairs.iter().filter_map(|(id, pair)| {
            let (version, spec) = pair.spec()?;
            Some((id, version, spec))
        })
    }

    /// One operation.
    pub fn operation(&self, id: &OperationId) -> Option<&Operation> {
        self.operations.get(id)
    }

    /// All operations, by name.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.values()
    }

    /// Operations that are not final.
    pub fn unfinished(&self) -> impl Iterator<Item = &Operation> {
        self.operations.values().filter(|operation| !operation.state.is_final())
    }

    /// The operation that bars others on a pair: one that runs. One that has moved the pair bars
    /// nobody, or a second failure could not be answered while the first one's loser is away.
    pub fn running_on(&self, pair: &PairId) -> Option<&Operation> {
        self.running(pair).find(|operation| !waits_for_approval(operation))
    }

    /// The operation that bars a move from `epoch`: one that runs from it. What runs from an earlier
    /// one has had its epoch, and whoever won the lease by it may be dead before it took writes.
    pub fn barring(&self, pair: &PairId, epoch: Epoch) -> Option<&Operation> {
        self.running(pair).find(|operation| bars(operation) && operation.at_epoch >= epoch)
    }

    /// A rejoin that runs on a pair from `epoch`. It bars another one, and no move: whoever moves the
    /// pair ends it.
    pub fn rejoining(&self, pair: &PairId, epoch: Epoch) -> Option<&Operation> {
        let rejoins = |one: &&Operation| {
            matches!(one.kind, OperationKind::Rejoin { .. }) && one.at_epoch >= epoch
        };
        self.running(pair).find(rejoins)
    }

    /// A failover of a pair that an agent asked for and nobody has approved yet. It bars nothing:
    /// what somebody orders, or needs no approval, takes its place.
    pub fn proposed_on(&self, pair: &PairId) -> Option<&Operation> {
        self.running(pair).find(|operation| waits_for_approval(operation))
    }

    fn running<'a>(&'a self, pair: &PairId) -> impl Iterator<Item = &'a Operation> + use<'a> {
        let pair = pair.clone();
        self.operations
            .values()
            .filter(move |one| one.pair == pair && one.state == OperationState::Running)
    }

    /// The newest operation on a pair that is not final.
    pub fn under_way_on(&self, pair: &PairId) -> Option<&Operation> {
        self.unfinished()
            .filter(|operation| operation.pair == *pair)
            .max_by_key(|operation| (operation.created_ms, operation.id.clone()))
    }

    /// What an operation waits to have approved.
    pub fn waiting(&self, id: &OperationId) -> Option<&Waiting> {
        self.waiting.get(id)
    }

    /// Pauses in force at `now_ms`.
    pub fn pauses(&self, now_ms: i64) -> Vec<AutomationPause> {
        self.pause_all
            .iter()
            .chain(self.pauses.values())
            .filter(|pause| pause.in_force(now_ms))
            .map(pause_view)
            .collect()
    }

    /// The pause that bars automation of a pair at `now_ms`.
    pub fn pause_of(&self, pair: &PairId, now_ms: i64) -> Option<&Pause> {
        self.pause_all
            .iter()
            .chain(self.pauses.get(pair))
            .filter(|pause| pause.in_force(now_ms))
            .max_by_key(|pause| pause.until_ms)
    }

    /// Newest journal entry of a region that is in the replicated log.
    pub fn journal_seq(&self, region: &RegionId) -> u64 {
        self.journal_seq.get(region).copied().unwrap_or(0)
    }

    /// Records of the audit chain after a position, oldest first; an error with the first position
    /// that is kept where some of them were dropped.
    pub fn audit_after(&self, after: u64) -> Result<impl Iterator<Item = &AuditRecord>, u64> {
        self.audit.after(after)
    }

    /// The audit chain, oldest first.
    pub fn audit(&self) -> impl DoubleEndedIterator<Item = &AuditRecord> {
        self.audit.records()
    }

    /// Position and hash of the newest record that was dropped, and of all that are kept.
    pub fn audit_hashes(&self) -> impl Iterator<Item = (u64, &str)> {
        self.audit.hashes()
    }

    /// Verifies the audit chain.
    pub fn verify_audit(&self) -> AuditVerdict {
        self.audit.verify()
    }

    /// Writes the audit line of an operation's change.
    fn audit_operation(
        &mut self,
        (now_ms, actor): (i64, &str),
        operation: &Operation,
        action: &str,
        (reason, before, after): (String, String, String),
    ) {
        let kind = continuum_domain::sequence::kind_label(&operation.kind);
        let line = Line {
            action: format!("{kind}.{action}"),
            pair: Some(operation.pair.clone()),
            epoch: Some(operation.at_epoch),
            operation: Some(operation.id.clone()),
            reason,
            before,
            after,
        };
        self.audit.append(now_ms, actor, line);
    }
}

impl PairState {
    /// The spec in force and its version; `None` when the pair was removed.
    pub fn spec(&self) -> Option<(u64, &PairSpec)> {
        let last = self.versions.last()?;
        Some((last.version, last.spec.as_ref()?))
    }

    /// The newest epoch an agent reported.
    pub fn newest_epoch(&self) -> Option<(Epoch, &EpochRecord)> {
        self.epochs.last_key_value().map(|(epoch, record)| (*epoch, record))
    }
}

/// A pause as the API shows it.
fn pause_view(pause: &Pause) -> AutomationPause {
    AutomationPause {
        pair: pause.pair.clone(),
        reason: pause.reason.clone(),
        actor: pause.actor.clone(),
        until_ms: pause.until_ms,
    }
}

/// The state as one word for the audit chain.
fn state_word(state: &OperationState) -> String {
    match state {
        OperationState::Running => "running".into(),
        OperationState::Moved => "moved".into(),
        OperationState::Done => "done".into(),
        OperationState::Undone { reason } => format!("undone: {reason}"),
        OperationState::Refused { reasons } => format!("refused: {}", reasons.join("; ")),
        OperationState::Failed { reason } => format!("failed: {reason}"),
    }
}

/// Whether an operation that runs keeps others from the pair.
fn bars(operation: &Operation) -> bool {
    !waits_for_approval(operation) && !matches!(operation.kind, OperationKind::Rejoin { .. })
}

/// From where to where, for the audit chain.
fn kind_text(kind: &OperationKind) -> String {
    match kind {
        OperationKind::Switchover { from, to, method: Method::Clean } => format!("{from} -> {to}"),
        OperationKind::Switchover { from, to, method: Method::Hot } => {
            format!("{from} -> {to} (hot)")
        }
        OperationKind::Failover { from, to, trigger, .. } => {
            let from = from.as_ref().map_or("unknown", RegionId::as_str);
            format!("{from} -> {to} ({trigger})")
        }
        OperationKind::Pause { from } => format!("{from} -> nobody (pause)"),
        OperationKind::Resume { to } => format!("nobody -> {to} (resume)"),
        OperationKind::Rejoin { region, method: RejoinMethod::Retry } => {
            format!("{region} (rejoin: try again)")
        }
        OperationKind::Rejoin { region, method: RejoinMethod::Clone } => {
            format!("{region} (rejoin: fresh clone)")
        }
    }
}
