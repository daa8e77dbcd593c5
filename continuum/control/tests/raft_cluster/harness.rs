//! Control nodes in one process, each with a runtime of its own, over mutual TLS on loopback.
//!
//! Dropping a node's runtime stops it wherever it happens to be, as a killed process would.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use continuum_control::raft::{FsDisk, Machine, Member, Node, NodeConfig, ProposeError, Timings};
use continuum_control_api::pb;
use continuum_control_api::pb::core_node_server::{CoreNode, CoreNodeServer};
use continuum_runtime::certificates::Authority;
use continuum_runtime::net::{Caller, Listening, TlsNetwork};
use continuum_runtime::{BootClock, Identity, Role, SharedNetwork, seed};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::{Request, Response, Status};

use super::faults::FaultyDisk;

/// No wait in these tests is longer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A table of numbers; each change is tagged so that doubled or lost changes show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub rows: BTreeMap<String, u64>,
    pub changes: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Change {
    Set { key: String, value: u64 },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change::Set { key, value } = self;
        write!(f, "{key} = {value}")
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before(pub Option<u64>);

impl fmt::Display for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Machine for Table {
    type Command = Change;
    type Reply = Before;
    fn apply(&mut self, _index: u64, Change::Set { key, value }: Change) -> Before {
        self.changes += 1;
        Before(self.rows.insert(key, value))
    }
}

pub struct Service(pub Node<Table>);

#[tonic::async_trait]
impl CoreNode for Service {
    async fn raft(
        &self,
        request: Request<pb::RaftFrame>,
    ) -> Result<Response<pb::RaftFrame>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        self.0.handle_raft(request.into_inner(), caller.as_ref()).await.map(Response::new)
    }

    async fn forward(
        &self,
        _request: Request<pb::ForwardRequest>,
    ) -> Result<Response<pb::ForwardReply>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }
}

/// A running node.
pub struct Running {
    pub runtime: Runtime,
    pub node: Node<Table>,
}

impl Running {
    /// Runs `work` as this process would.
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, work).await.expect("it takes longer than any wait may")
        })
    }

    pub fn set(&self, key: &str, value: u64) -> Result<Before, ProposeError> {
        self.run(self.node.propose(Change::Set { key: key.to_owned(), value }))
    }

    pub fn table(&self) -> Table {
        self.node.read(Table::clone)
    }

    /// Waits until this node has made `changes` changes.
    pub fn wait_for_changes(&self, changes: u64) {
        let mut applied = self.node.watch_applied();
        let enough = |_: &u64| self.node.read(|table| table.changes) >= changes;
        self.run(applied.wait_for(enough)).unwrap();
    }

    /// Waits until this node has stopped by itself.
    pub fn wait_for_stop(&self) {
        let mut leadership = self.node.leadership();
        let stopped = leadership.wait_for(|_| self.node.failure().is_some());
        // The watch also ends when the node does.
        self.run(stopped).map(|_| ()).unwrap_or_default();
    }

    /// Waits until this node knows a leader that `is` right.
    pub fn wait_for_leader(&self, is: impl Fn(&Member) -> bool) -> Member {
        let mut leadership = self.node.leadership();
        let found = self.run(leadership.wait_for(|now| now.leader.as_ref().is_some_and(&is)));
        found.unwrap().leader.clone().unwrap()
    }
}

/// Nodes by id.
pub struct Cluster {
    directory: TempDir,
    authority: Authority,
    pub members: BTreeMap<u64, Member>,
    pub running: BTreeMap<u64, Running>,
    timings: Timings,
    sync_takes: Duration,
    pub failing: BTreeMap<u64, Arc<AtomicBool>>,
}

impl Cluster {
    pub fn empty(timings: Timings, sync_takes: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::create(&directory.path().join("pki")).unwrap();
        let (members, running) = (BTreeMap::new(), BTreeMap::new());
        let failing = BTreeMap::new();
        Self { directory, authority, members, running, timings, sync_takes, failing }
    }

    /// Three nodes that found a cluster, and the leader's id.
    pub fn of_three(timings: Timings) -> (Self, u64) {
        Self::of_three_on_slow_disks(timings, Duration::ZERO)
    }

