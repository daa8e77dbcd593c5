//! The sequencer of moves at the core: what to do next for an operation, given its journal and what
//! is known of the pair.
//!
//! [`decide`] is pure and keeps no state of its own: the journal is its memory, so that a new leader
//! that reads the same journal goes on where the old one stopped. Intent comes before effect: an
//! answer holds either journal lines or directives, and a directive is only ever sent when the line
//! that announces it stands in the journal already.
//!
//! ```text
//!             preflight, drain      StopWrites/started        register moved        ledger restored
//! (accepted) ------------------> . -------------------> . -----------------> Moved ---------------> Done
//!      |                         |                      |                      |
//!      v                         v                      v                      v
//!   Refused                    Undone     Undone (holder returned) / Failed   Failed (one copy)
//! ```
//!
//! The pair register is the truth (R14: the core never writes it): a higher epoch held by the target
//! means the pair moved, and from then on there is only forward; a higher epoch held by the old
//! holder means it returned (R15, R17). A directive carries the epoch it was decided at and is
//! refused at any other, so a late one is harmless.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, OperationId, RegionId};
use crate::mutation::{Bug, planted};
use crate::operation::{Operation, OperationKind, OperationState, Step, StepOutcome, StepRecord};
use crate::record::PairRecord;
use crate::traffic::DrainFailure;

pub mod drain;
pub mod failover;
pub mod rejoin;
pub mod rest;
mod switchover;
mod texts;

/// The trigger of a failover that a person ordered; all others come from an agent that asked.
pub const TRIGGER_ORDERED: &str = "ordered";

/// A directive is repeated after this long without visible progress.
pub const RESEND_MS: u64 = 1_000;
/// What a move needs must be measured within this time.
pub const PREFLIGHT_MS_MAX: i64 = 15_000;
/// The old holder must have returned this long after its own deadline (R17).
pub const RETURN_MS_MAX: i64 = 30_000;
/// After an abort was sent for this long, a holder that reports itself writable has not stopped.
pub const ABORT_SETTLE_MS: u64 = 3_000;
/// The new holder must accept writes this long after its epoch was seen.
pub const PROMOTE_MS_MAX: i64 = 60_000;
/// A region that was granted a failover must have taken over within this time.
pub const GRANT_MS_MAX: i64 = 60_000;
/// A region that was ordered to take over must have done so within this time.
pub const ORDER_MS_MAX: i64 = 120_000;
/// Somebody must approve within this time.
pub const APPROVAL_MS_MAX: i64 = 15 * 60_000;
/// The register must be readable again within this time.
pub const UNKNOWN_MS_MAX: i64 = 10 * 60_000;
/// Redundancy must be restored this long after a move.
pub const RESTORE_MS_MAX: i64 = 60 * 60_000;
/// How long the agents' own measurements are waited for once the ledger is whole again.
pub const TELL_MS_MAX: i64 = 2_000;
/// Most lines of one operation's journal.
pub const STEPS_MAX: usize = 256;

