use serde_json::json;

use super::*;
use crate::kubernetes::fixtures::{fsn, hel, parsed, with};

fn applied() -> Written {
    Written::of(&parsed(hel()).spec.replica.expect("a role"), None)
}

#[test]
fn what_we_wrote_is_no_foreign_write() {
    assert_eq!(detect(&applied(), &parsed(hel())), None);
    // Neither is a field that is no role.
    let delayed = with(hel(), "/spec/replica/minApplyDelay", Some(json!("1h")));
    assert_eq!(detect(&applied(), &delayed), None);
}

#[test]
fn each_role_field_is_watched() {
    let cases = [
        ("/spec/replica/primary", Some(json!("hel")), "spec.replica.primary"),
        ("/spec/replica/primary", None, "spec.replica.primary"),
        ("/spec/replica/source", Some(json!("nbg")), "spec.replica.source"),
        ("/spec/replica/self", Some(json!("nbg")), "spec.replica.self"),
        ("/spec/replica/enabled", Some(json!(false)), "spec.replica.enabled"),
        ("/spec/replica/promotionToken", Some(json!("c2VjcmV0")), "spec.replica.promotionToken"),
        ("/spec/replica", None, "spec.replica.self"),
    ];
    for (pointer, planted, path) in cases {
        let write = detect(&applied(), &with(hel(), pointer, planted)).expect("seen");
        assert_eq!(write.changes[0].path, path);
        assert!(!format!("{write:?}").contains("c2VjcmV0"), "a token is not repeated");
    }
}

#[test]
fn another_token_than_ours_is_seen() {
    let ours = Written { token: Some(TokenHash::of("b3Vycw==")), ..applied() };
    let theirs = with(hel(), "/spec/replica/promotionToken", Some(json!("dGhlaXJz")));
    assert_eq!(detect(&ours, &theirs).map(|write| write.changes.len()), Some(1));
}

#[test]
fn the_record_of_the_api_server_names_who_it_was() {
    let mut value = hel();
    value["spec"]["replica"]["primary"] = json!("hel");
    let entry = |manager: &str, field: &str| {
        json!({"manager": manager, "operation": "Apply", "apiVersion": "postgresql.cnpg.io/v1",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replica": {field: {}}}}})
    };
    value["metadata"]["managedFields"] = json!([
        entry("kustomize-controller", "f:primary"),
        entry(FIELD_MANAGER, "f:primary"),
        entry("somebody", "f:source"),
    ]);
    let elsewhere = json!({"f:spec": {"f:instances": {}}, "f:metadata": {"f:labels": {}}});
    value["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:instances"] = json!({});
    let others = value["metadata"]["managedFields"].as_array_mut().unwrap();
    others.push(json!({"manager": "the operator", "fieldsV1": elsewhere}));
    others.push(json!({"manager": "nobody"}));
    let mut cluster = parsed(value);
    let write = detect(&applied(), &cluster).expect("seen");
    assert_eq!(write.managers, ["kustomize-controller"]);
    keep_writers_of_the_role(&mut cluster);
    assert_eq!(detect(&applied(), &cluster), Some(write), "of the role all is kept");
    let kept = cluster.metadata.managed_fields.unwrap();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert_eq!(json!(kept[0].fields_v1), json!({"f:spec": {"f:replica": {"f:primary": {}}}}));
}

#[test]
fn the_table_is_what_is_done() {
    use {ForeignPolicy as P, Holding as H, Response as R};
    let (primary, replica) = (parsed(fsn()), parsed(hel()));
    let policies = [P::Report, P::Restore, P::Follow];
    let table = [
        (H::Other, &primary, [R::Fence, R::Fence, R::Fence]),
        (H::Other, &replica, [R::Report, R::Restore, R::Report]),
        (H::Holder, &primary, [R::Report, R::Restore, R::Report]),
        (H::Holder, &replica, [R::Report, R::Restore, R::HandOver]),
        (H::HolderAlone, &primary, [R::Report, R::Report, R::Report]),
        (H::HolderAlone, &replica, [R::Report, R::Report, R::Report]),
        (H::Unknown, &primary, [R::Report, R::Report, R::Report]),
        (H::Unknown, &replica, [R::Report, R::Report, R::Report]),
    ];
    for (holding, cluster, expected) in table {
        let done = policies.map(|policy| respond(policy, cluster, holding));
        assert_eq!(done, expected, "{holding:?} {:?}", cluster.own_name());
    }
}

/// Each way of saying "be a primary" to a Cluster that does not hold the lease ends in a fence, and no
/// policy ever follows it.
#[test]
fn nobody_is_followed_into_two_primaries() {
    let ways = [
        with(hel(), "/spec/replica/primary", Some(json!("hel"))),
        with(hel(), "/spec/replica", Some(json!({"enabled": false, "source": "fsn"}))),
        with(hel(), "/spec/replica", None),
        with(hel(), "/spec/replica/self", Some(json!("fsn"))),
        with(hel(), "/spec/replica/primary", None),
    ];
    for cluster in &ways {
        for policy in [ForeignPolicy::Report, ForeignPolicy::Restore, ForeignPolicy::Follow] {
            assert_eq!(respond(policy, cluster, Holding::Other), Response::Fence, "{cluster:?}");
        }
    }
}
