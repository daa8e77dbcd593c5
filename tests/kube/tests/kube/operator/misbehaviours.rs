//! Each misbehaviour of the operator, shown.

use continuum_test_kube::Misbehaviour;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::operator::{Region, World, condition, healthy, switched};

async fn demote(region: &Region, to: &str) {
    let body = json!({ "primary": to, "source": to, "promotionToken": null });
    region.replica(body).await.unwrap();
}

/// Some looks of the operator, in which nothing may happen.
async fn for_a_while(region: &Region) {
    region.operator.looks(4).await;
}

#[tokio::test]
async fn a_token_is_withheld_or_wiped() {
    let Some(world) = World::new().await else { return };
    world.pair(json!({})).await;
    let a = &world.a;
    a.misbehave(Misbehaviour { token_withheld: true, ..Misbehaviour::default() });
    demote(a, "db-b").await;
    let transition = "ReplicaClusterDesignatedPrimaryTransition";
    a.until("it is down", |status| condition(status, transition) == "True").await;
    for_a_while(a).await;
    let cluster = a.cluster().await;
    assert_eq!(cluster["status"]["switchReplicaClusterStatus"]["inProgress"], true);
    assert!(cluster["status"]["demotionToken"].is_null());
    assert_eq!(cluster["metadata"]["annotations"]["cnpg.io/fencedInstances"], "[\"*\"]");
    assert!(a.try_connect().await.is_err());

    let mut events = a.s.watch(&format!("{}?watch=1", a.path())).await;
    a.misbehave(Misbehaviour { token_wiped: true, ..Misbehaviour::default() });
    a.until("it ends without a token", |status| {
        switched(status) && status["demotionToken"].is_null()
    })
    .await;
    // It was there for a moment.
    loop {
        let (_, cluster) = events.next().await.unwrap();
        if cluster["status"]["demotionToken"].is_string() {
            break;
        }
    }
}

#[tokio::test]
async fn a_fenced_cluster_is_called_healthy() {
    let Some(world) = World::new().await else { return };
    let a = &world.a;
    let clusters = "/apis/postgresql.cnpg.io/v1/namespaces/db/clusters";
    a.s.post(clusters, world.cluster(a, "db-a", json!({}))).await.unwrap();
    a.until_ready().await;
    a.misbehave(Misbehaviour { healthy_while_fenced: true, ..Misbehaviour::default() });
    a.fence(Some("[\"*\"]")).await;
    a.until("it is fenced", |status| status["readyInstances"] == 0).await;
    assert!(healthy(&a.cluster().await["status"]));
    assert!(a.try_connect().await.is_err());
    a.misbehave(Misbehaviour::default());
    a.until("it is told", |status| !healthy(status)).await;
    a.fence(None).await;
    a.until_ready().await;
    assert_eq!(a.sql("SELECT 1").await, "1");

    // Asleep and awake again, by the same name.
    let sleep = |is: Value| json!({ "metadata": { "annotations": { "cnpg.io/hibernation": is } } });
    a.patch(sleep(json!("on"))).await.unwrap();
    a.until("it sleeps", |status| condition(status, "cnpg.io/hibernation") == "True").await;
    assert!(a.try_connect().await.is_err());
    a.s.get("/api/v1/namespaces/db/pods/db-a-1").await.unwrap_err().is(404, "NotFound");
    a.patch(sleep(json!("off"))).await.unwrap();
    a.until_ready().await;
    assert_eq!(a.sql("SELECT 1").await, "1");
}

#[tokio::test]
async fn a_shutdown_waits_for_its_archiver() {
    let Some(world) = World::new().await else { return };
    world.pair(json!({})).await;
    let a = &world.a;
    let session = a.try_connect().await.unwrap();
    a.misbehave(Misbehaviour { slow_shutdown: true, ..Misbehaviour::default() });
    demote(a, "db-b").await;
    a.until("it begins", |status| status["switchReplicaClusterStatus"]["inProgress"] == true).await;
    a.s.until("sessions end first", async || session.batch_execute("SELECT 1").await.is_err())
        .await;
    a.s.until("it is shutting down, and has not shut down", async || {
        let refused = a.try_connect().await.err();
        let code = refused.as_ref().and_then(|error| error.code());
        code == Some(&tokio_postgres::error::SqlState::CANNOT_CONNECT_NOW)
    })
    .await;
    let status = a.cluster().await["status"].clone();
    assert_eq!(condition(&status, "ReplicaClusterDesignatedPrimaryTransition"), "False");
    a.misbehave(Misbehaviour::default());
    a.until("the token comes", |status| status["demotionToken"].is_string()).await;
}

#[tokio::test]
async fn an_operator_that_is_down_does_nothing() {
    let Some(world) = World::new().await else { return };
    world.pair(json!({})).await;
    let a = &world.a;
    a.misbehave(Misbehaviour { down: true, ..Misbehaviour::default() });
    // A look that had begun may end.
    for_a_while(a).await;
    demote(a, "db-b").await;
    a.fence(Some("[\"*\"]")).await;
    for_a_while(a).await;
    assert_eq!(a.sql("CREATE TABLE t AS SELECT 1; SELECT count(*) FROM t").await, "1");

    // What a fence must do itself then: end PostgreSQL from within its pod.
    let pods: Api<Pod> = Api::namespaced(a.s.client.clone(), "db");
    let how = AttachParams::default().stderr(true);
    let line = ["sh", "-c", "kill -QUIT $(head -n 1 \"$PGDATA/postmaster.pid\"); echo done"];
    let mut running = pods.exec("db-a-1", line, &how).await.unwrap();
    let mut out = String::new();
    running.stdout().unwrap().read_to_string(&mut out).await.unwrap();
    assert_eq!(out, "done\n");
    a.s.until("it is down", async || a.try_connect().await.is_err()).await;

    // Back again, the operator goes on; what was not shut down cleanly gives no token.
    a.misbehave(Misbehaviour::default());
    a.until("it begins", |status| status["switchReplicaClusterStatus"]["inProgress"] == true).await;
    for_a_while(a).await;
    let status = a.cluster().await["status"].clone();
    assert!(status["demotionToken"].is_null() && !switched(&status));
    assert!(a.operator.troubles().iter().any(|trouble| trouble.contains("no token")));
}
