//! Everybody but the holder: follow it, watch it, and challenge it by the rules.

use super::PairMachine;
use super::types::PlaneCommand;
use crate::ids::RegionId;
use crate::observation::ProcessState;
use crate::record::PairRecord;
use crate::spec::Durability;
use crate::sync_names::SyncNames;
use crate::time::Tick;

impl PairMachine {
    pub(super) fn decide_standby(&mut self, now: Tick, record: &PairRecord, holder: &RegionId) {
        self.takeover.pause();
        self.corroborate(now, record, holder);
        self.consider_acquiring(now, record, Some(holder));
        let busy = self.takeover.went_on() || self.waits_for_its_write(now);
        if self.promoted() || self.fencing || busy {
            // Still a primary on its way out, or on the way to become one: nothing else is done.
            return;
        }
        match self.process() {
            Some(ProcessState::Stopped) => self.rejoin(now, record, holder),
            Some(ProcessState::Running) => self.keep_following(now, record, holder),
            _ => {}
        }
    }

    /// The lease is vacant: whoever holds every acknowledged commit may take it.
    pub(super) fn decide_vacant(&mut self, now: Tick, record: &PairRecord) {
        // R6: nobody's session is looked at meanwhile, and that is not the silence of the next holder.
        self.window.reset();
        if record.resting().is_some() {
            return self.keep_resting(now, record);
        }
        self.consider_acquiring(now, record, None);
        if self.promoted() || self.register.outstanding.is_some() {
            return;
        }
        let listed = self.my_directory().is_some_and(|id| record.lists(&self.me, id));
        let fenced = self.actuator.as_ref().and_then(|status| status.fenced.clone());
        if let Some(mark) = fenced {
            self.block(
                "fenced",
                format!("fenced by an operator ({mark}); PostgreSQL does not start here"),
                "run `continuum unfence` when it may",
            );
        } else if listed && self.process() == Some(ProcessState::Stopped) {
            let start = PlaneCommand::Start { names: self.standby_names(), upstream: None };
            self.command(now, record.epoch, start);
        } else if self.process() == Some(ProcessState::Running) {
            self.point_at_nobody(now, record);
        }
    }

    fn keep_following(&mut self, now: Tick, record: &PairRecord, holder: &RegionId) {
        if self.stop_to_be_cloned(now, record) || !self.may_follow(now, record, holder) {
            return;
        }
        if self.following.as_ref() != Some(&Some(holder.clone())) {
            self.rejoin.following_since(now);
            return self.command(now, record.epoch, PlaneCommand::Follow(Some(holder.clone())));
        }
        // What stood here from its time as primary is cleared while nothing of its own is
        // unresolved, so that a later promotion starts from the ledger (R10).
        let names = self.standby_names();
        if self.names.as_ref() != Some(&names) && self.register.settled() {
            return self.command(now, record.epoch, PlaneCommand::SetNames(names));
        }
        self.watch_streaming(now, record, holder);
    }

    /// A standby waits for nobody, whatever its names. In `strict` they stand all the same: whether
    /// backends wait is for the checkpointer to say (R12), and after a promotion it may be late, so
    /// that the first commits would have one copy (R22). At boot it is not.
    pub(super) fn standby_names(&self) -> SyncNames {
        match self.spec.durability {
            Durability::Strict => SyncNames::of(self.spec.others(&self.me)),
            Durability::Available | Durability::Async => SyncNames::default(),
        }
    }
}
