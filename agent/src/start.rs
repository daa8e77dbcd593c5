//! Starting an agent: everything is opened and checked before anything is commanded.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use continuum_cnpg_pair::{DataPlane, PlaneConfig, PostgresPlane};
use continuum_control_api::pb::peer_server::PeerServer;
use continuum_dns::{NameService, RpcNameService};
use continuum_domain::pair::types::{Event, SessionView};
use continuum_domain::spec::PairSpec;
use continuum_domain::{PairId, Tick, Timing};
use continuum_runtime::{Role, SharedClock, SharedNetwork, seed};
use continuum_witness::client::ServerStore;
use tokio::sync::{mpsc, watch};

use crate::config::{AgentConfig, AgentPair};
use crate::core_link::{CoreHandle, CoreLink, Pairs, find};
use crate::driver::{self, Parts};
use crate::health;
use crate::journal::Journal;
use crate::peer_server::PeerService;
use crate::peers::Peers;
use crate::session;
use crate::store::{Specs, StateDirectory};

/// Deadline of one call to a name server.
const NAME_DEADLINE: Duration = Duration::from_secs(1);

/// Why an agent did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The certificate is another party's.
    #[error("the certificate is that of {found}, not of region/{region}; nothing was started")]
    WrongCertificate {
        /// What the certificate says.
        found: String,
        /// What the configuration says.
        region: String,
    },
    /// The timing is refused.
    #[error("timing.{key}: {problem}; nothing was started")]
    Timing {
        /// Key to change first.
        key: &'static str,
        /// Why.
        problem: String,
    },
    /// A file or socket could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What went wrong.
        source: io::Error,
    },
    /// Another agent of this region runs; this one has let go of everything.
    #[error("another agent of region {0} took over; this one stops")]
    Superseded(String),
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> AgentError {
    let what = what.into();
    move |source| AgentError::Io { what, source }
}

/// Runs an agent until `shutdown` completes. PostgreSQL is left to its guard: it runs on until its
/// deadline, so that an agent can be replaced without stopping writes.
pub async fn run(
    config: AgentConfig,
    network: SharedNetwork,
    clock: SharedClock,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    let timing =
        config.timing.timing().map_err(|(key, problem)| AgentError::Timing { key, problem })?;
    check_certificate(&config)?;
    let state = StateDirectory::open(&config.state_directory)
        .map_err(io_error(format!("state directory {}", config.state_directory.display())))?;
    let spec_files: Vec<_> =
        config.pairs.iter().filter_map(|pair| pair.spec_file.clone()).collect();
    let specs = state.read_specs(&spec_files, &config.region).map_err(io_error("specs on disk"))?;
    let journal =
        Journal::open(state.journal(), clock.clone()).map_err(io_error("journal on disk"))?;
    let peer_listener =
        network.listen(&config.listen_peer).await.map_err(io_error("listen_peer"))?;
    let health_listener = tokio::net::TcpListener::bind(&config.listen_health)
        .await
        .map_err(io_error(format!("listen_health {}", config.listen_health)))?;

    let (session, ended) = start_session(&config, timing, network.clone(), clock.clone())?;
    let pairs = Pairs::default();
    let handle = CoreHandle::new();
    let (spec_sender, spec_inbox) = mpsc::channel(8);
    let manager = Manager {
        timing,
        network: network.clone(),
        clock: clock.clone(),
        session: session.clone(),
        pairs: pairs.clone(),
        core: handle.clone(),
        journal: journal.clone(),
        state,
        peers: Peers::new(&network, &config.peers),
        config: config.clone(),
    };
    seed::spawn(manager.run(specs, spec_inbox));
    let link = CoreLink {
        region: config.region.clone(),
        network: network.clone(),
        clock: clock.clone(),
        core: config.core.clone(),
        handle,
        journal,
        pairs: pairs.clone(),
        specs: spec_sender,
    };
    seed::spawn(link.run());
    let service = PeerServer::new(PeerService { clock: clock.clone(), pairs: pairs.clone() });
    let peer_server = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(peer_listener.grpc());
    let health_server = axum::serve(health_listener, health::router(pairs, clock, session));
    tracing::info!(region = %config.region, "agent ready");
    tokio::select! {
        () = shutdown => Ok(()),
        _ = ended => Err(AgentError::Superseded(config.region.to_string())),
        result = peer_server => result.map_err(|error| AgentError::Io {
            what: "peer server".into(),
            source: io::Error::other(error),
        }),
        result = async { health_server.await } => result.map_err(io_error("health server")),
    }
}

fn check_certificate(config: &AgentConfig) -> Result<(), AgentError> {
    let found = config.tls.identity().map_err(io_error("certificate"))?;
    if found.role != Role::Region || found.name != config.region.as_str() {
        let (found, region) = (found.to_string(), config.region.to_string());
        return Err(AgentError::WrongCertificate { found, region });
    }
    Ok(())
}

