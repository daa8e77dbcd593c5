//! A store in memory that its network, its host and its disk treat badly, all by one seed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use continuum_runtime::seed;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::cells::{Cell, CellStore, Put, Tag};
use crate::memory_cells::MemoryCells;
use crate::register::StoreError;

pub struct Flaky {
    pub cells: Arc<MemoryCells>,
    down: AtomicBool,
    kind: AtomicBool,
    rng: Mutex<SmallRng>,
}

/// What becomes of a call.
enum Fate {
    Answered(Duration),
    RequestLost,
    ReplyLost,
    /// Given up at once, carried out later.
    Late(Duration),
}

impl Flaky {
    pub fn new(seed: u64) -> Self {
        Self {
            cells: Arc::new(MemoryCells::new()),
            down: AtomicBool::new(false),
            kind: AtomicBool::new(false),
            rng: Mutex::new(SmallRng::seed_from_u64(seed)),
        }
    }

    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// From now on nothing goes wrong by itself.
    pub fn be_kind(&self) {
        self.kind.store(true, Ordering::SeqCst);
        self.set_down(false);
    }

    fn fate(&self) -> Fate {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let millis = |rng: &mut SmallRng, most| Duration::from_millis(rng.random_range(0..=most));
        match rng.random_range(0..100) {
            _ if self.kind.load(Ordering::SeqCst) => Fate::Answered(Duration::ZERO),
            0..6 => Fate::RequestLost,
            6..14 => Fate::ReplyLost,
            14..22 => Fate::Late(millis(&mut rng, 400)),
            22..60 => Fate::Answered(millis(&mut rng, 60)),
            _ => Fate::Answered(millis(&mut rng, 3)),
        }
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let lost = |what: &str| Err(StoreError::Unanswered(format!("{what} lost")));
        match self.fate() {
            _ if self.down.load(Ordering::SeqCst) => Err(StoreError::NotSent("down".into())),
            Fate::RequestLost => lost("request"),
            Fate::ReplyLost => work.await.and_then(|_| lost("reply")),
            Fate::Late(by) => {
                seed::spawn(async move {
                    tokio::time::sleep(by).await;
                    work.await
                });
                lost("answer")
            }
            Fate::Answered(by) => {
                tokio::time::sleep(by / 2).await;
                let answer = work.await;
                tokio::time::sleep(by / 2).await;
                answer
            }
        }
    }
}

#[async_trait]
impl CellStore for Flaky {
    async fn get(&self, key: &str) -> Result<Option<Cell>, StoreError> {
        let (cells, key) = (self.cells.clone(), key.to_owned());
        self.call(async move { cells.get(&key).await }).await
    }

    async fn put(
        &self,
        key: &str,
        expected: Option<&Tag>,
        bytes: Vec<u8>,
    ) -> Result<Put, StoreError> {
        let (cells, key, tag) = (self.cells.clone(), key.to_owned(), expected.cloned());
        self.call(async move { cells.put(&key, tag.as_ref(), bytes).await }).await
    }

    async fn delete(&self, key: &str, expected: &Tag) -> Result<bool, StoreError> {
        self.cells.delete(key, expected).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.cells.list(prefix).await
    }
}
