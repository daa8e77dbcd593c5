use proptest::prelude::*;

use super::*;

const MAX_AGE: Duration = Duration::from_secs(2);

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn record(epoch: u64, holder: Option<&str>) -> PairRecord {
    PairRecord {
        epoch: Epoch(epoch),
        holder: holder.map(region),
        in_sync: Default::default(),
        handover_to: None,
        paused: false,
        waits_for_all: false,
        rested_by: None,
    }
}

fn at(seconds: u64) -> Tick {
    Tick(seconds * 1_000_000_000)
}

fn holder_at(evidence: &Evidence, now: Tick) -> Option<RegionId> {
    match evidence.at(now, MAX_AGE) {
        Known::Lease { holder, .. } => holder.cloned(),
        Known::Unknown => None,
    }
}

#[test]
fn nothing_is_known_at_first_and_an_old_read_does_not_count() {
    let mut evidence = Evidence::default();
    assert_eq!(evidence.at(at(0), MAX_AGE), Known::Unknown);
    evidence.observe(Some(&record(1, Some("fsn"))), at(10));
    assert_eq!(holder_at(&evidence, at(12)), Some(region("fsn")));
    assert_eq!(evidence.at(at(13), MAX_AGE), Known::Unknown);
}

#[test]
fn the_holder_keeps_its_own_epoch_fresh_and_nobody_elses() {
    let mut evidence = Evidence::default();
    evidence.observe(Some(&record(4, Some("fsn"))), at(10));
    assert_eq!(evidence.vouch(Epoch(4), &region("fsn"), at(20)), Ok(()));
    assert_eq!(holder_at(&evidence, at(21)), Some(region("fsn")));
    let other = evidence.vouch(Epoch(4), &region("hel"), at(20));
    assert_eq!(other, Err(NotTaken::NotHolder { holder: Some(region("fsn")) }));
    let older = evidence.vouch(Epoch(3), &region("fsn"), at(20));
    assert_eq!(older, Err(NotTaken::Older { newest: Epoch(4) }));
}

#[test]
fn a_read_that_was_under_way_does_not_undo_a_newer_epoch() {
    let mut evidence = Evidence::default();
    evidence.observe(Some(&record(4, Some("fsn"))), at(10));
    evidence.vouch(Epoch(5), &region("hel"), at(12)).unwrap();
    let late = evidence.observe(Some(&record(4, Some("fsn"))), at(11));
    assert_eq!(late, Observed::Late);
    assert_eq!(holder_at(&evidence, at(12)), Some(region("hel")));
}

#[test]
fn a_register_that_fell_behind_makes_the_holder_unknown_until_it_catches_up() {
    let mut evidence = Evidence::default();
    evidence.vouch(Epoch(9), &region("hel"), at(10)).unwrap();
    assert_eq!(evidence.observe(Some(&record(4, Some("fsn"))), at(11)), Observed::Contradiction);
    assert_eq!(evidence.at(at(11), MAX_AGE), Known::Unknown);
    let word = evidence.vouch(Epoch(9), &region("hel"), at(11));
    assert_eq!(word, Err(NotTaken::Contradicted { newest: Epoch(9) }));
    assert_eq!(evidence.observe(None, at(12)), Observed::Contradiction);
    assert_eq!(evidence.observe(Some(&record(10, Some("fsn"))), at(13)), Observed::Taken);
    assert_eq!(holder_at(&evidence, at(13)), Some(region("fsn")));
}

#[derive(Clone, Debug)]
enum Step {
    Read { epoch: u64, holder: Option<usize>, sent: u64 },
    Vouch { epoch: u64, region: usize, now: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let read = (0u64..6, prop::option::of(0usize..2), 0u64..30)
        .prop_map(|(epoch, holder, sent)| Step::Read { epoch, holder, sent });
    let vouch = (0u64..6, 0usize..2, 0u64..30).prop_map(|(epoch, region, now)| Step::Vouch {
        epoch,
        region,
        now,
    });
    prop::collection::vec(prop_oneof![read, vouch], 0..30)
}

proptest! {
    /// Whatever arrives in whatever order: epochs never go back, and what is said is no older
    /// than the newest epoch and never fresher than its evidence.
    #[test]
    fn epochs_never_go_back(steps in steps()) {
        let names = ["fsn", "hel"];
        let mut evidence = Evidence::default();
        let (mut newest, mut latest) = (Epoch(0), None);
        for step in steps {
            match step {
                Step::Read { epoch, holder, sent } => {
                    let record = record(epoch, holder.map(|index| names[index]));
                    if evidence.observe(Some(&record), at(sent)) == Observed::Taken {
                        prop_assert!(Epoch(epoch) >= newest);
                        latest = latest.max(Some(sent));
                    }
                }
                Step::Vouch { epoch, region: index, now } => {
                    if evidence.vouch(Epoch(epoch), &region(names[index]), at(now)).is_ok() {
                        prop_assert!(Epoch(epoch) >= newest);
                        latest = latest.max(Some(now));
                    }
                }
            }
            prop_assert!(evidence.newest() >= newest);
            newest = evidence.newest();
            if let Known::Lease { epoch, .. } = evidence.at(at(0), MAX_AGE) {
                prop_assert_eq!(epoch, newest);
            }
            let after_all = at(latest.unwrap_or(0)) + MAX_AGE + Duration::from_nanos(1);
            prop_assert_eq!(evidence.at(after_all, MAX_AGE), Known::Unknown);
        }
    }
}
