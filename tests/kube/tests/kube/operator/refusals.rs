//! What the operator and its webhook refuse.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use continuum_test_kube::operator::spec::decode;
use serde_json::{Value, json};

use crate::operator::{World, switched, text};

const UNRECOVERABLE: &str = "Cluster is unrecoverable and needs manual intervention";

fn changed(token: &str, field: &str, value: &str) -> String {
    let mut content: Value = decode(token).unwrap();
    content[field] = json!(value);
    STANDARD.encode(content.to_string())
}

#[tokio::test]
async fn a_token_must_fit_exactly() {
    let Some(world) = World::new().await else { return };
    world.pair(json!({})).await;
    let (a, b) = (&world.a, &world.b);
    let body = json!({ "primary": "db-b", "source": "db-b", "promotionToken": null });
    a.replica(body).await.unwrap();
    let status =
        a.until("a token", |status| switched(status) && status["demotionToken"].is_string()).await;
    let token = text(&status["demotionToken"]);
    let recovers = async || b.sql("SELECT pg_is_in_recovery()").await == "t";
    let with =
        |token: &str| json!({ "primary": "db-b", "source": "db-a", "promotionToken": token });

    // It has not received so much.
    let ahead = changed(&token, "latestCheckpointREDOLocation", "FFFF/0");
    b.replica(with(&ahead)).await.unwrap();
    b.until("it waits", |status| status["phase"] == "Promoting to primary cluster").await;
    assert!(recovers().await);
    for (field, value) in [
        ("latestCheckpointREDOLocation", "0/1"),
        ("latestCheckpointTimelineID", "9"),
        ("databaseSystemIdentifier", "1"),
    ] {
        b.replica(with(&changed(&token, field, value))).await.unwrap();
        b.until(field, |status| status["phase"] == UNRECOVERABLE).await;
        assert!(recovers().await, "{field}");
        b.replica(with(&ahead)).await.unwrap();
        b.until("it waits", |status| status["phase"] == "Promoting to primary cluster").await;
    }
    b.replica(with(&token)).await.unwrap();
    b.until("it is promoted", |status| status["lastPromotionToken"] == token).await;
    assert!(!recovers().await);

    // The token was left where it is: the next hand-over is refused until it is cleared.
    let refused = b.replica(json!({ "primary": "db-a", "source": "db-a" })).await.unwrap_err();
    refused.is(422, "Invalid");
    assert!(refused.message.contains("promotionToken"), "{refused:?}");
    assert!(refused.message.contains("denied the request"), "{refused:?}");
}

#[tokio::test]
async fn the_webhook_refuses_what_cannot_be() {
    let Some(world) = World::new().await else { return };
    // Nothing of this reaches PostgreSQL.
    let clusters = "/apis/postgresql.cnpg.io/v1/namespaces/db/clusters?dryRun=All";
    let replica = |replica: Value| world.cluster(&world.b, "db-a", json!({ "replica": replica }));
    let good = replica(json!({ "primary": "db-a", "source": "db-a" }));
    world.b.s.post(clusters, good).await.unwrap();
    let cut = STANDARD.encode("{}");
    for (wrong, field) in [
        (json!({ "enabled": true, "primary": "db-a", "source": "db-a" }), "enabled"),
        (json!({ "primary": "db-a", "source": "db-x" }), "source"),
        (json!({ "primary": "db-x", "source": "db-a" }), "primary"),
        (json!({ "primary": "db-a", "source": "db-a", "promotionToken": cut }), "promotionToken"),
        (json!({ "primary": "db-b", "source": "db-a", "promotionToken": cut }), "promotionToken"),
    ] {
        let refused = world.b.s.post(clusters, replica(wrong)).await.unwrap_err();
        refused.is(422, "Invalid");
        assert_eq!(refused.causes()[0].0, format!("spec.replica.{field}"), "{refused:?}");
    }
}
