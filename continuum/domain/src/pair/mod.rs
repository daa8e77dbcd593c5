//! One pair as one region's agent runs it.
//!
//! The machine is level-triggered: every event updates what is known, then [`PairMachine::step`]
//! looks at all of it and asks for what is missing. A crash at any point is therefore no special
//! case: the next agent starts from nothing but the register, the guard's state and PostgreSQL.
//!
//! | the register says | and this region | then |
//! |---|---|---|
//! | nothing | is the first primary | create the data directory, then the pair |
//! | holder: me | has not confirmed it in this session | epoch + 1 by CAS (R5, R15), nothing before |
//! | holder: me | has confirmed it | arm, start, promote, keep names and ledger ([`holder`]) |
//! | holder: other | runs as primary | fence at once |
//! | holder: other | is stopped or a standby | rejoin and follow; challenge by the rules ([`standby`]) |
//! | holder: nobody | is in the ledger | acquire the vacancy |

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::{DataDirectoryId, Epoch, Generation, Lsn, OperationId, PairId, RegionId};
use crate::observation::{ActuatorStatus, Observation, ProcessState, SqlView};
use crate::record::PairRecord;
use crate::spec::PairSpec;
use crate::sync_names::SyncNames;
use crate::time::Tick;
use crate::timing::Timing;

mod acquire;
mod asking;
mod corroboration;
mod events;
mod growth;
mod handover;
mod holder;
mod ordered;
mod premise;
mod promise;
mod register;
mod rejoin;
mod rest;
mod shrink;
mod stall;
mod standby;
mod status;
mod suspicion;
mod takeover;
pub mod types;
mod window;

pub use acquire::RESUMED;
pub use status::{PairStatus, RoleView};
pub use takeover::{BY_HOT, BY_LEDGER};

use register::{Purpose, Register};
use types::{Blocked, Effect, Event, Note, PlaneCommand, SessionView};
use window::Window;

/// How often an unanswered or repeated question is asked again.
const ASK_INTERVAL: Duration = Duration::from_secs(1);
/// Names are published again this often although nothing changed (level-triggered).
const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);
/// A data-plane command that failed is not repeated sooner.
const PLANE_RETRY: Duration = Duration::from_millis(300);

/// The pair register was confirmed as ours in this session life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Confirmed {
    life: u64,
    epoch: Epoch,
    since: Tick,
}

/// A data-plane command under way.
#[derive(Clone, Debug)]
struct PlaneSlot {
    command: PlaneCommand,
    epoch: Epoch,
    started: Tick,
    /// A stop was proven since: the guard carries out nothing any more that it admitted before.
    overtaken: bool,
}

/// An approval to take over at exactly this epoch.
#[derive(Clone, Debug)]
struct Approval {
    epoch: Epoch,
    operation: OperationId,
    allow_data_loss: bool,
    /// A person gave it, and not the core by its rules.
    by_person: bool,
}

/// Asking the core.
#[derive(Clone, Debug, Default)]
struct Asking {
    epoch: Option<Epoch>,
    first_asked: Option<Tick>,
    last_asked: Option<Tick>,
    denied: Option<Vec<String>>,
}

/// The machine of one pair in one region.
#[derive(Clone, Debug)]
pub struct PairMachine {
    me: RegionId,
    pair: PairId,
    timing: Timing,
    spec: PairSpec,
    spec_version: u64,
    automation_paused: bool,

    session: SessionView,
    life_began: Tick,
    register: Register,
    window: Window,
    last_session_read: Option<Tick>,
    reading_session: bool,
    confirmed: Option<Confirmed>,

    taking: bool,
    generation: Option<Generation>,
    /// Newest epoch the guard had heard of when this agent first took it.
    first_taken_at: Option<Epoch>,
    actuator: Option<ActuatorStatus>,
    guard_lost: Option<String>,
    observation: Observation,
    /// When a PostgreSQL process was last seen gone: looks by SQL from before are of no use.
    process_gone: Tick,
    /// End of WAL at the primary as the receiver last heard it, and when that was looked at.
    upstream_end: Option<(Tick, Lsn)>,
    plane: Option<PlaneSlot>,
    plane_not_before: Tick,
    plane_error: Option<String>,
    fencing: bool,
    fence_retry: Tick,
    armed: Option<(Epoch, Tick)>,
    arm_sent: Option<(Epoch, Tick)>,
    /// `None`: not known, set them again.
    names: Option<SyncNames>,
    /// `None`: not known, point it again.
    following: Option<Option<RegionId>>,
    replication_ready: bool,
    published: Option<(Epoch, Tick)>,
    last_publish_sent: Option<Tick>,
    wake_waiters: bool,
    /// When the names last lost one, until it was seen what came of it.
    relaxed_at: Option<Tick>,
    /// A promotion was asked for and its end was not seen: ask again until it is.
    promote_again: bool,

