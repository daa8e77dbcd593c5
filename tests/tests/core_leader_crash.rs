//! The core's leader dies right after it journalled a line of a switchover: another one goes on, and
//! the operation ends done or cleanly undone.

use std::time::Duration;

use continuum_chaos::Lab;
use continuum_chaos::lab::Error;
use continuum_chaos::ledger::Move;
use continuum_domain::RegionId;
use continuum_domain::operation::OperationState;
use continuum_tests::*;

/// How long the operation may take to reach the line at which the leader crashes.
const CRASH_LIMIT: Duration = Duration::from_secs(20);
const ELECTION_LIMIT: Duration = Duration::from_secs(30);
const ATTEMPTS_TO_LEAD_MAX: usize = 20;

/// Every line a switchover can leave in the journal.
const BOUNDARIES: [&str; 20] = [
    "preflight/started",
    "preflight/done",
    "drain/started",
    "drain/done",
    "stop-writes/started",
    "stop-writes/done",
    "prove-catch-up/started",
    "prove-catch-up/done",
    "hand-over/started",
    "hand-over/done",
    "commit/started",
    "commit/done",
    "promote/started",
    "promote/done",
    "traffic/started",
    "traffic/done",
    "rejoin/started",
    "rejoin/done",
    "restore-ledger/done",
    "verify/done",
];

/// Arms one node with a crash point and makes it the leader.
async fn arm(lab: &mut Lab, node: &str, line: &str) -> Result<(), Error> {
    let point = format!("switchover/{line}");
    lab.set_environment(node, &[("CONTINUUM_CRASH_AFTER", &point)]);
    lab.restart(node).await?;
    for _ in 0..ATTEMPTS_TO_LEAD_MAX {
        let leader = lab.wait_leader(ELECTION_LIMIT).await?;
        if leader == node {
            lab.expect_end(node);
            return Ok(());
        }
        // It must stay away until another one leads: a leader that is back at once goes on leading.
        lab.kill(&leader).await?;
        lab.until("another leader", ELECTION_LIMIT, async || {
            let core = lab.api().core().await.map_err(|error| error.to_string())?;
            match core.leader {
                Some(name) if name != leader => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await?;
        lab.restart(&leader).await?;
    }
    panic!("{node} never became the leader");
}

/// One switchover with a leader that crashes at `line`; where the pair stands, whether it crashed,
/// and the move if there was one.
async fn crashed_at(
    lab: &mut Lab,
    line: &str,
    from: &RegionId,
    to: &RegionId,
) -> Result<(RegionId, bool, Option<Move>), Error> {
    let node = "core-1";
    arm(lab, node, line).await?;
    let at = lab.clock.now();
    let accepted = lab
        .until("the switchover to be accepted", ELECTION_LIMIT, async || {
            lab.switchover(to, line).await.map_err(|error| error.to_string())
        })
        .await?;
    let ended = lab.wait_ended(&accepted.id, OPERATION_LIMIT).await;
    let crashed = lab.wait_part_ended(node, Duration::from_millis(1)).await
        || (ended.is_err() && lab.wait_part_ended(node, CRASH_LIMIT).await);
    lab.set_environment(node, &[]);
    lab.restart(node).await?;
    let operation = ended?;
    let clean = matches!(operation.state, OperationState::Done | OperationState::Undone { .. });
    assert!(clean, "crash after {line}: {operation:#?}");
    let view = lab.wait_healthy(WHOLE_LIMIT).await?;
    let holder = view.holder.expect("somebody holds the lease");
    let expected = if operation.state == OperationState::Done { to } else { from };
    assert_eq!(holder, *expected, "crash after {line}: {operation:#?}");
    let step = if holder == *to { Some(moved(lab, at, from, to)?) } else { None };
    println!("crash after {line}: crashed {crashed}, ended {:?}", operation.state);
    Ok((holder, crashed, step))
}

async fn crash_at_each(lines: &[&str]) -> Outcome {
    let mut lab = writing(quick()).await?;
    let (mut holder, mut crashes, mut moves) = (fsn(), Vec::new(), Vec::new());
    for line in lines {
        let target = if holder == fsn() { hel() } else { fsn() };
        let (now, crashed, step) = crashed_at(&mut lab, line, &holder.clone(), &target).await?;
        holder = now;
        moves.extend(step);
        if crashed {
            crashes.push(*line);
        }
        undisturbed().await;
    }
    println!("the leader crashed after: {crashes:?}");
    assert!(crashes.len() * 2 >= lines.len(), "too few lines are ever journalled: {crashes:?}");
    judge(&mut lab, "leader crashes", &moves, None).await?;
    lab.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_dies_after_writes_were_stopped_and_after_the_commit() -> Outcome {
    crash_at_each(&["stop-writes/done", "commit/done"]).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a switchover per line of the journal"]
async fn the_leader_dies_at_every_boundary() -> Outcome {
    crash_at_each(&BOUNDARIES).await
}
