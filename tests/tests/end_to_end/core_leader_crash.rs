//! The core's leader dies right after it journalled a line of a switchover: another one goes on, and
//! the operation ends done or cleanly undone.

use std::time::Duration;

use continuum_chaos::Lab;
use continuum_chaos::lab::Error;
use continuum_chaos::ledger::Move;
use continuum_domain::RegionId;
use continuum_domain::operation::{Method, Operation, OperationState, StepOutcome};
use continuum_tests::*;

/// How long the operation may take to reach the line at which the leader crashes.
const CRASH_LIMIT: Duration = Duration::from_secs(20);
const ELECTION_LIMIT: Duration = Duration::from_secs(30);
const ATTEMPTS_TO_LEAD_MAX: usize = 20;

/// Boundaries before the first line and after the last.
const CREATED: &str = "state/running";
const ENDED: &str = "state/done";

/// Every boundary of a switchover, as one that nothing disturbed left them in its journal.
fn boundaries(operation: &Operation) -> Vec<String> {
    let mut found = vec![CREATED.to_owned()];
    for line in &operation.steps {
        let step = serde_json::to_value(line.step).expect("steps are plain data");
        let outcome = match line.outcome {
            StepOutcome::Started => "started",
            StepOutcome::Done => "done",
            StepOutcome::Failed { .. } | StepOutcome::Undone => {
                panic!("disturbed: {operation:#?}")
            }
        };
        let boundary = format!("{}/{outcome}", step.as_str().expect("a step is a word"));
        if !found.contains(&boundary) {
            found.push(boundary);
        }
    }
    found.push(ENDED.to_owned());
    found
}

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
    (from, to): (&RegionId, &RegionId),
    method: Method,
) -> Result<(RegionId, bool, Option<Move>), Error> {
    let node = "core-1";
    arm(lab, node, line).await?;
    if method == Method::Hot {
        lab.wait_hot(to, OPERATION_LIMIT).await?;
    }
    let at = lab.clock.now();
    let accepted = lab
        .until("the switchover to be accepted", ELECTION_LIMIT, async || {
            lab.switchover(to, Some(method), line).await.map_err(|error| error.to_string())
        })
        .await?;
    let ended = lab.wait_ended(&accepted.id, OPERATION_LIMIT).await;
    let crashed = lab.wait_part_ended(node, Duration::from_secs(1)).await
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

/// A switchover for each boundary, with a leader that crashes there.
async fn crash_at_each(
    lab: &mut Lab,
    mut holder: RegionId,
    lines: &[String],
    method: Method,
) -> Result<Vec<Move>, Error> {
    let mut moves = Vec::new();
    for line in lines {
        let target = if holder == fsn() { hel() } else { fsn() };
        let (now, crashed, step) = crashed_at(lab, line, (&holder, &target), method).await?;
        assert!(crashed, "the leader did not reach {line}");
        holder = now;
        moves.extend(step);
        undisturbed().await;
    }
    Ok(moves)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_dies_after_writes_were_stopped_and_after_the_commit() -> Outcome {
    let mut lab = writing(quick()).await?;
    let lines = ["stop-writes/done", "commit/done"].map(str::to_owned);
    let moves = crash_at_each(&mut lab, fsn(), &lines, Method::Clean).await?;
    judge(&mut lab, "leader crashes", &moves, None).await?;
    lab.stop().await
}

async fn at_every_boundary(method: Method) -> Outcome {
    let mut lab = writing(quick()).await?;
    let (first, operation) = switch_over(&lab, &fsn(), &hel(), method).await?;
    let lines = boundaries(&operation);
    println!("boundaries of a switchover: {lines:?}");
    let mut moves = vec![first];
    moves.extend(crash_at_each(&mut lab, hel(), &lines, method).await?);
    judge(&mut lab, "leader crashes", &moves, None).await?;
    lab.stop().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a switchover per line of the journal"]
async fn the_leader_dies_at_every_boundary() -> Outcome {
    at_every_boundary(Method::Clean).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a switchover per line of the journal"]
async fn the_leader_dies_at_every_boundary_of_a_hot_switchover() -> Outcome {
    at_every_boundary(Method::Hot).await
}
