use super::*;
use crate::reported::{Reported, region};

fn viewed(pair: &Reported) -> TakeoverView {
    let reports = pair.reports();
    let newest = reports.newest_record();
    view(&pair.spec, newest.map(|(_, record, age)| (record, age)), &reports)
}

fn told(pair: &Reported) -> (Option<Takeover>, Vec<String>) {
    let view = viewed(pair);
    (view.effective, view.reasons)
}

#[test]
fn at_rest_every_listed_standby_may_take_over_and_moves_are_hot() {
    let view = viewed(&Reported::at_rest());
    assert_eq!((view.configured, view.effective), (Takeover::Ledger, Some(Takeover::Ledger)));
    assert_eq!(view.by, [region("ash"), region("hel")]);
    assert_eq!(view.suspect_after_ms, 600);
    assert!(view.reasons.is_empty());
    let hot = PlannedMove { method: Method::Hot, hot_refusals: Vec::new() };
    assert_eq!(view.planned, [(region("ash"), hot.clone()), (region("hel"), hot)].into());
}

#[test]
fn what_the_spec_does_not_ask_for_is_not_used_but_a_planned_move_is_hot_all_the_same() {
    let mut pair = Reported::at_rest();
    pair.spec.takeover = Takeover::Ttl;
    let view = viewed(&pair);
    assert_eq!((view.effective, view.reasons.len()), (Some(Takeover::Ttl), 0));
    assert_eq!(view.planned[&region("hel")].method, Method::Hot);
}

#[test]
fn the_holders_reasons_are_all_told() {
    let reasons = ["role app sets synchronous_commit to off", "hel has applied nothing for 5s"];
    let pair = Reported::at_rest()
        .refusing("fsn", &reasons)
        .with_record(|record| record.waits_for_all = false);
    let expected: Vec<String> = reasons.iter().map(|reason| format!("fsn: {reason}")).collect();
    assert_eq!(told(&pair), (Some(Takeover::Ttl), expected.clone()));
    let planned = &viewed(&pair).planned[&region("hel")];
    assert_eq!((planned.method, &planned.hot_refusals), (Method::Clean, &expected));
    // The register still says the opposite: the holder is about to take it back.
    let pair = Reported::at_rest().refusing("fsn", &reasons);
    assert_eq!(told(&pair), (Some(Takeover::Ttl), expected));
    // Nothing speaks against it, and it is not written yet.
    let pair = Reported::at_rest().with_record(|record| record.waits_for_all = false);
    let (effective, why) = told(&pair);
    assert_eq!(effective, Some(Takeover::Ttl));
    assert!(why[0].contains("has not confirmed yet"), "{why:?}");
}

#[test]
fn one_standby_that_may_is_enough_and_without_one_each_reason_is_told() {
    let pair = Reported::at_rest().refusing("hel", &["the pair is paused"]);
    let view = viewed(&pair);
    assert_eq!((view.effective, view.by), (Some(Takeover::Ledger), vec![region("ash")]));
    assert_eq!(view.planned[&region("hel")].method, Method::Clean);
    assert_eq!(view.planned[&region("ash")].method, Method::Hot);
    let pair = pair.refusing("ash", &["its session is not valid", "it promised to stay out"]);
    let (effective, why) = told(&pair);
    assert_eq!(effective, Some(Takeover::Ttl));
    assert_eq!(
        why,
        [
            "ash: its session is not valid",
            "ash: it promised to stay out",
            "hel: the pair is paused"
        ]
    );
}

/// I7.
#[test]
fn what_was_not_reported_lately_is_unknown_and_never_ledger() {
    let holder = Reported::at_rest().silent("fsn", 3_001);
    assert_eq!(told(&holder).0, None);
    assert!(told(&holder).1[0].starts_with("fsn: "));
    let standbys = Reported::at_rest().silent("hel", 3_001).silent("ash", 3_001);
    assert_eq!((told(&standbys).0, told(&standbys).1.len()), (None, 2));
    // Another one says no, and of this one nothing is known.
    let mixed = Reported::at_rest().silent("hel", 3_001).refusing("ash", &["the pair is paused"]);
    assert_eq!(told(&mixed).0, None);
    let all =
        ["fsn", "hel", "ash"].iter().fold(Reported::at_rest(), |p, name| p.silent(name, 60_000));
    let (effective, why) = told(&all);
    assert_eq!(effective, None);
    assert!(why[0].contains("60000 ms old"), "{why:?}");
    assert!(viewed(&all).planned.values().all(|planned| planned.method == Method::Clean));
    let mut nothing = Reported::at_rest();
    nothing.members.clear();
    let view = viewed(&nothing);
    assert_eq!((view.effective, view.reasons.len(), view.planned.len()), (None, 1, 0));
}

#[test]
fn a_vacant_lease_has_no_takeover() {
    let pair = Reported::at_rest().with_record(|record| record.holder = None);
    let view = viewed(&pair);
    assert_eq!((view.effective, view.reasons), (None, vec!["nobody holds the pair".to_owned()]));
    assert!(view.planned.is_empty());
}

/// It would speak of another tenure.
#[test]
fn a_standby_that_has_not_read_the_newest_epoch_does_not_count() {
    let mut pair = Reported::at_rest();
    for name in ["hel", "ash"] {
        let (version, record, _) = pair.member(name).1.record.as_mut().unwrap();
        (version.0, record.epoch.0) = (8, 6);
    }
    assert_eq!(told(&pair).0, None);
}
