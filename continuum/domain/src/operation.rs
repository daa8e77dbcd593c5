//! Operations: what was asked or decided, step by step, as the journal keeps it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, OperationId, PairId, RegionId};

/// A step of a move, in the order they happen (section 6 of the design).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Everything the move needs is checked; nothing is touched.
    Preflight,
    /// Traffic is led away from the old primary.
    Drain,
    /// Failover: what resolvers say of the holder's health name.
    Corroborate,
    /// Failover: the holder's silence (or its own word) made a move due.
    Detect,
    /// The old primary's PostgreSQL is stopped cleanly.
    StopWrites,
    /// The target has replayed exactly to the shutdown checkpoint.
    ProveCatchUp,
    /// The stopped holder wrote `handover_to` (switchover only).
    HandOver,
    /// The new holder won epoch + 1. The commit point.
    Commit,
    /// The new primary accepts writes.
    Promote,
    /// Names and health URLs point at the new primary.
    Traffic,
    /// The old primary streams from the new one, lineage proven.
    Rejoin,
    /// The in-sync ledger lists the standby again.
    RestoreLedger,
    /// Outcome verified and measured.
    Verify,
    /// Pause and resumption: challengers are barred, or let in again.
    Bar,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum StepOutcome {
    /// Journalled before acting.
    Started,
    /// Done.
    Done,
    /// Did not happen, with the reason.
    Failed {
        /// What happened and what it means.
        reason: String,
    },
    /// Undone: the state before the operation stands again.
    Undone,
}

/// One journalled line of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepRecord {
    /// Which step.
    pub step: Step,
    /// Outcome.
    pub outcome: StepOutcome,
    /// Where it was done; `None` for the core itself.
    pub region: Option<RegionId>,
    /// Wall clock of the reporter, milliseconds since 1970; for people.
    pub at_ms: i64,
    /// Measured duration in microseconds, where one was measured.
    pub took_us: Option<u64>,
    /// For people: positions, names, reasons.
    pub detail: String,
}

/// How a planned move is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The old primary is stopped, its last WAL proven at the target, the lease handed over. For every
    /// durability.
    #[default]
    Clean,
    /// The target takes over from the living primary by the ledger, which is stopped afterwards and
    /// rejoins by rewind. A tenth of the write gap; where the ledger decides who can acknowledge.
    Hot,
}

/// How a member is brought back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RejoinMethod {
    /// It tries again at once what it would try by itself, without waiting and as if for the first time.
    #[default]
    Retry,
    /// Its data directory is replaced by a fresh copy of the holder's.
    Clone,
}

/// What kind of operation it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum OperationKind {
    /// Planned move; loses nothing.
    Switchover {
        /// The holder when it was asked for.
        from: RegionId,
        /// The target.
        to: RegionId,
        /// How.
        #[serde(default)]
        method: Method,
    },
    /// Unplanned move.
    Failover {
        /// The holder that was lost, if known.
        from: Option<RegionId>,
        /// The region that takes over.
        to: RegionId,
        /// What made it due.
        trigger: String,
        /// Decided by the agent alone, without the core.
        autonomous: bool,
        /// A person approved that acknowledged writes may be lost, for exactly `at_epoch`.
        allow_data_loss: bool,
    },
    /// PostgreSQL is stopped everywhere, on purpose, and stays so until a resumption.
    Pause {
        /// The holder when it was asked for.
        from: RegionId,
    },
    /// A member is brought back behind its holder, on a person's word.
    Rejoin {
        /// The member.
        region: RegionId,
        /// How.
        method: RejoinMethod,
    },
    /// The end of a pause.
    Resume {
        /// The region that is to hold the pair.
        to: RegionId,
    },
}

/// Where an operation stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum OperationState {
    /// Going on.
    Running,
    /// The pair moved; restoring redundancy goes on in the background of this operation.
    Moved,
    /// Finished, redundancy restored.
    Done,
    /// Finished; the state before stands again.
    Undone {
        /// Why.
        reason: String,
    },
    /// Refused before anything was touched.
    Refused {
        /// Every reason.
        reasons: Vec<String>,
    },
    /// Ended otherwise; says what a person must do.
    Failed {
        /// What happened, what it means, what to do.
        reason: String,
    },
}

impl OperationState {
    /// Whether nothing more will happen.
    pub fn is_final(&self) -> bool {
        !matches!(self, OperationState::Running | OperationState::Moved)
    }
}

/// One operation with its journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Operation {
    /// Its name.
    pub id: OperationId,
    /// The pair.
    pub pair: PairId,
    /// What it is.
    pub kind: OperationKind,
    /// The epoch it started from; the move is epoch + 1 or higher.
    pub at_epoch: Epoch,
    /// Who asked.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When it was accepted, milliseconds since 1970.
    pub created_ms: i64,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// Where it stands.
    pub state: OperationState,
    /// Whether somebody asked to cancel it; honoured up to the commit point.
    pub cancel_requested: bool,
    /// The journal, oldest first.
    pub steps: Vec<StepRecord>,
}
