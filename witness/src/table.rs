//! Registers in memory: the sequential semantics that every backend must show.

use std::collections::BTreeMap;

use continuum_domain::Version;

use crate::register::{Answer, StoreError, Versioned};

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 256;
/// Longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// All registers by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    by_key: BTreeMap<String, Versioned>,
}

impl Registers {
    /// The register's value; `None` when it was never written.
    pub fn get(&self, key: &str) -> Option<&Versioned> {
        self.by_key.get(key)
    }

    /// Sets a register without comparing: for a change that was decided already.
    pub fn put(&mut self, key: String, register: Versioned) {
        self.by_key.insert(key, register);
    }

    /// Decides one compare-and-swap and applies it when it is accepted.
    pub fn compare_and_swap(&mut self, key: &str, expected: Version, value: Vec<u8>) -> Answer {
        match decide(self.get(key), expected) {
            Ok(version) => {
                self.put(key.to_owned(), Versioned { version, value });
                Answer::Accepted(version)
            }
            Err(current) => Answer::Refused(current),
        }
    }

    /// All registers in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Versioned)> {
        self.by_key.iter()
    }

    /// Number of registers.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether nothing was ever written.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

/// The version a change gets, or what the register holds when it is not at `expected`.
pub fn decide(
    current: Option<&Versioned>,
    expected: Version,
) -> Result<Version, Option<Versioned>> {
    let at = current.map_or(Version::ABSENT, |register| register.version);
    match expected.0.checked_add(1) {
        Some(next) if at == expected => Ok(Version(next)),
        _ => Err(current.cloned()),
    }
}

/// Refuses keys and values beyond the bounds, before anything is carried out.
pub fn check_bounds(key: &str, value: &[u8]) -> Result<(), StoreError> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(StoreError::Misconfigured(format!(
            "the key has {} bytes; 1 to {KEY_BYTES_MAX} are accepted",
            key.len()
        )));
    }
    if value.len() > VALUE_BYTES_MAX {
        return Err(StoreError::Misconfigured(format!(
            "the value has {} bytes; at most {VALUE_BYTES_MAX} are accepted",
            value.len()
        )));
    }
    Ok(())
}
