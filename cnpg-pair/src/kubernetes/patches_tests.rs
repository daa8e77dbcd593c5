use serde_json::json;

use super::*;
use crate::kubernetes::fixtures::{fsn, hel, parsed, with};

const FENCED: &str = "/metadata/annotations/cnpg.io~1fencedInstances";

/// Carries a JSON patch out as an API server does: all of it, or an error.
fn carried_out(cluster: &Cluster, patch: &ClusterPatch) -> Result<Value, String> {
    let mut object = serde_json::to_value(cluster).expect("plain data");
    for operation in &patch.operations {
        let path = operation["path"].as_str().expect("a path");
        let found = object.pointer(path);
        match operation["op"].as_str() {
            Some("test") if found == operation.get("value") => continue,
            Some("test") => return Err(format!("{path} is {found:?}")),
            Some("remove" | "replace") if found.is_none() => return Err(format!("no {path}")),
            _ => {}
        }
        let (parent, key) = path.rsplit_once('/').expect("a path");
        let key = key.replace("~1", "/");
        let parent = object.pointer_mut(parent).and_then(Value::as_object_mut);
        let parent = parent.ok_or_else(|| format!("nothing above {path}"))?;
        match operation.get("value") {
            Some(value) => parent.insert(key, value.clone()),
            None => parent.remove(&key),
        };
    }
    Ok(object)
}

fn done(cluster: &Cluster, patch: Result<ClusterPatch, PatchError>) -> Value {
    carried_out(cluster, &patch.expect("a patch")).expect("carried out")
}

