//! Asking: reads of the registers, the one write that is under way, the one data-plane command.

use std::time::Duration;

use super::register::Purpose;
use super::types::{Effect, PlaneCommand};
use super::{PairMachine, PlaneSlot};
use crate::ids::Epoch;
use crate::mutation::{Bug, planted};
use crate::record::PairRecord;
use crate::time::Tick;

/// Pause between tries to resolve a write while the witness fails.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// A standby whose takeover is unresolved for so long follows the holder again meanwhile.
const UNRESOLVED_PATIENCE: Duration = Duration::from_secs(1);

impl PairMachine {
    /// Keeps the register, and the holder's session for a challenger, fresh enough.
    pub(super) fn keep_reading(&mut self, now: Tick) {
        let interval = if self.is_primary() || self.all_quiet(now) {
            self.round()
        } else if self.eager() {
            Duration::from_millis(20)
        } else {
            self.pace()
        };
        let blind = self.is_primary() && planted(Bug::HolderNeverReads);
        let due =
            !blind && self.register.last_read_sent.is_none_or(|sent| now.since(sent) >= interval);
        if due && !self.register.reading {
            self.read_pair(now);
        }
        let holder = self.record().and_then(|record| record.holder.clone());
        if let Some(holder) = holder.filter(|holder| *holder != self.me) {
            let due = self.last_session_read.is_none_or(|sent| now.since(sent) >= self.pace());
            let closing = self.closing()
                && self.last_session_read.is_some_and(|sent| now.since(sent).as_millis() >= 5);
            if (due || closing) && !self.reading_session {
                self.reading_session = true;
                self.last_session_read = Some(now);
                // The read that closes the window has to be sent after it ran out (R6).
                let not_before = if closing { now } else { now - self.pace() / 2 };
                self.out.push(Effect::ReadSession { region: holder, not_before });
            }
        }
    }

    /// Whether another region holds the pair, shows that it lives, and nothing is going on: then the
    /// register is read as often as the holder reads it. A change by another is told at once
    /// ([`Effect::NudgePeers`]); this is for a nudge that was lost.
    fn all_quiet(&self, now: Tick) -> bool {
        let quiet_for = self.window.silent_since().map(|since| now.since(since));
        let beats = quiet_for.is_some_and(|silent| silent < self.round() * 2);
        let another = self.record().is_some_and(|record| {
            record.handover_to.is_none()
                && record.holder.as_ref().is_some_and(|holder| *holder != self.me)
        });
        let reachable = self.register.unreachable.is_none();
        another && beats && reachable && self.register.settled() && !self.eager()
    }

    /// Whether the window on the holder's session runs out and the read that closes it is due.
    /// Once closed there is no more hurry, however long a takeover waits for something else.
    pub(super) fn closing(&self) -> bool {
        let closed =
            self.register.known.as_ref().is_some_and(|known| self.window.expired_at(known.version));
        let due = self
            .window
            .closes_at(&self.timing)
            .zip(self.last_session_read)
            .is_some_and(|(at, read)| read + self.pace() >= at);
        due && !closed
    }

    pub(super) fn read_pair(&mut self, now: Tick) {
        if !self.register.reading {
            self.register.reading = true;
            self.register.last_read_sent = Some(now);
            self.out.push(Effect::ReadPair);
        }
    }

    pub(super) fn resolve_cas(&mut self, now: Tick) {
        let unresolved = self.register.outstanding.as_ref().is_some_and(|write| !write.in_flight);
        // A witness that refuses at once would be asked without a pause.
        let failed = self.register.unreachable.as_ref().map(|(at, _)| *at);
        let rested =
            failed.is_none_or(|at| now.since(at) >= RETRY_PAUSE) || planted(Bug::NoRetryPause);
        if unresolved && rested && self.session.valid(now) {
            if let Some((expected, value)) = self.register.repeat() {
                self.out.push(Effect::Cas { expected, value });
            } else {
                self.read_pair(now);
            }
        }
    }

    /// Whether an own write keeps this standby from following. One that was to take over by the ledger
    /// does not for ever: what it receives while nobody knows, it keeps (R19), and the holder waits.
    pub(super) fn waits_for_its_write(&self, now: Tick) -> bool {
        self.register.outstanding.as_ref().is_some_and(|write| {
            let by_ledger = matches!(&write.purpose, Purpose::Acquire { by, .. }
                if [super::BY_LEDGER, super::BY_HOT].contains(by));
            !by_ledger || write.in_flight || now.since(write.started) < UNRESOLVED_PATIENCE
        })
    }

    pub(super) fn write(&mut self, now: Tick, value: PairRecord, purpose: Purpose) {
        let expected = self.register.begin(now, self.session.life, value.clone(), purpose);
        self.out.push(Effect::Cas { expected, value });
    }

    /// Asks for a data-plane command unless one is under way.
    pub(super) fn command(&mut self, now: Tick, epoch: Epoch, command: PlaneCommand) {
        if self.plane.is_some() || self.fencing || now < self.plane_not_before {
            return;
        }
        if matches!(command, PlaneCommand::Follow(Some(_)) | PlaneCommand::Start { .. }) {
            self.takeover.receives();
        }
        self.plane =
            Some(PlaneSlot { command: command.clone(), epoch, started: now, overtaken: false });
        self.out.push(Effect::Plane { epoch, command });
    }

    pub(super) fn plane_free(&self) -> bool {
        self.plane.is_none() && !self.fencing
    }
}