/// What the core knows of a pair while it decides. `None` is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoveFacts {
    /// The pair's register as read in this round.
    pub register: Option<PairRecord>,
    /// Reasons against the move as measured in this round; empty when it may start.
    pub preflight: Option<Vec<String>>,
    /// Whether the old holder's fresh report says it accepts writes.
    pub from_writable: Option<bool>,
    /// Whether the target's fresh report says it accepts writes.
    pub to_writable: Option<bool>,
    /// Whether the new primary sees another member stream.
    pub standby_streams: Option<bool>,
    /// Whether the pair's ledger decides about redundancy (not in `async`).
    pub synchronous: bool,
    /// The pair's `switchover_deadline`.
    pub switchover_deadline_ms: i64,
    /// Since this runner last sent a directive for the operation; `None` if it never did.
    pub directive_age_ms: Option<u64>,
    /// For how long this runner has been sending aborts.
    pub aborting_for_ms: Option<u64>,
    /// Regions whose agents say that they drive a switch which can hold the pair's clients back.
    pub switches: BTreeSet<RegionId>,
    /// The pair's `drain`.
    pub drain_ms: i64,
    /// The pair's `drain_failure`.
    pub drain_failure: DrainFailure,
    /// Since this runner last asked the old holder for a checkpoint.
    pub checkpoint_age_ms: Option<u64>,
    /// Members whose fresh word that their PostgreSQL is stopped for a pause is missing; `None` where
    /// none was heard.
    pub not_still: Option<BTreeSet<RegionId>>,
    /// Since this runner last tried to write the register's `paused`.
    pub bar_age_ms: Option<u64>,
    /// This runner has seen a write that takes `paused` back accepted, so that no earlier one of its
    /// kind can land any more (R9).
    pub unbarred: bool,
    /// Whether the member that is to rejoin streams, by its own fresh report.
    pub member_streams: Option<bool>,
    /// Since this runner last asked agents to hold clients back for the operation.
    pub drain_age_ms: Option<u64>,
}

/// What the runner is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "effect")]
pub enum CoreEffect {
    /// Write a line into the journal, then decide again.
    Journal {
        /// The step.
        step: Step,
        /// Its outcome.
        outcome: StepOutcome,
        /// For people.
        detail: String,
    },
    /// Send a directive to a region's agent, at the operation's epoch.
    Send {
        /// The region.
        to: RegionId,
        /// The order.
        order: CoreOrder,
    },
    /// Write `paused` into the pair's register, the one thing there that is the core's.
    SetPaused {
        /// Whether challengers are barred.
        paused: bool,
    },
    /// Change the operation's state.
    Become {
        /// The state.
        state: OperationState,
    },
}

/// Orders of the core to an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "order")]
pub enum CoreOrder {
    /// Stop, prove, hand over to `to`; return alone after `deadline_ms` (R17).
    SwitchOver {
        /// The target.
        to: RegionId,
        /// Milliseconds from receipt.
        deadline_ms: u64,
    },
    /// Return now (R15).
    AbortSwitchOver,
    /// Stop receiving, acquire and promote while the holder lives (R18); follow again alone after
    /// `deadline_ms`.
    TakeOver {
        /// Milliseconds from receipt.
        deadline_ms: u64,
    },
    /// Acquire as soon as the rules allow it.
    FailOver {
        /// A person approved a loss for exactly this epoch.
        allow_data_loss: bool,
    },
    /// Stop PostgreSQL and let go of the lease for a pause; go on alone after `deadline_ms`.
    Rest {
        /// Milliseconds from receipt.
        deadline_ms: u64,
    },
    /// Do without a member in the ledger for so long.
    KeepOut {
        /// The member.
        region: RegionId,
        /// Milliseconds from receipt.
        hold_ms: u64,
    },
    /// Rejoin at once.
    Rejoin {
        /// By a fresh copy of the holder.
        clone: bool,
        /// Milliseconds from receipt within which a copy may begin.
        deadline_ms: u64,
    },
    /// Write a checkpoint, so that the stop that follows is short.
    Checkpoint,
    /// Hold clients back at the traffic switches.
    HoldTraffic {
        /// Milliseconds from receipt that open transactions may take to end.
        drain_ms: u64,
        /// Milliseconds from receipt after which clients are let through, whatever became of the move.
        hold_ms: u64,
    },
    /// Let clients through: there is no move.
    ReleaseTraffic,
}

/// Where the register says the pair stands, seen from one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// The register could not be read.
    Unknown,
    /// At the epoch the operation started from.
    Before,
    /// The target holds a later epoch. Only forward from here.
    Moved(Epoch),
    /// The old holder holds a later epoch.
    Returned(Epoch),
    /// A later epoch is vacant or held by a third region.
    Elsewhere(Epoch, Option<RegionId>),
    /// The register shows an earlier epoch: it was damaged or restored.
    Behind(Epoch),
}

