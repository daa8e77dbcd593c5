//! What is asked of one store: a cell is read whole, and replaced only by who names its last tag.
//!
//! A store that keeps this is one *acceptor*; [`crate::quorum`] makes one register out of one, three
//! or five of them. A store is trusted with nothing more than this page says: it may be slow, lose
//! replies, be out of reach, or lose everything (which is found out and never passed over).

use std::fmt;

use async_trait::async_trait;

use crate::register::StoreError;

/// Longest key of a cell, in bytes of UTF-8: a register's key and what the quorum puts before it.
pub const CELL_KEY_BYTES_MAX: usize = 320;
/// Largest cell, in bytes: a register's value and what an acceptor remembers beside it.
pub const CELL_BYTES_MAX: usize = 65 * 1024;

/// Names one content of one cell. Opaque; only the store that gave it out can read it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub String);

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A cell as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Names this content in the next [`CellStore::put`].
    pub tag: Tag,
    /// The content.
    pub bytes: Vec<u8>,
}

/// The store's decision on a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// The cell holds the bytes, under this tag.
    Written(Tag),
    /// The cell did not hold what was expected, and this change certainly had and will have no
    /// effect. What the cell held when it was refused, or at some moment after.
    Conflict(Option<Cell>),
}

/// A store of cells with an atomic conditional write.
///
/// - **Linearizable per cell**: a read shows the newest write that was answered before it was sent,
///   or a later one.
/// - **Durable**: an answered write survives the store's crash.
/// - **One winner**: of all puts that name the same tag (or that the cell is absent), at most one
///   takes effect.
/// - **Bounded**: each call returns in bounded time, with [`StoreError::Unanswered`] when it does
///   not know, and with another error only when the call certainly took and will take no effect.
///
/// Callers never put the same bytes twice under one key, so a tag may be a digest of the content.
#[async_trait]
pub trait CellStore: Send + Sync + 'static {
    /// Reads a cell; `None` when there is none.
    async fn get(&self, key: &str) -> Result<Option<Cell>, StoreError>;

    /// Writes the cell iff its tag is `expected`; `None` to create it where there is none.
    async fn put(
        &self,
        key: &str,
        expected: Option<&Tag>,
        bytes: Vec<u8>,
    ) -> Result<Put, StoreError>;

    /// Removes the cell iff its tag is `expected`; whether it is now gone by this or an earlier
    /// call. Upkeep only (probe keys, cells of acceptors that were replaced).
    async fn delete(&self, key: &str, expected: &Tag) -> Result<bool, StoreError>;

    /// Keys that start with `prefix`, in any order. Upkeep only: shows at least every cell whose
    /// creation was answered before this call.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;
}

/// Refuses keys and contents beyond the bounds, before anything is carried out.
pub fn check_cell_bounds(key: &str, bytes: &[u8]) -> Result<(), StoreError> {
    if key.is_empty() || key.len() > CELL_KEY_BYTES_MAX {
        return Err(StoreError::Misconfigured(format!(
            "the cell's key has {} bytes; 1 to {CELL_KEY_BYTES_MAX} are accepted",
            key.len()
        )));
    }
    if bytes.len() > CELL_BYTES_MAX {
        return Err(StoreError::Misconfigured(format!(
            "the cell has {} bytes; at most {CELL_BYTES_MAX} are accepted",
            bytes.len()
        )));
    }
    Ok(())
}
