//! What the pair machine is told and what it asks for.

use std::time::Duration;

use crate::corroborate::{Corroboration, Resolver, ResolverAnswer};
use crate::ids::{DataDirectoryId, Epoch, Generation, Lsn, OperationId, RegionId, TimelineId};
use crate::observation::{ActuatorStatus, ControlData, Lineage, Observation};
use crate::operation::{Step, StepOutcome};
use crate::record::{PairRecord, SessionRecord, Version};
use crate::spec::PairSpec;
use crate::sync_names::SyncNames;
use crate::time::Tick;

/// The session as its keeper knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionView {
    /// Rises with each incarnation that the witness acknowledged; 0 before the first.
    pub life: u64,
    /// Until when the session is valid on the local clock; `None` when it lapsed or never began.
    pub valid_until: Option<Tick>,
    /// When the witness last answered anything.
    pub witness_answered: Option<Tick>,
}

impl SessionView {
    /// Whether the session is valid at `now`.
    pub fn valid(&self, now: Tick) -> bool {
        self.valid_until.is_some_and(|until| now < until)
    }
}

/// Answer to a compare-and-swap of the pair register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CasAnswer {
    /// It took effect, at this version.
    Accepted(Version),
    /// It did not; this is what the register held.
    Refused(Option<(Version, PairRecord)>),
    /// Nobody knows (R9).
    Unanswered,
    /// Certainly not carried out.
    NotSent,
}

/// What a data-plane command brought.
#[derive(Clone, Debug, PartialEq)]
pub enum PlaneOutcome {
    /// Done.
    Done,
    /// Promotion done.
    Promoted {
        /// New timeline.
        timeline: TimelineId,
        /// Its first position.
        starts_at: Lsn,
    },
    /// `pg_control`.
    Control(ControlData),
    /// The canary.
    Canary {
        /// Its backend waits in `SyncRep`.
        waiting: bool,
        /// Position at or past its commit record.
        commit_lsn: Option<Lsn>,
    },
    /// Position at or past the record that was written.
    Woken(Lsn),
    /// No WAL receiver is left, and WAL was received up to here.
    Stopped(Lsn),
    /// A data directory was made or changed.
    Directory(DataDirectoryId),
    /// Lineage of the stopped member.
    Lineage(Lineage),
    /// The divergent tail is saved.
    Tail {
        /// Where.
        path: String,
        /// Commit records in it.
        commits: u64,
    },
    /// It failed, and certainly has no further effect.
    Failed(String),
    /// Nobody knows whether it took or will take effect.
    Unknown(String),
}

