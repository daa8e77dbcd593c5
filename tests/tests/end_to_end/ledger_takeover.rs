//! Ledger takeover and hot switchover on real processes: nobody waits for a lease to run out, and
//! nothing that was acknowledged is lost.

use std::time::Duration;

use continuum_chaos::LabOptions;
use continuum_chaos::judge::Judged;
use continuum_chaos::lab::Error;
use continuum_domain::operation::{Method, Operation, Step, StepOutcome};
use continuum_domain::spec::{Durability, Takeover};
use continuum_tests::*;

/// Far below the ttl of 10 s: what waits for the lease to run out fails.
const GAP_LIMIT: Duration = Duration::from_secs(4);

/// The default lease: ttl 10 s.
fn ledger() -> LabOptions {
    LabOptions { takeover: Takeover::Ledger, ..LabOptions::default() }
}

/// How the move was found to be due, and how long each step took.
fn print_evidence(operation: &Operation) {
    for line in &operation.steps {
        if let (StepOutcome::Done, Some(took)) = (&line.outcome, line.took_us) {
            println!("  {:?} at {:?} took {took} us: {}", line.step, line.region, line.detail);
        }
    }
    let by_ledger = operation
        .steps
        .iter()
        .any(|line| line.step == Step::Commit && line.detail.contains("ledger"));
    assert!(by_ledger, "{operation:#?}");
}

/// Clients hold on to both sides, so that two that acknowledge at a time are seen.
async fn standing(options: LabOptions) -> Result<continuum_chaos::Lab, Error> {
    let mut lab = writing(options).await?;
    for region in [fsn(), hel()] {
        let address = lab.address(&region)?;
        lab.workload()?.pin(address);
        lab.workload()?.pin(address);
    }
    lab.wait_hot(&hel(), WHOLE_LIMIT).await?;
    undisturbed().await;
    Ok(lab)
}

async fn region_killed(options: LabOptions, what: &str) -> Result<Judged, Error> {
    let mut lab = standing(options).await?;
    let before = epoch(&lab.pair().await?);
    let at = lab.clock.now();
    lab.kill_region(&fsn()).await?;
    lab.wait_moved(before, lab.options.ttl).await?;
    let operation = lab.failover_after(before, WHOLE_LIMIT).await?;
    lab.start_region(&fsn()).await?;
    lab.wait_healthy(WHOLE_LIMIT).await?;
    let operation = lab.wait_ended(&operation.id, OPERATION_LIMIT).await?;
    print_evidence(&operation);
    undisturbed().await;
    let step = moved(&lab, at, &fsn(), &hel())?;
    let judged = judge(&mut lab, what, &[step], None).await?;
    if lab.options.durability == Durability::Available {
        let outage = gap(&judged, at, None);
        assert!(outage < GAP_LIMIT, "{what}: writes stood still for {outage:?}");
    }
    lab.stop().await?;
    Ok(judged)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_is_killed_and_nobody_waits_for_its_lease() -> Outcome {
    region_killed(ledger(), "region killed, ledger takeover").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: the same in strict durability"]
async fn a_strict_pair_loses_a_region_and_waits_for_the_second_copy_only() -> Outcome {
    let options = LabOptions { durability: Durability::Strict, ..ledger() };
    region_killed(options, "region killed, strict, ledger takeover").await.map(drop)
}

/// The old side is alive and willing all the time: what it acknowledged late is in the new history.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_region_is_taken_over_and_thawed_and_writes_nothing_of_its_own() -> Outcome {
    let mut lab = standing(ledger()).await?;
    let new = lab.address(&hel())?;
    let at = lab.clock.now();
    lab.freeze(&fsn());
    lab.wait_acknowledged(Some(new), lab.options.ttl).await?;
    undisturbed().await;
    lab.thaw(&fsn());
    lab.wait_healthy(WHOLE_LIMIT).await?;
    undisturbed().await;
    let step = moved(&lab, at, &fsn(), &hel())?;
    let judged = judge(&mut lab, "region frozen, ledger takeover", &[step], None).await?;
    assert_eq!(judged.verdict.late.missing, vec![]);
    let outage = gap(&judged, at, None);
    assert!(outage < GAP_LIMIT, "writes stood still for {outage:?}");
    lab.stop().await
}

/// The agent alone dies; PostgreSQL and its guard live and hold connections of clients.
#[tokio::test(flavor = "multi_thread")]
async fn the_agent_is_killed_and_its_living_postgresql_acknowledges_nothing_more() -> Outcome {
    let mut lab = standing(ledger()).await?;
    let new = lab.address(&hel())?;
    let at = lab.clock.now();
    lab.kill("fsn-agent").await?;
    lab.wait_acknowledged(Some(new), lab.options.ttl).await?;
    undisturbed().await;
    lab.restart("fsn-agent").await?;
    lab.wait_healthy(WHOLE_LIMIT).await?;
    undisturbed().await;
    let step = moved(&lab, at, &fsn(), &hel())?;
    let judged = judge(&mut lab, "agent killed, ledger takeover", &[step], None).await?;
    assert_eq!(judged.verdict.late.missing, vec![]);
    let outage = gap(&judged, at, None);
    assert!(outage < GAP_LIMIT, "writes stood still for {outage:?}");
    lab.stop().await
}

/// There and back, the old primary alive each time: it is stopped after the move, rewound, and whole
/// again.
async fn hot_moves(rounds: usize) -> Outcome {
    let mut lab = writing(quick()).await?;
    let mut moves = Vec::new();
    for round in 0..rounds {
        let (from, to) = if round % 2 == 0 { (fsn(), hel()) } else { (hel(), fsn()) };
        let (step, operation) = switch_over(&lab, &from, &to, Method::Hot).await?;
        let rejoined = operation.steps.iter().find(|line| line.step == Step::Rejoin);
        println!("{from} -> {to}: {}", rejoined.map_or("?", |line| line.detail.as_str()));
        moves.push(step);
        undisturbed().await;
    }
    let judged = judge(&mut lab, "hot switchovers", &moves, None).await?;
    let mut gaps: Vec<Duration> = moves
        .iter()
        .enumerate()
        .map(|(index, step)| gap(&judged, step.at, moves.get(index + 1).map(|next| next.at)))
        .collect();
    gaps.sort_unstable();
    println!("write gaps of {rounds} hot moves, sorted: {gaps:?}");
    let median = gaps[gaps.len() / 2];
    println!("median {median:?}");
    assert!(median < bound(Duration::from_millis(500)), "median {median:?}");
    lab.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_switchover_there_and_back_loses_nothing() -> Outcome {
    hot_moves(2).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: ten moves, for the median"]
async fn ten_hot_moves_in_a_row_have_a_short_median_gap() -> Outcome {
    hot_moves(10).await
}
