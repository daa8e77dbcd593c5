//! The durable store: registers and cells in memory, every accepted change in the log first.
//!
//! One writer takes all changes that wait, of both kinds, decides them in order, writes those it accepts
//! as one frame with one fdatasync, publishes them to readers, and only then answers. A failed
//! write or sync ends the store: what reached the disk is unknown, and a witness that guesses is
//! worse than none. Only opening the log again settles it.

use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use async_trait::async_trait;
use continuum_domain::Version;
use continuum_runtime::disk::{Disk, DiskLock, FsDisk, SharedDisk};
use continuum_runtime::seed;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::cell_table::CellTable;
use crate::cells::{Cell, CellStore, Put, Tag, check_cell_bounds};
use crate::log::{self, Content, Log};
use crate::register::{Answer, RegisterStore, StoreError, Versioned};
use crate::table::{Registers, check_bounds};
use crate::writer::{Ask, Swap, Writer};

/// Changes that wait for the writer; more wait in their callers.
const QUEUE_MAX: usize = 1024;
/// The log is rewritten when it is larger than this and mostly garbage.
const COMPACTION_BYTES: usize = 4 * 1024 * 1024;
/// Length of a store's id, in characters of 36 kinds.
const STORE_ID_LENGTH: usize = 20;

/// Stands once a log was created, so that a log that vanished is not taken for a first start.
const MARK_NAME: &str = "witness.initialised";

/// A last check of an accepted change against what the register holds (`None` when absent) and
/// the new value. Runs when the change is decided.
pub type Guard = Box<dyn FnOnce(Option<&[u8]>, &[u8]) -> Result<(), StoreError> + Send>;

/// Why a data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another server has it.
    #[error("the directory of {0} is in use by another server; give each its own")]
    InUse(String),
    /// It was in use, and the log is gone.
    #[error(
        "{0} was there before and is gone. Starting empty would let old epochs win again; restore \
         the directory, or rebuild the witness by the runbook for a lost one"
    )]
    LogGone(String),
    /// The log or the directory cannot be used; the text says what and where.
    #[error(transparent)]
    Io(#[from] io::Error),
}

pub(crate) struct Shared {
    content: RwLock<Content>,
    /// Why the store has ended, once it has.
    pub(crate) failure: watch::Sender<Option<String>>,
}

/// A store of registers and of cells on one directory of a local disk.
pub struct DurableStore {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Ask>,
    writer: JoinHandle<()>,
}

impl DurableStore {
    /// Opens a data directory, creating it when it does not exist.
    pub async fn open(directory: &Path) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(FsDisk::open(directory)?)).await
    }

    /// Opens the store on a disk of the caller's choice.
    pub async fn open_on(disk: SharedDisk) -> Result<Self, OpenError> {
        Self::open_with(disk, COMPACTION_BYTES).await
    }

    pub(crate) async fn open_with(
        disk: SharedDisk,
        compaction_bytes: usize,
    ) -> Result<Self, OpenError> {
        let lock = take_lock(disk.as_ref()).await?;
        let (log, content) = open_log(disk.as_ref()).await?;
        let shared =
            Arc::new(Shared { content: RwLock::new(content), failure: watch::Sender::new(None) });
        let (queue, asks) = mpsc::channel(QUEUE_MAX);
        let writer = Writer { disk, log, compaction_bytes, shared: shared.clone(), lock };
        Ok(Self { shared, queue, writer: seed::spawn(writer.run(asks)) })
    }

    /// Becomes `Some(why)` when the store has ended.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.shared.failure.subscribe()
    }

    /// Ends the store once the changes that wait are written, and gives the directory free.
    pub async fn close(self) {
        let Self { queue, writer, .. } = self;
        drop(queue);
        if writer.await.is_err() {
            tracing::error!("the witness writer panicked");
        }
    }

    /// Compare-and-swap with a last check that sees the register's value as it is replaced.
    pub async fn change(
        &self,
        key: &str,
        expected: Version,
        value: Vec<u8>,
        guard: Option<Guard>,
    ) -> Result<Answer, StoreError> {
        check_bounds(key, &value)?;
        let swap = Swap { key: key.to_owned(), expected, value, guard };
        self.ask(|reply| Ask::Swap(swap, reply)).await
    }

    async fn ask<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Ask,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        if self.queue.send(ask(reply)).await.is_err() {
            return Err(StoreError::Misconfigured("the store has ended".into()));
        }
        answer.await.unwrap_or_else(|_| Err(StoreError::Unanswered("the writer died".into())))
    }

    /// A copy of all registers, for checkers.
    pub fn snapshot(&self) -> Registers {
        self.shared.content().registers.clone()
    }

    /// Shows `look` all registers as they are, for checkers that look often.
    pub fn inspect<T>(&self, look: impl FnOnce(&Registers) -> T) -> T {
        look(&self.shared.content().registers)
    }

    /// Shows `look` every cell, in key order, for checkers that look often.
    pub fn inspect_cells(&self, mut look: impl FnMut(&str, &[u8])) {
        for (key, held) in self.shared.content().cells.iter() {
            look(key, &held.bytes);
        }
    }

    /// Number of registers whose key starts with `prefix`.
    pub fn count(&self, prefix: &str) -> usize {
        let content = self.shared.content();
        content.registers.iter().filter(|(key, _)| key.starts_with(prefix)).count()
    }
}