/// What can happen to a pair machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Time passed.
    Wake,
    /// The spec changed.
    Spec(u64, PairSpec),
    /// The core's word on this pair's automation, with the specs.
    AutomationPaused(bool),
    /// The session changed.
    Session(SessionView),
    /// The actuator was taken (R4), with its state.
    Taken(Generation, ActuatorStatus),
    /// The guard does not answer.
    GuardLost(String),
    /// The actuator's state changed.
    Status(ActuatorStatus),
    /// A look by SQL.
    Observed(Observation),
    /// A read of the pair register, sent at `sent`.
    PairRead {
        /// When it was sent.
        sent: Tick,
        /// What came back; the error is for people.
        answer: Result<Option<(Version, PairRecord)>, String>,
    },
    /// The compare-and-swap under way was answered.
    PairCas(CasAnswer),
    /// A read of another region's session register, sent at `sent`.
    SessionRead {
        /// Whose.
        region: RegionId,
        /// When it was sent.
        sent: Tick,
        /// What came back.
        answer: Result<Option<SessionRecord>, String>,
    },
    /// The guard confirmed a deadline.
    Armed {
        /// Under which epoch.
        epoch: Epoch,
        /// Which deadline.
        deadline: Tick,
    },
    /// The data-plane command under way ended.
    Plane(PlaneOutcome),
    /// The immediate stop ended; `Ok` means no process is left.
    FenceEnded(Result<(), String>),
    /// The core's stream came up or went down.
    CoreLink(bool),
    /// The core answered a grant request for `epoch`.
    Granted {
        /// The epoch it counts for.
        epoch: Epoch,
        /// The answer.
        grant: Grant,
    },
    /// A resolver answered, or could not be asked.
    ResolverAnswered {
        /// The question's.
        question: u64,
        /// Who.
        resolver: Resolver,
        /// What it said.
        answer: ResolverAnswer,
    },
    /// The core ordered a switchover, decided at `epoch`.
    SwitchOver {
        /// The operation.
        operation: OperationId,
        /// The epoch it was decided at.
        epoch: Epoch,
        /// The target.
        to: RegionId,
        /// From now.
        deadline: Duration,
    },
    /// The core ordered the switchover to be undone.
    AbortSwitchOver {
        /// The operation.
        operation: OperationId,
    },
    /// The core ordered the pair to be stopped for a pause, decided at `epoch`.
    Rest {
        /// The operation.
        operation: OperationId,
        /// The epoch it was decided at.
        epoch: Epoch,
        /// From now; a holder that was not stopped by then goes on.
        deadline: Duration,
    },
    /// The core asked the holder to do without a member in the ledger, decided at `epoch`.
    KeepOut {
        /// The operation.
        operation: OperationId,
        /// The epoch it was decided at.
        epoch: Epoch,
        /// The member.
        region: RegionId,
        /// From now; after it the member may be listed again.
        hold: Duration,
    },
    /// The core ordered this member to rejoin at once, decided at `epoch`.
    Rejoin {
        /// The operation.
        operation: OperationId,
        /// The epoch it was decided at.
        epoch: Epoch,
        /// By a fresh copy, whatever its own history is.
        clone: bool,
        /// From now; a copy that has not begun by then is not begun.
        deadline: Duration,
    },
    /// The core ordered this standby to take over, decided at `epoch`.
    FailOver {
        /// The operation.
        operation: OperationId,
        /// The epoch it was decided at.
        epoch: Epoch,
        /// A person approved a loss for exactly this epoch.
        allow_data_loss: bool,
    },
    /// The core ordered this standby to take over from the living holder, decided at `epoch`.
    TakeOver {
        /// The operation.
        operation: OperationId,
        /// The epoch it was decided at.
        epoch: Epoch,
        /// From now; after it the standby follows again by itself.
        deadline: Duration,
    },
    /// The agent of another region answered when it was asked whether it lives.
    PeerHeard {
        /// Which.
        region: RegionId,
        /// When the answer came.
        at: Tick,
    },
    /// The host of another region's agent is there, and nobody listens.
    PeerRefused {
        /// Which.
        region: RegionId,
        /// When.
        at: Tick,
    },
    /// A peer answered whether it replayed to the shutdown checkpoint.
    PeerReplayed {
        /// Who.
        region: RegionId,
        /// Its data directory when it has; the reason when not.
        answer: Result<DataDirectoryId, String>,
    },
    /// A peer said which data directory it runs on.
    PeerIdentity {
        /// Who.
        region: RegionId,
        /// `None`: none that is whole, or no answer.
        data_directory: Option<DataDirectoryId>,
    },
    /// A peer promised, or not, when asked at `sent` (R20).
    PeerPromised {
        /// Who.
        region: RegionId,
        /// When it was asked.
        sent: Tick,
        /// For how long.
        hold: Duration,
        /// Whether it promised.
        promised: bool,
    },
    /// The holder asks this member for a promise (R20).
    PromiseAsked {
        /// Repeated in the answer.
        request: u64,
        /// Who asks.
        from: RegionId,
        /// The asker's epoch.
        epoch: Epoch,
        /// For how long.
        hold: Duration,
    },
    /// The promise of `request` is on disk, or could not be written.
    PromiseStored {
        /// Which.
        request: u64,
        /// Whether it is on disk.
        stored: bool,
    },
    /// A peer says that the register changed.
    Nudged,
}

