//! Moves: by the token, without one, and the way back.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use continuum_cnpg_pair::DataPlane;
use continuum_cnpg_pair::plane::StopMode;
use continuum_domain::observation::{Lineage, ProcessState};
use continuum_domain::{Epoch, SyncNames};
use continuum_test_kube::Misbehaviour;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::subject::MERGE;

use super::{FAR, Pair, arm, look, now, refused, status, until, until_streams};

/// One hand-over by the token, which is returned.
async fn hand_over(
    pair: &Pair,
    (from, old): (&Arc<dyn DataPlane>, &str),
    (to, new): (&Arc<dyn DataPlane>, &str),
    epoch: u64,
) -> String {
    let names = SyncNames::default();
    from.checkpoint().await.unwrap();
    from.stop(Epoch(epoch), StopMode::Fast).await.unwrap();
    assert_eq!(status(from).await.process, ProcessState::Stopped);
    let control = from.control_data().await.unwrap();
    assert!(control.clean_shutdown && !control.in_recovery, "{control:?}");
    until("the standby has replayed the shutdown", async || {
        look(to).await.replay.filter(|replay| *replay > control.checkpoint)
    })
    .await;
    let token = from.handover_evidence().await.expect("a token");
    to.take_evidence(Epoch(epoch), &token).await.unwrap();
    refused(to.promote(Epoch(epoch + 1), &names).await);
    arm(to, Epoch(epoch + 1), now() + FAR).await;
    let promoted = to.promote(Epoch(epoch + 1), &names).await.unwrap();
    assert_eq!(promoted.timeline.0, epoch + 1);

    let upstream = pair.upstream(new);
    assert_eq!(from.lineage(&upstream).await.unwrap(), Lineage::Follows);
    from.start(Epoch(epoch + 1), &names, Some(&upstream)).await.unwrap();
    until_streams(to, old).await;
    until("the token is forgotten", async || {
        let cluster = super::at(&pair.world, new).cluster().await;
        cluster["spec"]["replica"]["promotionToken"].is_null().then_some(())
    })
    .await;
    assert_eq!(super::at(&pair.world, new).sql("SELECT x FROM t").await, "7");
    token
}

/// The hand-over with its token, and back, without a rebuild. After that the first demotion's token is in the
/// status again, with everything beside it that says that it is this one's: no stop counts by it, no standby
/// takes it, and nothing is lost.
#[tokio::test]
async fn the_role_moves_by_the_token_and_back_and_never_by_an_old_one() {
    let Some(pair) = Pair::new().await else { return };
    let a = &pair.world.a;
    a.sql("CREATE TABLE t AS SELECT 7 AS x").await;
    let old = hand_over(&pair, (&pair.a, "fsn"), (&pair.b, "hel"), 1).await;
    hand_over(&pair, (&pair.b, "hel"), (&pair.a, "fsn"), 2).await;

    a.misbehave(Misbehaviour { token_stale: true, ..Misbehaviour::default() });
    a.sql("INSERT INTO t VALUES (8)").await;
    let stopping = {
        let plane = pair.a.clone();
        continuum_runtime::seed::spawn(async move { plane.stop(Epoch(3), StopMode::Fast).await })
    };
    a.until("demoted, by the old token", |status| {
        status["demotionToken"] == old.as_str()
            && status["switchReplicaClusterStatus"]["inProgress"] == false
    })
    .await;
    // Some looks of the agent at what is there now.
    for _ in 0..20 {
        assert!(!stopping.is_finished(), "stopped by a token of another stop");
        tokio::time::sleep(super::LOOK).await;
    }
    pair.b.take_evidence(Epoch(3), &old).await.unwrap_err();
    pair.a.stop(Epoch(3), StopMode::Immediate).await.unwrap();
    stopping.await.unwrap().unwrap_err();
    assert_eq!(pair.a.handover_evidence().await, None);

    arm(&pair.b, Epoch(4), now() + FAR).await;
    pair.b.promote(Epoch(4), &SyncNames::default()).await.unwrap();
    assert_eq!(pair.world.b.sql("SELECT sum(x) FROM t").await, "15");
}

/// A move that is called off after the stop: the old primary comes back.
#[tokio::test]
async fn a_demoted_primary_comes_back() {
    let Some(pair) = Pair::new().await else { return };
    let names = SyncNames::default();
    pair.a.stop(Epoch(1), StopMode::Fast).await.unwrap();
    pair.a.start(Epoch(2), &names, None).await.unwrap();
    arm(&pair.a, Epoch(2), now() + FAR).await;
    pair.a.promote(Epoch(2), &names).await.unwrap();
    pair.a.commit_probe().await.unwrap();
    until_streams(&pair.a, "hel").await;
}