    /// The same, on disks where every sync takes at least this long.
    pub fn of_three_on_slow_disks(timings: Timings, sync_takes: Duration) -> (Self, u64) {
        let mut cluster = Self::empty(timings, sync_takes);
        let bound: Vec<_> = [1, 2, 3].map(|id| (id, cluster.bind(id))).into();
        let peers: Vec<_> = cluster.members.values().cloned().collect();
        for (id, (runtime, listening, network)) in bound {
            cluster.serve(id, runtime, listening, network, peers.clone());
        }
        let leader = cluster.leader();
        (cluster, leader)
    }

    pub fn network(&self, role: Role, name: &str) -> SharedNetwork {
        let files = self.authority.issue(&Identity::new(role, name)).unwrap();
        Arc::new(TlsNetwork::load(&files).unwrap())
    }

    /// Makes a runtime and a listener for node `id`, on its old port if it had one.
    pub fn bind(&mut self, id: u64) -> (Runtime, Listening, SharedNetwork) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let name = format!("n{id}");
        let network = self.network(Role::Core, &name);
        let address = self.members.get(&id).map_or("127.0.0.1:0", |member| &member.address);
        let listening = runtime.block_on(network.listen(address)).unwrap();
        let address = listening.local.to_string();
        let api_address = format!("api-{name}:443");
        self.members.insert(id, Member { id, name, address, api_address });
        (runtime, listening, network)
    }

    pub fn data_directory(&self, id: u64) -> PathBuf {
        self.directory.path().join(format!("data-{id}"))
    }

    pub fn serve(
        &mut self,
        id: u64,
        runtime: Runtime,
        listening: Listening,
        network: SharedNetwork,
        peers: Vec<Member>,
    ) {
        let config = NodeConfig {
            member: self.members[&id].clone(),
            data_directory: self.data_directory(id),
            peers,
            timings: self.timings,
        };
        let failing = Arc::<AtomicBool>::default();
        self.failing.insert(id, failing.clone());
        let disk = FsDisk::open(&config.data_directory).unwrap();
        let disk = Arc::new(FaultyDisk { disk, sync_takes: self.sync_takes, failing });
        let start = Node::<Table>::start_on(config, disk, network, Arc::new(BootClock));
        let node = runtime.block_on(start).unwrap();
        let service = CoreNodeServer::new(Service(node.clone()));
        let server = tonic::transport::Server::builder().add_service(service);
        let served = async move { server.serve_with_incoming(listening.grpc()).await };
        let inside = runtime.enter();
        seed::spawn(served);
        drop(inside);
        self.running.insert(id, Running { runtime, node });
    }

    /// Starts node `id` again (or for the first time) with the same peers as the others.
    pub fn start(&mut self, id: u64) {
        let (runtime, listening, network) = self.bind(id);
        let peers = self.members.values().cloned().collect();
        self.serve(id, runtime, listening, network, peers);
    }

    /// Starts a node that nobody knows yet.
    pub fn start_newcomer(&mut self, id: u64) -> Member {
        let (runtime, listening, network) = self.bind(id);
        self.serve(id, runtime, listening, network, Vec::new());
        self.members[&id].clone()
    }

    /// Kills a node where it stands.
    pub fn kill(&mut self, id: u64) {
        let Running { runtime, node } = self.running.remove(&id).unwrap();
        drop(node);
        runtime.shutdown_timeout(PATIENCE);
    }

    pub fn wipe(&self, id: u64) {
        std::fs::remove_dir_all(self.data_directory(id)).unwrap();
    }

    pub fn node(&self, id: u64) -> &Running {
        &self.running[&id]
    }

    /// Any running node but `id`.
    pub fn other_than(&self, id: u64) -> u64 {
        *self.running.keys().find(|other| **other != id).unwrap()
    }

    /// Waits until some running node leads and its state is complete.
    pub fn leader(&self) -> u64 {
        let nodes: Vec<_> = self.running.values().map(|running| running.node.clone()).collect();
        let waits = nodes.into_iter().map(|node| {
            Box::pin(async move {
                let mut leadership = node.leadership();
                let led = leadership.wait_for(|now| now.i_lead).await.map(|_| ());
                // A node that stopped never leads.
                match led {
                    Ok(()) => node.id(),
                    Err(_) => std::future::pending().await,
                }
            })
        });
        let any = self.running.values().next().unwrap();
        any.run(async { futures_util::future::select_all(waits).await.0 })
    }
}
