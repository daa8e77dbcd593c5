//! The one task that writes log and vote.
//!
//! Requests arrive in order and are carried out in order. Whatever has piled up while the last
//! sync ran is written together and covered by one sync. After the first error nothing is written
//! any more: the state of the file is unknown then, and a later sync that "works" proves nothing.

use std::io;

use continuum_domain::mutation::{Bug, planted};

use openraft::storage::IOFlushed;
use tokio::sync::{mpsc, oneshot};

use super::disk::{DiskLock, SharedDisk};
use super::record::{self, Kind};
use super::recovery::{self, Active, Closed};
use super::segment::{self, Marks};
use super::types::{LogId, TypeConfig, Vote};
use super::vote_file::VoteFile;

/// Requests that wait for the writer; senders wait beyond that.
pub(super) const QUEUE_MAX: usize = 1024;
/// Requests covered by one sync.
const BATCH_MAX: usize = 256;

type Done = oneshot::Sender<io::Result<()>>;

/// An encoded entry with its position.
pub(super) struct Encoded {
    pub log_id: LogId,
    pub payload: Vec<u8>,
}

/// What the writer is asked to do.
pub(super) enum Request {
    Append {
        entries: Vec<Encoded>,
        done: IOFlushed<TypeConfig>,
    },
    Truncate {
        last: Option<LogId>,
        done: Done,
    },
    Purge {
        upto: LogId,
        done: Done,
    },
    /// A hint that needs no sync of its own: after a crash the cluster tells again.
    Committed(Option<LogId>),
    Vote {
        vote: Vote,
        done: Done,
    },
}

enum Waiting {
    Append(IOFlushed<TypeConfig>),
    Other(Done),
}

impl Waiting {
    fn tell(self, result: &Result<(), String>) {
        let result = result.clone().map_err(io::Error::other);
        match self {
            Waiting::Append(done) => done.io_completed(result),
            Waiting::Other(done) => {
                if done.send(result).is_err() {
                    tracing::debug!("nobody waits for a completed write any more");
                }
            }
        }
    }
}

/// The writer's own view of the files.
pub(super) struct Writer {
    pub disk: SharedDisk,
    pub marks: Marks,
    pub closed: Vec<Closed>,
    pub active: Active,
    pub vote: VoteFile,
    /// Held until the last write is done.
    pub lock: DiskLock,
    /// A segment that has grown larger is closed.
    pub segment_bytes: u64,
}

#[derive(Default)]
struct Batch {
    records: Vec<(Kind, Vec<u8>)>,
    bytes: u64,
    waiting: Vec<Waiting>,
    purged: bool,
    must_sync: bool,
}

impl Batch {
    fn push(&mut self, kind: Kind, payload: Vec<u8>) {
        let length = payload.len() + record::HEADER_BYTES;
        self.bytes = self.bytes.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        self.records.push((kind, payload));
    }
}

