use continuum_control_api::ask::Condition;
use continuum_control_api::rest::Posture;

use super::*;
use crate::raft::Machine;
use crate::reported::{NOW, Reported, region};
use crate::state::{Change, Command};

fn apply(state: &mut CoreState, change: Change) {
    state.apply(1, Command::new(1_000, "operator/test", change));
}

fn with_spec(state: &mut CoreState, spec: PairSpec) {
    let change = Change::ApplyPair { spec, reason: "test".into(), condition: Condition::None };
    apply(state, change);
}

/// A pair at rest of which a write was seen just now, and the state that knows it.
fn at_rest() -> (Reported, CoreState) {
    let mut pair = Reported::at_rest();
    pair.member("fsn").1.write_probe_age_ms = Some(0);
    let mut state = CoreState::default();
    with_spec(&mut state, pair.spec.clone());
    pair.reports();
    (pair, state)
}

/// What is told of the one pair so many milliseconds later.
fn later<T>(
    (pair, state): (&Reported, &CoreState),
    ms: u64,
    told: impl Fn(&Picture<'_>) -> T,
) -> T {
    let scene = Scene::of(state, &pair.links, (Tick(NOW.0 + ms * 1_000_000), 1_000));
    let known = state.specs().next().expect("the pair");
    told(&scene.picture(known))
}

fn posture(picture: &Picture<'_>) -> Posture {
    picture.known().summary(false).posture
}

#[test]
fn ages_go_on_between_two_answers_and_what_grew_old_is_unknown() {
    let (pair, state) = at_rest();
    let of = (&pair, &state);
    assert_eq!(later(of, 0, posture), Posture::Protected);
    let lease = later(of, 1_200, |one| one.lease());
    assert_eq!((lease.remaining_ms, lease.record_age_ms), (Some(3_800), Some(1_200)));
    assert_eq!(later(of, 1_900, |one| one.lease()).remaining_ms, Some(3_100));
    let view = later(of, 1_900, |one| one.view());
    assert_eq!(view.members[&region("fsn")].as_ref().map(|told| told.age_ms), Some(1_900));
    // Nobody said anything since: not that there is no lease, and not that all is well.
    let old = REPORT_AGE_MS_MAX + 1;
    assert_eq!(later(of, old, |one| one.lease()).remaining_ms, None);
    assert_eq!(later(of, old, posture), Posture::Unknown);
}

#[test]
fn what_was_just_written_or_reported_is_in_the_next_answer() {
    let (mut pair, mut state) = at_rest();
    later((&pair, &state), 0, |one| one.view());
    let mut spec = pair.spec.clone();
    spec.labels.insert("env".into(), "prod".into());
    with_spec(&mut state, spec);
    let summary = |picture: &Picture<'_>| picture.known().summary(false);
    assert_eq!(later((&pair, &state), 0, summary).labels["env"], "prod");
    assert_eq!(later((&pair, &state), 0, |one| one.view()).version, 2);
    pair.member("fsn").1.lease_remaining_ms = Some(70);
    pair.member("hel").1.witness_reachable = false;
    pair.reports();
    assert_eq!(later((&pair, &state), 0, |one| one.lease()).remaining_ms, Some(70));
    assert_eq!(later((&pair, &state), 0, posture), Posture::AtRisk);
    let pause = Change::Pause { pair: None, reason: "test".into(), for_ms: 60_000 };
    apply(&mut state, pause);
    let reasons = later((&pair, &state), 0, summary).reasons;
    assert!(reasons.contains(&"automation is paused by operator/test".into()), "{reasons:?}");
    // A leader that was deposed has forgotten everything, also what it told before.
    pair.links.clear();
    let lease = later((&pair, &state), 0, |one| one.lease());
    assert_eq!((lease.holder, lease.remaining_ms, lease.record_age_ms), (None, None, None));
    assert_eq!(later((&pair, &state), 0, posture), Posture::Unknown);
}

/// The short answers are the same as what follows from the whole view.
#[test]
fn what_is_told_in_short_is_what_the_whole_view_says() {
    let at_rest = Reported::at_rest;
    let mut fenced = at_rest();
    fenced.member("hel").1.guard_alive = false;
    fenced.member("fsn").1.write_probe_age_ms = Some(600_000);
    let cases = [
        at_rest(),
        at_rest().silent("fsn", 4_000),
        at_rest().silent("fsn", 40_000).silent("hel", 6_000).silent("ash", 31_000),
        at_rest().with_record(|record| record.holder = None),
        at_rest().with_record(|record| record.paused = true),
        at_rest().with_record(|record| {
            record.holder = None;
            record.paused = true;
            record.rested_by = Some(region("fsn"));
        }),
        at_rest().with_record(|record| drop(record.in_sync.remove(&region("hel")))),
        fenced,
    ];
    for (number, pair) in cases.into_iter().enumerate() {
        let mut state = CoreState::default();
        with_spec(&mut state, pair.spec.clone());
        pair.reports();
        for ms in [0, 900, 29_000, 90_000] {
            let (short, lease, view) = later((&pair, &state), ms, |picture| {
                (picture.known().summary(true), picture.lease(), picture.view())
            });
            assert_eq!(short, Known::from(&view).summary(true), "{number} after {ms} ms");
            let of_lease = (lease.epoch, lease.holder, lease.record_age_ms, lease.in_sync);
            assert_eq!(
                of_lease,
                (view.epoch, view.holder, view.record_age_ms, view.in_sync),
                "{number} after {ms} ms"
            );
        }
    }
}
