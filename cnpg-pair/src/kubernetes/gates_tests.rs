use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::kubernetes::cnpg::Cluster;
use crate::kubernetes::fixtures::{fsn, hel, parsed, primary_sql, standby_sql, with};

struct Pair {
    source: Cluster,
    source_sql: SqlLook,
    target: Cluster,
    target_sql: SqlLook,
    around: Surroundings,
}

fn pair() -> Pair {
    Pair {
        source: parsed(fsn()),
        source_sql: primary_sql(),
        target: parsed(hel()),
        target_sql: standby_sql(),
        around: Surroundings {
            backups_running: Some(Vec::new()),
            role_secrets_equal: Some(true),
            reverse_path_proven: Some(true),
        },
    }
}

fn refused(pair: &Pair) -> Vec<Refusal> {
    let source = Side { cluster: &pair.source, sql: &pair.source_sql };
    let target = Side { cluster: &pair.target, sql: &pair.target_sql };
    refusals(source, target, &pair.around, &Limits::default())
}

fn gates(pair: &Pair) -> BTreeSet<(Gate, bool)> {
    refused(pair).iter().map(|refusal| (refusal.gate, refusal.unknown)).collect()
}

/// Exactly these gates are shut.
fn shut(what: &str, change: impl FnOnce(&mut Pair), expected: &[(Gate, bool)]) {
    let mut pair = pair();
    change(&mut pair);
    assert_eq!(gates(&pair), expected.iter().copied().collect(), "{what}: {:#?}", refused(&pair));
    for refusal in refused(&pair) {
        assert!(!refusal.reason.is_empty() && !refusal.next.is_empty());
        assert_eq!(refusal.unknown, refusal.reason.starts_with("not known"), "{refusal:?}");
    }
}

#[test]
fn a_pair_of_which_all_is_well_may_be_handed_over() {
    shut("nothing", |_| (), &[]);
}

#[test]
fn each_planted_mistake_shuts_its_gate() {
    use Gate::*;
    shut(
        "system",
        |p| p.target_sql.system_id = Some(17),
        &[(SameSystem, false), (TargetHealthy, false)],
    );
    shut(
        "timeline",
        |p| p.target_sql.timeline = Some(continuum_domain::TimelineId(2)),
        &[(SameTimeline, false)],
    );
    shut(
        "status timeline",
        |p| p.target = with(hel(), "/status/timelineID", Some(json!(2))),
        &[(SameTimeline, false)],
    );
    shut("streaming", |p| p.target_sql.streaming = Some(false), &[(TargetStreaming, false)]);
    shut("lag", |p| p.target_sql.replayed = Some(Lsn(0x1_0300_0000)), &[(TargetLag, false)]);
    shut(
        "archiving",
        |p| {
            p.source = with(
                fsn(),
                "/status/conditions",
                Some(json!([
            {"type": "Ready", "status": "True"}, {"type": "ConsistentSystemID", "status": "True"},
            {"type": "ContinuousArchiving", "status": "False"}])),
            )
        },
        &[(SourceArchiving, false)],
    );
    shut("queue", |p| p.source_sql.ready_wal_files = Some(9), &[(SourceArchiveQueue, false)]);
    shut(
        "backup",
        |p| p.around.backups_running = Some(vec!["nightly".into()]),
        &[(SourceBackup, false)],
    );
    shut("secrets", |p| p.around.role_secrets_equal = Some(false), &[(RoleSecrets, false)]);
    shut("reverse", |p| p.around.reverse_path_proven = Some(false), &[(ReversePath, false)]);
    let archive = json!([{"name": "barman-cloud.cloudnative-pg.io", "isWALArchiver": true,
        "parameters": {"barmanObjectName": "fsn", "serverName": "fsn"}}]);
    shut(
        "archive",
        |p| p.target = with(hel(), "/spec/plugins", Some(archive)),
        &[(OwnArchive, false)],
    );
    for delay in [None, Some(json!(0)), Some(json!(31)), Some(json!(3600))] {
        shut(
            "delay",
            |p| p.source = with(fsn(), "/spec/switchoverDelay", delay),
            &[(ShutdownBound, false)],
        );
    }
    for timeout in [None, Some(json!(1))] {
        shut(
            "smart",
            |p| p.source = with(fsn(), "/spec/smartShutdownTimeout", timeout),
            &[(ShutdownBound, false)],
        );
    }
}

