//! Taking in events: what is known changes, nothing is decided yet.

use std::time::Duration;

use super::register::{Outstanding, Purpose, Settled};
use super::types::{Event, Grant, Note, PlaneCommand, PlaneOutcome, SessionView};
use super::{Approval, Asking, Confirmed, PLANE_RETRY, PairMachine};
use crate::ids::Generation;
use crate::mutation::{Bug, planted};
use crate::observation::{ActuatorStatus, Observation, ProcessState};
use crate::operation::{Step, StepOutcome};
use crate::sync_names::SyncNames;
use crate::time::Tick;

/// So long after the names lost one, commits that still wait are woken once more.
const WAKE_AGAIN: Duration = Duration::from_millis(100);

/// How the return of the recorded holder is named in the record. What came before it in this region's
/// name may have been a takeover from a living holder.
const RETURNED: &str = "returned";

impl PairMachine {
    pub(super) fn take_in(&mut self, now: Tick, event: Event) {
        match event {
            Event::Wake => {}
            Event::Spec(version, spec) => {
                self.spec_version = version;
                self.spec = spec;
            }
            Event::AutomationPaused(paused) => self.automation_paused = paused,
            Event::Session(view) => self.session_changed(now, view),
            Event::Taken(generation, status) => self.taken(generation, status),
            Event::GuardLost(reason) => self.guard_is_lost(now, reason),
            Event::Status(status) => self.status_changed(now, status),
            Event::Observed(observation) => {
                self.observed(observation);
                self.stall_observed(now);
            }
            Event::PairRead { sent, answer } => {
                let settled = self.register.read_answered(now, sent, answer);
                self.register_changed(now, settled);
            }
            Event::PairCas(answer) => {
                let settled = self.register.cas_answered(now, answer);
                self.register_changed(now, settled);
            }
            Event::SessionRead { region, sent, answer } => {
                self.reading_session = false;
                if let Ok(record) = answer {
                    let (after, seen) = (self.spec.suspect_after, record.clone());
                    self.takeover.suspicion.session_read(now, sent, &region, seen, after);
                    let gap = self.timing.renew.max(self.pace() * 4);
                    self.window.session_read(now, sent, &region, record, &self.timing, gap);
                }
            }
            Event::Armed { epoch, deadline } => self.armed = Some((epoch, deadline)),
            Event::Plane(outcome) => self.plane_ended(now, outcome),
            Event::FenceEnded(result) => {
                self.fencing = false;
                if result.is_err() {
                    self.fence_retry = now + PLANE_RETRY;
                } else {
                    self.stop_proven(now);
                }
            }
            Event::CoreLink(up) => {
                if up != self.core_up {
                    self.core_changed = now;
                    self.asking = Asking::default();
                }
                self.core_up = up;
            }
            Event::ResolverAnswered { question, resolver, answer } => {
                self.resolver_answered(question, resolver, answer);
            }
            Event::Granted { epoch, grant } => self.granted(epoch, grant),
            Event::SwitchOver { operation, epoch, to, deadline } => {
                self.begin_handover(now, operation, epoch, to, deadline);
            }
            Event::AbortSwitchOver { operation } => {
                self.abort_handover(&operation);
                self.drop_hot_switchover(&operation, "cancelled by the core".into());
            }
            Event::Rest { operation, epoch, deadline } => {
                self.begin_rest(now, operation, epoch, deadline);
            }
            Event::KeepOut { operation, epoch, region, hold } => {
                self.begin_keeping_out(now, (operation, epoch), region, hold);
            }
            Event::Rejoin { operation, epoch, clone, deadline } => {
                self.begin_ordered_rejoin(now, (operation, epoch), clone, deadline);
            }
            Event::TakeOver { operation, epoch, deadline } => {
                self.begin_hot_switchover(now, operation, epoch, deadline);
            }
            Event::PeerHeard { region, at } => {
                self.takeover.suspicion.heard(at, &region, self.spec.suspect_after);
            }
            Event::PeerRefused { region, at } => self.takeover.suspicion.refused(at, &region),
            Event::FailOver { operation, epoch, allow_data_loss } => {
                let epoch = if planted(Bug::OrderForAnyEpoch) { self.epoch() } else { epoch };
                if epoch == self.epoch() {
                    let by_person = true;
                    let approval = Approval { epoch, operation, allow_data_loss, by_person };
                    self.approval = Some(approval);
                }
            }
            Event::PeerReplayed { region, answer } => self.peer_replayed(now, &region, answer),
            Event::PeerIdentity { region, data_directory } => {
                let (told, known) = (data_directory.is_some(), data_directory.clone());
                let before = self.identities.insert(region, (now, data_directory));
                // A member that came anew may have been away longer than its slot was kept.
                if told && before.is_none_or(|(_, before)| before != known) {
                    self.replication_ready = false;
                }
            }
            Event::PeerPromised { region, sent, hold, promised } => {
                self.peer_promised(region, sent, hold, promised);
            }
            Event::PromiseAsked { request, from, epoch, hold } => {
                self.promise_asked(request, &from, epoch, hold);
            }
            Event::PromiseStored { request, stored } => self.promise_stored(now, request, stored),
            Event::Nudged => {
                self.read_pair(now);
                self.rejoin.nudged(now);
                self.identity_asked.clear();
            }
        }
    }

