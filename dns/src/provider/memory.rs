//! Records in memory, for tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{ProviderError, RecordProvider};
use crate::records::plan::Change;
use crate::records::{Companion, Seen};

/// A provider that keeps what it is told.
#[derive(Debug, Default)]
pub struct MemoryRecords {
    names: Mutex<BTreeMap<String, Seen>>,
}

impl MemoryRecords {
    /// Puts something there without any condition, as a hand would.
    pub fn put(&self, name: &str, seen: Seen) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name.into(), seen);
    }
}

#[async_trait]
impl RecordProvider for MemoryRecords {
    async fn read(&self, name: &str) -> Result<Seen, ProviderError> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(names.get(name).cloned().unwrap_or_default())
    }

    async fn change(&self, change: &Change) -> Result<(), ProviderError> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let stands = names.entry(change.name.clone()).or_default();
        if stands.companion != change.expected {
            return Err(ProviderError::Conflict(change.name.clone()));
        }
        *stands = Seen { companion: Companion::of(&change.stamp), records: change.records.clone() };
        Ok(())
    }

    fn is_fence(&self) -> bool {
        true
    }
}
