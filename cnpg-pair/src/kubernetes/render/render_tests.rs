use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::core::cel::Validator;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::kubernetes::cnpg::{Backup, Cluster, Pooler, ScheduledBackup};
use crate::kubernetes::gates::{self, Side as GateSide};
use crate::kubernetes::reading::SqlLook;
use crate::kubernetes::schema::Definitions;

/// A pair with every option in use.
fn full() -> CnpgPair {
    serde_json::from_value(json!({
        "apiVersion": "dr.openova.io/v1", "kind": "CnpgPair",
        "metadata": {"name": "app", "namespace": "db"},
        "spec": {
            "primaryCluster": "app-fsn", "replicaCluster": "app-hel",
            "primaryRegion": "fsn", "replicaRegion": "hel",
            "imageName": "ghcr.io/cloudnative-pg/postgresql:18",
            "clientNamespaces": ["shop", "continuum"],
            "size": {"cpu": "3", "sharedBuffers": "3GB", "parameters": {"work_mem": "16MB"}},
            "members": {
                "primary": {"cidrs": ["192.0.2.0/24"], "storageClass": "fast",
                    "store": {"destinationPath": "s3://fsn/app", "endpointURL": "https://s3.example",
                        "s3Credentials": {"accessKeyId": {"name": "s3", "key": "id"},
                            "secretAccessKey": {"name": "s3", "key": "key"}}}},
                "replica": {"host": "db.hel.example", "port": 6432, "cidrs": ["198.51.100.0/24"],
                    "store": {"destinationPath": "s3://hel/app"}},
            },
            "backups": {},
            "pooler": {"mode": "transaction"},
        },
    }))
    .expect("a pair")
}

/// A pair with nothing but what must be there.
fn least() -> CnpgPair {
    serde_json::from_value(json!({
        "apiVersion": "dr.openova.io/v1", "kind": "CnpgPair",
        "metadata": {"name": "app", "namespace": "db"},
        "spec": {"primaryCluster": "app-fsn", "replicaCluster": "app-hel", "primaryRegion": "fsn",
            "replicaRegion": "hel", "members": {"primary": {}, "replica": {}}},
    }))
    .expect("a pair")
}

fn rendered(pair: &CnpgPair) -> [RegionManifests; 2] {
    render(pair, Durability::Available).expect("a sound pair")
}

fn of_kind<'a>(region: &'a RegionManifests, kind: &str) -> Vec<&'a Value> {
    region.manifests.iter().filter(|manifest| manifest["kind"] == kind).collect()
}

fn cluster(region: &RegionManifests) -> &Value {
    of_kind(region, "Cluster")[0]
}

/// Everything that is rendered for every plan, option and durability.
fn everything() -> Vec<Value> {
    let mut all = Vec::new();
    for durability in [Durability::Strict, Durability::Available, Durability::Async] {
        for plan in Plan::ALL {
            for mut pair in [full(), least()] {
                pair.spec.plan = plan;
                let regions = render(&pair, durability).expect("a sound pair");
                all.extend(regions.into_iter().flat_map(|region| region.manifests));
            }
        }
    }
    all
}

/// The published definitions of the operator, if they are at hand.
fn published() -> Definitions {
    let given = std::env::var_os("CONTINUUM_TEST_CRDS").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/kube/crds");
    let folder = given.clone().unwrap_or_else(beside);
    let mut published = Definitions::default();
    let files = match std::fs::read_dir(&folder) {
        Ok(files) => files,
        Err(error) if given.is_some() => {
            panic!("CONTINUUM_TEST_CRDS {}: {error}", folder.display())
        }
        Err(_) => return published,
    };
    for file in files {
        let path = file.expect("a readable folder").path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            let text = std::fs::read_to_string(&path).expect("a definition");
            published.add(&serde_yaml_ng::from_str(&text).expect("YAML"));
        }
    }
    published
}

fn skipped(published: &Definitions, what: &str) -> bool {
    if published.is_empty() {
        eprintln!(
            "SKIPPED: {what}: no published definitions; set CONTINUUM_TEST_CRDS to a folder of them"
        );
    }
    published.is_empty()
}

