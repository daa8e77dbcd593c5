//! What a region may ask for its Kubernetes cluster: what it is granted, for its own pairs, once.

use std::sync::Arc;

use continuum_control_api::link::{RegionAnswer, RegionAsk, RegionWish};
use continuum_control_api::rest::Posture;
use continuum_domain::spec::PairSpec;
use continuum_domain::{OperationId, PairId};
use serde_json::json;

use crate::access_support::{nodes, owner};
use crate::core_cluster::at_rest;
use crate::support::agent::Agent;
use crate::support::{Cluster, eventually, region, shop, spec};

fn ask(request: u64, key: &str, pair: PairId, wish: RegionWish) -> RegionAsk {
    RegionAsk { request, key: key.into(), pair, reason: "by somebody".into(), wish: wish.into() }
}

fn apply(request: u64, spec: PairSpec, expected: Option<u64>) -> RegionAsk {
    let wish = RegionWish::Apply { spec: Box::new(spec.clone()), expected };
    ask(request, &format!("apply-{request}"), spec.id, wish)
}

fn to(request: u64, key: &str, name: &str) -> RegionAsk {
    ask(request, key, shop(), RegionWish::Switchover { to: region(name) })
}

fn code(answer: &RegionAnswer) -> &str {
    match answer {
        RegionAnswer::Refused { code, .. } => code,
        _ => "",
    }
}

async fn grant(cluster: &Cluster, subject: &str, tier: &str) {
    let (leader, _) = nodes(cluster).await;
    let grant = json!({ "subjects": [subject], "tier": tier });
    let path = format!("/access/grants/{}", subject.replace(':', "-"));
    assert_eq!(owner(cluster, &leader).send("PUT", &path, grant).await.status, 200);
}

fn named(name: &str, regions: [&str; 2]) -> PairSpec {
    let mut spec = spec();
    let member = spec.members.values().next().unwrap().clone();
    spec.members = regions.iter().map(|name| (region(name), member.clone())).collect();
    spec.first_primary = region(regions[0]);
    spec.id = name.parse().unwrap();
    spec
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_asks_for_its_own_pairs_and_only_what_it_is_granted() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    let hel = Agent::start(&cluster, "hel");
    // Nothing is granted at the beginning: not to make a pair, not to move one.
    assert_eq!(code(&hel.ask_core(apply(1, spec(), None)).await), "forbidden");
    cluster.apply_spec().await;
    assert_eq!(code(&hel.ask_core(to(2, "m", "hel")).await), "forbidden");
    // A grant for another region, or for a person of that name, is none for this one.
    for subject in ["region:fsn", "user:hel", "certificate:hel"] {
        grant(&cluster, subject, "owner").await;
    }
    let mut changed = spec();
    changed.max_lag_bytes = 7;
    assert_eq!(code(&hel.ask_core(apply(3, changed.clone(), Some(1))).await), "forbidden");
    grant(&cluster, "region:hel", "admin").await;
    // On top of what is there, and of nothing else.
    assert_eq!(code(&hel.ask_core(apply(4, changed.clone(), None)).await), "precondition-failed");
    assert_eq!(
        code(&hel.ask_core(apply(5, changed.clone(), Some(9))).await),
        "precondition-failed"
    );
    let applied = hel.ask_core(apply(6, changed.clone(), Some(1))).await;
    assert_eq!(applied, RegionAnswer::Applied { version: 2 });
    // The same request again is answered alike, and changes nothing.
    let RegionAsk { key, .. } = apply(6, changed.clone(), Some(1));
    let again = RegionAsk { key, ..apply(7, changed.clone(), Some(1)) };
    assert_eq!(hel.ask_core(again).await, applied);
    // Pairs of others: one that is there, a new one, and one that would let this region in.
    let others = named("till", ["fsn", "nbg"]);
    assert_eq!(code(&hel.ask_core(apply(8, others.clone(), None)).await), "forbidden");
    cluster.apply(others).await;
    let taken = hel.ask_core(apply(9, named("till", ["fsn", "hel"]), Some(1))).await;
    assert_eq!(code(&taken), "forbidden");
    // Under the name of another pair.
    let wish =
        RegionWish::Apply { spec: Box::new(named("till", ["fsn", "hel"])), expected: Some(2) };
    assert_eq!(code(&hel.ask_core(ask(10, "x", shop(), wish)).await), "forbidden");
    let (leader, _) = nodes(&cluster).await;
    let audit = owner(&cluster, &leader).get("/audit?pair=shop").await;
    let actors: Vec<_> = audit.body.as_array().unwrap().iter().map(|one| &one["actor"]).collect();
    assert!(actors.contains(&&json!("region/hel")), "{actors:?}");
    let till = owner(&cluster, &leader).get("/pairs/till").await;
    assert_eq!(till.body["version"], 1);
}

/// The pair runs, and hel follows.
async fn running() -> (Cluster, Arc<Agent>, Arc<Agent>) {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    let (cluster, _, fsn, hel) = at_rest(cluster).await;
    hel.stands(&shop(), |standing| standing.streaming == Some(true)).await;
    (cluster, fsn, hel)
}

fn operation(answer: RegionAnswer) -> OperationId {
    match answer {
        RegionAnswer::Started { operation } => operation,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_wish_of_two_clusters_moves_the_pair_once() {
    let (cluster, fsn, hel) = running().await;
    for subject in ["region:fsn", "region:hel"] {
        grant(&cluster, subject, "operator").await;
    }
    let first = operation(hel.ask_core(to(1, "k8s:shop:r1", "hel")).await);
    let done = hel.stands(&shop(), |standing| standing.last_move.is_some()).await;
    assert_eq!(done.last_move.as_ref().unwrap().id, first);
    assert_eq!(done.last_move.unwrap().actor, "region/hel");
    // Somebody moves it back, and only then the other region's agent comes.
    let (leader, _) = nodes(&cluster).await;
    let back = eventually("the way back", || async {
        let body = json!({ "to": "fsn" });
        let reply = owner(&cluster, &leader).send("POST", "/pairs/shop/switchover", body).await;
        (reply.status == 202).then_some(reply)
    })
    .await;
    assert!(back.body["operation"]["id"].is_string());
    hel.stands(&shop(), |standing| {
        standing.last_move.as_ref().is_some_and(|last| last.to == region("fsn"))
    })
    .await;
    assert_eq!(operation(fsn.ask_core(to(1, "k8s:shop:r1", "hel")).await), first);
    assert_eq!(operation(hel.ask_core(to(2, "k8s:shop:r1", "hel")).await), first);
    // Another wish under that name is none.
    assert_eq!(code(&fsn.ask_core(to(3, "k8s:shop:r1", "fsn")).await), "idempotency-key-reused");
    let now = hel.stands(&shop(), |standing| standing.operation.is_none()).await;
    assert_eq!(now.holder, Some(region("fsn")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_in_production_waits_for_a_person() {
    let (cluster, _fsn, hel) = running().await;
    let mut production = spec();
    production.labels = [("env-type".to_owned(), "prod".to_owned())].into();
    cluster.apply(production).await;
    grant(&cluster, "region:hel", "operator").await;
    let kept = hel.ask_core(to(1, "k8s:shop:r1", "hel")).await;
    assert!(matches!(kept, RegionAnswer::Kept { .. }), "{kept:?}");
    assert_eq!(hel.ask_core(to(2, "k8s:shop:r1", "hel")).await, kept);
    let standing = hel.stands(&shop(), |standing| standing.version == 2).await;
    assert_eq!(standing.operation, None);
    assert_ne!(standing.posture, Posture::Unknown);
}
