//! What a process sees of the acceptors it uses: when each answered last, how quickly, and what came
//! instead of an answer. For people; nothing is decided by it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use continuum_domain::Tick;
use continuum_domain::round_trips::{RoundTrips, RoundTripsView};
use continuum_runtime::SharedClock;

use crate::register::StoreError;

use super::acceptor::Ballot;

/// What was seen of each acceptor, by all stores of a process together. Cloned handles share it.
#[derive(Clone)]
pub struct QuorumHealth {
    clock: SharedClock,
    seen: Arc<Mutex<BTreeMap<String, Seen>>>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    answered: Option<Tick>,
    failures: u64,
    last_error: Option<(Tick, &'static str)>,
    trips: RoundTrips,
}

/// What was seen of one acceptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptorHealth {
    /// When it last answered as an acceptor of this quorum; `None` when it never did.
    pub answered: Option<Tick>,
    /// Requests in a row, since then, that came to nothing.
    pub failures: u64,
    /// When the last of them did, and [`StoreError::code`].
    pub last_error: Option<(Tick, &'static str)>,
    /// How long answers took, of the last ten to twenty minutes; `None` without any.
    pub round_trips: Option<RoundTripsView>,
}

impl std::fmt::Debug for QuorumHealth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("QuorumHealth").field(&*self.seen()).finish()
    }
}

impl QuorumHealth {
    /// Nothing was seen yet of the acceptors of these names.
    pub fn new(clock: SharedClock, names: impl IntoIterator<Item = String>) -> Self {
        let seen = names.into_iter().map(|name| (name, Seen::default())).collect();
        Self { clock, seen: Arc::new(Mutex::new(seen)) }
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<String, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen so far, by acceptor.
    pub fn view(&self) -> BTreeMap<String, AcceptorHealth> {
        let view = |seen: &Seen| AcceptorHealth {
            answered: seen.answered,
            failures: seen.failures,
            last_error: seen.last_error,
            round_trips: seen.trips.view(),
        };
        self.seen().iter().map(|(name, seen)| (name.clone(), view(seen))).collect()
    }

    fn take(&self, name: &str, sent: Tick, error: Option<&StoreError>) {
        let now = self.clock.now();
        let mut all = self.seen();
        let seen = all.entry(name.to_owned()).or_default();
        match error {
            None => {
                (seen.answered, seen.failures, seen.last_error) = (Some(now), 0, None);
                seen.trips.answered(now, now.since(sent));
            }
            Some(error) => {
                seen.failures = seen.failures.saturating_add(1);
                seen.last_error = Some((now, error.code()));
                seen.trips.unanswered(now);
            }
        }
    }
}

/// One lane's part of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch(Option<(QuorumHealth, String)>);

impl Watch {
    pub(super) fn new(health: Option<&QuorumHealth>, name: &str) -> Self {
        Self(health.map(|health| (health.clone(), name.to_owned())))
    }

    /// Before a request.
    pub(super) fn sent(&self) -> Option<Tick> {
        self.0.as_ref().map(|(health, _)| health.clock.now())
    }

    /// After it.
    pub(super) fn came(&self, sent: Option<Tick>, error: Option<&StoreError>) {
        if let (Some((health, name)), Some(sent)) = (&self.0, sent) {
            health.take(name, sent, error);
        }
    }

    /// After a change, which asked the acceptor only if it left another promise than was known
    /// before: what is decided by memory alone says nothing of the acceptor.
    pub(super) fn changed(
        &self,
        sent: Option<Tick>,
        (before, after): (Option<Ballot>, Option<Ballot>),
        error: Option<&StoreError>,
    ) {
        let asked = error.is_some() || after.is_some() && after != before;
        if let (Some((health, name)), Some(sent), true) = (&self.0, sent, asked) {
            health.take(name, sent, error);
        }
    }
}
