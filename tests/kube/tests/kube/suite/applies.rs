//! Server-side apply: ownership, conflicts, and what goes when it is no longer named.

use serde_json::{Value, json};

use crate::subject::{APPLY, MERGE, Subject, map, version};

fn applied(name: &str, data: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data })
}

/// What a manager owns by its applies.
fn owned(object: &Value, manager: &str, operation: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let own = entries.iter().find(|is| is["manager"] == manager && is["operation"] == operation);
    own.map_or(Value::Null, |entry| {
        assert_eq!(entry["fieldsType"], "FieldsV1");
        entry["fieldsV1"].clone()
    })
}

pub async fn an_apply_makes_and_owns(s: &Subject) {
    let one = format!("{}/one", s.core("configmaps"));
    let mut body = applied("one", json!({ "a": "1" }));
    body["metadata"]["labels"] = json!({ "x": "y" });
    let made = s.apply(&one, "alice", false, body).await.unwrap();
    assert_eq!(made["data"]["a"], "1");
    assert_eq!(
        owned(&made, "alice", "Apply"),
        json!({ "f:data": { "f:a": {} }, "f:metadata": { "f:labels": { "f:x": {} } } })
    );
    assert_eq!(s.get(&one).await.unwrap(), made);
}

pub async fn a_conflict_names_its_owner(s: &Subject) {
    let one = format!("{}/one", s.core("configmaps"));
    let made = s.apply(&one, "alice", false, applied("one", json!({ "a": "1" }))).await.unwrap();
    let refused = s
        .apply(&one, "bob", false, applied("one", json!({ "a": "2", "b": "1" })))
        .await
        .unwrap_err();
    refused.is(409, "Conflict");
    assert_eq!(refused.message, "Apply failed with 1 conflict: conflict with \"alice\": .data.a");
    assert_eq!(refused.causes(), [(".data.a".to_owned(), "FieldManagerConflict".to_owned())]);
    assert_eq!(s.get(&one).await.unwrap(), made);
}

pub async fn force_takes_a_field(s: &Subject) {
    let one = format!("{}/one", s.core("configmaps"));
    s.apply(&one, "alice", false, applied("one", json!({ "a": "1", "b": "1" }))).await.unwrap();
    let taken = s.apply(&one, "bob", true, applied("one", json!({ "a": "2" }))).await.unwrap();
    assert_eq!(taken["data"], json!({ "a": "2", "b": "1" }));
    assert_eq!(owned(&taken, "alice", "Apply"), json!({ "f:data": { "f:b": {} } }));
    assert_eq!(owned(&taken, "bob", "Apply"), json!({ "f:data": { "f:a": {} } }));
    // What was taken is now in the other's way.
    let back = applied("one", json!({ "a": "1", "b": "1" }));
    s.apply(&one, "alice", false, back).await.unwrap_err().is(409, "Conflict");
}

pub async fn what_is_no_longer_applied_is_gone(s: &Subject) {
    let one = format!("{}/one", s.core("configmaps"));
    let mut body = applied("one", json!({ "a": "1", "b": "1" }));
    body["metadata"]["labels"] = json!({ "x": "y" });
    s.apply(&one, "alice", false, body).await.unwrap();
    s.patch(MERGE, &one, json!({ "data": { "c": "theirs" } })).await.unwrap();
    let less = s.apply(&one, "alice", false, applied("one", json!({ "a": "1" }))).await.unwrap();
    assert_eq!(less["data"], json!({ "a": "1", "c": "theirs" }));
    assert!(less["metadata"]["labels"].is_null());
    assert_eq!(owned(&less, "alice", "Apply"), json!({ "f:data": { "f:a": {} } }));
}

