//! The durable store: registers in memory, every accepted change in the log first.
//!
//! One writer takes all changes that wait, decides them in order, writes those it accepts
//! as one frame with one fdatasync, publishes them to readers, and only then answers. A failed
//! write or sync ends the store: what reached the disk is unknown, and a witness that guesses is
//! worse than none. Only opening the log again settles it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use continuum_domain::Version;
use continuum_runtime::disk::{Disk, DiskLock, FsDisk, SharedDisk};
use continuum_runtime::seed;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::log::{self, Log, Record};
use crate::register::{Answer, RegisterStore, StoreError, Versioned};
use crate::table::{Registers, check_bounds, decide};

/// Changes that wait for the writer; more wait in their callers.
const QUEUE_MAX: usize = 1024;
/// Changes in one group commit.
const BATCH_CHANGES_MAX: usize = 256;
/// Bytes of keys and values after which a group commit takes no more changes.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// The log is rewritten when it is larger than this and mostly garbage.
const COMPACTION_BYTES: usize = 4 * 1024 * 1024;
/// Mostly garbage: the log has this many times the bytes of the live registers.
const COMPACTION_RATIO: usize = 4;

/// Stands once a log was created, so that a log that vanished is not taken for a first start.
const MARK_NAME: &str = "witness.initialised";

type Decision = Result<Answer, StoreError>;

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

struct Shared {
    registers: RwLock<Registers>,
    /// Why the store has ended, once it has.
    failure: watch::Sender<Option<String>>,
}

struct Change {
    key: String,
    expected: Version,
    value: Vec<u8>,
    guard: Option<Guard>,
    reply: oneshot::Sender<Decision>,
}

