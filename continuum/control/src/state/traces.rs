//! Which request asked for an operation, for who tells of it as a trace.
//!
//! Beside the operations and not in them: nothing is decided by it, and no record's hash has it.

use continuum_domain::OperationId;
use continuum_domain::trace::TraceContext;

use super::{Change, CoreState};

/// The operation that a change would begin, with the request it is asked by.
pub(super) fn begun(
    change: &Change,
    trace: Option<TraceContext>,
) -> Option<(OperationId, TraceContext)> {
    match change {
        Change::Start { id, .. } => Some((id.clone(), trace?)),
        _ => None,
    }
}

impl CoreState {
    /// Keeps the request of an operation that was begun, and of no other: a repeated request may be
    /// answered with the operation of the first.
    pub(super) fn keep_trace(&mut self, traced: Option<(OperationId, TraceContext)>) {
        let Some((id, trace)) = traced else { return };
        if self.operations.contains_key(&id) {
            self.traces.insert(id, trace);
            self.traces.retain(|id, _| self.operations.contains_key(id));
        }
    }

    /// The request that asked for an operation, if it is known.
    pub fn trace(&self, id: &OperationId) -> Option<TraceContext> {
        self.traces.get(id).copied()
    }
}
