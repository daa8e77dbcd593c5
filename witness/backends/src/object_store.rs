//! Cells as objects of S3, R2, Google Cloud Storage or Azure Blob Storage.
//!
//! One cell, one object. A change is one conditional upload: `If-None-Match: *` creates, `If-Match`
//! (at Google the generation number) changes. The store itself decides who wins; this module never
//! reads first to decide. Nothing is listed except in [`CellStore::list`].
//!
//! What the store must be given: reading, writing and deleting objects under the prefix, and on S3
//! also `s3:ListBucket`, without which S3 answers 403 instead of 404 for objects that are not there.
//!
//! What it must not be given: a lifecycle rule that deletes under the prefix, replication that
//! writes into it, a cache in front of it, or a service that accepts the conditions and ignores
//! them. The last exist, and [`continuum_witness::cell_contract`] finds them out.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use continuum_witness::cells::{CELL_BYTES_MAX, check_cell_bounds};
use continuum_witness::{Cell, CellStore, Put, StoreError, Tag};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Attribute, GetResult, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

mod config;
mod errors;
mod names;

pub use config::{ObjectStoreConfig, ObjectStoreKind};
use errors::{Failure, failure};
use names::Compared;

/// Times a change is sent again after the store refused it because others were under way.
const BUSY_RETRIES: u32 = 4;

/// An object store as a store of cells.
pub struct ObjectCells {
    store: Arc<dyn ObjectStore>,
    compared: Compared,
    prefix: String,
    deadline: Duration,
}

impl std::fmt::Debug for ObjectCells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ObjectCells({} under {:?})", self.store, self.prefix)
    }
}

impl ObjectCells {
    /// Opens the store that `config` names, without asking anything of it.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] when a setting or the credentials file cannot be used.
    pub fn open(config: &ObjectStoreConfig) -> Result<Self, StoreError> {
        Self::over(config.open()?, config.compared(), &config.prefix, config.deadline)
    }

    fn over(
        store: Arc<dyn ObjectStore>,
        compared: Compared,
        prefix: &str,
        deadline: Duration,
    ) -> Result<Self, StoreError> {
        names::check_prefix(prefix)?;
        let trimmed = prefix.trim_end_matches('/');
        let prefix = if trimmed.is_empty() { String::new() } else { format!("{trimmed}/") };
        Ok(Self { store, compared, prefix, deadline })
    }

    /// Cells in an [`object_store::memory::InMemory`], which keeps every condition: for tests.
    ///
    /// # Errors
    /// As [`ObjectCells::open`].
    pub fn in_memory(
        store: Arc<object_store::memory::InMemory>,
        prefix: &str,
    ) -> Result<Self, StoreError> {
        Self::over(store, Compared::ETag, prefix, Duration::from_secs(3))
    }

    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.deadline, call).await {
            Ok(answer) => answer,
            Err(_) => {
                let store = &self.store;
                Err(StoreError::Unanswered(format!("{store} gave none in {:?}", self.deadline)))
            }
        }
    }

    async fn read(&self, name: &Path) -> Result<Option<Cell>, StoreError> {
        let found = match self.store.get(name).await {
            Ok(found) => found,
            Err(error) => {
                return match failure(&error) {
                    Failure::Absent => Ok(None),
                    Failure::Refused(text) => Err(StoreError::Unanswered(text)),
                    Failure::Error(error) => Err(error),
                };
            }
        };
        let tag = self.compared.tag(found.meta.e_tag.clone(), found.meta.version.clone());
        let tag = tag.ok_or_else(|| {
            StoreError::Misconfigured("the store names no version of what it holds".into())
        })?;
        Ok(Some(Cell { tag, bytes: content(found).await? }))
    }

    /// One conditional upload and, where it was refused, one read of what stands in its way.
    async fn change(
        &self,
        name: &Path,
        expected: Option<&Tag>,
        bytes: &bytes::Bytes,
    ) -> Result<Change, StoreError> {
        let condition = match expected {
            None => PutMode::Create,
            Some(tag) => match self.compared.condition(tag) {
                Some(condition) => PutMode::Update(condition),
                // A tag that this store cannot have given out names nothing that it holds.
                None => return Ok(Change::Decided(Put::Conflict(self.held(name).await?))),
            },
        };
        let mut options = PutOptions::from(condition);
        options.attributes.insert(Attribute::CacheControl, "no-store".into());
        match self.store.put_opts(name, bytes.clone().into(), options).await {
            Ok(put) => match self.compared.tag(put.e_tag, put.version) {
                Some(tag) => Ok(Change::Decided(Put::Written(tag))),
                None => Err(StoreError::Unanswered("it names no version of what it took".into())),
            },
            Err(error) => match failure(&error) {
                Failure::Refused(_) | Failure::Absent => self.refused(name, expected, bytes).await,
                Failure::Error(error) => Err(error),
            },
        }
    }

    async fn refused(
        &self,
        name: &Path,
        expected: Option<&Tag>,
        bytes: &bytes::Bytes,
    ) -> Result<Change, StoreError> {
        let held = self.held(name).await?;
        // Nobody else puts these bytes: the refused request was a second copy of one that won.
        if let Some(cell) = held.as_ref().filter(|cell| cell.bytes == *bytes) {
            return Ok(Change::Decided(Put::Written(cell.tag.clone())));
        }
        // S3 also refuses because another change is under way, and that one may come to nothing.
        if held.as_ref().map(|cell| &cell.tag) == expected {
            return Ok(Change::Busy);
        }
        Ok(Change::Decided(Put::Conflict(held)))
    }

    /// What a refused change ran into. The change is known to have had no effect, so a failure to
    /// read must not say that it may have.
    async fn held(&self, name: &Path) -> Result<Option<Cell>, StoreError> {
        self.read(name).await.map_err(|error| match error {
            StoreError::Unanswered(text) => not_shown(&text),
            other => other,
        })
    }
}