/// Keeps the session on a thread and runtime of its own, so that it waits for nothing else. The
/// receiver completes when the session was taken over.
fn start_session(
    config: &AgentConfig,
    timing: Timing,
    network: SharedNetwork,
    clock: SharedClock,
) -> Result<(watch::Receiver<SessionView>, tokio::sync::oneshot::Receiver<()>), AgentError> {
    let (sender, receiver) = watch::channel(SessionView::default());
    let (ended_sender, ended) = tokio::sync::oneshot::channel();
    let (region, witness) = (config.region.clone(), config.witness.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(io_error("session runtime"))?;
    let work = move || {
        runtime.block_on(async move {
            // Two tries fit into one renewal interval.
            let deadline = timing.renew / 2;
            let store =
                Arc::new(ServerStore::new(network, witness.address, witness.name, deadline));
            let why = session::keep(region, timing, store, clock, sender).await;
            tracing::error!(?why, "the session ended");
            if ended_sender.send(()).is_err() {
                tracing::debug!("the agent stopped before its session");
            }
        });
    };
    std::thread::Builder::new()
        .name("session".into())
        .spawn(work)
        .map_err(io_error("session thread"))?;
    Ok((receiver, ended))
}

/// Starts pairs as their specs come, and hands changes on.
struct Manager {
    config: AgentConfig,
    timing: Timing,
    network: SharedNetwork,
    clock: SharedClock,
    session: watch::Receiver<SessionView>,
    pairs: Pairs,
    core: CoreHandle,
    journal: Journal,
    state: StateDirectory,
    peers: Peers,
}

impl Manager {
    async fn run(self, on_disk: Specs, mut inbox: mpsc::Receiver<Specs>) {
        let mut paused = self.apply(&on_disk).await;
        loop {
            let next = paused.values().min().map(|until| self.clock.now().until(*until));
            let received = tokio::select! {
                received = inbox.recv() => received,
                () = tokio::time::sleep(next.unwrap_or(Duration::MAX)), if next.is_some() => {
                    self.end_pauses(&mut paused).await;
                    continue;
                }
            };
            let Some(specs) = received else { return };
            let (state, written) = (self.state.clone(), specs.clone());
            let result = tokio::task::spawn_blocking(move || state.write_specs(&written)).await;
            if !matches!(result, Ok(Ok(()))) {
                tracing::error!(?result, "specs could not be written; the old ones stay on disk");
            }
            paused = self.apply(&specs).await;
        }
    }

    /// Ends pauses that have run out, also when the core can not say so.
    async fn end_pauses(&self, paused: &mut BTreeMap<PairId, Tick>) {
        let now = self.clock.now();
        let over: Vec<_> = paused
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(pair, _)| pair.clone())
            .collect();
        for pair in over {
            paused.remove(&pair);
            self.tell(&pair, Event::AutomationPaused(false)).await;
        }
    }

    async fn tell(&self, pair: &PairId, event: Event) {
        if let Some(handle) = find(&self.pairs, pair)
            && handle.events.send(event).await.is_err()
        {
            tracing::error!(%pair, "the pair's machine has ended");
        }
    }

    /// Starts what is new and tells every pair its spec; returns when each pause ends.
    async fn apply(&self, specs: &Specs) -> BTreeMap<PairId, Tick> {
        let now = self.clock.now();
        let until = |left_ms: &u64| now + Duration::from_millis(*left_ms);
        for (pair, (version, spec)) in &specs.specs {
            let paused = specs.automation_paused.contains_key(pair);
            if find(&self.pairs, pair).is_none() {
                self.start(spec.clone(), *version);
            }
            self.tell(pair, Event::Spec(*version, spec.clone())).await;
            self.tell(pair, Event::AutomationPaused(paused)).await;
        }
        specs.automation_paused.iter().map(|(pair, left)| (pair.clone(), until(left))).collect()
    }

    fn start(&self, spec: PairSpec, version: u64) {
        let Some(member) = self.config.pairs.iter().find(|pair| pair.id == spec.id) else {
            tracing::warn!(pair = %spec.id, "a pair of this region is not in the configuration");
            return;
        };
        let pair = spec.id.clone();
        match driver::start(self.parts(member, &spec), spec, version, self.session.clone()) {
            Ok(handle) => {
                let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
                pairs.insert(pair, handle);
            }
            Err(error) => {
                tracing::error!(%pair, %error, "the pair could not be started: its promise on disk \
                    can not be read, and what it bars is not known");
            }
        }
    }

    fn parts(&self, member: &AgentPair, spec: &PairSpec) -> Parts {
        let plane: Arc<dyn DataPlane> = Arc::new(PostgresPlane::new(
            PlaneConfig {
                region: self.config.region.clone(),
                members: spec.members.keys().cloned().collect(),
                guard_socket: member.guard_socket.clone(),
                socket_directory: member.postgres_socket_directory.clone(),
                port: member.postgres_port,
                replication_password_file: member.replication_password_file.clone(),
            },
            self.clock.clone(),
        ));
        let witness = &self.config.witness;
        let names = self.config.names.iter().map(|server| -> Arc<dyn NameService> {
            let (network, deadline) = (self.network.clone(), NAME_DEADLINE);
            Arc::new(RpcNameService::new(network, &*server.address, &*server.name, deadline))
        });
        Parts {
            region: self.config.region.clone(),
            timing: self.timing,
            clock: self.clock.clone(),
            store: Arc::new(ServerStore::new(
                self.network.clone(),
                &*witness.address,
                &*witness.name,
                self.timing.renew / 2,
            )),
            plane,
            names: names.collect(),
            peers: self.peers.clone(),
            core: self.core.clone(),
            journal: self.journal.clone(),
            state: self.state.clone(),
        }
    }
}
