//! Smaller things that client code has stumbled over.

use hyper::Method;
use serde_json::{Value, json};

use crate::subject::{APPLY, JSON, MERGE, Subject, map, names, version};

fn nested() -> Value {
    json!({ "type": "object", "properties": {
        "inner": { "type": "object", "properties": {
            "a": { "type": "string" }, "b": { "type": "string" },
        } },
        "list": { "type": "array", "items": { "type": "string" } },
        "mode": { "type": "string", "default": "slow" },
    } })
}

pub async fn a_holder_goes_with_its_last_field(s: &Subject) {
    s.define(nested()).await;
    let one = format!("{}/one", s.things());
    let body = s.thing("one", json!({ "inner": { "a": "1", "b": "2" }, "list": ["x"] }));
    let made = s.apply(&one, "alice", false, body).await.unwrap();
    assert_eq!(made["metadata"]["generation"], 1);
    let body = s.thing("one", json!({ "inner": { "a": "1" }, "list": ["x"] }));
    let less = s.apply(&one, "alice", false, body).await.unwrap();
    assert_eq!(less["spec"], json!({ "inner": { "a": "1" }, "list": ["x"], "mode": "slow" }));
    assert_eq!(less["metadata"]["generation"], 2);
    if s.is_older_than(22, "a holder that an apply leaves empty goes") {
        return;
    }
    let less = s.apply(&one, "alice", false, s.thing("one", json!({}))).await.unwrap();
    assert!(less["spec"]["inner"].is_null(), "{less}");
    assert!(less["spec"]["list"].is_null(), "{less}");
    // A default is nobody's: it stays.
    assert_eq!(less["spec"]["mode"], "slow");
}

pub async fn an_apply_does_not_take_what_it_does_not_know(s: &Subject) {
    s.define(nested()).await;
    let one = format!("{}/one", s.things());
    let body = s.thing("one", json!({ "inner": { "a": "1" }, "typo": "x" }));
    let refused = s.apply(&one, "alice", false, body).await.unwrap_err();
    assert_eq!(refused.code, 500, "{refused:?}");
    assert!(refused.message.contains("field not declared in schema"), "{refused:?}");
    s.get(&one).await.unwrap_err().is(404, "NotFound");
}

pub async fn an_apply_can_be_tried(s: &Subject) {
    let one = format!("{}/one", s.core("configmaps"));
    let path = format!("{one}?fieldManager=alice&dryRun=All");
    let tried = s.patch(APPLY, &path, {
        let mut body = map("one", json!({ "a": "1" }));
        body["apiVersion"] = json!("v1");
        body
    });
    assert_eq!(tried.await.unwrap()["data"]["a"], "1");
    s.get(&one).await.unwrap_err().is(404, "NotFound");
}

pub async fn a_lease_is_replaced_by_its_version(s: &Subject) {
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", s.namespace);
    let lease = |holder: &str| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": "one" },
            "spec": {
                "holderIdentity": holder, "leaseDurationSeconds": 15,
                "renewTime": "2026-01-02T03:04:05.678901Z",
            },
        })
    };
    let made = s.post(&leases, lease("a")).await.unwrap();
    assert_eq!(made["spec"]["renewTime"], "2026-01-02T03:04:05.678901Z");
    let one = format!("{leases}/one");
    let mut next = made.clone();
    next["spec"]["holderIdentity"] = json!("b");
    s.put(&one, next.clone()).await.unwrap();
    next["spec"]["holderIdentity"] = json!("c");
    s.put(&one, next).await.unwrap_err().is(409, "Conflict");
    s.put(&one, lease("d")).await.unwrap_err().is(422, "Invalid");
    assert_eq!(s.get(&one).await.unwrap()["spec"]["holderIdentity"], "b");
    // One that is not there is made.
    let mut other = lease("e");
    other["metadata"]["name"] = json!("two");
    s.put(&format!("{leases}/two"), other).await.unwrap();
    assert_eq!(s.get(&format!("{leases}/two")).await.unwrap()["spec"]["holderIdentity"], "e");
}