    fn session_changed(&mut self, now: Tick, view: SessionView) {
        if view.life != self.session.life {
            self.life_began = now;
        }
        self.session = view;
    }

    fn taken(&mut self, generation: Generation, status: ActuatorStatus) {
        self.taking = false;
        if self.generation.is_some_and(|known| known > generation) {
            // An answer that a newer one overtook: what that one began goes on.
            return;
        }
        if self.generation.is_none() {
            self.first_taken_at = Some(status.epoch);
        }
        self.generation = Some(generation);
        self.guard_lost = None;
        self.plane = None;
        self.fencing = false;
        self.armed = None;
        self.arm_sent = None;
        self.names = None;
        self.following = None;
        self.takeover.receives();
        self.replication_ready = false;
        self.growth.abandon();
        self.actuator = Some(status);
    }

    fn guard_is_lost(&mut self, now: Tick, reason: String) {
        // PostgreSQL does not outlive its guard (R5). Who it was commanded by before matters no
        // more: the actuator is taken anew.
        self.taking = false;
        self.actuator = None;
        self.guard_lost = Some(reason);
        self.plane = None;
        self.fencing = false;
        self.plane_not_before = now + PLANE_RETRY;
    }

    fn status_changed(&mut self, now: Tick, status: ActuatorStatus) {
        if let Some(old) = &self.actuator
            && (status.exits != old.exits
                || (status.process == ProcessState::Stopped
                    && old.process != ProcessState::Stopped))
        {
            self.observation = Observation::default();
            self.process_gone = now;
            self.promote_again = false;
            self.following = None;
            self.takeover.receives();
            self.replication_ready = false;
            self.growth.abandon();
            self.shrink.forget();
            let planned = self.handover.is_some()
                || self.rest.under_way()
                || self.fencing
                || self.stall.letting_go;
            if !planned && self.confirmed.is_some() {
                self.restart_began.get_or_insert(now);
            }
        }
        self.actuator = Some(status);
    }

    /// A stop was answered: no process is left, although the status that says so may be under way.
    pub(super) fn stop_proven(&mut self, now: Tick) {
        if let Some(slot) = &mut self.plane {
            slot.overtaken = true;
        }
        if let Some(status) = self.actuator.clone() {
            let process = ProcessState::Stopped;
            self.status_changed(now, ActuatorStatus { process, promoted: false, ..status });
        }
    }

    /// PostgreSQL runs, as a command's answer says: the status may be under way, and must not have
    /// the command repeated.
    fn answered_as_running(&mut self, promoted: bool) {
        if let Some(status) = &mut self.actuator {
            status.process = ProcessState::Running;
            status.promoted = promoted;
        }
    }

    fn observed(&mut self, observation: Observation) {
        let running = self.process() == Some(ProcessState::Running);
        self.observation = observation;
        let gone = self.process_gone;
        self.observation.sql = self.observation.sql.take().filter(|(at, _)| running && *at >= gone);
        if let Some((at, sql)) = self.observation.sql.clone() {
            // R21: dated by when the primary said it, not by this look.
            if sql.receiver_streaming
                && let (Some(end), Some(age)) = (sql.upstream_end, sql.upstream_age_ms)
            {
                let age = if planted(Bug::LagDatedByTheLook) { 0 } else { age };
                let said = Tick(at.0.saturating_sub(age.saturating_mul(1_000_000)));
                self.upstream_end = Some((said, end));
            }
            // A primary that is not promoted yet has no standbys, which says nothing of them.
            if !sql.in_recovery {
                self.shrink.observe(at, &sql, &self.me);
                self.growth_observed(&sql);
                self.look_after_waiters(at, sql.waiting_commits);
            }
        }
    }

    /// A walsender that read the shorter names only after the standby had answered the wake lets go
    /// at the next answer, which would come with the next write: and all writers wait.
    fn look_after_waiters(&mut self, at: Tick, waiting: u32) {
        let due = self.relaxed_at.is_some_and(|since| at >= since + WAKE_AGAIN);
        if due && !self.growth.busy() {
            self.relaxed_at = None;
            self.wake_waiters |= waiting > 0;
        }
    }