/// Reads the register from one operation's point of view.
pub fn position(operation: &Operation, register: Option<&PairRecord>) -> Position {
    let Some(record) = register else { return Position::Unknown };
    if record.epoch < operation.at_epoch {
        return Position::Behind(record.epoch);
    }
    if record.epoch == operation.at_epoch {
        return Position::Before;
    }
    match &record.holder {
        Some(holder) if holder == target(operation) => Position::Moved(record.epoch),
        Some(holder) if Some(holder) == origin(operation) => Position::Returned(record.epoch),
        other => Position::Elsewhere(record.epoch, other.clone()),
    }
}

/// The region an operation moves the pair to; of a pause, the one that is stopped; of a rejoin, the one
/// that rejoins.
pub fn target(operation: &Operation) -> &RegionId {
    match &operation.kind {
        OperationKind::Switchover { to, .. }
        | OperationKind::Failover { to, .. }
        | OperationKind::Resume { to } => to,
        OperationKind::Pause { from } => from,
        OperationKind::Rejoin { region, .. } => region,
    }
}

/// The region an operation moves the pair away from, if known.
pub fn origin(operation: &Operation) -> Option<&RegionId> {
    match &operation.kind {
        OperationKind::Switchover { from, .. } | OperationKind::Pause { from } => Some(from),
        OperationKind::Resume { .. } | OperationKind::Rejoin { .. } => None,
        OperationKind::Failover { from, .. } => from.as_ref(),
    }
}

/// The kind's name, as in its serialised form.
pub fn kind_label(kind: &OperationKind) -> &'static str {
    match kind {
        OperationKind::Switchover { .. } => "switchover",
        OperationKind::Failover { .. } => "failover",
        OperationKind::Pause { .. } => "pause",
        OperationKind::Resume { .. } => "resume",
        OperationKind::Rejoin { .. } => "rejoin",
    }
}

/// Decides what to do next. Empty when there is nothing to do but wait.
pub fn decide(operation: &Operation, facts: &MoveFacts, now_ms: i64) -> Vec<CoreEffect> {
    if operation.state.is_final() {
        return Vec::new();
    }
    drain::let_go(operation, facts, next(operation, facts, now_ms))
}

fn next(operation: &Operation, facts: &MoveFacts, now_ms: i64) -> Vec<CoreEffect> {
    let position = position(operation, facts.register.as_ref());
    match (&position, &operation.kind) {
        (Position::Behind(epoch), _) => failed(texts::register_behind(operation, *epoch)),
        (Position::Unknown, _) => unknown(operation, now_ms),
        (_, OperationKind::Pause { from }) => {
            rest::pause(operation, from, facts, &position, now_ms)
        }
        (_, OperationKind::Rejoin { region, method }) => {
            rejoin::decide(operation, (region, *method), facts, &position, now_ms)
        }
        (Position::Moved(_), _) if operation.cancel_requested && planted(Bug::UndoneAfterMove) => {
            undone(texts::CANCELLED_UNTOUCHED.into())
        }
        (Position::Moved(epoch), _) => forward(operation, facts, *epoch, now_ms),
        // The pair moved and then moved on: only the later move matters to it now.
        (Position::Returned(epoch) | Position::Elsewhere(epoch, _), _) if was_moved(operation) => {
            superseded(operation, *epoch)
        }
        // A register that shows the old epoch after the move was seen has lost writes.
        (Position::Before, _) if was_moved(operation) && !planted(Bug::MovedTwice) => {
            failed(texts::register_behind(operation, operation.at_epoch))
        }
        (_, OperationKind::Switchover { from, to, method }) => {
            let route = switchover::Route { from, to, method: *method };
            switchover::decide(operation, route, facts, &position, now_ms)
        }
        (_, OperationKind::Resume { to }) => rest::resume(operation, to, facts, &position, now_ms),
        (_, OperationKind::Failover { trigger, allow_data_loss, .. }) => {
            let ordered = trigger == TRIGGER_ORDERED;
            failover::decide(operation, (ordered, *allow_data_loss), facts, &position, now_ms)
        }
    }
}