#[test]
fn a_demotion_is_one_patch_that_takes_the_token_along() {
    let cluster = with(fsn(), "/spec/replica/promotionToken", Some(json!("b2xk")));
    let patch = demote(&cluster, Epoch(7), "hel").expect("a patch");
    assert_eq!(
        patch.operations,
        [
            json!({"op": "test", "path": "/metadata/uid", "value": "uid-fsn"}),
            json!({"op": "test", "path": "/spec/replica", "value":
            {"self": "fsn", "primary": "fsn", "source": "hel", "promotionToken": "b2xk"}}),
            json!({"op": "test", "path": "/metadata/resourceVersion", "value": "41"}),
            json!({"op": "add", "path": "/metadata/annotations", "value": {}}),
            json!({"op": "add", "path": "/metadata/annotations/dr.openova.io~1epoch", "value": "7"}),
            json!({"op": "add", "path": "/metadata/annotations/dr.openova.io~1role", "value":
            r#"{"epoch":7,"primary":"hel","self":"fsn","source":"hel"}"#}),
            json!({"op": "replace", "path": "/spec/replica", "value":
            {"self": "fsn", "primary": "hel", "source": "hel"}}),
        ]
    );
    let object = carried_out(&cluster, &patch).expect("carried out");
    assert_eq!(object["spec"]["replica"].get("promotionToken"), None);
    assert_eq!(parsed(object).asks_for_replica(), Some(true));
}

#[test]
fn a_promotion_carries_its_token_and_only_one_that_fits() {
    let cluster = parsed(hel());
    let object = done(&cluster, promote(&cluster, Epoch(8), "fsn", ("dG9rZW4=", Fit::Exact)));
    assert_eq!(
        object["spec"]["replica"],
        json!(
            {"self": "hel", "primary": "hel", "source": "fsn", "promotionToken": "dG9rZW4="}
        )
    );
    for fit in
        [Fit::Behind { missing: 1 }, Fit::Ahead { beyond: 1 }, Fit::OtherTimeline, Fit::OtherSystem]
    {
        let refused = promote(&cluster, Epoch(8), "fsn", ("dG9rZW4=", fit));
        assert_eq!(refused, Err(PatchError::Token(fit)));
    }
}

#[test]
fn a_promotion_without_a_token_takes_an_old_one_away() {
    let cluster = with(hel(), "/spec/replica/promotionToken", Some(json!("b2xk")));
    let object = done(&cluster, promote_at_once(&cluster, Epoch(8), "fsn"));
    assert_eq!(
        object["spec"]["replica"],
        json!({"self": "hel", "primary": "hel", "source": "fsn"})
    );
}

#[test]
fn clearing_a_token_leaves_the_role() {
    let cluster = with(fsn(), "/spec/replica/promotionToken", Some(json!("b2xk")));
    let object = done(&cluster, clear_token(&cluster, Epoch(7)));
    assert_eq!(
        object["spec"]["replica"],
        json!({"self": "fsn", "primary": "fsn", "source": "hel"})
    );
    assert_eq!(clear_token(&parsed(fsn()), Epoch(7)), Err(PatchError::Already));
}

/// Whatever happens between reading and writing, the write does not land on another role.
#[test]
fn a_role_that_was_changed_meanwhile_refuses_the_patch() {
    let epoch = ("/metadata/annotations/dr.openova.io~1epoch", Some(json!("6")));
    let mut read = fsn();
    read["metadata"]["annotations"] = json!({"dr.openova.io/epoch": "6"});
    let patch = demote(&parsed(read.clone()), Epoch(7), "hel").expect("a patch");
    assert!(carried_out(&parsed(read.clone()), &patch).is_ok());
    let meanwhile = [
        ("/spec/replica/primary", Some(json!("hel"))),
        ("/spec/replica/promotionToken", Some(json!("bmV3"))),
        ("/spec/replica/aFieldOfLater", Some(json!(true))),
        ("/metadata/annotations/dr.openova.io~1epoch", Some(json!("8"))),
        ("/metadata/annotations/dr.openova.io~1epoch", None),
        ("/metadata/uid", Some(json!("another"))),
    ];
    for (pointer, planted) in meanwhile {
        let changed = with(read.clone(), pointer, planted);
        assert!(carried_out(&changed, &patch).is_err(), "{pointer}");
    }
    // The status moves all the time, and does not matter where the mark can be tested.
    assert!(
        carried_out(&with(read, "/metadata/resourceVersion", Some(json!("99"))), &patch).is_ok()
    );
    // Where there is no mark yet, nothing may have changed.
    let first = demote(&parsed(fsn()), Epoch(7), "hel").expect("a patch");
    let newer = with(fsn(), epoch.0, epoch.1);
    assert!(
        carried_out(&with(fsn(), "/metadata/resourceVersion", Some(json!("42"))), &first).is_err()
    );
    assert!(first.operations.iter().any(|one| one["path"] == "/metadata/resourceVersion"));
    assert!(demote(&newer, Epoch(7), "hel").is_ok());
}

#[test]
fn an_older_epoch_writes_no_role() {
    let mut value = hel();
    value["metadata"]["annotations"] = json!({"dr.openova.io/epoch": "9"});
    let cluster = parsed(value.clone());
    let stale = Err(PatchError::Stale { seen: Epoch(9), ours: Epoch(8) });
    assert_eq!(promote_at_once(&cluster, Epoch(8), "fsn"), stale);
    assert_eq!(promote(&cluster, Epoch(8), "fsn", ("t", Fit::Exact)), stale);
    assert!(promote_at_once(&cluster, Epoch(9), "fsn").is_ok());
    value["metadata"]["annotations"] = json!({"dr.openova.io/epoch": "nine"});
    assert!(matches!(
        promote_at_once(&parsed(value), Epoch(10), "fsn"),
        Err(PatchError::Mark { .. })
    ));
}

#[test]
fn a_fence_keeps_those_of_others() {
    let cluster = with(fsn(), FENCED, Some(json!("[\"fsn-2\"]")));
    let object = done(&cluster, fence(&cluster, Epoch(7)));
    let fenced = parsed(object);
    assert_eq!(fenced.fenced(), Ok(vec!["*".into(), "fsn-2".into()]));
    assert_eq!(fenced.annotation(keys::FENCE_EPOCH), Some("7"));
    let open = parsed(done(&fenced, unfence(&fenced, Epoch(7))));
    assert_eq!(open.fenced(), Ok(vec!["fsn-2".into()]));
    assert_eq!(open.annotation(keys::FENCE_EPOCH), None);
    // Alone, the annotation goes too.
    let alone = parsed(done(&parsed(fsn()), fence(&parsed(fsn()), Epoch(7))));
    assert_eq!(alone.fenced(), Ok(vec!["*".into()]));
    let open = parsed(done(&alone, unfence(&alone, Epoch(8))));
    assert_eq!(open.annotation(keys::FENCED), None);
}

#[test]
fn a_fence_that_is_not_ours_stays() {
    // The operator's own, in the middle of a demotion.
    let operators = with(fsn(), FENCED, Some(json!("[\"*\"]")));
    assert!(matches!(unfence(&operators, Epoch(9)), Err(PatchError::ForeignFence(_))));
    let broken = with(fsn(), FENCED, Some(json!("*")));
    assert!(matches!(unfence(&broken, Epoch(9)), Err(PatchError::ForeignFence(_))));
    // But a fence is set whatever stands there.
    assert_eq!(parsed(done(&broken, fence(&broken, Epoch(9)))).fenced(), Ok(vec!["*".into()]));
    let unread = with(fsn(), "/metadata/annotations", Some(json!({ keys::FENCE_EPOCH: "soon" })));
    assert_eq!(parsed(done(&unread, fence(&unread, Epoch(9)))).fenced(), Ok(vec!["*".into()]));
    assert_eq!(unfence(&parsed(fsn()), Epoch(9)), Err(PatchError::Already));
    // One of a newer epoch is not for an older hand.
    let newer = parsed(done(&parsed(fsn()), fence(&parsed(fsn()), Epoch(9))));
    let stale = Err(PatchError::Stale { seen: Epoch(9), ours: Epoch(8) });
    assert_eq!((unfence(&newer, Epoch(8)), fence(&newer, Epoch(8))), (stale.clone(), stale));
}

#[test]
fn hibernation_goes_on_and_off() {
    let awake = parsed(fsn());
    assert_eq!(hibernate(&awake, false), Err(PatchError::Already));
    let asleep = parsed(done(&awake, hibernate(&awake, true)));
    assert_eq!(asleep.annotation(keys::HIBERNATION), Some("on"));
    assert_eq!(hibernate(&asleep, true), Err(PatchError::Already));
    let awake = parsed(done(&asleep, hibernate(&asleep, false)));
    assert_eq!(awake.annotation(keys::HIBERNATION), Some("off"));
}

#[test]
fn what_was_not_read_or_has_no_topology_is_not_patched() {
    let unread = with(fsn(), "/metadata/uid", None);
    assert_eq!(fence(&unread, Epoch(1)), Err(PatchError::NotRead("uid")));
    let unread = with(fsn(), "/metadata/resourceVersion", None);
    assert_eq!(demote(&unread, Epoch(1), "hel"), Err(PatchError::NotRead("resourceVersion")));
    let older = with(hel(), "/spec/replica", Some(json!({"enabled": true, "source": "fsn"})));
    for cluster in [older, with(hel(), "/spec/replica", None)] {
        assert!(matches!(
            promote_at_once(&cluster, Epoch(1), "fsn"),
            Err(PatchError::NoTopology(_))
        ));
    }
}

#[test]
fn what_newer_operators_keep_in_the_role_is_not_lost() {
    let cluster = with(hel(), "/spec/replica/aFieldOfLater", Some(json!({"deep": [1]})));
    let object = done(&cluster, promote_at_once(&cluster, Epoch(8), "fsn"));
    assert_eq!(object["spec"]["replica"]["aFieldOfLater"], json!({"deep": [1]}));
}

/// Whatever was written over it, and in whatever way, what was written last stands there again.
#[test]
fn a_role_is_put_back_over_everything() {
    let ours = parsed(done(&parsed(fsn()), demote(&parsed(fsn()), Epoch(7), "hel")));
    let written = Written::read(&ours).expect("it was written");
    assert!(!written.leads());
    let ways = [
        ("/spec/replica/primary", Some(json!("fsn"))),
        ("/spec/replica", Some(json!({"enabled": false, "source": "hel"}))),
        ("/spec/replica", None),
        ("/spec/replica/promotionToken", Some(json!("dA=="))),
    ];
    for (pointer, value) in ways {
        let foreign = with(serde_json::to_value(&ours).unwrap(), pointer, value.clone());
        let back = parsed(done(&foreign, put_back(&foreign, Epoch(7), &written)));
        assert_eq!(back.spec.replica, ours.spec.replica, "{pointer} {value:?}");
        assert_eq!(Written::read(&back), Some(written.clone()));
        let stale = Err(PatchError::Stale { seen: Epoch(7), ours: Epoch(6) });
        assert_eq!(put_back(&foreign, Epoch(6), &written), stale);
    }
    assert_eq!(put_back(&ours, Epoch(7), &written), Err(PatchError::Already));
}

/// What an agent that does not keep it has written meanwhile is no foreign write.
#[test]
fn a_role_of_another_epoch_is_not_compared_with() {
    let ours = done(&parsed(fsn()), demote(&parsed(fsn()), Epoch(7), "hel"));
    let later = "/metadata/annotations/dr.openova.io~1epoch";
    assert_eq!(Written::read(&with(ours.clone(), later, Some(json!("8")))), None);
    assert!(Written::read(&parsed(ours)).is_some());
    let adopted = parsed(done(&parsed(fsn()), adopt(&parsed(fsn()))));
    assert!(Written::read(&adopted).is_some_and(|written| written.leads()));
    assert_eq!(adopt(&adopted), Err(PatchError::Already));
}