    fn register_changed(&mut self, now: Tick, settled: Option<Settled>) {
        if let Some(known) = &self.register.known {
            let (version, back) = (known.version, known.back);
            self.window.pair_read(back, version);
        }
        match settled {
            None => {}
            Some(Settled::Lost(write)) => {
                self.window.void();
                self.write_lost(now, &write);
            }
            Some(Settled::Won(write)) => self.write_won(now, write),
        }
        let vacant = self.record().is_some_and(|record| record.holder.is_none());
        self.vacant_since = vacant.then(|| self.vacant_since.unwrap_or(now));
        let epoch = self.epoch();
        if self.approval.as_ref().is_some_and(|approval| approval.epoch < epoch) {
            self.approval = None;
        }
        if self.asking.epoch.is_some_and(|asked| asked < epoch) {
            self.asking = Asking::default();
        }
        if self.record().is_some_and(|record| record.held_by(&self.me)) {
            self.window.reset();
        }
        if planted(Bug::NoEpochBumpOnReturn)
            && self.confirmed.is_none()
            && self.session.valid(now)
            && self.record().is_some_and(|record| record.held_by(&self.me))
        {
            let (life, epoch) = (self.session.life, self.epoch());
            self.confirmed = Some(Confirmed { life, epoch, since: now });
        }
    }

    fn write_lost(&mut self, now: Tick, write: &Outstanding) {
        if let Some(handover) = &mut self.handover {
            handover.write_lost(&write.purpose);
        }
        self.growth.write_ended(now, false);
        self.read_pair(now);
    }

    fn write_won(&mut self, now: Tick, write: Outstanding) {
        let before: Vec<_> = self.shrink.ledger_before(&write);
        let after: Vec<_> = write.value.in_sync.keys().cloned().collect();
        match write.purpose.clone() {
            Purpose::Create => self.became_holder(now, &write, "created", None, false),
            Purpose::Return => {
                let from = Some(self.me.clone());
                self.became_holder(now, &write, RETURNED, from, false);
            }
            Purpose::Acquire { by, autonomous } => {
                let from = self.acquiring_from.take();
                self.became_holder(now, &write, by, from, autonomous);
            }
            Purpose::Shrink { reason } => {
                self.note(Note::Ledger { before, after, reason });
            }
            Purpose::Grow => {
                let reason = "the standby holds every acknowledged commit, proven".into();
                self.growth.write_ended(now, true);
                self.note(Note::Ledger { before, after, reason });
                self.step_note(Step::RestoreLedger, StepOutcome::Done, None, String::new());
            }
            Purpose::Premise => self.premise_written(&write),
            Purpose::HandOver => self.handed_over(now),
            Purpose::Release { reason } => {
                self.confirmed = None;
                self.stall.forget();
                // Whoever put the pair to rest is the one to resume it.
                self.released_at = write.value.rested_by.is_none().then_some(now);
                self.out.push(super::Effect::NudgePeers);
                self.note(Note::Released(reason));
            }
        }
    }

    /// The acquisition counts only if the session it was begun in still stands (R7).
    fn became_holder(
        &mut self,
        now: Tick,
        write: &Outstanding,
        by: &'static str,
        from: Option<crate::ids::RegionId>,
        autonomous: bool,
    ) {
        let epoch = write.value.epoch;
        let approval = self.approval.take();
        if let Some(approval) = self.order_taken().or(approval)
            && approval.epoch < epoch
        {
            self.operation = Some((approval.epoch, approval.operation));
        }
        self.asking = Asking::default();
        self.stall.forget();
        self.before_may_live = [super::BY_LEDGER, super::BY_HOT, RETURNED].contains(&by);
        self.note_at(epoch, Note::Acquired { by, from, autonomous });
        self.out.push(super::Effect::NudgePeers);
        if write.life == self.session.life && self.session.valid(now) {
            self.confirmed = Some(Confirmed { life: write.life, epoch, since: now });
            self.acquired_at = Some(now);
            self.restarts = 0;
            self.restart_began = None;
            let took = Some(now.since(write.started));
            if by != RETURNED && by != "created" {
                self.step_note(
                    Step::Commit,
                    StepOutcome::Done,
                    took,
                    format!("epoch {epoch} by {by}"),
                );
            }
        }
    }

    pub(super) fn step_note(
        &mut self,
        step: Step,
        outcome: StepOutcome,
        took: Option<std::time::Duration>,
        detail: String,
    ) {
        self.note(Note::Step { step, outcome, took, detail });
    }

