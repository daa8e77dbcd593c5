//! The traffic switch on Debian's PgBouncer, before a real PostgreSQL.

use crate::stand::Pooled;
use continuum_agent::traffic::contract::{self, Stand};
use continuum_agent::traffic::{Held, SwitchError};
use rustix::process::Signal;

async fn pooled() -> Pooled {
    // `make test` installs both; a run without them proves nothing and says so.
    Pooled::start().await.unwrap()
}

#[tokio::test]
async fn it_follows_the_highest_epoch() {
    contract::follows_the_highest_epoch(&mut pooled().await).await;
}

#[tokio::test]
async fn it_holds_clients_back() {
    contract::holds_clients_back(&mut pooled().await).await;
}

#[tokio::test]
async fn it_leaves_what_others_hold() {
    contract::leaves_what_others_hold(&mut pooled().await).await;
}

#[tokio::test]
async fn it_ends_sessions_at_a_former_holder() {
    contract::ends_sessions_at_a_former_holder(&mut pooled().await).await;
}

/// A pause is in PgBouncer's memory, what an agent wants is on disk: after a restart of PgBouncer it is
/// seen to be missing, and clients are led where they were led.
#[tokio::test]
async fn a_restarted_pgbouncer_leads_where_it_led_and_is_told_again_to_hold() {
    let mut pooled = pooled().await;
    pooled.switch().point(&pooled.to(7, "fsn")).await.unwrap();
    pooled.switch().hold("a move").await.unwrap();
    pooled.restart_pgbouncer().await;
    let seen = pooled.switch().look().await.unwrap();
    assert_eq!(seen.held, Held::Ours { why: "a move".into(), complete: false });
    assert!(seen.in_force, "{seen:?}");
    pooled.switch().hold("a move").await.unwrap();
    assert_eq!(pooled.begin().await, None);
    pooled.switch().let_through().await.unwrap();
    assert_eq!(pooled.begin().await.as_deref(), Some("fsn"));
}

/// A frozen console delays nobody for longer than the bound of a call, and is used again afterwards.
#[tokio::test]
async fn a_frozen_pgbouncer_is_an_error_within_the_bound_and_used_again_later() {
    let pooled = pooled().await;
    pooled.switch().point(&pooled.to(7, "fsn")).await.unwrap();
    pooled.pgbouncer.signal(Signal::STOP);
    let error = pooled.switch().look().await.unwrap_err();
    assert!(matches!(error, SwitchError::Unreachable(_)), "{error}");
    pooled.pgbouncer.signal(Signal::CONT);
    assert!(pooled.switch().look().await.unwrap().in_force);
}

/// Nobody is led where PgBouncer does not include the file: that is said, with what to do.
#[tokio::test]
async fn a_file_that_is_not_included_is_told() {
    let pooled = pooled().await;
    let ini = pooled.directory.path().join("pgbouncer.ini");
    let text = std::fs::read_to_string(&ini).unwrap();
    std::fs::write(&ini, text.replace("%include", ";include")).unwrap();
    let error = pooled.switch().point(&pooled.to(7, "fsn")).await.unwrap_err().to_string();
    assert!(error.contains("%include the databases_file"), "{error}");
    assert!(!pooled.switch().look().await.unwrap().in_force);
}
