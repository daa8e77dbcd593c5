//! A primary that lives and writes nothing: its disk hangs, or PostgreSQL as a whole does.
//!
//! The session is renewed all the while, so nobody may challenge (R7), and commits wait for ever.
//! The write probe tells: it has not reached the disk for `write_stall_timeout`. Where another
//! member holds every acknowledged commit, the holder stops PostgreSQL and lets go of the lease
//! (R16); where none does, moving would lose what was acknowledged, and the state only gets a name.

use std::time::Duration;

use super::PairMachine;
use crate::mutation::{Bug, planted};
use crate::observation::Observation;
use crate::record::PairRecord;
use crate::spec::PairMode;
use crate::time::Tick;

/// Looks come several times a second. A longer gap is the agent's own silence, not PostgreSQL's.
const GAP_MAX: Duration = Duration::from_secs(1);

/// What is known of writes reaching the disk.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    probed: Option<Tick>,
    looked: Option<Tick>,
    without: Duration,
    /// The lease is let go as soon as the stop is proven.
    pub letting_go: bool,
}

impl State {
    /// Another life of PostgreSQL, or another holder.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Takes in what came of one look, whether PostgreSQL answered or not.
    fn observe(&mut self, now: Tick, observation: &Observation) {
        if observation.write_probe > self.probed {
            self.probed = observation.write_probe;
            self.without = Duration::ZERO;
        } else if let Some(looked) = self.looked {
            self.without += now.since(looked).min(GAP_MAX);
        }
        self.looked = Some(now);
    }
}

impl PairMachine {
    /// Counts the time without a write while this member should be taking some.
    pub(super) fn stall_observed(&mut self, now: Tick) {
        if self.confirmed.is_some() && self.is_primary() {
            self.stall.observe(now, &self.observation);
        } else if !self.stall.letting_go {
            self.stall.forget();
        }
    }

    /// Whether the lease is to be let go because nothing reaches the disk.
    pub(super) fn lets_go_of_a_stall(&mut self, record: &PairRecord) -> bool {
        let stalled = self.stall.without >= self.spec.write_stall_timeout;
        if planted(Bug::StallIgnored) || !(stalled || self.stall.letting_go) {
            return false;
        }
        let automatic = self.spec.mode == PairMode::Automatic && !self.automation_paused;
        let others = record.in_sync.keys().any(|region| *region != self.me);
        // Asked anew each time: a shrink that was under way may have left nobody else.
        self.stall.letting_go = automatic && !record.paused && others;
        let then = match (self.stall.letting_go, others) {
            (true, _) => "it is stopped, and another member takes over once that is proven",
            (false, true) => "it stays here because the pair is not to move by itself",
            (false, false) => {
                "it stays here because no other member holds every acknowledged commit"
            }
        };
        let limit = humantime::format_duration(self.spec.write_stall_timeout);
        self.block(
            "writes-stalled",
            format!(
                "no write of the primary has reached its disk for {limit}; commits wait and none \
                 is lost; {then}"
            ),
            "look at the disk and PostgreSQL here; if it does not come back, cut its power and fail over",
        );
        self.stall.letting_go
    }
}