/// What an API server with the operator's definitions refuses.
fn refused(published: &Definitions, object: &Value) -> Vec<String> {
    let problems = published.problems(object).expect("a definition");
    let mut all: Vec<String> =
        problems.into_iter().map(|one| format!("{}: {}", one.path, one.problem)).collect();
    let schema = published.schema(object).expect("a definition");
    if let Err(errors) = Validator::new().validate(schema, object, None) {
        all.extend(errors.as_slice().iter().map(|error| format!("CEL: {error}")));
    }
    all
}

#[test]
fn the_operators_definitions_accept_everything_rendered() {
    let published = published();
    if skipped(&published, "what is rendered against the operator's definitions") {
        return;
    }
    let mut seen = std::collections::BTreeMap::new();
    for manifest in everything() {
        let kind = manifest["kind"].as_str().expect("a kind").to_owned();
        if manifest["apiVersion"] == "postgresql.cnpg.io/v1" {
            assert_eq!(refused(&published, &manifest), Vec::<String>::new(), "{manifest}");
        }
        *seen.entry(kind).or_insert(0) += 1;
    }
    // Three durabilities, four plans, with and without every option, two regions.
    assert_eq!(seen.get("Cluster"), Some(&48));
    assert_eq!((seen.get("Pooler"), seen.get("ScheduledBackup")), (Some(&24), Some(&24)));
    eprintln!("NOT CHECKED: ObjectStore: the plugin's definition is not among the operator's");
}

#[test]
fn the_operators_definitions_refuse_planted_mistakes() {
    let published = published();
    if skipped(&published, "planted mistakes against the operator's definitions") {
        return;
    }
    let preferred = "requires empty 'standbyNamesPre'";
    let cases = [
        ("/spec/replica/primry", json!("x"), "is no field of this kind"),
        ("/spec/replica/source", Value::Null, "spec.replica.source"),
        ("/spec/replica/promotionToken", json!(5), "is not of type string"),
        ("/spec/postgresql/synchronous/dataDurability", json!("preferred"), preferred),
        ("/spec/postgresql/synchronous/dataDurability", json!("best-effort"), "is none of"),
        ("/spec/postgresql/synchronous/method", json!("FIRST"), "is none of"),
        ("/spec/postgresql/synchronous/number", json!(0), "greater than zero"),
        ("/spec/postgresql/synchronous/number", json!("1"), "is not of type integer"),
        ("/spec/postgresql/synchronous/standbyNames", json!(["x"]), "is no field of this kind"),
        ("/spec/postgresql/parameters/max_connections", json!(100), "is not of type string"),
        ("/spec/instances", json!(0), "is below 1"),
        ("/spec/switchoverDelay", json!("10s"), "is not of type integer"),
        ("/spec/smartShutdownTimeout", json!(4_294_967_296_i64), "does not fit in 32 bits"),
        ("/spec/probes/readiness/type", json!("tcp"), "is none of"),
        ("/spec/probes/liveness/isolationCheck/timeout", json!(1), "is no field of this kind"),
        ("/spec/managed/services/additional/0/selectorType", json!("primary"), "is none of"),
        ("/spec/externalClusters/0/sslKey/key", Value::Null, "sslKey.key"),
        (
            "/spec/externalClusters/0/connectionParameters/port",
            json!(5432),
            "is not of type string",
        ),
        ("/spec/plugins/0/isWalArchiver", json!(true), "is no field of this kind"),
        ("/spec/storage/size", json!(10), "is not of type string"),
        ("/spec/bootstrap/initdb/walSegmentSize", json!(2048), "is above 1024"),
    ];
    let [first, _] = rendered(&full());
    for (pointer, value, part) in cases {
        let mut object = cluster(&first).clone();
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        let parent = object.pointer_mut(parent).and_then(Value::as_object_mut);
        let parent = parent.unwrap_or_else(|| panic!("nothing above {pointer}"));
        if value.is_null() {
            parent.remove(key)
        } else {
            parent.insert(key.into(), value.clone())
        };
        let found = refused(&published, &object);
        assert!(found.iter().any(|one| one.contains(part)), "{pointer} as {value}: {found:?}");
    }
    let mut pooler = of_kind(&first, "Pooler")[0].clone();
    pooler["spec"]["pgbouncer"]["poolMode"] = json!("statement");
    assert_eq!(refused(&published, &pooler).len(), 1);
    let mut backup = of_kind(&first, "ScheduledBackup")[0].clone();
    backup["spec"]["method"] = json!("snapshot");
    backup["spec"].as_object_mut().expect("an object").remove("schedule");
    assert_eq!(refused(&published, &backup).len(), 2);
}

