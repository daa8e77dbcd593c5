//! The self-test of one store of cells: whether it does what it says, before it is trusted.
//!
//! Services are met that accept a condition and ignore it; on those every lease has two holders. So
//! the test wants to see a conflicting write refused, and of several racers exactly one to win.

use std::sync::Arc;
use std::time::Duration;

use continuum_runtime::seed;

use crate::cells::{CellStore, Put, Tag};
use crate::register::StoreError;

/// Writers that race for one cell.
const RACERS: usize = 8;
/// After this a write is abandoned, as if its reply were lost.
const ABANDONED_AFTER: Duration = Duration::from_micros(300);

/// Why a store failed its self-test.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// The store did not do what it was asked.
    #[error("{step}: {error}")]
    Store {
        /// What was tried.
        step: &'static str,
        /// What it said.
        error: StoreError,
    },
    /// The store did what it must not. It is no acceptor.
    #[error("{step}: {problem}; this store must not be an acceptor")]
    Broken {
        /// What was tried.
        step: &'static str,
        /// What it did.
        problem: String,
    },
}

type Probed<T> = Result<T, ProbeError>;

fn broken<T>(step: &'static str, problem: impl Into<String>) -> Probed<T> {
    Err(ProbeError::Broken { step, problem: problem.into() })
}

struct Probe {
    store: Arc<dyn CellStore>,
    key: String,
}

/// Creates, changes, conflicts, races and removes on keys below `probe/`; leaves nothing behind when
/// it passes. The steps that passed, in order.
pub async fn run(store: Arc<dyn CellStore>) -> Probed<Vec<&'static str>> {
    let key = format!("probe/check-{}", seed::random_id(16));
    let probe = Probe { store, key };
    probe.absent().await?;
    probe.one_of_many().await?;
    let tag = probe.conflict().await?;
    let tag = probe.lost_reply(tag).await?;
    probe.remove(&tag).await?;
    Ok(vec![
        "a read of nothing",
        "of 8 racing creations one won",
        "a conflicting write was refused",
        "a write whose reply was lost was settled",
        "a removal",
    ])
}

impl Probe {
    async fn put(&self, step: &'static str, tag: Option<&Tag>, bytes: &str) -> Probed<Put> {
        let answer = self.store.put(&self.key, tag, bytes.into()).await;
        answer.map_err(|error| ProbeError::Store { step, error })
    }

    async fn get(&self, step: &'static str) -> Probed<Option<(Tag, Vec<u8>)>> {
        let answer = self.store.get(&self.key).await;
        let cell = answer.map_err(|error| ProbeError::Store { step, error })?;
        Ok(cell.map(|cell| (cell.tag, cell.bytes)))
    }

    async fn absent(&self) -> Probed<()> {
        const STEP: &str = "a read of nothing";
        match self.get(STEP).await? {
            None => Ok(()),
            Some(_) => broken(STEP, "a key drawn at random is there"),
        }
    }

    async fn one_of_many(&self) -> Probed<()> {
        const STEP: &str = "racing creations";
        let tasks: Vec<_> = (0..RACERS)
            .map(|racer| {
                let (store, key) = (self.store.clone(), self.key.clone());
                let bytes = format!("racer {racer}").into_bytes();
                seed::spawn(async move { store.put(&key, None, bytes).await })
            })
            .collect();
        let mut winners = 0;
        for task in tasks {
            let lost = |_| StoreError::Unanswered("the racer ended".into());
            match task.await.map_err(lost).and_then(|answer| answer) {
                Ok(Put::Written(_)) => winners += 1,
                Ok(Put::Conflict(_)) => {}
                Err(error) => return Err(ProbeError::Store { step: STEP, error }),
            }
        }
        match winners {
            1 => Ok(()),
            winners => broken(STEP, format!("{winners} of {RACERS} were told that they won")),
        }
    }

    async fn conflict(&self) -> Probed<Tag> {
        const STEP: &str = "a conflicting write";
        let Some((first, _)) = self.get(STEP).await? else {
            return broken(STEP, "what was created is not there");
        };
        let Put::Written(second) = self.put(STEP, Some(&first), "second").await? else {
            return broken(STEP, "a write by the right tag was refused");
        };
        for tag in [Some(&first), None] {
            if let Put::Written(_) = self.put(STEP, tag, "conflict").await? {
                return broken(STEP, "it was accepted");
            }
        }
        match self.get(STEP).await? {
            Some((tag, bytes)) if tag == second && bytes == b"second" => Ok(second),
            other => broken(STEP, format!("it changed the cell to {other:?}")),
        }
    }

    /// Abandons a write and settles it: it took effect before the next one, or never.
    async fn lost_reply(&self, tag: Tag) -> Probed<Tag> {
        const STEP: &str = "a write whose reply was lost";
        let abandoned = self.put(STEP, Some(&tag), "abandoned");
        // Whatever it answered in time does not matter: what the cell holds does.
        let _answer = tokio::time::timeout(ABANDONED_AFTER, abandoned).await;
        let settled = match self.put(STEP, Some(&tag), "settled").await? {
            Put::Written(tag) => tag,
            Put::Conflict(_) => match self.get(STEP).await? {
                Some((tag, bytes)) if bytes == b"abandoned" => tag,
                other => return broken(STEP, format!("it left {other:?}")),
            },
        };
        match self.get(STEP).await? {
            Some((tag, _)) if tag == settled => Ok(tag),
            other => broken(STEP, format!("it took effect after it was settled: {other:?}")),
        }
    }

    async fn remove(&self, tag: &Tag) -> Probed<()> {
        const STEP: &str = "a removal";
        let gone = self.store.delete(&self.key, tag).await;
        match gone.map_err(|error| ProbeError::Store { step: STEP, error })? {
            true if self.get(STEP).await?.is_none() => Ok(()),
            _ => broken(STEP, "the cell is still there"),
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::cells::Cell;
    use crate::memory_cells::MemoryCells;

    /// Answers as if it compared.
    struct Blind(MemoryCells);

    #[async_trait]
    impl CellStore for Blind {
        async fn get(&self, key: &str) -> Result<Option<Cell>, StoreError> {
            self.0.get(key).await
        }
        async fn put(&self, key: &str, _: Option<&Tag>, bytes: Vec<u8>) -> Result<Put, StoreError> {
            let held = self.0.get(key).await?;
            self.0.put(key, held.as_ref().map(|cell| &cell.tag), bytes).await
        }
        async fn delete(&self, key: &str, expected: &Tag) -> Result<bool, StoreError> {
            self.0.delete(key, expected).await
        }
        async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
            self.0.list(prefix).await
        }
    }

    #[tokio::test]
    async fn an_honest_store_passes_and_keeps_nothing() {
        let store = Arc::new(MemoryCells::new());
        assert_eq!(run(store.clone()).await.unwrap().len(), 5);
        assert!(store.snapshot().is_empty());
    }

    #[tokio::test]
    async fn a_store_that_ignores_the_condition_is_refused() {
        let refused = run(Arc::new(Blind(MemoryCells::new()))).await;
        assert!(matches!(refused, Err(ProbeError::Broken { .. })), "{refused:?}");
    }
}
