//! `DataPlane` on a CloudNativePG Cluster: the role and the fence by patches of its object, the deadline
//! by a guard in the container of its instance, and everything else by SQL.
//!
//! ```text
//!   agent (CnpgPlane) --patches, each with a test of generation, epoch, role--> API server -> operator
//!        |     |                                                                             |
//!        |     +-- commands in the container: guard, stop, proof, copy --------------+       |
//!        +-------- SQL: looks, deadline, canary ------------------> PostgreSQL <-----+-------+
//! ```
//!
//! What keeps R5 here. The operator starts a PostgreSQL that ended, and as a primary if it was one. So
//! the guard, when it ends PostgreSQL, leaves a file with which none starts, and a member that this
//! plane starts always starts as a standby; it becomes a primary by `promote` alone, under a deadline
//! that the guard has confirmed. What the operator restarts by itself while the lease is valid is under
//! the deadline that stands; the guard is put back into the new container at once.
//!
//! The deadline needs no API server: it is renewed by SQL.

mod acts;
mod arming;
mod clusters;
mod data_plane;
mod handed;
mod hands;
mod hindrances;
mod lineage;
mod marks;
mod network;
mod pod_clock;
mod role;
mod state;
mod tend;
mod told;
mod waits;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use continuum_domain::{Generation, RegionId, Timing};
use continuum_runtime::SharedClock;
use kube::Client;
use tokio::sync::watch;

use crate::kubernetes::token::DemotionToken;
use crate::plane::PlaneError;
use crate::postgres::SESSION_NAME;
use crate::postgres::access::{Access, Remote};
use crate::postgres::canary::Canary;
use crate::postgres::observe::Observer;
use crate::postgres::sql::{Session, SessionOptions};
use crate::postgres::tls::ServerTls;
use clusters::{Clusters, Seen};
use hands::Hands;
use network::Gate;
use pod_clock::Sample;
use state::Known;
use told::Told;
use waits::Waits;

pub use role::{Guidance, Guide, Incident, Looked as RoleLook, MoveWish, RoleBoard};

/// The role that CloudNativePG's replicas stream as.
pub const REPLICATION_ROLE: &str = "streaming_replica";

/// Where an agent finds its member's Cluster, and how it gets into its PostgreSQL.
#[derive(Clone, Debug)]
pub struct CnpgConfig {
    /// This member's region.
    pub region: RegionId,
    /// The pair's Clusters by region, this one's among them, by their names in the topology.
    pub clusters: BTreeMap<RegionId, String>,
    /// The namespace of this one.
    pub namespace: String,
    /// How its PostgreSQL is reached: a Service that leads to the instance that leads the Cluster.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// A role with the rights of a superuser, the same in all Clusters of the pair.
    pub user: String,
    /// File with its password, one line; none where the server asks for none.
    pub password_file: Option<PathBuf>,
    /// Whether connections are encrypted, and the file of the authority that is believed; what the
    /// operating system trusts where it is absent.
    pub tls: Option<Option<PathBuf>>,
    /// The role that standbys stream as; [`REPLICATION_ROLE`] but for tests.
    pub replication_role: String,
    /// Whether a fence also closes the network of the Cluster's pods.
    pub fence_network_policy: bool,
    /// The lease's timing: the drift of clocks, the budget of a stop, and how long a primary that is
    /// found without a guard may go on before it is confirmed.
    pub timing: Timing,
}

impl CnpgConfig {
    fn remote(&self, host: &str, port: u16) -> Remote {
        Remote {
            host: host.to_owned(),
            port,
            user: self.user.clone(),
            password_file: self.password_file.clone(),
            tls: self.tls.clone().map(|authority| ServerTls { authority }),
        }
    }
}

/// The clients of the Cluster's API server. Members may share them.
#[derive(Clone)]
pub struct ApiClients {
    /// Reads and writes.
    pub asking: Client,
    /// Runs commands in pods.
    pub commanding: Client,
    /// Watches; what it watches may share a connection.
    pub watching: Client,
}

/// The data plane of one Cluster.
pub struct CnpgPlane(Arc<Inner>);

impl CnpgPlane {
    /// A plane for one Cluster. Asks nobody yet.
    pub fn new(config: CnpgConfig, clients: ApiClients, clock: SharedClock) -> Self {
        let remote = config.remote(&config.host, config.port);
        let access = Access::remote(remote, &config.clusters, &config.replication_role);
        let name = config.clusters.get(&config.region).cloned().unwrap_or_default();
        Self(Arc::new(Inner {
            access: Arc::new(access),
            clusters: Clusters::new(clients.clone(), &config.namespace, &name),
            gate: config
                .fence_network_policy
                .then(|| Gate::new(clients.asking.clone(), &config.namespace, &name)),
            hands: Hands::new(clients, &config.namespace),
            name,
            config,
            clock,
            generation: AtomicU64::new(0),
            known: Mutex::new(Known::default()),
            changed: watch::Sender::new(()),
            sentinel: tokio::sync::Mutex::new(None),
            arming: tokio::sync::Mutex::new(None),
            asking: tokio::sync::Mutex::new(None),
            sample: Mutex::new(None),
            turn: tokio::sync::Mutex::new(()),
            observer: Arc::new(Observer::default()),
            canary: Mutex::new(None),
            token: Mutex::new(None),
            guarded: Mutex::new(None),
            waits: Waits::default(),
            told: Told::default(),
            role: Arc::new(RoleBoard::default()),
        }))
    }
}

