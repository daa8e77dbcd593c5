use serde_json::{Value, json};

use super::*;
use crate::kubernetes::fixtures::{fsn, parsed};

/// A Cluster with these annotations.
fn with_annotations(annotations: &[(&str, &str)]) -> Cluster {
    let mut value = fsn();
    let all: std::collections::BTreeMap<&str, &str> = annotations.iter().copied().collect();
    value["metadata"]["annotations"] = json!(all);
    parsed(value)
}

/// The annotations that a patch sets.
fn set(patch: &ClusterPatch) -> Vec<(String, Value)> {
    let added = patch.operations.iter().filter(|operation| operation["op"] == "add");
    let one = |operation: &Value| {
        let path = operation["path"].as_str().expect("a path");
        let key = path.rsplit('/').next().expect("a key").replace("~1", "/");
        (key, operation["value"].clone())
    };
    added.map(one).collect()
}

const SLEEPS: (&str, &str) = (keys::HIBERNATION, "on");

#[test]
fn a_cluster_is_put_to_sleep_and_woken_by_one_patch_each() {
    let patch = rest(&with_annotations(&[("a", "b")]), Epoch(7)).expect("a patch");
    let both = [(keys::HIBERNATION.to_owned(), json!("on")), (MARK.to_owned(), json!("on 7"))];
    assert_eq!(set(&patch), both);
    let tests: Vec<&str> = patch
        .operations
        .iter()
        .filter(|operation| operation["op"] == "test")
        .filter_map(|operation| operation["path"].as_str())
        .collect();
    assert_eq!(tests, ["/metadata/uid", "/metadata/resourceVersion"]);
    let asleep = with_annotations(&[SLEEPS, (MARK, "on 7")]);
    assert_eq!(sleep(&asleep), Ok(Sleep::Ours(Epoch(7))));
    assert_eq!(rest(&asleep, Epoch(7)), Err(PatchError::Already.into()));
    let patch = wake(&asleep, Epoch(7)).expect("a patch");
    let off = [(keys::HIBERNATION.to_owned(), json!("off")), (MARK.to_owned(), json!("off 7"))];
    assert_eq!(set(&patch), off);
    let awake = with_annotations(&[(keys::HIBERNATION, "off"), (MARK, "off 7")]);
    assert_eq!(sleep(&awake), Ok(Sleep::Awake));
    assert_eq!(wake(&awake, Epoch(8)), Err(PatchError::Already.into()));
}

#[test]
fn what_a_person_put_to_sleep_is_told_apart_and_left() {
    for annotations in [vec![SLEEPS], vec![SLEEPS, (MARK, "off 7")]] {
        let theirs = with_annotations(&annotations);
        assert_eq!(sleep(&theirs), Ok(Sleep::Foreign));
        assert_eq!(wake(&theirs, Epoch(8)), Err(SleepError::Foreign));
        assert_eq!(rest(&theirs, Epoch(8)), Err(SleepError::Foreign));
    }
}

#[test]
fn an_agent_that_was_left_behind_says_nothing() {
    let stale = |seen| Err(PatchError::Stale { seen: Epoch(seen), ours: Epoch(7) }.into());
    let resumed = with_annotations(&[(keys::HIBERNATION, "off"), (MARK, "off 8")]);
    assert_eq!(rest(&resumed, Epoch(7)), stale(8));
    let moved = with_annotations(&[(keys::EPOCH, "9")]);
    assert_eq!(rest(&moved, Epoch(7)), stale(9));
    let asleep = with_annotations(&[SLEEPS, (MARK, "on 8")]);
    assert_eq!(wake(&asleep, Epoch(7)), stale(8));
    for unread in ["8", "maybe 8", "on x"] {
        let cluster = with_annotations(&[(MARK, unread)]);
        let mark = PatchError::Mark { key: MARK, found: unread.into() };
        assert_eq!(rest(&cluster, Epoch(7)), Err(mark.into()), "{unread}");
    }
}

#[test]
fn whether_it_is_asleep_is_the_operators_word() {
    let says = |status: Value| {
        let mut value = fsn();
        value["status"] = status;
        is_asleep(&parsed(value))
    };
    let condition =
        |word: &str| json!({ "conditions": [{ "type": keys::HIBERNATION, "status": word }] });
    assert_eq!(says(condition("True")), Some(true));
    assert_eq!(says(condition("False")), Some(false));
    assert_eq!(says(json!({ "conditions": [] })), None);
}
