//! Becoming holder: who may, when, and with whose word.

use std::time::Duration;

use super::corroboration::Veto;
use super::register::Purpose;
use super::types::Effect;
use super::{ASK_INTERVAL, PairMachine};
use crate::ids::{DataDirectoryId, Epoch, OperationId, RegionId};
use crate::mutation::{Bug, planted};
use crate::observation::ProcessState;
use crate::operation::{Step, StepOutcome};
use crate::record::PairRecord;
use crate::spec::PairMode;
use crate::time::Tick;

/// How the end of a pause is named in the record.
pub const RESUMED: &str = "resumed";

fn ledger_evidence(listed: bool) -> &'static str {
    if listed { "in the in-sync ledger" } else { "not in the in-sync ledger" }
}

fn ttl_evidence(holder: &RegionId, silent: Option<Duration>, listed: bool) -> String {
    let span = silent.map_or_else(String::new, |span| format!(" for {} ms", span.as_millis()));
    format!("the session of {holder} has not moved{span}; {}", ledger_evidence(listed))
}

/// Permission to take over.
pub(super) struct Permit {
    pub operation: Option<OperationId>,
    pub autonomous: bool,
    pub allow_data_loss: bool,
}

impl Permit {
    /// Why the acquisition was allowed: an approved loss is told as one, whatever else made it due.
    fn by(&self, due: &'static str) -> &'static str {
        if self.allow_data_loss { "approved" } else { due }
    }
}

impl PairMachine {
    /// Acquires from `holder` (or the vacancy) if the rules allow it now.
    pub(super) fn consider_acquiring(
        &mut self,
        now: Tick,
        record: &PairRecord,
        holder: Option<&RegionId>,
    ) {
        if !self.register.settled() || !self.session.valid(now) {
            return;
        }
        let Some(id) = self.my_directory().cloned() else { return };
        if self.promise.bars(now) && !planted(Bug::PromiseIgnored) {
            self.block(
                "promised",
                "this member promised the holder not to take over while the witness is away".into(),
                "nothing; the promise runs out by itself",
            );
            return;
        }
        // The witness is part of the decision: what is acted on was read in this session.
        if self.register.known.as_ref().is_none_or(|known| known.sent < self.life_began) {
            return;
        }
        if record.handover_to.as_ref() == Some(&self.me) && holder.is_some() {
            // R14: only the stopped holder wrote this, and only after this member had it all.
            if record.lists(&self.me, &id) || planted(Bug::IgnoreDataDirectory) {
                self.acquire(now, record, id, "handover", false);
            }
            return;
        }
        if record.paused && !planted(Bug::PauseIgnored) {
            // R21: a pause bars challengers.
            if self.suspicious(now) {
                self.block(
                    "paused",
                    "the pair is paused; nobody takes over".into(),
                    "resume the pair when it may fail over again",
                );
            }
            return;
        }
        match holder {
            Some(holder) if self.take_over_by_ledger(now, record, holder, &id) => {}
            Some(holder) => self.consider_challenge(now, record, holder, id),
            None => self.consider_vacancy(now, record, id),
        }
    }

    fn consider_challenge(
        &mut self,
        now: Tick,
        record: &PairRecord,
        holder: &RegionId,
        id: DataDirectoryId,
    ) {
        if !self.suspicious(now) {
            return;
        }
        let trigger = format!("the session of {holder} has not moved");
        let permit = self.permission(now, record, &trigger, &id);
        let Some(version) = self.register.known.as_ref().map(|known| known.version) else { return };
        // R7: the verdict counts for the version of the pair that was read before the closing read.
        if !self.window.expired_at(version) {
            return;
        }
        if self.process() != Some(ProcessState::Running) {
            return;
        }
        if let Some(permit) = permit {
            let silent = self.window.silent_since().map(|since| now.since(since));
            let listed = record.lists(&self.me, &id);
            self.detected(now, &permit, silent, ttl_evidence(holder, silent, listed));
            self.acquire(now, record, id, permit.by("expired"), permit.autonomous);
        }
    }