/// What the plane and its tasks share.
struct Inner {
    config: CnpgConfig,
    /// This Cluster's name.
    name: String,
    clock: SharedClock,
    clusters: Clusters,
    /// The further gate of a fence, where there is one.
    gate: Option<Gate>,
    hands: Hands,
    access: Arc<Access>,
    /// What `take` returned; 0 before it.
    generation: AtomicU64,
    known: Mutex<Known>,
    changed: watch::Sender<()>,
    /// The session whose end says that PostgreSQL has ended.
    sentinel: tokio::sync::Mutex<Option<Session>>,
    /// The session that deadlines go by, and the directory of the guard's files.
    arming: tokio::sync::Mutex<Option<(Session, String)>>,
    /// The session that asks what a move asks.
    asking: tokio::sync::Mutex<Option<Session>>,
    /// The pod's clock, in one life of PostgreSQL.
    sample: Mutex<Option<(String, Sample)>>,
    /// Held by whoever changes the role or the fence of the Cluster: commands take turns (R4).
    turn: tokio::sync::Mutex<()>,
    observer: Arc<Observer>,
    canary: Mutex<Option<Canary>>,
    /// The token of the demotion by which this agent has stopped its primary.
    token: Mutex<Option<(String, DemotionToken)>>,
    /// The life of PostgreSQL in which the guard was seen alive.
    guarded: Mutex<Option<String>>,
    /// How long the operator was waited for.
    waits: Waits,
    /// What was warned of.
    told: Told,
    /// Who else writes the role.
    role: Arc<RoleBoard>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }

    /// Changes what is known, and wakes whoever waits for a change.
    fn learn<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        let result = change(&mut self.known());
        self.changed.send_replace(());
        result
    }

    /// Takes in the Cluster as it was read.
    fn sees(&self, seen: Seen) {
        self.learn(|known| known.sees(seen));
    }

    fn session_name(&self) -> String {
        format!("{SESSION_NAME}_{}", self.generation())
    }

    /// A session that never waits for standbys.
    async fn session(&self, limit: Duration) -> Result<Session, PlaneError> {
        let options = SessionOptions { local_commit: true, limit };
        Session::local(&self.access, &self.session_name(), options).await
    }

    /// The pod of the instance that leads the Cluster.
    fn pod(&self) -> Result<String, PlaneError> {
        let known = self.known();
        let pod = known.seen.as_ref().and_then(|seen| seen.pod()).map(str::to_owned);
        pod.ok_or_else(|| {
            PlaneError::GuardLost(format!("the Cluster {} has no instance", self.name))
        })
    }

    /// The Cluster of another region.
    fn cluster_of(&self, region: &RegionId) -> Result<&str, PlaneError> {
        let found = self.config.clusters.get(region).map(String::as_str);
        found.ok_or_else(|| {
            clusters::failed("finding the Cluster", &format!("none is known in {region}"))
        })
    }

    /// The Cluster that this one follows where nobody is named.
    fn other(&self) -> Result<&str, PlaneError> {
        let mut others =
            self.config.clusters.iter().filter(|(region, _)| **region != self.config.region);
        let other = others.next().map(|(_, name)| name.as_str());
        other.ok_or_else(|| clusters::failed("finding the other Cluster", &"none is known"))
    }

    /// Waits for the operator, and counts how long.
    fn operator<'a, T: 'a>(
        &'a self,
        what: &'static str,
        waiting: impl Future<Output = T> + Send + 'a,
    ) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
        Box::pin(self.waits.of(what, &*self.clock, waiting))
    }

    /// Waits until `holds` says something of what is known, at most `limit`.
    async fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        holds: impl Fn(&Known) -> Option<T>,
    ) -> Result<T, PlaneError> {
        let mut changes = self.changed.subscribe();
        let waiting = async {
            loop {
                if let Some(found) = holds(&self.known()) {
                    return found;
                }
                // The sender lives as long as this value.
                let _changed = changes.changed().await;
            }
        };
        let late =
            || PlaneError::Timeout { what: what.to_owned(), seconds: limit.as_secs().max(1) };
        tokio::time::timeout(limit, waiting).await.map_err(|_| late())
    }
}