    fn granted(&mut self, epoch: crate::ids::Epoch, grant: Grant) {
        if epoch != self.epoch() {
            return;
        }
        match grant {
            Grant::Granted { operation, allow_data_loss, by_person } => {
                self.asking.denied = None;
                let known = self.approval.as_ref().filter(|known| known.epoch == epoch);
                let by_person = by_person || known.is_some_and(|known| known.by_person);
                self.approval = Some(Approval { epoch, operation, allow_data_loss, by_person });
            }
            Grant::Denied(reasons) => self.asking.denied = Some(reasons),
        }
    }

    fn plane_ended(&mut self, now: Tick, outcome: PlaneOutcome) {
        let Some(slot) = self.plane.take() else { return };
        let failed = match &outcome {
            PlaneOutcome::Failed(reason) | PlaneOutcome::Unknown(reason) => Some(reason.clone()),
            _ => None,
        };
        self.plane_error = failed.clone();
        // A look at the lineage changes nothing, and rejoining has a pause of its own for it.
        if failed.is_some() && !matches!(slot.command, PlaneCommand::Lineage(_)) {
            self.plane_not_before = now + PLANE_RETRY;
        }
        let given_up = matches!(outcome, PlaneOutcome::Unknown(_)) && by_the_guard(&slot.command);
        match slot.command {
            PlaneCommand::SetNames(names) => self.names_set(now, names, failed.is_none()),
            PlaneCommand::Start { upstream, .. } => {
                self.names = None;
                self.following = failed.is_none().then_some(upstream);
                self.rejoin.look_anew();
                if failed.is_none() {
                    self.answered_as_running(false);
                }
            }
            PlaneCommand::Promote { .. } => self.promote_ended(now, &outcome, slot.started),
            PlaneCommand::StopReceiving => {
                self.receiving_stopped(now, &outcome, slot.started);
            }
            PlaneCommand::Follow(upstream) => {
                self.takeover.receives();
                self.following = failed.is_none().then_some(upstream);
            }
            PlaneCommand::EnsureReplication => self.replication_ready = failed.is_none(),
            PlaneCommand::WakeWaiters => self.woken(now, &outcome),
            PlaneCommand::StartCanary => self.canary_started(now, failed.is_none()),
            PlaneCommand::LookCanary => self.canary_looked(now, &outcome),
            PlaneCommand::Checkpoint | PlaneCommand::StopFast | PlaneCommand::ControlData => {
                self.handover_plane_ended(now, &slot.command, &outcome);
            }
            PlaneCommand::Lineage(_)
            | PlaneCommand::SaveTail { .. }
            | PlaneCommand::Rewind(_)
            | PlaneCommand::Reclone(_) => {
                self.rejoin_plane_ended(now, slot.epoch, &slot.command, outcome);
            }
            PlaneCommand::Initialise => {}
        }
        if given_up {
            // R4: it may still be carried out, after others that follow. Taken anew, the actuator
            // refuses it.
            self.actuator = None;
            self.taking = false;
        }
    }

    fn names_set(&mut self, now: Tick, names: SyncNames, done: bool) {
        let relaxed = self.names.as_ref().is_none_or(|before| before.loses_a_name(&names));
        if done && relaxed && self.is_primary() {
            self.wake_waiters = true;
            self.relaxed_at = Some(now);
        }
        self.names = done.then(|| names.clone());
        self.growth_names_set(now, &names, done);
    }

    fn promote_ended(&mut self, now: Tick, outcome: &PlaneOutcome, started: Tick) {
        // What stands on disk may hold more names than were asked for: they are set exactly next.
        self.names = None;
        self.promote_again = !matches!(outcome, PlaneOutcome::Promoted { .. });
        if let PlaneOutcome::Promoted { timeline, starts_at } = outcome {
            self.answered_as_running(true);
            let detail = format!("timeline {timeline} from {starts_at}");
            self.step_note(Step::Promote, StepOutcome::Done, Some(now.since(started)), detail);
            // Members that wait for a primary to compare themselves with can ask now.
            self.out.push(super::Effect::NudgePeers);
        }
    }
}

/// Whether the guard carries the command out, so that a new generation has it refused.
fn by_the_guard(command: &PlaneCommand) -> bool {
    match command {
        PlaneCommand::Initialise
        | PlaneCommand::Start { .. }
        | PlaneCommand::Promote { .. }
        | PlaneCommand::SetNames(_)
        | PlaneCommand::Follow(_)
        | PlaneCommand::StopReceiving
        | PlaneCommand::StopFast
        | PlaneCommand::SaveTail { .. }
        | PlaneCommand::Rewind(_)
        | PlaneCommand::Reclone(_) => true,
        PlaneCommand::Checkpoint
        | PlaneCommand::ControlData
        | PlaneCommand::EnsureReplication
        | PlaneCommand::StartCanary
        | PlaneCommand::LookCanary
        | PlaneCommand::WakeWaiters
        | PlaneCommand::Lineage(_) => false,
    }
}
