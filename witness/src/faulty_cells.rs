//! Any store of cells, with faults from a script: what [`crate::faulty`] is for registers.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::cells::{Cell, CellStore, Put, Tag};
use crate::faulty::{Call, Fault, Faults, Holding};
use crate::register::StoreError;

/// A store of cells whose reads and writes meet the faults that a script names. Upkeep (removals and
/// lists) meets none.
pub struct FaultyCells {
    inner: Arc<dyn CellStore>,
    faults: Faults<Put>,
}

impl fmt::Debug for FaultyCells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyCells")
    }
}

impl FaultyCells {
    /// Wraps `inner`; `script` is asked once for each call, in the order of the calls.
    pub fn new(
        inner: Arc<dyn CellStore>,
        script: impl FnMut(&Call) -> Fault + Send + 'static,
    ) -> Self {
        Self { inner, faults: Faults::new(script) }
    }
}

#[async_trait]
impl Holding for FaultyCells {
    async fn land(&self) {
        self.faults.land().await;
    }
}

#[async_trait]
impl CellStore for FaultyCells {
    async fn get(&self, key: &str) -> Result<Option<Cell>, StoreError> {
        self.faults.read(key, self.inner.get(key)).await
    }

    async fn put(
        &self,
        key: &str,
        expected: Option<&Tag>,
        bytes: Vec<u8>,
    ) -> Result<Put, StoreError> {
        let (inner, owned, tag) = (self.inner.clone(), key.to_owned(), expected.cloned());
        let call = async move { inner.put(&owned, tag.as_ref(), bytes).await };
        self.faults.change(key, call).await
    }

    async fn delete(&self, key: &str, expected: &Tag) -> Result<bool, StoreError> {
        self.inner.delete(key, expected).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.inner.list(prefix).await
    }
}
