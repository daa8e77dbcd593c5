//! Clients behind a PgBouncer that follows the lease: a planned move is a stall and no error, and
//! nobody hangs on a primary that is gone.

use std::time::Duration;

use continuum_chaos::history::{Attempt, Outcome as Said};
use continuum_chaos::lab::Error;
use continuum_chaos::process::signal_all;
use continuum_chaos::stall;
use continuum_chaos::workload::{Connection, OWNER_ROLE};
use continuum_chaos::{Lab, LabOptions};
use continuum_control_api::link::SwitchStanding;
use continuum_domain::operation::{Method, OperationState, Step, StepOutcome, StepRecord};
use continuum_domain::spec::Takeover;
use continuum_domain::{Epoch, RegionId, Tick};
use continuum_tests::*;
use rustix::process::Signal;

/// A client may hang for so long after the takeover: it is told of the end of its session, or served.
const HANG_LIMIT: Duration = Duration::from_secs(5);
/// How long a condition at a pooler is waited for.
const LIMIT: Duration = Duration::from_secs(20);

fn pooled() -> LabOptions {
    LabOptions { pooler: true, ..quick() }
}

/// Not acknowledged, whatever the reason.
fn failed(attempts: &[Attempt]) -> Vec<String> {
    let failed = attempts.iter().filter(|attempt| attempt.outcome != Said::Acknowledged);
    failed.map(|attempt| format!("{attempt:?}")).collect()
}