pub async fn what_two_own_stays_with_one(s: &Subject) {
    let one = format!("{}/one", s.core("configmaps"));
    s.apply(&one, "alice", false, applied("one", json!({ "a": "1", "b": "1" }))).await.unwrap();
    // The same value is nobody's conflict.
    let both = s.apply(&one, "bob", false, applied("one", json!({ "a": "1" }))).await.unwrap();
    assert_eq!(owned(&both, "bob", "Apply"), json!({ "f:data": { "f:a": {} } }));
    let less = s.apply(&one, "alice", false, applied("one", json!({ "b": "1" }))).await.unwrap();
    assert_eq!(less["data"], json!({ "a": "1", "b": "1" }));
    assert_eq!(owned(&less, "alice", "Apply"), json!({ "f:data": { "f:b": {} } }));
    let gone = applied("one", json!({}));
    let less = s.apply(&one, "bob", false, gone).await.unwrap();
    assert_eq!(less["data"], json!({ "b": "1" }));
}

pub async fn a_plain_write_takes_ownership(s: &Subject) {
    let one = format!("{}/one", s.core("configmaps"));
    s.apply(&one, "alice", false, applied("one", json!({ "a": "1", "b": "1" }))).await.unwrap();
    let path = format!("{one}?fieldManager=carol");
    let written = s.patch(MERGE, &path, json!({ "data": { "a": "2" } })).await.unwrap();
    assert_eq!(owned(&written, "carol", "Update"), json!({ "f:data": { "f:a": {} } }));
    assert_eq!(owned(&written, "alice", "Apply"), json!({ "f:data": { "f:b": {} } }));
    let again = applied("one", json!({ "a": "1", "b": "1" }));
    let refused = s.apply(&one, "alice", false, again).await.unwrap_err();
    refused.is(409, "Conflict");
    assert!(refused.message.contains("conflict with \"carol\" using v1"), "{refused:?}");

    // A whole replacement owns what it changed, and nothing it left as it was.
    let mut whole = s.get(&one).await.unwrap();
    whole["data"] = json!({ "a": "2", "c": "3" });
    let put = s.put(&format!("{one}?fieldManager=dave"), whole).await.unwrap();
    assert_eq!(owned(&put, "dave", "Update"), json!({ "f:data": { "f:c": {} } }));
    assert_eq!(owned(&put, "carol", "Update"), json!({ "f:data": { "f:a": {} } }));
    assert_eq!(owned(&put, "alice", "Apply"), Value::Null);

    let made = s.post(&s.core("configmaps"), map("two", json!({ "a": "1" }))).await.unwrap();
    let entries = made["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!((entries.len(), &entries[0]["operation"]), (1, &json!("Update")));
}

pub async fn lists_are_applied_by_their_kind(s: &Subject) {
    let list = |kind: &str| {
        json!({
            "type": "array", "x-kubernetes-list-type": kind, "items": { "type": "string" }
        })
    };
    s.define(json!({ "type": "object", "properties": {
        "keyed": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": { "type": "string" }, "a": { "type": "string" }, "b": { "type": "string" },
                },
            },
        },
        "set": list("set"),
        "whole": list("atomic"),
    } }))
    .await;
    let one = format!("{}/one", s.things());
    let body = s.thing("one", json!({
        "keyed": [{ "name": "x", "a": "1" }, { "name": "y", "a": "1" }], "set": ["a"], "whole": ["a"],
    }));
    let made = s.apply(&one, "alice", false, body).await.unwrap();
    assert_eq!(
        owned(&made, "alice", "Apply"),
        json!({ "f:spec": {
            "f:keyed": {
                "k:{\"name\":\"x\"}": { ".": {}, "f:a": {}, "f:name": {} },
                "k:{\"name\":\"y\"}": { ".": {}, "f:a": {}, "f:name": {} },
            },
            "f:set": { "v:\"a\"": {} },
            "f:whole": {},
        } })
    );
    let body = s.thing(
        "one",
        json!({
            "keyed": [{ "name": "x", "b": "2" }, { "name": "z", "a": "3" }], "set": ["b"],
        }),
    );
    let both = s.apply(&one, "bob", false, body).await.unwrap();
    let mut keyed = both["spec"]["keyed"].as_array().unwrap().clone();
    keyed.sort_by_key(|item| item["name"].as_str().unwrap().to_owned());
    let due = json!([
        { "name": "x", "a": "1", "b": "2" }, { "name": "y", "a": "1" }, { "name": "z", "a": "3" },
    ]);
    assert_eq!(json!(keyed), due);
    assert_eq!(both["spec"]["set"], json!(["a", "b"]));
    // A list that is one whole is one field.
    let body = s.thing("one", json!({ "whole": ["b"] }));
    let refused = s.apply(&one, "bob", false, body).await.unwrap_err();
    refused.is(409, "Conflict");
    assert_eq!(refused.causes()[0].0, ".spec.whole");
    // An item goes with its last owner.
    let body = s.thing("one", json!({ "set": ["a"], "whole": ["a"] }));
    let less = s.apply(&one, "alice", false, body).await.unwrap();
    let mut keyed = less["spec"]["keyed"].as_array().unwrap().clone();
    keyed.sort_by_key(|item| item["name"].as_str().unwrap().to_owned());
    assert_eq!(json!(keyed), json!([{ "name": "x", "b": "2" }, { "name": "z", "a": "3" }]));
}