impl Writer {
    /// Serves requests until every sender is gone, then seals the log and frees the disk.
    pub async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut failed: Option<String> = None;
        while let Some(first) = requests.recv().await {
            let mut queue = vec![first];
            while queue.len() < BATCH_MAX
                && let Ok(next) = requests.try_recv()
            {
                queue.push(next);
            }
            if let Some(text) = &failed {
                refuse(queue, text);
            } else if let Err(error) = self.serve(queue).await {
                tracing::error!(%error, "a write failed; this control node stops");
                failed = Some(format!("an earlier write failed, the log is closed: {error}"));
            }
        }
        if failed.is_none()
            && let Err(error) = self.seal().await
        {
            tracing::warn!(%error, "the log was not sealed");
        }
        drop(self.lock);
    }

    async fn serve(&mut self, queue: Vec<Request>) -> io::Result<()> {
        let mut batch = Batch::default();
        let mut queue = queue.into_iter();
        while let Some(request) = queue.next() {
            let Request::Vote { vote, done } = request else {
                self.add(&mut batch, request);
                continue;
            };
            // Log and vote never overtake each other.
            let result = match self.flush(std::mem::take(&mut batch)).await {
                Ok(()) => self.save_vote(vote, done).await,
                Err(error) => {
                    Waiting::Other(done).tell(&Err(error.to_string()));
                    Err(error)
                }
            };
            if let Err(error) = result {
                refuse(queue.collect(), &error.to_string());
                return Err(error);
            }
        }
        self.flush(batch).await
    }

    fn add(&mut self, batch: &mut Batch, request: Request) {
        match request {
            Request::Append { entries, done } => {
                for entry in entries {
                    let highest = self.active.highest;
                    self.active.highest = highest.max(Some(entry.log_id.index));
                    self.marks.last = Some(entry.log_id);
                    batch.push(Kind::Entry, entry.payload);
                }
                batch.must_sync = true;
                batch.waiting.push(Waiting::Append(done));
            }
            Request::Truncate { last, done } => {
                self.marks.last = last;
                batch.push(Kind::Truncate, segment::encode_mark(last));
                batch.must_sync = true;
                batch.waiting.push(Waiting::Other(done));
            }
            Request::Purge { upto, done } => {
                self.marks.purge(upto);
                batch.push(Kind::Purge, segment::encode_mark(Some(upto)));
                batch.must_sync = true;
                batch.purged = true;
                batch.waiting.push(Waiting::Other(done));
            }
            Request::Committed(committed) => {
                self.marks.committed = committed;
                batch.push(Kind::Committed, segment::encode_mark(committed));
            }
            Request::Vote { done, .. } => batch.waiting.push(Waiting::Other(done)),
        }
    }

    /// Writes a batch, syncs it if anybody waits for that, and tells everybody.
    async fn flush(&mut self, batch: Batch) -> io::Result<()> {
        let purged = batch.purged;
        let mut result = self.write(&batch).await;
        if result.is_ok() && purged {
            result = self.remove_purged().await;
        }
        let told = result.as_ref().map_err(ToString::to_string).copied();
        for waiting in batch.waiting {
            waiting.tell(&told);
        }
        if result.is_ok() && self.active.length > self.segment_bytes {
            result = self.roll().await;
        }
        result
    }

    async fn write(&mut self, batch: &Batch) -> io::Result<()> {
        if batch.records.is_empty() {
            return Ok(());
        }
        let active = &mut self.active;
        let mut content = Vec::with_capacity(usize::try_from(batch.bytes).unwrap_or(0));
        for (kind, payload) in &batch.records {
            record::encode(&mut content, active.number, active.durable, *kind, payload);
        }
        let length = u64::try_from(content.len()).map_err(io::Error::other)?;
        let sync = batch.must_sync && !planted(Bug::AppendNotSynced);
        active.file.write_at(active.length, content, sync).await?;
        active.length += length;
        if batch.must_sync {
            active.durable = active.length;
        }
        Ok(())
    }

    async fn save_vote(&mut self, vote: Vote, done: Done) -> io::Result<()> {
        let result = self.vote.save(vote).await;
        Waiting::Other(done).tell(&result.as_ref().map_err(ToString::to_string).copied());
        result?;
        self.vote.mirror().await
    }

    /// Closes the active segment and begins the next.
    async fn roll(&mut self) -> io::Result<()> {
        self.seal().await?;
        let next = recovery::create(&self.disk, self.active.number + 1, &self.marks).await?;
        let before = std::mem::replace(&mut self.active, next);
        self.closed.push(Closed { number: before.number, highest: before.highest });
        Ok(())
    }

    async fn seal(&mut self) -> io::Result<()> {
        // The record itself carries the length that is durable only after this first sync.
        let active = &mut self.active;
        active.file.write_at(active.length, Vec::new(), true).await?;
        active.durable = active.length;
        let mut batch = Batch { must_sync: true, ..Batch::default() };
        batch.push(Kind::Seal, Vec::new());
        self.write(&batch).await
    }

    /// Removes closed segments that hold nothing but purged entries, oldest first, so that a crash
    /// never leaves a gap.
    async fn remove_purged(&mut self) -> io::Result<()> {
        let Some(purged) = self.marks.purged else { return Ok(()) };
        while let Some(oldest) = self.closed.first().copied() {
            if oldest.highest.is_some_and(|highest| highest > purged.index) {
                break;
            }
            self.disk.remove(&segment::file_name(oldest.number)).await?;
            self.closed.remove(0);
        }
        Ok(())
    }
}

fn refuse(queue: Vec<Request>, text: &str) {
    let result = Err(text.to_owned());
    for request in queue {
        match request {
            Request::Append { done, .. } => Waiting::Append(done).tell(&result),
            Request::Truncate { done, .. }
            | Request::Purge { done, .. }
            | Request::Vote { done, .. } => Waiting::Other(done).tell(&result),
            Request::Committed(_) => {}
        }
    }
}