/// What a type does not know it drops: an object that comes out as it went in has nothing unknown.
fn unchanged<T: Serialize + DeserializeOwned>(manifest: &Value) {
    let mut typed = serde_json::from_value::<T>(manifest.clone()).expect("a sound object");
    let back = serde_json::to_value(&mut typed).expect("plain data");
    assert_eq!(&back, manifest);
}

#[test]
fn services_and_policies_are_what_kubernetes_knows() {
    let mut seen = 0;
    for manifest in everything() {
        match manifest["kind"].as_str() {
            Some("Service") => unchanged::<Service>(&manifest),
            Some("NetworkPolicy") => unchanged::<NetworkPolicy>(&manifest),
            _ => continue,
        }
        seen += 1;
    }
    assert_eq!(seen, 48 + 24);
    // A field with a slip of the pen would be seen.
    let mut planted = of_kind(&rendered(&full())[0], "NetworkPolicy")[0].clone();
    planted["spec"]["ingres"] = json!([]);
    assert!(std::panic::catch_unwind(|| unchanged::<NetworkPolicy>(&planted)).is_err());
}

#[test]
fn the_same_pair_gives_the_same_bytes() {
    let text = |pair: &CnpgPair| -> Vec<String> {
        rendered(pair).iter().map(|region| yaml::stream(&region.manifests)).collect()
    };
    assert_eq!(text(&full()), text(&full()));
    // Whatever order the fields were written in.
    let turned: Value = serde_json::to_value(full()).expect("plain data");
    let turned: CnpgPair = serde_json::from_str(&turned.to_string()).expect("a pair");
    assert_eq!(text(&full()), text(&turned));
    for stream in text(&full()) {
        let documents: Vec<Value> = serde_yaml_ng::Deserializer::from_str(&stream)
            .map(|document| serde::Deserialize::deserialize(document).expect("YAML"))
            .collect();
        assert_eq!(documents.len(), 7);
    }
}

#[test]
fn both_clusters_share_one_topology() {
    let [first, second] = rendered(&full());
    assert_eq!((first.region.as_str(), second.region.as_str()), ("fsn", "hel"));
    assert_eq!(
        cluster(&first)["spec"]["replica"],
        json!({"self": "app-fsn", "primary": "app-fsn", "source": "app-hel"})
    );
    assert_eq!(
        cluster(&second)["spec"]["replica"],
        json!({"self": "app-hel", "primary": "app-fsn", "source": "app-fsn"})
    );
    assert!(cluster(&second)["spec"]["bootstrap"].get("pg_basebackup").is_some());
    for region in [&first, &second] {
        let spec = &cluster(region)["spec"];
        let externals = spec["externalClusters"].as_array().expect("a list");
        let names: Vec<&Value> = externals.iter().map(|one| &one["name"]).collect();
        assert_eq!(names, ["app-fsn", "app-hel"]);
        for external in externals {
            let parameters = &external["connectionParameters"];
            assert_eq!(parameters["sslmode"], "verify-full");
            assert_eq!(parameters["application_name"], cluster(region)["metadata"]["name"]);
        }
        assert_eq!(spec["smartShutdownTimeout"], 0);
        assert_eq!(spec["switchoverDelay"], 10);
        let labels = &cluster(region)["metadata"]["labels"];
        assert_eq!(labels["catalyst.openova.io/cnpg-pair"], "app");
        let role = if region.region == "fsn" { "primary" } else { "replica" };
        assert_eq!(labels["openova.io/cnpg-role"], role);
        assert_eq!(spec["backup"], Value::Null, "no archiver but the plugin");
    }
    // Each is reached where the other says it is.
    let host = |region: &RegionManifests, index: usize| {
        cluster(region)["spec"]["externalClusters"][index]["connectionParameters"]["host"].clone()
    };
    assert_eq!(host(&first, 1), "db.hel.example");
    assert_eq!(host(&second, 0), "app-fsn-mesh.db.svc");
    let names = &cluster(&second)["spec"]["certificates"]["serverAltDNSNames"];
    assert!(names.as_array().expect("a list").contains(&json!("db.hel.example")));
    let names = &cluster(&first)["spec"]["certificates"]["serverAltDNSNames"];
    assert!(names.as_array().expect("a list").contains(&json!("app-fsn-mesh.db.svc")));
}

