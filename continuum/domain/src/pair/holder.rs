//! The recorded holder: return, start, promote, and keep what a primary needs.

use std::collections::BTreeSet;

use super::register::Purpose;
use super::types::{Effect, PlaneCommand};
use super::{PUBLISH_INTERVAL, PairMachine};
use crate::ids::RegionId;
use crate::mutation::{Bug, planted};
use crate::observation::ProcessState;
use crate::operation::{Step, StepOutcome};
use crate::record::PairRecord;
use crate::spec::{Durability, WitnessLossPolicy};
use crate::sync_names::SyncNames;
use crate::time::Tick;

/// Why a holder lets go whose data directory was replaced (R13).
const WRONG_DIRECTORY: &str =
    "the data directory is not the one that holds every acknowledged commit";

/// Why a holder lets go whose disk hangs.
const STALLED: &str = "no write reaches the disk here";

impl PairMachine {
    pub(super) fn decide_holder(&mut self, now: Tick, record: &PairRecord) {
        if self.confirmed.is_none() {
            return self.return_to_hold(now, record);
        }
        // Under a promise's cover the session itself may have a new life already: then epoch + 1
        // is due although PostgreSQL runs on (R20).
        if self.confirmed.is_some_and(|confirmed| confirmed.life != self.session.life)
            && self.session.valid(now)
            && self.handover.is_none()
        {
            self.write_return(now, record);
        }
        self.keep_armed();
        self.ask_for_promises(now);
        if self.handover.is_some() {
            return self.decide_handover(now, record);
        }
        if self.actuator.as_ref().is_some_and(|status| status.fenced.is_some()) {
            return self.release_when_stopped(now, record, "fenced by an operator");
        }
        if !self.promoted() && !self.on_listed_directory(record) {
            return self.release_when_stopped(now, record, WRONG_DIRECTORY);
        }
        if planted(Bug::CoreNeeded) && !self.core_answers(now) {
            return self.release_when_stopped(now, record, "planted: the core is away");
        }
        if self.lets_go_of_a_stall(record) {
            return self.release_when_stopped(now, record, STALLED);
        }
        if self.decide_rest(now, record) {
            return;
        }
        match self.process() {
            Some(ProcessState::Stopped) => self.start_in_place(now, record),
            Some(ProcessState::Running) if self.is_primary() => self.run_primary(now, record),
            Some(ProcessState::Running) => self.promote(now, record),
            _ => {}
        }
    }

    /// R5, R15: the register names this region, but not in this session: epoch + 1 first.
    fn return_to_hold(&mut self, now: Tick, record: &PairRecord) {
        if !self.session.valid(now) {
            self.block(
                "witness-unreachable",
                "the lease can not be renewed: no session at the witness; PostgreSQL stays stopped \
                 so that no write can be lost"
                    .into(),
                "bring the witness back or the path to it",
            );
            return;
        }
        let fenced = self.actuator.as_ref().is_some_and(|status| status.fenced.is_some());
        if fenced || !self.on_listed_directory(record) {
            let reason = if fenced { "fenced by an operator" } else { WRONG_DIRECTORY };
            return self.release_when_stopped(now, record, reason);
        }
        self.write_return(now, record);
    }

    /// R13: whether this member runs on the directory that the ledger lists.
    fn on_listed_directory(&self, record: &PairRecord) -> bool {
        self.my_directory().is_some_and(|id| record.lists(&self.me, id))
            || planted(Bug::IgnoreDataDirectory)
    }

    fn write_return(&mut self, now: Tick, record: &PairRecord) {
        // Session first, pair second: what is built on was read in this session (R7).
        let fresh = self.register.known.as_ref().is_some_and(|known| known.sent >= self.life_began);
        if !fresh {
            return self.read_pair(now);
        }
        if !self.register.settled() {
            return;
        }
        let mut in_sync = record.in_sync.clone();
        if self.spec.durability == Durability::Async {
            // A target that was added only for a handover is dropped with it (R15).
            in_sync.retain(|region, _| *region == self.me);
        }
        let handover_to =
            if planted(Bug::KeepHandover) { record.handover_to.clone() } else { None };
        let value =
            PairRecord { epoch: record.epoch.next(), in_sync, handover_to, ..record.clone() };
        self.write(now, value, Purpose::Return);
    }

