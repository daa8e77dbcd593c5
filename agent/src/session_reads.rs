//! Reads of other regions' sessions, shared by all pairs: a region has one session for all it holds,
//! and a thousand pairs that watch it need no more reads than one.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use continuum_domain::record::session_key;
use continuum_domain::{RegionId, SessionRecord, Tick};
use continuum_runtime::SharedClock;
use continuum_witness::{RegisterStore, Versioned};
use tokio::sync::Mutex;

/// What stands there, or why that is not known.
type Found = Result<Option<SessionRecord>, String>;

/// The last answer of each session's register, and the way to a newer one.
#[derive(Clone)]
pub(crate) struct SessionReads {
    store: Arc<dyn RegisterStore>,
    clock: SharedClock,
    regions: Arc<std::sync::Mutex<BTreeMap<RegionId, Arc<Mutex<Last>>>>>,
}

/// The last answer, with when its read was sent. Failures are not kept.
#[derive(Default)]
struct Last(Option<(Tick, Option<SessionRecord>)>);

impl SessionReads {
    pub fn new(store: Arc<dyn RegisterStore>, clock: SharedClock) -> Self {
        Self { store, clock, regions: Arc::default() }
    }

    /// An answer to a read that was sent at `not_before` or later, and when it was sent. One read of a
    /// region is under way at a time; who asks meanwhile waits for it, and may find that it does.
    pub async fn read(&self, region: &RegionId, not_before: Tick) -> (Tick, Found) {
        let last = {
            let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
            regions.entry(region.clone()).or_default().clone()
        };
        let mut last = last.lock().await;
        if let Some((sent, found)) = &last.0
            && *sent >= not_before
        {
            return (*sent, Ok(found.clone()));
        }
        let sent = self.clock.now();
        let answer = self.store.read(&session_key(region)).await;
        let found = answer.map_err(|error| error.to_string()).and_then(parse);
        if let Ok(found) = &found {
            last.0 = Some((sent, found.clone()));
        }
        (sent, found)
    }
}

fn parse(found: Option<Versioned>) -> Found {
    let parse = |found: Versioned| {
        serde_json::from_slice(&found.value)
            .map_err(|error| format!("the session register does not parse: {error}"))
    };
    found.map(parse).transpose()
}

#[cfg(test)]
#[path = "session_reads_tests.rs"]
mod tests;