    fn consider_vacancy(&mut self, now: Tick, record: &PairRecord, id: DataDirectoryId) {
        // Who let go gives the others the first chance.
        let waits = self.released_at.is_some_and(|at| now.since(at) < self.timing.ttl);
        let fenced = self.actuator.as_ref().is_some_and(|status| status.fenced.is_some());
        if waits || fenced || self.another_goes_first(now, record) {
            return;
        }
        let permit = self.permission(now, record, "the lease is vacant", &id);
        if let Some(permit) = permit {
            let detail =
                format!("the lease is vacant; {}", ledger_evidence(record.lists(&self.me, &id)));
            self.detected(now, &permit, None, detail);
            let due = if record.rested_by.is_some() { RESUMED } else { "vacant" };
            self.acquire(now, record, id, permit.by(due), permit.autonomous);
        }
    }

    fn detected(&mut self, now: Tick, permit: &Permit, took: Option<Duration>, detail: String) {
        if let Some(operation) = permit.operation.clone() {
            self.operation = Some((self.epoch(), operation));
        }
        self.step_note(Step::Detect, StepOutcome::Done, took, detail);
        self.tell_corroboration(now);
    }

    pub(super) fn acquire(
        &mut self,
        now: Tick,
        record: &PairRecord,
        id: DataDirectoryId,
        by: &'static str,
        autonomous: bool,
    ) {
        // R15: every acquisition clears `handover_to`.
        let handover_to =
            if planted(Bug::KeepHandover) { record.handover_to.clone() } else { None };
        let value = PairRecord {
            epoch: record.epoch.next(),
            holder: Some(self.me.clone()),
            in_sync: [(self.me.clone(), id)].into(),
            handover_to,
            paused: record.paused,
            waits_for_all: false,
            rested_by: None,
        };
        self.acquiring_from = record.holder.clone();
        self.write(now, value, Purpose::Acquire { by, autonomous });
    }

    /// Whether the holder's session has been silent for a good part of the window, so that asking
    /// the core now costs no time later.
    pub(super) fn suspicious(&self, now: Tick) -> bool {
        let (Some(since), Some(at)) =
            (self.window.silent_since(), self.window.closes_at(&self.timing))
        else {
            return false;
        };
        now.since(since) * 2 >= at.since(since)
    }

    /// The core's grant, a person's approval, or autonomy; `None` with a named state while there
    /// is none.
    pub(super) fn permission(
        &mut self,
        now: Tick,
        record: &PairRecord,
        trigger: &str,
        id: &DataDirectoryId,
    ) -> Option<Permit> {
        let listed = record.lists(&self.me, id)
            || planted(Bug::AcquireOutsideLedger)
            || (planted(Bug::IgnoreDataDirectory) && record.in_sync.contains_key(&self.me));
        let approved =
            self.approval.as_ref().filter(|approval| approval.epoch == record.epoch).cloned();
        let within_bound = self.within_bound();
        if let Some(approval) = approved
            && (listed || approval.allow_data_loss || within_bound)
        {
            let automatic = !approval.by_person || planted(Bug::VetoBarsPeople);
            if automatic && self.veto(now) != Veto::No {
                self.block_vetoed(now);
                return None;
            }
            let (operation, allow_data_loss) = (Some(approval.operation), !listed);
            return Some(Permit { operation, autonomous: false, allow_data_loss });
        }
        if !listed && !within_bound && !self.core_answers(now) {
            self.block_unlisted();
            return None;
        }
        let veto = self.veto_of_automation(now);
        if veto == Veto::Waits {
            return None;
        }
        if self.core_answers(now) {
            self.ask_core(now, record.epoch, trigger, listed);
            if !listed && !within_bound {
                self.block_unlisted();
            } else if veto == Veto::Stands {
                self.block_vetoed(now);
            } else if let Some(reasons) = self.asking.denied.clone() {
                self.block(
                    "denied-by-core",
                    format!("the core does not allow a failover: {}", reasons.join("; ")),
                    "approve or order the failover, or clear the reasons",
                );
            }
            return None;
        }
        if veto == Veto::Stands {
            self.block_vetoed(now);
            return None;
        }
        self.alone(listed || within_bound, !listed)
    }

