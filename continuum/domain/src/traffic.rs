//! What the traffic switches of a pair should be like: where they lead clients, and whether clients
//! are held back meanwhile.
//!
//! A switch is a pooler, or whatever else leads clients to the primary. What it should be like
//! follows from the newest register this agent knows of and from the drain of a planned move; the
//! edge makes it so and reads it back.
//!
//! ```text
//!            drain ordered                 another holder
//!   Open ---------------------> Held <------------------------ Open
//!    ^                           |
//!    +--- the holder of a later epoch accepts writes, the move was called off, or the time is up
//! ```
//!
//! Three things hold whatever happens: a switch never leads back to a lower epoch, it leads to nobody
//! that the register does not name, and no cause holds clients longer than its bound, also when
//! nobody says anything any more.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, OperationId, RegionId};
use crate::time::Tick;

/// For so long clients are held back while the holder of a new epoch does not accept writes yet.
/// After that they are let through to it, and see for themselves.
pub const TAKEOVER_HOLD_MAX: Duration = Duration::from_secs(10);
/// No drain holds clients longer, whatever an order says.
pub const DRAIN_HOLD_MAX: Duration = Duration::from_secs(120);
/// Longest `drain` of a spec.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);
/// The `drain` of a spec that does not say: a move waits so long for open transactions.
pub const DRAIN_DEFAULT: Duration = Duration::from_secs(2);

/// What becomes of a planned move when a switch was not drained in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DrainFailure {
    /// It goes on: who has a transaction open then gets an error, as everybody does without a drain.
    #[default]
    Proceed,
    /// It is called off, nothing touched.
    Undo,
}

/// Whom a switch leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// The epoch under which the region holds the lease.
    pub epoch: Epoch,
    /// The region.
    pub holder: RegionId,
}

/// Why clients are held back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// A planned move is about to begin, or goes on.
    Drain(OperationId),
    /// The holder of this epoch does not accept writes yet, or nobody holds it.
    Takeover(Epoch),
}

/// Whether clients get through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// They do.
    Open,
    /// New transactions wait.
    Held {
        /// Why.
        why: Why,
        /// When they are let through at the latest.
        until: Tick,
    },
}

/// What a switch should be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whom it leads to; `None`: not known, it is left as it is.
    pub target: Option<Target>,
    /// Whether the target is known to accept writes.
    pub writable: bool,
    /// Whether clients get through.
    pub gate: Gate,
}

/// What the machine hears of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrafficEvent {
    /// The pair's register, as read.
    Register {
        /// Its epoch.
        epoch: Epoch,
        /// Its holder.
        holder: Option<RegionId>,
    },
    /// The holder of this epoch accepts writes.
    Writable {
        /// The epoch.
        epoch: Epoch,
    },
    /// Hold clients back for a planned move that starts from `epoch`.
    Drain {
        /// The move.
        operation: OperationId,
        /// The epoch it starts from.
        epoch: Epoch,
        /// For how long at most.
        hold: Duration,
    },
    /// The move was called off.
    Release {
        /// The move.
        operation: OperationId,
    },
    /// Time passed.
    Wake,
}

#[derive(Clone, Debug)]
struct Drain {
    operation: OperationId,
    epoch: Epoch,
    until: Tick,
}

/// The machine of one pair's switches.
#[derive(Clone, Debug, Default)]
pub struct TrafficMachine {
    /// Newest epoch the register showed.
    newest: Option<Epoch>,
    target: Option<Target>,
    writable: bool,
    /// Another holder is waited for, until then.
    awaited: Option<Tick>,
    drain: Option<Drain>,
    /// The last drain that ended: a repeated order does not begin it again.
    ended: Option<OperationId>,
}

impl TrafficMachine {
    /// Takes in an event; what the switches should be like now.
    pub fn step(&mut self, now: Tick, event: TrafficEvent) -> Wanted {
        match event {
            TrafficEvent::Register { epoch, holder } => self.register(now, epoch, holder),
            TrafficEvent::Writable { epoch } => self.accepts_writes(epoch),
            TrafficEvent::Drain { operation, epoch, hold } => {
                self.begin_drain(now, operation, epoch, hold);
            }
            TrafficEvent::Release { operation } => {
                self.end_drain(|drain| drain.operation == operation);
                // An order that comes after its own end begins nothing.
                self.ended = Some(operation);
            }
            TrafficEvent::Wake => {}
        }
        self.end_drain(|drain| now >= drain.until);
        self.awaited.take_if(|until| now >= *until);
        self.wanted()
    }

    /// When the switches should be like something else with nothing happening but time.
    pub fn next_wake(&self) -> Option<Tick> {
        let drain = self.drain.as_ref().map(|drain| drain.until);
        drain.into_iter().chain(self.awaited).min()
    }

    fn register(&mut self, now: Tick, epoch: Epoch, holder: Option<RegionId>) {
        if self.newest.is_some_and(|newest| newest >= epoch) {
            return;
        }
        // What an agent finds at its start is nobody's move: it holds nobody back for it.
        let first = self.newest.replace(epoch).is_none();
        let before = self.target.as_ref().map(|target| &target.holder);
        let stays = holder.is_some() && holder.as_ref() == before && self.awaited.is_none();
        self.writable = false;
        if !first && !stays {
            self.awaited = Some(now + TAKEOVER_HOLD_MAX);
        }
        if let Some(holder) = holder {
            self.target = Some(Target { epoch, holder });
        }
    }

    fn accepts_writes(&mut self, epoch: Epoch) {
        let current = self.target.as_ref().is_some_and(|target| target.epoch == epoch);
        if !current || self.newest != Some(epoch) {
            return;
        }
        self.writable = true;
        self.awaited = None;
        self.end_drain(|drain| drain.epoch < epoch);
    }

    fn begin_drain(&mut self, now: Tick, operation: OperationId, epoch: Epoch, hold: Duration) {
        let known = self.drain.as_ref().is_some_and(|drain| drain.operation == operation);
        let stale = self.newest.is_some_and(|newest| newest > epoch);
        if known || stale || self.ended.as_ref() == Some(&operation) {
            return;
        }
        let until = now + hold.min(DRAIN_HOLD_MAX);
        self.drain = Some(Drain { operation, epoch, until });
    }

    fn end_drain(&mut self, over: impl FnOnce(&Drain) -> bool) {
        if let Some(drain) = self.drain.take_if(|drain| over(drain)) {
            self.ended = Some(drain.operation);
        }
    }

    /// What the switches should be like, as of the last step.
    pub fn wanted(&self) -> Wanted {
        let gate = match (&self.drain, self.awaited, self.newest) {
            (Some(drain), ..) => {
                Gate::Held { why: Why::Drain(drain.operation.clone()), until: drain.until }
            }
            (None, Some(until), Some(epoch)) => Gate::Held { why: Why::Takeover(epoch), until },
            _ => Gate::Open,
        };
        Wanted { target: self.target.clone(), writable: self.writable, gate }
    }
}

#[cfg(test)]
#[path = "traffic_tests.rs"]
mod tests;