    growth: growth::State,
    shrink: shrink::State,
    stall: stall::State,
    handover: Option<handover::Handover>,
    rejoin: rejoin::State,
    ordered: ordered::State,
    rest: rest::State,
    promise: promise::State,
    takeover: takeover::State,
    premise: premise::State,
    corroboration: corroboration::State,

    core_up: bool,
    core_changed: Tick,
    approval: Option<Approval>,
    asking: Asking,
    operation: Option<(Epoch, OperationId)>,
    acquired_at: Option<Tick>,
    acquiring_from: Option<RegionId>,
    /// Whoever held the lease before was not stopped, nor lapsed, when this region took it.
    before_may_live: bool,
    /// Since when the register is known to name no holder.
    vacant_since: Option<Tick>,
    traffic_noted: Option<Epoch>,
    restored_noted: Option<Epoch>,
    restarts: u32,
    restart_began: Option<Tick>,
    released_at: Option<Tick>,
    identities: BTreeMap<RegionId, (Tick, Option<DataDirectoryId>)>,
    identity_asked: BTreeMap<RegionId, Tick>,

    blocked: Option<Blocked>,
    blocked_now: Option<Blocked>,
    out: Vec<Effect>,
}

impl PairMachine {
    /// A machine that knows nothing yet. `promised_until` is what is left of a promise read from
    /// disk, to be served again in full (R20).
    pub fn new(
        me: RegionId,
        timing: Timing,
        spec: PairSpec,
        spec_version: u64,
        now: Tick,
        promised_until: Option<Tick>,
    ) -> Self {
        Self {
            pair: spec.id.clone(),
            me,
            timing,
            spec,
            spec_version,
            automation_paused: false,
            session: SessionView::default(),
            life_began: now,
            register: Register::default(),
            window: Window::default(),
            last_session_read: None,
            reading_session: false,
            confirmed: None,
            taking: false,
            generation: None,
            first_taken_at: None,
            actuator: None,
            guard_lost: None,
            observation: Observation::default(),
            process_gone: now,
            upstream_end: None,
            plane: None,
            plane_not_before: now,
            plane_error: None,
            fencing: false,
            fence_retry: now,
            armed: None,
            arm_sent: None,
            names: None,
            following: None,
            replication_ready: false,
            published: None,
            last_publish_sent: None,
            wake_waiters: false,
            relaxed_at: None,
            promote_again: false,
            growth: growth::State::default(),
            shrink: shrink::State::default(),
            stall: stall::State::default(),
            handover: None,
            rejoin: rejoin::State::new(now),
            ordered: ordered::State::default(),
            rest: rest::State::default(),
            promise: promise::State::new(promised_until),
            takeover: takeover::State::default(),
            premise: premise::State::default(),
            corroboration: corroboration::State::default(),
            core_up: false,
            core_changed: now,
            approval: None,
            asking: Asking::default(),
            operation: None,
            acquired_at: None,
            acquiring_from: None,
            before_may_live: false,
            vacant_since: None,
            traffic_noted: None,
            restored_noted: None,
            restarts: 0,
            restart_began: None,
            released_at: None,
            identities: BTreeMap::new(),
            identity_asked: BTreeMap::new(),
            blocked: None,
            blocked_now: None,
            out: Vec::new(),
        }
    }

    /// Takes in one event and returns everything that is due now.
    pub fn step(&mut self, now: Tick, event: Event) -> Vec<Effect> {
        self.out.clear();
        self.takeover.suspicion.step(now, self.spec.suspect_after);
        self.take_in(now, event);
        self.decide(now);
        std::mem::take(&mut self.out)
    }

    /// When to wake the machine at the latest if nothing happens before.
    pub fn next_wake(&self, now: Tick) -> Tick {
        let mut at = now + if self.eager() { Duration::from_millis(5) } else { self.pace() };
        let answers = self.corroboration.due(self.spec.corroborate.as_ref());
        for due in [self.authority_until(), self.window.closes_at(&self.timing), answers] {
            if let Some(due) = due.filter(|due| *due > now) {
                at = at.min(due);
            }
        }
        at
    }

