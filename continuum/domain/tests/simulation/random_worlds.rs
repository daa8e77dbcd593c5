//! Random worlds: whatever happens in whatever order, the invariants hold, and when it stops
//! happening the pair is whole again.
//!
//! `CONTINUUM_CASES` raises the number of worlds, `CONTINUUM_SEED` moves to others.

use std::collections::BTreeMap;

use continuum_domain::spec::{Durability, LossApproval, Takeover, WitnessLossPolicy};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::support::{env, must_hold, run};
use crate::world::plan::short_timing;
use crate::world::{Fault, Plan, Rng};

const CASES: u64 = 300;
const CASES_OF_FORKS: u64 = 200;
const CASES_OF_RESTS: u64 = 200;
const CASES_OF_REJOINS: u64 = 200;
const CASES_CORROBORATED: u64 = 200;
const CASES_SHRINKING: u64 = 120;
/// Latest instant of a fault in a generated plan, in milliseconds.
const LAST_FAULT: u64 = 25_000;

#[test]
fn every_seeded_world_keeps_the_invariants() {
    let first = env("CONTINUUM_SEED", 1);
    let cases = env("CONTINUUM_CASES", CASES);
    let mut notes = BTreeMap::<String, u64>::new();
    let (mut acknowledgements, mut steps, mut lost) = (0, 0, 0);
    for seed in first..first + cases {
        let outcome = must_hold(&Plan::from_seed(seed));
        acknowledgements += outcome.acknowledgements;
        steps += outcome.steps;
        lost += outcome.lost_by_approval;
        for (note, count) in outcome.notes {
            *notes.entry(note).or_default() += count;
        }
    }
    println!(
        "{cases} worlds, {steps} steps, {acknowledgements} acknowledgements, {lost} lost by approval"
    );
    println!("{notes:#?}");
    for reached in
        ["acquired:expired", "acquired:handover", "acquired:vacant", "shrunk", "released"]
    {
        assert!(cases < CASES || notes.contains_key(reached), "no world reached {reached}");
    }
}

/// Worlds in which members are promoted apart again and again.
#[test]
fn every_world_of_forks_keeps_the_invariants() {
    let first = env("CONTINUUM_SEED", 1);
    let cases = env("CONTINUUM_CASES", CASES_OF_FORKS);
    let (mut lost, mut apart) = (0, 0);
    for seed in first..first + cases {
        let outcome = must_hold(&Plan::of_forks(seed));
        lost += outcome.lost_by_approval;
        apart += outcome.notes.get("rejoined:re-cloned").copied().unwrap_or(0);
    }
    println!("{cases} worlds, {lost} commits lost by approval, {apart} members re-cloned");
    assert!(cases < CASES_OF_FORKS || lost > 0, "nobody was promoted apart");
}

/// Worlds in which the pair is put to rest and resumed whatever else happens.
#[test]
fn every_world_of_rests_keeps_the_invariants() {
    let first = env("CONTINUUM_SEED", 1);
    let cases = env("CONTINUUM_CASES", CASES_OF_RESTS);
    let mut notes = BTreeMap::<String, u64>::new();
    for seed in first..first + cases {
        for (note, count) in must_hold(&Plan::of_rests(seed)).notes {
            *notes.entry(note).or_default() += count;
        }
    }
    println!("{cases} worlds: {notes:#?}");
    for reached in ["rested", "acquired:resumed"] {
        assert!(cases < CASES_OF_RESTS || notes.contains_key(reached), "never {reached}");
    }
}

/// Worlds in which members are told to rejoin, or to be cloned anew, whatever else happens.
#[test]
fn every_world_of_rejoins_keeps_the_invariants() {
    let first = env("CONTINUUM_SEED", 1);
    let cases = env("CONTINUUM_CASES", CASES_OF_REJOINS);
    let mut notes = BTreeMap::<String, u64>::new();
    for seed in first..first + cases {
        for (note, count) in must_hold(&Plan::of_rejoins(seed)).notes {
            *notes.entry(note).or_default() += count;
        }
    }
    println!("{cases} worlds: {notes:#?}");
    for reached in
        ["step:Bar:Done", "step:Rejoin:Started", "step:Rejoin:Failed", "rejoined:re-cloned"]
    {
        let told = notes.keys().any(|note| note.starts_with(reached));
        assert!(cases < CASES_OF_REJOINS || told, "never {reached}");
    }
}