    /// R16: the lease is let go only after the stop is proven, and the ledger stays as it is.
    fn release_when_stopped(&mut self, now: Tick, record: &PairRecord, reason: &str) {
        let fenced = self.actuator.as_ref().and_then(|status| status.fenced.clone());
        if let Some(mark) = fenced {
            self.block(
                "fenced",
                format!("fenced by an operator ({mark}); PostgreSQL does not start here"),
                "run `continuum unfence` when it may",
            );
        }
        if self.process() != Some(ProcessState::Stopped) && !planted(Bug::ReleaseBeforeStop) {
            return self.fence(now, record.epoch, reason);
        }
        // A start under way would undo the proof.
        if self.plane_free() || planted(Bug::ReleaseBeforeStop) {
            self.write_release(now, record, reason, None);
        }
    }

    pub(super) fn write_release(
        &mut self,
        now: Tick,
        record: &PairRecord,
        reason: &str,
        rested_by: Option<RegionId>,
    ) {
        if self.register.settled() && self.session.valid(now) {
            let value = PairRecord {
                epoch: record.epoch.next(),
                holder: None,
                handover_to: None,
                waits_for_all: false,
                rested_by,
                ..record.clone()
            };
            self.write(now, value, Purpose::Release { reason: reason.into() });
            // It may land at any later time: from its send on nothing starts here again before
            // it is resolved, and then only by epoch + 1 (R9, R15).
            self.confirmed = None;
        }
    }

    /// A stopped PostgreSQL of a confirmed holder is started again where that is faster than
    /// moving; it boots as a standby and is promoted under the armed deadline like any other.
    fn start_in_place(&mut self, now: Tick, record: &PairRecord) {
        if !self.plane_free() {
            return;
        }
        let over = self.restarts >= self.spec.restarts_in_place
            || self.restart_began.is_some_and(|began| now.since(began) > self.spec.restart_budget);
        let others =
            self.spec.members.len() > 1 && record.in_sync.keys().any(|region| *region != self.me);
        if over && others {
            return self.release_when_stopped(now, record, "PostgreSQL does not come back here");
        }
        if over {
            let why = self.plane_error.clone().unwrap_or_else(|| "it keeps ending".into());
            self.block(
                "restart-failing",
                format!("PostgreSQL does not start ({why}) and no other member may take over"),
                "read the log of this member's PostgreSQL; it is tried again meanwhile",
            );
        }
        if self.armed_for(record.epoch, now) || planted(Bug::PromoteUnarmed) {
            let names = self.needed_names();
            if now >= self.plane_not_before {
                self.restarts += 1;
                self.command(now, record.epoch, PlaneCommand::Start { names, upstream: None });
            }
        }
    }

    /// R5: armed before promote; R10: the names stand before the first client is let in; R13: only
    /// on the data directory the ledger lists.
    fn promote(&mut self, now: Tick, record: &PairRecord) {
        let listed = self.on_listed_directory(record);
        let armed = self.armed_for(record.epoch, now) || planted(Bug::PromoteUnarmed);
        if listed && armed && self.authorised(now) && record.handover_to.is_none() {
            // A member that cannot be cut off has never won from a holder that may live.
            let cut_off = self.before_may_live && !self.always_receives();
            if cut_off && !self.receives_no_more(now, record.epoch) {
                return;
            }
            let names = self.needed_names();
            self.command(now, record.epoch, PlaneCommand::Promote { names });
        }
    }

    fn run_primary(&mut self, now: Tick, record: &PairRecord) {
        self.publish(now, record);
        self.keep_names(now, record);
        if self.wake_waiters && self.plane_free() {
            self.command(now, record.epoch, PlaneCommand::WakeWaiters);
        }
        if !self.replication_ready {
            self.command(now, record.epoch, PlaneCommand::EnsureReplication);
        }
        // It has answered as a primary: a crash after this is a new one.
        let answered = self.sql().filter(|(_, sql)| !sql.in_recovery).map(|(at, _)| *at);
        if answered.is_some_and(|at| self.restart_began.is_none_or(|began| at > began)) {
            self.restart_began = None;
            self.restarts = 0;
        }
        if self.spec.durability.is_synchronous() {
            self.ask_identities(now, record);
            self.decide_growth(now, record);
        } else {
            self.growth.abandon();
        }
        self.decide_shrink(now, record);
        self.keep_out(now, record);
        self.decide_premise(now, record);
        self.warn_of_waiting(record);
        self.restore_noted(now);
    }

