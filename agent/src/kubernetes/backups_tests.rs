//! Backups of a real PostgreSQL, by the stand-in for the operator: asked for through a `CnpgPair`, followed
//! to their end, and told in its status and by metrics.

use std::os::unix::fs::PermissionsExt as _;

use continuum_cnpg_pair::guard;
use continuum_cnpg_pair::kubernetes::cnpg::{Backup, Cluster as Cnpg};
use continuum_cnpg_pair::kubernetes::crd::RegionBackups;
use continuum_test_kube::operator::{open_definition, open_definition_of};
use continuum_test_kube::{Misbehaviour, Operator, Site as Place};

use super::*;

const KINDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// The cluster in hel, whose Cluster is the pair's standby by the lease, and the agent's part there.
struct World {
    site: Site,
    operator: Operator,
    core: ScriptedCore,
    _directory: tempfile::TempDir,
}

/// The published definition where there is one: then what is written is checked against it.
fn definition(kind: &str, open: Value) -> Value {
    let given = std::env::var_os("CONTINUUM_TEST_CRDS").map(std::path::PathBuf::from);
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let file = format!("postgresql.cnpg.io_{}s.yaml", kind.to_lowercase());
    let places = given.into_iter().chain([root.join("../shared/kube/crds")]);
    let found = places.map(|place| place.join(&file)).find(|file| file.is_file());
    let text = found.map(|file| std::fs::read_to_string(file).unwrap());
    text.map_or(open, |text| serde_yaml_ng::from_str(&text).unwrap())
}

fn cnpg_pair() -> Value {
    let store = json!({ "store": { "destinationPath": "s3://backups/app" } });
    json!({
        "apiVersion": "dr.openova.io/v1", "kind": "CnpgPair", "metadata": { "name": "app" },
        "spec": {
            "primaryCluster": "app-fsn", "replicaCluster": "app-hel",
            "primaryRegion": "fsn", "replicaRegion": "hel",
            "members": { "primary": store, "replica": store }, "backups": {},
        },
    })
}

fn cluster() -> Value {
    json!({
        "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": { "name": "app-hel" },
        "spec": {
            "instances": 1, "storage": { "size": "1Gi" },
            "bootstrap": { "initdb": { "database": "app", "owner": "app" } },
        },
    })
}

