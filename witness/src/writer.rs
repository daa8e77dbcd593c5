//! The one writer of a [`crate::store::DurableStore`]: decides, writes, publishes, answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use continuum_domain::Version;
use continuum_runtime::disk::{DiskLock, SharedDisk};
use tokio::sync::{mpsc, oneshot};

use crate::cell_table::Held;
use crate::cells::{Put, Tag};
use crate::log::{self, Content, Entry, Log, Record};
use crate::register::{Answer, StoreError, Versioned};
use crate::store::{Guard, Shared};
use crate::table::decide;

/// Changes in one group commit.
const BATCH_CHANGES_MAX: usize = 256;
/// Bytes of keys and values after which a group commit takes no more changes.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Mostly garbage: the log has this many times the bytes of what it says.
const COMPACTION_RATIO: usize = 4;

type ReplyTo<T> = oneshot::Sender<Result<T, StoreError>>;

/// A compare-and-swap of a register.
pub(crate) struct Swap {
    pub key: String,
    pub expected: Version,
    pub value: Vec<u8>,
    pub guard: Option<Guard>,
}

/// A change that waits for the writer, and who waits for its decision.
pub(crate) enum Ask {
    Swap(Swap, ReplyTo<Answer>),
    Put { key: String, expected: Option<Tag>, bytes: Vec<u8>, reply: ReplyTo<Put> },
    Delete { key: String, expected: Tag, reply: ReplyTo<bool> },
}

impl Ask {
    fn bytes(&self) -> usize {
        match self {
            Ask::Swap(swap, _) => log::entry_bytes(&swap.key, &swap.value),
            Ask::Put { key, bytes, .. } => log::entry_bytes(key, bytes),
            Ask::Delete { key, .. } => log::entry_bytes(key, &[]),
        }
    }

    fn refuse(self, error: StoreError) {
        match self {
            Ask::Swap(_, reply) => answer(reply, Err(error)),
            Ask::Put { reply, .. } => answer(reply, Err(error)),
            Ask::Delete { reply, .. } => answer(reply, Err(error)),
        }
    }
}

fn answer<T>(reply: ReplyTo<T>, decision: Result<T, StoreError>) {
    if reply.send(decision).is_err() {
        tracing::trace!("a caller gave up before its answer");
    }
}

/// Gives a decision, or the error in its place.
type Answering = Box<dyn FnOnce(Option<StoreError>) + Send>;

fn later<T: Send + 'static>(reply: ReplyTo<T>, decision: Result<T, StoreError>) -> Answering {
    Box::new(move |error| answer(reply, error.map_or(decision, Err)))
}

pub(crate) struct Writer {
    pub disk: SharedDisk,
    pub log: Log,
    pub compaction_bytes: usize,
    pub shared: Arc<Shared>,
    #[expect(dead_code, reason = "held until the writer ends")]
    pub lock: DiskLock,
}

/// A decided batch that is not on disk yet.
#[derive(Default)]
struct Batch {
    registers: BTreeMap<String, Versioned>,
    /// `None`: removed.
    cells: BTreeMap<String, Option<Held>>,
    /// Writes of cells in this batch.
    writes: u64,
    entries: Vec<Entry>,
    replies: Vec<Answering>,
}

impl Batch {
    /// Decides one change; later changes of the batch see the earlier ones.
    fn decide(&mut self, content: &Content, ask: Ask) {
        let answering = match ask {
            Ask::Swap(swap, reply) => later(reply, self.swap(content, swap)),
            Ask::Put { key, expected, bytes, reply } => {
                later(reply, Ok(self.put(content, key, expected.as_ref(), bytes)))
            }
            Ask::Delete { key, expected, reply } => {
                later(reply, Ok(self.delete(content, key, &expected)))
            }
        };
        self.replies.push(answering);
    }

    fn swap(&mut self, content: &Content, swap: Swap) -> Result<Answer, StoreError> {
        let Swap { key, expected, value, guard } = swap;
        let current = self.registers.get(&key).or_else(|| content.registers.get(&key));
        let version = match decide(current, expected) {
            Err(current) => return Ok(Answer::Refused(current)),
            Ok(version) => version,
        };
        let held = current.map(|register| register.value.as_slice());
        guard.map_or(Ok(()), |guard| guard(held, &value))?;
        let record = Record { key: key.clone(), version, value: value.clone() };
        self.entries.push(Entry::Register(record));
        self.registers.insert(key, Versioned { version, value });
        Ok(Answer::Accepted(version))
    }