    fn publish(&mut self, now: Tick, record: &PairRecord) {
        let due = self.published.is_none_or(|(epoch, _)| epoch != record.epoch)
            || self.last_publish_sent.is_none_or(|sent| now.since(sent) >= PUBLISH_INTERVAL);
        if due {
            self.published = Some((record.epoch, now));
            self.last_publish_sent = Some(now);
            self.out.push(Effect::PublishNames { epoch: record.epoch });
            if self.traffic_noted != Some(record.epoch) {
                self.traffic_noted = Some(record.epoch);
                let took = self.acquired_at.map(|at| now.since(at));
                let detail = "names are published from here on; pair show has each".to_owned();
                self.step_note(Step::Traffic, StepOutcome::Done, took, detail);
            }
        }
    }

    /// Members a commit must wait for (R10, R22): never fewer than the register or an own
    /// unresolved write names, in `strict` all of them, and whoever is being grown in. In `async`
    /// that is nobody once the ledger has shrunk to this member.
    pub(super) fn needed_names(&self) -> SyncNames {
        let mut members: BTreeSet<RegionId> = self.register.possibly_in_sync();
        if self.spec.durability == Durability::Strict {
            members.extend(self.spec.others(&self.me));
        }
        if self.spec.durability.is_synchronous() {
            members.extend(self.growth.member().cloned());
        }
        members.remove(&self.me);
        if planted(Bug::RelaxBeforeLedger) {
            for region in self.shrink.stalled(self.spec.stall_timeout) {
                members.remove(&region);
            }
        }
        SyncNames::of(members)
    }

    /// Brings the configured names to what is needed. Letting go of a name is the relax step: only
    /// with a confirmed view and nothing of our own unresolved (R9, R10).
    fn keep_names(&mut self, now: Tick, record: &PairRecord) {
        if self.growth.busy() {
            return;
        }
        let needed = self.needed_names();
        if self.names.as_ref() == Some(&needed) {
            return;
        }
        let relaxes = self.names.as_ref().is_none_or(|names| names.loses_a_name(&needed));
        if relaxes && !self.register.settled() && !planted(Bug::NamesFromViewOnly) {
            return;
        }
        self.command(now, record.epoch, PlaneCommand::SetNames(needed));
    }

    fn warn_of_waiting(&mut self, record: &PairRecord) {
        let strict = self.spec.durability == Durability::Strict;
        let alone = !record.in_sync.keys().any(|region| *region != self.me);
        if strict && alone {
            self.block(
                "waiting-for-standby",
                "durability strict: writes wait until a second member holds them".into(),
                "bring a standby back, or apply durability available to let this member run alone",
            );
        }
        if self.promise.uncovered() && self.spec.on_witness_loss == WitnessLossPolicy::Failsafe {
            self.block(
                "failsafe-refused",
                "the witness is out of reach and a peer does not promise to stay out; PostgreSQL \
                 stops at its deadline"
                    .into(),
                "bring the witness or the peer back",
            );
        }
    }

    fn restore_noted(&mut self, now: Tick) {
        if self.spec.durability == Durability::Async
            && self.restored_noted != self.confirmed.map(|confirmed| confirmed.epoch)
            && let Some((_, sql)) = self.sql()
            && !sql.standbys.is_empty()
            && sql.standbys.values().all(|standby| standby.streaming)
        {
            self.restored_noted = self.confirmed.map(|confirmed| confirmed.epoch);
            let took = self.acquired_at.map(|at| now.since(at));
            let detail = "durability async: the standby streams".to_owned();
            self.step_note(Step::RestoreLedger, StepOutcome::Done, took, detail);
        }
    }
}
