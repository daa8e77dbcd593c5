//! One connection to the guard: many requests at once, each bounded in time, reconnecting.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use continuum_domain::{Epoch, Generation};
use continuum_runtime::seed;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;

use crate::plane::PlaneError;
use crate::wire::{Command, Outcome, Reply, Request};

/// Longest time for connecting to the guard and for writing one request.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

type Waiting = Arc<Mutex<Option<BTreeMap<u64, oneshot::Sender<Outcome>>>>>;

/// A connection that opens itself when it is needed.
#[derive(Debug)]
pub(crate) struct Link {
    path: PathBuf,
    next_id: AtomicU64,
    open: tokio::sync::Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    write: OwnedWriteHalf,
    /// Requests without an answer yet; `None` once the connection has ended.
    waiting: Waiting,
}

impl Link {
    pub fn new(path: PathBuf) -> Self {
        Self { path, next_id: AtomicU64::new(1), open: tokio::sync::Mutex::new(None) }
    }

    /// Sends a command and waits for its outcome. When the time is over, or the guard is gone, the
    /// command may have been carried out all the same.
    pub async fn call(
        &self,
        what: &'static str,
        generation: Option<Generation>,
        epoch: Option<Epoch>,
        command: Command,
        limit: Duration,
    ) -> Result<Outcome, PlaneError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let request = Request { id, generation, epoch, command };
        let work = async {
            let sent = tokio::time::timeout(CONNECT_LIMIT, self.send(&request)).await;
            let reply = sent.map_err(|_| lost("it does not take requests"))??;
            reply.await.map_err(|_| lost("the connection ended before the answer"))
        };
        match tokio::time::timeout(limit, work).await {
            Ok(result) => result,
            Err(_) => {
                Err(PlaneError::Timeout { what: what.into(), seconds: limit.as_secs().max(1) })
            }
        }
    }

    async fn send(&self, request: &Request) -> Result<oneshot::Receiver<Outcome>, PlaneError> {
        let mut line = serde_json::to_vec(request).map_err(|error| lost(&error.to_string()))?;
        line.push(b'\n');
        let mut slot = self.open.lock().await;
        // Taken out while it is written to: given up half way, the connection is closed, because a
        // torn line would spoil the next one.
        let known = slot.take().and_then(|open| open.expect(request.id).map(|wait| (open, wait)));
        let (mut open, receiver) = match known {
            Some(known) => known,
            None => {
                let fresh = self.connect().await?;
                let receiver = fresh.expect(request.id);
                (fresh, receiver.ok_or_else(|| lost("the connection ended at once"))?)
            }
        };
        open.write.write_all(&line).await.map_err(|error| lost(&error.to_string()))?;
        *slot = Some(open);
        Ok(receiver)
    }

    async fn connect(&self) -> Result<Open, PlaneError> {
        let stream = UnixStream::connect(&self.path)
            .await
            .map_err(|error| lost(&format!("{}: {error}", self.path.display())))?;
        let (read, write) = stream.into_split();
        let waiting: Waiting = Arc::new(Mutex::new(Some(BTreeMap::new())));
        drop(seed::spawn(read_replies(read, waiting.clone())));
        Ok(Open { write, waiting })
    }
}

impl Open {
    /// Registers a request; `None` when the connection has ended.
    fn expect(&self, id: u64) -> Option<oneshot::Receiver<Outcome>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = waiting.as_mut()?;
        // Whoever stopped waiting left its entry behind.
        waiting.retain(|_, sender| !sender.is_closed());
        let (sender, receiver) = oneshot::channel();
        waiting.insert(id, sender);
        Some(receiver)
    }
}

async fn read_replies(read: OwnedReadHalf, waiting: Waiting) {
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(reply) = serde_json::from_str::<Reply>(&line) else { break };
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = waiting.as_mut().and_then(|waiting| waiting.remove(&reply.id)) {
            // Nobody waits any more if its time was over.
            drop(sender.send(reply.outcome));
        }
    }
    // Dropping the senders tells everybody that their answer will not come.
    waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
}

fn lost(reason: &str) -> PlaneError {
    PlaneError::GuardLost(reason.to_owned())
}
