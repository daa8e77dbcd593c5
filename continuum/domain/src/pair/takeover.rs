//! Ledger takeover and hot switchover: a listed standby takes the lease without waiting for the
//! holder's ttl (R18, R19).
//!
//! The holder acknowledges nothing without every listed member, and cannot shrink the ledger once
//! the epoch has moved. So a listed member that no longer receives decides alone:
//!
//! ```text
//!  suspected, or ordered -> stop receiving -> CAS epoch + 1 -> promote
//!        |                        |               |
//!        +-- heard of again ------+---- refused --+--> follow again: nothing happened
//! ```

use std::time::Duration;

use super::suspicion::{Evidence, Suspicion};
use super::types::{PlaneCommand, PlaneOutcome};
use super::{Approval, PairMachine};
use crate::ids::{DataDirectoryId, Epoch, OperationId, RegionId};
use crate::mutation::{Bug, planted};
use crate::observation::ProcessState;
use crate::operation::{Step, StepOutcome};
use crate::record::PairRecord;
use crate::spec::Takeover;
use crate::time::Tick;

/// How the acquisition is named in the record of a takeover on suspicion.
pub const BY_LEDGER: &str = "ledger";
/// How it is named in the record of a hot switchover.
pub const BY_HOT: &str = "hot";

/// For so long an order may stand against what speaks against it.
const ORDER_PATIENCE: Duration = Duration::from_millis(500);

/// The order to take over from a living holder.
#[derive(Clone, Debug)]
struct Order {
    operation: OperationId,
    epoch: Epoch,
    deadline: Tick,
    /// Since when something speaks against it.
    refused_since: Option<Tick>,
}

/// What goes on at a standby that takes over by the ledger.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub suspicion: Suspicion,
    order: Option<Order>,
    /// The last order that was given up: a repeated one is not begun again.
    given_up: Option<OperationId>,
    /// The WAL receiver was stopped, at this instant, and not started again since.
    stopped: Option<Tick>,
    /// A takeover has begun: the member is not pointed at the holder meanwhile.
    under_way: bool,
    /// Its beginning was told.
    told: bool,
}

impl State {
    /// Whether the member stands between its stop of receiving and the end of its write.
    pub fn under_way(&self) -> bool {
        self.under_way
    }

    /// Before each look: whether it goes on is decided anew.
    pub fn pause(&mut self) {
        self.under_way = false;
    }

    /// After the look: whether it goes on.
    pub fn went_on(&mut self) -> bool {
        self.told &= self.under_way;
        self.under_way
    }

    /// PostgreSQL receives again, or may: the next takeover stops it anew.
    pub fn receives(&mut self) {
        self.stopped = None;
    }
}

impl PairMachine {
    /// The core orders a hot switchover, decided at `epoch`. After `deadline` without success the
    /// standby follows again by itself.
    pub(super) fn begin_hot_switchover(
        &mut self,
        now: Tick,
        operation: OperationId,
        epoch: Epoch,
        deadline: Duration,
    ) {
        let known = self.takeover.order.as_ref().is_some_and(|order| order.operation == operation)
            || self.takeover.given_up.as_ref() == Some(&operation);
        if known || epoch != self.epoch() {
            return;
        }
        self.operation = Some((epoch, operation.clone()));
        self.takeover.order =
            Some(Order { operation, epoch, deadline: now + deadline, refused_since: None });
    }

    /// The order is taken back, or cannot be carried out; what was sent to the witness still counts
    /// if it lands.
    pub(super) fn drop_hot_switchover(&mut self, operation: &OperationId, reason: String) {
        if self.takeover.order.take_if(|order| order.operation == *operation).is_some() {
            self.takeover.given_up = Some(operation.clone());
            self.step_note(Step::Commit, StepOutcome::Failed { reason }, None, String::new());
        }
    }

    /// Reasons against taking over by the ledger; none when only suspicion or an order is missing.
    pub fn takeover_refusals(&self, now: Tick) -> Vec<String> {
        let mut against = Vec::new();
        let mut refuse = |unless: bool, why: &str| {
            if !unless {
                against.push(why.to_owned());
            }
        };
        let Some(record) = self.record() else {
            return vec!["the pair's register was not read".to_owned()];
        };
        refuse(
            self.spec.durability.is_synchronous(),
            "durability async: the holder acknowledges alone",
        );
        let listed = self.my_directory().is_some_and(|id| record.lists(&self.me, id));
        refuse(
            listed || planted(Bug::TakeoverUnlisted),
            "this member is not in the in-sync ledger with the directory it has (R18)",
        );
        refuse(
            record.waits_for_all || planted(Bug::PremiseUnchecked),
            "the holder has not confirmed that it waits for every listed member",
        );
        refuse(self.session.valid(now), "this region's session at the witness is not valid");
        refuse(!record.paused, "the pair is paused");
        refuse(!self.promise.bars(now), "this member promised the holder to stay out");
        refuse(
            self.process() == Some(ProcessState::Running) && !self.promoted(),
            "PostgreSQL does not run here as a standby",
        );
        refuse(
            !self.always_receives(),
            "PostgreSQL here cannot be told to receive nothing more (a CloudNativePG Cluster)",
        );
        against
    }

