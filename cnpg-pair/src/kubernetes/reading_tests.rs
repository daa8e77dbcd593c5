use serde_json::json;

use super::*;
use crate::kubernetes::fixtures::{fsn, hel, parsed, primary_sql, standby_sql, with};

fn standing(reading: &Reading) -> Vec<Standing> {
    reading.standing.iter().copied().collect()
}

#[test]
fn a_cluster_of_which_all_is_well_is_healthy() {
    let primary = read(&parsed(fsn()), &primary_sql());
    assert_eq!((standing(&primary), primary.role), (vec![Standing::Healthy], ClusterRole::Primary));
    let replica = read(&parsed(hel()), &standby_sql());
    assert_eq!((standing(&replica), replica.role), (vec![Standing::Healthy], ClusterRole::Replica));
}

/// The phase goes on saying "healthy" in every one of these.
#[test]
fn the_phase_alone_is_never_health() {
    let only_phase = json!({"phase": phase::HEALTHY});
    let cases = [
        (
            "/metadata/annotations/cnpg.io~1fencedInstances",
            Some(json!("[\"*\"]")),
            Standing::Fenced,
        ),
        (
            "/metadata/annotations/cnpg.io~1fencedInstances",
            Some(json!("[\"fsn-2\"]")),
            Standing::InstanceFenced,
        ),
        ("/metadata/annotations/cnpg.io~1fencedInstances", Some(json!("*")), Standing::Unwell),
        ("/metadata/annotations/cnpg.io~1hibernation", Some(json!("on")), Standing::Hibernated),
        (
            "/metadata/annotations/cnpg.io~1reconciliationLoop",
            Some(json!("disabled")),
            Standing::ReconciliationOff,
        ),
        ("/metadata/deletionTimestamp", Some(json!("2026-08-03T10:00:00Z")), Standing::Deleting),
        ("/status/readyInstances", Some(json!(2)), Standing::Unwell),
        ("/status/readyInstances", Some(json!(0)), Standing::Unwell),
        ("/status/readyInstances", None, Standing::Unknown),
        ("/status/conditions", None, Standing::Unknown),
        (
            "/status/conditions",
            Some(json!([{"type": "Ready", "status": "False"}])),
            Standing::Unwell,
        ),
        ("/status/systemID", Some(json!("17")), Standing::Unwell),
        ("/status/systemID", None, Standing::Unknown),
        ("/status/targetPrimary", Some(json!("pending")), Standing::Unwell),
        ("/status/targetPrimary", None, Standing::Unknown),
        ("/status/switchReplicaClusterStatus", None, Standing::Unknown),
        (
            "/status/switchReplicaClusterStatus/inProgress",
            Some(json!(true)),
            Standing::DemotionInProgress,
        ),
        (
            "/status/currentPrimaryFailingSinceTimestamp",
            Some(json!("2026-08-03T10:00:00Z")),
            Standing::Unwell,
        ),
        ("/status/phase", None, Standing::Unknown),
        ("/status", Some(only_phase), Standing::Unknown),
        ("/status", None, Standing::Unknown),
        ("/spec/instances", None, Standing::Unknown),
    ];
    for (pointer, planted, expected) in cases {
        let reading = read(&with(fsn(), pointer, planted.clone()), &primary_sql());
        assert!(reading.is(expected), "{pointer} as {planted:?}: {reading:?}");
        assert!(!reading.is(Standing::Healthy), "{pointer} as {planted:?}: {reading:?}");
    }
}

#[test]
fn health_needs_postgresql_itself() {
    let silent = read(&parsed(fsn()), &SqlLook::default());
    assert!(silent.is(Standing::Unknown) && !silent.is(Standing::Healthy));
    assert_eq!(silent.role, ClusterRole::Unknown);
    // The spec asks for a primary, PostgreSQL is none.
    let demoted = read(&parsed(fsn()), &standby_sql());
    assert!(demoted.is(Standing::Unwell) && demoted.role == ClusterRole::Unknown);
}

#[test]
fn the_operators_phases_have_names() {
    let cases = [
        (phase::PROMOTING, Some(Standing::Promoting)),
        (phase::UNRECOVERABLE, Some(Standing::Unrecoverable)),
        (phase::SWITCHOVER, Some(Standing::SwitchoverWithin)),
        (phase::FAILING_OVER, Some(Standing::SwitchoverWithin)),
        (phase::WAITING_FOR_USER, Some(Standing::WaitingForUser)),
        (phase::INVALID, None),
        ("Setting up primary", None),
        ("cluster in healthy state", None),
    ];
    for (text, named) in cases {
        let reading = read(&with(fsn(), "/status/phase", Some(json!(text))), &primary_sql());
        assert!(reading.is(Standing::Unwell) && !reading.is(Standing::Healthy), "{text}");
        assert!(named.is_none_or(|named| reading.is(named)), "{text}: {reading:?}");
    }
}

#[test]
fn a_token_is_ready_only_when_the_demotion_has_ended() {
    let demoted = |in_progress: bool, switched: &str, token: &str| {
        let mut value = hel();
        value["status"]["switchReplicaClusterStatus"] = json!({"inProgress": in_progress});
        value["status"]["demotionToken"] = json!(token);
        let conditions = value["status"]["conditions"].as_array_mut().expect("a list");
        conditions.push(json!({"type": "ReplicaClusterSwitch", "status": switched}));
        read(&parsed(value), &standby_sql()).is(Standing::TokenReady)
    };
    assert!(demoted(false, "True", "dG9rZW4="));
    assert!(!demoted(true, "True", "dG9rZW4="));
    assert!(!demoted(false, "False", "dG9rZW4="));
    assert!(!demoted(false, "Unknown", "dG9rZW4="));
    assert!(!demoted(false, "True", ""));
}

#[test]
fn a_token_left_in_the_spec_is_named() {
    let left = with(fsn(), "/spec/replica/promotionToken", Some(json!("dG9rZW4=")));
    assert!(read(&left, &primary_sql()).is(Standing::PromotionTokenLeft));
}