#[async_trait]
impl RegisterStore for DurableStore {
    async fn read(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        check_bounds(key, &[])?;
        let content = self.shared.content();
        self.shared.check_alive()?;
        Ok(content.registers.get(key).cloned())
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Version,
        value: Vec<u8>,
    ) -> Result<Answer, StoreError> {
        self.change(key, expected, value, None).await
    }
}

#[async_trait]
impl CellStore for DurableStore {
    async fn get(&self, key: &str) -> Result<Option<Cell>, StoreError> {
        check_cell_bounds(key, &[])?;
        let content = self.shared.content();
        self.shared.check_alive()?;
        Ok(content.cells.get(key).map(|held| content.cells.cell(held)))
    }

    async fn put(
        &self,
        key: &str,
        expected: Option<&Tag>,
        bytes: Vec<u8>,
    ) -> Result<Put, StoreError> {
        check_cell_bounds(key, &bytes)?;
        let (key, expected) = (key.to_owned(), expected.cloned());
        self.ask(|reply| Ask::Put { key, expected, bytes, reply }).await
    }

    async fn delete(&self, key: &str, expected: &Tag) -> Result<bool, StoreError> {
        check_cell_bounds(key, &[])?;
        let (key, expected) = (key.to_owned(), expected.clone());
        self.ask(|reply| Ask::Delete { key, expected, reply }).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let content = self.shared.content();
        self.shared.check_alive()?;
        Ok(content.cells.keys(prefix))
    }
}

impl Shared {
    // A panic cannot leave the tables half changed, so a poisoned lock is taken over.
    pub(crate) fn content(&self) -> RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Content)) {
        change(&mut self.content.write().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn check_alive(&self) -> Result<(), StoreError> {
        match &*self.failure.borrow() {
            Some(why) => Err(StoreError::Misconfigured(why.clone())),
            None => Ok(()),
        }
    }
}

/// The lock lives as long as the writer: a process that dies in any way gives it back.
async fn take_lock(disk: &dyn Disk) -> Result<DiskLock, OpenError> {
    disk.lock().await.map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => OpenError::InUse(disk.describe(log::LOG_NAME)),
        _ => error.into(),
    })
}

async fn open_log(disk: &dyn Disk) -> Result<(Log, Content), OpenError> {
    let marked = disk.read(MARK_NAME).await?.is_some();
    let (log, content) = match Log::open(disk).await? {
        Some((log, replay)) => {
            if replay.torn_bytes > 0 {
                tracing::warn!(
                    bytes = replay.torn_bytes,
                    "cut a torn frame at the end of the log; nothing in it was ever answered"
                );
            }
            (Some(log), replay.content)
        }
        None if marked => return Err(OpenError::LogGone(disk.describe(log::LOG_NAME))),
        None => (None, Content::default()),
    };
    let opened = match log {
        Some(log) if !content.cells.store().is_empty() => (log, content),
        // A first start, or a log from before there were cells.
        _ => {
            let cells = CellTable::new(seed::random_id(STORE_ID_LENGTH), 0);
            let content = Content { cells, ..content };
            (Log::rewrite(disk, &content).await?, content)
        }
    };
    if !marked {
        disk.replace(MARK_NAME, b"a log was created here\n".to_vec()).await?;
    }
    Ok(opened)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "store_cells_tests.rs"]
mod cells_tests;