async fn moves(rounds: usize) -> Outcome {
    // The usual ttl: a lease that lapses on a busy machine would cost clients an error of its own.
    let mut lab = writing(LabOptions { pooler: true, ..LabOptions::default() }).await?;
    let mut moves = Vec::new();
    for method in [Method::Clean, Method::Hot].repeat(rounds) {
        for (from, to) in [(fsn(), hel()), (hel(), fsn())] {
            let (step, operation) = switch_over(&lab, &from, &to, method).await?;
            let drained = operation.steps.iter().filter(|line| {
                line.step == Step::Drain
                    && line.region.is_some()
                    && line.outcome == StepOutcome::Done
            });
            assert_eq!(drained.count(), 2, "both agents drained their pooler: {operation:#?}");
            moves.push((method, step));
            undisturbed().await;
        }
    }
    let trouble = lab.trouble();
    let steps: Vec<_> = moves.iter().map(|(_, step)| *step).collect();
    let judged = judge(&mut lab, "behind poolers", &steps, None).await?;
    for wanted in [Method::Clean, Method::Hot] {
        let until = |index: usize| steps.get(index + 1).map(|next| next.at);
        let by = moves.iter().enumerate().filter(|(_, (method, _))| *method == wanted);
        let by: Vec<_> = by.map(|(index, (_, step))| (step.at, until(index))).collect();
        println!("{:?}", stall::report(&judged.attempts, wanted, &by));
    }
    assert_eq!(failed(&judged.attempts), Vec::<String>::new(), "a planned move costs no error");
    assert_eq!(trouble, None, "no connection was lost");
    lab.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn planned_moves_of_both_kinds_cost_a_stall_and_no_error() -> Outcome {
    moves(1).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: twenty moves, for the median"]
async fn twenty_moves_cost_a_stall_and_no_error() -> Outcome {
    moves(5).await
}

/// Nothing waits for a pooler longer than the spec says: not the move, and not the other pooler's clients.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_pooler_does_not_block_a_move_and_follows_when_it_is_back() -> Outcome {
    let mut lab = Lab::start(pooled()).await?;
    lab.start_workload_at(&fsn(), WRITERS).await?;
    lab.wait_acknowledged(None, LIMIT).await?;
    undisturbed().await;
    let frozen = lab.process("hel-pooler").expect("it runs");
    assert!(!signal_all(std::slice::from_ref(&frozen), Signal::STOP).is_empty());
    let (step, operation) = switch_over(&lab, &fsn(), &hel(), Method::Clean).await?;
    let told = |line: &&StepRecord| line.step == Step::Drain && line.detail.contains("goes on");
    let told = operation.steps.iter().find(told).expect("that it was not drained");
    assert!(told.detail.contains("hel: hel-pooler: "), "{told:?}");
    lab.until("the core to hear of it", LIMIT, async || {
        let view = lab.pair().await.map_err(|error| error.to_string())?;
        let reports = view.traffic.values().flat_map(|told| &told.switches);
        let failing = reports.filter(|(_, report)| report.standing(0) == SwitchStanding::Fails);
        let failing: Vec<_> = failing.map(|(name, _)| name.clone()).collect();
        if failing == ["hel-pooler"] { Ok(()) } else { Err(format!("{failing:?}")) }
    })
    .await?;
    assert!(!gets_through(&lab, &hel()).await?);
    signal_all(&[frozen], Signal::CONT);
    lab.until("the pooler to follow", LIMIT, async || match gets_through(&lab, &hel()).await {
        Ok(true) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    let judged = judge(&mut lab, "a frozen pooler", &[step], None).await?;
    assert_eq!(failed(&judged.attempts), Vec::<String>::new(), "the other pooler's clients");
    lab.stop().await
}

/// When the core, and not a client, knew that a region holds a later epoch than `before`.
async fn taken_over(lab: &Lab, region: &RegionId, before: Epoch) -> Result<Tick, Error> {
    let view = lab.wait_moved(before, WHOLE_LIMIT).await?;
    assert_eq!(view.holder.as_ref(), Some(region));
    Ok(lab.clock.now())
}

/// Everybody who was under way at the takeover got an answer soon after it, or an error.
fn nobody_hung(attempts: &[Attempt], taken_over: Tick, what: &str) {
    let worst = attempts
        .iter()
        .filter(|attempt| attempt.sent <= taken_over && attempt.done > taken_over)
        .map(|attempt| attempt.done.since(taken_over))
        .max();
    println!("{what}: the last answer came {worst:?} after the takeover");
    assert!(worst.is_none_or(|worst| worst < HANG_LIMIT), "{what}: a client hung for {worst:?}");
}

/// A region that is frozen closes no connection, one that is killed closes all: behind a pooler in the
/// other region neither keeps a client.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_region_keeps_no_client_behind_a_pooler() -> Outcome {
    let options = LabOptions { takeover: Takeover::Ledger, ..pooled() };
    let mut lab = Lab::start(options).await?;
    lab.start_workload_at(&hel(), WRITERS).await?;
    lab.wait_acknowledged(None, LIMIT).await?;
    undisturbed().await;
    let before = epoch(&lab.pair().await?);
    let frozen_at = lab.clock.now();
    assert!(lab.freeze(&fsn()) > 0);
    let frozen = taken_over(&lab, &hel(), before).await?;
    println!("frozen: taken over {:?} after it", frozen.since(frozen_at));
    lab.wait_acknowledged(Some(lab.address(&hel())?), WHOLE_LIMIT).await?;
    undisturbed().await;
    lab.thaw(&fsn());
    lab.wait_healthy(WHOLE_LIMIT).await?;
    // The pooler that is killed with its region takes its clients along: others watch from fsn.
    let pooler = lab.pooler(&fsn())?;
    lab.workload()?.pooled(&[pooler], 0);
    lab.workload()?.pooled(&[pooler], 0);
    undisturbed().await;
    let before = epoch(&lab.pair().await?);
    let killed_at = lab.clock.now();
    lab.kill_region(&hel()).await?;
    let killed = taken_over(&lab, &fsn(), before).await?;
    println!("killed: taken over {:?} after it", killed.since(killed_at));
    lab.wait_acknowledged(Some(lab.address(&fsn())?), WHOLE_LIMIT).await?;
    undisturbed().await;
    lab.start_region(&hel()).await?;
    let steps = [moved(&lab, frozen_at, &fsn(), &hel())?, moved(&lab, killed_at, &hel(), &fsn())?];
    let judged = judge(&mut lab, "lost regions", &steps, None).await?;
    nobody_hung(&judged.attempts, frozen, "frozen");
    nobody_hung(&judged.attempts, killed, "killed");
    lab.stop().await
}

/// Whether a new transaction gets through a pooler.
async fn gets_through(lab: &Lab, region: &RegionId) -> Result<bool, Error> {
    let at = lab.pooler(region)?;
    let patience = Duration::from_millis(500);
    let Ok(connection) = Connection::open(OWNER_ROLE, at, patience).await else { return Ok(false) };
    let said = tokio::time::timeout(patience, connection.said("SELECT 1")).await;
    Ok(said.is_ok_and(|(outcome, _)| outcome == Said::Acknowledged))
}

/// The core has given the move up and cannot tell an agent that is dead. What the agent wanted is on its
/// pooler's disk: it ends it at its next start.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_while_clients_wait_lets_them_through_at_its_next_start() -> Outcome {
    let drain = Duration::from_secs(10);
    let mut lab = Lab::start(LabOptions { drain, ..pooled() }).await?;
    // A transaction that does not end keeps the drain going.
    let open = Connection::open(OWNER_ROLE, lab.pooler(&hel())?, LIMIT).await;
    let open = open.map_err(Error::Options)?;
    assert_eq!(open.said("BEGIN; SELECT 1").await.0, Said::Acknowledged);
    assert!(gets_through(&lab, &hel()).await?);
    let operation = lab.switchover(&hel(), Some(Method::Clean), "an end-to-end test").await?;
    lab.until("the pooler to hold clients back", LIMIT, async || {
        match gets_through(&lab, &hel()).await {
            Ok(false) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    lab.kill("hel-agent").await?;
    let ended = lab.wait_ended(&operation.id, OPERATION_LIMIT).await?;
    assert!(!matches!(ended.state, OperationState::Done), "{ended:#?}");
    println!("without its target's agent the move ended: {:?}", ended.state);
    drop(open);
    assert!(!gets_through(&lab, &hel()).await?, "nobody is there to end it");
    lab.restart("hel-agent").await?;
    lab.until("clients to get through again", LIMIT, async || {
        match gets_through(&lab, &hel()).await {
            Ok(true) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    assert!(gets_through(&lab, &fsn()).await?, "the core released the other one");
    lab.stop().await
}
