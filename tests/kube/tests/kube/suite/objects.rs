//! Objects: made, read, replaced, deleted.

use serde_json::{Value, json};

use crate::subject::{Subject, map, names, version};

pub async fn a_new_object_has_its_identity(s: &Subject) {
    let maps = s.core("configmaps");
    let made = s.post(&maps, map("one", json!({ "a": "1" }))).await.unwrap();
    let metadata = &made["metadata"];
    assert_eq!(metadata["namespace"], s.namespace);
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
    assert!(metadata["creationTimestamp"].as_str().unwrap().ends_with('Z'));
    assert!(version(&made).parse::<u64>().unwrap() > 0);
    assert_eq!(s.get(&format!("{maps}/one")).await.unwrap(), made);

    s.delete(&format!("{maps}/one"), Value::Null).await.unwrap();
    let again = s.post(&maps, map("one", json!({}))).await.unwrap();
    assert_ne!(again["metadata"]["uid"], made["metadata"]["uid"]);
    let (old, new): (u64, u64) =
        (version(&made).parse().unwrap(), version(&again).parse().unwrap());
    assert!(new > old);
}

pub async fn a_name_is_generated(s: &Subject) {
    let body = json!({ "metadata": { "generateName": "made-" } });
    let one = s.post(&s.core("configmaps"), body.clone()).await.unwrap();
    let two = s.post(&s.core("configmaps"), body).await.unwrap();
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name(&one).starts_with("made-") && name(&one).len() == 10, "{}", name(&one));
    assert_ne!(name(&one), name(&two));
}

pub async fn what_is_taken_or_missing_or_unfit_is_refused(s: &Subject) {
    let maps = s.core("configmaps");
    s.post(&maps, map("one", json!({}))).await.unwrap();
    let taken = s.post(&maps, map("one", json!({}))).await.unwrap_err();
    taken.is(409, "AlreadyExists");
    assert_eq!(taken.message, "configmaps \"one\" already exists");
    assert_eq!(
        (&taken.details["name"], &taken.details["kind"]),
        (&json!("one"), &json!("configmaps"))
    );

    let missing = s.get(&format!("{maps}/two")).await.unwrap_err();
    missing.is(404, "NotFound");
    assert_eq!(missing.message, "configmaps \"two\" not found");
    s.put(&format!("{maps}/two"), map("two", json!({}))).await.unwrap_err().is(404, "NotFound");
    s.delete(&format!("{maps}/two"), Value::Null).await.unwrap_err().is(404, "NotFound");
    // A kind that is not served is told apart from an object that is not there.
    let unserved = s.get("/apis/nobody.test/v1/things").await.unwrap_err();
    assert_eq!((unserved.code, unserved.message.as_str()), (404, "404 page not found"));

    let unfit = s.post(&maps, map("No_Name", json!({}))).await.unwrap_err();
    unfit.is(422, "Invalid");
    assert_eq!(unfit.causes()[0], ("metadata.name".into(), "FieldValueInvalid".into()));
    s.post(&maps, json!({ "metadata": {} })).await.unwrap_err().is(422, "Invalid");

    let mut elsewhere = map("three", json!({}));
    elsewhere["metadata"]["namespace"] = json!("default");
    s.post(&maps, elsewhere).await.unwrap_err().is(400, "BadRequest");
    let nowhere = "/api/v1/namespaces/nowhere/configmaps";
    s.post(nowhere, map("one", json!({}))).await.unwrap_err().is(404, "NotFound");
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "x" } });
    s.post(&maps, secret).await.unwrap_err().is(400, "BadRequest");
    let other = format!("{maps}/one");
    s.put(&other, map("two", json!({}))).await.unwrap_err().is(400, "BadRequest");
    let mut numbers = map("four", json!({}));
    numbers["metadata"]["annotations"] = json!({ "a": 1 });
    s.post(&maps, numbers).await.unwrap_err().is(400, "BadRequest");
}

