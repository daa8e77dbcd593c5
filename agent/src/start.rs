//! Starting an agent: everything is opened and checked before anything is commanded.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use continuum_cnpg_pair::DataPlane;
use continuum_control_api::pb::peer_server::PeerServer;
use continuum_dns::provider::ProviderError;
use continuum_dns::{HealthNames, NameService};
use continuum_domain::pair::types::{Event, SessionView};
use continuum_domain::spec::PairSpec;
use continuum_domain::{PairId, RegionId, Tick, Timing};
use continuum_runtime::edge::EdgeLayer;
use continuum_runtime::traces::Traces;
use continuum_runtime::{Role, SharedClock, SharedNetwork, seed};
use continuum_witness::RegisterStore;
use tokio::sync::{mpsc, oneshot, watch};

use crate::at_rest::RestDesk;
use crate::beats::Beats;
use crate::beside::Beside;
use crate::config::AgentConfig;
use crate::core_link::{CoreHandle, CoreLink, Pairs, find};
use crate::directives::DirectiveDesk;
use crate::driver::{self, Parts};
use crate::edges::{self, Edges, Onlooker, PlaneFactory, SessionHome, StoreFactory, Witness};
use crate::health;
use crate::journal::Journal;
use crate::kubernetes::backups::BackupDesk;
use crate::kubernetes::controller::Controller;
use crate::kubernetes::desk::CoreDesk;
use crate::kubernetes::replica;
use crate::kubernetes::roles::RoleDesk;
use crate::metrics::Scraped;
use crate::names::NameProviders;
use crate::peer_server::PeerService;
use crate::peers::Peers;
use crate::session;
use crate::session_reads::SessionReads;
use crate::store::{Behind, Specs, StateDisk};
use crate::traffic::TrafficDesk;

/// How the agent names itself to a collector of spans.
const SERVICE: &str = "continuum-agent";
/// How long the last spans may take to be sent.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

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
    /// A name provider cannot be used as the file has it.
    #[error("name_provider {name}: {problem}; nothing was started")]
    NameProvider {
        /// Its name.
        name: String,
        /// Why.
        problem: ProviderError,
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
    /// Another replica of this agent acts in the cluster.
    #[error(
        "the Lease is held by {0}: another replica acts; this one stops, and waits when started"
    )]
    AnotherReplica(String),
}

pub(crate) fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> AgentError {
    let what = what.into();
    move |source| AgentError::Io { what, source }
}

/// Runs an agent, with this way to its witness, until `shutdown` completes. PostgreSQL is left to its guard: it runs on until its
/// deadline, so that an agent can be replaced without stopping writes.
pub async fn run(
    config: AgentConfig,
    network: SharedNetwork,
    witness: Witness,
    clock: SharedClock,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    check_timing(&config)?;
    check_certificate(&config)?;
    if let Some(kubernetes) = config.kubernetes.clone() {
        return replica::run(config, kubernetes, (network, witness, clock), shutdown).await;
    }
    let disk = edges::state_directory(&config)?;
    let edges = Edges::open(&config, disk, witness, network, clock).await?;
    run_on(config, edges, shutdown).await
}

