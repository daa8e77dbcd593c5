//! Registers that live as long as the process: for tests and the simulator.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use continuum_domain::Version;

use crate::register::{Answer, RegisterStore, StoreError, Versioned};
use crate::table::{Registers, check_bounds};

/// A linearizable store in memory. Every call takes effect at once and always answers.
#[derive(Debug, Default)]
pub struct MemoryStore {
    registers: Mutex<Registers>,
}

impl MemoryStore {
    /// A store with no register written.
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of all registers, for checkers.
    pub fn snapshot(&self) -> Registers {
        self.lock().clone()
    }

    // A panic cannot leave the table half changed, so a poisoned lock is taken over.
    fn lock(&self) -> std::sync::MutexGuard<'_, Registers> {
        self.registers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RegisterStore for MemoryStore {
    async fn read(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        check_bounds(key, &[])?;
        Ok(self.lock().get(key).cloned())
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Version,
        value: Vec<u8>,
    ) -> Result<Answer, StoreError> {
        check_bounds(key, &value)?;
        Ok(self.lock().compare_and_swap(key, expected, value))
    }
}