pub async fn a_stale_write_conflicts(s: &Subject) {
    let one = format!("{}/one", s.core("configmaps"));
    let made = s.post(&s.core("configmaps"), map("one", json!({ "a": "1" }))).await.unwrap();
    let mut next = made.clone();
    next["data"]["a"] = json!("2");
    let next = s.put(&one, next).await.unwrap();
    assert_ne!(version(&next), version(&made));

    let mut stale = made.clone();
    stale["data"]["a"] = json!("3");
    let refused = s.put(&one, stale).await.unwrap_err();
    refused.is(409, "Conflict");
    assert!(refused.message.contains("the object has been modified"), "{refused:?}");
    assert_eq!(s.get(&one).await.unwrap()["data"]["a"], "2");

    // The version of now under the identity of another.
    let mut another = next.clone();
    another["metadata"]["uid"] = json!("00000000-0000-4000-a000-000000000000");
    s.put(&one, another).await.unwrap_err().is(409, "Conflict");
    // Without a version it counts whatever is there.
    s.put(&one, map("one", json!({ "a": "4" }))).await.unwrap();

    // Of a kind that is defined, one must be named.
    s.define(json!({ "type": "object", "properties": { "a": { "type": "string" } } })).await;
    s.post(&s.things(), s.thing("one", json!({ "a": "1" }))).await.unwrap();
    let thing = format!("{}/one", s.things());
    let refused = s.put(&thing, s.thing("one", json!({ "a": "2" }))).await.unwrap_err();
    refused.is(422, "Invalid");
    assert_eq!(refused.causes()[0].0, "metadata.resourceVersion");
}

pub async fn a_write_that_changes_nothing_makes_no_version(s: &Subject) {
    let one = format!("{}/one", s.core("configmaps"));
    let made = s.post(&s.core("configmaps"), map("one", json!({ "a": "1" }))).await.unwrap();
    let same = s.put(&one, made.clone()).await.unwrap();
    assert_eq!(version(&same), version(&made));
    let merge = json!({ "data": { "a": "1" } });
    let same = s.patch(crate::subject::MERGE, &one, merge).await.unwrap();
    assert_eq!(version(&same), version(&made));
}

