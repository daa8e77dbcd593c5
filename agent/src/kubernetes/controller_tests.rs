//! The controller on an API server, with a core that takes requests as the real one does: by version
//! and by key. (The real one's part is tested where it is.)

use std::sync::{Arc, Mutex};

use continuum_cnpg_pair::kubernetes::crd::{self, ConditionStatus, ContinuumPhase};
use continuum_control_api::heard::Heard;
use continuum_control_api::link::{FromAgent, RegionAsk, RegionWish};
use continuum_control_api::rest::Posture;
use continuum_domain::spec::PairSpec;
use continuum_domain::{Epoch, OperationId};
use continuum_runtime::{BootClock, Clock as _};
use continuum_test_kube::{ApiServer, Effect, Options};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::*;
use crate::config::ClusterMember;
use crate::core_link::CoreHandle;
use scripted_core::{ScriptedCore, standing};

const PATIENCE: Duration = Duration::from_secs(40);

/// Looks until it is so.
async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let work = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("never: {what}"))
}

fn app() -> PairId {
    PairId::new("app").unwrap()
}

fn object(name: &str) -> Continuum {
    serde_json::from_value(json!({
        "apiVersion": "dr.openova.io/v1", "kind": "Continuum", "metadata": { "name": name },
        "spec": {
            "primaryRegion": "fsn", "hotStandbyRegions": ["hel"],
            "regions": [{ "name": "fsn", "host": "a" }, { "name": "hel", "host": "b" }],
        },
    }))
    .unwrap()
}

fn clock() -> SharedClock {
    Arc::new(BootClock)
}

/// A cluster with our definitions, and its agent.
struct Site {
    server: ApiServer,
    admin: Client,
    api: Api<Continuum>,
    running: Option<tokio::task::JoinHandle<()>>,
    desk: Option<CoreDesk>,
    members: Vec<ClusterMember>,
    backups: Option<BackupDesk>,
    roles: Option<RoleDesk>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn post(client: &Client, path: &str, body: &Value) {
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(body).unwrap())
        .unwrap();
    client.request::<Value>(request).await.unwrap();
}

impl Site {
    async fn start() -> Self {
        let server = ApiServer::start(Options::default()).await.unwrap();
        let admin = server.client().unwrap();
        for (_, definition) in crd::definitions() {
            let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
            post(&admin, path, &definition).await;
        }
        let space: Namespace =
            serde_json::from_value(json!({ "metadata": { "name": "db" } })).unwrap();
        Api::all(admin.clone()).create(&PostParams::default(), &space).await.unwrap();
        let api = Api::namespaced(admin.clone(), "db");
        Self {
            server,
            admin,
            api,
            running: None,
            desk: None,
            members: Vec::new(),
            backups: None,
            roles: None,
        }
    }

    /// Starts the agent's part for this cluster.
    fn run(&mut self, core: &ScriptedCore, region: &str) {
        let cluster = Cluster::with(self.server.config("agent"), "db").unwrap();
        let (desk, _handle) = core.connect();
        self.desk = Some(desk.clone());
        let backups = BackupDesk::new(&RegionId::new(region).unwrap(), &self.members, &clock());
        self.backups = Some(backups.clone());
        let own = RegionId::new(region).unwrap();
        let roles = self.roles.get_or_insert(RoleDesk::new(&own, &Pairs::default(), &clock()));
        let controller = Controller {
            cluster,
            region: RegionId::new(region).unwrap(),
            timing: Timing::default(),
            clock: clock(),
            desk,
            pairs: Pairs::default(),
            backups: backups.clone(),
            roles: roles.clone(),
        };
        self.running = Some(seed::spawn(controller.run()));
    }

    fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }

    async fn create(&self, object: &Continuum) {
        self.api.create(&PostParams::default(), object).await.unwrap();
    }

    async fn patch(&self, patch: Value) {
        let patch = Patch::Merge(patch);
        self.api.patch("app", &PatchParams::default(), &patch).await.unwrap();
    }

    async fn until(&self, what: &str, so: impl Fn(&ContinuumStatus) -> bool) -> ContinuumStatus {
        eventually(what, async || {
            // Past every fault.
            let object = self.server.peek("continuums.dr.openova.io", "db", "app")?;
            let object: Continuum = serde_json::from_value(object).unwrap();
            object.status.filter(|status| so(status))
        })
        .await
    }

    async fn admitted(&self, reason: &str) -> ContinuumStatus {
        self.until(reason, |status| condition(status, "Admitted").1 == reason).await
    }

    /// As soon as whatever is under way has come to an end. That no write is due any more has no sign:
    /// three looks, each longer apart than half of what writes of one object are.
    async fn quiet(&self) {
        let mut last = String::new();
        let mut same = 0;
        eventually("quiet", async || {
            tokio::time::sleep(Duration::from_millis(700)).await;
            let now = self.server.peek("continuums.dr.openova.io", "db", "app").unwrap();
            let now = now["metadata"]["resourceVersion"].to_string();
            same = if now == last { same + 1 } else { 0 };
            last = now;
            (same >= 3).then_some(())
        })
        .await;
    }
}