#[test]
fn a_token_left_on_either_side_shuts_it() {
    let token = || Some(json!("dG9rZW4="));
    let at = "/spec/replica/promotionToken";
    shut("source", |p| p.source = with(fsn(), at, token()), &[(Gate::NoTokenLeft, false)]);
    shut("target", |p| p.target = with(hel(), at, token()), &[(Gate::NoTokenLeft, false)]);
}

#[test]
fn a_demotion_under_way_on_either_side_shuts_it() {
    let at = "/status/switchReplicaClusterStatus/inProgress";
    let going = || Some(json!(true));
    shut("source", |p| p.source = with(fsn(), at, going()), &[(Gate::NoTransition, false)]);
    shut("target", |p| p.target = with(hel(), at, going()), &[(Gate::NoTransition, false)]);
}

#[test]
fn a_side_that_is_not_well_is_refused_with_its_reason() {
    let fenced = "/metadata/annotations/cnpg.io~1fencedInstances";
    let asleep = "/metadata/annotations/cnpg.io~1hibernation";
    shut(
        "fenced",
        |p| p.source = with(fsn(), fenced, Some(json!("[\"*\"]"))),
        &[(Gate::SourceHealthy, false)],
    );
    let mut pair = pair();
    pair.target = with(hel(), asleep, Some(json!("on")));
    let refusals = refused(&pair);
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].gate, Gate::TargetHealthy);
    assert!(refusals[0].reason.contains("hibernated"), "{refusals:?}");
}

#[test]
fn two_primaries_or_none_or_another_one_are_no_topology() {
    use Gate::*;
    let primary = "/spec/replica/primary";
    let mut both = pair();
    both.target = with(hel(), primary, Some(json!("hel")));
    assert!(gates(&both).contains(&(Topology, false)));
    assert!(refused(&both).iter().any(|one| one.reason == "both may accept writes"));
    let mut none = pair();
    none.source = with(fsn(), primary, Some(json!("hel")));
    none.source_sql = standby_sql();
    assert!(gates(&none).contains(&(Topology, false)));
    // The target follows a third one.
    shut("third", |p| p.target = with(hel(), primary, Some(json!("nbg"))), &[(Topology, false)]);
    // Without a name of its own, a Cluster goes by its object's.
    shut("self", |p| p.target = with(hel(), "/spec/replica/self", None), &[]);
    // The way back has no name.
    shut(
        "external",
        |p| p.source = with(fsn(), "/spec/externalClusters", None),
        &[(Topology, false)],
    );
    let older = json!({"enabled": true, "source": "fsn"});
    shut("enabled", |p| p.target = with(hel(), "/spec/replica", Some(older)), &[(Topology, false)]);
}

#[test]
fn whatever_is_not_known_shuts_a_gate_as_unknown() {
    use Gate::*;
    type Change = fn(&mut Pair);
    let cases: [(&str, Change, &[Gate]); 14] = [
        (
            "source status",
            |p| p.source.status = None,
            &[SourceHealthy, SourceArchiving, NoTransition, SameTimeline],
        ),
        ("target status", |p| p.target.status = None, &[TargetHealthy, NoTransition, SameTimeline]),
        (
            "source sql",
            |p| p.source_sql = SqlLook::default(),
            &[SourceHealthy, SameSystem, SameTimeline, TargetLag, SourceArchiveQueue],
        ),
        (
            "target sql",
            |p| p.target_sql = SqlLook::default(),
            &[Topology, TargetHealthy, SameSystem, SameTimeline, TargetStreaming, TargetLag],
        ),
        ("flushed", |p| p.source_sql.flushed = None, &[TargetLag]),
        ("replayed", |p| p.target_sql.replayed = None, &[TargetLag]),
        ("streaming", |p| p.target_sql.streaming = None, &[TargetStreaming]),
        ("timeline", |p| p.target_sql.timeline = None, &[SameTimeline]),
        ("queue", |p| p.source_sql.ready_wal_files = None, &[SourceArchiveQueue]),
        ("backups", |p| p.around.backups_running = None, &[SourceBackup]),
        ("secrets", |p| p.around.role_secrets_equal = None, &[RoleSecrets]),
        ("reverse", |p| p.around.reverse_path_proven = None, &[ReversePath]),
        (
            "switch",
            |p| p.target = with(hel(), "/status/switchReplicaClusterStatus", None),
            &[TargetHealthy, NoTransition],
        ),
        (
            "status timeline",
            |p| p.source = with(fsn(), "/status/timelineID", None),
            &[SameTimeline],
        ),
    ];
    for (what, change, expected) in cases {
        let expected: Vec<_> = expected.iter().map(|gate| (*gate, true)).collect();
        shut(what, change, &expected);
    }
}
