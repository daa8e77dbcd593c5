//! The holder's half of a planned move (R14, R15, R17).
//!
//! ```text
//!  Checkpoint -> Stop -> Control -> Prove -> HandOver -> Waiting -> (the target holds the lease)
//!       |          |        |         |         |           |
//!       +-- drop   +--------+---------+---------+-----------+--> return: epoch + 1, start again
//! ```

use std::time::Duration;

use super::PairMachine;
use super::register::Purpose;
use super::types::{Effect, PlaneCommand, PlaneOutcome};
use crate::ids::{DataDirectoryId, Epoch, OperationId, RegionId};
use crate::mutation::{Bug, planted};
use crate::observation::{ControlData, ProcessState};
use crate::operation::{Step, StepOutcome};
use crate::record::PairRecord;
use crate::time::Tick;

/// Longest time one question to the target may take.
const PROOF_WAIT: Duration = Duration::from_millis(1_000);
/// Pause before the target is asked again after it said no.
const PROOF_RETRY: Duration = Duration::from_millis(50);

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    Checkpoint,
    Stop,
    Control,
    Prove(ControlData),
    HandOver(DataDirectoryId),
    Waiting,
}

#[derive(Clone, Debug)]
pub(super) struct Handover {
    operation: OperationId,
    to: RegionId,
    deadline: Tick,
    began: Tick,
    phase: Phase,
    phase_began: Tick,
    /// A question to the target is open.
    asking: bool,
    ask_again: Tick,
    /// Set when it must be undone, with the reason.
    abort: Option<String>,
    stop_asked: bool,
}

impl Handover {
    fn enter(&mut self, now: Tick, phase: Phase) {
        self.phase = phase;
        self.phase_began = now;
        self.asking = false;
        self.ask_again = now;
    }

    pub fn write_lost(&mut self, purpose: &Purpose) {
        if *purpose == Purpose::HandOver {
            self.abort = Some("the register changed under the hand-over".into());
        }
    }
}

impl PairMachine {
    pub(super) fn begin_handover(
        &mut self,
        now: Tick,
        operation: OperationId,
        epoch: Epoch,
        to: RegionId,
        deadline: Duration,
    ) {
        // A directive decided at another epoch is stale; one that is repeated changes nothing.
        let current = self.confirmed.is_some_and(|confirmed| confirmed.epoch == epoch);
        if !current || self.handover.is_some() || !self.is_primary() || to == self.me {
            return;
        }
        if !self.spec.members.contains_key(&to) {
            return;
        }
        if planted(Bug::HandOverUnproven) {
            self.out.push(Effect::AskIdentity { region: to.clone(), epoch });
        }
        self.growth.abandon();
        self.operation = Some((epoch, operation.clone()));
        self.handover = Some(Handover {
            operation,
            to,
            deadline: now + deadline,
            began: now,
            phase: Phase::Checkpoint,
            phase_began: now,
            asking: false,
            ask_again: now,
            abort: None,
            stop_asked: false,
        });
    }

    pub(super) fn abort_handover(&mut self, operation: &OperationId) {
        if let Some(handover) = &mut self.handover
            && handover.operation == *operation
        {
            handover.abort.get_or_insert_with(|| "cancelled by the core".into());
        }
    }

    pub(super) fn decide_handover(&mut self, now: Tick, record: &PairRecord) {
        let Some(handover) = self.handover.clone() else { return };
        // R17: with no commit by the deadline this agent returns on its own.
        let late = (now >= handover.deadline).then(|| "no commit by the deadline".to_owned());
        let crashed = (handover.phase == Phase::Checkpoint
            && self.process() == Some(ProcessState::Stopped))
        .then(|| "PostgreSQL ended by itself".to_owned());
        if let Some(reason) = handover.abort.clone().or(late).or(crashed) {
            return self.undo_handover(now, &handover, reason);
        }
        match handover.phase {
            Phase::Checkpoint if !self.streams_from_here(&handover.to) => {}
            Phase::Checkpoint => self.command(now, record.epoch, PlaneCommand::Checkpoint),
            Phase::Stop => self.stop_for_handover(now, record, &handover.to),
            Phase::Control => self.command(now, record.epoch, PlaneCommand::ControlData),
            Phase::Prove(control) => self.ask_target(now, record, &handover.to, &control),
            Phase::HandOver(id) => self.write_handover(now, record, &handover.to, id),
            Phase::Waiting => {}
        }
        if planted(Bug::HandOverBeforeStop) && record.handover_to.is_none() {
            let id = self.identities.get(&handover.to).and_then(|(_, id)| id.clone());
            if let Some(id) = id.or_else(|| record.in_sync.get(&handover.to).cloned()) {
                self.write_handover(now, record, &handover.to, id);
            }
        }
    }

    /// R14: a position proves something only on this very history, and a timeline's number does not
    /// tell it from another of that number. A target that streams from here was proven before it
    /// did; for another one nothing is stopped, and the deadline ends the wait.
    fn streams_from_here(&self, to: &RegionId) -> bool {
        self.sql().and_then(|(_, sql)| sql.standbys.get(to)).is_some_and(|target| target.streaming)
            || planted(Bug::HandOverToStranger)
    }