/// After the commit point: forward only.
fn forward(operation: &Operation, facts: &MoveFacts, epoch: Epoch, now_ms: i64) -> Vec<CoreEffect> {
    let Some(seen_ms) = core_line(operation, Step::Verify, &StepOutcome::Started) else {
        let detail = format!("the register shows epoch {epoch}, holder {}", target(operation));
        return journal(Step::Verify, StepOutcome::Started, detail);
    };
    if operation.state == OperationState::Running {
        if has(operation, Step::Promote, &StepOutcome::Done) || facts.to_writable == Some(true) {
            return vec![CoreEffect::Become { state: OperationState::Moved }];
        }
        if now_ms >= seen_ms.saturating_add(PROMOTE_MS_MAX) {
            return failed(texts::not_promoted(operation, epoch));
        }
        return Vec::new();
    }
    if has(operation, Step::Verify, &StepOutcome::Done) {
        return vec![CoreEffect::Become { state: OperationState::Done }];
    }
    if !redundant(operation, facts) {
        if now_ms >= seen_ms.saturating_add(RESTORE_MS_MAX) {
            return failed(texts::not_redundant(operation, epoch));
        }
        return Vec::new();
    }
    let Some(restored_ms) = core_line(operation, Step::RestoreLedger, &StepOutcome::Started) else {
        let detail = "redundancy is restored".to_owned();
        return journal(Step::RestoreLedger, StepOutcome::Started, detail);
    };
    if !told(operation, facts) && now_ms < restored_ms.saturating_add(TELL_MS_MAX) {
        return Vec::new();
    }
    let detail = format!("{} holds epoch {epoch} and has a standby", target(operation));
    journal(Step::Verify, StepOutcome::Done, detail)
}

/// Whether the pair has its second copy again: the old holder (or, when it is unknown or lost for
/// good, any other member) is in the ledger; for `async`, a standby streams.
fn redundant(operation: &Operation, facts: &MoveFacts) -> bool {
    if !facts.synchronous {
        return facts.standby_streams == Some(true);
    }
    let Some(record) = &facts.register else { return false };
    match &operation.kind {
        OperationKind::Switchover { from, .. } => record.in_sync.contains_key(from),
        OperationKind::Pause { .. } | OperationKind::Rejoin { .. } => false,
        OperationKind::Failover { to, .. } | OperationKind::Resume { to } => {
            record.in_sync.keys().any(|region| region != to)
        }
    }
}

/// Whether the agents have told what they measured, so that the history is complete.
fn told(operation: &Operation, facts: &MoveFacts) -> bool {
    let last = if facts.synchronous { Step::RestoreLedger } else { Step::Rejoin };
    let done = |step: Step, by: &dyn Fn(&RegionId) -> bool| {
        operation.steps.iter().any(|line| {
            line.step == step
                && line.outcome == StepOutcome::Done
                && line.region.as_ref().is_some_and(by)
        })
    };
    // What the old holder had and nobody else is told when it has rejoined, over a link that may be
    // younger than its stream.
    let back = origin(operation).filter(|from| {
        facts.register.as_ref().is_some_and(|record| record.in_sync.contains_key(*from))
    });
    done(last, &|_| true)
        && done(Step::Promote, &|_| true)
        && back.is_none_or(|from| done(Step::Rejoin, &|region| region == from))
}

