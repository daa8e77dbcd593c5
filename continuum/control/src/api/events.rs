//! The audit chain as it grows, from what this node has applied.

use std::sync::Arc;

use axum::body::Bytes;
use continuum_control_api::rest::AuditRecord;
use continuum_control_api::routes::{ApiError, Events, Sight};
use continuum_domain::PairId;
use continuum_domain::access::{Caller, Over, Power};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::fanout::Place;
use super::look;
use crate::core::Core;
use crate::server::STREAMS_MAX;
use crate::state::CoreState;

/// Records taken at once.
const BATCH: usize = 200;

struct Follower {
    core: Arc<Core>,
    applied: watch::Receiver<u64>,
    caller: Caller,
    pair: Option<PairId>,
    /// Position of the newest record that was looked at.
    last: u64,
    /// Whether there may be records after it already.
    more: bool,
    place: Place,
    _stream: OwnedSemaphorePermit,
}

/// The records after a position; from now on where there is none.
pub(super) fn follow(
    core: &Arc<Core>,
    sight: Sight,
    pair: Option<PairId>,
    after: Option<u64>,
) -> Result<Events, ApiError> {
    let stream = core.streams.clone().try_acquire_owned().map_err(|_| {
        let text = "this node keeps as many streams open as it may; ask another one";
        ApiError::retryable(503, "too-many-streams", text)
    })?;
    let applied = core.node.watch_applied();
    let newest = core.node.read(|state| state.audit().next_back().map_or(0, |record| record.index));
    let last = after.unwrap_or(newest);
    core.node
        .read(|state| state.audit_after(last).map(drop))
        .map_err(|first| dropped(last, first))?;
    let follower = Follower {
        core: core.clone(),
        applied,
        caller: sight.caller,
        pair,
        last,
        more: true,
        place: core.fanout.place(),
        _stream: stream,
    };
    Ok(Box::pin(stream::unfold(follower, next)))
}

/// Whether a caller of some power is shown a record; one of no pair only who sees everything is.
pub(super) fn is_seen(state: &CoreState, power: &Power, record: &AuditRecord) -> bool {
    match &record.pair {
        Some(pair) => look::sees(state, power, pair),
        None => power.sees_all(),
    }
}

pub(super) fn dropped(after: u64, first: u64) -> ApiError {
    let text = format!(
        "the records after {after} are not kept any more: the first is {first}; read on from {}",
        first - 1
    );
    ApiError::new(410, "records-dropped", text)
}

async fn next(mut follower: Follower) -> Option<(Bytes, Follower)> {
    loop {
        if !follower.more {
            follower.applied.changed().await.ok()?;
            follower.turn().await;
        }
        // Marked as seen before it is looked at: what comes in between wakes us again.
        follower.applied.borrow_and_update();
        if let Some(piece) = follower.take()? {
            return Some((piece, follower));
        }
    }
}

impl Follower {
    /// Waits until it is this reader's turn: with many of them, not all look at each record at once.
    async fn turn(&self) {
        let open = STREAMS_MAX.saturating_sub(self.core.streams.available_permits());
        let wait = self.place.wait(open, self.core.clock.now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes the next records; `Some(None)` where none of them is for the reader. `None` where some were
    /// dropped before they could be told, or where the caller may not read on: the stream ends, and its
    /// reader learns of the gap or of the end when it resumes.
    fn take(&mut self) -> Option<Option<Bytes>> {
        let (last, pair) = (self.last, &self.pair);
        let power = self.core.power(&self.caller).ok()?;
        power.tier(Over::AnyPair)?;
        let (seen, piece) = self.core.node.read(|state| {
            let records: Vec<&AuditRecord> = state.audit_after(last).ok()?.take(BATCH).collect();
            let seen = (records.len(), records.last().map(|record| record.index));
            let is_wanted = |record: &&AuditRecord| {
                (pair.is_none() || record.pair == *pair) && is_seen(state, &power, record)
            };
            let wanted: Vec<&AuditRecord> = records.into_iter().filter(is_wanted).collect();
            Some((seen, (!wanted.is_empty()).then(|| self.core.fanout.piece(&wanted))))
        })?;
        let (count, last) = seen;
        self.more = count == BATCH;
        self.last = last.unwrap_or(self.last);
        Some(piece)
    }
}
