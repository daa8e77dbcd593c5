//! Facts that must not be lost: on disk until the core has them in its replicated log.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use continuum_control_api::heard::{Heard, NOT_UNDERSTOOD, Other};
use continuum_control_api::link::{Fact, JournalEntry};
use continuum_domain::{Epoch, OperationId, PairId};
use continuum_runtime::disk::{self, SharedDisk};
use continuum_runtime::{SharedClock, seed};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::directives::DirectiveDesk;

/// Entries kept at most while the core is away; the oldest are dropped first, with a log line.
const ENTRIES_MAX: usize = 10_000;
const FILE: &str = "journal.json";
/// Where the disk is bounded, the journal takes one part of so many.
const JOURNAL_SHARE: usize = 2;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Content {
    seq: u64,
    /// A newer version's entries stay as they are, and are sent so.
    entries: Vec<Heard<JournalEntry>>,
}

impl Content {
    /// Drops the oldest entries until the rest takes no more than `bytes` where it is kept.
    fn shrink_to(&mut self, bytes: usize) {
        // As it is written, with its spaces.
        let size = |entry: &Heard<JournalEntry>| {
            serde_json::to_vec_pretty(entry).map_or(0, |text| text.len().saturating_mul(3) / 2)
        };
        let mut total = 0;
        let fits = |entry: &&Heard<JournalEntry>| {
            total += size(entry);
            total <= bytes
        };
        let kept = self.entries.iter().rev().take_while(fits).count();
        let dropped = self.entries.len() - kept;
        if dropped > 0 {
            tracing::error!(dropped, "the journal is full: its oldest entries are dropped");
            self.entries.drain(..dropped);
        }
    }
}

struct Inner {
    content: Mutex<Content>,
    changed: watch::Sender<u64>,
    clock: SharedClock,
    onlooker: OnceLock<DirectiveDesk>,
}

/// The journal. Cloned handles share it.
#[derive(Clone)]
pub(crate) struct Journal(Arc<Inner>);

impl Journal {
    /// Opens the journal and starts its writer.
    pub async fn open(disk: SharedDisk, clock: SharedClock) -> io::Result<Self> {
        let read: Option<Content> = disk::read_json(disk.as_ref(), FILE).await?;
        let mut content = read.unwrap_or_default();
        content.entries.retain(is_numbered);
        let (changed, watcher) = watch::channel(content.seq);
        let inner = Arc::new(Inner {
            content: Mutex::new(content),
            changed,
            clock,
            onlooker: OnceLock::new(),
        });
        seed::spawn(write_behind(Arc::downgrade(&inner), disk, watcher));
        Ok(Self(inner))
    }

    /// Shows every fact from now on to who tells of directives.
    pub fn shown_to(&self, onlooker: DirectiveDesk) {
        if self.0.onlooker.set(onlooker).is_err() {
            tracing::debug!("the journal is shown to somebody already");
        }
    }

    fn content(&self) -> std::sync::MutexGuard<'_, Content> {
        self.0.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a fact. It is on disk shortly after; the critical path does not wait for it, because
    /// the register and not the journal is what decides.
    pub fn append(&self, pair: &PairId, epoch: Epoch, operation: Option<OperationId>, fact: Fact) {
        if let Some(onlooker) = self.0.onlooker.get() {
            onlooker.noted(pair, operation.as_ref(), &fact);
        }
        let mut content = self.content();
        content.seq += 1;
        let seq = content.seq;
        let at_ms = self.0.clock.wall_ms();
        let pair = pair.clone();
        content.entries.push(JournalEntry { seq, at_ms, pair, epoch, operation, fact }.into());
        if content.entries.len() > ENTRIES_MAX {
            let dropped = content.entries.remove(0);
            tracing::error!(
                seq = dropped.seq(),
                "the journal is full: its oldest entry is dropped"
            );
        }
        drop(content);
        self.0.changed.send_replace(seq);
    }

    /// Newest sequence number.
    pub fn seq(&self) -> u64 {
        self.content().seq
    }

    /// Up to `limit` entries after `after`, oldest first.
    pub fn after(&self, after: u64, limit: usize) -> Vec<Heard<JournalEntry>> {
        let content = self.content();
        let later = content.entries.iter().filter(|entry| entry.seq() > Some(after));
        later.take(limit).cloned().collect()
    }

