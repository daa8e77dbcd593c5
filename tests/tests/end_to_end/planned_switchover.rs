//! A planned switchover loses nothing, in any durability, and writes stand still only briefly.

use std::time::Duration;

use continuum_chaos::LabOptions;
use continuum_domain::operation::Method;
use continuum_domain::spec::Durability;
use continuum_tests::*;

/// Promised is a median under 0.5 s in release; this only catches a move that waits for a timeout.
const GAP_LIMIT: Duration = Duration::from_secs(3);

async fn there_and_back(options: LabOptions, method: Method, what: &str) -> Outcome {
    let mut lab = writing(options).await?;
    let (away, _) = switch_over(&lab, &fsn(), &hel(), method).await?;
    undisturbed().await;
    let (back, _) = switch_over(&lab, &hel(), &fsn(), method).await?;
    undisturbed().await;
    let judged = judge(&mut lab, what, &[away, back], None).await?;
    assert_eq!(judged.verdict.tally.lost, vec![]);
    assert!(gap(&judged, away.at, Some(back.at)) < GAP_LIMIT);
    assert!(gap(&judged, back.at, None) < GAP_LIMIT);
    lab.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_again_loses_nothing() -> Outcome {
    there_and_back(quick(), Method::Clean, "available").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_async_pair_loses_nothing_in_a_planned_move() -> Outcome {
    let options = LabOptions { durability: Durability::Async, ..quick() };
    there_and_back(options, Method::Clean, "async").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: ten moves, for the median"]
async fn ten_moves_in_a_row_have_a_short_median_gap() -> Outcome {
    ten_moves(quick(), Method::Clean, "available, ten moves", Duration::from_millis(500)).await
}

/// In `strict` the gap includes the old primary's return: writes wait for the second copy (R22).
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: ten moves, for the median"]
async fn ten_moves_of_a_strict_pair_wait_for_the_second_copy_only() -> Outcome {
    let options = LabOptions { durability: Durability::Strict, ..quick() };
    ten_moves(options, Method::Clean, "strict, ten moves", Duration::from_secs(1)).await
}

async fn ten_moves(options: LabOptions, method: Method, what: &str, limit: Duration) -> Outcome {
    let mut lab = writing(options).await?;
    let mut moves = Vec::new();
    for round in 0..10 {
        let (from, to) = if round % 2 == 0 { (fsn(), hel()) } else { (hel(), fsn()) };
        moves.push(switch_over(&lab, &from, &to, method).await?.0);
        undisturbed().await;
    }
    let judged = judge(&mut lab, what, &moves, None).await?;
    let mut gaps: Vec<Duration> = moves
        .iter()
        .enumerate()
        .map(|(index, step)| gap(&judged, step.at, moves.get(index + 1).map(|next| next.at)))
        .collect();
    gaps.sort_unstable();
    println!("write gaps of ten planned moves, sorted: {gaps:?}");
    let median = (gaps[4] + gaps[5]) / 2;
    assert!(median < bound(limit), "{what}: median {median:?}");
    lab.stop().await
}
