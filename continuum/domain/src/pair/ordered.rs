//! Orders of a person to a member that does not follow well: try again now, or take a fresh clone.
//!
//! Members rejoin by themselves ([`super::rejoin`]); an order only hurries that, or has a directory
//! copied anew that would have been kept. The copy destroys what is there, so the ledger does without
//! the member first: the holder takes it out and keeps it out (R13), which only `available` allows for
//! a listed one. The member itself looks at the register once more, after the order came, and says
//! nothing of its directory from then on, so that no proof begins for what is about to go.
//!
//! ```text
//!  holder: KeepOut -> (listed: shrink) -> not listed, nothing of it under way -> told
//!  member: Rejoin  -> a read sent later shows it unlisted -> stop -> lineage -> save tail -> clone
//! ```
//!
//! Both orders count for one epoch. A holder that starts anew has forgotten what it kept out, and has
//! won another epoch by then.

use std::time::Duration;

use super::PairMachine;
use super::types::{Effect, Note, PlaneCommand};
use crate::ids::{DataDirectoryId, Epoch, OperationId, RegionId};
use crate::mutation::{Bug, planted};
use crate::observation::ProcessState;
use crate::operation::{Step, StepOutcome};
use crate::record::PairRecord;
use crate::spec::Durability;
use crate::time::Tick;

/// A member that the ledger does without for a while.
#[derive(Clone, Debug)]
struct KeptOut {
    operation: OperationId,
    epoch: Epoch,
    region: RegionId,
    /// The directory that is to go, as far as it is known: another one may be listed.
    directory: Option<DataDirectoryId>,
    until: Tick,
    told: bool,
    /// The member has another directory by now, which may be listed.
    over: bool,
}

/// A clone that was ordered and has not begun.
#[derive(Clone, Debug)]
struct Awaited {
    epoch: Epoch,
    since: Tick,
    until: Tick,
}

/// Planted: a clone that was ordered is not kept from a listed directory.
pub(super) fn ordered_while_listed() -> bool {
    planted(Bug::OrderedCloneWhileListed) || planted(Bug::OrderedCloneUnbarred)
}

/// What was ordered, and what came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    kept_out: Option<KeptOut>,
    awaited: Option<Awaited>,
    /// The clone that was ordered is under way.
    cloning: bool,
    /// Of which operation the next lines about rejoining are. Repeated orders of it change nothing.
    obeyed: Option<(Epoch, OperationId)>,
    /// Why the last clone that was ordered came to nothing, until the member streams.
    failed: Option<String>,
    /// A standby that does not stream is looked at without waiting any longer.
    hurried: bool,
}

impl State {
    /// Whether a clone is due, so that this member's directory is not one to be listed.
    pub fn clone_awaited(&self) -> bool {
        self.awaited.is_some()
    }

    /// The region that growing the ledger passes over.
    pub fn keeps_out(&self, region: &RegionId) -> bool {
        self.kept_out.as_ref().is_some_and(|kept| kept.region == *region && !kept.over)
    }

    /// Whether the next look at the lineage is due at once.
    pub fn take_hurry(&mut self) -> bool {
        std::mem::take(&mut self.hurried)
    }
}

impl PairMachine {
    /// The core asks the holder to do without a member, for `hold` from now.
    pub(super) fn begin_keeping_out(
        &mut self,
        now: Tick,
        (operation, epoch): (OperationId, Epoch),
        region: RegionId,
        hold: Duration,
    ) {
        let current = self.confirmed.is_some_and(|confirmed| confirmed.epoch == epoch);
        let busy = self.handover.is_some() || self.rest.under_way();
        if !current || busy || region == self.me || !self.spec.members.contains_key(&region) {
            return;
        }
        if let Some(kept) = self.ordered.kept_out.as_mut().filter(|one| one.operation == operation)
        {
            kept.until = now + hold;
            return;
        }
        let listed = self.record().and_then(|record| record.in_sync.get(&region)).cloned();
        let directory =
            listed.or_else(|| self.identities.get(&region).and_then(|(_, id)| id.clone()));
        let until = now + hold;
        self.ordered.kept_out =
            Some(KeptOut { operation, epoch, region, directory, until, told: false, over: false });
        self.read_pair(now);
    }

    /// Holder: says when the ledger does without the member, and lets it in again in time.
    pub(super) fn keep_out(&mut self, now: Tick, record: &PairRecord) {
        let Some(kept) = self.ordered.kept_out.clone() else { return };
        let known = self.identities.get(&kept.region).and_then(|(_, id)| id.as_ref());
        let another =
            kept.directory.is_some() && known.is_some() && kept.directory.as_ref() != known;
        if kept.epoch != record.epoch || now >= kept.until {
            self.ordered.kept_out = None;
            return;
        }
        if kept.over || another {
            return self.change_kept_out(|kept| kept.over = true);
        }
        let proving = self.growth.member() == Some(&kept.region);
        if proving && self.register.settled() {
            self.growth.abandon();
        }
        let under_way = proving || !self.register.settled();
        if kept.told || under_way || record.in_sync.contains_key(&kept.region) {
            return;
        }
        self.change_kept_out(|kept| kept.told = true);
        let detail = format!("the ledger does without {}", kept.region);
        self.line(Some(kept.operation), Step::Bar, StepOutcome::Done, detail);
    }

