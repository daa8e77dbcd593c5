//! The deadline in the pod, the fence, and what a new agent takes over.

use std::time::Duration;

use continuum_cnpg_pair::plane::StopMode;
use continuum_domain::observation::ProcessState;
use continuum_domain::{Epoch, SyncNames, Timing};
use rustix::process::{Signal, kill_process};
use serde_json::Value::Null;

use super::{FAR, Pair, arm, guard, look, now, plane, plane_at, refused, status, until};

const STARTED: &str = "SELECT pg_postmaster_start_time()";
const LED: &str = "dr.openova.io/led";
const GATE: &str = "/apis/networking.k8s.io/v1/namespaces/db/networkpolicies/db-a-continuum-fence";

/// A Cluster that runs is taken over as it is.
#[tokio::test]
async fn a_running_cluster_is_adopted_without_a_restart() {
    let Some(pair) = Pair::new().await else { return };
    let started = pair.world.a.sql(STARTED).await;
    let seen = status(&pair.a).await;
    assert_eq!((seen.process, seen.promoted), (ProcessState::Running, true));
    let again = plane(&pair.world, "fsn");
    again.take().await.unwrap();
    arm(&again, Epoch(1), now() + FAR).await;
    assert_eq!(pair.world.a.sql(STARTED).await, started);
    let after = status(&again).await;
    assert_eq!((after.data_directory, after.exits), (seen.data_directory, 0));
    let standby = status(&pair.b).await;
    assert_eq!((standby.process, standby.promoted), (ProcessState::Running, false));
    // Nor does the agent of before do anything to it, by any gate.
    pair.world.a.operator.looks(4).await;
    refused(pair.a.stop(Epoch(9), StopMode::Immediate).await);
    assert_eq!(pair.world.a.sql(STARTED).await, started);
    pair.world.a.s.get(GATE).await.unwrap_err().is(404, "NotFound");
}

/// R5: who finds neither a guard nor a lease leaves a primary as long as a lease may go on. The lease of a
/// Cluster that was adopted is renewed by SQL alone: that it was led stands on its volume, and in a mark of
/// its own, each of which may be lost.
#[tokio::test]
async fn a_primary_that_was_led_is_not_left_without_a_deadline() {
    for lost in ["the mark", "the volume's note"] {
        let Some(pair) = Pair::new().await else { return };
        let Pair { world, a: agent, .. } = pair;
        drop(agent);
        kill_process(guard(&world.a).await, Signal::KILL).unwrap();
        let noted = if lost == "the mark" {
            let none = serde_json::json!({ LED: null });
            world
                .a
                .patch(serde_json::json!({ "metadata": { "annotations": none } }))
                .await
                .unwrap();
            Epoch(1)
        } else {
            let marks = world.a.cluster().await["metadata"]["annotations"].clone();
            assert_eq!((&marks[LED], &marks["dr.openova.io/epoch"]), (&"1".into(), &Null));
            std::fs::remove_file(world.a.guard_path("epoch")).unwrap();
            Epoch(0)
        };
        let timing = Timing { ttl: Duration::from_secs(3), ..Timing::default() };
        let next = plane_at(&world, "fsn", timing);
        let taken = next.take().await.unwrap();
        assert_eq!((taken.status.promoted, taken.status.epoch), (true, noted), "without {lost}");
        until("it is ended", async || world.a.try_connect().await.is_err().then_some(())).await;
        until("it is known to be gone", async || {
            (status(&next).await.process == ProcessState::Stopped).then_some(())
        })
        .await;
    }
}

/// R5: PostgreSQL ends at the deadline with the API server away, and the operator, which would start it
/// as a primary again, does not get it up. Started by its agent it is a standby, and promoted a primary.
#[tokio::test]
async fn postgresql_ends_at_the_deadline_without_an_api_server_and_stays_down() {
    let Some(mut pair) = Pair::new().await else { return };
    pair.world.a.server.down().await;
    // Renewed by SQL alone.
    for _ in 0..3 {
        arm(&pair.a, Epoch(1), now() + Duration::from_secs(2)).await;
    }
    let a = &pair.world.a;
    assert_eq!(a.sql("SELECT pg_is_in_recovery()").await, "f");
    let armed = now() + Duration::from_secs(2);
    until("PostgreSQL is ended", async || a.try_connect().await.is_err().then_some(())).await;
    assert!(now() < armed + Duration::from_secs(20), "soon after the deadline");
    pair.world.a.server.up().await.unwrap();
    let a = &pair.world.a;
    a.operator.looks(5).await;
    assert!(a.try_connect().await.is_err(), "the operator does not get it up");
    until("it is known to be gone", async || {
        (status(&pair.a).await.process == ProcessState::Stopped).then_some(())
    })
    .await;

    let names = SyncNames::default();
    pair.a.start(Epoch(2), &names, None).await.unwrap();
    assert!(look(&pair.a).await.in_recovery);
    assert!(!status(&pair.a).await.promoted);
    arm(&pair.a, Epoch(2), now() + FAR).await;
    let promoted = pair.a.promote(Epoch(2), &names).await.unwrap();
    assert_eq!(promoted.timeline.0, 2);
    pair.a.commit_probe().await.unwrap();
}

