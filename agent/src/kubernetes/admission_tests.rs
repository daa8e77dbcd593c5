use std::collections::BTreeMap;

use continuum_domain::spec::MemberSpec;
use continuum_domain::{PairId, RegionId};

use super::*;

fn spec(lag: u64) -> PairSpec {
    let member =
        |host: &str| MemberSpec { priority: 1, host: host.into(), port: 5432, health_name: None };
    let region = |name: &str| RegionId::new(name).unwrap();
    let members = BTreeMap::from([(region("fsn"), member("a")), (region("hel"), member("b"))]);
    let mut spec = PairSpec::new(PairId::new("app").unwrap(), members, region("fsn"));
    spec.max_lag_bytes = lag;
    spec
}

fn admitted(version: u64, digest: &str) -> Admitted {
    Admitted { generation: 1, version, digest: digest.into() }
}

/// What the core ends up with, where each request is only taken on top of the version it names.
fn apply(core: &mut Option<(u64, PairSpec)>, wanted: &PairSpec, expected: Option<u64>) -> bool {
    if core.as_ref().map(|(version, _)| *version) != expected {
        return false;
    }
    *core = Some((expected.unwrap_or(0) + 1, wanted.clone()));
    true
}

#[test]
fn an_object_is_only_brought_on_top_of_what_it_was_taken_over_as() {
    let (old, new, other) = (spec(1), spec(2), spec(3));
    let decide = |wanted: &PairSpec, digest: &str, known: Option<&Admitted>, core| {
        decide(Ok(wanted), digest, Past { admitted: known, ..Past::default() }, core)
    };
    let first = admitted(1, "old");
    // New, changed, and as it is there.
    let made = decide(&old, "old", None, Core::Absent);
    assert_eq!(made, Verdict::Apply { expected: None });
    let changed = decide(&new, "new", Some(&first), Core::Has(1, &old));
    assert_eq!(changed, Verdict::Apply { expected: Some(1) });
    assert_eq!(decide(&old, "old", None, Core::Has(7, &old)), Verdict::Same { version: 7 });
    // Nobody changed it, and the core went on: it overwrites nothing, however often it is looked at.
    let behind = decide(&old, "old", Some(&first), Core::Has(2, &other));
    let paths = vec!["max_lag_bytes".to_owned()];
    assert_eq!(behind, Verdict::Behind { version: 2, paths: paths.clone() });
    // Changed on both sides, and a second cluster's object that was never taken over.
    let both = decide(&new, "new", Some(&first), Core::Has(2, &other));
    assert_eq!(both, Verdict::Conflict { version: 2, paths: paths.clone() });
    let second = decide(&new, "new", None, Core::Has(1, &old));
    assert_eq!(second, Verdict::Conflict { version: 1, paths });
    // Removed there: an object that lies around does not bring it back.
    let removed = decide(&old, "old", Some(&first), Core::Absent);
    assert_eq!(removed, Verdict::Removed { version: 1 });
    assert_eq!(decide(&new, "new", Some(&first), Core::Unknown), Verdict::Wait);
    // Nor one that was never taken over, where the pair was seen to be there.
    let past = Past { seen: Some(4), ..Past::default() };
    let never = super::decide(Ok(&new), "new", past, Core::Absent);
    assert_eq!(never, Verdict::Removed { version: 4 });
}

#[test]
fn a_person_may_say_over_which_version() {
    let (old, new, other) = (spec(1), spec(2), spec(3));
    let first = admitted(1, "old");
    let over = |version: u64, core| {
        let past = Past { admitted: Some(&first), seen: None, over: Some(version) };
        decide(Ok(&new), "new", past, core)
    };
    assert_eq!(over(2, Core::Has(2, &other)), Verdict::Apply { expected: Some(2) });
    // Not over one that came after they said so.
    assert!(matches!(over(2, Core::Has(3, &old)), Verdict::Conflict { version: 3, .. }));
    assert_eq!(over(1, Core::Absent), Verdict::Apply { expected: None });
    assert_eq!(over(2, Core::Absent), Verdict::Removed { version: 1 });
}

/// Two clusters with an object each, and people at the core: whatever order things happen in, nothing
/// that somebody changed is overwritten by an object that was written before it was seen.
#[test]
fn no_order_of_events_overwrites_a_change_unseen() {
    struct Cluster {
        wanted: PairSpec,
        known: Option<Admitted>,
        /// The newest version that was there when somebody last wrote the object.
        written_at: u64,
    }
    for order in 0..4_u32.pow(6) {
        let mut core: Option<(u64, PairSpec)> = None;
        let new = |lag| Cluster { wanted: spec(lag), known: None, written_at: 0 };
        let mut clusters = [new(1), new(1)];
        for step in 0..6 {
            let version = core.as_ref().map_or(0, |(version, _)| *version);
            match order / 4_u32.pow(step) % 4 {
                // Somebody changes the spec at the core.
                2 if version > 0 => {
                    apply(&mut core, &spec(u64::from(100 + step)), Some(version));
                }
                // Somebody changes the first cluster's object.
                3 => {
                    clusters[0].wanted = spec(u64::from(200 + step));
                    clusters[0].written_at = version;
                }
                // An agent looks.
                at @ (0 | 1) => {
                    let cluster = &mut clusters[at as usize];
                    let digest = cluster.wanted.max_lag_bytes.to_string();
                    let seen = match &core {
                        None => Core::Absent,
                        Some((version, spec)) => Core::Has(*version, spec),
                    };
                    let known = cluster.known.as_ref();
                    let past = Past { admitted: known, ..Past::default() };
                    let taken = match decide(Ok(&cluster.wanted), &digest, past, seen) {
                        Verdict::Same { version } => Some(version),
                        Verdict::Apply { expected } => {
                            // Whoever wrote the object had seen what it replaces, but for the first one.
                            let seen_by_writer = expected.unwrap_or(0) <= cluster.written_at;
                            let own = known.is_some_and(|known| Some(known.version) == expected);
                            assert!(expected.is_none() || seen_by_writer || own, "{order}");
                            apply(&mut core, &cluster.wanted, expected)
                                .then(|| expected.unwrap_or(0) + 1)
                        }
                        _ => None,
                    };
                    if let Some(version) = taken {
                        cluster.known = Some(admitted(version, &digest));
                    }
                }
                _ => {}
            }
        }
    }
}
