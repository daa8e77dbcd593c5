//! The outbox of one sink: which record goes out next, and when.
//!
//! Records leave in the order of the chain, one at a time, and none is passed over without an outcome:
//! it was taken, it is not wanted there, it was refused for good, or it is nowhere any more. A sink that
//! cannot be reached is tried again without end. Pure: time and chance are handed in.

use std::time::Duration;

use crate::Tick;

/// The first pause after a failure; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest pause of our own choice.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The longest pause that a sink may ask for.
const ASKED_MAX: Duration = Duration::from_secs(3_600);
/// How often at most it is written down how far the sink is.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// What came of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The sink has it.
    Taken,
    /// The sink does not want it.
    Unwanted,
    /// The sink refused it, and would refuse it again.
    Refused,
    /// It is nowhere any more.
    Lost,
    /// The sink could not be reached, or may take it later; it may have asked for a pause.
    Later(Option<Duration>),
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send the record at this position.
    Send(u64),
    /// Not before then.
    Wait(Tick),
    /// There is nothing to send.
    Idle,
}

/// The outbox of one sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbox {
    /// Position of the newest record that has an outcome.
    done: u64,
    /// The newest one that is known to be written down.
    saved: u64,
    saved_at: Option<Tick>,
    failures: u32,
    failing_since: Option<Tick>,
    not_before: Option<Tick>,
}

impl Outbox {
    /// Goes on after the newest record whose outcome is written down.
    pub fn after(saved: u64) -> Self {
        Self {
            done: saved,
            saved,
            saved_at: None,
            failures: 0,
            failing_since: None,
            not_before: None,
        }
    }

    /// Position of the newest record that has an outcome.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Attempts in a row that failed.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Since when nothing could be sent.
    pub fn failing_since(&self) -> Option<Tick> {
        self.failing_since
    }

    /// What to do at `now`, when the chain ends at `newest`.
    pub fn next(&self, now: Tick, newest: u64) -> Next {
        match self.not_before {
            _ if self.done >= newest => Next::Idle,
            Some(at) if now < at => Next::Wait(at),
            _ => Next::Send(self.done + 1),
        }
    }

    /// Takes the outcome of the record after the newest one that has one. `chance`, anything from 0 to
    /// the largest number, keeps sinks that failed together from coming back together.
    pub fn outcome(&mut self, outcome: &Outcome, now: Tick, chance: u32) {
        let Outcome::Later(asked) = outcome else {
            self.done += 1;
            // A record that the sink does not want says nothing of the sink.
            if !matches!(outcome, Outcome::Unwanted | Outcome::Lost) {
                self.failures = 0;
                self.failing_since = None;
                self.not_before = None;
            }
            return;
        };
        self.failing_since.get_or_insert(now);
        let own = pause(self.failures, chance);
        self.failures = self.failures.saturating_add(1);
        let asked = asked.unwrap_or_default().min(ASKED_MAX);
        self.not_before = Some(now + own.max(asked));
    }

    /// How far it is, when that is to be written down now.
    pub fn to_save(&self, now: Tick) -> Option<u64> {
        let is_due = self.saved_at.is_none_or(|at| now.since(at) >= SAVE_EVERY);
        (self.done > self.saved && is_due).then_some(self.done)
    }

    /// When it is to be written down at the latest; `None` where it is.
    pub fn save_at(&self) -> Option<Tick> {
        let at = self.saved_at.map_or(Tick(0), |at| at + SAVE_EVERY);
        (self.done > self.saved).then_some(at)
    }

    /// It was tried to write down how far it is, and whether it succeeded.
    pub fn saved(&mut self, position: u64, now: Tick, is_done: bool) {
        self.saved_at = Some(now);
        if is_done {
            self.saved = self.saved.max(position.min(self.done));
        }
    }
}

/// The pause after so many failures before: half of it certain, half by chance.
fn pause(failures: u32, chance: u32) -> Duration {
    let whole = PAUSE_MIN.saturating_mul(2u32.saturating_pow(failures.min(16))).min(PAUSE_MAX);
    let share = f64::from(chance) / f64::from(u32::MAX);
    whole / 2 + (whole / 2).mul_f64(share)
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
