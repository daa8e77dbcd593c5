//! What an agent touches outside itself, as values: opened in production, modelled in simulation.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use continuum_cnpg_pair::DataPlane;
use continuum_control_api::link::Dialect;
use continuum_dns::provider::places::OpenProvider;
use continuum_dns::{HealthNames, NameService, ResolverClient, RpcNameService};
use continuum_domain::Tick;
use continuum_domain::pair::PairMachine;
use continuum_domain::pair::types::Event;
use continuum_domain::spec::PairSpec;
use continuum_runtime::disk::{FsDisk, SharedDisk};
use continuum_runtime::net::{Listening, listen_plain};
use continuum_runtime::{SharedClock, SharedNetwork, durable};
use continuum_witness::RegisterStore;
use continuum_witness::quorum::QuorumHealth;

use crate::config::AgentConfig;
use crate::kubernetes::Cluster;
use crate::members;
pub use crate::names::NameProviders;
use crate::start::{AgentError, io_error};
use crate::traffic::{self, Driven};

/// Deadline of one call to a name server.
const NAME_DEADLINE: Duration = Duration::from_secs(1);

/// Makes a register store. Called once for the session, on the runtime that keeps it, once for the
/// reads of other sessions, and once for all pairs, of which each has a register of its own: a connection
/// for each of a hundred pairs would be a hundred at every witness, from every region.
pub type StoreFactory = Arc<dyn Fn() -> Arc<dyn RegisterStore> + Send + Sync>;

/// The way to the witness, and what is seen of it.
#[derive(Clone)]
pub struct Witness {
    /// Makes its stores.
    pub store: StoreFactory,
    /// Where they note what they see of the acceptors, if it is a quorum.
    pub acceptors: Option<QuorumHealth>,
}

/// Makes the data plane of one pair's member; `None` where the configuration has no such member.
pub type PlaneFactory = Arc<dyn Fn(&PairSpec) -> Option<Arc<dyn DataPlane>> + Send + Sync>;

/// Looks on when a pair's machine is about to take in an event. It can change nothing.
pub type Onlooker = Arc<dyn Fn(&PairMachine, Tick, &Event) + Send + Sync>;

/// Where the session is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionHome {
    /// On a thread and runtime of its own, so that it waits for nothing else.
    OwnThread,
    /// In a task among the others: for a simulator, which has one thread.
    Task,
}

/// Everything an agent touches outside itself.
pub struct Edges {
    /// How others are reached.
    pub network: SharedNetwork,
    /// Its time.
    pub clock: SharedClock,
    /// Its small durable state; the configured directory is not looked at.
    pub disk: SharedDisk,
    /// Specs to start from until the core sends some.
    pub specs: Vec<PairSpec>,
    /// The witness.
    pub witness: Witness,
    /// Where the session is kept.
    pub session: SessionHome,
    /// PostgreSQL.
    pub plane: PlaneFactory,
    /// Name servers that are told who holds the lease.
    pub names: Vec<Arc<dyn NameService>>,
    /// Name servers of others that records are written to.
    pub name_providers: NameProviders,
    /// Resolvers that are asked for the health names of other regions.
    pub resolvers: Arc<dyn HealthNames>,
    /// Traffic switches that this agent drives.
    pub traffic: Vec<Driven>,
    /// Where other agents and operators ask.
    pub peer: Listening,
    /// Where load balancers ask.
    pub health: Listening,
    /// Who counts what the machines go through: a simulator, and nobody in production.
    pub onlooker: Option<Onlooker>,
    /// How it says what it says to the core and to other agents.
    pub dialect: Dialect,
    /// The Kubernetes cluster whose objects are brought to the core, if there is one.
    pub cluster: Option<Cluster>,
}

impl Edges {
    /// Opens the real ones.
    pub(crate) async fn open(
        config: &AgentConfig,
        disk: SharedDisk,
        witness: Witness,
        network: SharedNetwork,
        clock: SharedClock,
    ) -> Result<Self, AgentError> {
        let specs = read_spec_files(config).map_err(io_error("specs on disk"))?;
        let peer = network.listen(&config.listen_peer).await.map_err(io_error("listen_peer"))?;
        let health = listen_plain(&config.listen_health)
            .await
            .map_err(io_error(format!("listen_health {}", config.listen_health)))?;
        Ok(Self {
            witness,
            names: name_services(config, &network),
            name_providers: open_providers(config, &clock)?,
            resolvers: Arc::new(ResolverClient),
            traffic: traffic::open(&config.traffic, &clock).map_err(io_error("traffic"))?,
            plane: planes(config, &clock).await?,
            disk,
            session: SessionHome::OwnThread,
            network,
            clock,
            specs,
            peer,
            health,
            onlooker: None,
            dialect: Dialect::default(),
            cluster: None,
        })
    }
}

/// The configured state directory.
pub(crate) fn state_directory(config: &AgentConfig) -> Result<SharedDisk, AgentError> {
    let what = format!("state directory {}", config.state_directory.display());
    Ok(Arc::new(FsDisk::open(&config.state_directory).map_err(io_error(what))?))
}

fn read_spec_files(config: &AgentConfig) -> io::Result<Vec<PairSpec>> {
    let files = config.pairs.iter().map(|pair| &pair.spec_file);
    let files = files.chain(config.clusters.iter().map(|cluster| &cluster.spec_file));
    let files: Vec<PathBuf> = files.flatten().cloned().collect();
    let mut specs = Vec::new();
    for file in files {
        specs.extend(durable::read_json::<PairSpec>(&file)?);
    }
    Ok(specs)
}

/// The configured name servers.
pub fn name_services(config: &AgentConfig, network: &SharedNetwork) -> Vec<Arc<dyn NameService>> {
    let service = |server: &crate::config::ServerAddress| -> Arc<dyn NameService> {
        let network = network.clone();
        Arc::new(RpcNameService::new(network, &*server.address, &*server.name, NAME_DEADLINE))
    };
    config.names.iter().map(service).collect()
}

/// The configured name servers of others, with their keys read.
fn open_providers(config: &AgentConfig, clock: &SharedClock) -> Result<NameProviders, AgentError> {
    let mut providers = NameProviders::new();
    for provider in &config.name_provider {
        let name = provider.name().to_owned();
        let opened = OpenProvider::open(provider, clock.clone());
        let opened =
            opened.map_err(|problem| AgentError::NameProvider { name: name.clone(), problem })?;
        providers.insert(name, Arc::new(opened));
    }
    Ok(providers)
}

/// The configured members, of both kinds.
async fn planes(config: &AgentConfig, clock: &SharedClock) -> Result<PlaneFactory, AgentError> {
    let what = "the API server of a Cluster";
    let clusters = members::clusters(config, clock).await.map_err(io_error(what))?;
    let guarded = members::guarded(config, clock);
    Ok(Arc::new(move |spec| guarded(spec).or_else(|| clusters(spec))))
}