enum Change {
    Decided(Put),
    Busy,
}

fn not_shown(text: &str) -> StoreError {
    StoreError::NotSent(format!("it refused the change, and what it holds was not shown: {text}"))
}

/// Reads no more than a cell may hold, whatever lies there.
async fn content(found: GetResult) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    let mut parts = found.into_stream();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| match failure(&error) {
            Failure::Error(error) => error,
            Failure::Refused(text) => StoreError::Unanswered(text),
            Failure::Absent => StoreError::Unanswered("it went away while it was read".into()),
        })?;
        bytes.extend_from_slice(&part);
        if bytes.len() > CELL_BYTES_MAX {
            return Err(StoreError::Misconfigured(
                "an object is larger than any cell: somebody else writes here".into(),
            ));
        }
    }
    Ok(bytes)
}

#[async_trait]
impl CellStore for ObjectCells {
    async fn get(&self, key: &str) -> Result<Option<Cell>, StoreError> {
        check_cell_bounds(key, &[])?;
        self.bounded(self.read(&names::name(&self.prefix, key))).await
    }

    async fn put(
        &self,
        key: &str,
        expected: Option<&Tag>,
        bytes: Vec<u8>,
    ) -> Result<Put, StoreError> {
        check_cell_bounds(key, &bytes)?;
        let (name, bytes) = (names::name(&self.prefix, key), bytes::Bytes::from(bytes));
        self.bounded(async {
            for _ in 0..=BUSY_RETRIES {
                if let Change::Decided(put) = self.change(&name, expected, &bytes).await? {
                    return Ok(put);
                }
            }
            Err(StoreError::NotSent("it is busy with other changes of this cell".into()))
        })
        .await
    }

    /// Reads, compares and deletes in three steps, because object stores have no conditional
    /// delete: a change that comes between is lost. For cells that nobody changes any more.
    async fn delete(&self, key: &str, expected: &Tag) -> Result<bool, StoreError> {
        check_cell_bounds(key, &[])?;
        let name = names::name(&self.prefix, key);
        self.bounded(async {
            match self.read(&name).await? {
                None => return Ok(true),
                Some(cell) if cell.tag != *expected => return Ok(false),
                Some(_) => {}
            }
            match self.store.delete(&name).await.map_err(|error| failure(&error)) {
                Ok(()) | Err(Failure::Absent) => Ok(true),
                Err(Failure::Refused(_)) => Ok(false),
                Err(Failure::Error(error)) => Err(error),
            }
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        // Object stores list whole directories only, so all cells are listed and then sorted out.
        let under = (!self.prefix.is_empty()).then(|| Path::from(self.prefix.as_str()));
        self.bounded(async {
            let mut keys = Vec::new();
            let mut objects = self.store.list(under.as_ref());
            while let Some(object) =
                objects.try_next().await.map_err(|error| match failure(&error) {
                    Failure::Error(error) => error,
                    Failure::Refused(text) => StoreError::Unanswered(text),
                    Failure::Absent => {
                        StoreError::Misconfigured("there is no such bucket or container".into())
                    }
                })?
            {
                keys.extend(names::key(&self.prefix, &object.location));
            }
            keys.retain(|key| key.starts_with(prefix));
            Ok(keys)
        })
        .await
    }
}
