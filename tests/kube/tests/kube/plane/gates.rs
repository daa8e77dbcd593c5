//! What stands in the way of a planned move is told while it stands, by the side that it stands on.

use continuum_cnpg_pair::plane::StopMode;
use continuum_domain::observation::Hindrance;
use continuum_test_kube::Misbehaviour;

use super::*;
use crate::subject::MERGE;

const WRITTEN: &str = "INSERT INTO t SELECT 1";
const SWITCHED: &str = "SELECT pg_switch_wal()";

fn codes(found: &[Hindrance]) -> Vec<&str> {
    found.iter().map(|one| one.code.as_str()).collect()
}

/// Once exactly these bar a move away from a member, and these one to it.
async fn told(plane: &Arc<dyn DataPlane>, leaving: &[&str], coming: &[&str]) -> ActuatorStatus {
    until(&format!("{leaving:?}, {coming:?}"), async || {
        let seen = status(plane).await;
        let found = (codes(&seen.against_leaving), codes(&seen.hindrances));
        (found == (leaving.to_vec(), coming.to_vec())).then_some(seen)
    })
    .await
}

async fn clear(plane: &Arc<dyn DataPlane>) {
    told(plane, &[], &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_the_way_of_a_move_is_told_while_it_stands() {
    let Some(pair) = Pair::new().await else { return };
    let (a, b) = (&pair.world.a, &pair.world.b);
    clear(&pair.a).await;
    clear(&pair.b).await;
    a.sql("CREATE TABLE t (x int)").await;

    // A shutdown would wait for the archiver: it fails, then it has much to do as well.
    let failing = || Misbehaviour { archive_failing: true, ..Misbehaviour::default() };
    a.misbehave(failing());
    let next_file = async || {
        a.sql(WRITTEN).await;
        a.sql(SWITCHED).await
    };
    next_file().await;
    let seen = told(&pair.a, &["source-archiving"], &[]).await;
    assert!(seen.against_leaving[0].meaning.contains("db-a"), "{seen:?}");
    for _ in 0..10 {
        next_file().await;
    }
    told(&pair.a, &["source-archiving", "source-archive-queue"], &[]).await;
    clear(&pair.b).await;
    a.misbehave(Misbehaviour::default());
    // An archiver that has failed looks again when there is another file.
    until("the archive is mended", async || {
        next_file().await;
        status(&pair.a).await.against_leaving.is_empty().then_some(())
    })
    .await;

    a.patch(json!({ "spec": { "switchoverDelay": 3600 } })).await.unwrap();
    told(&pair.a, &["shutdown-bound"], &[]).await;
    a.patch(json!({ "spec": { "switchoverDelay": 30 } })).await.unwrap();
    clear(&pair.a).await;

    // The operator of either side is at something.
    for (region, plane) in [(a, &pair.a), (b, &pair.b)] {
        region.misbehave(Misbehaviour { down: true, ..Misbehaviour::default() });
        region.operator.looks(1).await;
        let path =
            format!("/apis/postgresql.cnpg.io/v1/namespaces/db/clusters/{}/status", region.name);
        for (phase, well) in [("Applying configuration", false), ("Cluster in healthy state", true)]
        {
            let said = json!({ "status": { "phase": phase } });
            region.s.patch(MERGE, &path, said).await.unwrap();
            match (well, region.name) {
                (true, _) => clear(plane).await,
                (false, "db-a") => drop(told(plane, &["source-healthy"], &[]).await),
                (false, _) => drop(told(plane, &[], &["target-healthy"]).await),
            }
        }
        region.misbehave(Misbehaviour::default());
    }

    // What is stopped tells nothing of it, and what changes sides is asked as what it is.
    b.patch(json!({ "spec": { "switchoverDelay": 3600 } })).await.unwrap();
    pair.a.stop(Epoch(1), StopMode::Immediate).await.unwrap();
    clear(&pair.a).await;
    clear(&pair.b).await;
    arm(&pair.b, Epoch(2), now() + FAR).await;
    pair.b.promote(Epoch(2), &SyncNames::default()).await.unwrap();
    told(&pair.b, &["shutdown-bound"], &[]).await;
}