pub async fn an_apply_again_makes_no_version(s: &Subject) {
    let one = format!("{}/one", s.core("configmaps"));
    let body = applied("one", json!({ "a": "1" }));
    let made = s.apply(&one, "alice", false, body.clone()).await.unwrap();
    let again = s.apply(&one, "alice", false, body.clone()).await.unwrap();
    assert_eq!(again, made);
    let mut expecting = body;
    expecting["metadata"]["resourceVersion"] = json!("1");
    s.apply(&one, "alice", true, expecting).await.unwrap_err().is(409, "Conflict");
    assert_eq!(version(&s.get(&one).await.unwrap()), version(&made));
}

pub async fn a_status_is_applied_by_itself(s: &Subject) {
    s.define(json!({ "type": "object", "properties": { "a": { "type": "string" } } })).await;
    let one = format!("{}/one", s.things());
    let mut body = s.thing("one", json!({ "a": "1" }));
    s.apply(&one, "alice", false, body.clone()).await.unwrap();
    body["status"] = json!({ "phase": "ready" });
    body["spec"]["a"] = json!("2");
    let status = format!("{one}/status");
    if s.is_older_than(22, "a writer of status is a manager of its own") {
        return;
    }
    let done = s.apply(&status, "agent", false, body).await.unwrap();
    assert_eq!(done["status"]["phase"], "ready");
    assert_eq!(done["spec"]["a"], "1");
    assert_eq!(owned(&done, "agent", "Apply"), json!({ "f:status": { "f:phase": {} } }));
    assert_eq!(owned(&done, "alice", "Apply"), json!({ "f:spec": { "f:a": {} } }));
    // The owner of the spec does not lose the status by leaving it out.
    let body = s.thing("one", json!({ "a": "3" }));
    let done = s.apply(&one, "alice", false, body).await.unwrap();
    assert_eq!(done["status"]["phase"], "ready");
}

pub async fn an_apply_needs_a_manager(s: &Subject) {
    let one = format!("{}/one", s.core("configmaps"));
    let refused = s.patch(APPLY, &one, applied("one", json!({}))).await.unwrap_err();
    assert_eq!(refused.code, 422, "{refused:?}");
    let mut body = applied("one", json!({}));
    body["metadata"]["managedFields"] = json!([{
        "manager": "alice", "operation": "Apply", "apiVersion": "v1",
        "fieldsType": "FieldsV1", "fieldsV1": {},
    }]);
    let refused = s.apply(&one, "alice", false, body).await.unwrap_err();
    assert_eq!(refused.code, 400, "{refused:?}");
    s.get(&one).await.unwrap_err().is(404, "NotFound");
}