    fn held<'a>(&'a self, content: &'a Content, key: &str) -> Option<&'a Held> {
        match self.cells.get(key) {
            Some(changed) => changed.as_ref(),
            None => content.cells.get(key),
        }
    }

    fn put(
        &mut self,
        content: &Content,
        key: String,
        expected: Option<&Tag>,
        bytes: Vec<u8>,
    ) -> Put {
        let held = self.held(content, &key);
        if !content.cells.is(held, expected) {
            return Put::Conflict(held.map(|held| content.cells.cell(held)));
        }
        self.writes += 1;
        let number = content.cells.writes() + self.writes;
        self.entries.push(Entry::Cell { key: key.clone(), number, bytes: bytes.clone() });
        self.cells.insert(key, Some(Held { number, bytes }));
        Put::Written(content.cells.tag(number))
    }

    /// Whether the cell is gone.
    fn delete(&mut self, content: &Content, key: String, expected: &Tag) -> bool {
        let held = self.held(content, &key);
        if held.is_none() {
            return true;
        }
        if !content.cells.is(held, Some(expected)) {
            return false;
        }
        self.entries.push(Entry::Removed { key: key.clone() });
        self.cells.insert(key, None);
        true
    }
}

/// About how many bytes a log of nothing but `content` has.
fn live_bytes(content: &Content) -> usize {
    let registers = content.registers.iter().map(|(key, held)| (key, &held.value));
    let cells = content.cells.iter().map(|(key, held)| (key, &held.bytes));
    registers.chain(cells).map(|(key, value)| log::entry_bytes(key, value)).sum()
}

impl Writer {
    pub async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        while let Some(first) = asks.recv().await {
            let mut bytes = first.bytes();
            let mut waiting = vec![first];
            while waiting.len() < BATCH_CHANGES_MAX && bytes < BATCH_BYTES_MAX {
                let Ok(next) = asks.try_recv() else { break };
                bytes += next.bytes();
                waiting.push(next);
            }
            self.commit(waiting).await;
        }
    }

    async fn commit(&mut self, waiting: Vec<Ask>) {
        if let Err(error) = self.shared.check_alive() {
            waiting.into_iter().for_each(|ask| ask.refuse(error.clone()));
            return;
        }
        let mut batch = Batch::default();
        {
            let content = self.shared.content();
            waiting.into_iter().for_each(|ask| batch.decide(&content, ask));
        }
        let Batch { registers, cells, entries, replies, .. } = batch;
        if !entries.is_empty() {
            if let Err(error) = self.log.commit(&entries).await {
                self.fail(&format!("writing the log failed: {error}"));
                for reply in replies {
                    let text = "the log could not be written; the change may be found at restart";
                    reply(Some(StoreError::Unanswered(text.into())));
                }
                return;
            }
            self.publish(registers, cells, &entries);
        }
        for reply in replies {
            reply(None);
        }
        self.compact_if_due().await;
    }

    fn publish(
        &self,
        registers: BTreeMap<String, Versioned>,
        cells: BTreeMap<String, Option<Held>>,
        entries: &[Entry],
    ) {
        self.shared.change(|content| {
            for (key, register) in registers {
                content.registers.put(key, register);
            }
            for (key, change) in cells {
                match change {
                    Some(held) => content.cells.put(key, held),
                    None => content.cells.remove(&key),
                }
            }
            // Of a cell that was written and removed in one batch, only the number is left.
            for entry in entries {
                if let Entry::Cell { number, .. } = entry {
                    content.cells.note(*number);
                }
            }
        });
    }

    async fn compact_if_due(&mut self) {
        if self.log.bytes() <= self.compaction_bytes {
            return;
        }
        let content = {
            let content = self.shared.content();
            if live_bytes(&content).saturating_mul(COMPACTION_RATIO) > self.log.bytes() {
                return;
            }
            content.clone()
        };
        match Log::rewrite(self.disk.as_ref(), &content).await {
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
