//! The witness server: the durable store behind mutual TLS.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use continuum_domain::{PairId, RegionId, Version};
use continuum_runtime::disk::{FsDisk, SharedDisk};
use continuum_runtime::edge::EdgeLayer;
use continuum_runtime::net::{Caller, Listening};
use continuum_runtime::{BootClock, SharedClock, SharedNetwork};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::cell_rules::Members;
use crate::cell_service::{self, CellHost};
use crate::cells::CellStore;
use crate::proto;
use crate::proto::compare_and_swap_response::Outcome;
use crate::proto::witness_server::{Witness, WitnessServer};
use crate::register::{Answer, RegisterStore, StoreError, Versioned};
use crate::rules::{Key, Rules};
use crate::selftest::{self, SelfTestError};
use crate::store::{DurableStore, OpenError};

/// Largest request; a key and a value at their bounds fit many times over.
const REQUEST_BYTES_MAX: usize = 256 * 1024;
/// Requests of one connection that are worked on at once.
const REQUESTS_PER_CONNECTION_MAX: usize = 256;
/// How long open connections may take to finish at shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// Probe registers that may exist; they serve tests and are never removed.
const PROBES_MAX: usize = 256;

/// Configuration of a witness server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessConfig {
    /// Its name: the certificate must carry `<name>.witness.continuum.internal`.
    pub name: String,
    /// Address to listen on, `host:port`; port 0 takes any.
    pub listen: String,
    /// Directory for the log, on a local disk, used by this server alone.
    pub data_directory: PathBuf,
    /// Members of each pair: only they may write the pair's register.
    pub pairs: BTreeMap<PairId, BTreeSet<RegionId>>,
}

/// Why a witness server did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data directory cannot be opened.
    #[error("witness data directory: {0}")]
    Open(#[from] OpenError),
    /// The store failed its self-test.
    #[error("witness refuses to start: {0}")]
    SelfTest(#[from] SelfTestError),
    /// The address cannot be listened on.
    #[error("witness cannot listen: {0}")]
    Listen(std::io::Error),
    /// Serving failed.
    #[error("witness server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// A write to disk failed. Nothing was answered from memory since.
    #[error("witness store has ended ({0}); see to the disk, then start the server again")]
    StoreEnded(String),
}

/// A server that listens and has passed its self-test.
pub struct Server {
    name: String,
    listening: Listening,
    store: Arc<DurableStore>,
    rules: Rules,
    clock: SharedClock,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({} at {})", self.name, self.listening.local)
    }
}

impl Server {
    /// Opens the data directory, tests the store and binds the address.
    pub async fn bind(config: WitnessConfig, network: &SharedNetwork) -> Result<Self, ServeError> {
        let disk = FsDisk::open(&config.data_directory).map_err(OpenError::Io)?;
        Self::bind_on(config, Arc::new(disk), network, Arc::new(BootClock)).await
    }

    /// The same on a disk and a clock of the caller's choice; the configured data directory is not
    /// looked at.
    pub async fn bind_on(
        config: WitnessConfig,
        disk: SharedDisk,
        network: &SharedNetwork,
        clock: SharedClock,
    ) -> Result<Self, ServeError> {
        let store = DurableStore::open_on(disk).await?;
        selftest::run(&store, selftest::SERVER_PROBE_KEY).await?;
        let listening = network.listen(&config.listen).await.map_err(ServeError::Listen)?;
        let rules = Rules::new(config.pairs);
        Ok(Self { name: config.name, listening, store: Arc::new(store), rules, clock })
    }

    /// The address it listens on, with the port that was chosen.
    pub fn local(&self) -> SocketAddr {
        self.listening.local
    }

    /// The store behind it, for checkers.
    pub fn store(&self) -> Arc<DurableStore> {
        self.store.clone()
    }

