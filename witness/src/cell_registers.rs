//! Cells seen as registers, so that one checker judges the histories of both.
//!
//! A content begins with the number of changes that led to it, which its writer knows: it names the
//! tag of the content before, and has seen that. So each content has one version, exactly, whatever
//! tags look like; a store that lets two writers pass with one tag shows two contents of one version.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use continuum_domain::Version;

use crate::cells::{Cell, CellStore, Put, Tag};
use crate::register::{Answer, RegisterStore, StoreError, Versioned};

/// Bytes of a content before the value: its version, most significant byte first.
const VERSION_BYTES: usize = 8;

/// One client's view of a store of cells. For checkers: it names the tags that this client was shown,
/// so a version that it was never shown cannot be changed through it.
pub struct CellRegisters {
    cells: Arc<dyn CellStore>,
    /// Of each cell, what this client was shown last.
    shown: Mutex<BTreeMap<String, (Version, Tag)>>,
}

impl CellRegisters {
    /// A client that was shown nothing yet. Nothing else may write the cells it is asked for.
    pub fn new(cells: Arc<dyn CellStore>) -> Self {
        Self { cells, shown: Mutex::default() }
    }

    fn remember(&self, key: &str, version: Version, tag: Tag) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.insert(key.to_owned(), (version, tag));
    }

    fn tag_of(&self, key: &str, version: Version) -> Result<Option<Tag>, StoreError> {
        if version == Version::ABSENT {
            return Ok(None);
        }
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        match shown.get(key) {
            Some((at, tag)) if *at == version => Ok(Some(tag.clone())),
            _ => Err(StoreError::Misconfigured(format!(
                "the caller was not shown version {} of {key} last",
                version.0
            ))),
        }
    }

    fn register(&self, key: &str, cell: Option<Cell>) -> Result<Option<Versioned>, StoreError> {
        let Some(Cell { tag, bytes }) = cell else { return Ok(None) };
        let Some((version, value)) = bytes.split_first_chunk::<VERSION_BYTES>() else {
            let text = format!("{key} holds what nobody wrote there: {bytes:?}");
            return Err(StoreError::Misconfigured(text));
        };
        let version = Version(u64::from_be_bytes(*version));
        self.remember(key, version, tag);
        Ok(Some(Versioned { version, value: value.to_vec() }))
    }
}

#[async_trait]
impl RegisterStore for CellRegisters {
    async fn read(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let cell = self.cells.get(key).await?;
        self.register(key, cell)
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Version,
        value: Vec<u8>,
    ) -> Result<Answer, StoreError> {
        let tag = self.tag_of(key, expected)?;
        let version = Version(expected.0.saturating_add(1));
        let bytes = [version.0.to_be_bytes().as_slice(), &value].concat();
        match self.cells.put(key, tag.as_ref(), bytes).await? {
            Put::Written(tag) => {
                self.remember(key, version, tag);
                Ok(Answer::Accepted(version))
            }
            Put::Conflict(cell) => Ok(Answer::Refused(self.register(key, cell)?)),
        }
    }
}