    fn change_kept_out(&mut self, change: impl FnOnce(&mut KeptOut)) {
        if let Some(kept) = &mut self.ordered.kept_out {
            change(kept);
        }
    }

    /// The member that is to leave the ledger because it was ordered, and the reason. `strict` never
    /// gives a listed one up, and nobody is listed in `async`.
    pub(super) fn leaves_by_order(&self) -> Option<(RegionId, String)> {
        let kept = self.ordered.kept_out.as_ref().filter(|kept| !kept.over)?;
        (self.spec.durability == Durability::Available)
            .then(|| (kept.region.clone(), format!("to be cloned anew by {}", kept.operation)))
    }

    /// The core asks this member to try again now, or to take a fresh clone within `deadline`.
    pub(super) fn begin_ordered_rejoin(
        &mut self,
        now: Tick,
        (operation, epoch): (OperationId, Epoch),
        clone: bool,
        deadline: Duration,
    ) {
        let known = self.ordered.obeyed.as_ref().is_some_and(|(_, id)| *id == operation);
        let Some(record) = self.record() else { return };
        let mine = record.held_by(&self.me) || record.holder.is_none() || self.promoted();
        if record.epoch != epoch || mine || known {
            return;
        }
        self.ordered.obeyed = Some((epoch, operation.clone()));
        self.ordered.failed = None;
        self.rejoin_anew(now);
        let detail = if clone { "to be cloned anew" } else { "trying again at once" };
        self.rejoin_line(StepOutcome::Started, detail.to_owned());
        if clone {
            let until = now + deadline;
            self.ordered.awaited = Some(Awaited { epoch, since: now, until });
            self.read_pair(now);
        } else {
            self.plane_not_before = now;
            self.ordered.hurried = true;
        }
    }

    /// Whether the clone that was ordered may begin now (R13).
    pub(super) fn clone_is_due(&mut self, now: Tick, record: &PairRecord) -> bool {
        let Some(awaited) = self.ordered.awaited.clone() else { return false };
        let looked = self.register.known.as_ref().is_some_and(|known| known.sent >= awaited.since);
        let listed = self.my_directory().is_some_and(|id| record.lists(&self.me, id))
            && !ordered_while_listed();
        let against = if awaited.epoch != record.epoch {
            // Whoever holds the pair by now decides anew, and so does who asked.
            self.ordered.awaited = None;
            return false;
        } else if now >= awaited.until {
            "it could not begin in time; nothing was changed here"
        } else if looked && listed {
            "this member is in the in-sync ledger; nothing was changed here"
        } else {
            return looked && self.register.settled();
        };
        self.ordered.awaited = None;
        let outcome = StepOutcome::Failed { reason: against.into() };
        self.rejoin_line(outcome, String::new());
        false
    }

    /// A running standby whose clone is due is stopped first, while its holder is there to be copied.
    pub(super) fn stop_to_be_cloned(&mut self, now: Tick, record: &PairRecord) -> bool {
        let due = self.process() == Some(ProcessState::Running) && self.clone_is_due(now, record);
        if !due || !self.holder_lives(now) {
            return false;
        }
        self.rejoin_anew(now);
        self.command(now, record.epoch, PlaneCommand::StopFast);
        true
    }

    /// The directory is being replaced: the order is used up, and nothing repeats it.
    pub(super) fn ordered_clone_begins(&mut self) {
        if self.ordered.awaited.take().is_some() {
            self.ordered.cloning = true;
        }
    }

    /// A clone ended; whether it was an ordered one that came to nothing.
    pub(super) fn ordered_clone_ended(&mut self, now: Tick, problem: Option<&str>) -> bool {
        if !std::mem::take(&mut self.ordered.cloning) {
            return false;
        }
        let Some(problem) = problem else { return false };
        self.ordered.failed = Some(problem.to_owned());
        self.rejoin_anew(now);
        let reason = format!("the fresh copy came to nothing: {problem}");
        self.rejoin_line(StepOutcome::Failed { reason }, String::new());
        true
    }

    /// Says that an ordered clone came to nothing, until the member streams again.
    pub(super) fn tell_of_failed_clone(&mut self) {
        if let Some(problem) = self.ordered.failed.clone() {
            self.block(
                "clone-failed",
                format!("the fresh copy that was asked for came to nothing: {problem}"),
                "mend the cause, then ask for it again with `continuum rejoin --clone`; the member \
                 goes on with what it has meanwhile",
            );
        }
    }

    /// It streams: what went wrong before is past.
    pub(super) fn ordered_rejoin_streams(&mut self) {
        self.ordered.failed = None;
        self.ordered.hurried = false;
    }

    /// A line about rejoining: of the operation that ordered it, where one did.
    pub(super) fn rejoin_line(&mut self, outcome: StepOutcome, detail: String) {
        let epoch = self.epoch();
        let ordered = self.ordered.obeyed.as_ref().filter(|(at, _)| *at == epoch);
        let ordered = ordered.map(|(_, operation)| operation.clone());
        self.line(ordered.or_else(|| self.operation_at(epoch)), Step::Rejoin, outcome, detail);
    }

    fn line(
        &mut self,
        operation: Option<OperationId>,
        step: Step,
        outcome: StepOutcome,
        detail: String,
    ) {
        let (epoch, took) = (self.epoch(), None);
        let note = Note::Step { step, outcome, took, detail };
        self.out.push(Effect::Note { epoch, operation, note });
    }
}
