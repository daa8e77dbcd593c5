//! The replicated state as openraft sees it: in memory, rebuilt from snapshot and log at start.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use tokio::sync::{Mutex, watch};

use super::Machine;
use super::disk::SharedDisk;
use super::snapshot;
use super::types::{
    CommandText, Entry, LogId, ReplyText, Snapshot, SnapshotMeta, StoredMembership, TypeConfig,
};

struct Applied<M> {
    machine: M,
    last: Option<LogId>,
    membership: StoredMembership,
}

/// Applies committed entries to a [`Machine`] and keeps its snapshot file.
pub struct MachineStore<M> {
    applied: Arc<RwLock<Applied<M>>>,
    index: Arc<watch::Sender<u64>>,
    disk: SharedDisk,
    /// Position of the snapshot on disk; held while one is written, because a build and an
    /// installation may overlap and the older must not replace the newer.
    on_disk: Arc<Mutex<Option<LogId>>>,
}

impl<M> Clone for MachineStore<M> {
    fn clone(&self) -> Self {
        Self {
            applied: self.applied.clone(),
            index: self.index.clone(),
            disk: self.disk.clone(),
            on_disk: self.on_disk.clone(),
        }
    }
}

fn decode<M: Machine>(data: &[u8]) -> io::Result<M> {
    serde_json::from_slice(data).map_err(|error| {
        let text = format!("the snapshot's state cannot be read by this version: {error}");
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

impl<M: Machine> MachineStore<M> {
    /// Loads the snapshot on `disk`, or begins with the default state.
    pub async fn open(disk: SharedDisk) -> io::Result<Self> {
        let found = snapshot::read(&disk).await?;
        let applied = match found {
            Some(Snapshot { meta, snapshot }) => Applied {
                machine: decode(&snapshot)?,
                last: meta.last_log_id,
                membership: meta.last_membership,
            },
            None => Applied {
                machine: M::default(),
                last: None,
                membership: StoredMembership::default(),
            },
        };
        let last = applied.last;
        Ok(Self {
            applied: Arc::new(RwLock::new(applied)),
            index: Arc::new(watch::Sender::new(last.map_or(0, |id| id.index))),
            disk,
            on_disk: Arc::new(Mutex::new(last)),
        })
    }

    /// Looks at the state as applied so far.
    pub fn read<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        look(&self.applied.read().unwrap_or_else(PoisonError::into_inner).machine)
    }

    /// Follows the index of the last applied entry.
    pub fn watch_applied(&self) -> watch::Receiver<u64> {
        self.index.subscribe()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Applied<M>) -> T) -> T {
        // A panic inside `apply` stops the node; it never serves or writes again.
        change(&mut self.applied.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn apply_entry(&self, entry: Entry) -> io::Result<ReplyText> {
        let log_id = entry.log_id;
        let reply = match entry.payload {
            EntryPayload::Blank => {
                self.change(|applied| applied.last = Some(log_id));
                ReplyText::default()
            }
            EntryPayload::Membership(membership) => {
                let stored = StoredMembership::new(Some(log_id), membership);
                self.change(|applied| {
                    applied.last = Some(log_id);
                    applied.membership = stored;
                });
                ReplyText::default()
            }
            EntryPayload::Normal(CommandText(text)) => {
                let command: M::Command = serde_json::from_str(&text).map_err(|error| {
                    // Skipping it would let this node's state differ from the others'.
                    let text = format!(
                        "entry {} holds a command this version cannot read: {error}; \
                         upgrade this node",
                        log_id.index
                    );
                    io::Error::new(io::ErrorKind::InvalidData, text)
                })?;
                let reply = self.change(|applied| {
                    applied.last = Some(log_id);
                    applied.machine.apply(log_id.index, command)
                });
                ReplyText(serde_json::to_string(&reply).map_err(io::Error::other)?)
            }
        };
        self.index.send_replace(log_id.index);
        Ok(reply)
    }

    async fn keep(&self, meta: &SnapshotMeta, data: &[u8]) -> io::Result<()> {
        let mut on_disk = self.on_disk.lock().await;
        if on_disk.is_none() || *on_disk < meta.last_log_id {
            snapshot::write(&self.disk, meta, data).await?;
            *on_disk = meta.last_log_id;
        }
        Ok(())
    }
}

impl<M: Machine> RaftStateMachine<TypeConfig> for MachineStore<M> {
    type SnapshotData = Vec<u8>;
    type SnapshotBuilder = SnapshotBuilder<M>;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok(self.change(|applied| (applied.last, applied.membership.clone())))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let reply = self.apply_entry(entry)?;
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        // Copying takes a while: whoever reads goes on meanwhile.
        let applied = self.applied.read().unwrap_or_else(PoisonError::into_inner);
        let (machine, last) = (applied.machine.clone(), applied.last);
        let membership = applied.membership.clone();
        SnapshotBuilder { machine, last, membership, store: self.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: Vec<u8>) -> io::Result<()> {
        let machine = decode(&data)?;
        self.keep(meta, &data).await?;
        self.change(|applied| {
            *applied = Applied {
                machine,
                last: meta.last_log_id,
                membership: meta.last_membership.clone(),
            };
        });
        self.index.send_replace(meta.last_log_id.map_or(0, |id| id.index));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        snapshot::read(&self.disk).await
    }
}

/// The state at one position, on its way to the snapshot file.
pub struct SnapshotBuilder<M> {
    machine: M,
    last: Option<LogId>,
    membership: StoredMembership,
    store: MachineStore<M>,
}

impl<M: Machine> RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder<M> {
    type SnapshotData = Vec<u8>;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let meta =
            SnapshotMeta { last_log_id: self.last, last_membership: self.membership.clone() };
        let data = serde_json::to_vec(&self.machine).map_err(io::Error::other)?;
        self.store.keep(&meta, &data).await?;
        Ok(Snapshot { meta, snapshot: data })
    }
}
