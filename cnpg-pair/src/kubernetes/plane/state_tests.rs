//! The actuator's state, from what is known.

use continuum_domain::DataDirectoryId;
use serde_json::json;

use super::*;
use crate::kubernetes::fixtures;

const SECOND: u64 = 1_000_000_000;

fn known(annotations: serde_json::Value, primary: &str) -> Known {
    let mut raw = fixtures::value("fsn", primary, "hel");
    raw["metadata"]["annotations"] = annotations;
    Known { seen: Some(Arc::new(Seen::read(raw).unwrap())), ..Known::default() }
}

fn up(in_recovery: bool, started: &str) -> Up {
    Up { in_recovery, started: started.into() }
}

fn ours() -> serde_json::Value {
    json!({"cnpg.io/fencedInstances": "[\"*\"]", "dr.openova.io/fence-epoch": "3"})
}

#[test]
fn silence_is_no_proof_of_a_stop() {
    let mut it = known(ours(), "fsn");
    it.answers(up(false, "monday"));
    it.silent(Tick(SECOND));
    let late = Tick(900 * SECOND);
    assert_eq!(it.process(late), ProcessState::Stopping, "fenced, and not seen gone");
    it.is_gone();
    assert_eq!(it.process(late), ProcessState::Stopped);
    assert_eq!((it.status(late).promoted, it.exits), (false, 1));

    let mut it = known(json!({}), "fsn");
    it.answers(up(false, "monday"));
    it.silent(Tick(SECOND));
    let status = it.status(late);
    assert_eq!((status.process, status.promoted), (ProcessState::Running, true), "it may well run");
}

#[test]
fn the_operator_is_left_some_time_to_start_what_ended() {
    let mut it = known(json!({}), "fsn");
    it.answers(up(false, "monday"));
    it.silent(Tick(SECOND));
    it.is_gone();
    let status = it.status(Tick(2 * SECOND));
    assert_eq!((status.process, status.promoted), (ProcessState::Starting, true));
    assert_eq!(it.process(Tick(SECOND) + SELF_RESTART), ProcessState::Stopped);
    it.answers(up(false, "tuesday"));
    assert_eq!((it.process(Tick(3 * SECOND)), it.exits), (ProcessState::Running, 1));
}

#[test]
fn another_life_of_postgresql_is_an_end_of_the_one_before() {
    let mut it = known(json!({}), "fsn");
    it.answers(up(false, "monday"));
    it.answers(up(false, "monday"));
    assert_eq!(it.exits, 0);
    it.answers(up(false, "tuesday"));
    assert_eq!(it.exits, 1);
}

#[test]
fn a_demoted_primary_counts_as_stopped_until_it_is_started() {
    let mut it = known(json!({}), "hel");
    it.deadline = Some(Tick(9 * SECOND));
    it.answers(up(false, "monday"));
    it.was_demoted();
    it.answers(up(true, "tuesday"));
    let status = it.status(Tick(SECOND));
    assert_eq!((status.process, status.promoted), (ProcessState::Stopped, false));
    assert_eq!(status.deadline, None, "the deadline of the primary is over");
    it.held = false;
    assert_eq!(it.process(Tick(SECOND)), ProcessState::Running);
}

#[test]
fn a_fence_of_somebody_else_is_told_as_one() {
    let foreign = json!({"cnpg.io/fencedInstances": "[\"*\"]"});
    let it = known(foreign.clone(), "fsn");
    assert!(it.status(Tick(0)).fenced.is_some_and(|why| why.contains("somebody else")));
    assert_eq!(known(ours(), "fsn").status(Tick(0)).fenced, None);
    let mut demotion = known(foreign, "hel");
    if let Some(status) =
        demotion.seen.as_mut().map(Arc::make_mut).and_then(|seen| seen.cluster.status.as_mut())
    {
        status.switch_replica_cluster_status =
            Some(crate::kubernetes::cnpg::SwitchStatus { in_progress: Some(true) });
    }
    assert_eq!(demotion.status(Tick(0)).fenced, None, "the operator's own, for a demotion");
    let glass = known(json!({"dr.openova.io/fence-reason": "drill"}), "fsn");
    assert_eq!(glass.status(Tick(0)).fenced.as_deref(), Some("drill"));
}

#[test]
fn a_directory_that_is_being_replaced_has_no_identity() {
    let directory = marks::Directory {
        id: Some(DataDirectoryId::new("d1").unwrap()),
        instance: "fsn-1".into(),
        system: fixtures::SYSTEM.to_string(),
    };
    let mut it =
        known(json!({"dr.openova.io/data-directory": json!(directory).to_string()}), "fsn");
    assert!(it.status(Tick(0)).data_directory.is_some());
    it.busy = true;
    assert!(it.status(Tick(0)).data_directory.is_none());
}