impl Event {
    /// Its kind in one word, for counting.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Wake => "wake",
            Self::Spec(..) => "spec",
            Self::AutomationPaused(_) => "automation-paused",
            Self::Session(_) => "session",
            Self::Taken(..) => "taken",
            Self::GuardLost(_) => "guard-lost",
            Self::Status(_) => "status",
            Self::Observed(_) => "observed",
            Self::PairRead { .. } => "pair-read",
            Self::PairCas(_) => "pair-cas",
            Self::SessionRead { .. } => "session-read",
            Self::Armed { .. } => "armed",
            Self::Plane(_) => "plane",
            Self::FenceEnded(_) => "fence-ended",
            Self::CoreLink(_) => "core-link",
            Self::Granted { .. } => "granted",
            Self::ResolverAnswered { .. } => "resolver-answered",
            Self::SwitchOver { .. } => "switch-over",
            Self::AbortSwitchOver { .. } => "abort-switch-over",
            Self::Rest { .. } => "rest",
            Self::FailOver { .. } => "fail-over",
            Self::TakeOver { .. } => "take-over",
            Self::KeepOut { .. } => "keep-out",
            Self::Rejoin { .. } => "rejoin",
            Self::PeerHeard { .. } => "peer-heard",
            Self::PeerRefused { .. } => "peer-refused",
            Self::PeerReplayed { .. } => "peer-replayed",
            Self::PeerIdentity { .. } => "peer-identity",
            Self::PeerPromised { .. } => "peer-promised",
            Self::PromiseAsked { .. } => "promise-asked",
            Self::PromiseStored { .. } => "promise-stored",
            Self::Nudged => "nudged",
        }
    }
}

/// The core's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Go.
    Granted {
        /// Under this operation.
        operation: OperationId,
        /// A loss is approved.
        allow_data_loss: bool,
        /// A person gave the word, and not the core by its rules.
        by_person: bool,
    },
    /// Do not, and why.
    Denied(Vec<String>),
}

/// One command of the data plane; one is under way at a time, besides `Arm` and `Fence`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaneCommand {
    /// Create the first primary's data directory.
    Initialise,
    /// Start as a standby.
    Start {
        /// Names to stand at least.
        names: SyncNames,
        /// From whom to stream.
        upstream: Option<RegionId>,
    },
    /// Promote.
    Promote {
        /// Names to stand before the first client is let in.
        names: SyncNames,
    },
    /// Set exactly these names.
    SetNames(SyncNames),
    /// Stream from there, or from nobody.
    Follow(Option<RegionId>),
    /// Stream from nobody, and see that no WAL receiver is left (R18).
    StopReceiving,
    /// Stop cleanly.
    StopFast,
    /// Checkpoint.
    Checkpoint,
    /// Read `pg_control`.
    ControlData,
    /// Replication roles and slots.
    EnsureReplication,
    /// Start the canary commit.
    StartCanary,
    /// Look at the canary.
    LookCanary,
    /// Write one record without waiting.
    WakeWaiters,
    /// Compare histories with the holder's.
    Lineage(RegionId),
    /// Save the divergent tail.
    SaveTail {
        /// Fork position.
        fork: Lsn,
        /// Own timeline.
        timeline: TimelineId,
    },
    /// Rewind to the holder's history.
    Rewind(RegionId),
    /// Replace by a base backup of the holder.
    Reclone(RegionId),
}

/// A fact for the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A step of the operation under way.
    Step {
        /// Which.
        step: Step,
        /// Outcome.
        outcome: StepOutcome,
        /// Measured.
        took: Option<Duration>,
        /// For people.
        detail: String,
    },
    /// This region became holder.
    Acquired {
        /// Why it was allowed.
        by: &'static str,
        /// The holder before.
        from: Option<RegionId>,
        /// Without the core.
        autonomous: bool,
    },
    /// The lease was given up after a proven stop.
    Released(String),
    /// PostgreSQL was stopped to keep the invariant.
    Fenced(String),
    /// The ledger changed.
    Ledger {
        /// Before.
        before: Vec<RegionId>,
        /// After.
        after: Vec<RegionId>,
        /// Why.
        reason: String,
    },
    /// The holder waits for every listed member from now on, or does not, and why.
    Premise {
        /// Whether it does.
        holds: bool,
        /// Why not.
        reasons: Vec<String>,
    },
    /// The member follows the holder again.
    Rejoined {
        /// How.
        how: &'static str,
        /// Where the tail was saved, and its commits.
        artefact: Option<(String, u64)>,
        /// Fork and end.
        span: Option<(Lsn, Lsn)>,
    },
    /// A named state was entered or left.
    Blocked(Option<Blocked>),
}