#[test]
fn a_commit_waits_for_the_other_region_by_its_name() {
    for durability in [Durability::Strict, Durability::Available] {
        let [first, second] = render(&full(), durability).expect("a sound pair");
        for (region, other) in [(&first, "app-hel"), (&second, "app-fsn")] {
            let postgresql = &cluster(region)["spec"]["postgresql"];
            assert_eq!(
                postgresql["synchronous"],
                json!({"method": "first", "number": 1, "maxStandbyNamesFromCluster": 0,
                    "standbyNamesPre": [other], "dataDurability": "required"})
            );
            assert_eq!(postgresql["parameters"]["synchronous_commit"], "remote_apply");
        }
    }
    let [first, _] = render(&full(), Durability::Async).expect("a sound pair");
    let postgresql = &cluster(&first)["spec"]["postgresql"];
    assert_eq!(postgresql.get("synchronous"), None);
    assert_eq!(postgresql["parameters"]["synchronous_commit"], "on");
}

#[test]
fn a_field_of_the_plan_can_be_another_one() {
    let [first, _] = rendered(&full());
    let spec = &cluster(&first)["spec"];
    assert_eq!(spec["resources"]["limits"], json!({"cpu": "3", "memory": "8Gi"}));
    assert_eq!(spec["postgresql"]["parameters"]["shared_buffers"], "3GB");
    assert_eq!(spec["postgresql"]["parameters"]["work_mem"], "16MB");
    assert_eq!(spec["storage"]["storageClass"], "fast");
    for plan in Plan::ALL {
        let (plain, all) = (
            plan.sizes(),
            Size {
                instances: Some(9),
                cpu: Some("9".into()),
                memory: Some("9Gi".into()),
                storage: Some("9Gi".into()),
                wal_storage: Some("9Gi".into()),
                max_connections: Some(99),
                shared_buffers: Some("9MB".into()),
                effective_cache_size: Some("9MB".into()),
                maintenance_work_mem: Some("9MB".into()),
                max_wal_size: Some("9MB".into()),
                wal_keep_size: Some("9MB".into()),
                max_slot_wal_keep_size: Some("9MB".into()),
                parameters: Default::default(),
            },
        );
        let other = plain.clone().overridden(Some(&all));
        let text = format!("{other:?}");
        assert_eq!(text.matches('9').count(), 13, "{text}");
        assert_eq!(plain.clone().overridden(None), plain);
    }
}

/// The documented table is the one in use.
#[test]
fn the_plans_are_as_documented() {
    let docs = include_str!("../../../../docs/KUBERNETES.md");
    let all = Plan::ALL.map(Plan::sizes);
    let row = |name: &str, value: &dyn Fn(&Sizes) -> String| {
        format!("| `{name}` | {} |\n", all.each_ref().map(value).join(" | "))
    };
    let rows = [
        row("instances", &|one| one.instances.to_string()),
        row("cpu", &|one| one.cpu.clone()),
        row("memory", &|one| one.memory.clone()),
        row("storage", &|one| one.storage.clone()),
        row("walStorage", &|one| one.wal_storage.clone()),
        row("maxConnections", &|one| one.max_connections.to_string()),
        row("sharedBuffers", &|one| one.shared_buffers.clone()),
        row("effectiveCacheSize", &|one| one.effective_cache_size.clone()),
        row("maintenanceWorkMem", &|one| one.maintenance_work_mem.clone()),
        row("maxWalSize", &|one| one.max_wal_size.clone()),
        row("walKeepSize", &|one| one.wal_keep_size.clone()),
        row("maxSlotWalKeepSize", &|one| one.max_slot_wal_keep_size.clone()),
    ];
    assert!(docs.contains(&rows.concat()), "docs/KUBERNETES.md must have:\n{}", rows.concat());
}