pub async fn a_delete_keeps_its_preconditions(s: &Subject) {
    let one = format!("{}/one", s.core("configmaps"));
    let made = s.post(&s.core("configmaps"), map("one", json!({}))).await.unwrap();
    let expecting = |what: Value| {
        json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": what,
        })
    };
    let other = expecting(json!({ "uid": "00000000-0000-4000-a000-000000000000" }));
    s.delete(&one, other).await.unwrap_err().is(409, "Conflict");
    let other = expecting(json!({ "resourceVersion": "1" }));
    s.delete(&one, other).await.unwrap_err().is(409, "Conflict");
    s.get(&one).await.unwrap();
    let right = expecting(json!({
        "uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"],
    }));
    let status = s.delete(&one, right).await.unwrap();
    assert_eq!((&status["kind"], &status["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(status["details"]["uid"], made["metadata"]["uid"]);
    s.get(&one).await.unwrap_err().is(404, "NotFound");
}

pub async fn finalizers_hold_an_object(s: &Subject) {
    let one = format!("{}/one", s.core("configmaps"));
    let mut held = map("one", json!({}));
    held["metadata"]["finalizers"] = json!(["suite.test/hold"]);
    s.post(&s.core("configmaps"), held).await.unwrap();
    let marked = s.delete(&one, Value::Null).await.unwrap();
    assert_eq!(marked["kind"], "ConfigMap");
    let kept = s.get(&one).await.unwrap();
    let since = kept["metadata"]["deletionTimestamp"].clone();
    assert!(since.is_string());
    // Marked already: nothing more happens.
    s.delete(&one, Value::Null).await.unwrap();
    assert_eq!(s.get(&one).await.unwrap()["metadata"]["deletionTimestamp"], since);
    let free = json!({ "metadata": { "finalizers": null } });
    s.patch(crate::subject::MERGE, &one, free).await.unwrap();
    s.get(&one).await.unwrap_err().is(404, "NotFound");
}

pub async fn a_selector_selects(s: &Subject) {
    let maps = s.core("configmaps");
    for (name, tier) in [("one", "a"), ("two", "b"), ("three", "c")] {
        let mut body = map(name, json!({}));
        body["metadata"]["labels"]["tier"] = json!(tier);
        s.post(&maps, body).await.unwrap();
    }
    let own = "app%20in%20(one,two,three)";
    let select = async |labels: &str| {
        let list = s.get(&format!("{maps}?labelSelector={own}{labels}")).await.unwrap();
        assert_eq!(list["kind"], "ConfigMapList");
        names(&list)
    };
    assert_eq!(select("").await, ["one", "three", "two"]);
    assert_eq!(select(",tier%3Da").await, ["one"]);
    assert_eq!(select(",tier!%3Da").await, ["three", "two"]);
    assert_eq!(select(",tier%20in%20(a,c)").await, ["one", "three"]);
    assert_eq!(select(",tier%20notin%20(a,c)").await, ["two"]);
    assert_eq!(select(",!tier").await, Vec::<String>::new());
    let field = s.get(&format!("{maps}?fieldSelector=metadata.name%3Dtwo")).await.unwrap();
    assert_eq!(names(&field), ["two"]);
    let unknown = format!("{maps}?fieldSelector=spec.nothing%3Dtwo");
    s.get(&unknown).await.unwrap_err().is(400, "BadRequest");
}

pub async fn a_list_is_read_in_pages_of_one_moment(s: &Subject) {
    let maps = s.core("configmaps");
    for at in 0..5 {
        let mut body = map(&format!("page-{at}"), json!({}));
        body["metadata"]["labels"] = json!({ "page": "yes" });
        s.post(&maps, body).await.unwrap();
    }
    let query = format!("{maps}?labelSelector=page&limit=2");
    let first = s.get(&query).await.unwrap();
    assert_eq!(names(&first), ["page-0", "page-1"]);
    let token =
        |list: &Value| list["metadata"]["continue"].as_str().map(|token| token.replace('=', "%3D"));
    // What comes meanwhile belongs to another moment.
    let mut late = map("page-25", json!({}));
    late["metadata"]["labels"] = json!({ "page": "yes" });
    s.post(&maps, late).await.unwrap();
    let second = s.get(&format!("{query}&continue={}", token(&first).unwrap())).await.unwrap();
    assert_eq!(names(&second), ["page-2", "page-3"]);
    assert_eq!(version(&first), version(&second));
    let last = s.get(&format!("{query}&continue={}", token(&second).unwrap())).await.unwrap();
    assert_eq!((names(&last), token(&last)), (vec!["page-4".to_owned()], None));
}

pub async fn a_collection_is_deleted_by_label(s: &Subject) {
    let maps = s.core("configmaps");
    for name in ["one", "two", "three"] {
        s.post(&maps, map(name, json!({}))).await.unwrap();
    }
    s.delete(&format!("{maps}?labelSelector=app%20in%20(one,two)"), Value::Null).await.unwrap();
    let left = s.get(&format!("{maps}?labelSelector=app")).await.unwrap();
    assert_eq!(names(&left), ["three"]);
}

pub async fn a_dry_run_changes_nothing(s: &Subject) {
    let maps = s.core("configmaps");
    let asked = s.post(&format!("{maps}?dryRun=All"), map("one", json!({}))).await.unwrap();
    assert!(asked["metadata"]["uid"].is_string());
    s.get(&format!("{maps}/one")).await.unwrap_err().is(404, "NotFound");
    let made = s.post(&maps, map("one", json!({ "a": "1" }))).await.unwrap();
    let merge = json!({ "data": { "a": "2" } });
    let one = format!("{maps}/one");
    let asked = s.patch(crate::subject::MERGE, &format!("{one}?dryRun=All"), merge).await.unwrap();
    assert_eq!(asked["data"]["a"], "2");
    assert_eq!(s.get(&one).await.unwrap(), made);
    s.delete(&format!("{one}?dryRun=All"), Value::Null).await.unwrap();
    assert_eq!(s.get(&one).await.unwrap(), made);
}

pub async fn what_is_served_is_told(s: &Subject) {
    let core = s.get("/api/v1").await.unwrap();
    let kinds = |list: &Value| -> Vec<String> {
        let all = list["resources"].as_array().unwrap().iter();
        all.map(|kind| kind["name"].as_str().unwrap().to_owned()).collect()
    };
    for kind in ["pods", "pods/status", "pods/exec", "secrets", "configmaps", "services", "events"]
    {
        assert!(kinds(&core).contains(&kind.to_owned()), "{kind}");
    }
    for (group, kind) in [
        ("coordination.k8s.io", "leases"),
        ("networking.k8s.io", "networkpolicies"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
    ] {
        let list = s.get(&format!("/apis/{group}/v1")).await.unwrap();
        assert!(kinds(&list).contains(&kind.to_owned()), "{kind}");
    }
    s.define(json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })).await;
    let group = s.group();
    // Told by another part of the server than the one that serves it.
    s.until("the group is told", async || {
        let groups = s.client.list_api_groups().await.unwrap();
        let told = groups.groups.iter().any(|one| one.name == group);
        told && s.client.list_api_group_resources(&format!("{group}/v1")).await.is_ok_and(|list| {
            list.resources.iter().any(|kind| {
                kind.kind == "Thing"
                    && kind.namespaced
                    && kind.short_names == Some(vec!["th".into()])
            })
        })
    })
    .await;
}

pub async fn a_secret_takes_plain_text(s: &Subject) {
    let body = json!({ "metadata": { "name": "one" }, "stringData": { "key": "value" } });
    let made = s.post(&s.core("secrets"), body).await.unwrap();
    assert_eq!((&made["data"]["key"], &made["type"]), (&json!("dmFsdWU="), &json!("Opaque")));
    assert!(made["stringData"].is_null());
}
