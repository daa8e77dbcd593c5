//! The log as openraft sees it: entries in memory, every change handed to the writer in order.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use continuum_runtime::seed;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{OptionalSend, RaftTypeConfig};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::disk::{DiskLock, SharedDisk};
use super::recovery;
use super::segment::{self, SEGMENT_BYTES_MAX};
use super::types::{Entry, LogId, TypeConfig, Vote};
use super::vote_file::VoteFile;
use super::writer::{Encoded, QUEUE_MAX, Request, Writer};

struct Memory {
    entries: BTreeMap<u64, Entry>,
    purged: Option<LogId>,
    committed: Option<LogId>,
    vote: Option<Vote>,
}

/// The durable Raft log of one node.
///
/// A control-plane log is short between snapshots, so all of it is kept in memory and the disk is
/// only read at start.
pub struct LogStore {
    memory: Arc<Mutex<Memory>>,
    writer: mpsc::Sender<Request>,
}

/// Reads the log beside its owner.
#[derive(Clone)]
pub struct LogReader(Arc<Mutex<Memory>>);

fn locked(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    // Every critical section leaves the maps whole, whatever panicked elsewhere.
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LogStore {
    /// Opens the log on `disk`, which the caller has locked. The task that is returned ends once
    /// the store is dropped and the last write is done; it holds the lock until then.
    pub async fn open(disk: SharedDisk, lock: DiskLock) -> io::Result<(Self, JoinHandle<()>)> {
        Self::open_with_segments(disk, lock, SEGMENT_BYTES_MAX).await
    }

    /// The same, with a new segment begun once one is larger than `segment_bytes`.
    pub async fn open_with_segments(
        disk: SharedDisk,
        lock: DiskLock,
        segment_bytes: u64,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let vote_file = VoteFile::open(&disk).await?;
        let found = recovery::recover(&disk).await?;
        let memory = Memory {
            entries: found.entries,
            purged: found.marks.purged,
            committed: found.marks.committed,
            vote: vote_file.vote(),
        };
        let (sender, requests) = mpsc::channel(QUEUE_MAX);
        let writer = Writer {
            disk,
            marks: found.marks,
            closed: found.closed,
            active: found.active,
            vote: vote_file,
            lock,
            segment_bytes,
        };
        let task = seed::spawn(writer.run(requests));
        Ok((Self { memory: Arc::new(Mutex::new(memory)), writer: sender }, task))
    }

    /// Index of the last entry that is here; 0 when there is none.
    pub fn end(&self) -> u64 {
        let memory = locked(&self.memory);
        let last = memory.entries.last_key_value().map(|(index, _)| *index);
        last.or(memory.purged.map(|id| id.index)).unwrap_or(0)
    }

    /// Whether nothing was ever written: no entry, no snapshot, no vote.
    pub fn is_fresh(&self) -> bool {
        let memory = locked(&self.memory);
        memory.entries.is_empty() && memory.purged.is_none() && memory.vote.is_none()
    }

    async fn send(&self, request: Request) -> io::Result<()> {
        self.writer.send(request).await.map_err(|_| stopped())
    }

    async fn call(
        &self,
        request: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Request,
    ) -> io::Result<()> {
        let (done, result) = oneshot::channel();
        self.send(request(done)).await?;
        result.await.map_err(|_| stopped())?
    }
}

fn stopped() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the log writer has stopped")
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        Ok(locked(&self.0).entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(locked(&self.0).vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let memory = locked(&self.memory);
        let last = memory.entries.last_key_value().map(|(_, entry)| entry.log_id);
        Ok(LogState { last_purged_log_id: memory.purged, last_log_id: last.or(memory.purged) })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader(self.memory.clone())
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = *vote;
        self.call(|done| Request::Vote { vote, done }).await?;
        locked(&self.memory).vote = Some(vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        locked(&self.memory).committed = committed;
        // Not awaited: it would add a sync in progress to every commit, and losing the hint in a
        // power loss only means to learn it again from the leader.
        self.send(Request::Committed(committed)).await
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(locked(&self.memory).committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = <TypeConfig as RaftTypeConfig>::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut encoded = Vec::new();
        let mut readable = Vec::new();
        for entry in entries {
            encoded.push(Encoded { log_id: entry.log_id, payload: segment::encode_entry(&entry)? });
            readable.push((entry.log_id.index, entry));
        }
        locked(&self.memory).entries.extend(readable);
        self.send(Request::Append { entries: encoded, done: callback }).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let left = {
            let mut memory = locked(&self.memory);
            memory.entries.split_off(&last.map_or(0, |id| id.index + 1));
            // Nothing may be left but what a snapshot covers.
            memory.entries.last_key_value().map(|(_, entry)| entry.log_id).or(memory.purged)
        };
        self.call(|done| Request::Truncate { last: left, done }).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        {
            let mut memory = locked(&self.memory);
            memory.entries = memory.entries.split_off(&(upto.index + 1));
            memory.purged = memory.purged.max(Some(upto));
        }
        self.call(|done| Request::Purge { upto, done }).await
    }
}

impl Debug for LogStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let memory = locked(&self.memory);
        f.debug_struct("LogStore")
            .field("entries", &memory.entries.len())
            .field("purged", &memory.purged)
            .field("vote", &memory.vote)
            .finish_non_exhaustive()
    }
}
