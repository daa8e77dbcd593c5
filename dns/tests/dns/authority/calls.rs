//! Calls of a service that a test started: how many there were, and what goes wrong with the next.

use std::collections::{BTreeMap, VecDeque};

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Too many calls.
    Throttled,
    /// A change before is still under way.
    Prior,
    /// The call is done, and its answer never comes.
    ReplyLost,
    /// The call is not done, and no answer comes.
    RequestLost,
    /// An error of the service.
    Internal,
    /// The call is done, and something between says that the service is not there.
    DoneAndUnavailable,
    /// The answer is cut off in the middle.
    Garbled,
}

/// By operation.
#[derive(Default)]
pub struct Calls {
    faults: BTreeMap<&'static str, VecDeque<Fault>>,
    made: BTreeMap<&'static str, u32>,
}

impl Calls {
    /// The next calls of an operation go wrong so.
    pub fn fail(&mut self, operation: &'static str, faults: &[Fault]) {
        self.faults.entry(operation).or_default().extend(faults);
    }

    pub fn made(&self, operation: &'static str) -> u32 {
        self.made.get(operation).copied().unwrap_or_default()
    }

    /// Counts a call; what goes wrong with it.
    pub fn next(&mut self, operation: &'static str) -> Option<Fault> {
        *self.made.entry(operation).or_default() += 1;
        self.faults.get_mut(operation).and_then(VecDeque::pop_front)
    }
}