/// The loser of a failover that has nothing of its own follows as it is.
#[tokio::test]
async fn a_loser_without_a_tail_follows_as_it_is() {
    let Some(pair) = Pair::new().await else { return };
    let names = SyncNames::default();
    pair.world.a.sql("CREATE TABLE t AS SELECT 1 AS x").await;
    // What these write of their own accord after the standby has it all would be a tail.
    pair.world.a.sql("ALTER SYSTEM SET autovacuum = off").await;
    pair.world.a.sql("SELECT pg_reload_conf()").await;
    let writer = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'background writer'";
    let writer: i32 = pair.world.a.sql(writer).await.parse().unwrap();
    kill_process(Pid::from_raw(writer).unwrap(), Signal::STOP).unwrap();
    let end = pair.a.wake().await.unwrap();
    until("the standby has it all", async || {
        (look(&pair.b).await.replay >= Some(end)).then_some(())
    })
    .await;
    pair.a.stop(Epoch(1), StopMode::Immediate).await.unwrap();
    arm(&pair.b, Epoch(2), now() + FAR).await;
    pair.b.promote(Epoch(2), &names).await.unwrap();
    let upstream = pair.upstream("hel");
    assert_eq!(pair.a.lineage(&upstream).await.unwrap(), Lineage::Follows);
    pair.a.start(Epoch(2), &names, Some(&upstream)).await.unwrap();
    until_streams(&pair.b, "fsn").await;
}

