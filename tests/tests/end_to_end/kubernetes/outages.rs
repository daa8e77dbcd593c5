//! What a region of Clusters can lose.

use std::time::Duration;

use continuum_domain::operation::{Method, OperationKind};
use continuum_test_kube::{Call, Misbehaviour, Side};
use continuum_tests::*;

use super::field::Field;

/// A region is gone: agent, PostgreSQL, operator and API server. The other takes over by itself, and the
/// region comes back behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_region_of_clusters_is_lost_and_comes_back() -> Outcome {
    let mut field = Field::writing(quick()).await?;
    let ttl = field.lab.options.ttl;
    let before = epoch(&field.lab.pair().await?);
    let at = field.lab.clock.now();
    field.lab.kill("fsn-agent").await?;
    field.region_mut(&fsn()).lose().await;
    let new = field.lab.address(&hel())?;
    field.lab.wait_acknowledged(Some(new), ttl * 6).await?;
    let operation = field.lab.failover_after(before, WHOLE_LIMIT).await?;
    let by_itself = matches!(&operation.kind, OperationKind::Failover { to, .. } if *to == hel());
    assert!(by_itself, "{operation:#?}");

    field.region_mut(&fsn()).come_back().await;
    field.lab.restart("fsn-agent").await?;
    let view = field.lab.wait_healthy(WHOLE_LIMIT).await.inspect_err(|_| field.tell())?;
    assert_eq!(view.holder, Some(hel()));
    undisturbed().await;
    let step = moved(&field.lab, at, &fsn(), &hel())?;
    judge(&mut field.lab, "region of Clusters lost", &[step], None).await?;
    field.lab.stop().await
}

/// I6: the API server of the primary's region is away for longer than the ttl. Nothing happens.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_away_stops_no_primary() -> Outcome {
    let mut field = Field::writing(quick()).await?;
    let before = epoch(&field.lab.pair().await?);
    let at = field.lab.clock.now();
    for region in [fsn(), hel()] {
        field.region_mut(&region).server.down().await;
    }
    let away = field.lab.options.ttl * 3;
    let until = field.lab.clock.now() + away;
    while field.lab.clock.now() < until {
        field.lab.wait_acknowledged(None, Duration::from_secs(5)).await?;
    }
    for region in [fsn(), hel()] {
        field.region_mut(&region).server.up().await.unwrap();
    }
    let view = field.lab.wait_healthy(WHOLE_LIMIT).await?;
    assert_eq!((epoch(&view), view.holder), (before, Some(fsn())));
    let judged = judge(&mut field.lab, "no API server", &[], None).await?;
    let outage = gap(&judged, at, None);
    assert!(outage < away / 2, "writes went on: {outage:?}");
    field.lab.stop().await
}

/// The agent is killed: PostgreSQL ends at its deadline in the pod, although the operator would start it
/// again, and the other region takes over.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_leaves_no_primary_behind() -> Outcome {
    let mut field = Field::writing(quick()).await?;
    let before = epoch(&field.lab.pair().await?);
    let at = field.lab.clock.now();
    field.lab.kill("fsn-agent").await?;
    let ttl = field.lab.options.ttl;
    let new = field.lab.address(&hel())?;
    field.lab.wait_acknowledged(Some(new), ttl * 6).await?;
    field.lab.restart("fsn-agent").await?;
    let view = field.lab.wait_healthy(WHOLE_LIMIT).await.inspect_err(|_| field.tell())?;
    assert_eq!(view.holder, Some(hel()));
    assert!(epoch(&view) > before);
    undisturbed().await;
    let step = moved(&field.lab, at, &fsn(), &hel())?;
    judge(&mut field.lab, "agent of a Cluster killed", &[step], None).await?;
    field.lab.stop().await
}

/// What an agent changes, by its calls to the API server.
fn changes(call: &Call) -> bool {
    call.user == "agent"
        && (call.verb == "patch" || call.subresource == "exec" && !call.command.ends_with(" tell"))
}

/// Over two moves the agent of the old primary, then that of the new one, dies in the middle of its calls, and is
/// started again. Wherever the pair ends, it is whole, and nothing is lost. Every other call is the matter of the
/// data plane's own tests.
#[tokio::test(flavor = "multi_thread")]
async fn agents_die_in_the_middle_of_moves() -> Outcome {
    let mut field = Field::writing(quick()).await?;
    let mut moves = Vec::new();
    for (whose_is_old, nth) in [(true, 4), (false, 2)] {
        let from = field.lab.pair().await?.holder.expect("somebody holds the pair");
        let to = if from == fsn() { hel() } else { fsn() };
        let dying = if whose_is_old { from.clone() } else { to.clone() };
        let control = field.region(&dying).server.control().clone();
        let mut cut = control.cut("agent", (nth, Side::Before), changes);
        let at = field.lab.clock.now();
        let accepted = field.lab.switchover(&to, Some(Method::Clean), "an end-to-end test").await?;
        let reached = tokio::time::timeout(OPERATION_LIMIT, cut.reached()).await;
        let part = format!("{dying}-agent");
        field.lab.kill(&part).await?;
        control.mend(&cut);
        field.lab.restart(&part).await?;
        assert!(reached.is_ok(), "the move makes fewer calls");
        field.lab.wait_ended(&accepted.id, OPERATION_LIMIT).await?;
        let view = field.lab.wait_healthy(WHOLE_LIMIT).await.inspect_err(|_| field.tell())?;
        field.lab.wait_acknowledged(None, WHOLE_LIMIT).await?;
        if view.holder.as_ref() == Some(&to) {
            moves.push(moved(&field.lab, at, &from, &to)?);
        }
    }
    undisturbed().await;
    judge(&mut field.lab, "agents killed over moves", &moves, None).await?;
    field.lab.stop().await
}

/// The operator of the primary's region is down when a move is ordered, so that nobody demotes. What
/// comes of it is decided by the lease, in time, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_down_holds_up_a_move_and_loses_nothing() -> Outcome {
    let mut field = Field::writing(quick()).await?;
    let at = field.lab.clock.now();
    field.region(&fsn()).misbehave(Misbehaviour { down: true, ..Misbehaviour::default() });
    let accepted = field.lab.switchover(&hel(), Some(Method::Clean), "an end-to-end test").await?;
    field.lab.wait_ended(&accepted.id, OPERATION_LIMIT).await?;
    field.lab.wait_acknowledged(None, WHOLE_LIMIT).await?;
    field.region(&fsn()).misbehave(Misbehaviour::default());
    let view = field.lab.wait_healthy(WHOLE_LIMIT).await.inspect_err(|_| field.tell())?;
    undisturbed().await;
    let step = moved(&field.lab, at, &fsn(), &hel())?;
    let moves = if view.holder == Some(hel()) { vec![step] } else { Vec::new() };
    judge(&mut field.lab, "operator down", &moves, None).await?;
    field.lab.stop().await
}
