//! Tokens, grants, certificates and broken glass, on a running core.

use continuum_control::config::{AccessConfig, OperatorCertificates, RateConfig};
use continuum_domain::access::{Selector, Tier};
use continuum_runtime::{Identity, Role};
use serde_json::{Value, json};

use crate::access_support::{Client, DAY_MS, Shows, nodes, owner, selector, token};
use crate::support::{Cluster, eventually, spec};

async fn pair(cluster: &Cluster, name: &str, environment: &str) {
    let mut labelled = spec();
    labelled.id = name.parse().unwrap();
    labelled.labels = [("env-type".to_owned(), environment.to_owned())].into();
    cluster.apply(labelled).await;
}

fn named(name: &str, environment: &str) -> Value {
    let mut labelled = spec();
    labelled.id = name.parse().unwrap();
    labelled.labels = [("env-type".to_owned(), environment.to_owned())].into();
    json!({ "spec": labelled })
}

async fn core() -> (Cluster, String, String) {
    let cluster = Cluster::start().await;
    pair(&cluster, "shop", "test").await;
    pair(&cluster, "till", "prod").await;
    let (leader, follower) = nodes(&cluster).await;
    (cluster, leader, follower)
}

fn everything() -> Selector {
    Selector::default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_wrong_revoked_or_over_opens_nothing_at_any_node() {
    let (cluster, leader, follower) = core().await;
    let owner = owner(&cluster, &leader);
    let (id, shows) = token(&owner, "ci", Tier::Viewer, &everything()).await;
    let ask = |node: &str, shows: &Shows| {
        let client = Client::new(&cluster, node, shows);
        async move { client.get("/pairs/shop").await.status }
    };
    for node in [&leader, &follower] {
        assert_eq!(ask(node, &shows).await, 200, "{node}");
    }
    let text = shows.authorization.clone().unwrap();
    let last = if text.ends_with('0') { '1' } else { '0' };
    let wrong = format!("{}{last}", &text[..text.len() - 1]);
    let basic = text.replace("Bearer", "Basic");
    for bad in [wrong, basic, text.replace("ctm_", "ctm_x"), "Bearer ctm_".into(), "x".into()] {
        let shows = Shows { authorization: Some(bad.clone()), ..Shows::default() };
        assert_eq!(ask(&leader, &shows).await, 401, "{bad}");
        // A good certificate beside it makes it no better.
        let both = Shows { certificate: Some(cluster.operator.clone()), ..shows };
        assert_eq!(ask(&leader, &both).await, 401, "{bad}");
    }
    let path = format!("/access/tokens/{id}");
    assert_eq!(owner.send("DELETE", &path, json!({ "reason": "lost" })).await.status, 200);
    assert_eq!(ask(&leader, &shows).await, 401);
    // A node that has not heard of it yet lets the leader decide.
    assert_eq!(ask(&follower, &shows).await, 401);
    assert_eq!(owner.send("DELETE", &path, json!({})).await.told(), (404, "token-not-found"));

    let body = json!({ "name": "short", "tier": "viewer", "for_ms": 300 });
    let made = owner.send("POST", "/access/tokens", body).await.body;
    let short = Shows::bearer(made["secret"].as_str().unwrap());
    eventually("the token is over", || async { (ask(&leader, &short).await == 401).then_some(()) })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_told_once_and_is_nowhere_else() {
    let (cluster, leader, _) = core().await;
    let owner = owner(&cluster, &leader);
    let body = json!({ "name": "ci", "tier": "viewer", "for_ms": DAY_MS, "reason": "CHG-1" });
    let key = [("idempotency-key", "k-1")];
    let made = owner.call("POST", "/access/tokens", &key, Some(&body)).await;
    let text = made.body["secret"].as_str().unwrap().to_owned();
    let secret = text.rsplit('_').next().unwrap();
    assert_eq!(secret.len(), 64, "256 bits");
    let again = owner.call("POST", "/access/tokens", &key, Some(&body)).await;
    assert_eq!(again.told(), (409, "token-told-once"), "{}", again.body);
    let twice = owner.send("POST", "/access/tokens", body).await;
    assert_eq!(twice.told(), (422, "token-refused"), "one name, one token");
    let listed = owner.get("/access/tokens").await.body;
    let audit = owner.get("/audit?limit=1000").await.body;
    let made_it = audit.as_array().unwrap().iter().filter(|one| one["action"] == "token.create");
    assert_eq!(made_it.count(), 1);
    for told in [&listed, &audit, &again.body] {
        assert!(!told.to_string().contains(secret));
    }
    for for_ms in [0, 400 * DAY_MS] {
        let body = json!({ "name": "long", "tier": "viewer", "for_ms": for_ms });
        assert_eq!(owner.send("POST", "/access/tokens", body).await.told(), (422, "token-refused"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gives_more_than_they_hold_or_moves_a_pair_across_a_scope() {
    let (cluster, leader, follower) = core().await;
    let owner = owner(&cluster, &leader);
    let scope = selector("env-type=test");
    let (_, shows) = token(&owner, "test-admin", Tier::Admin, &scope).await;
    let admin = Client::new(&cluster, &follower, &shows);
    let make = |name: &str, tier: &str, scope: &str| {
        let body = json!({ "name": name, "tier": tier, "selector": scope, "for_ms": DAY_MS });
        admin.send("POST", "/access/tokens", body)
    };
    for (number, (tier, scope)) in
        [("owner", "env-type=test"), ("viewer", ""), ("viewer", "env-type"), ("viewer", "team=a")]
            .into_iter()
            .enumerate()
    {
        let reply = make(&format!("t{number}"), tier, scope).await;
        assert_eq!(reply.told(), (403, "forbidden"), "{tier} {scope}");
    }
    let narrower = make("narrow", "admin", "env-type=test,team=a").await;
    assert_eq!(narrower.status, 200, "{}", narrower.body);
    let token = &narrower.body["token"];
    assert_eq!(token["person"], "operator/alice", "the person behind it stays the first maker's");
    assert_eq!(token["created_by"], "token/test-admin");
    // It sees and ends what is in its scope.
    let seen = admin.get("/access/tokens").await.body;
    let names: Vec<&str> =
        seen.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let path = format!("/access/tokens/{}", token["id"].as_str().unwrap());
    assert_eq!(admin.send("DELETE", &path, json!({})).await.status, 200);

    let put = |name: &str, environment: &str| {
        let path = format!("/pairs/{name}");
        let body = named(name, environment);
        let admin = &admin;
        async move { admin.send("PUT", &path, body).await }
    };
    assert_eq!(put("shop", "test").await.status, 200);
    assert_eq!(put("shop", "prod").await.told(), (403, "forbidden"), "out of the scope");
    assert_eq!(put("till", "test").await.told(), (404, "pair-not-found"), "into the scope");
    assert_eq!(put("new", "test").await.told(), (404, "pair-not-found"), "what is not there");
    // Back to a version of another scope.
    assert_eq!(owner.send("PUT", "/pairs/till", named("till", "test")).await.status, 200);
    let back = admin.send("POST", "/pairs/till/rollback", json!({ "version": 1 })).await;
    assert_eq!(back.told(), (403, "forbidden"), "{}", back.body);
    assert_eq!(
        admin
            .send("PUT", "/access/grants/me", json!({ "subjects": ["user:a"], "tier": "owner" }))
            .await
            .status,
        403
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_streams_show_what_is_in_scope() {
    let (cluster, leader, follower) = core().await;
    let owner = owner(&cluster, &leader);
    let (id, shows) = token(&owner, "test-viewer", Tier::Viewer, &selector("env-type=test")).await;
    for pair in ["shop", "till"] {
        let pause = json!({ "pair": pair, "reason": "test", "for_ms": 600_000 });
        assert_eq!(owner.send("PUT", "/automation/pause", pause).await.status, 200);
    }
    for node in [&leader, &follower] {
        let viewer = Client::new(&cluster, node, &shows);
        let paths = [
            "/pairs",
            "/fleet",
            "/leases",
            "/regions",
            "/status",
            "/automation/pause",
            "/audit?limit=1000",
            "/audit?after=0&limit=1000",
        ];
        for path in paths {
            let told = viewer.get(path).await;
            assert_eq!(told.status, 200, "{path}: {}", told.body);
            let text = told.body.to_string();
            assert!(text.contains("shop") && !text.contains("till"), "{path}: {text}");
            assert!(owner.get(path).await.body.to_string().contains("till"), "{path}");
        }
        let audit = viewer.get("/audit?limit=1000").await.body;
        let of_shop = |record: &Value| record["pair"] == "shop";
        assert!(audit.as_array().unwrap().iter().all(of_shop), "nothing of no pair: {audit}");
        for path in ["/pairs/till", "/pairs/till/versions", "/pairs/none"] {
            let hidden = viewer.get(path).await;
            assert_eq!(hidden.told(), (404, "pair-not-found"), "{path}");
            let name = path.split('/').nth(2).unwrap();
            assert_eq!(hidden.body["detail"], format!("there is no pair {name}"));
        }
        assert_eq!(viewer.get("/audit/verify").await.status, 403);
    }
    // The stream: of shop alone, also where somebody who sees more was told the same before, by the same
    // node; and it ends with the token.
    let all = Client::new(&cluster, &follower, &Shows::certificate(&cluster.operator));
    let mut stream = all.request("GET", "/api/v1/events?after=0").send().await.unwrap();
    let mut text = String::new();
    while text.matches("automation.pause").count() < 4 {
        text += &String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap());
    }
    assert!(text.contains("till"), "{text}");
    let viewer = Client::new(&cluster, &follower, &shows);
    let mut stream = viewer.request("GET", "/api/v1/events?after=0").send().await.unwrap();
    let mut text = String::new();
    while text.matches("event:").count() < 2 {
        text += &String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap());
    }
    assert!(text.contains("\"pair\":\"shop\"") && !text.contains("till"), "{text}");
    // A pair that leaves the scope is out of sight from the next answer on, at every node.
    let moved = owner.send("PUT", "/pairs/shop", named("shop", "prod")).await;
    assert_eq!(moved.status, 200, "{}", moved.body);
    for (node, path) in [(&leader, "/fleet"), (&follower, "/leases"), (&follower, "/fleet")] {
        let told = Client::new(&cluster, node, &shows).get(path).await;
        assert_eq!(told.status, 200, "{path}: {}", told.body);
        assert!(!told.body.to_string().contains("shop"), "{path}: {}", told.body);
    }
    let path = format!("/access/tokens/{id}");
    assert_eq!(owner.send("DELETE", &path, json!({})).await.status, 200);
    let ended = async { while stream.chunk().await.unwrap().is_some() {} };
    tokio::time::timeout(crate::support::PATIENCE, ended).await.expect("the stream ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bearer_decides_beside_a_certificate_and_other_roles_get_in_only_by_one() {
    let (cluster, leader, _) = core().await;
    let owner = owner(&cluster, &leader);
    let (_, viewer) = token(&owner, "less", Tier::Viewer, &everything()).await;
    let both = Shows { certificate: Some(cluster.operator.clone()), ..viewer.clone() };
    let less = Client::new(&cluster, &leader, &both);
    assert_eq!(less.get("/pairs/shop").await.status, 200);
    assert_eq!(less.send("PUT", "/pairs/shop", named("shop", "test")).await.status, 403);
    let region = cluster.issue(&Identity::new(Role::Region, "fsn"));
    let region_alone = Client::new(&cluster, &leader, &Shows::certificate(&region));
    assert_eq!(region_alone.get("/pairs/shop").await.told(), (403, "forbidden"));
    let metrics = |client: Client| async move {
        client.request("GET", "/metrics").send().await.unwrap().status().as_u16()
    };
    assert_eq!(metrics(region_alone).await, 200, "any certificate of ours");
    assert_eq!(metrics(Client::new(&cluster, &leader, &viewer)).await, 200);
    let (_, scoped) = token(&owner, "scoped", Tier::Owner, &selector("env-type=test")).await;
    assert_eq!(metrics(Client::new(&cluster, &leader, &scoped)).await, 403);
    assert_eq!(metrics(Client::new(&cluster, &leader, &Shows::default())).await, 401);
    let nobody = Client::new(&cluster, &leader, &Shows::default());
    for path in ["/livez", "/readyz", "/startupz", "/api/v1/openapi.json", "/api/v1/reference"] {
        assert_eq!(nobody.request("GET", path).send().await.unwrap().status(), 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_holds_what_is_configured_and_granted_and_may_always_break_the_glass() {
    let access = AccessConfig {
        operator_certificates: OperatorCertificates::Granted,
        ..AccessConfig::default()
    };
    let cluster = Cluster::start_with_access(access).await;
    let (leader, follower) = nodes(&cluster).await;
    let alice = owner(&cluster, &follower);
    assert_eq!(alice.get("/pairs").await.told(), (403, "forbidden"), "nothing is granted");
    assert_eq!(alice.get("/whoami").await.body["may_break_glass"], true);
    for bad in
        [json!({ "reason": " ", "for_ms": 1000 }), json!({ "reason": "x", "for_ms": 3_600_001 })]
    {
        assert_eq!(alice.send("POST", "/break-glass", bad).await.status, 422);
    }
    let broken = json!({ "reason": "INC-1: first grants", "for_ms": 600_000 });
    let broken = alice.send("POST", "/break-glass", broken).await;
    assert_eq!((broken.status, &broken.body["actor"]), (200, &json!("operator/alice")));
    let grant =
        json!({ "subjects": ["certificate:alice"], "tier": "viewer", "break_glass": false });
    let granted = alice.send("PUT", "/access/grants/alice", grant).await;
    assert_eq!(granted.status, 200, "{}", granted.body);
    assert_eq!(granted.body["actor"], "operator/alice (break-glass)");
    assert_eq!(alice.get("/break-glass").await.body[0]["reason"], "INC-1: first grants");
    let metrics = owner(&cluster, &leader).request("GET", "/metrics").send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("continuum_break_glass_open 1"), "{metrics}");
    let closed = alice.send("DELETE", "/break-glass", json!({ "reason": "done" })).await;
    assert_eq!((closed.status, &closed.body), (200, &json!([])));
    // What was granted is left, and no more.
    assert_eq!(alice.get("/pairs").await.status, 200);
    let denied = alice.send("DELETE", "/access/grants/alice", json!({})).await;
    assert_eq!(denied.told(), (403, "forbidden"));
    let audit = alice.get("/audit?limit=1000").await.body;
    let told: Vec<(&str, &str)> = audit
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["action"].as_str().unwrap(), one["actor"].as_str().unwrap()))
        .filter(|(action, _)| action.starts_with("break-glass") || action.starts_with("grant"))
        .collect();
    let loud = "operator/alice (break-glass)";
    let wanted =
        [("break-glass.open", "operator/alice"), ("grant.set", loud), ("break-glass.close", loud)];
    assert_eq!(told, wanted);
    // A token never breaks the glass, whatever its tier.
    let again = json!({ "reason": "INC-2", "for_ms": 600_000 });
    assert_eq!(alice.send("POST", "/break-glass", again.clone()).await.status, 200);
    let (_, shows) = token(&alice, "big", Tier::Owner, &everything()).await;
    let big = Client::new(&cluster, &leader, &shows);
    assert_eq!(big.send("POST", "/break-glass", again).await.told(), (403, "forbidden"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_too_often_is_told_when_to_come_again_and_others_are_served() {
    let rate = RateConfig { per_second: 1, burst: 20 };
    let cluster =
        Cluster::start_with_access(AccessConfig { rate, ..AccessConfig::default() }).await;
    let (leader, _) = nodes(&cluster).await;
    let bob = cluster.issue(&Identity::new(Role::Operator, "bob"));
    let carol = cluster.issue(&Identity::new(Role::Operator, "carol"));
    let [bob, carol] =
        [bob, carol].map(|files| Client::new(&cluster, &leader, &Shows::certificate(&files)));
    let limited = eventually("a refusal", || async {
        let replies = futures_util::future::join_all((0..40).map(|_| bob.get("/core"))).await;
        replies.into_iter().find(|reply| reply.status == 429)
    })
    .await;
    assert_eq!(limited.told(), (429, "rate-limited"));
    assert!(limited.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(carol.get("/core").await.status, 200);
    // Attempts that fail are counted by address, and certificates are not held up by them.
    let guess = Client::new(&cluster, &leader, &Shows::bearer("ctm_a_b"));
    let held = eventually("the address is held up", || async {
        let reply = guess.get("/core").await;
        (reply.status == 429).then_some(reply)
    })
    .await;
    assert!(held.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(carol.get("/core").await.status, 200);
}