/// A token that is left from an earlier demotion is not taken for this stop's, whatever the status says
/// beside it: its primary still writes.
#[tokio::test]
async fn a_token_of_an_earlier_stop_is_no_proof_of_this_one() {
    let Some(pair) = Pair::new().await else { return };
    let a = &pair.world.a;
    a.misbehave(Misbehaviour { down: true, ..Misbehaviour::default() });
    let stopping = {
        let plane = pair.a.clone();
        continuum_runtime::seed::spawn(async move { plane.stop(Epoch(1), StopMode::Fast).await })
    };
    until("it is to be a replica", async || {
        (a.cluster().await["spec"]["replica"]["primary"] == "db-b").then_some(())
    })
    .await;
    let content = json!({
        "latestCheckpointTimelineID": "1",
        "redoWalFile": "000000010000000000000001",
        "databaseSystemIdentifier": a.cluster().await["status"]["systemID"],
        "latestCheckpointREDOLocation": "0/1000028",
        "timeOfLatestCheckpoint": "long ago",
        "operatorVersion": "1.30.0",
    });
    let token = STANDARD.encode(content.to_string());
    let done = json!([{
        "type": "ReplicaClusterSwitch", "status": "True", "reason": "Done", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]);
    let status = json!({ "status": {
        "demotionToken": token, "conditions": done,
        "switchReplicaClusterStatus": { "inProgress": false },
    } });
    let path = "/apis/postgresql.cnpg.io/v1/namespaces/db/clusters/db-a/status";
    a.s.patch(MERGE, path, status).await.unwrap();
    // Some looks of the agent at what is there now.
    for _ in 0..20 {
        assert!(!stopping.is_finished(), "stopped by a token of another stop");
        a.sql("SELECT pg_switch_wal()").await;
        tokio::time::sleep(super::LOOK).await;
    }
    a.misbehave(Misbehaviour::default());
    stopping.await.unwrap().unwrap();
    assert_ne!(pair.a.handover_evidence().await.as_ref(), Some(&token));
}

/// Two copies at once would spoil each other, so the second waits for the end of the first. It takes the place of
/// the old directory, which is kept.
#[tokio::test]
async fn a_copy_is_not_begun_beside_another() {
    let Some(pair) = Pair::new().await else { return };
    let upstream = pair.upstream("fsn");
    pair.b.stop(Epoch(1), StopMode::Immediate).await.unwrap();
    let lock = pair.world.b.guard_path("job.lock");
    let held = std::fs::File::create(&lock).unwrap();
    std::fs::set_permissions(&lock, std::fs::Permissions::from_mode(0o666)).unwrap();
    held.lock().unwrap();
    let refused = pair.b.reclone(Epoch(1), &upstream).await.unwrap_err();
    assert!(refused.to_string().contains("under way"), "{refused}");
    assert_eq!(status(&pair.b).await.data_directory, None, "without an identity meanwhile");
    drop(held);
    let id = pair.b.reclone(Epoch(1), &upstream).await.unwrap();
    assert_eq!(pair.world.b.kept_directories(), 1, "the old one stays");
    pair.b.start(Epoch(1), &SyncNames::default(), Some(&upstream)).await.unwrap();
    until_streams(&pair.a, "hel").await;
    assert_eq!(status(&pair.b).await.data_directory, Some(id));
}

/// A Cluster that sleeps while its pair is paused is started once it is woken, as it was.
#[tokio::test]
async fn a_sleeping_cluster_is_started_when_it_wakes() {
    let Some(pair) = Pair::new().await else { return };
    let b = &pair.world.b;
    let hibernate = async |how: &str| {
        let annotation = json!({ "cnpg.io/hibernation": how });
        b.patch(json!({ "metadata": { "annotations": annotation } })).await.unwrap();
    };
    pair.b.stop(Epoch(1), StopMode::Fast).await.unwrap();
    hibernate("on").await;
    let pod = "/api/v1/namespaces/db/pods/db-b-1";
    until("the pod is gone", async || b.s.get(pod).await.is_err().then_some(())).await;
    assert_eq!(status(&pair.b).await.process, ProcessState::Stopped);
    let upstream = pair.upstream("fsn");
    let starting = {
        let plane = pair.b.clone();
        let names = SyncNames::default();
        continuum_runtime::seed::spawn(async move {
            plane.start(Epoch(1), &names, Some(&upstream)).await
        })
    };
    b.operator.looks(3).await;
    assert!(!starting.is_finished(), "it sleeps");
    hibernate("off").await;
    starting.await.unwrap().unwrap();
    until_streams(&pair.a, "hel").await;
}

/// PostgreSQL is killed before the operator has demoted its Cluster: the operator waits for a clean shutdown and
/// lets nobody be a primary before. It gets one, and the member may lead again.
#[tokio::test]
async fn a_demotion_that_is_cut_short_is_ended_by_the_next_start() {
    let Some(pair) = Pair::new().await else { return };
    let a = &pair.world.a;
    a.misbehave(Misbehaviour { down: true, ..Misbehaviour::default() });
    let stopping = {
        let plane = pair.a.clone();
        continuum_runtime::seed::spawn(async move { plane.stop(Epoch(1), StopMode::Fast).await })
    };
    until("it is to be a replica", async || {
        (a.cluster().await["spec"]["replica"]["primary"] == "db-b").then_some(())
    })
    .await;
    pair.a.stop(Epoch(1), StopMode::Immediate).await.unwrap();
    stopping.await.unwrap().unwrap_err();
    a.misbehave(Misbehaviour::default());
    let under_way =
        |status: &serde_json::Value| status["switchReplicaClusterStatus"]["inProgress"] == true;
    a.until("the demotion is under way", under_way).await;
    let names = SyncNames::default();
    pair.a.start(Epoch(2), &names, None).await.unwrap();
    assert!(!under_way(&a.cluster().await["status"]));
    arm(&pair.a, Epoch(2), now() + FAR).await;
    pair.a.promote(Epoch(2), &names).await.unwrap();
    pair.a.commit_probe().await.unwrap();
}

/// A write is answered late: the watch has told of a later change by then, and does not tell of it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_late_takes_nothing_back_that_is_known() {
    let Some(pair) = Pair::new().await else { return };
    let (b, plane) = (&pair.world.b, &pair.b);
    // It would say something of the fence.
    b.misbehave(Misbehaviour { down: true, ..Misbehaviour::default() });
    let mut held = b
        .server
        .control()
        .hold(|call| call.user == "agent" && call.verb == "patch" && call.resource == "clusters");
    let upstream = pair.upstream("fsn");
    let mut following = std::pin::pin!(plane.follow(Epoch(2), Some(&upstream)));
    tokio::select! {
        biased;
        ended = &mut following => panic!("its answer was not kept back: {ended:?}"),
        () = held.carried_out() => {}
    }
    let fence = json!({ "cnpg.io/fencedInstances": "[\"*\"]" });
    b.patch(json!({ "metadata": { "annotations": fence } })).await.unwrap();
    until("a person's fence is seen", async || status(plane).await.fenced).await;
    held.release();
    following.await.unwrap();
    assert!(status(plane).await.fenced.is_some(), "it is still known");
}
