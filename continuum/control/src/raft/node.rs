//! One control node: the handle everything above uses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use continuum_runtime::clock::SharedClock;
use continuum_runtime::net::SharedNetwork;
use continuum_runtime::seed;
use openraft::async_runtime::WatchReceiver;
use openraft::{Config, SnapshotPolicy};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::disk::{FsDisk, SharedDisk};
use super::error::{ProposeError, StartError};
use super::founding::{self, Standing};
use super::frame::Kind;
use super::inbox::Inbox;
use super::leadership::{self, Heard, Leadership};
use super::log_store::LogStore;
use super::machine_store::MachineStore;
use super::network::Peers;
use super::rounds::Rounds;
use super::types::{CommandText, Member, ReplyText, TypeConfig};
use super::{COMMAND_BYTES_MAX, Machine};

/// openraft as instantiated here.
pub(super) type Raft<M> = openraft::Raft<TypeConfig, MachineStore<M>>;

/// How long the last writes may take when a node shuts down.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How a node is set up.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// This node.
    pub member: Member,
    /// Where log, vote and snapshot are kept; used by one process only.
    pub data_directory: PathBuf,
    /// All members of a cluster that begins, this node included, the same list on each of them.
    /// Ignored once this node has a log. Empty for a node that is to be added to a cluster.
    pub peers: Vec<Member>,
    /// Timings and sizes.
    pub timings: Timings,
}

/// Timings and sizes of a node; all members should have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// How often a leader shows that it is there; also the budget of one replication call.
    pub heartbeat: Duration,
    /// The shortest silence after which a follower campaigns.
    pub election_min: Duration,
    /// The longest, and how long a leader may rely on the last answer of a quorum.
    pub election_max: Duration,
    /// How long a proposal or a linearizable read may take.
    pub propose: Duration,
    /// How long a change of members may take, catching up included.
    pub membership: Duration,
    /// How long sending a snapshot may take.
    pub snapshot_send: Duration,
    /// Applied entries between two snapshots.
    pub snapshot_every: u64,
    /// Entries kept in the log although a snapshot covers them, for followers a little behind.
    pub snapshot_keep: u64,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(150),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(1000),
            propose: Duration::from_secs(5),
            membership: Duration::from_secs(30),
            snapshot_send: Duration::from_secs(60),
            snapshot_every: 2000,
            snapshot_keep: 500,
        }
    }
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Timings {
    fn raft_config(&self) -> Result<Config, StartError> {
        let election_max = milliseconds(self.election_max);
        let config = Config {
            cluster_name: "continuum".to_owned(),
            heartbeat_interval: milliseconds(self.heartbeat),
            election_timeout_min: milliseconds(self.election_min),
            election_timeout_max: election_max,
            install_snapshot_timeout: milliseconds(self.snapshot_send),
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_every),
            max_in_snapshot_log_to_keep: self.snapshot_keep,
            purge_batch_size: (self.snapshot_keep / 2).max(1),
            replication_lag_threshold: self.snapshot_every.saturating_mul(2).max(1000),
            enable_pre_vote: Some(true),
            // A leader whose heartbeats arrive but whose answers are lost would otherwise keep
            // everybody from electing one that works.
            quorum_loss_probe_interval: Some(election_max.saturating_mul(5) / 2),
            // A follower that lost its disk begins anew under its id; it does not vote until it
            // has caught up (see `founding`), so the leader may start over with it.
            allow_log_reversion: Some(true),
            // Replicate while the local sync is still running.
            broadcast_submitted_on_append: Some(true),
            ..Config::default()
        };
        config.validate().map_err(|error| StartError::Config(error.to_string()))
    }
}

impl NodeConfig {
    /// The peers by id, after checking that the list makes sense.
    fn peers_by_id(&self) -> Result<BTreeMap<u64, Member>, StartError> {
        let refuse = |text: String| Err(StartError::Config(text));
        let peers: BTreeMap<u64, Member> =
            self.peers.iter().map(|member| (member.id, member.clone())).collect();
        let names: BTreeSet<&str> = self.peers.iter().map(|member| member.name.as_str()).collect();
        if peers.len() != self.peers.len() || names.len() != self.peers.len() {
            return refuse("two peers share an id or a name".to_owned());
        }
        match peers.get(&self.member.id) {
            Some(listed) if *listed != self.member => {
                refuse(format!("the peers list {listed} where this node is {}", self.member))
            }
            None if !peers.is_empty() => {
                refuse(format!("this node, {}, is not among its peers", self.member))
            }
            Some(_) | None => Ok(peers),
        }
    }
}