/// Runs an agent on edges of the caller's choice.
pub async fn run_on(
    config: AgentConfig,
    edges: Edges,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    let timing = check_timing(&config)?;
    let Edges {
        network,
        clock,
        disk,
        specs,
        witness: Witness { store, acceptors },
        session,
        plane,
        names,
        name_providers,
        resolvers,
        traffic,
        peer,
        health,
        onlooker,
        dialect,
        cluster,
    } = edges;
    let region = config.region.clone();
    let state = StateDisk::new(disk);
    let specs = state.read_specs(specs, &region).await.map_err(io_error("specs on disk"))?;
    let journal = Journal::open(state.disk().clone(), clock.clone())
        .await
        .map_err(io_error("journal on disk"))?;
    let traces = Traces::start(config.traces.as_ref(), SERVICE, region.as_str());
    let traces = traces.map_err(io_error("traces"))?;
    let directives = DirectiveDesk::new(&traces, &clock, &region);
    if traces.is_on() {
        journal.shown_to(directives.clone());
    }
    let peers = Peers::new(&network, &config.peers, &dialect);
    let beats = Beats::start(&peers, &clock);
    let keeper = Keeper {
        region: region.clone(),
        timing,
        store: store.clone(),
        clock: clock.clone(),
        sooner: beats.wanted(),
    };
    let (session, ended) = keeper.start(session)?;
    let pairs = Pairs::default();
    let traffic = TrafficDesk::start(&region, traffic, &pairs, &peers, &journal, &clock);
    let rest = RestDesk::start(&config.at_rest, &pairs, &clock).map_err(io_error("at_rest"))?;
    let handle = CoreHandle::new();
    let desk = cluster.as_ref().map(|_| CoreDesk::new(handle.clone()));
    let backups = BackupDesk::new(&region, &config.clusters, &clock);
    let roles = RoleDesk::new(&region, &pairs, &clock);
    roles.noted_in(journal.clone());
    if let (Some(cluster), Some(desk)) = (cluster, &desk) {
        let (region, clock) = (region.clone(), clock.clone());
        let (desk, pairs) = (desk.clone(), pairs.clone());
        let (backups, roles) = (backups.clone(), roles.clone());
        let controller = Controller { cluster, region, timing, clock, desk, pairs, backups, roles };
        seed::spawn(controller.run());
    }
    let (spec_sender, spec_inbox) = mpsc::channel(8);
    let (behind_sender, behind) = watch::channel(Behind::default());
    let manager = Manager {
        timing,
        clock: clock.clone(),
        session: session.clone(),
        pairs: pairs.clone(),
        state,
        behind: behind_sender,
        traffic: traffic.clone(),
        roles: roles.clone(),
        make: Make {
            core: handle.clone(),
            journal: journal.clone(),
            peers,
            beats: beats.clone(),
            sessions: SessionReads::new(store(), clock.clone()),
            store: store(),
            plane,
            names,
            name_providers,
            resolvers,
            onlooker,
            directives: directives.clone(),
        },
        config: config.clone(),
    };
    seed::spawn(manager.run(specs, spec_inbox));
    let scraped = Scraped {
        region: region.clone(),
        clock: clock.clone(),
        network: network.clone(),
        pairs: pairs.clone(),
        session,
        core: (!config.core.is_empty()).then(|| handle.up()),
        beats: beats.clone(),
        acceptors: acceptors.clone(),
        traces: traces.clone(),
        rest,
        backups: backups.clone(),
        roles: roles.clone(),
    };
    let link = CoreLink {
        beside: Beside { backups, roles },
        region: region.clone(),
        network,
        clock: clock.clone(),
        core: config.core,
        handle,
        journal,
        pairs: pairs.clone(),
        beats: beats.clone(),
        acceptors,
        traffic,
        specs: spec_sender,
        behind,
        dialect: dialect.clone(),
        directives: directives.clone(),
        desk,
    };
    seed::spawn(link.run());
    let edge = EdgeLayer::new(&clock);
    let service = PeerService { clock: clock.clone(), pairs: pairs.clone(), beats, dialect };
    let service = PeerServer::new(service);
    let peer_server = tonic::transport::Server::builder()
        .layer(edge.clone())
        .add_service(service)
        .serve_with_incoming(peer.grpc());
    let health_server = axum::serve(health, health::router(scraped).layer(edge));
    tracing::info!(%region, "agent ready");
    let result = tokio::select! {
        () = shutdown => Ok(()),
        _ = ended => Err(AgentError::Superseded(region.to_string())),
        result = peer_server => result.map_err(|error| AgentError::Io {
            what: "peer server".into(),
            source: io::Error::other(error),
        }),
        result = async { health_server.await } => result.map_err(io_error("health server")),
    };
    directives.stop();
    traces.flush(FLUSH_TIMEOUT).await;
    result
}

fn check_timing(config: &AgentConfig) -> Result<Timing, AgentError> {
    config.timing.timing().map_err(|(key, problem)| AgentError::Timing { key, problem })
}

fn check_certificate(config: &AgentConfig) -> Result<(), AgentError> {
    let found = config.tls.identity().map_err(io_error("certificate"))?;
    if found.role != Role::Region || found.name != config.region.as_str() {
        let (found, region) = (found.to_string(), config.region.to_string());
        return Err(AgentError::WrongCertificate { found, region });
    }
    Ok(())
}

/// What the region's session is kept with.
struct Keeper {
    region: RegionId,
    timing: Timing,
    store: StoreFactory,
    clock: SharedClock,
    /// How often pairs want the session renewed, if sooner than the timing says.
    sooner: watch::Receiver<Option<Duration>>,
}

