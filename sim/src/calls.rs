//! Single calls to the witness that are late: on the way there, or on the way back.
//!
//! Links delay everything between two hosts alike. Two calls of one host may also fare differently:
//! they go over different connections, one of which lost a packet. The deadline of the caller holds
//! all the same, and what it gave up may still land (R9).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::Version;
use continuum_domain::record::pair_key;
use continuum_runtime::seed;
use continuum_witness::{Answer, RegisterStore, StoreError, Versioned};

use crate::hosts::pair;
use crate::plan::{Calls, Half};

/// Which calls of one host are late. Clones are handles to the same.
#[derive(Clone, Default)]
pub struct Late(Arc<Mutex<Vec<(Calls, Half, Duration)>>>);

impl Late {
    fn all(&self) -> MutexGuard<'_, Vec<(Calls, Half, Duration)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls of this kind are late from now on.
    pub fn begin(&self, calls: Calls, half: Half, by: Duration) {
        self.all().push((calls, half, by));
    }

    /// No longer.
    pub fn end(&self, calls: Calls, half: Half, by: Duration) {
        let mut all = self.all();
        if let Some(at) = all.iter().position(|late| *late == (calls, half, by)) {
            all.remove(at);
        }
    }

    /// None is, from now on.
    pub fn heal(&self) {
        self.all().clear();
    }

    fn by(&self, call: Calls, half: Half) -> Duration {
        let all = self.all();
        let mine = all
            .iter()
            .filter(|(calls, of, _)| *of == half && (*calls == call || *calls == Calls::All));
        mine.map(|(_, _, by)| *by).max().unwrap_or_default()
    }
}

/// The witness as its host reaches it, some calls late.
pub struct LateStore {
    store: Arc<dyn RegisterStore>,
    late: Late,
    deadline: Duration,
}

impl LateStore {
    /// `store`, late as `late` says; a call is given up after `deadline`.
    pub fn new(store: Arc<dyn RegisterStore>, late: &Late, deadline: Duration) -> Self {
        Self { store, late: late.clone(), deadline }
    }

    /// Makes one call, in its own time. What is given up goes on by itself.
    async fn call<T, F>(&self, kind: Calls, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let there = self.late.by(kind, Half::Request);
        let back = self.late.by(kind, Half::Answer);
        if there + back == Duration::ZERO {
            return work.await;
        }
        let (tell, told) = tokio::sync::oneshot::channel();
        seed::spawn(async move {
            tokio::time::sleep(there).await;
            let answer = work.await;
            tokio::time::sleep(back).await;
            // Nobody listens any more when it was given up.
            let _given_up = tell.send(answer);
        });
        match tokio::time::timeout(self.deadline, told).await {
            Ok(Ok(answer)) => answer,
            _ => Err(StoreError::Unanswered(format!("none in {:?}", self.deadline))),
        }
    }
}

#[async_trait]
impl RegisterStore for LateStore {
    async fn read(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let kind = if key == pair_key(&pair()) { Calls::ReadPair } else { Calls::ReadSession };
        let (store, key) = (self.store.clone(), key.to_owned());
        self.call(kind, async move { store.read(&key).await }).await
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Version,
        value: Vec<u8>,
    ) -> Result<Answer, StoreError> {
        let kind = if key == pair_key(&pair()) { Calls::WritePair } else { Calls::WriteSession };
        let (store, key) = (self.store.clone(), key.to_owned());
        let work = async move { store.compare_and_swap(&key, expected, value).await };
        self.call(kind, work).await
    }
}