    /// Whether a move or a proof is going on and every millisecond counts.
    pub fn eager(&self) -> bool {
        self.handover.is_some()
            || self.rest.under_way()
            || self.growth.busy()
            || (self.confirmed.is_some() && !self.is_primary())
            || self.takeover.under_way()
            || self.closing()
    }

    /// The interval of routine looks.
    pub fn pace(&self) -> Duration {
        let round = self.round();
        (round / 8).clamp(Duration::from_millis(20), Duration::from_millis(100))
    }

    /// The interval of renewal rounds: the session's own, or what the pair's takeover asks for.
    fn round(&self) -> Duration {
        let sooner = self.spec.beat_interval();
        sooner.map_or(self.timing.renew, |sooner| sooner.min(self.timing.renew))
    }

    fn decide(&mut self, now: Tick) {
        self.blocked_now = None;
        self.check_authority(now);
        self.keep_reading(now);
        self.resolve_cas(now);
        if self.actuator.is_none() {
            if !self.taking {
                self.taking = true;
                self.out.push(Effect::Take);
            }
            if let Some(reason) = self.guard_lost.clone() {
                self.block(
                    "guard-lost",
                    format!(
                        "the guard does not answer ({reason}); PostgreSQL can not be commanded"
                    ),
                    "start the guard of this member",
                );
            }
        } else {
            self.fence_if_due(now);
            self.decide_by_register(now);
        }
        self.keep_promises(now);
        self.note_blocked();
    }

    fn decide_by_register(&mut self, now: Tick) {
        let Some(known) = self.register.known.clone() else { return };
        let challenges = known
            .record
            .as_ref()
            .is_some_and(|record| record.holder.as_ref().is_some_and(|holder| *holder != self.me));
        if !challenges {
            self.end_corroboration(now);
        }
        match known.record {
            None => self.decide_new(now),
            Some(record) if record.held_by(&self.me) => {
                self.takeover.pause();
                self.decide_holder(now, &record);
            }
            Some(record) => match record.holder.clone() {
                Some(holder) => self.decide_standby(now, &record, &holder),
                None => self.decide_vacant(now, &record),
            },
        }
    }

    /// The pair register was never written: its first primary creates it.
    fn decide_new(&mut self, now: Tick) {
        if self.spec.first_primary != self.me {
            return;
        }
        let Some(status) = &self.actuator else { return };
        match status.data_directory.clone() {
            None => self.command(now, Epoch(0), PlaneCommand::Initialise),
            Some(id) => {
                if self.session.valid(now) && self.register.settled() {
                    let value = PairRecord {
                        epoch: Epoch(1),
                        holder: Some(self.me.clone()),
                        in_sync: [(self.me.clone(), id)].into(),
                        handover_to: None,
                        paused: false,
                        waits_for_all: false,
                        rested_by: None,
                    };
                    self.write(now, value, Purpose::Create);
                }
            }
        }
    }

    // ---- small facts -----------------------------------------------------------------------

    fn record(&self) -> Option<&PairRecord> {
        self.register.record()
    }

    fn epoch(&self) -> Epoch {
        self.record().map_or(Epoch(0), |record| record.epoch)
    }

    fn my_directory(&self) -> Option<&DataDirectoryId> {
        self.actuator.as_ref().and_then(|status| status.data_directory.as_ref())
    }

    fn process(&self) -> Option<ProcessState> {
        self.actuator.as_ref().map(|status| status.process)
    }

    fn promoted(&self) -> bool {
        self.actuator.as_ref().is_some_and(|status| status.promoted)
            || self.plane.as_ref().is_some_and(|slot| {
                !slot.overtaken && matches!(slot.command, PlaneCommand::Promote { .. })
            })
    }

    /// The newest look by SQL that is not older than the process it belongs to.
    fn sql(&self) -> Option<&(Tick, SqlView)> {
        self.observation.sql.as_ref()
    }

    /// Confirmed holder whose PostgreSQL said that it is no longer in recovery.
    fn is_primary(&self) -> bool {
        self.confirmed.is_some()
            && self.process() == Some(ProcessState::Running)
            && self.actuator.as_ref().is_some_and(|status| status.promoted)
            && !self.promote_again
            && self
                .plane
                .as_ref()
                .is_none_or(|slot| !matches!(slot.command, PlaneCommand::Promote { .. }))
    }

