//! A Cluster is put to sleep and woken, on an API server.

use continuum_agent::at_rest::Sleeper as _;
use continuum_agent::at_rest::config::HibernateConfig;
use continuum_agent::at_rest::hibernation::Hibernation;
use continuum_domain::{Epoch, PairId};
use continuum_test_kube::Effect;
use serde_json::{Value, json};

use crate::kubernetes::server::{CLUSTERS, Server};

const DB: &str = "/apis/postgresql.cnpg.io/v1/namespaces/shop/clusters/db";
const SLEEP: &str = "cnpg.io/hibernation";

async fn furnished() -> Server {
    let server = Server::start().await;
    let cluster = json!({
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "metadata": { "name": "db" },
        "spec": { "instances": 3, "storage": { "size": "1Gi" } },
    });
    server.post(CLUSTERS, cluster).await;
    server
}

fn open(server: &Server, agent: &str) -> Hibernation {
    Hibernation::open(&HibernateConfig {
        pair: PairId::new("app").unwrap(),
        kubeconfig: Some(server.kubeconfig(agent)),
        namespace: "shop".into(),
        cluster: "db".into(),
    })
}

async fn sleeps(server: &Server) -> Value {
    server.get(DB).await["metadata"]["annotations"][SLEEP].clone()
}

/// The operator's word.
async fn operator_says(server: &Server, asleep: bool) {
    let word = if asleep { "True" } else { "False" };
    let condition = json!({ "type": SLEEP, "status": word, "reason": "Hibernated", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let status = json!({ "status": { "conditions": [condition] } });
    server.patch(&format!("{DB}/status"), status).await;
}

#[tokio::test]
async fn it_sleeps_when_the_operator_says_so_and_wakes_with_its_spec_untouched() {
    let server = furnished().await;
    let spec = server.get(DB).await["spec"].clone();
    let (one, other) = (open(&server, "one"), open(&server, "other"));
    one.resuming(Epoch(7)).await.unwrap();
    assert_eq!(sleeps(&server).await, Value::Null, "nobody put it to sleep");
    assert_eq!(one.rested(Epoch(7)).await, Ok(false), "ordered, and not done");
    operator_says(&server, true).await;
    let before = server.get(DB).await;
    assert_eq!(one.rested(Epoch(7)).await, Ok(true));
    assert_eq!(server.get(DB).await, before, "said once");
    // Another agent, after a restart, wakes it.
    other.resuming(Epoch(7)).await.unwrap();
    other.resuming(Epoch(8)).await.unwrap();
    assert_eq!(sleeps(&server).await, "off");
    other.rested(Epoch(9)).await.unwrap();
    other.resuming(Epoch(9)).await.unwrap();
    assert!(
        one.rested(Epoch(7)).await.unwrap_err().0.contains("newer than 7"),
        "it was left behind"
    );
    assert_eq!(sleeps(&server).await, "off");
    assert_eq!(server.get(DB).await["spec"], spec);
}

#[tokio::test]
async fn what_a_person_put_to_sleep_stays_asleep() {
    let server = furnished().await;
    let one = open(&server, "one");
    server.patch(DB, json!({ "metadata": { "annotations": { SLEEP: "on" } } })).await;
    let before = server.get(DB).await;
    for told in [one.resuming(Epoch(7)).await.err(), one.rested(Epoch(7)).await.err()] {
        assert!(told.unwrap().0.contains("by somebody else"));
    }
    assert_eq!(server.get(DB).await, before);
}

#[tokio::test]
async fn conflicts_are_read_anew_and_a_lost_reply_is_found_done() {
    let server = furnished().await;
    let one = open(&server, "one");
    let writes = |call: &continuum_test_kube::Call| call.verb == "patch";
    server.api().control().disturb(Effect::Answer(409), Some(2), writes);
    one.rested(Epoch(7)).await.unwrap();
    assert_eq!(sleeps(&server).await, "on");
    for effect in [Effect::RetryAfter(1), Effect::Drop] {
        server.api().control().disturb(effect, Some(1), writes);
        assert!(one.resuming(Epoch(7)).await.is_err());
        assert_eq!(sleeps(&server).await, "on", "{effect:?}");
    }
    server.api().control().disturb(Effect::LoseReply, Some(1), writes);
    assert!(one.resuming(Epoch(7)).await.is_err());
    assert_eq!(sleeps(&server).await, "off");
    one.resuming(Epoch(7)).await.unwrap();
}
