//! The two-person rule on a running core.

use continuum_control_api::approvals::Awaiting;
use continuum_control_api::client::{ApiClient, ClientError, Credentials};
use continuum_control_api::rest::{Started, SwitchoverRequest};
use continuum_domain::access::Tier;
use continuum_runtime::{Identity, Role};
use serde_json::{Value, json};

use crate::access_support::{Client, Reply, Shows, nodes, owner, selector, token};
use crate::support::{Cluster, eventually, region, spec};

fn labelled(name: &str, environment: &str) -> Value {
    let mut labelled = spec();
    labelled.id = name.parse().unwrap();
    labelled.labels = [("env-type".to_owned(), environment.to_owned())].into();
    json!({ "spec": labelled })
}

struct World {
    cluster: Cluster,
    leader: String,
    follower: String,
    bob: Shows,
}

impl World {
    async fn new() -> Self {
        let cluster = Cluster::start().await;
        let (leader, follower) = nodes(&cluster).await;
        let alice = owner(&cluster, &leader);
        for (name, environment) in [("shop", "test"), ("till", "prod")] {
            let path = format!("/pairs/{name}");
            let made = alice.send("PUT", &path, labelled(name, environment)).await;
            assert_eq!(made.status, 200, "{}", made.body);
        }
        let bob = Shows::certificate(&cluster.issue(&Identity::new(Role::Operator, "bob")));
        Self { cluster, leader, follower, bob }
    }

    fn alice(&self) -> Client {
        owner(&self.cluster, &self.leader)
    }

    fn bob(&self) -> Client {
        Client::new(&self.cluster, &self.follower, &self.bob)
    }

    /// A token of alice's.
    async fn of_alice(&self, name: &str, tier: Tier, scope: &str) -> (String, Client) {
        let (id, shows) = token(&self.alice(), name, tier, &selector(scope)).await;
        (id, Client::new(&self.cluster, &self.follower, &shows))
    }

    /// A token of bob's.
    async fn of_bob(&self, name: &str, tier: Tier, scope: &str) -> Client {
        let (_, shows) = token(&self.bob(), name, tier, &selector(scope)).await;
        Client::new(&self.cluster, &self.leader, &shows)
    }

    /// Everything but a move takes two in production, whoever asks.
    async fn rule(&self) {
        let rule = json!({
            "selector": "env-type=prod", "verbs": ["change", "remove", "pause"], "approver": "operator",
        });
        let made = self.alice().send("PUT", "/safety/rules/careful", rule).await;
        assert_eq!(made.status, 200, "{}", made.body);
    }
}

fn approve(id: &str) -> String {
    format!("/approvals/{id}/approve")
}

