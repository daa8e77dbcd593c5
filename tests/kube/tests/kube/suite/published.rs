//! The published definitions of others: they take what they should, and refuse planted mistakes.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::subject::Subject;

/// The published definitions, where there are any on this machine.
pub fn definitions() -> Option<PathBuf> {
    let given = std::env::var_os("CONTINUUM_TEST_CRDS").map(PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let beside = root.join("../shared/kube/crds");
    let found = given.into_iter().chain([beside]).find(|directory| directory.is_dir());
    if found.is_none() {
        println!("SKIPPED: no published definitions; CONTINUUM_TEST_CRDS names their directory");
    }
    found
}

pub fn read(path: &Path) -> Value {
    serde_yaml_ng::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A replica of a distributed topology, small and whole.
fn cluster() -> Value {
    json!({
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "metadata": { "name": "db-b" },
        "spec": {
            "instances": 3,
            "storage": { "size": "1Gi" },
            "postgresql": { "synchronous": {
                "method": "first", "number": 1, "standbyNamesPre": ["db-a"],
                "maxStandbyNamesFromCluster": 0, "dataDurability": "required",
            } },
            "bootstrap": { "pg_basebackup": { "source": "db-a" } },
            "replica": { "self": "db-b", "primary": "db-a", "source": "db-a" },
            "switchoverDelay": 10,
            "smartShutdownTimeout": 0,
            "externalClusters": [
                { "name": "db-a", "connectionParameters": { "host": "db-a-rw", "user": "r" } },
                { "name": "db-b", "connectionParameters": { "host": "db-b-rw", "user": "r" } },
            ],
        },
    })
}

fn route() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": { "name": "route" },
        "spec": {
            "parentRefs": [{ "name": "gw" }],
            "rules": [{ "backendRefs": [
                { "name": "a", "port": 80, "weight": 100 }, { "name": "b", "port": 80, "weight": 0 },
            ] }],
        },
    })
}

pub async fn published_definitions_take_their_samples(s: &Subject) {
    let Some(directory) = definitions() else { return };
    let path =
        |group: &str, plural: &str| format!("/apis/{group}/v1/namespaces/{}/{plural}", s.namespace);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let definition = read(&file);
        let (group, names) = (&definition["spec"]["group"], &definition["spec"]["names"]);
        let at = path(group.as_str().unwrap(), names["plural"].as_str().unwrap());
        s.define_as(definition, &at).await;
    }
    let clusters = path("postgresql.cnpg.io", "clusters");
    let made = s.post(&clusters, cluster()).await.unwrap();
    assert_eq!(made["spec"]["replica"]["primary"], "db-a");
    assert_eq!(made["spec"]["primaryUpdateStrategy"], "unsupervised", "a default of theirs");
    s.post(&path("gateway.networking.k8s.io", "httproutes"), route()).await.unwrap();

    let planted: &[(&str, Value)] = &[
        ("/spec/instances", json!(0)),
        ("/spec/instances", json!("three")),
        ("/spec/postgresql/synchronous/method", json!("some")),
        ("/spec/postgresql/synchronous/dataDurability", json!("maybe")),
        ("/spec/externalClusters/0", json!({ "connectionParameters": {} })),
    ];
    for (at, value) in planted {
        let mut wrong = cluster();
        *wrong.pointer_mut(at).unwrap() = value.clone();
        wrong["metadata"]["name"] = json!("wrong");
        s.post(&clusters, wrong).await.unwrap_err().is(422, "Invalid");
    }
    if s.is_older_than(25, "rules in CEL") {
        return;
    }
    let mut wrong = cluster();
    wrong["metadata"]["name"] = json!("wrong");
    wrong["spec"]["postgresql"]["synchronous"]["dataDurability"] = json!("preferred");
    s.post(&clusters, wrong).await.unwrap_err().is(422, "Invalid");
    let mut wrong = route();
    wrong["metadata"]["name"] = json!("wrong");
    wrong["spec"]["rules"][0]["backendRefs"][0].as_object_mut().unwrap().remove("port");
    let refused =
        s.post(&path("gateway.networking.k8s.io", "httproutes"), wrong).await.unwrap_err();
    assert!(refused.message.contains("Must have port"), "{refused:?}");
}