    /// Serves until `shutdown` is ready or the store ends.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let Self { name, listening, store, rules, clock } = self;
        let address = listening.local;
        let mut failure = store.failure();
        let stop = watch::Sender::new(false);
        let mut stopped = stop.subscribe();
        let cells = Arc::new(OwnCells { store: store.clone(), rules: rules.clone() });
        let service = WitnessServer::new(Service { store: store.clone(), rules })
            .max_decoding_message_size(REQUEST_BYTES_MAX);
        let serving = tonic::transport::Server::builder()
            .concurrency_limit_per_connection(REQUESTS_PER_CONNECTION_MAX)
            .tcp_nodelay(true)
            .layer(EdgeLayer::new(&clock))
            .add_service(service)
            .add_service(cell_service::service(cells))
            .serve_with_incoming_shutdown(listening.grpc(), async move {
                if stopped.wait_for(|stop| *stop).await.is_err() {
                    tracing::debug!("the server was dropped");
                }
            });
        let mut serving = Box::pin(serving);
        tracing::info!(%name, %address, "witness is ready");
        let ended = tokio::select! {
            result = &mut serving => return Ok(result?),
            () = shutdown => None,
            ended = failure.wait_for(Option::is_some) => ended.ok().and_then(|why| why.clone()),
        };
        stop.send_replace(true);
        match tokio::time::timeout(SHUTDOWN_GRACE, &mut serving).await {
            Ok(result) => result?,
            Err(_) => tracing::warn!(%name, "connections were cut at shutdown"),
        }
        drop(serving);
        if let Some(why) = ended {
            return Err(ServeError::StoreEnded(why));
        }
        if let Some(store) = Arc::into_inner(store) {
            store.close().await;
        }
        tracing::info!(%name, "witness has stopped");
        Ok(())
    }
}

/// Runs a witness server until `shutdown` is ready.
pub async fn serve(
    config: WitnessConfig,
    network: SharedNetwork,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    Server::bind(config, &network).await?.run(shutdown).await
}

/// The cells of this server, and who may write which.
struct OwnCells {
    store: Arc<DurableStore>,
    rules: Rules,
}

impl Members for OwnCells {
    fn is_member(&self, pair: &PairId, region: &RegionId) -> Option<bool> {
        self.rules.is_member(pair, region)
    }
}

impl CellHost for OwnCells {
    fn cells(&self) -> &dyn CellStore {
        self.store.as_ref()
    }
}

struct Service {
    store: Arc<DurableStore>,
    rules: Rules,
}

impl Service {
    /// Bounds what probes may take of the disk.
    async fn check_probe_room(&self, key: &str) -> Result<(), StoreError> {
        let is_new = Key::parse(key)? == Key::Probe && self.store.read(key).await?.is_none();
        if is_new && self.store.count("probe/") >= PROBES_MAX {
            return Err(StoreError::Misconfigured(format!(
                "there are {PROBES_MAX} probe registers already; use one of them again"
            )));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Witness for Service {
    async fn read(
        &self,
        request: Request<proto::ReadRequest>,
    ) -> Result<Response<proto::ReadResponse>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let key = request.into_inner().key;
        let identity = caller.as_ref().and_then(|caller| caller.identity.as_ref());
        self.rules.check_read(identity, &key).map_err(|error| refusal(error, &caller))?;
        let current = self.store.read(&key).await.map_err(|error| refusal(error, &caller))?;
        Ok(Response::new(proto::ReadResponse { current: current.map(register) }))
    }

    async fn compare_and_swap(
        &self,
        request: Request<proto::CompareAndSwapRequest>,
    ) -> Result<Response<proto::CompareAndSwapResponse>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let proto::CompareAndSwapRequest { key, expected_version, value } = request.into_inner();
        let identity = caller.as_ref().and_then(|caller| caller.identity.as_ref());
        let refuse = |error| refusal(error, &caller);
        let guard = self.rules.check_write(identity, &key, &value).map_err(refuse)?;
        self.check_probe_room(&key).await.map_err(refuse)?;
        let answer = self.store.change(&key, Version(expected_version), value, guard).await;
        let outcome = match answer.map_err(refuse)? {
            Answer::Accepted(Version(version)) => Outcome::Accepted(proto::Accepted { version }),
            Answer::Refused(current) => {
                Outcome::Refused(proto::Refused { current: current.map(register) })
            }
        };
        Ok(Response::new(proto::CompareAndSwapResponse { outcome: Some(outcome) }))
    }
}

fn register(held: Versioned) -> proto::Register {
    proto::Register { version: held.version.0, value: held.value }
}

pub(crate) fn refusal(error: StoreError, caller: &Option<Caller>) -> Status {
    let remote = caller.as_ref().map(|caller| caller.remote);
    tracing::warn!(?remote, %error, "request refused");
    match error {
        StoreError::Unauthorised(text) => Status::permission_denied(text),
        StoreError::Misconfigured(text) => Status::failed_precondition(text),
        // A change may have taken effect: the client must not read certainty out of the code.
        StoreError::Unanswered(text) | StoreError::NotSent(text) => Status::unavailable(text),
    }
}
