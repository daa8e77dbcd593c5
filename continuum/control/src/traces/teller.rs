//! Tells the spans of operations, on the leader only.
//!
//! What was told is remembered by the leader alone. A new one tells again what its predecessor may have
//! left untold: the same spans under the same ids, so that nothing is there twice in two versions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use continuum_domain::OperationId;
use continuum_domain::trace::SpanId;
use continuum_runtime::traces::Span;
use tokio::sync::watch;

use super::operation::{Place, settled};
use crate::core::Core;
use crate::raft::Leadership;
use crate::state::CoreState;

/// Operations that ended so long before a node led are told again by it.
const TOLD_AGAIN_MS: i64 = 30_000;
/// Pause between looks, however often something is applied.
const PAUSE: Duration = Duration::from_millis(100);
/// Pause before leadership is looked at again that could not be confirmed.
const RETRY: Duration = Duration::from_millis(200);

/// Runs until the node stops.
pub(crate) async fn run(core: Arc<Core>) {
    let mut leadership = core.node.leadership();
    loop {
        if leadership.wait_for(|now| now.i_lead).await.is_err() {
            return;
        }
        if core.node.linearizable().await.is_ok() {
            lead(&core, &mut leadership).await;
        }
        tokio::select! {
            changed = leadership.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

async fn lead(core: &Core, leadership: &mut watch::Receiver<Leadership>) {
    let mut told =
        Told { since_ms: core.now_ms().saturating_sub(TOLD_AGAIN_MS), ..Told::default() };
    let mut applied = core.node.watch_applied();
    while leadership.borrow_and_update().i_lead {
        applied.borrow_and_update();
        for span in core.node.read(|state| told.look(core, state)) {
            core.traces.tell(span);
        }
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            changed = leadership.changed() => if changed.is_err() { return },
            changed = applied.changed() => if changed.is_err() { return },
        }
    }
}

/// What this leader has told.
#[derive(Default)]
struct Told {
    /// Operations that ended before are not told.
    since_ms: i64,
    /// By operation that goes on.
    spans: BTreeMap<OperationId, BTreeSet<SpanId>>,
    /// Operations that were told to their end.
    ended: BTreeSet<OperationId>,
}

impl Told {
    fn look(&mut self, core: &Core, state: &CoreState) -> Vec<Span> {
        self.ended.retain(|id| state.operation(id).is_some());
        let mut due = Vec::new();
        for operation in state.operations() {
            let id = &operation.id;
            let old = operation.ended_ms.is_some_and(|ended_ms| ended_ms < self.since_ms);
            if self.ended.contains(id) || (old && !self.spans.contains_key(id)) {
                continue;
            }
            let Some(place) = Place::of(&core.traces, id, state.trace(id)) else { continue };
            let told = self.spans.entry(id.clone()).or_default();
            let spans = settled(operation, place).into_iter();
            due.extend(spans.filter(|span| told.insert(span.context.span)));
            if operation.state.is_final() {
                self.spans.remove(id);
                self.ended.insert(id.clone());
            }
        }
        due
    }
}
