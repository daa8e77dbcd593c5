//! The check of recorded histories passes what is right, and catches stores of cells that are wrong on
//! purpose, each in a way that a real store could be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use continuum_witness::cell_contract::{self, CellSubject};
use continuum_witness::contract::Violation;
use continuum_witness::memory_cells::MemoryCells;
use continuum_witness::recorded::Plan;
use continuum_witness::{Cell, CellStore, Put, StoreError, Tag};

/// What one call in twenty does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// A read shows the cell as it was before the last change.
    StaleRead,
    /// A write by an old tag is carried out.
    Overwrite,
    /// A write is carried out twice, and the answer is that of the second time.
    RepeatedAsConflict,
    /// A write is answered and not kept.
    LostWrite,
    /// A write by the right tag is refused.
    Refusal,
    /// A write is refused, and carried out.
    RefusedAndDone,
    /// A write is said to be not sent, and carried out.
    NotSentAndDone,
    /// A write is carried out by the tag alone, and answered with the tag before.
    OldTag,
}

struct Planted {
    cells: MemoryCells,
    /// Before the last change of each cell.
    before: MemoryCells,
    bug: Bug,
    calls: AtomicU64,
}

impl Planted {
    fn strikes(&self, bug: Bug) -> bool {
        self.bug == bug && self.calls.fetch_add(1, Ordering::Relaxed) % 20 == 19
    }

    async fn keep_before(&self, key: &str) -> Result<(), StoreError> {
        let (now, old) = (self.cells.get(key).await?, self.before.get(key).await?);
        if let Some(now) = now {
            self.before.put(key, old.as_ref().map(|old| &old.tag), now.bytes).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl CellStore for Planted {
    async fn get(&self, key: &str) -> Result<Option<Cell>, StoreError> {
        match self.strikes(Bug::StaleRead) {
            true => self.before.get(key).await,
            false => self.cells.get(key).await,
        }
    }

    async fn put(
        &self,
        key: &str,
        expected: Option<&Tag>,
        bytes: Vec<u8>,
    ) -> Result<Put, StoreError> {
        let held = self.cells.get(key).await?;
        let tag = held.as_ref().map(|cell| &cell.tag);
        let fits = tag == expected;
        if !fits && self.strikes(Bug::Overwrite) {
            return self.cells.put(key, tag, bytes).await;
        }
        if !fits {
            return Ok(Put::Conflict(held));
        }
        if self.strikes(Bug::LostWrite) {
            return Ok(Put::Written(Tag("lost".into())));
        }
        if self.strikes(Bug::Refusal) {
            return Ok(Put::Conflict(held));
        }
        if self.bug == Bug::StaleRead {
            self.keep_before(key).await?;
        }
        let answer = self.cells.put(key, tag, bytes.clone()).await;
        if self.strikes(Bug::RepeatedAsConflict) {
            return self.cells.put(key, tag, bytes).await;
        }
        if self.strikes(Bug::RefusedAndDone) {
            return Ok(Put::Conflict(held));
        }
        if self.strikes(Bug::NotSentAndDone) {
            return Err(StoreError::NotSent("so it says".into()));
        }
        match tag {
            Some(tag) if self.strikes(Bug::OldTag) => Ok(Put::Written(tag.clone())),
            _ => answer,
        }
    }

    async fn delete(&self, key: &str, expected: &Tag) -> Result<bool, StoreError> {
        self.cells.delete(key, expected).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.cells.list(prefix).await
    }
}

async fn judged(bug: Bug, seed: u64) -> Result<(), Violation> {
    let store: Arc<dyn CellStore> = Arc::new(Planted {
        cells: MemoryCells::new(),
        before: MemoryCells::new(),
        bug,
        calls: AtomicU64::new(0),
    });
    let open = Arc::new(move || store.clone());
    let subject = CellSubject { open, space: "probe/".into(), rounds: 1 };
    let plan = Plan { seed, ..Plan::of(2_000) };
    cell_contract::history(&subject, plan).await?.check_substance("planted")
}

#[tokio::test(start_paused = true)]
async fn what_is_right_passes() {
    for seed in 0..10 {
        judged(Bug::None, seed).await.unwrap_or_else(|violation| panic!("{seed}: {violation}"));
    }
}

#[tokio::test(start_paused = true)]
async fn planted_bugs_are_caught() {
    for bug in [
        Bug::StaleRead,
        Bug::Overwrite,
        Bug::RepeatedAsConflict,
        Bug::LostWrite,
        Bug::Refusal,
        Bug::RefusedAndDone,
        Bug::NotSentAndDone,
        Bug::OldTag,
    ] {
        for seed in 0..3 {
            let violation = judged(bug, seed).await.expect_err(&format!("{bug:?} passed"));
            assert_eq!(violation.part, "linearizable", "{bug:?}: {violation}");
            println!("{bug:?}: {violation}");
        }
    }
}
