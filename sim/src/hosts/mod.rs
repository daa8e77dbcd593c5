//! The hosts of a world: each runs the product's own code on simulated edges.

mod core;
mod names;
mod people;
mod region;
pub(crate) mod witness;

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use continuum_control_api::link::Dialect;
use continuum_domain::PairId;
use continuum_runtime::net::SharedNetwork;
use continuum_runtime::seed::{self, Freezer};
use continuum_runtime::{Identity, Role, SharedClock};
use continuum_witness::store::DurableStore;
use continuum_witness::table::Registers;
use continuum_witness::{RegisterStore, Versioned};

use crate::acceptors::Acceptors;
use crate::calls::{Late, LateStore};
use crate::clock::{SimClock, WorldTime};
use crate::coverage::Coverage;
use crate::dialect::{self, NewerStore};
use crate::disk::SimDisk;
use crate::links::Links;
use crate::members::Members;
use crate::net::SimNetwork;
use crate::plan::Plan;
use crate::recording::{History, Recording};
use crate::resolvers::Resolvers;
use crate::trace::Trace;
use crate::users::Users;

pub use names::{MAX_AGE as DNS_MAX_AGE, POLL as DNS_POLL, TTL as DNS_TTL};

/// Ports, the same on every host.
pub const RPC_PORT: u16 = 7000;
/// Port of the REST API.
pub const API_PORT: u16 = 8000;
/// Port of the name server's questions.
pub const DNS_PORT: u16 = 53;
/// As the control node in production.
const WITNESS_DEADLINE: Duration = Duration::from_secs(1);

/// The pair of every world.
pub fn pair() -> PairId {
    PairId::new("app").expect("a valid name")
}

/// The name that follows it.
pub const PAIR_NAME: &str = "app.sim.test.";

/// What all hosts of a world share.
#[derive(Clone)]
pub struct Shared {
    /// The plan of the run.
    pub plan: Arc<Plan>,
    /// Where everything is noted.
    pub trace: Trace,
    /// What everyone learnt of the registers.
    pub history: History,
    /// What the witness holds, for the judge.
    pub acceptors: Acceptors,
    /// PostgreSQL.
    pub members: Members,
    /// Who reaches whom.
    pub links: Links,
    /// Resolvers on the internet.
    pub resolvers: Resolvers,
    /// Operators and clients.
    pub users: Users,
    /// The world's time.
    pub time: WorldTime,
    /// What the machines went through.
    pub coverage: Coverage,
    /// The region whose agent's next assertion fails; none but in a test.
    pub failing: Arc<Mutex<Option<String>>>,
}

impl Shared {
    /// Shows `look` all registers as the witness holds them now; nothing while the witness is down.
    pub fn registers<T>(&self, look: impl FnOnce(&Registers) -> T) -> Option<T> {
        self.acceptors.registers(self.time.now(), look)
    }

    /// A register as the witness holds it now; none while the witness is down.
    pub fn register(&self, key: &str) -> Option<Versioned> {
        self.registers(|all| all.get(key).cloned())?
    }

    /// An assertion in the agent of `region` fails at its next step.
    pub fn fail_assertion(&self, region: &str) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = Some(region.to_owned());
    }
}

/// One host and what outlives its processes.
#[derive(Clone)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its clocks.
    pub clock: SimClock,
    /// Its disk.
    pub disk: SimDisk,
    /// Where its control node archives the audit chain; the same hardware.
    pub archive: SimDisk,
    /// Stops its process.
    pub freezer: Freezer,
    /// Which of its calls to the witness are late.
    pub late: Late,
    newer: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    boots: Arc<AtomicU64>,
    seed: u64,
    shared: Shared,
}

/// What a host's process returns to the simulated network.
pub type Ended = Result<(), Box<dyn std::error::Error>>;

impl Host {
    /// A host that was never started.
    pub fn new(name: &str, seed: u64, clock: SimClock, shared: &Shared) -> Self {
        Self {
            name: name.to_owned(),
            clock,
            disk: SimDisk::new(name, seed ^ 0xD15C),
            archive: SimDisk::new(name, seed ^ 0xA2C4),
            freezer: Freezer::new(),
            late: Late::default(),
            newer: Arc::new(AtomicBool::new(shared.plan.newer.contains(name))),
            ended: Arc::default(),
            boots: Arc::default(),
            seed,
            shared: shared.clone(),
        }
    }

    /// Runs the host's process once, from boot to its end.
    pub fn boot(&self) -> impl Future<Output = Ended> + 'static + use<> {
        let boot = self.boots.fetch_add(1, Ordering::Relaxed);
        let host = self.clone();
        let seed = self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(boot);
        seed::freezable_scope(seed, self.freezer.clone(), async move {
            let why = host.run().await.err().unwrap_or_else(|| "without an error".into());
            host.shared.trace.note(&host.name, &format!("the process ended: {why}"));
            host.ended.store(true, Ordering::Relaxed);
            Ok(())
        })
    }

    async fn run(&self) -> Result<(), String> {
        let plan = &self.shared.plan;
        match self.name.as_str() {
            crate::plan::NAMES => names::run(self).await,
            crate::plan::USERS => people::run(self).await,
            name if plan.witnesses().iter().any(|server| server == name) => {
                witness::run(self).await
            }
            name if plan.core().iter().any(|node| node == name) => core::run(self).await,
            _ => region::run(self).await,
        }
    }

    /// Its next process is of a newer version.
    pub fn upgrade(&self) {
        self.newer.store(true, Ordering::Relaxed);
    }

    fn is_newer(&self) -> bool {
        self.newer.load(Ordering::Relaxed)
    }

    /// How its processes speak.
    fn dialect(&self) -> Dialect {
        if !self.is_newer() {
            return Dialect::default();
        }
        let boot = self.boots.load(Ordering::Relaxed);
        dialect::newer(self.seed.wrapping_add(boot), self.shared.plan.newer_specs)
    }

    /// Whether the process ended by itself since the last call.
    pub fn take_ended(&self) -> bool {
        self.ended.swap(false, Ordering::Relaxed)
    }

    fn network(&self, role: Role) -> SharedNetwork {
        Arc::new(SimNetwork::new(self.identity(role), &self.name, &self.shared.links))
    }

    fn identity(&self, role: Role) -> Identity {
        Identity::new(role, self.name.as_str())
    }

    fn shared_clock(&self) -> SharedClock {
        Arc::new(self.clock.clone())
    }

    /// The witness as this host reaches it in this role, with everything it learns recorded.
    fn witness(
        &self,
        network: &SharedNetwork,
        role: Role,
        deadline: Duration,
    ) -> Arc<dyn RegisterStore> {
        let store = witness::reach(&self.shared.plan, network, self.identity(role), deadline);
        let store = LateStore::new(store, &self.late, deadline);
        let store = Arc::new(Recording::new(Arc::new(store), &self.name, &self.shared.history));
        if self.is_newer() { Arc::new(NewerStore(store)) } else { store }
    }

    fn publish_store(&self, store: Option<Arc<DurableStore>>) {
        self.shared.acceptors.publish(&self.name, store);
    }
}

fn listen_on(port: u16) -> String {
    format!("0.0.0.0:{port}")
}
