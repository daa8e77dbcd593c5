//! A core of three nodes in one process over real mutual TLS, and scripted agents on its link.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use continuum_control::archive::AuditSettings;
use continuum_control::config::{AccessConfig, CoreConfig, Peer, RaftTiming};
use continuum_control::raft::FsDisk;
use continuum_control::{Edges, Listeners, OwnCells, serve_edges};
use continuum_control_api::client::{ApiClient, ClientError};
use continuum_control_api::link::Dialect;
use continuum_control_api::rest::{ApplyPair, CoreView};
use continuum_domain::PairRecord;
use continuum_domain::spec::{MemberSpec, PairSpec};
use continuum_domain::{PairId, RegionId};
use continuum_runtime::certificates::Authority;
use continuum_runtime::net::{SharedNetwork, TlsFiles, TlsNetwork};
use continuum_runtime::{BootClock, Identity, Role};
use continuum_witness::RegisterStore;
use continuum_witness::memory::MemoryStore;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

pub mod agent;
pub mod collector;
pub mod receivers;

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// How long a call of a cell may take.
pub const CELLS_DEADLINE: Duration = Duration::from_secs(5);

pub fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

pub fn shop() -> PairId {
    PairId::new("shop").unwrap()
}

pub fn spec() -> PairSpec {
    let member =
        MemberSpec { priority: 100, host: "127.0.0.1".into(), port: 5432, health_name: None };
    let members = BTreeMap::from([(region("fsn"), member.clone()), (region("hel"), member)]);
    PairSpec::new(shop(), members, region("fsn"))
}

/// Asks again until the answer is `Some`.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let work = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("never: {what}"))
}

struct Running {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
    cells: OwnCells,
    runtime: NodeRuntime,
}

/// A node's own runtime: without it all of the node stops wherever it happens to be, as a killed process.
struct NodeRuntime(Option<Runtime>);

impl NodeRuntime {
    fn new() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self(Some(runtime.unwrap()))
    }

    fn spawn(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        self.0.as_ref().unwrap().spawn(work)
    }

    /// Returns once nothing of it runs any more.
    async fn kill(mut self) {
        let runtime = self.0.take().unwrap();
        let ended = continuum_runtime::seed::blocking(move || runtime.shutdown_timeout(PATIENCE));
        ended.await.unwrap();
    }
}

impl Drop for NodeRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

pub struct Cluster {
    directory: tempfile::TempDir,
    authority: Authority,
    pub peers: Vec<Peer>,
    running: Mutex<BTreeMap<String, Running>>,
    pub store: Arc<MemoryStore>,
    pub operator: TlsFiles,
    customise: Customise,
}

/// Changes the configuration of every node.
type Customise = Box<dyn Fn(&mut CoreConfig) + Send + Sync>;

impl Cluster {
    /// A request to a node as any HTTP client makes it, under the operator's certificate.
    pub fn http(&self, node: &str, method: &str, path: &str) -> reqwest::RequestBuilder {
        let peer = self.peers.iter().find(|peer| peer.name == node).unwrap();
        let host = Identity::new(Role::Core, &peer.name).dns_name();
        let address: std::net::SocketAddr = peer.api_address.parse().unwrap();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(self.operator.client_config(&[b"h2"]).unwrap())
            .no_proxy()
            .resolve(&host, address)
            .build()
            .unwrap();
        client.request(method.parse().unwrap(), format!("https://{host}:{}{path}", address.port()))
    }

    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With more said about who may call.
    pub async fn start_with_access(access: AccessConfig) -> Self {
        Self::start_with(move |config| config.access = access.clone()).await
    }

    /// With nodes that are configured in another way.
    pub async fn start_with(customise: impl Fn(&mut CoreConfig) + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::create(&directory.path().join("tls")).unwrap();
        let operator = authority.issue(&Identity::new(Role::Operator, "alice")).unwrap();
        let mut bound = Vec::new();
        let mut peers = Vec::new();
        for id in 1..=3u64 {
            let name = format!("c{id}");
            let network = network(&authority, &Identity::new(Role::Core, &name));
            let listeners = Listeners::bind(&network, "127.0.0.1:0", "127.0.0.1:0").await.unwrap();
            let (rpc, api) = listeners.addresses();
            peers.push(Peer { name, id, address: rpc.to_string(), api_address: api.to_string() });
            bound.push((network, listeners));
        }
        let cluster = Self {
            directory,
            authority,
            peers,
            running: Mutex::default(),
            store: Arc::new(MemoryStore::new()),
            operator,
            customise: Box::new(customise),
        };
        for (index, (network, listeners)) in bound.into_iter().enumerate() {
            cluster.run(index, network, listeners);
        }
        cluster
    }