/// The register cannot be read: nothing is decided on a guess, but not for ever.
fn unknown(operation: &Operation, now_ms: i64) -> Vec<CoreEffect> {
    if operation.cancel_requested && !announced(operation) && !was_moved(operation) {
        return undone(texts::CANCELLED_UNTOUCHED.into());
    }
    let newest = operation
        .steps
        .iter()
        .filter(|line| line.region.is_none())
        .map(|line| line.at_ms)
        .max()
        .unwrap_or(operation.created_ms);
    let limit = match operation.state {
        OperationState::Moved => RESTORE_MS_MAX,
        // Nothing of a rejoin waits for the register, and a copy takes long.
        _ if matches!(operation.kind, OperationKind::Rejoin { .. }) => rejoin::CLONE_MS_MAX,
        _ => UNKNOWN_MS_MAX,
    };
    if now_ms < newest.saturating_add(limit) {
        return Vec::new();
    }
    if announced(operation) || was_moved(operation) {
        return failed(texts::register_unknown(operation));
    }
    refused(vec![texts::NOT_MEASURED.into()])
}

fn superseded(operation: &Operation, epoch: Epoch) -> Vec<CoreEffect> {
    if !has(operation, Step::Promote, &StepOutcome::Done)
        && operation.state != OperationState::Moved
    {
        return failed(texts::superseded_unpromoted(operation, epoch));
    }
    if !has(operation, Step::Verify, &StepOutcome::Done) {
        let detail = format!(
            "{} accepted writes; the pair has since moved on to epoch {epoch}",
            target(operation)
        );
        return journal(Step::Verify, StepOutcome::Done, detail);
    }
    if operation.state == OperationState::Running {
        return vec![CoreEffect::Become { state: OperationState::Moved }];
    }
    vec![CoreEffect::Become { state: OperationState::Done }]
}

/// Why an operation ended that still ran when the pair was about to leave `epoch` by another one.
pub fn overtaken(epoch: Epoch, by: &OperationId) -> String {
    texts::overtaken(epoch, by)
}

/// Whether the journal proves that the target became holder: the core saw it, or the target's agent
/// says so.
pub fn was_moved(operation: &Operation) -> bool {
    if matches!(operation.kind, OperationKind::Rejoin { .. }) {
        return false;
    }
    if matches!(operation.kind, OperationKind::Pause { .. }) {
        return core_line(operation, Step::Verify, &StepOutcome::Started).is_some();
    }
    core_line(operation, Step::Verify, &StepOutcome::Started).is_some()
        || operation.state == OperationState::Moved
        || operation.steps.iter().any(|line| {
            line.region.as_ref() == Some(target(operation))
                && matches!(line.step, Step::Commit | Step::Promote)
                && line.outcome == StepOutcome::Done
        })
}

/// Whether an operation can still be called off.
pub fn may_cancel(operation: &Operation) -> bool {
    let resuming = matches!(operation.kind, OperationKind::Resume { .. });
    let past = was_moved(operation)
        || (resuming && core_line(operation, Step::Bar, &StepOutcome::Started).is_some());
    operation.state == OperationState::Running && !past
}

/// Whether a directive was ever announced or a failover granted, so that something may have been
/// touched.
pub fn announced(operation: &Operation) -> bool {
    let granted = match &operation.kind {
        OperationKind::Failover { trigger, .. } => {
            trigger != TRIGGER_ORDERED && !failover::waits_for_approval(operation)
        }
        OperationKind::Switchover { .. }
        | OperationKind::Pause { .. }
        | OperationKind::Resume { .. } => {
            core_line(operation, Step::Bar, &StepOutcome::Started).is_some()
        }
        OperationKind::Rejoin { .. } => {
            core_line(operation, Step::Rejoin, &StepOutcome::Started).is_some()
        }
    };
    granted
        || core_line(operation, Step::StopWrites, &StepOutcome::Started).is_some()
        || core_line(operation, Step::Commit, &StepOutcome::Started).is_some()
}

/// When the core wrote this line, by its own time.
fn core_line(operation: &Operation, step: Step, outcome: &StepOutcome) -> Option<i64> {
    operation
        .steps
        .iter()
        .find(|line| line.region.is_none() && line.step == step && line.outcome == *outcome)
        .map(|line| line.at_ms)
}

fn has(operation: &Operation, step: Step, outcome: &StepOutcome) -> bool {
    operation.steps.iter().any(|line| line.step == step && line.outcome == *outcome)
}

