//! Watches: what they begin with, what they tell, how they end.

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::subject::{MERGE, Subject, map, version};

pub async fn a_watch_goes_on_from_a_version(s: &Subject) {
    let maps = s.core("configmaps");
    let before = s.post(&maps, map("before", json!({}))).await.unwrap();
    // Between the version and the watch.
    s.post(&maps, map("one", json!({}))).await.unwrap();
    let from = version(&before);
    let mut events = s.watch(&format!("{maps}?watch=1&resourceVersion={from}")).await;
    assert_eq!(events.named().await, ("ADDED", "one".to_owned()));
    let one = format!("{maps}/one");
    let changed = s.patch(MERGE, &one, json!({ "data": { "a": "1" } })).await.unwrap();
    let (kind, object) = events.next().await.unwrap();
    assert_eq!((kind, &object["data"]["a"]), ("MODIFIED", &json!("1")));
    assert_eq!(object, changed);
    s.delete(&one, Value::Null).await.unwrap();
    let (kind, object) = events.next().await.unwrap();
    assert_eq!(kind, "DELETED");
    let (gone, was): (u64, u64) =
        (version(&object).parse().unwrap(), version(&changed).parse().unwrap());
    assert!(gone > was, "a deletion has a version to go on from");
    // And from there.
    s.post(&maps, map("two", json!({}))).await.unwrap();
    let mut events = s.watch(&format!("{maps}?watch=1&resourceVersion={gone}")).await;
    assert_eq!(events.named().await, ("ADDED", "two".to_owned()));
}

pub async fn a_watch_from_nothing_begins_with_all(s: &Subject) {
    let maps = s.core("configmaps");
    for name in ["one", "two"] {
        s.post(&maps, map(name, json!({}))).await.unwrap();
    }
    let mut events = s.watch(&format!("{maps}?watch=1&labelSelector=app%20in%20(one,two)")).await;
    let mut seen = vec![events.named().await, events.named().await];
    seen.sort();
    assert_eq!(seen, [("ADDED", "one".to_owned()), ("ADDED", "two".to_owned())]);
    // Elsewhere is not here.
    let mut other = map("three", json!({}));
    other["metadata"]["name"] = json!(format!("three-{}", s.namespace));
    let elsewhere = "/api/v1/namespaces/default/configmaps";
    s.post(elsewhere, other).await.unwrap();
    s.delete(&format!("{elsewhere}/three-{}", s.namespace), Value::Null).await.unwrap();
    s.delete(&format!("{maps}/one"), Value::Null).await.unwrap();
    assert_eq!(events.named().await, ("DELETED", "one".to_owned()));
}

pub async fn what_is_no_longer_selected_is_deleted(s: &Subject) {
    let maps = s.core("configmaps");
    let one = s.post(&maps, map("one", json!({}))).await.unwrap();
    let from = version(&one);
    let path = format!("{maps}?watch=1&resourceVersion={from}&labelSelector=tier%3Da");
    let mut events = s.watch(&path).await;
    let at = format!("{maps}/one");
    let tier = |tier: Value| json!({ "metadata": { "labels": { "tier": tier } } });
    s.patch(MERGE, &at, tier(json!("a"))).await.unwrap();
    assert_eq!(events.named().await, ("ADDED", "one".to_owned()));
    s.patch(MERGE, &at, tier(json!("b"))).await.unwrap();
    let (kind, object) = events.next().await.unwrap();
    assert_eq!(kind, "DELETED");
    assert_eq!(object["metadata"]["labels"]["tier"], "a", "as it was while it was selected");
    s.patch(MERGE, &at, tier(json!("a"))).await.unwrap();
    assert_eq!(events.named().await, ("ADDED", "one".to_owned()));
}

pub async fn a_watch_ends_in_its_time(s: &Subject) {
    let path = format!("{}?watch=1&timeoutSeconds=1&resourceVersion=0", s.core("secrets"));
    let mut events = s.watch(&path).await;
    let end = async {
        while let Some(event) = events.stream().next().await {
            event.unwrap();
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), end).await.expect("it ends");
}

pub async fn a_version_too_old_is_gone(s: &Subject) {
    // Nothing is remembered of a kind from before it was defined.
    s.define(json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })).await;
    let mut events = s.watch(&format!("{}?watch=1&resourceVersion=1", s.things())).await;
    let (kind, object) = events.next().await.unwrap();
    assert_eq!((kind, &object["code"]), ("ERROR", &json!(410)));
}
