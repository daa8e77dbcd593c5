//! A control node as a whole: what listens, what runs, how it stops.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use continuum_control_api::link::Dialect;
use continuum_control_api::pb::agent_link_server::{AgentLink, AgentLinkServer};
use continuum_control_api::pb::core_node_server::{CoreNode, CoreNodeServer};
use continuum_control_api::pb::{ForwardReply, ForwardRequest, LinkFrame, RaftFrame};
use continuum_domain::operation::Operation;
use continuum_domain::sequence::{CoreEffect, MoveFacts};
use continuum_runtime::clock::SharedClock;
use continuum_runtime::disk::{FsDisk, SharedDisk};
use continuum_runtime::edge::EdgeLayer;
use continuum_runtime::net::{Caller, Listening, SharedNetwork};
use continuum_runtime::seed;
use continuum_runtime::traces::Traces;
use continuum_witness::{RegisterStore, cell_service};
use tokio::sync::{Semaphore, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::api::door::Door;
use crate::api::fanout::Fanout;
use crate::api::{forward, grpc};
use crate::archive::{self, Archive};
use crate::cells::{NodeCells, OwnCells};
use crate::config::{ConfigError, CoreConfig};
use crate::core::Core;
use crate::crash::CrashPoint;
use crate::link;
use crate::metrics::Requests;
use crate::outbox::{self, Outbox};
use crate::raft::{Node, NodeConfig, StartError, Timings};
use crate::{runner, traces};

/// Largest gRPC message: a Raft frame may carry a piece of a snapshot, a forwarded answer a long
/// list.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Dead connections are found after this long.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// Most streams of events that a node keeps open.
pub(crate) const STREAMS_MAX: usize = 2_000;
/// Most exports of the audit chain at once; each holds a piece of the archive in memory.
const EXPORTS_MAX: usize = 4;
/// Below the data directory.
const ARCHIVE: &str = "audit";
/// How the node names itself to a collector of spans.
const SERVICE: &str = "continuum-server";
/// How long the last spans may take to be sent.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// How long open requests may take once the node is told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a control node did not start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration cannot be run.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A crash point is set where it may not be, or is not one.
    #[error("{0}; nothing was started")]
    Drill(String),
    /// An address could not be bound.
    #[error("{key}: {error}; nothing was started")]
    Listen {
        /// The key of the configuration.
        key: &'static str,
        /// Why.
        error: io::Error,
    },
    /// The Raft node could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A server ended by itself, or the node stopped because of damage or a failed write.
    #[error("the control node stopped by itself: {0}; PostgreSQL does not depend on it")]
    Stopped(String),
}

/// Bound listeners of a control node.
pub struct Listeners {
    /// gRPC for control nodes and agents.
    pub rpc: Listening,
    /// REST.
    pub api: Listening,
}

impl Listeners {
    /// Binds both.
    pub async fn bind(network: &SharedNetwork, rpc: &str, api: &str) -> Result<Self, ServeError> {
        let fail = |key| move |error| ServeError::Listen { key, error };
        Ok(Self {
            rpc: network.listen(rpc).await.map_err(fail("listen_rpc"))?,
            api: network.listen_open(api).await.map_err(fail("listen_api"))?,
        })
    }

    /// The addresses that were bound, gRPC first.
    pub fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (self.rpc.local, self.api.local)
    }
}

/// Runs a control node until `shutdown` completes.
pub async fn serve(
    config: CoreConfig,
    network: SharedNetwork,
    clock: SharedClock,
    register: Arc<dyn RegisterStore>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    config.check()?;
    let listeners = Listeners::bind(&network, &config.listen_rpc, &config.listen_api).await?;
    serve_on(config, listeners, network, clock, register, shutdown).await
}

