//! The whole protocol of a planned hand-over, by hand, and back.

use continuum_test_kube::operator::spec::decode;
use serde_json::{Value, json};

use crate::operator::{Region, World, one, switched, text};

/// Writes numbers in order until it is refused, and returns the last that was acknowledged.
async fn write_on(region: &Region, from: u64) -> u64 {
    let mut last = from;
    let Ok(client) = region.try_connect().await else { return last };
    while client.batch_execute(&format!("INSERT INTO ledger VALUES ({})", last + 1)).await.is_ok() {
        last += 1;
    }
    last
}

async fn is_in_recovery(region: &Region) -> bool {
    region.sql("SELECT pg_is_in_recovery()").await == "t"
}

/// Hands over while somebody writes, and returns the last number that was acknowledged.
async fn hand_over(from: &Region, to: &Region, last: u64) -> u64 {
    let used = text(&from.cluster().await["status"]["demotionToken"]);
    let demotion = async {
        // In one patch, or the webhook refuses it.
        let body = json!({ "primary": to.name, "source": to.name, "promotionToken": null });
        from.replica(body).await.unwrap();
        let status = from.until("a new token", |status| {
            let token = &status["demotionToken"];
            switched(status) && token.is_string() && *token != used.as_str()
        });
        text(&status.await["demotionToken"])
    };
    let (last, token) = tokio::join!(write_on(from, last), demotion);
    let content = decode(&token).expect("a whole token");
    let standby = to.cluster().await["status"].clone();
    assert_eq!(content["databaseSystemIdentifier"], standby["systemID"]);
    let timeline = standby["timelineID"].as_i64().unwrap();
    assert_eq!(content["latestCheckpointTimelineID"], timeline.to_string());

    let body = json!({ "primary": to.name, "source": from.name, "promotionToken": token });
    to.replica(body).await.unwrap();
    to.until("promoted by the token", |status| status["lastPromotionToken"] == token).await;
    assert!(!is_in_recovery(to).await);
    assert!(is_in_recovery(from).await);
    to.until("another timeline", |status| status["timelineID"] == timeline + 1).await;
    to.replica(json!({ "promotionToken": null })).await.unwrap();
    to.until("the token is forgotten", |status| status["lastPromotionToken"].is_null()).await;
    from.until("the old one follows", |status| status["timelineID"] == timeline + 1).await;
    last
}

/// Everything that was acknowledged is there; at most the one on its way beside it.
async fn holds(region: &Region, last: u64) -> u64 {
    let client = region.try_connect().await.unwrap();
    let found = one(&client, "SELECT count(*), max(at) FROM ledger").await.unwrap();
    let highest = one(&client, "SELECT coalesce(max(at), 0) FROM ledger").await.unwrap();
    assert_eq!(found, highest, "no gap");
    let found: u64 = found.parse().unwrap();
    assert!(found == last || found == last + 1, "{found} rows of {last} acknowledged");
    found
}

#[tokio::test]
async fn a_pair_is_handed_over_and_back_without_loss() {
    let Some(world) = World::new().await else { return };
    world.pair(json!({})).await;
    let (a, b) = (&world.a, &world.b);
    a.sql("CREATE TABLE ledger (at bigint PRIMARY KEY)").await;
    let last = hand_over(a, b, 0).await;
    assert!(last > 0, "somebody wrote");
    let kept = holds(b, last).await;
    let last = hand_over(b, a, kept).await;
    assert!(last > kept, "somebody wrote again");
    holds(a, last).await;
    // The token of the first hand-over went when its side led again.
    assert!(a.cluster().await["status"]["demotionToken"].is_null());
}

#[tokio::test]
async fn a_remote_cluster_is_waited_for_by_its_name() {
    let Some(world) = World::new().await else { return };
    let synchronous = json!({ "postgresql": {
        "parameters": { "synchronous_commit": "remote_apply" },
        "synchronous": {
            "method": "first", "number": 1, "maxStandbyNamesFromCluster": 0,
            "standbyNamesPre": ["db-b"], "dataDurability": "required",
        },
    } });
    // What is waited for must be there before anything is written.
    world.pair(json!({})).await;
    let body = json!({ "spec": synchronous });
    world.a.patch(body).await.unwrap();
    world
        .a
        .s
        .until("it is waited for", async || {
            world
                .a
                .sql("SELECT application_name || ':' || sync_state FROM pg_stat_replication")
                .await
                == "db-b:sync"
        })
        .await;
    world.a.sql("CREATE TABLE t AS SELECT 1 AS x").await;
    assert_eq!(world.b.sql("SELECT x FROM t").await, "1");
}

#[tokio::test]
async fn a_replica_is_promoted_without_a_token_at_once() {
    let Some(world) = World::new().await else { return };
    world.pair(json!({})).await;
    let b = &world.b;
    let pods = "/api/v1/namespaces/db/pods";
    let role = async || {
        let pod = b.s.get(&format!("{pods}/db-b-1")).await.unwrap();
        text(&pod["metadata"]["labels"]["cnpg.io/instanceRole"])
    };
    assert_eq!(role().await, "replica");
    b.replica(json!({ "primary": "db-b" })).await.unwrap();
    b.until("it leads", |status| status["timelineID"] == 2).await;
    assert!(!is_in_recovery(b).await);
    assert_eq!(role().await, "primary");
    // Nothing has fenced the other: both can be written now.
    assert!(!is_in_recovery(&world.a).await);
    let status: Value = b.cluster().await["status"].clone();
    assert!(status["lastPromotionToken"].is_null());
}