pub async fn a_new_object_has_no_version_of_its_own(s: &Subject) {
    let mut body = map("one", json!({}));
    body["metadata"]["resourceVersion"] = json!("5");
    let refused = s.post(&s.core("configmaps"), body).await.unwrap_err();
    assert_eq!(refused.code, 500, "{refused:?}");
    assert!(refused.message.contains("resourceVersion should not be set"), "{refused:?}");
    // What only the server writes is not taken from a client.
    let mut body = map("two", json!({}));
    body["metadata"]["uid"] = json!("00000000-0000-4000-a000-000000000000");
    body["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
    let made = s.post(&s.core("configmaps"), body.clone()).await.unwrap();
    assert_ne!(made["metadata"]["uid"], body["metadata"]["uid"]);
    assert_ne!(made["metadata"]["creationTimestamp"], body["metadata"]["creationTimestamp"]);
    let patch = json!({ "metadata": { "creationTimestamp": "2001-01-01T00:00:00Z" } });
    let one = format!("{}/two", s.core("configmaps"));
    let patched = s.patch(MERGE, &one, patch).await.unwrap();
    assert_eq!(patched["metadata"]["creationTimestamp"], made["metadata"]["creationTimestamp"]);
}

pub async fn a_missing_object_is_not_patched(s: &Subject) {
    let none = format!("{}/none", s.core("configmaps"));
    let body = json!({ "data": { "a": "1" } });
    s.patch(MERGE, &none, body.clone()).await.unwrap_err().is(404, "NotFound");
    let steps = json!([{ "op": "add", "path": "/data", "value": {} }]);
    s.patch(JSON, &none, steps).await.unwrap_err().is(404, "NotFound");
    s.patch("text/plain", &none, body).await.unwrap_err().is(415, "UnsupportedMediaType");
    let posted = s.ask(Method::POST, &none, "application/json", map("none", json!({}))).await;
    assert_eq!(posted.unwrap_err().code, 405);
    // It has no status to write.
    s.post(&s.core("configmaps"), map("one", json!({}))).await.unwrap();
    let status = format!("{}/one/status", s.core("configmaps"));
    assert_eq!(s.get(&status).await.unwrap_err().code, 404);
}

pub async fn a_name_does_not_change(s: &Subject) {
    let one = format!("{}/one", s.core("configmaps"));
    let made = s.post(&s.core("configmaps"), map("one", json!({}))).await.unwrap();
    let renamed = json!({ "metadata": { "name": "two" } });
    let refused = s.patch(MERGE, &one, renamed).await.unwrap_err();
    assert!([400, 422].contains(&refused.code), "{refused:?}");
    assert_eq!(s.get(&one).await.unwrap(), made);
    s.get(&format!("{}/two", s.core("configmaps"))).await.unwrap_err().is(404, "NotFound");
}

pub async fn the_last_annotation_takes_the_rest_along(s: &Subject) {
    let one = format!("{}/one", s.core("configmaps"));
    s.post(&s.core("configmaps"), map("one", json!({}))).await.unwrap();
    let note = |value: Value| json!({ "metadata": { "annotations": { "x": value } } });
    let noted = s.patch(MERGE, &one, note(json!("y"))).await.unwrap();
    assert_eq!(noted["metadata"]["annotations"], json!({ "x": "y" }));
    let plain = s.patch(MERGE, &one, note(Value::Null)).await.unwrap();
    assert!(plain["metadata"]["annotations"].is_null());
}

pub async fn one_object_is_watched_by_its_name(s: &Subject) {
    let maps = s.core("configmaps");
    let one = s.post(&maps, map("one", json!({}))).await.unwrap();
    let from = version(&one);
    let path = format!("{maps}?watch=1&fieldSelector=metadata.name%3Dtwo&resourceVersion={from}");
    let mut events = s.watch(&path).await;
    s.post(&maps, map("other", json!({}))).await.unwrap();
    s.post(&maps, map("two", json!({}))).await.unwrap();
    assert_eq!(events.named().await, ("ADDED", "two".to_owned()));
    // Of kinds that are defined too, in all namespaces.
    s.define(nested()).await;
    for name in ["one", "two"] {
        s.post(&s.things(), s.thing(name, json!({}))).await.unwrap();
    }
    let everywhere = format!("/apis/{}/v1/things?fieldSelector=metadata.name%3Dtwo", s.group());
    let list = s.get(&everywhere).await.unwrap();
    assert_eq!((names(&list), &list["kind"]), (vec!["two".to_owned()], &json!("ThingList")));
    assert_eq!(list["items"][0]["kind"], "Thing");
    let mut events = s.watch(&format!("{everywhere}&watch=1")).await;
    assert_eq!(events.named().await, ("ADDED", "two".to_owned()));
}

pub async fn a_marked_object_takes_no_new_finalizer(s: &Subject) {
    let one = format!("{}/one", s.core("configmaps"));
    let mut held = map("one", json!({}));
    held["metadata"]["finalizers"] = json!(["suite.test/a", "suite.test/b"]);
    s.post(&s.core("configmaps"), held).await.unwrap();
    s.delete(&one, Value::Null).await.unwrap();
    let finalizers = |list: Value| json!({ "metadata": { "finalizers": list } });
    let more = finalizers(json!(["suite.test/a", "suite.test/b", "suite.test/c"]));
    s.patch(MERGE, &one, more).await.unwrap_err().is(422, "Invalid");
    s.patch(MERGE, &one, finalizers(json!(["suite.test/b"]))).await.unwrap();
    // It can still be written until the last has let go.
    s.patch(MERGE, &one, json!({ "data": { "a": "1" } })).await.unwrap();
    s.patch(MERGE, &one, finalizers(json!([]))).await.unwrap();
    s.get(&one).await.unwrap_err().is(404, "NotFound");
}

pub async fn owners_are_told_apart_by_their_uid(s: &Subject) {
    let owner = |uid: &str, name: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid });
    let one = format!("{}/one", s.core("configmaps"));
    let body = |owners: Value| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "one", "ownerReferences": owners },
        })
    };
    s.apply(&one, "alice", false, body(json!([owner("1", "x")]))).await.unwrap();
    let both = s.apply(&one, "bob", false, body(json!([owner("2", "y")]))).await.unwrap();
    let owners = both["metadata"]["ownerReferences"].as_array().unwrap();
    assert_eq!(owners.len(), 2, "{both}");
    let less = s.apply(&one, "alice", false, body(json!([]))).await.unwrap();
    assert_eq!(less["metadata"]["ownerReferences"], json!([owner("2", "y")]));
}