impl Keeper {
    /// Starts keeping it. The receiver completes when the session was taken over.
    fn start(
        self,
        home: SessionHome,
    ) -> Result<(watch::Receiver<SessionView>, oneshot::Receiver<()>), AgentError> {
        let (sender, receiver) = watch::channel(SessionView::default());
        let (ended_sender, ended) = oneshot::channel();
        let work = self.keep(sender, ended_sender);
        match home {
            SessionHome::Task => drop(seed::spawn(work)),
            SessionHome::OwnThread => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(io_error("session runtime"))?;
                std::thread::Builder::new()
                    .name("session".into())
                    .spawn(move || runtime.block_on(work))
                    .map_err(io_error("session thread"))?;
            }
        }
        Ok((receiver, ended))
    }

    async fn keep(self, view: watch::Sender<SessionView>, ended: oneshot::Sender<()>) {
        let Self { region, timing, store, clock, sooner } = self;
        // Made here, because it lives on the runtime it is made on.
        let why = session::keep(region, timing, store(), clock, view, sooner).await;
        tracing::error!(?why, "the session ended");
        if ended.send(()).is_err() {
            tracing::debug!("the agent stopped before its session");
        }
    }
}

/// What every pair's driver is made with.
struct Make {
    core: CoreHandle,
    journal: Journal,
    peers: Peers,
    beats: Beats,
    sessions: SessionReads,
    store: Arc<dyn RegisterStore>,
    plane: PlaneFactory,
    names: Vec<Arc<dyn NameService>>,
    name_providers: NameProviders,
    resolvers: Arc<dyn HealthNames>,
    onlooker: Option<Onlooker>,
    directives: DirectiveDesk,
}

/// Starts pairs as their specs come, and hands changes on.
struct Manager {
    config: AgentConfig,
    timing: Timing,
    clock: SharedClock,
    session: watch::Receiver<SessionView>,
    pairs: Pairs,
    state: StateDisk,
    behind: watch::Sender<Behind>,
    traffic: TrafficDesk,
    roles: RoleDesk,
    make: Make,
}

impl Manager {
    async fn run(self, mut known: Specs, mut inbox: mpsc::Receiver<Specs>) {
        let mut paused = self.apply(&known).await;
        loop {
            let next = paused.values().min().map(|until| self.clock.now().until(*until));
            let received = tokio::select! {
                received = inbox.recv() => received,
                () = tokio::time::sleep(next.unwrap_or(Duration::MAX)), if next.is_some() => {
                    self.end_pauses(&mut paused).await;
                    continue;
                }
            };
            let Some(received) = received else { return };
            known = received.after(known);
            if let Err(error) = self.state.write_specs(&known).await {
                tracing::error!(%error, "specs could not be written; the old ones stay on disk");
            }
            paused = self.apply(&known).await;
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
        self.tell_behind(specs.behind());
        let acting = specs.acting();
        let wanted = acting.values().filter_map(|(_, spec)| spec.beat_interval()).min();
        self.make.beats.ask_every(wanted);
        for (pair, (version, spec)) in &acting {
            let paused = specs.automation_paused.contains_key(pair);
            self.traffic.spec(spec);
            if find(&self.pairs, pair).is_none() {
                self.start(spec.clone(), *version).await;
            }
            self.tell(pair, Event::Spec(*version, spec.clone())).await;
            self.tell(pair, Event::AutomationPaused(paused)).await;
        }
        specs.automation_paused.iter().map(|(pair, left)| (pair.clone(), until(left))).collect()
    }

    /// Says of which pairs a newer spec is there that is not understood.
    fn tell_behind(&self, behind: Behind) {
        for (pair, state) in &behind {
            if self.behind.borrow().get(pair) != Some(state) {
                tracing::error!(%pair, code = state.code, state.meaning, state.action, "behind");
            }
        }
        self.behind.send_replace(behind);
    }

    async fn start(&self, spec: PairSpec, version: u64) {
        let Some(plane) = (self.make.plane)(&spec) else {
            tracing::warn!(pair = %spec.id, "a pair of this region is not in the configuration");
            return;
        };
        let pair = spec.id.clone();
        if let Some(board) = plane.role_board() {
            self.roles.add(&pair, board);
        }
        let parts = self.parts(plane);
        match driver::start(parts, spec, version, self.session.clone()).await {
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

    fn parts(&self, plane: Arc<dyn DataPlane>) -> Parts {
        let make = &self.make;
        Parts {
            region: self.config.region.clone(),
            timing: self.timing,
            clock: self.clock.clone(),
            store: make.store.clone(),
            sessions: make.sessions.clone(),
            plane,
            names: make.names.clone(),
            name_providers: make.name_providers.clone(),
            resolvers: make.resolvers.clone(),
            peers: make.peers.clone(),
            beats: make.beats.clone(),
            core: make.core.clone(),
            journal: make.journal.clone(),
            state: self.state.clone(),
            onlooker: make.onlooker.clone(),
            directives: make.directives.clone(),
        }
    }
}