impl World {
    /// `None` where PostgreSQL is missing.
    async fn start() -> Option<Self> {
        let bin =
            guard::locate_binaries(None).inspect_err(|error| println!("SKIPPED: {error}")).ok()?;
        let directory = tempfile::Builder::new().prefix("cbackup-").tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).unwrap();
        std::fs::create_dir_all(directory.path().join("db")).unwrap();
        let mut site = Site::start().await;
        for kind in ["Backup", "ScheduledBackup"] {
            post(&site.admin, KINDS, &definition(kind, open_definition_of(kind))).await;
        }
        post(&site.admin, KINDS, &definition("Cluster", open_definition())).await;
        let place = Place::new(directory.path().to_owned(), bin);
        let operator = Operator::start(&site.server, place).unwrap();
        let core = ScriptedCore::default();
        site.members = vec![
            serde_json::from_value(json!({
                "id": "app", "namespace": "db", "host": "app-hel-rw",
                "clusters": { "fsn": "app-fsn", "hel": "app-hel" },
            }))
            .unwrap(),
        ];
        let world = Self { site, operator, core, _directory: directory };
        let path = "/apis/postgresql.cnpg.io/v1/namespaces/db/clusters";
        post(&world.site.admin, path, &cluster()).await;
        eventually("PostgreSQL runs", async || {
            let cluster = world.site.server.peek("clusters.postgresql.cnpg.io", "db", "app-hel")?;
            (cluster["status"]["readyInstances"] == 1).then_some(())
        })
        .await;
        let path = "/apis/dr.openova.io/v1/namespaces/db/cnpgpairs";
        post(&world.site.admin, path, &cnpg_pair()).await;
        let mut object = object("app");
        object.spec.cnpg_pair = Some(serde_json::from_value(json!({ "name": "app" })).unwrap());
        world.site.create(&object).await;
        Some(world)
    }

    fn misbehave(&self, how: Misbehaviour) {
        self.operator.misbehave(how).unwrap();
    }

    async fn ask(&self, request: &str) {
        let wanted = json!({ "requestId": request, "target": "standby" });
        let patch = json!({ "spec": { "backups": { "onDemand": wanted } } });
        let api: Api<CnpgPair> = Api::namespaced(self.site.admin.clone(), "db");
        api.patch("app", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    async fn annotate(&self, key: &str, value: Option<&str>) {
        let patch = json!({ "metadata": { "annotations": { key: value } } });
        let api: Api<Cnpg> = Api::namespaced(self.site.admin.clone(), "db");
        api.patch("app-hel", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// The `BackupHealthy` condition, and what stands beside it.
    fn told(&self) -> Option<((ConditionStatus, String), RegionBackups)> {
        let object = self.site.server.peek("cnpgpairs.dr.openova.io", "db", "app")?;
        let status = serde_json::from_value::<CnpgPair>(object).unwrap().status?;
        let condition = status.conditions.iter().find(|one| one.name == "BackupHealthy")?;
        let own = status.backups.into_iter().find(|own| own.region == "hel")?;
        Some(((condition.status, condition.reason.clone()), own))
    }

    async fn until(
        &self,
        what: &str,
        so: impl Fn(&(ConditionStatus, String), &RegionBackups) -> bool,
    ) -> RegionBackups {
        let found =
            eventually(what, async || self.told().filter(|(condition, own)| so(condition, own)));
        tokio::time::timeout(PATIENCE / 2, found)
            .await
            .unwrap_or_else(|_| panic!("{what}: {:#?} {:?}", self.told(), self.operator.troubles()))
            .1
    }

    async fn until_refused(&self, request: &str, word: &str) {
        self.ask(request).await;
        self.until("it is refused", |_, own| {
            own.last_request.as_ref().is_some_and(|last| {
                last.id == request
                    && last.backup.is_none()
                    && last.refused.as_ref().is_some_and(|why| why.contains(word))
            })
        })
        .await;
        let name = format!("app-hel-ondemand-{request}");
        assert_eq!(self.site.server.peek("backups.postgresql.cnpg.io", "db", &name), None);
    }
}

fn phase(own: &RegionBackups, request: &str) -> String {
    let last = own.last_request.as_ref().filter(|last| last.id == request);
    last.and_then(|last| last.phase.clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_are_made_once_followed_to_their_end_and_refused_where_nothing_runs() {
    let Some(mut world) = World::start().await else { return };
    let core = world.core.clone();
    world.site.run(&core, "hel");
    world.until("nothing is scheduled", |is, _| is.1 == "NotScheduled").await;

    // On demand, with the agent killed while it is made: the next one follows on, and makes none anew.
    world.misbehave(Misbehaviour { backup_held: true, ..Misbehaviour::default() });
    world.ask("first").await;
    let own = world.until("it is being made", |_, own| phase(own, "first") == "running").await;
    assert_eq!(own.running.unwrap().name, "app-hel-ondemand-first");
    world.site.kill();
    world.misbehave(Misbehaviour::default());
    world.site.run(&core, "hel");
    let own = world.until("it is complete", |_, own| phase(own, "first") == "completed").await;
    let done = own.last_completed.unwrap();
    assert_eq!((done.name.as_str(), own.running), ("app-hel-ondemand-first", None));
    assert_eq!(done.method.as_deref(), Some("plugin"));
    assert!(done.begin_lsn.is_some() && done.end_wal.is_some() && done.backup_id.is_some());
    let made = |world: &World| {
        let asked = world.site.server.control().requests();
        let backups = |one: &&continuum_test_kube::Logged| {
            one.call.user == "agent" && one.call.verb == "create" && one.call.resource == "backups"
        };
        asked.iter().filter(backups).count()
    };
    assert_eq!(made(&world), 1, "asked twice with one name");
    let told = world.site.backups.as_ref().unwrap().look();
    assert!(told[0].age_ms.is_some_and(|age| age < 60_000) && told[0].failures == 0, "{told:?}");
    // Its object goes, as retention has it: it is not made again.
    let backups: Api<Backup> = Api::namespaced(world.site.admin.clone(), "db");
    backups.delete("app-hel-ondemand-first", &DeleteParams::default()).await.unwrap();
    world.until("it is gone", |_, own| own.last_completed.is_none()).await;
    assert_eq!(made(&world), 1);

    // A failure is told with its reason, and the next success ends it.
    world.misbehave(Misbehaviour { backup_plugin_missing: true, ..Misbehaviour::default() });
    world.ask("second").await;
    let own = world.until("it failed", |is, _| is.1 == "LastFailed").await;
    let why = own.last_failed.unwrap().error.unwrap();
    assert!(why.contains("plugin is not available"), "{why}");
    assert_eq!(world.site.backups.as_ref().unwrap().look()[0].failures, 1);
    world.misbehave(Misbehaviour::default());

    // A schedule is followed by itself.
    let schedule = json!({
        "apiVersion": "postgresql.cnpg.io/v1", "kind": "ScheduledBackup",
        "metadata": { "name": "app-hel-scheduled" },
        "spec": { "cluster": { "name": "app-hel" }, "schedule": "0 0 2 * * *", "immediate": true,
            "method": "plugin", "pluginConfiguration": { "name": "barman-cloud.cloudnative-pg.io" } },
    });
    let path = "/apis/postgresql.cnpg.io/v1/namespaces/db/scheduledbackups";
    post(&world.site.admin, path, &schedule).await;
    let own = world.until("one is as recent as it should be", |is, _| is.1 == "Recent").await;
    assert!(own.last_completed.unwrap().name.starts_with("app-hel-scheduled-"));

    // Nothing is asked of a Cluster that stands still.
    world.annotate("cnpg.io/fencedInstances", Some(r#"["*"]"#)).await;
    world.until_refused("third", "fenced").await;
    world.annotate("cnpg.io/fencedInstances", None).await;
    world.annotate("cnpg.io/hibernation", Some("on")).await;
    world.until_refused("fourth", "hibernated").await;
    world.annotate("cnpg.io/hibernation", None).await;
    assert_eq!(made(&world), 2, "the refused ones were not asked for");
}
