//! Cells that live as long as the process: for tests and property tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::cells::{Cell, CellStore, Put, Tag, check_cell_bounds};
use crate::register::StoreError;

#[derive(Debug, Default)]
struct Inner {
    writes: u64,
    cells: BTreeMap<String, Cell>,
}

/// A linearizable store in memory. Every call takes effect at once and always answers.
#[derive(Debug, Default)]
pub struct MemoryCells(Mutex<Inner>);

impl MemoryCells {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything, as a store whose disk was replaced.
    pub fn wipe(&self) {
        self.lock().cells.clear();
    }

    /// A copy of all cells, for checkers.
    pub fn snapshot(&self) -> BTreeMap<String, Cell> {
        self.lock().cells.clone()
    }

    // A panic cannot leave the table half changed, so a poisoned lock is taken over.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl CellStore for MemoryCells {
    async fn get(&self, key: &str) -> Result<Option<Cell>, StoreError> {
        check_cell_bounds(key, &[])?;
        Ok(self.lock().cells.get(key).cloned())
    }

    async fn put(
        &self,
        key: &str,
        expected: Option<&Tag>,
        bytes: Vec<u8>,
    ) -> Result<Put, StoreError> {
        check_cell_bounds(key, &bytes)?;
        let mut inner = self.lock();
        let current = inner.cells.get(key);
        if current.map(|cell| &cell.tag) != expected {
            return Ok(Put::Conflict(current.cloned()));
        }
        inner.writes += 1;
        let tag = Tag(inner.writes.to_string());
        inner.cells.insert(key.to_owned(), Cell { tag: tag.clone(), bytes });
        Ok(Put::Written(tag))
    }

    async fn delete(&self, key: &str, expected: &Tag) -> Result<bool, StoreError> {
        check_cell_bounds(key, &[])?;
        let mut inner = self.lock();
        match inner.cells.get(key) {
            Some(cell) if cell.tag != *expected => Ok(false),
            _ => {
                inner.cells.remove(key);
                Ok(true)
            }
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let inner = self.lock();
        Ok(inner.cells.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }
}