fn condition(status: &ContinuumStatus, name: &str) -> (ConditionStatus, String) {
    let found = status.conditions.iter().find(|one| one.name == name);
    found.map_or((ConditionStatus::Unknown, String::new()), |one| (one.status, one.reason.clone()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_brought_to_the_core_and_its_status_comes_back() {
    let (core, mut site) = (ScriptedCore::default(), Site::start().await);
    site.run(&core, "hel");
    site.create(&object("app")).await;
    let status = site.admitted("Admitted").await;
    assert_eq!(core.version(), Some(1));
    let status = match status.phase {
        Some(ContinuumPhase::Healthy) => status,
        _ => site.until("healthy", |status| status.phase == Some(ContinuumPhase::Healthy)).await,
    };
    assert_eq!(status.lease_holder.as_deref(), Some("fsn"));
    assert_eq!((status.epoch, status.replication_lag_bytes), (Some(3), Some(0)));
    // What was not measured is left out.
    assert_eq!(status.replication_lag_seconds, None);
    assert_eq!(condition(&status, "StandbyAvailable").0, ConditionStatus::True);
    assert_eq!(condition(&status, "LastSwitchoverHealthy").0, ConditionStatus::Unknown);
    site.patch(json!({ "spec": { "maxLagBytes": 5 } })).await;
    eventually("the change", async || (core.version() == Some(2)).then_some(())).await;
    // Somebody else writes the status: it says again what is so.
    site.quiet().await;
    let forged = json!({ "status": { "phase": "Failed", "leaseHolder": "hel", "epoch": 99 } });
    let forged = Patch::Merge(forged);
    site.api.patch_status("app", &PatchParams::default(), &forged).await.unwrap();
    site.until("what is so", |status| status.epoch == Some(3)).await;
    // Nothing is written while nothing changes.
    site.quiet().await;
    // The object goes, and the pair stays.
    site.api.delete("app", &DeleteParams::default()).await.unwrap();
    site.quiet_without_object().await;
    assert_eq!(core.version(), Some(2));
    // The core is silent: nothing is shown as well, after a while.
    site.create(&object("app")).await;
    // It was never taken over as this object, and the core has something else.
    site.admitted("Conflict").await;
    site.desk.as_ref().unwrap().lost();
    let status = site.until("unknown", |one| one.phase == Some(ContinuumPhase::Unknown)).await;
    assert_eq!(condition(&status, "Ready").0, ConditionStatus::Unknown);
    assert_eq!((status.lease_holder, status.epoch), (None, None));
}

impl Site {
    async fn quiet_without_object(&self) {
        eventually("gone", async || {
            self.server.peek("continuums.dr.openova.io", "db", "app").is_none().then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_both_sides_changed_is_not_overwritten() {
    let (core, mut site) = (ScriptedCore::default(), Site::start().await);
    let mut other = Site::start().await;
    site.run(&core, "hel");
    site.create(&object("app")).await;
    site.admitted("Admitted").await;
    // Another cluster has an older object of the same pair.
    other.run(&core, "fsn");
    let mut older = object("app");
    older.spec.max_lag_bytes = Some(1);
    other.create(&older).await;
    let status = other.admitted("Conflict").await;
    let message = &status.conditions[0].message;
    assert!(message.contains("max_lag_bytes") && message.contains("over-version"), "{message}");
    // The core goes on; an object that nobody changed overwrites nothing, also after a restart.
    site.quiet().await;
    core.change(|spec| spec.max_lag_bytes = 77);
    site.admitted("ChangedAtCore").await;
    site.kill();
    site.run(&core, "hel");
    site.quiet().await;
    assert_eq!(core.version(), Some(2));
    // Changed here as well.
    site.patch(json!({ "spec": { "maxLagBytes": 5 } })).await;
    site.admitted("Conflict").await;
    assert_eq!(core.version(), Some(2));
    // A person decides.
    let over = json!({ "metadata": { "annotations": { "dr.openova.io/over-version": "2" } } });
    site.patch(over).await;
    site.admitted("Admitted").await;
    assert_eq!(core.version(), Some(3));
    // Removed at the core: an object that lies around does not bring it back.
    site.quiet().await;
    core.kept().specs.clear();
    core.tell();
    site.admitted("RemovedAtCore").await;
    // Nor does one that was never taken over.
    other.admitted("RemovedAtCore").await;
    other.quiet().await;
    assert_eq!(core.version(), None);
}

fn moves_to(request: Option<&str>) -> Value {
    let mut wish = json!({ "requested": true, "targetRegion": "hel" });
    if let Some(request) = request {
        wish["requestId"] = json!(request);
    }
    json!({ "spec": { "switchover": wish } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_to_move_is_asked_once_over_crashes_and_storms() {
    let (core, mut site) = (ScriptedCore::default(), Site::start().await);
    site.run(&core, "hel");
    site.create(&object("app")).await;
    site.admitted("Admitted").await;
    site.quiet().await;
    // The core does it, and the answer is lost with the agent.
    core.kept().mute = true;
    site.patch(moves_to(None)).await;
    eventually("asked", async || (!core.kept().moves.is_empty()).then_some(())).await;
    site.kill();
    let noted = site.until("noted", |status| status.last_request.is_some()).await;
    assert_eq!(noted.last_request.unwrap().operation, None);
    // Meanwhile the object was changed elsewhere: the wish is still the same.
    site.patch(json!({ "spec": { "maxLagBytes": 5 } })).await;
    core.kept().mute = false;
    let writes = |call: &continuum_test_kube::Call| call.verb == "patch" && call.user == "agent";
    site.server.control().disturb(Effect::RetryAfter(1), Some(2), writes);
    site.server.control().disturb(Effect::Answer(409), Some(3), writes);
    site.server.control().disturb(Effect::LoseReply, Some(2), writes);
    site.run(&core, "hel");
    let outcome = |status: &ContinuumStatus| status.last_request.as_ref()?.operation.clone();
    site.until("the operation", |status| outcome(status).as_deref() == Some("op-1")).await;
    site.quiet().await;
    assert_eq!(core.kept().moves, ["hel"]);
    // Replayed by name: reverted by a tool that keeps it in a repository, and back again.
    for id in ["r1", "r2"] {
        site.patch(moves_to(Some(id))).await;
        site.until(id, |status| {
            status
                .last_request
                .as_ref()
                .is_some_and(|last| last.id == id && last.operation.is_some())
        })
        .await;
    }
    site.patch(moves_to(Some("r1"))).await;
    site.until("refused", |status| {
        status.last_request.as_ref().is_some_and(|last| last.refused.is_some())
    })
    .await;
    assert_eq!(core.kept().moves.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_survive_drops_410_and_an_outage() {
    let (core, mut site) = (ScriptedCore::default(), Site::start().await);
    site.run(&core, "hel");
    site.create(&object("app")).await;
    site.admitted("Admitted").await;
    // Watches end in the middle, and those after are refused for a while.
    site.server.control().disturb(Effect::Drop, Some(3), |call| call.verb == "watch");
    site.server.control().disturb(Effect::RetryAfter(1), Some(2), |call| call.verb == "watch");
    site.server.down().await;
    site.server.up().await.unwrap();
    // Everything in between was forgotten.
    site.admin = site.server.client().unwrap();
    site.api = Api::namespaced(site.admin.clone(), "db");
    site.patch(json!({ "spec": { "maxLagBytes": 5 } })).await;
    site.server.compact();
    let up = BootClock.now();
    eventually("the change", async || (core.version() == Some(2)).then_some(())).await;
    let took = BootClock.now().since(up);
    println!("reconnected after {took:?}");
    site.server.control().disturb(Effect::Answer(410), Some(1), |call| call.verb == "watch");
    site.patch(json!({ "spec": { "maxLagBytes": 6 } })).await;
    eventually("the change", async || (core.version() == Some(3)).then_some(())).await;
    let asked = site.server.control().requests();
    let agent = |one: &&continuum_test_kube::Logged| one.call.user == "agent";
    let named =
        asked.iter().filter(agent).all(|one| one.call.agent.starts_with("continuum-agent/"));
    assert!(named);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_said_with_what_to_do() {
    let (core, mut site) = (ScriptedCore::default(), Site::start().await);
    core.kept().forbids = true;
    site.run(&core, "hel");
    site.create(&object("app")).await;
    let status = site.admitted("NotGranted").await;
    assert_eq!(condition(&status, "Admitted").0, ConditionStatus::False);
    assert_eq!(status.phase, Some(ContinuumPhase::Pending));
    site.quiet().await;
    assert_eq!(core.kept().asks.len(), 1);
    // Not of this region, and with another timing than the agent's.
    site.patch(json!({ "spec": { "leaseClient": { "kind": "witness", "config": {
        "ttlSeconds": 60, "renewSeconds": 2, "stopBudgetSeconds": 3, "guardSeconds": 1 } } } }))
        .await;
    let status = site.admitted("SpecRefused").await;
    assert!(status.conditions[0].message.contains("spec.leaseClient.config"));
    // A CnpgPair that is not there.
    site.patch(json!({ "spec": { "leaseClient": null, "cnpgPair": { "name": "none" } } })).await;
    let status = site.until("the pair", |status| {
        status.conditions.iter().any(|one| one.message.contains("there is no CnpgPair none"))
    });
    assert_eq!(condition(&status.await, "Admitted").1, "SpecRefused");
    assert_eq!(core.version(), None);
}

#[path = "backups_tests.rs"]
mod backups;
#[path = "footprint_tests.rs"]
mod footprint;
#[path = "controller_roles_tests.rs"]
mod roles;
#[path = "scripted_core_tests.rs"]
mod scripted_core;