#[test]
fn only_who_must_reaches_the_instances() {
    let [first, second] = rendered(&full());
    let rules = |region: &RegionManifests| {
        of_kind(region, "NetworkPolicy")[0]["spec"]["ingress"].as_array().expect("a list").clone()
    };
    let port = |number: u16| json!({"protocol": "TCP", "port": number});
    assert_eq!(
        rules(&first)[0],
        json!({"from": [{"ipBlock": {"cidr": "198.51.100.0/24"}}], "ports": [port(5432)]})
    );
    assert_eq!(rules(&second)[0]["from"][0]["ipBlock"]["cidr"], "192.0.2.0/24");
    // Only the operator and the instances themselves reach the instance manager.
    let manager: Vec<Value> = rules(&first)
        .into_iter()
        .filter(|rule| rule["ports"].as_array().is_some_and(|ports| ports.contains(&port(8000))))
        .map(|rule| rule["from"].clone())
        .collect();
    assert_eq!(
        manager,
        [
            json!([{"namespaceSelector": {"matchLabels":
            {"kubernetes.io/metadata.name": "cnpg-system"}}}]),
            json!([{"podSelector": {"matchLabels": {"cnpg.io/cluster": "app-fsn"}}}]),
        ]
    );
    // Not known where the other region's come from: no policy, as it would shut them out.
    assert!(rendered(&least()).iter().all(|region| of_kind(region, "NetworkPolicy").is_empty()));
}

#[test]
fn each_region_archives_to_a_place_of_its_own_and_reads_both() {
    for region in &rendered(&full()) {
        let own = cluster(region)["metadata"]["name"].as_str().expect("a name");
        let plugin = &cluster(region)["spec"]["plugins"][0];
        assert_eq!(plugin["isWALArchiver"], true);
        assert_eq!(plugin["parameters"]["serverName"], own);
        let stores: Vec<&Value> =
            of_kind(region, "ObjectStore").iter().map(|store| &store["metadata"]["name"]).collect();
        assert_eq!(stores.len(), 2);
        assert!(stores.contains(&&json!(format!("{own}-store"))));
        for external in cluster(region)["spec"]["externalClusters"].as_array().expect("a list") {
            assert_eq!(external["plugin"]["parameters"]["serverName"], external["name"]);
        }
    }
}

/// Every value that is rendered of a Secret is its name and a key.
#[test]
fn nothing_secret_is_rendered() {
    for manifest in everything() {
        assert_ne!(manifest["kind"], "Secret");
        let text = manifest.to_string();
        for word in ["password\":\"", "stringData", "promotionToken", "BEGIN "] {
            assert!(!text.contains(word), "{word}: {text}");
        }
    }
}

#[test]
fn the_views_read_what_is_rendered() {
    for region in &rendered(&full()) {
        let view: Cluster = serde_json::from_value(cluster(region).clone()).expect("a Cluster");
        let synchronous = view.spec.postgresql.expect("settings").synchronous.expect("names");
        assert_eq!(synchronous.standby_names_pre.map(|names| names.len()), Some(1));
        let pooler: Pooler =
            serde_json::from_value(of_kind(region, "Pooler")[0].clone()).expect("a Pooler");
        assert_eq!(pooler.spec.pgbouncer.and_then(|one| one.pool_mode), Some("transaction".into()));
        let backup: ScheduledBackup =
            serde_json::from_value(of_kind(region, "ScheduledBackup")[0].clone()).expect("one");
        assert_eq!(backup.spec.schedule.as_deref(), Some("0 0 2 * * *"));
    }
    let unknown: Backup = serde_json::from_value(json!({"apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Backup", "metadata": {"name": "x"}, "spec": {}, "status": {"phase": "new"}}))
    .expect("a Backup");
    assert_eq!(unknown.phase(), crate::kubernetes::cnpg::BackupPhase::Unknown);
}