    /// Goes on with a takeover by the ledger. `true` while one is under way, so that nothing else is
    /// tried at the same time.
    pub(super) fn take_over_by_ledger(
        &mut self,
        now: Tick,
        record: &PairRecord,
        holder: &RegionId,
        id: &DataDirectoryId,
    ) -> bool {
        self.end_stale_order(now, record);
        let order = self.takeover.order.as_ref().map(|order| order.operation.clone());
        let evidence = match (&order, self.spec.takeover) {
            (Some(_), _) => None,
            (None, Takeover::Ledger) => self.suspects(now, holder),
            (None, Takeover::Ttl) => None,
        };
        let refusals = self.takeover_refusals(now);
        if (order.is_none() && evidence.is_none()) || !refusals.is_empty() {
            self.refuse_order(now, &refusals);
            return false;
        }
        if let Some(order) = &mut self.takeover.order {
            order.refused_since = None;
        }
        let autonomous = match &evidence {
            None => false,
            Some(evidence) => {
                let Some(permit) = self.permission(now, record, &evidence.text, id) else {
                    return false;
                };
                if permit.allow_data_loss && !planted(Bug::TakeoverUnlisted) {
                    // R18: never under an approval of a loss.
                    return false;
                }
                if !std::mem::replace(&mut self.takeover.told, true) {
                    self.suspected(now, evidence.since, &evidence.text, permit.operation);
                }
                permit.autonomous
            }
        };
        self.takeover.under_way = true;
        if self.takeover.stopped.is_none() && !planted(Bug::ReceiverKept) {
            self.command(now, record.epoch, PlaneCommand::StopReceiving);
            return true;
        }
        if !self.plane_free() {
            return true;
        }
        let by = if order.is_some() { BY_HOT } else { BY_LEDGER };
        self.acquire(now, record, id.clone(), by, autonomous);
        true
    }

    /// What this member knows of the register may be a moment old: an order is given up when something
    /// has spoken against it for a while.
    fn refuse_order(&mut self, now: Tick, refusals: &[String]) {
        let Some(order) = &mut self.takeover.order else { return };
        let since = *order.refused_since.get_or_insert(now);
        if now.since(since) >= ORDER_PATIENCE {
            let operation = order.operation.clone();
            self.drop_hot_switchover(&operation, refusals.join("; "));
        }
    }

    fn end_stale_order(&mut self, now: Tick, record: &PairRecord) {
        let Some(order) = self.takeover.order.clone() else { return };
        if order.epoch != record.epoch {
            self.drop_hot_switchover(&order.operation, "the pair moved on before".into());
        } else if now >= order.deadline {
            self.drop_hot_switchover(&order.operation, "no commit by the deadline".into());
        }
    }

    pub(super) fn suspects(&self, now: Tick, holder: &RegionId) -> Option<Evidence> {
        self.takeover.suspicion.of(now, holder, self.spec.suspect_after, self.timing.renew)
    }

    fn suspected(&mut self, now: Tick, since: Tick, text: &str, operation: Option<OperationId>) {
        if let Some(operation) = operation {
            self.operation = Some((self.epoch(), operation));
        }
        let took = Some(now.since(since));
        let detail = format!("{text}; in the in-sync ledger, for which the holder waits");
        self.step_note(Step::Detect, StepOutcome::Done, took, detail);
        self.tell_corroboration(now);
    }

    /// The WAL receiver is gone, or could not be stopped.
    pub(super) fn receiving_stopped(&mut self, now: Tick, outcome: &PlaneOutcome, began: Tick) {
        let PlaneOutcome::Stopped(received) = outcome else {
            self.following = None;
            return;
        };
        self.following = Some(None);
        self.takeover.stopped = Some(now);
        if self.takeover.under_way {
            let detail = format!("no more WAL is received here after {received}");
            let took = Some(now.since(began));
            self.step_note(Step::StopWrites, StepOutcome::Done, took, detail);
        }
    }

    /// Whether this member's PostgreSQL cannot be told to receive nothing more.
    pub(super) fn always_receives(&self) -> bool {
        self.actuator.as_ref().is_some_and(|status| status.always_receives)
    }

    /// R19: a holder never again receives from a lower epoch, whatever became of its receiver while
    /// its write was unresolved.
    pub(super) fn receives_no_more(&mut self, now: Tick, epoch: Epoch) -> bool {
        if self.following == Some(None) || planted(Bug::ReceiverKept) {
            return true;
        }
        self.command(now, epoch, PlaneCommand::StopReceiving);
        false
    }

    /// An order to take over in an orderly way counts as the core's word.
    pub(super) fn order_taken(&mut self) -> Option<Approval> {
        let order = self.takeover.order.take()?;
        let (epoch, operation) = (order.epoch, order.operation);
        Some(Approval { epoch, operation, allow_data_loss: false, by_person: true })
    }
}