/// Worlds of pairs that ask for a second opinion. At every step the same machine without it is asked
/// too: nothing is taken over that would not have been, and nobody is fenced or comes back later.
#[test]
fn every_corroborated_world_keeps_the_invariants_and_only_holds_back() {
    let first = env("CONTINUUM_SEED", 1);
    let cases = env("CONTINUUM_CASES", CASES_CORROBORATED);
    let mut notes = BTreeMap::<String, u64>::new();
    for seed in first..first + cases {
        for (note, count) in must_hold(&Plan::corroborated(seed)).notes {
            *notes.entry(note).or_default() += count;
        }
    }
    println!("{cases} worlds: {notes:#?}");
    for reached in [
        "acquired:expired",
        "acquired:ledger",
        "step:Corroborate:Done",
        "blocked:health-name-answers",
    ] {
        assert!(cases < CASES_CORROBORATED || notes.contains_key(reached), "never {reached}");
    }
}

/// The same with plans that proptest can make smaller: a failing one ends with few faults.
#[test]
fn every_generated_world_keeps_the_invariants() {
    let cases = u32::try_from(env("CONTINUUM_CASES", CASES_SHRINKING)).unwrap_or(u32::MAX);
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let result = TestRunner::new(config).run(&plans(), |plan| match run(&plan).violation {
        None => Ok(()),
        Some(violation) => Err(TestCaseError::fail(violation)),
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

#[test]
fn the_same_plan_gives_the_same_world() {
    for seed in [3, 17, 29] {
        let plan = Plan { tracing: true, ..Plan::from_seed(seed) };
        let (one, two) = (run(&plan), run(&plan));
        assert_eq!((one.steps, one.acknowledgements), (two.steps, two.acknowledgements));
        assert_eq!(one.coverage, two.coverage);
    }
}

/// Clocks that differ by more than the bound break the lease; the judge must notice, or it would
/// not notice a window that is too short either.
#[test]
fn clocks_outside_the_drift_bound_are_not_safe() {
    let caught = |rates_ppm: [i64; 3]| {
        let told = (1..=40).filter_map(|seed| {
            let mut plan = Plan::quiet(seed, 2, Durability::Async);
            plan.loss_approval = Some(LossApproval { rpo_bytes: 1 << 20 });
            plan.write_interval_ms = 10;
            plan.rates_ppm = rates_ppm;
            plan.faults = vec![(500 + seed * 37, Fault::WitnessCut { r: 0, span: 8_000 })];
            run(&plan).violation
        });
        told.count()
    };
    assert_eq!(caught([-5_000, 5_000, 0]), 0, "at the bound");
    assert_eq!(caught([5_000, -5_000, 0]), 0, "at the bound");
    assert!(caught([-120_000, 120_000, 0]) > 0, "far outside the bound");
}

prop_compose! {
    fn plans()(
        seed in any::<u64>(),
        regions in 2..=3usize,
        durability in prop::sample::select(vec![
            Durability::Strict, Durability::Available, Durability::Async,
        ]),
        failsafe in any::<bool>(),
        approved in any::<bool>(),
        ledger in any::<bool>(),
        rates in prop::array::uniform3(prop::sample::select(vec![0i64, -5_000, 5_000])),
        loss in prop::sample::select(vec![0u64, 5, 30]),
        write_interval_ms in prop::sample::select(vec![40u64, 10, 120]),
        faults in prop::collection::vec((0..LAST_FAULT, any::<u64>()), 0..14),
        rejoins in prop::collection::vec((0..LAST_FAULT, any::<u64>()), 0..3),
    ) -> Plan {
        let approval = LossApproval { rpo_bytes: 1 << 20 };
        let random = |(at, choice): (u64, u64)| {
            (at, Fault::random(&mut Rng::new(choice), regions, durability))
        };
        let mut plan = Plan {
            seed,
            regions,
            durability,
            on_witness_loss: if failsafe {
                WitnessLossPolicy::Failsafe
            } else {
                WitnessLossPolicy::Fence
            },
            takeover: if ledger && durability.is_synchronous() {
                Takeover::Ledger
            } else {
                Takeover::Ttl
            },
            loss_approval: (approved && durability == Durability::Async).then_some(approval),
            corroborate: None,
            timing: short_timing(),
            rates_ppm: rates,
            loss_per_mille: loss,
            write_interval_ms,
            faults: faults.into_iter().map(random).collect(),
            tracing: false,
        };
        let ordered = |(at, choice): (u64, u64)| {
            (at, Fault::of_rejoin(&mut Rng::new(choice), regions))
        };
        plan.faults.extend(rejoins.into_iter().map(ordered));
        plan.faults.sort_by_key(|(at, _)| *at);
        plan.keep_assumptions();
        plan
    }
}
