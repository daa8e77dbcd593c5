//! Pausing a pair: its PostgreSQL is stopped everywhere, and stays so until it is resumed.
//!
//! The core bars challengers first (`paused`, R21) and then asks the holder, which stops PostgreSQL
//! cleanly and lets go of the lease (R16) with a word that it was for a pause. From then on the
//! register alone says that the pair rests: nobody takes the lease while `paused` stands, members stop
//! their PostgreSQL and leave it stopped, and an agent that is started anew finds the same. Once the
//! core has taken `paused` back the lease is vacant like any other, and who put the pair to rest goes
//! first.
//!
//! ```text
//!  asked -> (paused seen) -> Stop -> Release -> resting -> (paused taken back) -> vacancy
//!    |                        |
//!    +-- deadline: dropped    +-- deadline: stopped the hard way, started again
//! ```

use std::time::Duration;

use super::types::{Effect, PlaneCommand};
use super::{PUBLISH_INTERVAL, PairMachine};
use crate::ids::{Epoch, OperationId, RegionId};
use crate::mutation::{Bug, planted};
use crate::observation::ProcessState;
use crate::operation::{Step, StepOutcome};
use crate::record::PairRecord;
use crate::time::Tick;

/// Why the lease was let go, in the record.
const RESTS: &str = "the pair is paused";

/// What the core asked for.
#[derive(Clone, Debug)]
struct Order {
    epoch: Epoch,
    deadline: Tick,
    began: Tick,
    stop_asked: bool,
    stop_told: bool,
}

/// What is known of a pause.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    order: Option<Order>,
    /// Since when the pair is known to rest no more, although nobody holds it.
    woken: Option<Tick>,
}

impl State {
    /// Whether the holder is on its way to rest.
    pub fn under_way(&self) -> bool {
        self.order.is_some()
    }

    /// The right to hold is gone, and with it what was asked of the holder.
    pub fn drop_order(&mut self) {
        self.order = None;
    }
}

impl PairMachine {
    pub(super) fn begin_rest(
        &mut self,
        now: Tick,
        operation: OperationId,
        epoch: Epoch,
        deadline: Duration,
    ) {
        // An order decided at another epoch is stale; one that is repeated changes nothing.
        let current = self.confirmed.is_some_and(|confirmed| confirmed.epoch == epoch);
        if !current || self.handover.is_some() || self.rest.under_way() {
            return;
        }
        self.operation = Some((epoch, operation));
        self.rest.order = Some(Order {
            epoch,
            deadline: now + deadline,
            began: now,
            stop_asked: false,
            stop_told: false,
        });
        self.read_pair(now);
    }

    /// Takes the confirmed holder to rest; `false` when it is to go on as a primary.
    pub(super) fn decide_rest(&mut self, now: Tick, record: &PairRecord) -> bool {
        let Some(order) = self.rest.order.clone() else { return false };
        if order.epoch != record.epoch {
            self.rest.order = None;
            return false;
        }
        let stopped = self.process() == Some(ProcessState::Stopped);
        if now >= order.deadline {
            if order.stop_asked && !stopped {
                // A stop that hangs is ended the hard way; waiting commits stay unacknowledged (R11).
                self.fence(now, record.epoch, "a pause is undone");
                return true;
            }
            self.rest.order = None;
            let reason = "no word of the pause by the deadline".to_owned();
            self.step_note(Step::StopWrites, StepOutcome::Undone, None, reason);
            return false;
        }
        // Stopped before challengers are barred, the pair would fail over instead. Barred no more
        // after the stop, it is not to rest.
        if !record.paused && !planted(Bug::RestUnbarred) {
            if stopped && order.stop_asked && self.plane_free() {
                self.rest.order = None;
                let reason = "the pause was taken back".to_owned();
                self.step_note(Step::StopWrites, StepOutcome::Undone, None, reason);
            }
            return false;
        }
        self.growth.abandon();
        if stopped && self.plane_free() {
            self.let_go_to_rest(now, record, &order);
        } else if !stopped && !order.stop_asked && self.plane_free() && now >= self.plane_not_before
        {
            self.step_note(Step::StopWrites, StepOutcome::Started, None, String::new());
            self.command(now, record.epoch, PlaneCommand::StopFast);
            self.change_order(|order| order.stop_asked = true);
        }
        if planted(Bug::RestBeforeStop) {
            self.let_go_to_rest(now, record, &order);
        }
        true
    }

    fn change_order(&mut self, change: impl FnOnce(&mut Order)) {
        if let Some(order) = &mut self.rest.order {
            change(order);
        }
    }

    /// R16: the lease is let go after the stop is proven, and the ledger stays as it is.
    fn let_go_to_rest(&mut self, now: Tick, record: &PairRecord, order: &Order) {
        if !order.stop_told {
            let took = Some(now.since(order.began));
            self.step_note(Step::StopWrites, StepOutcome::Done, took, String::new());
            self.change_order(|order| order.stop_told = true);
        }
        self.write_release(now, record, RESTS, Some(self.me.clone()));
        if self.confirmed.is_none() {
            self.rest.order = None;
        }
    }

    /// Nobody holds the pair and nobody is to: PostgreSQL stands still here, or is made to.
    pub(super) fn keep_resting(&mut self, now: Tick, record: &PairRecord) {
        self.rest.woken = None;
        self.approval = None;
        let due = self.last_publish_sent.is_none_or(|sent| now.since(sent) >= PUBLISH_INTERVAL);
        if record.rested_by.as_ref() == Some(&self.me) && due {
            // Nobody holds the pair: who let go of it is the one that says so in its names.
            self.last_publish_sent = Some(now);
            self.out.push(Effect::PublishNames { epoch: record.epoch });
        }
        let running = self.process() == Some(ProcessState::Running);
        if running && !self.promoted() && !planted(Bug::RestIgnored) {
            // A clean stop: what was received is on disk, and the next start is quick.
            self.command(now, record.epoch, PlaneCommand::StopFast);
        }
    }

    /// Whether the region that put the pair to rest still has the first word.
    pub(super) fn another_goes_first(&mut self, now: Tick, record: &PairRecord) -> bool {
        let Some(first) = record.rested_by.as_ref().filter(|first| **first != self.me) else {
            return false;
        };
        let since = *self.rest.woken.get_or_insert(now);
        let ordered = self.approval.as_ref().is_some_and(|approval| approval.by_person);
        !ordered
            && self.spec.members.contains_key::<RegionId>(first)
            && now.since(since) < self.timing.ttl
    }
}
