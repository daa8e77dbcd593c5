//! A CloudNativePG Pooler.

use continuum_agent::traffic::Held;
use continuum_agent::traffic::contract;
use serde_json::json;

use super::both::Both;
use super::everywhere::{furnished, pooler_config};
use super::server::{Server, to};

const DB: &str = "/apis/postgresql.cnpg.io/v1/namespaces/shop/poolers/db";

pub async fn the_poolers_of_both_regions_keep_the_contract_together() {
    contract::follows_the_highest_epoch(&mut Both::start().await).await;
    contract::holds_clients_back(&mut Both::start().await).await;
}

async fn by_hand(server: &Server, paused: bool) {
    server.patch(DB, json!({ "spec": { "pgbouncer": { "paused": paused } } })).await;
}

async fn is_paused(server: &Server) -> bool {
    server.get(DB).await["spec"]["pgbouncer"]["paused"] == true
}

pub async fn what_a_person_paused_stays_so_and_what_a_person_resumed_is_paused_again() {
    let server = furnished().await;
    let switch = server.open(&pooler_config(), "one");
    switch.point(&to(7, "fsn")).await.unwrap();
    by_hand(&server, true).await;
    assert_eq!(switch.look().await.unwrap().held, Held::Others);
    switch.let_through().await.unwrap();
    switch.point(&to(8, "hel")).await.unwrap();
    switch.point(&to(9, "fsn")).await.unwrap();
    assert!(is_paused(&server).await, "it was a person's");
    let seen = switch.look().await.unwrap();
    assert!(seen.in_force && seen.held == Held::Others, "{seen:?}");
    by_hand(&server, false).await;
    assert_eq!(switch.look().await.unwrap().held, Held::No);
    switch.point(&to(10, "hel")).await.unwrap();
    assert!(is_paused(&server).await);
    let remarks = switch.look().await.map(|_| switch.aside().remarks).unwrap();
    assert!(remarks[0].contains("fsn does not hold the pair"), "{remarks:?}");
    by_hand(&server, false).await;
    assert!(!switch.look().await.unwrap().in_force);
    switch.point(&to(10, "hel")).await.unwrap();
    assert!(is_paused(&server).await);
    assert_eq!(switch.aside().foreign_writes, 1);
    switch.point(&to(11, "fsn")).await.unwrap();
    assert!(!is_paused(&server).await, "it was ours");
}

pub async fn it_is_held_when_the_operator_says_so_and_not_before() {
    let server = furnished().await;
    let switch = server.open(&pooler_config(), "one");
    switch.point(&to(7, "fsn")).await.unwrap();
    switch.hold("a move").await.unwrap();
    let held = |complete| Held::Ours { why: "a move".into(), complete };
    assert_eq!(switch.look().await.unwrap().held, held(false), "the operator said nothing");
    let says = |phase: &str| json!({ "status": { "phase": phase } });
    server.patch(&format!("{DB}/status"), says("active")).await;
    assert_eq!(switch.look().await.unwrap().held, held(false));
    server.patch(&format!("{DB}/status"), says("paused")).await;
    assert_eq!(switch.look().await.unwrap().held, held(true));
    switch.let_through().await.unwrap();
    assert!(!is_paused(&server).await);
}

pub async fn a_pooler_of_standbys_is_not_touched() {
    let server = furnished().await;
    server.patch(DB, json!({ "spec": { "type": "ro" } })).await;
    let before = server.get(DB).await;
    let error = server.open(&pooler_config(), "one").point(&to(8, "hel")).await.unwrap_err();
    assert!(error.to_string().contains("of type ro"), "{error}");
    assert_eq!(server.get(DB).await, before);
}
