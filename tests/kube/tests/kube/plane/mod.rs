//! The data plane of a Cluster, on the stand-in for the operator and real PostgreSQL.

mod contract;
mod crashes;
mod deadline;
mod gates;
mod moves;
mod roles;
mod stops;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use continuum_cnpg_pair::DataPlane;
use continuum_cnpg_pair::kubernetes::plane::{ApiClients, CnpgConfig, CnpgPlane};
use continuum_cnpg_pair::plane::{PlaneError, Upstream};
use continuum_domain::observation::{ActuatorStatus, ProcessState, SqlView};
use continuum_domain::{Epoch, RegionId, SyncNames, Tick, Timing};
use continuum_runtime::{BootClock, Clock};
use rustix::process::Pid;
use serde_json::json;

use crate::operator::{Region, World};

/// A deadline that no test reaches.
const FAR: Duration = Duration::from_secs(3_600);
/// How often a condition is looked at, and how many times.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: usize = 3_000;

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn now() -> Tick {
    BootClock.now()
}

/// Two Clusters, each with the plane of its agent.
struct Pair {
    world: World,
    a: Arc<dyn DataPlane>,
    b: Arc<dyn DataPlane>,
}

impl Pair {
    /// A leads by epoch 1, B follows; `None` where PostgreSQL is missing.
    async fn new() -> Option<Self> {
        let world = World::new().await?;
        world.pair(json!({})).await;
        let (a, b) = (plane(&world, "fsn"), plane(&world, "hel"));
        for plane in [&a, &b] {
            plane.take().await.unwrap();
            until("the directory has an identity", async || {
                status(plane).await.data_directory.map(drop)
            })
            .await;
        }
        arm(&a, Epoch(1), now() + FAR).await;
        a.set_names(Epoch(1), &SyncNames::default()).await.unwrap();
        Some(Self { world, a, b })
    }

    fn upstream(&self, name: &str) -> Upstream {
        upstream(&self.world, name)
    }
}

fn upstream(world: &World, name: &str) -> Upstream {
    Upstream { region: region(name), host: "127.0.0.1".into(), port: at(world, name).port() }
}

fn at<'a>(world: &'a World, name: &str) -> &'a Region {
    if name == "fsn" { &world.a } else { &world.b }
}

/// A new agent's plane.
fn plane(world: &World, name: &str) -> Arc<dyn DataPlane> {
    plane_at(world, name, Timing::default())
}

fn plane_at(world: &World, name: &str, timing: Timing) -> Arc<dyn DataPlane> {
    let it = at(world, name);
    let config = CnpgConfig {
        region: region(name),
        clusters: BTreeMap::from([(region("fsn"), "db-a".into()), (region("hel"), "db-b".into())]),
        namespace: "db".into(),
        host: "127.0.0.1".into(),
        port: it.port(),
        user: "postgres".into(),
        password_file: None,
        tls: None,
        replication_role: "postgres".into(),
        fence_network_policy: true,
        timing,
    };
    let client = kube::Client::try_from(it.server.config("agent")).unwrap();
    let [asking, commanding, watching] = std::array::from_fn(|_| client.clone());
    let clients = ApiClients { asking, commanding, watching };
    Arc::new(CnpgPlane::new(config, clients, Arc::new(BootClock)))
}

/// Hands the guard a deadline, as an agent does with each renewal: a guard that is just put into the pod
/// takes the next one.
async fn arm(plane: &Arc<dyn DataPlane>, epoch: Epoch, deadline: Tick) {
    until("the guard has the deadline", async || plane.arm(epoch, deadline).await.ok()).await;
}

async fn status(plane: &Arc<dyn DataPlane>) -> ActuatorStatus {
    plane.status().await.unwrap()
}

async fn look(plane: &Arc<dyn DataPlane>) -> SqlView {
    until("PostgreSQL is seen", async || {
        let seen = plane.observe().await;
        let (_, view) = seen.sql.filter(|(at, _)| now().since(*at) < Duration::from_secs(1))?;
        Some(view)
    })
    .await
}

/// The guard in the pod, once there is one.
async fn guard(region: &Region) -> Pid {
    let pid = async || region.guard_file("guard.pid")?.parse().ok().and_then(Pid::from_raw);
    until("a guard is in the pod", pid).await
}

/// Looks until there is something.
async fn until<T>(what: &str, holds: impl AsyncFn() -> Option<T>) -> T {
    for _ in 0..LOOKS {
        if let Some(found) = holds().await {
            return found;
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("never: {what}");
}

async fn until_streams(primary: &Arc<dyn DataPlane>, standby: &str) {
    until("the standby streams", async || {
        let view = look(primary).await;
        view.standbys.get(&region(standby)).filter(|standby| standby.streaming).map(drop)
    })
    .await;
}

fn refused<T: std::fmt::Debug>(result: Result<T, PlaneError>) {
    assert!(matches!(result, Err(PlaneError::Refused(_))), "{result:?}");
}
