//! What stands against a Cluster, from what it says.

use serde_json::{Value, json};

use super::*;
use crate::kubernetes::fixtures;

fn codes(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut raw = fixtures::value("hel", "fsn", "fsn");
    change(&mut raw);
    let found = of(&serde_json::from_value(raw).unwrap());
    found.into_iter().map(|hindrance| hindrance.code).collect()
}

#[test]
fn only_what_bars_a_primary_is_told() {
    let marked = |marks: Value| codes(|raw| raw["metadata"]["annotations"] = marks);
    assert_eq!(codes(|_| {}), [""; 0]);
    assert_eq!(marked(json!({"cnpg.io/hibernation": "on"})), ["hibernated"]);
    assert_eq!(marked(json!({"cnpg.io/hibernation": "off"})), [""; 0]);
    let ours = json!({"cnpg.io/hibernation": "on", "dr.openova.io/rest": "on 3"});
    assert_eq!(marked(ours), [""; 0], "it is woken with its pair");
    let unreadable = json!({"cnpg.io/hibernation": "on", "dr.openova.io/rest": "perhaps"});
    assert_eq!(marked(unreadable), ["hibernated"], "what is not understood is not taken for ours");
    assert_eq!(marked(json!({"cnpg.io/reconciliationLoop": "disabled"})), ["reconciliation-off"]);
    let phases = [
        ("Cluster is unrecoverable and needs manual intervention", "unrecoverable"),
        ("Waiting for user action", "waiting-for-user"),
    ];
    for (phase, code) in phases {
        assert_eq!(codes(|raw| raw["status"]["phase"] = json!(phase)), [code]);
    }
    let demoted = codes(|raw| {
        raw["status"]["switchReplicaClusterStatus"] = json!({"inProgress": true});
    });
    assert_eq!(demoted, ["demotion-in-progress"]);
    let deleted = codes(|raw| raw["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    assert_eq!(deleted, ["deleting"]);
}

#[test]
fn who_told_it_to_be_a_primary_is_named() {
    let told = |primary: &str| {
        let mut raw = fixtures::value("hel", primary, "fsn");
        raw["metadata"]["managedFields"] = json!([
            { "manager": "continuum", "operation": "Update",
              "fieldsV1": { "f:spec": { "f:replica": { "f:primary": {} } } } },
            { "manager": "gitops", "operation": "Apply",
              "fieldsV1": { "f:spec": { "f:replica": { "f:primary": {} } } } },
            { "manager": "kubectl", "operation": "Update",
              "fieldsV1": { "f:spec": { "f:instances": {} } } },
        ]);
        told_primary(&serde_json::from_value(raw).unwrap())
    };
    assert_eq!(told("fsn"), None);
    let text = told("hel").unwrap();
    assert!(text.ends_with("was told to be a primary by gitops"), "{text}");
}
