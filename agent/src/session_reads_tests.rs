use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use continuum_domain::Version;
use continuum_runtime::{Clock, seed};
use continuum_witness::{Answer, StoreError};
use tokio::sync::Semaphore;

use super::*;

/// Shows one tick more at each look.
#[derive(Debug, Default)]
struct Steps(AtomicU64);

impl Clock for Steps {
    fn now(&self) -> Tick {
        Tick(self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn wall_ms(&self) -> i64 {
        0
    }
}

/// Answers a read when it is let, with the number of reads as the beat.
struct Gated {
    reads: AtomicU64,
    let_through: Semaphore,
    fails: bool,
}

impl Gated {
    fn new(fails: bool) -> Arc<Self> {
        Arc::new(Self { reads: AtomicU64::new(0), let_through: Semaphore::new(0), fails })
    }

    fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl RegisterStore for Gated {
    async fn read(&self, _: &str) -> Result<Option<Versioned>, StoreError> {
        let beat = self.reads.fetch_add(1, Ordering::Relaxed) + 1;
        self.let_through.acquire().await.expect("never closed").forget();
        if self.fails {
            return Err(StoreError::Unanswered("planned".into()));
        }
        let record = SessionRecord { incarnation: 1, beat, ttl_ms: 10_000, renew_ms: 2_000 };
        let value = serde_json::to_vec(&record).expect("plain data");
        Ok(Some(Versioned { version: Version(beat), value }))
    }

    async fn compare_and_swap(
        &self,
        _: &str,
        _: Version,
        _: Vec<u8>,
    ) -> Result<Answer, StoreError> {
        unreachable!("nothing is written")
    }
}

fn hel() -> RegionId {
    RegionId::new("hel").expect("a name")
}

#[tokio::test]
async fn pairs_that_ask_together_share_one_read() {
    let store = Gated::new(false);
    let reads = SessionReads::new(store.clone(), Arc::new(Steps::default()));
    let ask = || {
        let reads = reads.clone();
        seed::spawn(async move { reads.read(&hel(), Tick(0)).await })
    };
    let asking: Vec<_> = (0..1_000).map(|_| ask()).collect();
    store.let_through.add_permits(1_000);
    for one in asking {
        let (sent, found) = one.await.expect("it answers");
        assert_eq!((sent, found.map(|record| record.map(|it| it.beat))), (Tick(0), Ok(Some(1))));
    }
    assert_eq!(store.reads(), 1);
}

#[tokio::test]
async fn an_answer_is_never_older_than_what_was_asked_for_r6() {
    let store = Gated::new(false);
    store.let_through.add_permits(1_000);
    let reads = SessionReads::new(store.clone(), Arc::new(Steps::default()));
    for not_before in 0..50 {
        // Sent later than the last: another read. The same again: none.
        for _ in 0..2 {
            let (sent, found) = reads.read(&hel(), Tick(not_before)).await;
            assert!(sent >= Tick(not_before), "{sent:?} for {not_before}");
            let beat = found.expect("it answers").expect("it is there").beat;
            assert_eq!(beat, sent.0 + 1, "what was read then");
        }
    }
    assert_eq!(store.reads(), 50);
}

#[tokio::test]
async fn a_failure_is_nobody_elses() {
    let store = Gated::new(true);
    store.let_through.add_permits(2);
    let reads = SessionReads::new(store.clone(), Arc::new(Steps::default()));
    assert!(reads.read(&hel(), Tick(0)).await.1.is_err());
    assert!(reads.read(&hel(), Tick(0)).await.1.is_err());
    assert_eq!(store.reads(), 2);
}