    fn run(&self, index: usize, network: SharedNetwork, listeners: Listeners) {
        let peer = self.peers[index].clone();
        let mut config = config(&peer, &self.peers, self.directory.path());
        (self.customise)(&mut config);
        let (stop, stopping) = oneshot::channel::<()>();
        let register: Arc<dyn RegisterStore> = self.store.clone();
        let cells = OwnCells::new(CELLS_DEADLINE);
        let edges = Edges {
            listeners,
            disk: Arc::new(FsDisk::open(&config.data_directory).unwrap()),
            archive: Arc::new(FsDisk::open(&config.data_directory.join("audit")).unwrap()),
            network,
            clock: Arc::new(BootClock),
            register,
            own_cells: Some(cells.clone()),
            onlooker: None,
            dialect: Dialect::default(),
        };
        let runtime = NodeRuntime::new();
        let task = runtime.spawn(async move {
            let shutdown = async { drop(stopping.await) };
            serve_edges(config, edges, shutdown).await.unwrap();
        });
        self.running.lock().unwrap().insert(peer.name, Running { stop, task, cells, runtime });
    }

    /// Where a node keeps its audit archive.
    pub fn archive(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name).join("audit")
    }

    /// The core's cells as a running node reaches them.
    pub fn own_cells(&self, name: &str) -> OwnCells {
        self.running.lock().unwrap()[name].cells.clone()
    }

    /// Stops a node and waits until it is gone.
    pub async fn stop(&self, name: &str) {
        let running = self.running.lock().unwrap().remove(name).expect("running");
        running.stop.send(()).unwrap();
        running.task.await.unwrap();
    }

    /// Kills a node and returns once nothing of it runs any more.
    pub async fn kill(&self, name: &str) {
        let running = self.running.lock().unwrap().remove(name).expect("running");
        running.runtime.kill().await;
    }

    /// Starts a stopped node again on its data and its old addresses.
    pub async fn restart(&self, name: &str) {
        let index = self.peers.iter().position(|peer| peer.name == name).unwrap();
        let peer = &self.peers[index];
        let network = self.network(&Identity::new(Role::Core, name));
        let listeners = Listeners::bind(&network, &peer.address, &peer.api_address).await.unwrap();
        self.run(index, network, listeners);
    }

    /// A network with a fresh certificate of this cluster's authority.
    pub fn network(&self, identity: &Identity) -> SharedNetwork {
        network(&self.authority, identity)
    }

    pub fn issue(&self, identity: &Identity) -> TlsFiles {
        self.authority.issue(identity).unwrap()
    }

    /// A client of the given nodes.
    pub fn client_of(&self, names: &[&str], files: &TlsFiles) -> ApiClient {
        let endpoints = self
            .peers
            .iter()
            .filter(|peer| names.contains(&peer.name.as_str()))
            .map(|peer| (peer.name.clone(), peer.api_address.clone()))
            .collect();
        ApiClient::new(endpoints, files).unwrap()
    }

    pub fn client(&self) -> ApiClient {
        self.client_of(&["c1", "c2", "c3"], &self.operator)
    }

    /// The core as one of the running nodes sees it, once it has a leader that runs.
    pub async fn leader(&self) -> String {
        let names: Vec<String> = self.running.lock().unwrap().keys().cloned().collect();
        // A control node sees the core whatever is configured for operators.
        let eyes = self.issue(&Identity::new(Role::Core, "onlooker"));
        let clients: Vec<_> = names.iter().map(|name| self.client_of(&[name], &eyes)).collect();
        eventually("a leader all running nodes agree on", || async {
            let mut leaders = Vec::new();
            for client in &clients {
                let view: CoreView = client.core().await.ok()?;
                leaders.push(view.leader?);
            }
            let first = leaders.first()?.clone();
            (names.contains(&first) && leaders.iter().all(|leader| *leader == first))
                .then_some(first)
        })
        .await
    }

    pub async fn apply_spec(&self) {
        self.apply(spec()).await;
    }

    pub async fn apply(&self, spec: PairSpec) {
        let client = self.client();
        let body = ApplyPair { spec, reason: "test".into() };
        eventually("the spec applied", || async {
            match client.apply_pair(&body).await {
                Ok(version) => Some(version),
                Err(ClientError::Problem { problem, .. }) if problem.retryable => None,
                Err(ClientError::Unreachable { .. }) => None,
                Err(error) => panic!("{error}"),
            }
        })
        .await;
    }

    /// The pair's register.
    pub async fn register(&self) -> Option<PairRecord> {
        let found = self.store.read("pair/shop").await.unwrap()?;
        Some(serde_json::from_slice(&found.value).unwrap())
    }
}

fn network(authority: &Authority, identity: &Identity) -> SharedNetwork {
    Arc::new(TlsNetwork::load(&authority.issue(identity).unwrap()).unwrap())
}

fn config(peer: &Peer, peers: &[Peer], directory: &Path) -> CoreConfig {
    CoreConfig {
        name: peer.name.clone(),
        id: peer.id,
        listen_rpc: peer.address.clone(),
        listen_api: peer.api_address.clone(),
        advertise_rpc: None,
        advertise_api: None,
        data_directory: directory.join(&peer.name),
        peers: peers.to_vec(),
        max_failovers_at_once: 2,
        drills: false,
        raft: RaftTiming::default(),
        access: AccessConfig::default(),
        audit: AuditSettings::default(),
        sinks: Vec::new(),
        traces: None,
    }
}