    /// R21: an `async` pair may fail over on a standing approval while the measured lag is within
    /// the bound. An unknown lag is not within it.
    fn within_bound(&self) -> bool {
        let bound = self.spec.loss_approval.map(|approval| approval.rpo_bytes);
        bound.is_some_and(|bound| self.lag_bytes().is_some_and(|lag| lag <= bound))
    }

    /// Bytes this standby is known to be behind the holder that fell silent or let go; `None` when not
    /// measured, or measured so long before that it may have written much since. The end of the
    /// primary's WAL is what it said last: it is gone when it would be needed.
    fn lag_bytes(&self) -> Option<u64> {
        let (_, sql) = self.sql()?;
        let ((said, end), received) = (self.upstream_end?, sql.wal?);
        // Who let go may have written until that was seen, however long its session was not looked at.
        let until = self.vacant_since.or(self.window.silent_since())?;
        let recent = said + self.timing.ttl >= until;
        recent.then(|| end.bytes_since(received))
    }

    fn block_unlisted(&mut self) {
        if self.spec.durability.is_synchronous() {
            self.block(
                "not-in-sync",
                "the holder is silent and this member is not known to hold every acknowledged \
                 commit; taking over could lose some"
                    .into(),
                "bring the holder or an in-sync member back, or approve the loss for this epoch",
            );
        } else {
            self.block(
                "data-loss-approval",
                "the holder is silent; a failover of this async pair may lose acknowledged commits \
                 beyond the approved bound, or the lag is unknown"
                    .into(),
                "bring the holder back, or approve the loss for this epoch",
            );
        }
    }

    /// Whether the core is there to be asked: its stream stands (or fell less than `core_grace`
    /// ago), and a question did not stay open for longer.
    pub(super) fn core_answers(&self, now: Tick) -> bool {
        let grace = self.spec.core_grace;
        if !self.core_up {
            return now.since(self.core_changed) < grace;
        }
        let open = self.asking.first_asked.is_some_and(|asked| now.since(asked) >= grace);
        !open || self.asking.denied.is_some()
    }

    fn ask_core(&mut self, now: Tick, epoch: Epoch, trigger: &str, listed: bool) {
        if !self.core_up {
            return;
        }
        if self.asking.epoch != Some(epoch) {
            self.asking.epoch = Some(epoch);
            self.asking.first_asked = Some(now);
            self.asking.last_asked = None;
            self.asking.denied = None;
        }
        if self.asking.last_asked.is_none_or(|asked| now.since(asked) >= ASK_INTERVAL) {
            self.asking.last_asked = Some(now);
            self.out.push(Effect::AskGrant {
                epoch,
                trigger: trigger.into(),
                evidence: ledger_evidence(listed).into(),
                listed,
                lag_bytes: self.lag_bytes(),
                corroboration: self.corroboration_known(now),
            });
        }
    }

    /// The core has no quorum: alone, if the spec as last seen says so.
    fn alone(&mut self, allowed: bool, lossy: bool) -> Option<Permit> {
        let why = if self.spec.mode != PairMode::Automatic {
            Some("the pair is not in mode automatic")
        } else if self.automation_paused {
            Some("automation of the pair is paused")
        } else if !self.spec.autonomous {
            Some("the pair may not fail over without the core")
        } else {
            None
        };
        match why {
            None if allowed => {
                Some(Permit { operation: None, autonomous: true, allow_data_loss: lossy })
            }
            None => None,
            Some(why) => {
                self.block(
                    "core-unreachable",
                    format!("the core can not be asked and {why}; nobody takes over"),
                    "bring the core back, then order or approve the failover",
                );
                None
            }
        }
    }
}
