//! Patches that are no applies.

use serde_json::json;

use crate::subject::{JSON, MERGE, STRATEGIC, Subject, map, version};

pub async fn a_json_patch_counts_as_a_whole(s: &Subject) {
    let one = format!("{}/one", s.core("configmaps"));
    s.post(&s.core("configmaps"), map("one", json!({ "a": "1", "b": "2" }))).await.unwrap();
    let patch = json!([
        { "op": "test", "path": "/data/a", "value": "1" },
        { "op": "replace", "path": "/data/a", "value": "3" },
        { "op": "remove", "path": "/data/b" },
        { "op": "add", "path": "/metadata/labels/suite.test~1x", "value": "y" },
    ]);
    let patched = s.patch(JSON, &one, patch).await.unwrap();
    assert_eq!(patched["data"], json!({ "a": "3" }));
    assert_eq!(patched["metadata"]["labels"]["suite.test/x"], "y");

    let refused = json!([
        { "op": "replace", "path": "/data/a", "value": "4" },
        { "op": "test", "path": "/data/a", "value": "1" },
    ]);
    s.patch(JSON, &one, refused).await.unwrap_err().is(422, "Invalid");
    assert_eq!(s.get(&one).await.unwrap(), patched);
    let missing = json!([{ "op": "remove", "path": "/data/none" }]);
    s.patch(JSON, &one, missing).await.unwrap_err().is(422, "Invalid");
}

pub async fn a_merge_patch_deletes_by_null(s: &Subject) {
    s.define(json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })).await;
    let one = format!("{}/one", s.things());
    let spec = json!({ "a": 1, "b": { "c": 1, "d": 2 }, "list": [1, 2] });
    s.post(&s.things(), s.thing("one", spec)).await.unwrap();
    let patch = json!({ "spec": { "a": null, "b": { "c": null }, "list": [3] } });
    let patched = s.patch(MERGE, &one, patch).await.unwrap();
    assert_eq!(patched["spec"], json!({ "b": { "d": 2 }, "list": [3] }));
}

pub async fn a_strategic_patch_merges_lists_by_key(s: &Subject) {
    let service = json!({
        "metadata": { "name": "one" },
        "spec": { "type": "ExternalName", "externalName": "a.test", "ports": [
            { "name": "a", "port": 1, "protocol": "TCP", "targetPort": 1 },
            { "name": "b", "port": 2, "protocol": "TCP", "targetPort": 2 },
        ] },
    });
    s.post(&s.core("services"), service).await.unwrap();
    let one = format!("{}/one", s.core("services"));
    let patch = json!({
        "metadata": { "annotations": { "x": "y" } },
        "spec": { "ports": [{ "port": 2, "name": "c" }] },
    });
    let patched = s.patch(STRATEGIC, &one, patch).await.unwrap();
    assert_eq!(patched["metadata"]["annotations"]["x"], "y");
    let mut ports: Vec<(i64, String)> = Vec::new();
    for port in patched["spec"]["ports"].as_array().unwrap() {
        ports.push((port["port"].as_i64().unwrap(), port["name"].as_str().unwrap().to_owned()));
    }
    ports.sort();
    assert_eq!(ports, [(1, "a".to_owned()), (2, "c".to_owned())]);
    let patch = json!({ "spec": { "ports": [{ "port": 1, "$patch": "delete" }] } });
    let patched = s.patch(STRATEGIC, &one, patch).await.unwrap();
    assert_eq!(patched["spec"]["ports"].as_array().unwrap().len(), 1);

    // Kinds that are defined have no such keys to go by.
    s.define(json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })).await;
    s.post(&s.things(), s.thing("one", json!({}))).await.unwrap();
    let thing = format!("{}/one", s.things());
    let refused = s.patch(STRATEGIC, &thing, json!({ "spec": { "a": 1 } })).await.unwrap_err();
    refused.is(415, "UnsupportedMediaType");
}

pub async fn a_patch_can_expect_a_version(s: &Subject) {
    let one = format!("{}/one", s.core("configmaps"));
    let made = s.post(&s.core("configmaps"), map("one", json!({ "a": "1" }))).await.unwrap();
    let patch =
        |at: &str, a: &str| json!({ "metadata": { "resourceVersion": at }, "data": { "a": a } });
    let next = s.patch(MERGE, &one, patch(&version(&made), "2")).await.unwrap();
    let refused = s.patch(MERGE, &one, patch(&version(&made), "3")).await.unwrap_err();
    refused.is(409, "Conflict");
    assert_eq!(s.get(&one).await.unwrap(), next);
}
