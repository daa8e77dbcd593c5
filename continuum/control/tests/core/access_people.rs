//! People by the word of an identity provider.

use continuum_control::config::AccessConfig;
use continuum_control_api::client::ClientError;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::access_provider::{Mood, Provider, Signer};
use crate::access_support::{Client, Reply, Shows, nodes, owner};
use crate::support::{Cluster, eventually, spec};

async fn core_with(provider: &Provider) -> Cluster {
    let access = AccessConfig { oidc: Some(provider.config()), ..AccessConfig::default() };
    let cluster = Cluster::start_with_access(access).await;
    let mut labelled = spec();
    labelled.labels = [("env-type".to_owned(), "test".to_owned())].into();
    cluster.apply(labelled).await;
    let (leader, _) = nodes(&cluster).await;
    let grant = json!({
        "subjects": ["group:dba", "user:eve@example.org"], "tier": "admin", "selector": "env-type=test",
    });
    let granted = owner(&cluster, &leader).send("PUT", "/access/grants/dba", grant).await;
    assert_eq!(granted.status, 200, "{}", granted.body);
    cluster
}

async fn get(cluster: &Cluster, node: &str, token: &str, path: &str) -> Reply {
    Client::new(cluster, node, &Shows::bearer(token)).get(path).await
}

/// The answer once the node has had the provider's keys.
async fn known(cluster: &Cluster, node: &str, token: &str) -> Reply {
    eventually("an answer by the provider's keys", || async {
        let reply = get(cluster, node, token, "/pairs/shop").await;
        (reply.status != 503).then_some(reply)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_may_what_groups_and_name_give_and_nothing_else() {
    let (es, rs) = (Signer::new("es", Algorithm::ES256), Signer::new("rs", Algorithm::RS256));
    let provider = Provider::start(vec![es.clone(), rs.clone()]).await;
    let cluster = core_with(&provider).await;
    let (_, follower) = nodes(&cluster).await;
    let ann = provider.claims("ann@example.org", &["staff", "dba"]);
    for signer in [&es, &rs, &rs.by(Algorithm::PS256)] {
        assert_eq!(known(&cluster, &follower, &signer.sign(&ann)).await.status, 200);
    }
    let whoami = get(&cluster, &follower, &es.sign(&ann), "/whoami").await.body;
    assert_eq!(whoami["caller"], "user/ann@example.org", "{whoami}");
    let holds = json!([{ "tier": "admin", "selector": "env-type=test" }]);
    assert_eq!((&whoami["holds"], &whoami["may_break_glass"]), (&holds, &json!(false)));
    let eve = es.sign(&provider.claims("eve@example.org", &[]));
    assert_eq!(known(&cluster, &follower, &eve).await.status, 200);
    // Who is known and holds nothing learns that, and no more.
    let bob = es.sign(&provider.claims("bob@example.org", &["staff"]));
    assert_eq!(known(&cluster, &follower, &bob).await.told(), (404, "pair-not-found"));
    assert_eq!(get(&cluster, &follower, &bob, "/pairs").await.told(), (403, "forbidden"));
    assert_eq!(get(&cluster, &follower, &bob, "/whoami").await.body["holds"], json!([]));
    // The chain names the person.
    let client = Client::new(&cluster, &follower, &Shows::bearer(&es.sign(&ann)));
    let pause = json!({ "pair": "shop", "reason": "test", "for_ms": 60_000 });
    let pause = client.send("PUT", "/automation/pause", pause).await;
    assert_eq!((pause.status, &pause.body["actor"]), (200, &json!("user/ann@example.org")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_the_providers_word_for_us_is_refused() {
    let signer = Signer::new("es", Algorithm::ES256);
    let provider = Provider::start(vec![signer.clone()]).await;
    let cluster = core_with(&provider).await;
    let (leader, _) = nodes(&cluster).await;
    let good = provider.claims("eve@example.org", &[]);
    assert_eq!(known(&cluster, &leader, &signer.sign(&good)).await.status, 200);
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        signer.sign(&claims)
    };
    let stranger = Signer::new("es", Algorithm::ES256);
    let good_text = signer.sign(&good);
    let body = good_text.split('.').nth(1).unwrap();
    // {"alg":"none","kid":"es"}
    let none = format!("eyJhbGciOiJub25lIiwia2lkIjoiZXMifQ.{body}.");
    let bad = [
        with("aud", json!("another")),
        with("iss", json!("https://other.example.org")),
        with("exp", json!(1_000_000)),
        with("nbf", json!(99_999_999_999u64)),
        stranger.sign(&good),
        none,
        "nonsense".to_owned(),
    ];
    for (number, token) in bad.iter().enumerate() {
        let reply = get(&cluster, &leader, token, "/pairs/shop").await;
        assert_eq!(reply.told(), (401, "unauthenticated"), "{number}: {}", reply.body);
        let told = reply.body["detail"].as_str().unwrap();
        assert!(told.starts_with("the token is not good"), "no help for a guesser: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_rotated_and_a_provider_that_is_away_locks_nobody_out() {
    let (old, new) = (Signer::new("old", Algorithm::ES256), Signer::new("new", Algorithm::ES256));
    let provider = Provider::start(vec![old.clone()]).await;
    let cluster = core_with(&provider).await;
    let (leader, _) = nodes(&cluster).await;
    let claims = provider.claims("eve@example.org", &[]);
    let (by_old, by_new) = (old.sign(&claims), new.sign(&claims));
    assert_eq!(known(&cluster, &leader, &by_old).await.status, 200);
    provider.turn(Mood::Broken);
    let away = eventually("the provider is found away", || async {
        let reply = get(&cluster, &leader, &by_new, "/pairs/shop").await;
        (reply.status == 503).then_some(reply)
    })
    .await;
    assert_eq!(away.told(), (503, "provider-away"));
    assert_eq!(away.body["retryable"], true);
    assert_eq!(get(&cluster, &leader, &by_old, "/pairs/shop").await.status, 200);
    // Whatever is asked meanwhile, one fetch in ten seconds; the other nodes look after themselves.
    let before = provider.fetches();
    for _ in 0..20 {
        assert_eq!(get(&cluster, &leader, &by_new, "/pairs/shop").await.status, 503);
    }
    assert!(provider.fetches() <= before + 3);
    provider.turn(Mood::Good);
    provider.rotate(vec![new.clone()]);
    let found = known(&cluster, &leader, &by_new).await;
    assert_eq!(found.status, 200, "the new key was fetched");
    let gone = get(&cluster, &leader, &by_old, "/pairs/shop").await;
    assert_eq!(gone.told(), (401, "unauthenticated"), "the old key has vanished");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_was_never_reached_is_told_apart_from_a_bad_token() {
    for mood in [Mood::Slow, Mood::Huge, Mood::Impostor] {
        let signer = Signer::new("es", Algorithm::ES256);
        let provider = Provider::start(vec![signer.clone()]).await;
        provider.turn(mood);
        let cluster = core_with(&provider).await;
        let (leader, _) = nodes(&cluster).await;
        let token = signer.sign(&provider.claims("eve@example.org", &[]));
        let reply = get(&cluster, &leader, &token, "/pairs/shop").await;
        assert_eq!(reply.told(), (503, "provider-away"), "{mood:?}: {}", reply.body);
        // Certificates need no provider.
        let mine: Result<_, ClientError> = cluster.client().status().await;
        assert_eq!(mine.unwrap().pairs.len(), 1, "{mood:?}");
    }
}