/// The fence does not wait for anybody, is marked, and no agent of before does anything more.
#[tokio::test]
async fn a_fence_is_quick_and_outlives_the_agent() {
    let Some(pair) = Pair::new().await else { return };
    let a = &pair.world.a;
    // A fast shutdown would wait for the archiver.
    let slow = continuum_test_kube::Misbehaviour { slow_shutdown: true, ..Default::default() };
    a.misbehave(slow);
    let client = a.try_connect().await.unwrap();
    pair.a.stop(Epoch(3), StopMode::Immediate).await.unwrap();
    assert!(client.simple_query("SELECT 1").await.is_err());
    assert_eq!(status(&pair.a).await.process, ProcessState::Stopped);
    let cluster = a.cluster().await;
    let marks = &cluster["metadata"]["annotations"];
    assert_eq!(marks["cnpg.io/fencedInstances"], "[\"*\"]");
    assert_eq!(marks["dr.openova.io/fence-epoch"], "3");
    let policy = a.s.get(GATE).await.unwrap();
    assert_eq!(policy["metadata"]["annotations"]["dr.openova.io/epoch"], "3");
    assert_eq!(policy["spec"]["podSelector"]["matchLabels"]["cnpg.io/cluster"], "db-a");
    let allowed = policy["spec"]["ingress"][0]["from"].as_array().unwrap();
    assert_eq!((allowed.len(), policy["spec"]["ingress"].as_array().unwrap().len()), (2, 1));

    let next = plane(&pair.world, "fsn");
    let taken = next.take().await.unwrap();
    assert_eq!((taken.status.process, taken.status.epoch), (ProcessState::Stopped, Epoch(3)));
    refused(pair.a.start(Epoch(3), &SyncNames::default(), None).await);
    refused(next.start(Epoch(2), &SyncNames::default(), None).await);
    a.operator.looks(3).await;
    assert!(a.try_connect().await.is_err());
    a.misbehave(Default::default());
    assert!(a.s.get(GATE).await.is_ok(), "as long as it is fenced");
    next.start(Epoch(3), &SyncNames::default(), None).await.unwrap();
    assert!(look(&next).await.in_recovery);
    a.s.get(GATE).await.unwrap_err().is(404, "NotFound");
}

/// The gate is no proof, and no hindrance: without a right to it a fence is as quick, and counts as ever. One that
/// is left from a fence that is over goes.
#[tokio::test]
async fn a_fence_does_without_its_further_gate() {
    let Some(pair) = Pair::new().await else { return };
    let a = &pair.world.a;
    let policies = "/apis/networking.k8s.io/v1/namespaces/db/networkpolicies";
    let forbidden = a.server.control().forbid(|call| call.resource == "networkpolicies");
    pair.a.stop(Epoch(1), StopMode::Immediate).await.unwrap();
    assert_eq!(status(&pair.a).await.process, ProcessState::Stopped);
    a.server.control().relent(forbidden);
    pair.a.start(Epoch(2), &SyncNames::default(), None).await.unwrap();
    let left = serde_json::json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "name": "db-a-continuum-fence" },
        "spec": { "podSelector": {}, "policyTypes": ["Ingress"] },
    });
    a.s.post(policies, left).await.unwrap();
    let next = plane(&pair.world, "fsn");
    next.take().await.unwrap();
    let gate = format!("{policies}/db-a-continuum-fence");
    until("what is left over goes", async || a.s.get(&gate).await.is_err().then_some(())).await;
}

/// A replica that somebody promotes by hand is ended by the guard in its pod.
#[tokio::test]
async fn a_promotion_by_hand_is_ended_in_the_pod() {
    let Some(pair) = Pair::new().await else { return };
    let b = &pair.world.b;
    guard(b).await;
    b.replica(serde_json::json!({ "primary": "db-b", "source": "db-a" })).await.unwrap();
    until("it is ended", async || b.try_connect().await.is_err().then_some(())).await;
    b.operator.looks(5).await;
    assert!(b.try_connect().await.is_err(), "and stays so");
    pair.a.commit_probe().await.unwrap();
}

/// R5: what counts is what the guard has repeated, not what it was sent.
#[tokio::test]
async fn nobody_is_promoted_under_a_deadline_that_the_guard_did_not_repeat() {
    let Some(pair) = Pair::new().await else { return };
    let names = SyncNames::default();
    pair.a.stop(Epoch(1), StopMode::Immediate).await.unwrap();
    let pid = guard(&pair.world.b).await;
    kill_process(pid, Signal::STOP).unwrap();
    pair.b.arm(Epoch(2), now() + FAR).await.unwrap_err();
    refused(pair.b.promote(Epoch(2), &names).await);
    kill_process(pid, Signal::CONT).unwrap();
    arm(&pair.b, Epoch(2), now() + FAR).await;
    pair.b.promote(Epoch(2), &names).await.unwrap();
    refused(pair.b.arm(Epoch(1), now() + FAR).await);
}

/// R16: a pod that is not in the API may run on at a node that nobody reaches. It counts as gone after its
/// guard's deadline only, and so does that of a Cluster that sleeps.
#[tokio::test]
async fn a_pod_that_is_missing_counts_as_stopped_after_a_ttl_only() {
    let Some(pair) = Pair::new().await else { return };
    let b = &pair.world.b;
    let sleep = serde_json::json!({ "cnpg.io/hibernation": "on" });
    b.patch(serde_json::json!({ "metadata": { "annotations": sleep } })).await.unwrap();
    let pod = "/api/v1/namespaces/db/pods/db-b-1";
    until("the pod is gone", async || b.s.get(pod).await.is_err().then_some(())).await;
    let timing = Timing { ttl: Duration::from_secs(4), ..Timing::default() };
    let next = plane_at(&pair.world, "hel", timing);
    let asked = now();
    let taken = next.take().await.unwrap();
    assert_eq!(taken.status.process, ProcessState::Stopping, "not proven");
    until("it counts as stopped", async || {
        (status(&next).await.process == ProcessState::Stopped).then_some(())
    })
    .await;
    assert!(now().since(asked) >= timing.ttl + timing.stop_budget);
}