/// The same on listeners that are bound already.
pub async fn serve_on(
    config: CoreConfig,
    listeners: Listeners,
    network: SharedNetwork,
    clock: SharedClock,
    register: Arc<dyn RegisterStore>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    config.check()?;
    let disk = Arc::new(FsDisk::open(&config.data_directory).map_err(StartError::from)?);
    let archive = config.data_directory.join(ARCHIVE);
    let archive = Arc::new(FsDisk::open(&archive).map_err(StartError::from)?);
    let onlooker = None;
    let dialect = Dialect::default();
    let own_cells = None;
    let edges =
        Edges { listeners, disk, archive, network, clock, register, own_cells, onlooker, dialect };
    serve_edges(config, edges, shutdown).await
}

/// Looks on when the sequencer has decided about an operation. It can change nothing.
pub type Onlooker = Arc<dyn Fn(&Operation, &MoveFacts, &[CoreEffect]) + Send + Sync>;

/// Everything a control node touches outside itself.
pub struct Edges {
    /// Where it answers.
    pub listeners: Listeners,
    /// Its durable state; the configured data directory is not looked at.
    pub disk: SharedDisk,
    /// Where it keeps every audit record it has applied.
    pub archive: SharedDisk,
    /// How it reaches the other nodes.
    pub network: SharedNetwork,
    /// Its time.
    pub clock: SharedClock,
    /// The witness.
    pub register: Arc<dyn RegisterStore>,
    /// Given the node once it has started, when the register is built on the core's own cells.
    pub own_cells: Option<OwnCells>,
    /// Who counts what the sequencer decides: a simulator, and nobody in production.
    pub onlooker: Option<Onlooker>,
    /// How it says what it says to agents.
    pub dialect: Dialect,
}

/// Runs a control node on edges of the caller's choice until `shutdown` completes.
pub async fn serve_edges(
    config: CoreConfig,
    edges: Edges,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    config.check()?;
    let Edges { listeners, disk, archive, network, clock, register, own_cells, onlooker, dialect } =
        edges;
    let crash = CrashPoint::from_environment(config.drills).map_err(ServeError::Drill)?;
    if let Some(point) = &crash {
        tracing::warn!(?point, "a crash point is armed: this process will abort there");
    }
    let door = Door::new(&config.access, &clock)?;
    let settings = node_config(&config);
    let node = Node::start_on(settings, disk, network.clone(), clock.clone()).await?;
    if let Some(own) = own_cells {
        own.bind(NodeCells::new(node.clone(), clock.clone()), network.clone());
    }
    let edge = EdgeLayer::new(&clock);
    let outbox = Outbox::new(&config.sinks);
    let traces = Traces::start(config.traces.as_ref(), SERVICE, &config.name);
    let traces = traces.map_err(|error| {
        ServeError::Config(ConfigError { key: "traces".into(), problem: error.to_string() })
    })?;
    let core = Arc::new(Core {
        node: node.clone(),
        config,
        network,
        clock,
        register,
        links: link::registry::Links::speaking(dialect),
        asks: link::Asks::default(),
        crash,
        onlooker,
        streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        fanout: Fanout::default(),
        requests: Requests::default(),
        door,
        archive: Archive::new(archive),
        outbox,
        exports: Arc::new(Semaphore::new(EXPORTS_MAX)),
        traces,
    });
    let (stop, stopping) = watch::channel(false);
    let router = forward::service(&core);
    let outside = grpc::beside(router.clone(), &core).layer(edge.clone());
    let api = serve_api(outside, listeners.api, stopping.clone());
    let rpc = serve_rpc(core.clone(), router, edge, listeners.rpc, stopping);
    let (rpc, api) = (seed::spawn(rpc), seed::spawn(api));
    let work = seed::spawn(runner::run(core.clone()));
    let asking =
        core.door.provider.clone().map(|provider| seed::spawn(async move { provider.run().await }));
    let archiving = seed::spawn(archive::run(core.clone()));
    let sending = (!core.outbox.sinks.is_empty()).then(|| seed::spawn(outbox::run(core.clone())));
    let telling = core.traces.is_on().then(|| seed::spawn(traces::run(core.clone())));
    let name = core.config.name.clone();
    tracing::info!(node = %name, "control node started");

    let result = watch_over(&core, shutdown).await;

    work.abort();
    if let Some(asking) = asking {
        asking.abort();
    }
    archiving.abort();
    if let Some(telling) = telling {
        telling.abort();
    }
    if let Some(sending) = sending {
        sending.abort();
    }
    // Both servers hold a receiver until they have ended.
    stop.send_replace(true);
    for (what, mut server) in [("gRPC", rpc), ("REST", api)] {
        if tokio::time::timeout(STOP_TIMEOUT, &mut server).await.is_err() {
            tracing::debug!(what, "open requests were cut off");
            server.abort();
        }
    }
    core.traces.flush(FLUSH_TIMEOUT).await;
    node.shutdown().await;
    tracing::info!(node = %name, "control node stopped");
    result
}

