//! Names in memory, for tests and the simulator.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::service::{NameChange, NameError, NameService, Published};

/// A name service that keeps the newest change of each name.
#[derive(Debug, Default)]
pub struct MemoryNames {
    names: Mutex<BTreeMap<String, NameChange>>,
}

impl MemoryNames {
    /// A service without names.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a name says; `None` when it was never published.
    pub fn get(&self, name: &str) -> Option<NameChange> {
        self.lock().get(name).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, NameChange>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl NameService for MemoryNames {
    async fn publish(&self, change: &NameChange) -> Result<Published, NameError> {
        let mut names = self.lock();
        if let Some(held) = names.get(&change.name) {
            if held.epoch > change.epoch {
                return Err(NameError::Refused { newest: held.epoch });
            }
            if held.epoch == change.epoch && held.holder != change.holder {
                let text = format!("epoch {} is held by {}", held.epoch, held.holder);
                return Err(NameError::Contradicted(text));
            }
        }
        names.insert(change.name.clone(), change.clone());
        Ok(Published { epoch: change.epoch, ttl: change.ttl })
    }
}