/// Of a fresh pair, the gates find nothing in the specs: all that is shut is what is not known yet.
#[test]
fn what_is_rendered_can_be_handed_over() {
    let [first, second] = rendered(&full());
    let view = |region: &RegionManifests| -> Cluster {
        serde_json::from_value(cluster(region).clone()).expect("a Cluster")
    };
    let (source, target, sql) = (view(&first), view(&second), SqlLook::default());
    let source = GateSide { cluster: &source, sql: &sql, others: &["app-hel"] };
    let target = GateSide { cluster: &target, sql: &sql, others: &["app-fsn"] };
    for found in [gates::source(source), gates::target(target)] {
        let unknown = found.iter().all(|one| one.meaning.contains("not known"));
        assert!(!found.is_empty() && unknown, "{found:#?}");
    }
}

#[test]
fn a_pair_that_cannot_be_is_refused_by_its_field() {
    type Change = fn(&mut CnpgPair);
    let cases: [(Change, &str); 15] = [
        (|pair| pair.metadata.namespace = None, "metadata.namespace"),
        (|pair| pair.metadata.name = Some("App".into()), "metadata.name"),
        (|pair| pair.spec.primary_cluster = "x".repeat(51), "spec.primaryCluster"),
        (|pair| pair.spec.replica_cluster = "app-fsn".into(), "spec.replicaCluster"),
        (|pair| pair.spec.replica_region = "fsn".into(), "spec.replicaRegion"),
        (
            |pair| pair.spec.members.primary.cidrs = vec!["10.0.0.0/33".into()],
            "spec.members.primary.cidrs[0]",
        ),
        (|pair| pair.spec.members.replica.host = Some(" ".into()), "spec.members.replica.host"),
        (|pair| pair.spec.members.replica.port = Some(0), "spec.members.replica.port"),
        (|pair| pair.spec.members.replica.store = None, "spec.backups"),
        (
            |pair| {
                let store = pair.spec.members.primary.store.as_mut().expect("a store");
                store.endpoint_url = Some("https://user:secret@s3.example".into());
            },
            "spec.members.primary.store.endpointURL",
        ),
        (
            |pair| parameter(pair, "synchronous_commit", "off"),
            "spec.size.parameters.synchronous_commit",
        ),
        (|pair| parameter(pair, "Fsync", "off"), "spec.size.parameters.Fsync"),
        (|pair| parameter(pair, "ssl_ca_file", "x"), "spec.size.parameters.ssl_ca_file"),
        (|pair| parameter(pair, "max_connections", "5"), "spec.size.parameters.max_connections"),
        (|pair| parameter(pair, "work_mem", "1\nfsync=off"), "spec.size.parameters.work_mem"),
    ];
    for (change, path) in cases {
        let mut pair = full();
        change(&mut pair);
        let errors = render(&pair, Durability::Strict).expect_err("refused");
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].path, path);
        assert!(!errors[0].problem.contains("secret"));
    }
}

fn parameter(pair: &mut CnpgPair, name: &str, value: &str) {
    let size = pair.spec.size.as_mut().expect("a size");
    size.parameters.insert(name.into(), value.into());
}

#[test]
fn a_pair_comes_out_of_the_pairs_own_spec() {
    let spec: continuum_domain::spec::PairSpec = toml::from_str(
        "id = \"app\"\nfirst_primary = \"hel\"\n\
         [members.fsn]\nhost = \"a\"\nport = 5432\n[members.hel]\nhost = \"b\"\nport = 6432\n",
    )
    .expect("a spec");
    let pair = pair_of(&spec, "db").expect("two members");
    assert_eq!(pair.spec.primary_cluster, "app-hel");
    assert_eq!(pair.spec.members.primary.port, Some(6432));
    assert_eq!((pair.spec.database.as_str(), pair.spec.plan), ("app", Plan::Standard));
    render(&pair, Durability::Strict).expect("a sound pair");
    let mut three = spec;
    let third = three.members.values().next().expect("one").clone();
    three.members.insert(continuum_domain::RegionId::new("nbg").expect("valid"), third);
    assert_eq!(pair_of(&three, "db").expect_err("refused").path, "members");
}