/// A named state that a person should know of (I5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Stable code.
    pub code: &'static str,
    /// What happened and what it means for the data.
    pub meaning: String,
    /// What to do.
    pub action: &'static str,
}

/// What the machine asks for. Every effect that can lose data carries its epoch.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Take the actuator.
    Take,
    /// Read the pair register.
    ReadPair,
    /// Learn what stands in another region's session register. The holder's session is the same for
    /// all its pairs: a read that another pair asked for does as well, if it is not too old.
    ReadSession {
        /// Whose.
        region: RegionId,
        /// An answer counts when its read was sent at this instant or later.
        not_before: Tick,
    },
    /// Compare-and-swap the pair register; one is under way at a time.
    Cas {
        /// Expected version.
        expected: Version,
        /// New value.
        value: PairRecord,
    },
    /// Arm the guard.
    Arm {
        /// Under this epoch.
        epoch: Epoch,
        /// Stop at this instant.
        deadline: Tick,
    },
    /// Stop PostgreSQL immediately; overtakes everything.
    Fence {
        /// Under this epoch.
        epoch: Epoch,
        /// Why.
        reason: String,
    },
    /// A data-plane command.
    Plane {
        /// Under this epoch.
        epoch: Epoch,
        /// The command.
        command: PlaneCommand,
    },
    /// Ask the core.
    AskGrant {
        /// The epoch that would be superseded.
        epoch: Epoch,
        /// What made it due.
        trigger: String,
        /// Why this member.
        evidence: String,
        /// It is in the in-sync ledger: it has every acknowledged commit.
        listed: bool,
        /// Lag behind the silent holder, if it was measured lately.
        lag_bytes: Option<u64>,
        /// What resolvers say of the holder's health name, where the spec asks for it and they were
        /// asked lately.
        corroboration: Option<Corroboration>,
    },
    /// Ask one resolver for the addresses of a name. It ends in one [`Event::ResolverAnswered`].
    AskResolver {
        /// Repeated in the answer.
        question: u64,
        /// Whom.
        resolver: Resolver,
        /// For what.
        name: String,
        /// Longest wait; what is not known by then is unknown.
        deadline: Duration,
    },
    /// Ask a peer whether it has replayed to here.
    AskReplayed {
        /// Whom.
        region: RegionId,
        /// Own epoch.
        epoch: Epoch,
        /// Timeline of the shutdown checkpoint.
        timeline: TimelineId,
        /// Position.
        lsn: Lsn,
        /// Longest wait.
        wait: Duration,
    },
    /// Ask a peer for its data directory.
    AskIdentity {
        /// Whom.
        region: RegionId,
        /// Epoch of this holder: the peer answers only if it is proven to follow it.
        epoch: Epoch,
    },
    /// Ask a peer for a promise.
    AskPromise {
        /// Whom.
        region: RegionId,
        /// Own epoch.
        epoch: Epoch,
        /// For how long.
        hold: Duration,
    },
    /// Write the promise to disk before it is given.
    StorePromise {
        /// Which.
        request: u64,
        /// For how long from now, drift included.
        hold: Duration,
    },
    /// Answer the holder that asked for a promise.
    AnswerPromise {
        /// Which.
        request: u64,
        /// The reason when refused.
        answer: Result<(), String>,
    },
    /// Tell the other members that the register changed.
    NudgePeers,
    /// Make the names point here or, while the pair rests, say what its spec wants said then.
    PublishNames {
        /// Under this epoch.
        epoch: Epoch,
    },
    /// A fact for the journal.
    Note {
        /// Under this epoch.
        epoch: Epoch,
        /// Of this operation.
        operation: Option<OperationId>,
        /// The fact.
        note: Note,
    },
}