/// A running control node. Clones are handles to the same node.
pub struct Node<M: Machine> {
    inner: Arc<Inner<M>>,
}

impl<M: Machine> Clone for Node<M> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<M: Machine> fmt::Debug for Node<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("member", &self.inner.member).finish_non_exhaustive()
    }
}

struct Inner<M: Machine> {
    member: Member,
    timings: Timings,
    raft: Raft<M>,
    store: MachineStore<M>,
    standing: Arc<Standing>,
    peers: Peers,
    inbox: Mutex<Inbox>,
    /// Index of the last entry in the log when this process began.
    log_end_at_start: u64,
    rounds: Rounds,
    leadership: watch::Receiver<Leadership>,
    heard: Heard,
    tasks: Vec<JoinHandle<()>>,
    writer: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl<M: Machine> Drop for Inner<M> {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl<M: Machine> Node<M> {
    /// Starts a node on its data directory. It returns as soon as the node is ready to serve
    /// frames, before it knows of any leader.
    pub async fn start(
        config: NodeConfig,
        network: SharedNetwork,
        clock: SharedClock,
    ) -> Result<Self, StartError> {
        let disk = Arc::new(FsDisk::open(&config.data_directory)?);
        Self::start_on(config, disk, network, clock).await
    }

    /// Starts a node on a disk of the caller's choice; the data directory is not looked at.
    pub async fn start_on(
        config: NodeConfig,
        disk: SharedDisk,
        network: SharedNetwork,
        clock: SharedClock,
    ) -> Result<Self, StartError> {
        let peers_by_id = config.peers_by_id()?;
        let raft_config = Arc::new(config.timings.raft_config()?);
        let id = config.member.id;
        let lock = disk.lock().await?;
        let store = MachineStore::<M>::open(disk.clone()).await?;
        let (log, writer) = LogStore::open(disk.clone(), lock).await?;
        let log_end_at_start = log.end();
        let standing = Arc::new(Standing::open(disk, id, log.is_fresh()).await?);
        let peers = Peers::new(id, network);
        let raft = Raft::<M>::new(id, raft_config, peers.clone(), log, store.clone())
            .await
            .map_err(|fatal| StartError::Raft(fatal.to_string()))?;
        raft.runtime_config().elect(standing.is_inside());
        let heard = Heard::new(clock);
        let (follow, leadership) =
            leadership::follow(id, raft.metrics(), &config.timings, heard.clone());
        let found = founding::found(raft.clone(), standing.clone(), peers.clone(), id, peers_by_id);
        let inner = Inner {
            member: config.member,
            timings: config.timings,
            raft,
            store,
            standing,
            peers,
            inbox: Mutex::default(),
            log_end_at_start,
            rounds: Rounds::default(),
            leadership,
            heard,
            tasks: vec![seed::spawn(follow), seed::spawn(found)],
            writer: tokio::sync::Mutex::new(Some(writer)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// This node's id.
    pub fn id(&self) -> u64 {
        self.inner.member.id
    }

    /// This node as it was configured.
    pub fn member(&self) -> &Member {
        &self.inner.member
    }

    /// Replicates a command and returns what [`Machine::apply`] made of it.
    pub async fn propose(&self, command: M::Command) -> Result<M::Reply, ProposeError> {
        let refuse = |error: serde_json::Error| ProposeError::Refused(error.to_string());
        let text = serde_json::to_string(&command).map_err(refuse)?;
        if text.len() > COMMAND_BYTES_MAX {
            let text = format!("the command has {} bytes, {COMMAND_BYTES_MAX} at most", text.len());
            return Err(ProposeError::Refused(text));
        }
        let limit = self.inner.timings.propose;
        let Ok(written) = tokio::time::timeout(limit, self.write(CommandText(text))).await else {
            let text = format!("the command was not committed within {limit:?}; it still may be");
            return Err(ProposeError::Indeterminate(text));
        };
        serde_json::from_str(&written?.0).map_err(|error| {
            ProposeError::Indeterminate(format!("applied, but the reply is unreadable: {error}"))
        })
    }

    async fn write(&self, command: CommandText) -> Result<ReplyText, ProposeError> {
        let first = self.raft().client_write(command.clone()).await.map_err(ProposeError::from);
        match first {
            // A leader just elected takes nothing until a quorum has answered a heartbeat, and
            // nothing was proposed, so it may be tried once more.
            Err(error) if error.lacks_quorum() => {
                let mut leadership = self.leadership();
                let ready = leadership.wait_for(|now| now.i_lead);
                if tokio::time::timeout(self.inner.timings.election_max, ready).await.is_err() {
                    return Err(error);
                }
                Ok(self.raft().client_write(command).await?.data)
            }
            first => Ok(first?.data),
        }
    }

    /// Returns once this node has applied everything that was committed when the call began: what
    /// [`Node::read`] shows afterwards is not older than the call. Works on followers too.
    pub async fn linearizable(&self) -> Result<(), ProposeError> {
        let limit = self.inner.timings.propose;
        let work = async {
            let index = match self.read_index().await {
                Err(ProposeError::NotLeader { leader: Some(leader) }) if leader.id != self.id() => {
                    let peer = self.inner.peers.get(&leader);
                    peer.ask::<(), u64>(Kind::ReadIndex, &(), limit).await.map_err(|error| {
                        ProposeError::Unavailable(format!("{leader} was asked: {error}"))
                    })?
                }
                other => other?,
            };
            let mut applied = self.watch_applied();
            let reached = applied.wait_for(|applied| *applied >= index).await;
            reached.map_err(|_| ProposeError::Unavailable("the node has stopped".to_owned()))?;
            Ok(())
        };
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            Err(ProposeError::Unavailable(format!("no answer of a quorum within {limit:?}")))
        })
    }

    /// Looks at the state as this node has applied it so far, which may be behind the cluster.
    /// Nothing is applied meanwhile: look, copy, and return.
    pub fn read<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        self.inner.store.read(look)
    }

    /// Follows the log position of the last applied entry.
    pub fn watch_applied(&self) -> watch::Receiver<u64> {
        self.inner.store.watch_applied()
    }

    pub(super) fn log_end_at_start(&self) -> u64 {
        self.inner.log_end_at_start
    }

    /// When a leader was heard last.
    pub(super) fn heard(&self) -> &Heard {
        &self.inner.heard
    }

    /// Follows who leads.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// Why the node has stopped by itself, if it has: a failed write, damaged data, a command it
    /// cannot read. It does nothing any more then; start a new process.
    pub fn failure(&self) -> Option<String> {
        let metrics = self.raft().metrics();
        let state = metrics.borrow_watched().running_state.clone();
        state.err().map(|fatal| fatal.to_string())
    }

    /// Takes a snapshot now.
    pub async fn snapshot(&self) -> Result<(), ProposeError> {
        let asked = self.raft().trigger().snapshot().await;
        asked.map_err(|fatal| ProposeError::Unavailable(fatal.to_string()))
    }

    /// Stops the node and returns once its last write is durable and its disk is free. Dropping
    /// all handles instead leaves the node running until its runtime ends.
    pub async fn shutdown(&self) {
        for task in &self.inner.tasks {
            task.abort();
        }
        if let Err(error) = self.raft().shutdown().await {
            tracing::warn!(%error, "the Raft core did not stop in good order");
        }
        if let Some(writer) = self.inner.writer.lock().await.take()
            && tokio::time::timeout(CLOSE_TIMEOUT, writer).await.is_err()
        {
            tracing::warn!("the log was not closed within {CLOSE_TIMEOUT:?}");
        }
    }

    pub(super) fn raft(&self) -> &Raft<M> {
        &self.inner.raft
    }

    pub(super) fn timings(&self) -> &Timings {
        &self.inner.timings
    }

    pub(super) fn rounds(&self) -> &Rounds {
        &self.inner.rounds
    }

    pub(super) fn standing(&self) -> &Standing {
        &self.inner.standing
    }

    pub(super) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inner.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