    /// The operation a fact under `epoch` belongs to. An operation starts at one epoch and moves
    /// the pair to the next; facts of later epochs are another's.
    fn operation_at(&self, epoch: Epoch) -> Option<OperationId> {
        let (began_at, operation) = self.operation.as_ref()?;
        (epoch == *began_at || epoch == began_at.next()).then(|| operation.clone())
    }

    // ---- authority -------------------------------------------------------------------------

    /// Until when PostgreSQL may accept writes under the confirmed epoch: the session's validity,
    /// or the peers' promises while the witness is out of reach (R20).
    fn authority_until(&self) -> Option<Tick> {
        let confirmed = self.confirmed?;
        let by_session =
            (confirmed.life == self.session.life).then_some(self.session.valid_until).flatten();
        by_session
            .map(|until| self.bounded_by_the_read(until))
            .max(self.promise.cover(confirmed.epoch))
    }

    fn authorised(&self, now: Tick) -> bool {
        self.authority_until().is_some_and(|until| now < until)
    }

    /// Lapse: when validity has passed, every right to this epoch is gone and PostgreSQL is fenced.
    fn check_authority(&mut self, now: Tick) {
        let Some(confirmed) = self.confirmed else { return };
        let held = self
            .record()
            .is_some_and(|record| record.held_by(&self.me) && record.epoch == confirmed.epoch);
        if held && self.authorised(now) {
            return;
        }
        let reason = if held {
            "the session lapsed: the witness did not acknowledge a renewal in time"
        } else {
            "another region holds the lease"
        };
        self.lose_authority(now, confirmed.epoch, reason);
    }

    fn lose_authority(&mut self, now: Tick, epoch: Epoch, reason: &str) {
        self.confirmed = None;
        self.handover = None;
        self.rest.drop_order();
        self.growth.abandon();
        if self.promoted() {
            self.fence(now, epoch, reason);
        }
    }

    /// A primary without a right to be one is stopped at once. One exception: right after the
    /// agent's start a running PostgreSQL may go on under the old deadline until the register is
    /// known and the return has been decided (R5).
    fn fence_if_due(&mut self, now: Tick) {
        if !self.promoted() || self.confirmed.is_some() {
            return;
        }
        let Some(record) = self.record() else { return };
        if !record.held_by(&self.me) {
            let epoch = record.epoch;
            let told = self.actuator.as_ref().and_then(|status| status.told_primary.as_deref());
            let told = told.map(|told| format!("; {told}")).unwrap_or_default();
            self.fence(now, epoch, &format!("another region holds the lease{told}"));
        }
    }

    fn fence(&mut self, now: Tick, epoch: Epoch, reason: &str) {
        if self.fencing || now < self.fence_retry {
            return;
        }
        self.fencing = true;
        self.out.push(Effect::Fence { epoch, reason: reason.into() });
        self.note_at(epoch, Note::Fenced(reason.into()));
    }

    /// Arms the guard whenever the right to write reaches further than it knows (R5).
    fn keep_armed(&mut self) {
        let (Some(confirmed), Some(until)) = (self.confirmed, self.authority_until()) else {
            return;
        };
        let wanted = (confirmed.epoch, until);
        if self.arm_sent != Some(wanted) {
            self.arm_sent = Some(wanted);
            self.out.push(Effect::Arm { epoch: confirmed.epoch, deadline: until });
        }
    }

    fn armed_for(&self, epoch: Epoch, now: Tick) -> bool {
        self.armed.is_some_and(|(armed, deadline)| armed == epoch && now < deadline)
    }

    // ---- notes -----------------------------------------------------------------------------

    fn note(&mut self, note: Note) {
        self.note_at(self.epoch(), note);
    }

    fn note_at(&mut self, epoch: Epoch, note: Note) {
        let operation = self.operation_at(epoch);
        self.out.push(Effect::Note { epoch, operation, note });
    }

    fn block(&mut self, code: &'static str, meaning: String, action: &'static str) {
        if self.blocked_now.is_none() {
            self.blocked_now = Some(Blocked { code, meaning, action });
        }
    }

    fn note_blocked(&mut self) {
        let code = |blocked: &Option<Blocked>| blocked.as_ref().map(|blocked| blocked.code);
        if code(&self.blocked) != code(&self.blocked_now) {
            let blocked = self.blocked_now.clone();
            self.note(Note::Blocked(blocked));
        }
        self.blocked = self.blocked_now.clone();
    }
}