/// Waits for the end: asked for, or because the node broke.
async fn watch_over(core: &Core, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
    let mut leadership = core.node.leadership();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            _ = tokio::time::sleep(Duration::from_secs(1)) => {}
            changed = leadership.changed() => if changed.is_err() {
                return Err(ServeError::Stopped("the Raft core ended".into()));
            },
        }
        if let Some(failure) = core.node.failure() {
            return Err(ServeError::Stopped(failure));
        }
    }
}

fn node_config(config: &CoreConfig) -> NodeConfig {
    NodeConfig {
        member: config.member(),
        data_directory: config.data_directory.clone(),
        peers: config.peers.iter().map(Into::into).collect(),
        timings: Timings {
            heartbeat: config.raft.heartbeat,
            election_min: config.raft.election_min,
            election_max: config.raft.election_max,
            ..Timings::default()
        },
    }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // A dropped sender means the same.
    let _told = stopping.wait_for(|stop| *stop).await;
}

async fn serve_rpc(
    core: Arc<Core>,
    router: Router,
    edge: EdgeLayer,
    listening: Listening,
    stopping: watch::Receiver<bool>,
) {
    let core_node = CoreNodeServer::new(CoreNodeService { core: core.clone(), router })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let cells = Arc::new(NodeCells::new(core.node.clone(), core.clock.clone()));
    let agent_link = AgentLinkServer::new(AgentLinkService { core });
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .layer(edge)
        .add_service(core_node)
        .add_service(agent_link)
        .add_service(cell_service::service(cells))
        .serve_with_incoming_shutdown(listening.grpc(), stopped(stopping));
    if let Err(error) = served.await {
        tracing::error!(%error, "the gRPC server ended");
    }
}

async fn serve_api(router: Router, listening: Listening, stopping: watch::Receiver<bool>) {
    let service = router.into_make_service_with_connect_info::<Caller>();
    let served = axum::serve(listening, service).with_graceful_shutdown(stopped(stopping));
    if let Err(error) = served.await {
        tracing::error!(%error, "the REST server ended");
    }
}

struct CoreNodeService {
    core: Arc<Core>,
    router: Router,
}

#[tonic::async_trait]
impl CoreNode for CoreNodeService {
    async fn raft(&self, request: Request<RaftFrame>) -> Result<Response<RaftFrame>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let reply = self.core.node.handle_raft(request.into_inner(), caller.as_ref()).await?;
        Ok(Response::new(reply))
    }

    async fn forward(
        &self,
        request: Request<ForwardRequest>,
    ) -> Result<Response<ForwardReply>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let router = self.router.clone();
        let reply = forward::serve_forwarded(router, caller.as_ref(), request.into_inner()).await?;
        Ok(Response::new(reply))
    }
}

struct AgentLinkService {
    core: Arc<Core>,
}

#[tonic::async_trait]
impl AgentLink for AgentLinkService {
    type ConnectStream = ReceiverStream<Result<LinkFrame, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<LinkFrame>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let frames = link::accept(self.core.clone(), caller.as_ref(), request.into_inner())?;
        Ok(Response::new(ReceiverStream::new(frames)))
    }
}