fn due(facts: &MoveFacts) -> bool {
    facts.directive_age_ms.is_none_or(|age| age >= RESEND_MS)
}

fn journal(step: Step, outcome: StepOutcome, detail: String) -> Vec<CoreEffect> {
    vec![CoreEffect::Journal { step, outcome, detail }]
}

fn undone(reason: String) -> Vec<CoreEffect> {
    vec![CoreEffect::Become { state: OperationState::Undone { reason } }]
}

fn failed(reason: String) -> Vec<CoreEffect> {
    vec![CoreEffect::Become { state: OperationState::Failed { reason } }]
}

fn refused(reasons: Vec<String>) -> Vec<CoreEffect> {
    vec![CoreEffect::Become { state: OperationState::Refused { reasons } }]
}

/// Preflight and its deadline, common to both kinds: `None` when everything needed was measured in
/// this round and nothing speaks against the move.
fn preflight(operation: &Operation, facts: &MoveFacts, now_ms: i64) -> Option<Vec<CoreEffect>> {
    match &facts.preflight {
        None if now_ms >= operation.created_ms.saturating_add(PREFLIGHT_MS_MAX) => {
            Some(refused(vec![texts::NOT_MEASURED.into()]))
        }
        None => Some(Vec::new()),
        Some(reasons) if !reasons.is_empty() => Some(refused(reasons.clone())),
        Some(_) if core_line(operation, Step::Preflight, &StepOutcome::Done).is_none() => {
            let detail = "nothing speaks against the move".to_owned();
            Some(journal(Step::Preflight, StepOutcome::Done, detail))
        }
        Some(_) => None,
    }
}

/// What became of a line offered to a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It was added.
    Added,
    /// It stands there already.
    Duplicate,
    /// The operation has ended: the line changes nothing.
    Late,
    /// The journal is full: the line changes nothing.
    Full,
}

/// Offers a line to an operation's journal.
pub fn record(operation: &mut Operation, line: StepRecord) -> Recorded {
    let late = operation.state.is_final();
    if late && !(was_moved(operation) && is_convergence(&line)) {
        return Recorded::Late;
    }
    let known = operation.steps.iter().any(|old| match &line.region {
        // Two leaders may both write a core line; it counts once, at its first time.
        None => old.region.is_none() && old.step == line.step && old.outcome == line.outcome,
        Some(_) => *old == line,
    });
    if known {
        return Recorded::Duplicate;
    }
    if operation.steps.len() >= STEPS_MAX {
        return Recorded::Full;
    }
    operation.steps.push(line);
    if late { Recorded::Late } else { Recorded::Added }
}

/// Whether a line tells how long names took to follow. Servers of names may be slower than all else of
/// a move: that is kept with its operation also when it has ended.
fn is_convergence(line: &StepRecord) -> bool {
    (line.step, &line.outcome) == (Step::Traffic, &StepOutcome::Done)
        && line.region.is_some()
        && line.took_us.is_some()
}

/// Changes an operation's state; `false` when the change is not one that can happen.
pub fn transition(operation: &mut Operation, state: OperationState, now_ms: i64) -> bool {
    let allowed = match (&operation.state, &state) {
        (_, OperationState::Running) => false,
        // A pause and a rejoin move nothing, and neither does a resumption that another member was
        // quicker with.
        (OperationState::Running, OperationState::Done) => matches!(
            operation.kind,
            OperationKind::Pause { .. }
                | OperationKind::Resume { .. }
                | OperationKind::Rejoin { .. }
        ),
        (OperationState::Running, _) => true,
        // The pair moved: there is no way back (R14), and nothing left to refuse.
        (OperationState::Moved, OperationState::Done | OperationState::Failed { .. }) => true,
        _ => false,
    };
    if allowed {
        if state.is_final() {
            operation.ended_ms = Some(now_ms);
        }
        operation.state = state;
    }
    allowed
}
