//! Cells in memory: what a [`crate::store::DurableStore`] holds beside its registers.

use std::collections::BTreeMap;

use crate::cells::{Cell, Tag};

/// A cell as the table holds it: its tag is its number in this store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub number: u64,
    pub bytes: Vec<u8>,
}

/// All cells by key.
///
/// A tag is the store's id and the number of the write. The id is drawn when a log is created, so a
/// directory that was wiped never gives out a tag of its past; numbers only rise, also over
/// removals and rewrites of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CellTable {
    store: String,
    writes: u64,
    by_key: BTreeMap<String, Held>,
}

impl CellTable {
    /// The empty table of a store that begins, or goes on, at `writes`.
    pub fn new(store: String, writes: u64) -> Self {
        Self { store, writes, by_key: BTreeMap::new() }
    }

    /// The store's id; empty when the log has none yet.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// Number of the newest write of any cell, removed ones included.
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// The tag of a write.
    pub fn tag(&self, number: u64) -> Tag {
        Tag(format!("{}.{number}", self.store))
    }

    /// A held cell as callers see it.
    pub fn cell(&self, held: &Held) -> Cell {
        Cell { tag: self.tag(held.number), bytes: held.bytes.clone() }
    }

    /// Whether `held` is what a caller expects.
    pub fn is(&self, held: Option<&Held>, expected: Option<&Tag>) -> bool {
        match (held, expected) {
            (None, None) => true,
            (Some(held), Some(expected)) => self.tag(held.number) == *expected,
            _ => false,
        }
    }

    /// What is held under a key.
    pub fn get(&self, key: &str) -> Option<&Held> {
        self.by_key.get(key)
    }

    /// Gives out no number up to this one any more.
    pub fn note(&mut self, number: u64) {
        self.writes = self.writes.max(number);
    }

    /// Takes a write that was decided already.
    pub fn put(&mut self, key: String, held: Held) {
        self.note(held.number);
        self.by_key.insert(key, held);
    }

    /// Takes a removal that was decided already.
    pub fn remove(&mut self, key: &str) {
        self.by_key.remove(key);
    }

    /// All cells in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Held)> {
        self.by_key.iter()
    }

    /// Keys that start with `prefix`.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let from = self
            .by_key
            .range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        from.map(|(key, _)| key).take_while(|key| key.starts_with(prefix)).cloned().collect()
    }
}