#[test]
fn who_has_been_silent_for_long_is_asked_less_often_unless_its_end_is_waited_for() {
    let (after, late) = (Duration::from_secs(10), Tick(20 * SECOND));
    let mut it = known(json!({}), "fsn");
    it.answers(up(false, "monday"));
    assert!(!it.is_calm(late, after), "it answers");
    it.silent(Tick(SECOND));
    assert!(!it.is_calm(Tick(10 * SECOND), after), "it may be back at any moment");
    assert!(it.is_calm(late, after));
    it.busy = true;
    assert!(!it.is_calm(late, after), "a command is under way");
    (it.busy, it.stopping) = (false, true);
    assert!(!it.is_calm(late, after), "its end is waited for");
    it.is_gone();
    assert!(it.is_calm(late, after));
    it.answers(up(true, "tuesday"));
    assert!(!it.is_calm(late, after));
}

#[test]
fn a_pod_that_is_not_there_proves_an_end_only_by_looks_close_to_each_other() {
    let long = Duration::from_secs(10);
    let at = |ms: u64| Tick(ms * 1_000_000);
    let mut it = known(ours(), "fsn");
    it.answers(up(false, "monday"));
    it.silent(at(0));
    it.has_no_pod(at(0), long);
    it.has_no_pod(at(11_000), long);
    assert!(!it.gone, "a pod may have been there in between");
    for ms in (13_000..21_000).step_by(2_000) {
        it.has_no_pod(at(ms), long);
        assert!(!it.gone, "{ms}");
    }
    it.has_no_pod(at(21_000), long);
    assert!(it.gone);

    let mut it = known(ours(), "fsn");
    it.has_no_pod(at(0), long);
    it.answers(up(false, "monday"));
    it.silent(at(500));
    it.has_no_pod(at(1_000), long);
    it.has_no_pod(at(3_000), Duration::from_secs(3));
    assert!(!it.gone, "it was there since");

    let mut it = known(json!({}), "fsn");
    for ms in (0..60_000).step_by(2_000) {
        it.has_no_pod(at(ms), long);
    }
    assert!(!it.gone, "the operator may start it");
}

#[test]
fn who_may_not_start_and_was_not_seen_gone_is_looked_at_as_often_as_ever() {
    let mut it = known(ours(), "fsn");
    it.silent(Tick(SECOND));
    let (after, late) = (Duration::from_secs(10), Tick(60 * SECOND));
    assert!(!it.is_calm(late, after), "somebody may wait for the proof");
    it.is_gone();
    assert!(it.is_calm(late, after));
}

fn at_version(version: &str) -> Seen {
    let mut raw = fixtures::value("fsn", "fsn", "hel");
    raw["metadata"]["resourceVersion"] = json!(version);
    Seen::read(raw).unwrap()
}

fn version(known: &Known) -> &str {
    known.seen.as_ref().unwrap().cluster.metadata.resource_version.as_deref().unwrap()
}

#[test]
fn what_is_known_of_a_cluster_does_not_go_back() {
    let mut it = Known::default();
    for (told, kept) in [("9", "9"), ("10", "10"), ("9", "10"), ("10", "10"), ("100", "100")] {
        it.sees(at_version(told));
        assert_eq!(version(&it), kept, "told {told}");
    }
    // Nothing is said of versions that are no numbers.
    for told in ["later", "7", "earlier"] {
        it.sees(at_version(told));
        assert_eq!(version(&it), told);
    }
}

#[test]
fn a_read_for_a_new_watch_goes_back_only_where_nothing_else_was_seen_meanwhile() {
    let mut it = Known::default();
    it.sees_anew(at_version("50"), None);
    let before = it.seen.clone();
    it.sees(at_version("52"));
    it.sees_anew(at_version("51"), before.as_ref());
    assert_eq!(version(&it), "52", "the answer to a write came in between");
    it.sees_anew(at_version("53"), before.as_ref());
    assert_eq!(version(&it), "53");
    let before = it.seen.clone();
    it.sees_anew(at_version("8"), before.as_ref());
    assert_eq!(version(&it), "8", "the server was restored");

    let mut it = Known::default();
    it.sees(at_version("60"));
    it.sees_anew(at_version("59"), None);
    assert_eq!(version(&it), "60", "nothing was known when it was asked for");
}