    fn stop_for_handover(&mut self, now: Tick, record: &PairRecord, to: &RegionId) {
        let asked = self.handover.as_ref().is_some_and(|handover| handover.stop_asked);
        let may = self.plane_free() && self.streams_from_here(to);
        if !asked && may && now >= self.plane_not_before {
            if let Some(handover) = &mut self.handover {
                handover.stop_asked = true;
            }
            self.step_note(Step::StopWrites, StepOutcome::Started, None, String::new());
            self.command(now, record.epoch, PlaneCommand::StopFast);
        }
    }

    fn ask_target(&mut self, now: Tick, record: &PairRecord, to: &RegionId, control: &ControlData) {
        let Some(handover) = &mut self.handover else { return };
        if !handover.asking && now >= handover.ask_again {
            handover.asking = true;
            self.out.push(Effect::AskReplayed {
                region: to.clone(),
                epoch: record.epoch,
                timeline: control.timeline,
                lsn: control.checkpoint,
                wait: PROOF_WAIT,
            });
        }
    }

    /// R14: PostgreSQL is stopped, the target has replayed exactly to the shutdown checkpoint, and
    /// the same write puts it into the ledger.
    fn write_handover(
        &mut self,
        now: Tick,
        record: &PairRecord,
        to: &RegionId,
        id: DataDirectoryId,
    ) {
        let stopped = self.process() == Some(ProcessState::Stopped);
        if !stopped && !planted(Bug::HandOverBeforeStop) {
            // It was proven once; whatever runs now, the deadline leads back.
            return;
        }
        if !self.register.settled() || !self.session.valid(now) {
            return;
        }
        let mut value = record.clone();
        value.in_sync.insert(to.clone(), id);
        value.handover_to = Some(to.clone());
        self.write(now, value, Purpose::HandOver);
    }

    pub(super) fn handed_over(&mut self, now: Tick) {
        let began = self.handover.as_ref().map(|handover| handover.phase_began);
        if let Some(handover) = &mut self.handover {
            handover.enter(now, Phase::Waiting);
        }
        self.out.push(Effect::NudgePeers);
        let took = began.map(|began| now.since(began));
        self.step_note(Step::HandOver, StepOutcome::Done, took, String::new());
    }

    /// Undoes what was begun. Before PostgreSQL was told to stop there is nothing to undo; after
    /// it, the way back is the returner's: epoch + 1 with `handover_to: None` first (R15).
    fn undo_handover(&mut self, now: Tick, handover: &Handover, reason: String) {
        let untouched = !handover.stop_asked && self.process() == Some(ProcessState::Running);
        if untouched {
            self.handover = None;
            self.step_note(Step::StopWrites, StepOutcome::Undone, None, reason);
            self.operation = None;
            return;
        }
        if self.process() != Some(ProcessState::Stopped) {
            // A stop that hangs is ended the hard way; waiting commits stay unacknowledged (R11).
            return self.fence(now, self.epoch(), "a switchover is undone");
        }
        let took = Some(now.since(handover.began));
        self.step_note(Step::StopWrites, StepOutcome::Undone, took, reason);
        self.handover = None;
        self.operation = None;
        if planted(Bug::AbortWithoutCas) {
            return;
        }
        self.confirmed = None;
    }

    pub(super) fn handover_plane_ended(
        &mut self,
        now: Tick,
        command: &PlaneCommand,
        outcome: &PlaneOutcome,
    ) {
        let Some(handover) = &mut self.handover else { return };
        let began = handover.phase_began;
        let failed = match outcome {
            PlaneOutcome::Failed(reason) | PlaneOutcome::Unknown(reason) => Some(reason.clone()),
            _ => None,
        };
        match (command, outcome) {
            // The checkpoint only makes the stop short; without it the stop takes longer.
            (PlaneCommand::Checkpoint, _) => handover.enter(now, Phase::Stop),
            (_, PlaneOutcome::Control(control)) => {
                let known = self.identities.get(&handover.to).and_then(|(_, id)| id.clone());
                let unproven = known.filter(|_| planted(Bug::HandOverUnproven));
                if let Some(id) = unproven {
                    handover.enter(now, Phase::HandOver(id));
                } else if control.clean_shutdown && !control.in_recovery {
                    handover.enter(now, Phase::Prove(control.clone()));
                } else {
                    handover.abort = Some("PostgreSQL did not shut down cleanly".into());
                }
            }
            (PlaneCommand::StopFast, PlaneOutcome::Done) => {
                handover.enter(now, Phase::Control);
                self.stop_proven(now);
                let took = Some(now.since(began));
                self.step_note(Step::StopWrites, StepOutcome::Done, took, String::new());
            }
            _ => handover.abort = failed,
        }
    }

    pub(super) fn peer_replayed(
        &mut self,
        now: Tick,
        region: &RegionId,
        answer: Result<DataDirectoryId, String>,
    ) {
        let Some(handover) = &mut self.handover else { return };
        if handover.to != *region || !matches!(handover.phase, Phase::Prove(_)) {
            return;
        }
        match answer {
            Ok(id) => {
                let took = Some(now.since(handover.phase_began));
                handover.enter(now, Phase::HandOver(id));
                self.step_note(Step::ProveCatchUp, StepOutcome::Done, took, String::new());
            }
            // Asked again until the deadline.
            Err(_) => {
                handover.asking = false;
                handover.ask_again = now + PROOF_RETRY;
            }
        }
    }

    /// Whether writes are stopped for a switchover.
    pub(super) fn handing_over(&self) -> bool {
        self.handover.as_ref().is_some_and(|handover| handover.stop_asked)
    }
}