fn id(kept: &Reply) -> String {
    assert_eq!(kept.status, 202, "{}", kept.body);
    let id = kept.body["id"].as_str().unwrap().to_owned();
    assert_eq!(kept.header("location"), format!("/api/v1/approvals/{id}"));
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switchover_in_production_takes_another_person_or_an_owner() {
    let world = World::new().await;
    let (_, ops) = world.of_alice("ops", Tier::Operator, "env-type=prod").await;
    let switch = json!({ "to": "hel", "reason": "CHG-1" });
    let path = "/pairs/till/switchover";
    let kept = ops.send("POST", path, switch.clone()).await;
    let name = id(&kept);
    assert_eq!(
        (&kept.body["rule"], &kept.body["approver"]),
        (&json!("production"), &json!("operator"))
    );
    assert_eq!(id(&ops.send("POST", path, switch.clone()).await), name, "asked again, kept once");
    // A dry run is none of it, and neither is an owner's order.
    let dry = ops.send("POST", path, json!({ "to": "hel", "dry_run": true })).await;
    assert_eq!(dry.status, 200, "{}", dry.body);
    let order = world.alice().send("POST", path, switch).await;
    assert_eq!(order.told(), (409, "move-refused"), "no agent reports: but it was tried");
    // What is refused is named by what was asked.
    let hel = json!({ "region": "hel", "method": "clone", "reason": "CHG-2" });
    for (verb, body, what) in [
        ("switchover", json!({ "to": "hel", "reason": "CHG-2" }), "the move to hel is refused"),
        ("rejoin", hel, "the rejoin of hel is refused"),
        ("pause", json!({ "reason": "CHG-2" }), "the pause is refused"),
        ("resume", json!({ "reason": "CHG-2" }), "the resume is refused"),
    ] {
        let reply = world.alice().send("POST", &format!("/pairs/till/{verb}"), body).await;
        assert_eq!(reply.told(), (409, "move-refused"), "{verb}");
        assert!(reply.body["detail"].as_str().unwrap().starts_with(what), "{}", reply.body);
    }

    // Nobody approves for themselves, by whatever they show.
    let (_, second) = world.of_alice("second", Tier::Owner, "").await;
    for same in [&ops, &second, &world.alice()] {
        let reply = same.send("POST", &approve(&name), json!({})).await;
        assert_eq!(reply.told(), (403, "same-person"), "{}", reply.body);
    }
    let viewer = world.of_bob("viewer", Tier::Developer, "env-type=prod").await;
    assert_eq!(viewer.get("/approvals").await.body[0]["id"], json!(name));
    assert_eq!(viewer.send("POST", &approve(&name), json!({})).await.told(), (403, "forbidden"));
    let elsewhere = world.of_bob("elsewhere", Tier::Owner, "env-type=test").await;
    assert_eq!(elsewhere.get("/approvals").await.body, json!([]));
    let hidden = elsewhere.send("POST", &approve(&name), json!({})).await;
    assert_eq!(hidden.told(), (404, "approval-not-found"));

    let bob = world.of_bob("bobs", Tier::Operator, "env-type=prod").await;
    let done = bob.send("POST", &approve(&name), json!({ "reason": "looked at it" })).await;
    assert_eq!(done.status, 200, "{}", done.body);
    let told = &done.body["state"]["done"];
    assert_eq!((&told["status"], &told["code"]), (&json!(409), &json!("move-refused")));
    let again = bob.send("POST", &approve(&name), json!({})).await;
    assert_eq!(again.told(), (409, "approval-settled"));
    assert_eq!(bob.get("/approvals").await.body, json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_calls_by_token_and_knows_a_kept_request_from_a_started_one() {
    let world = World::new().await;
    let (_, shows) = token(&world.alice(), "ops", Tier::Operator, &selector("env-type=prod")).await;
    let text = shows.authorization.unwrap();
    let credentials = Credentials::Bearer {
        authority: world.cluster.operator.authority.clone(),
        token: text.strip_prefix("Bearer ").unwrap().to_owned(),
    };
    assert!(!format!("{credentials:?}").contains("ctm_"), "a secret is not printed");
    let peers = world.cluster.peers.iter();
    let endpoints = peers.map(|peer| (peer.name.clone(), peer.api_address.clone())).collect();
    let client = ApiClient::with(endpoints, &credentials).unwrap();
    assert_eq!(client.who_am_i().await.unwrap().caller, "token/ops");
    let mut request = SwitchoverRequest {
        to: region("hel"),
        method: None,
        dry_run: true,
        reason: "CHG-1".into(),
    };
    let till = "till".parse().unwrap();
    let plan = client.switchover(&till, &request).await;
    assert!(matches!(plan, Ok(Started::Plan(_))), "{plan:?}");
    request.dry_run = false;
    let Err(ClientError::Kept(view)) = client.switchover(&till, &request).await else {
        panic!("not kept")
    };
    assert_eq!(view.requester, "token/ops");
    let waiting = client.approvals().await.unwrap();
    assert!(matches!(&waiting[..], [Awaiting::Request(one)] if **one == *view), "{waiting:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_approved_is_done_once_as_who_asked_also_after_a_change_of_leader() {
    let world = World::new().await;
    world.rule().await;
    let (_, ops) = world.of_alice("ops", Tier::Operator, "env-type=prod").await;
    let pause = json!({ "pair": "till", "reason": "CHG-2", "for_ms": 600_000 });
    let name = id(&ops.send("PUT", "/automation/pause", pause).await);
    assert_eq!(world.bob().get("/automation/pause").await.body, json!([]), "nothing was done yet");
    world.cluster.kill(&world.leader).await;
    let (leader, _) = nodes_left(&world).await;
    let bob = Client::new(&world.cluster, &leader, &world.bob);
    // Many at once, as by somebody who lost the answers: each would finish what another one left.
    let done = eventually("the approval", || async {
        let path = approve(&name);
        let all = (0..8).map(|_| bob.send("POST", &path, json!({})));
        let mut all = futures_util::future::join_all(all).await;
        let done = all.iter().position(|one| one.status == 200)?;
        Some(all.swap_remove(done))
    })
    .await;
    assert_eq!(done.body["state"]["done"]["status"], 200, "{}", done.body);
    let pauses = bob.get("/automation/pause").await.body;
    assert_eq!((&pauses[0]["pair"], &pauses[0]["actor"]), (&json!("till"), &json!("token/ops")));
    let audit = bob.get("/audit?limit=1000").await.body;
    let actions: Vec<(&str, &str)> = audit
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["action"].as_str().unwrap(), one["actor"].as_str().unwrap()))
        .filter(|(action, _)| action.starts_with("approval") || action.starts_with("automation"))
        .collect();
    let wanted = [
        ("approval.request", "token/ops"),
        ("approval.approve", "operator/bob"),
        ("automation.pause", "token/ops"),
        ("approval.done", "operator/bob"),
    ];
    assert_eq!(actions, wanted);
}

/// The leader among those that are left, and another one.
async fn nodes_left(world: &World) -> (String, String) {
    eventually("a new leader", || async {
        let (leader, follower) = nodes(&world.cluster).await;
        (leader != world.leader).then_some((leader, follower))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_walks_around_a_rule_and_broken_glass_goes_through_it() {
    let world = World::new().await;
    world.rule().await;
    let alice = world.alice();
    let put = |name: &str, environment: &str| {
        let path = format!("/pairs/{name}");
        let body = labelled(name, environment);
        let alice = &alice;
        async move { alice.send("PUT", &path, body).await }
    };
    assert_eq!(put("shop", "test").await.status, 200, "not in production");
    for kept in [
        put("till", "test").await,
        put("shop", "prod").await,
        alice.send("DELETE", "/pairs/till", json!({ "reason": "x" })).await,
        alice.send("POST", "/pairs/till/rollback", json!({ "version": 1 })).await,
    ] {
        id(&kept);
    }
    assert_eq!(alice.get("/pairs/till").await.body["version"], 1, "nothing was changed");
    // What is rejected is not done, and not approved any more.
    let name = id(&put("till", "test").await);
    let rejected = world
        .bob()
        .send("POST", &format!("/approvals/{name}/reject"), json!({ "reason": "no" }))
        .await;
    assert_eq!(rejected.body["state"]["rejected"]["by"], "operator/bob", "{}", rejected.body);
    assert_eq!(
        world.bob().send("POST", &approve(&name), json!({})).await.told(),
        (409, "approval-settled")
    );
    // Who has lost the right to ask meanwhile gets nothing.
    let (token, admin) = world.of_alice("admin", Tier::Admin, "env-type=prod").await;
    let name = id(&admin.send("DELETE", "/pairs/till", json!({})).await);
    let path = format!("/access/tokens/{token}");
    assert_eq!(alice.send("DELETE", &path, json!({})).await.status, 200);
    let done = world.bob().send("POST", &approve(&name), json!({})).await;
    assert_eq!(done.body["state"]["done"]["code"], "unauthenticated", "{}", done.body);
    assert_eq!(alice.get("/pairs/till").await.status, 200, "it is there");
    // The condition is held when it is carried out.
    let stale = alice
        .call("PUT", "/pairs/till", &[("if-match", "\"7\"")], Some(&labelled("till", "prod")))
        .await;
    let done = world.bob().send("POST", &approve(&id(&stale)), json!({})).await;
    assert_eq!(done.body["state"]["done"]["code"], "precondition-failed", "{}", done.body);

    let (_, other) = world.of_alice("other", Tier::Admin, "env-type=prod").await;
    let name = id(&other.send("DELETE", "/pairs/till", json!({})).await);
    let glass = json!({ "reason": "INC-3", "for_ms": 60_000 });
    assert_eq!(alice.send("POST", "/break-glass", glass).await.status, 200);
    let done = put("till", "test").await;
    assert_eq!((done.status, &done.body["actor"]), (200, &json!("operator/alice (break-glass)")));
    // The pair has left the scope of who asked.
    let done = world.bob().send("POST", &approve(&name), json!({})).await;
    assert_eq!(done.body["state"]["done"]["code"], "pair-not-found", "{}", done.body);
    assert_eq!(alice.get("/pairs/till").await.status, 200, "it is there");
}
