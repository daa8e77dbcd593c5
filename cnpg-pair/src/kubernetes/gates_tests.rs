use serde_json::{Value, json};

use super::*;
use crate::kubernetes::fixtures::{self, parsed, primary_sql, standby_sql, with};

fn told(found: Vec<Hindrance>) -> Vec<(String, String)> {
    for one in &found {
        assert!(!one.meaning.is_empty() && !one.action.is_empty(), "{one:?}");
    }
    found.into_iter().map(|one| (one.code, one.meaning)).collect()
}

/// What `fsn`, which leads, has against leaving.
fn leaving(cluster: &Cluster, sql: &SqlLook) -> Vec<(String, String)> {
    told(source(Side { cluster, sql, others: &["hel"] }))
}

/// What `hel`, which follows, has against coming.
fn coming(cluster: &Cluster, sql: &SqlLook) -> Vec<(String, String)> {
    told(target(Side { cluster, sql, others: &["fsn"] }))
}

fn codes(found: &[(String, String)]) -> Vec<&str> {
    found.iter().map(|(code, _)| code.as_str()).collect()
}

fn fsn(pointer: &str, planted: Option<Value>) -> Cluster {
    with(fixtures::fsn(), pointer, planted)
}

fn hel(pointer: &str, planted: Option<Value>) -> Cluster {
    with(fixtures::hel(), pointer, planted)
}

#[test]
fn nothing_stands_in_the_way_of_a_pair_of_which_all_is_well() {
    assert_eq!(leaving(&parsed(fixtures::fsn()), &primary_sql()), []);
    assert_eq!(coming(&parsed(fixtures::hel()), &standby_sql()), []);
    assert_eq!(backup(Some(&[])), None);
}

#[test]
fn what_a_shutdown_would_wait_for_bars_the_source() {
    let archives = |word: Option<&str>| {
        let mut conditions = vec![
            json!({"type": "Ready", "status": "True"}),
            json!({"type": "ConsistentSystemID", "status": "True"}),
        ];
        let said = |word| json!({"type": "ContinuousArchiving", "status": word});
        conditions.extend(word.map(said));
        fsn("/status/conditions", Some(json!(conditions)))
    };
    let fails = |archiving_fails| SqlLook { archiving_fails, ..primary_sql() };
    for (word, sql, bars) in [
        (Some("True"), Some(false), false),
        (Some("True"), None, false),
        (Some("False"), Some(false), true),
        (Some("True"), Some(true), true),
        // Nothing was archived yet: the operator says nothing.
        (None, Some(false), false),
        (None, Some(true), true),
        (None, None, true),
        (Some("Unknown"), None, true),
    ] {
        let found = leaving(&archives(word), &fails(sql));
        let expected: &[&str] = if bars { &["source-archiving"] } else { &[] };
        assert_eq!(codes(&found), expected, "{word:?} {sql:?}");
        let unknown = found.iter().any(|(_, meaning)| meaning.contains("not known"));
        assert_eq!(unknown, bars && sql.is_none() && word != Some("False"), "{found:?}");
    }
    let well = parsed(fixtures::fsn());
    for (files, bars) in [(Some(0), false), (Some(8), false), (Some(9), true), (None, true)] {
        let found = leaving(&well, &SqlLook { ready_wal_files: files, ..primary_sql() });
        let expected: &[&str] = if bars { &["source-archive-queue"] } else { &[] };
        assert_eq!(codes(&found), expected, "{files:?}");
    }
    for delay in [None, Some(json!(0)), Some(json!(31)), Some(json!(3600))] {
        let found = leaving(&fsn("/spec/switchoverDelay", delay.clone()), &primary_sql());
        assert_eq!(codes(&found), ["shutdown-bound"], "{delay:?}");
    }
    assert_eq!(leaving(&fsn("/spec/switchoverDelay", Some(json!(30))), &primary_sql()), []);
    for timeout in [None, Some(json!(1))] {
        let found = leaving(&fsn("/spec/smartShutdownTimeout", timeout), &primary_sql());
        assert_eq!(codes(&found), ["shutdown-bound"]);
    }
    let running = backup(Some(&["nightly".to_owned()])).expect("it bars");
    assert!(running.code == "source-backup" && running.meaning.contains("nightly"), "{running:?}");
    assert!(backup(None).is_some_and(|one| one.meaning.contains("not known")));
}

#[test]
fn nor_is_it_asked_of_a_target_what_only_a_source_must_have() {
    let sql = SqlLook { ready_wal_files: None, archiving_fails: Some(true), ..standby_sql() };
    assert_eq!(coming(&parsed(fixtures::hel()), &sql), []);
    assert_eq!(coming(&hel("/spec/switchoverDelay", None), &sql), []);
}

#[test]
fn either_side_must_be_well_and_where_that_is_not_known_it_is_said() {
    let fenced = "/metadata/annotations/cnpg.io~1fencedInstances";
    for (pointer, planted, says) in [
        ("/status/phase", Some(json!("Applying configuration")), "Applying configuration"),
        ("/status/readyInstances", Some(json!(2)), "2 of 3 instances"),
        ("/status/targetPrimary", Some(json!("pending")), "pending"),
        ("/status/systemID", Some(json!("17")), "17"),
        (fenced, Some(json!("[\"*\"]")), "all its instances are fenced"),
        (fenced, Some(json!("[\"hel-2\"]")), "some of its instances are fenced"),
        ("/status/phase", None, "not known: status.phase"),
        ("/status/readyInstances", None, "not known"),
    ] {
        let source = leaving(&fsn(pointer, planted.clone()), &primary_sql());
        let target = coming(&hel(pointer, planted), &standby_sql());
        for (found, code) in [(source, "source-healthy"), (target, "target-healthy")] {
            assert_eq!(codes(&found), [code], "{pointer}");
            assert!(found[0].1.contains(says), "{found:?}");
        }
    }
    let silent = SqlLook { in_recovery: None, ..standby_sql() };
    assert_eq!(codes(&coming(&parsed(fixtures::hel()), &silent)), ["target-healthy"]);
    // What the plane tells by another code is not told again.
    let asleep = "/metadata/annotations/cnpg.io~1hibernation";
    assert_eq!(coming(&hel(asleep, Some(json!("on"))), &standby_sql()), []);
}

#[test]
fn both_sides_know_each_other() {
    for (pointer, planted) in [
        ("/spec/externalClusters", None),
        ("/spec/externalClusters", Some(json!([{"name": "nbg"}]))),
        ("/spec/replica", Some(json!({"enabled": true, "source": "fsn"}))),
    ] {
        let found = coming(&hel(pointer, planted.clone()), &standby_sql());
        assert_eq!(codes(&found), ["topology"], "{pointer} as {planted:?}");
    }
    assert_eq!(codes(&leaving(&fsn("/spec/externalClusters", None), &primary_sql())), ["topology"]);
    // Without a name of its own a Cluster goes by its object's.
    assert_eq!(coming(&hel("/spec/replica/self", None), &standby_sql()), []);
}

#[test]
fn two_archives_are_two_places() {
    let plugins = |place: &str| {
        Some(json!([{"name": "barman-cloud.cloudnative-pg.io", "isWALArchiver": true,
            "parameters": {"barmanObjectName": "fsn", "serverName": place}}]))
    };
    let shared = coming(&hel("/spec/plugins", plugins("fsn")), &standby_sql());
    assert_eq!(codes(&shared), ["own-archive"]);
    assert_eq!(coming(&hel("/spec/plugins", plugins("hel")), &standby_sql()), []);
    assert_eq!(coming(&hel("/spec/plugins", None), &standby_sql()), []);
}