/// A register store on one directory of a local disk.
pub struct DurableStore {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Change>,
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
        let (log, registers) = open_log(disk.as_ref()).await?;
        let shared = Arc::new(Shared {
            registers: RwLock::new(registers),
            failure: watch::Sender::new(None),
        });
        let (queue, changes) = mpsc::channel(QUEUE_MAX);
        let writer = Writer { disk, log, compaction_bytes, shared: shared.clone(), _lock: lock };
        Ok(Self { shared, queue, writer: seed::spawn(writer.run(changes)) })
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
        let (reply, answer) = oneshot::channel();
        let change = Change { key: key.to_owned(), expected, value, guard, reply };
        if self.queue.send(change).await.is_err() {
            return Err(StoreError::Misconfigured("the store has ended".into()));
        }
        answer.await.unwrap_or_else(|_| Err(StoreError::Unanswered("the writer died".into())))
    }

    /// A copy of all registers, for checkers.
    pub fn snapshot(&self) -> Registers {
        self.shared.registers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows `look` all registers as they are, for checkers that look often.
    pub fn inspect<T>(&self, look: impl FnOnce(&Registers) -> T) -> T {
        look(&self.shared.registers.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Number of registers whose key starts with `prefix`.
    pub fn count(&self, prefix: &str) -> usize {
        let registers = self.shared.registers.read().unwrap_or_else(PoisonError::into_inner);
        registers.iter().filter(|(key, _)| key.starts_with(prefix)).count()
    }
}

#[async_trait]
impl RegisterStore for DurableStore {
    async fn read(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        check_bounds(key, &[])?;
        let registers = self.shared.registers.read().unwrap_or_else(PoisonError::into_inner);
        self.shared.check_alive()?;
        Ok(registers.get(key).cloned())
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

impl Shared {
    fn check_alive(&self) -> Result<(), StoreError> {
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

async fn open_log(disk: &dyn Disk) -> Result<(Log, Registers), OpenError> {
    let marked = disk.read(MARK_NAME).await?.is_some();
    let (log, registers) = match Log::open(disk).await? {
        Some((log, replay)) => {
            if replay.torn_bytes > 0 {
                tracing::warn!(
                    bytes = replay.torn_bytes,
                    "cut a torn frame at the end of the log; nothing in it was ever answered"
                );
            }
            (log, replay.registers)
        }
        None if marked => return Err(OpenError::LogGone(disk.describe(log::LOG_NAME))),
        None => (Log::rewrite(disk, &Registers::default()).await?, Registers::default()),
    };
    if !marked {
        disk.replace(MARK_NAME, b"a log was created here\n".to_vec()).await?;
    }
    Ok((log, registers))
}

struct Writer {
    disk: SharedDisk,
    log: Log,
    compaction_bytes: usize,
    shared: Arc<Shared>,
    _lock: DiskLock,
}

/// A decided batch that is not on disk yet.
#[derive(Default)]
struct Batch {
    overlay: BTreeMap<String, Versioned>,
    records: Vec<Record>,
    replies: Vec<(oneshot::Sender<Decision>, Decision)>,
}

impl Writer {
    async fn run(mut self, mut changes: mpsc::Receiver<Change>) {
        while let Some(first) = changes.recv().await {
            let mut bytes = log::register_bytes(&first.key, &first.value);
            let mut waiting = vec![first];
            while waiting.len() < BATCH_CHANGES_MAX && bytes < BATCH_BYTES_MAX {
                let Ok(next) = changes.try_recv() else { break };
                bytes += log::register_bytes(&next.key, &next.value);
                waiting.push(next);
            }
            self.commit(waiting).await;
        }
    }

    async fn commit(&mut self, waiting: Vec<Change>) {
        if let Err(error) = self.shared.check_alive() {
            for change in waiting {
                answer(change.reply, Err(error.clone()));
            }
            return;
        }
        let Batch { overlay, records, replies } = self.decide_all(waiting);
        if !records.is_empty() {
            if let Err(error) = self.log.commit(&records).await {
                self.fail(&format!("writing the log failed: {error}"));
                for (reply, _) in replies {
                    let text = "the log could not be written; the change may be found at restart";
                    answer(reply, Err(StoreError::Unanswered(text.into())));
                }
                return;
            }
            let mut registers =
                self.shared.registers.write().unwrap_or_else(PoisonError::into_inner);
            for (key, register) in overlay {
                registers.put(key, register);
            }
        }
        for (reply, decision) in replies {
            answer(reply, decision);
        }
        self.compact_if_due().await;
    }

    /// Decides in order; later changes of the batch see the earlier ones.
    fn decide_all(&self, waiting: Vec<Change>) -> Batch {
        let registers = self.shared.registers.read().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Batch::default();
        for Change { key, expected, value, guard, reply } in waiting {
            let current = batch.overlay.get(&key).or_else(|| registers.get(&key));
            let decision = match decide(current, expected) {
                Err(current) => Ok(Answer::Refused(current)),
                Ok(version) => {
                    let held = current.map(|register| register.value.as_slice());
                    match guard.map_or(Ok(()), |guard| guard(held, &value)) {
                        Err(error) => Err(error),
                        Ok(()) => {
                            batch.records.push(Record {
                                key: key.clone(),
                                version,
                                value: value.clone(),
                            });
                            batch.overlay.insert(key, Versioned { version, value });
                            Ok(Answer::Accepted(version))
                        }
                    }
                }
            };
            batch.replies.push((reply, decision));
        }
        batch
    }

    async fn compact_if_due(&mut self) {
        if self.log.bytes() <= self.compaction_bytes {
            return;
        }
        let registers =
            self.shared.registers.read().unwrap_or_else(PoisonError::into_inner).clone();
        let live: usize =
            registers.iter().map(|(key, held)| log::register_bytes(key, &held.value)).sum();
        if live.saturating_mul(COMPACTION_RATIO) > self.log.bytes() {
            return;
        }
        match Log::rewrite(self.disk.as_ref(), &registers).await {
            Ok(log) => {
                tracing::info!(before = self.log.bytes(), after = log.bytes(), "log rewritten");
                self.log = log;
            }
            Err(error) => self.fail(&format!("rewriting the log failed: {error}")),
        }
    }

    fn fail(&self, why: &str) {
        tracing::error!(why, "the witness store has ended; restart it once the disk is sound");
        self.shared.failure.send_replace(Some(why.to_owned()));
    }
}

fn answer(reply: oneshot::Sender<Decision>, decision: Decision) {
    if reply.send(decision).is_err() {
        tracing::trace!("a caller gave up before its answer");
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