    /// The core has everything up to `seq`.
    pub fn acknowledged(&self, seq: u64) {
        let mut content = self.content();
        content.entries.retain(|entry| entry.seq() > Some(seq));
        drop(content);
        self.0.changed.send_modify(|_| {});
    }

    /// Changes whenever an entry is added or forgotten.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }
}

/// An entry without a number can be neither sent nor acknowledged.
fn is_numbered(entry: &Heard<JournalEntry>) -> bool {
    if let (Heard::Other(Other { value, problem }), None) = (entry, entry.seq()) {
        tracing::error!(code = NOT_UNDERSTOOD, problem, %value, "an entry of the journal is dropped");
    }
    entry.seq().is_some()
}

async fn write_behind(
    inner: std::sync::Weak<Inner>,
    disk: SharedDisk,
    mut watcher: watch::Receiver<u64>,
) {
    while watcher.changed().await.is_ok() {
        let Some(inner) = inner.upgrade() else { return };
        let content = {
            let mut content = inner.content.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(room) = disk.room() {
                content.shrink_to(room / JOURNAL_SHARE);
            }
            content.clone()
        };
        drop(inner);
        if let Err(error) = disk::write_json(disk.as_ref(), FILE, &content).await {
            tracing::error!(%error, "the journal could not be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use continuum_runtime::BootClock;
    use continuum_runtime::disk::FsDisk;

    #[tokio::test]
    async fn entries_survive_until_acknowledged() {
        let directory = tempfile::tempdir().unwrap();
        let disk: SharedDisk = Arc::new(FsDisk::open(directory.path()).unwrap());
        let pair = PairId::new("app").unwrap();
        let journal = Journal::open(disk.clone(), Arc::new(BootClock)).await.unwrap();
        for _ in 0..3 {
            journal.append(&pair, Epoch(1), None, Fact::Released { reason: "test".into() });
        }
        journal.acknowledged(1);
        assert_eq!(journal.after(0, 10).len(), 2);
        let written = async || -> Option<Content> {
            disk::read_json(disk.as_ref(), FILE).await.ok().flatten()
        };
        while written().await.is_none_or(|content| content.entries.len() != 2) {
            tokio::task::yield_now().await;
        }
        let again = Journal::open(disk, Arc::new(BootClock)).await.unwrap();
        assert_eq!(again.seq(), 3);
        assert_eq!(again.after(2, 10).len(), 1);
    }

    #[test]
    fn a_journal_that_has_little_room_keeps_its_newest_entries() {
        let entry = |seq: u64| {
            let pair = PairId::new("app").unwrap();
            let fact = Fact::Released { reason: "r".repeat(100) };
            JournalEntry { seq, at_ms: 1, pair, epoch: Epoch(1), operation: None, fact }.into()
        };
        let mut content = Content { seq: 50, entries: (1..=50).map(entry).collect() };
        content.shrink_to(4_000);
        assert!(serde_json::to_vec_pretty(&content).unwrap().len() <= 4_000);
        assert_eq!(content.entries.last().unwrap().seq(), Some(50));
        let kept = content.entries.len();
        assert!((5..50).contains(&kept), "{kept}");
        content.shrink_to(1_000_000);
        assert_eq!(content.entries.len(), kept);
    }

    #[tokio::test]
    async fn what_a_newer_agent_noted_is_kept_and_sent_as_it_stands() {
        let directory = tempfile::tempdir().unwrap();
        let disk: SharedDisk = Arc::new(FsDisk::open(directory.path()).unwrap());
        let newer = serde_json::json!({
            "seq": 4, "at_ms": 1, "pair": "app", "epoch": 2, "operation": null,
            "fact": { "fact": "teleported", "to": "mars" }, "signed_by": "me",
        });
        let file = serde_json::json!({ "seq": 4, "entries": [{ "no": "number" }, newer] });
        disk::write_json(disk.as_ref(), FILE, &file).await.unwrap();
        let journal = Journal::open(disk.clone(), Arc::new(BootClock)).await.unwrap();
        let pair = PairId::new("app").unwrap();
        journal.append(&pair, Epoch(2), None, Fact::Released { reason: "test".into() });
        let entries = journal.after(0, 10);
        assert_eq!(entries.iter().map(Heard::seq).collect::<Vec<_>>(), [Some(4), Some(5)]);
        assert_eq!(serde_json::to_value(&entries[0]).unwrap(), newer);
        journal.acknowledged(4);
        assert_eq!(journal.after(0, 10).len(), 1);
    }
}
