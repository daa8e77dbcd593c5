//! Commits of the modelled PostgreSQL: who waits for whom, what ends a wait, and when an
//! acknowledgement is one.

use std::sync::Arc;
use std::time::Duration;

use crate::postgres_bench::{CLIENT, World, ms, region};
use continuum_cnpg_pair::DataPlane;
use continuum_cnpg_pair::plane::StopMode;
use continuum_domain::{Epoch, SyncNames};
use continuum_sim::postgres::{ConnectError, Event, Session, Settings, Unresolved, WriteError};
use tokio::task::{JoinHandle, spawn_local};

fn names(regions: &[&str]) -> SyncNames {
    SyncNames::of(regions.iter().map(|name| region(name)))
}

async fn client(world: &World, name: &str) -> Arc<Session> {
    Arc::new(world.cluster.connect(CLIENT, &region(name)).await.unwrap())
}

fn appends(session: &Arc<Session>, id: u64) -> JoinHandle<Result<(), WriteError>> {
    let session = session.clone();
    spawn_local(async move { session.append(id).await })
}

fn acknowledged(world: &World) -> usize {
    let happened = world.cluster.happened(0);
    happened.iter().filter(|one| matches!(one.event, Event::Acknowledged(_))).count()
}

async fn waiting(world: &World, name: &str, count: usize) {
    let region = region(name);
    world.until("commits wait", || world.cluster.member(&region).waiting == count).await;
}

/// Names are set and taken up by everybody.
async fn named(world: &World, plane: &dyn DataPlane, names: &SyncNames) {
    plane.set_names(Epoch(1), names).await.unwrap();
    tokio::time::sleep(ms(60)).await;
    assert_eq!(world.cluster.member(&region("fsn")).names, *names);
}

/// Standbys that say nothing by themselves, so that only what is tested ends a wait.
fn silent() -> Settings {
    let hour = Duration::from_secs(3_600);
    let settings = Settings { client_timeout: hour, ..Settings::default() };
    Settings { status_interval: hour, stream_timeout: 2 * hour, ..settings }
}

#[test]
fn a_commit_waits_until_every_named_standby_has_replayed_it() {
    let world = World::new(1);
    world.run(async {
        let primary = world.primary("fsn", &["hel", "nbg"]).await;
        world.standby("hel", "fsn").await;
        world.standby("nbg", "fsn").await;
        named(&world, &*primary, &names(&["hel", "nbg"])).await;
        world.cluster.replay_stall(&region("nbg"), true);
        let session = client(&world, "fsn").await;
        let commit = appends(&session, 7);
        waiting(&world, "fsn", 1).await;
        tokio::time::sleep(ms(3_000)).await;
        let behind = world.cluster.member(&region("nbg"));
        assert!(behind.flushed_to() > behind.applied_to(), "it is there, but not replayed");
        assert!(!commit.is_finished() && acknowledged(&world) == 0);
        let reader = client(&world, "fsn").await;
        assert_eq!(reader.read_set().await, Ok(vec![]), "nobody sees a commit that waits");
        let reader = client(&world, "hel").await;
        assert_eq!(reader.read_set().await, Ok(vec![7]), "but where it was replayed");
        world.cluster.replay_stall(&region("nbg"), false);
        assert_eq!(commit.await.unwrap(), Ok(()));
        assert_eq!(acknowledged(&world), 1);
    });
}

#[test]
fn a_shorter_list_releases_only_by_a_wake() {
    let world = World::with_settings(2, silent());
    world.run(async {
        let primary = world.primary("fsn", &["hel", "nbg"]).await;
        world.standby("hel", "fsn").await;
        named(&world, &*primary, &names(&["hel", "nbg"])).await;
        let session = client(&world, "fsn").await;
        let commit = appends(&session, 1);
        waiting(&world, "fsn", 1).await;
        named(&world, &*primary, &names(&["hel"])).await;
        tokio::time::sleep(ms(2_000)).await;
        assert!(!commit.is_finished(), "a reload lets nobody go");
        primary.wake().await.unwrap();
        assert_eq!(commit.await.unwrap(), Ok(()));
    });
}

#[test]
fn an_empty_list_releases_by_the_reload() {
    let world = World::with_settings(3, silent());
    world.run(async {
        let primary = world.primary("fsn", &["hel"]).await;
        named(&world, &*primary, &names(&["hel"])).await;
        let session = client(&world, "fsn").await;
        let commit = appends(&session, 1);
        waiting(&world, "fsn", 1).await;
        primary.set_names(Epoch(1), &SyncNames::default()).await.unwrap();
        assert_eq!(commit.await.unwrap(), Ok(()));
    });
}

#[test]
fn names_that_the_checkpointer_has_not_read_hold_nobody() {
    let world = World::new(4);
    world.run(async {
        let primary = world.primary("fsn", &["hel"]).await;
        world.cluster.slow_checkpointer(&region("fsn"), true);
        named(&world, &*primary, &names(&["hel"])).await;
        let view = primary.observe().await.sql.unwrap().1;
        assert_eq!(view.sync_names, names(&["hel"]).to_string(), "they are shown");
        let session = client(&world, "fsn").await;
        assert_eq!(session.append(1).await, Ok(()), "and hold nobody (R12)");
        world.cluster.slow_checkpointer(&region("fsn"), false);
        world.until("backends wait", || world.cluster.member(&region("fsn")).backends_wait).await;
        let commit = appends(&session, 2);
        waiting(&world, "fsn", 1).await;
        assert!(!commit.is_finished());
    });
}

#[test]
fn a_cancelled_wait_is_not_certain_and_visible_here() {
    let world = World::new(5);
    world.run(async {
        let primary = world.primary("fsn", &["hel"]).await;
        named(&world, &*primary, &names(&["hel"])).await;
        assert_eq!(world.cluster.cancel_wait(&region("fsn")), None, "nobody waits");
        let session = client(&world, "fsn").await;
        let commit = appends(&session, 1);
        waiting(&world, "fsn", 1).await;
        assert_eq!(world.cluster.cancel_wait(&region("fsn")), Some(session.id()));
        let unknown = WriteError::Unknown(Unresolved::WaitCancelled);
        assert_eq!(commit.await.unwrap(), Err(unknown));
        assert_eq!(session.read_set().await, Ok(vec![1]));
        assert_eq!(acknowledged(&world), 0);
    });
}

#[test]
fn writers_of_the_register_wait_for_one_another() {
    let world = World::new(6);
    world.run(async {
        let primary = world.primary("fsn", &["hel"]).await;
        named(&world, &*primary, &names(&["hel"])).await;
        let (one, other) = (client(&world, "fsn").await, client(&world, "fsn").await);
        let first = spawn_local(async move { one.write_register(1).await });
        waiting(&world, "fsn", 1).await;
        let second = spawn_local(async move { other.write_register(2).await });
        tokio::time::sleep(ms(500)).await;
        waiting(&world, "fsn", 1).await;
        let reader = client(&world, "fsn").await;
        assert_eq!(reader.read_register().await, Ok(None), "the wait hides it");
        primary.set_names(Epoch(1), &SyncNames::default()).await.unwrap();
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (Ok(()), Ok(())));
        assert_eq!(reader.read_register().await, Ok(Some(2)));
    });
}

#[test]
fn a_fast_stop_ends_sessions_and_sends_everything() {
    for seed in 0..10 {
        let world = World::new(seed);
        world.run(async {
            let primary = world.primary("fsn", &["hel"]).await;
            world.standby("hel", "fsn").await;
            let session = client(&world, "fsn").await;
            for id in 0..20 {
                session.append(id).await.unwrap();
            }
            named(&world, &*primary, &names(&["hel", "nbg"])).await;
            let commit = appends(&session, 20);
            waiting(&world, "fsn", 1).await;
            primary.stop(Epoch(1), StopMode::Fast).await.unwrap();
            let lost = WriteError::Unknown(Unresolved::ConnectionLost);
            assert_eq!(commit.await.unwrap(), Err(lost));
            let control = primary.control_data().await.unwrap();
            assert!(control.clean_shutdown && !control.in_recovery);
            let (fsn, hel) =
                (world.cluster.member(&region("fsn")), world.cluster.member(&region("hel")));
            assert_eq!(fsn.wal, hel.wal[..hel.flushed], "the shutdown checkpoint is there too");
            assert!(fsn.wal.last().unwrap().start == control.checkpoint);
        });
    }
}

#[test]
fn an_immediate_stop_releases_nobody() {
    let world = World::new(8);
    world.run(async {
        let primary = world.primary("fsn", &["hel"]).await;
        named(&world, &*primary, &names(&["hel"])).await;
        let session = client(&world, "fsn").await;
        let commit = appends(&session, 1);
        waiting(&world, "fsn", 1).await;
        primary.stop(Epoch(1), StopMode::Immediate).await.unwrap();
        let lost = WriteError::Unknown(Unresolved::ConnectionLost);
        assert_eq!(commit.await.unwrap(), Err(lost));
        assert_eq!(acknowledged(&world), 0);
        assert!(!primary.control_data().await.unwrap().clean_shutdown);
    });
}

#[test]
fn an_answer_that_does_not_arrive_acknowledges_nothing() {
    let world = World::new(9);
    world.run(async {
        world.primary("fsn", &[]).await;
        let session = client(&world, "fsn").await;
        world.links.cut("fsn", CLIENT, true);
        let commit = session.append(1).await;
        assert_eq!(commit, Err(WriteError::Unknown(Unresolved::Timeout)));
        assert_eq!(acknowledged(&world), 0);
        let refused = session.append(2).await;
        assert!(matches!(refused, Err(WriteError::Refused(_))), "closed: {refused:?}");
        world.links.cut("fsn", CLIENT, false);
        let reader = client(&world, "fsn").await;
        assert_eq!(reader.read_set().await, Ok(vec![1]), "it is there all the same");
    });
}

#[test]
fn an_answer_that_was_lost_is_sent_again() {
    let world = World::new(10);
    world.run(async {
        world.primary("fsn", &[]).await;
        let session = client(&world, "fsn").await;
        world.links.cut("fsn", CLIENT, true);
        let commit = appends(&session, 1);
        tokio::time::sleep(ms(2_000)).await;
        world.links.cut("fsn", CLIENT, false);
        assert_eq!(commit.await.unwrap(), Ok(()));
        assert_eq!(acknowledged(&world), 1);
    });
}

#[test]
fn who_lets_clients_in() {
    let world = World::with_settings(11, Settings { client_connections: 2, ..Settings::default() });
    world.run(async {
        let refused = world.cluster.connect(CLIENT, &region("hel")).await.err();
        assert!(matches!(refused, Some(ConnectError::Refused(_))), "not started: {refused:?}");
        let primary = world.primary("fsn", &["hel"]).await;
        world.standby("hel", "fsn").await;
        let reader = client(&world, "hel").await;
        assert_eq!(reader.read_set().await, Ok(vec![]));
        let refused = reader.append(1).await;
        assert!(matches!(refused, Err(WriteError::Refused(_))), "read-only: {refused:?}");

        named(&world, &*primary, &names(&["hel", "nbg"])).await;
        let (one, other) = (client(&world, "fsn").await, client(&world, "fsn").await);
        let full = world.cluster.connect(CLIENT, &region("fsn")).await.err();
        assert!(matches!(full, Some(ConnectError::Refused(_))), "too many: {full:?}");
        let commit = appends(&one, 1);
        waiting(&world, "fsn", 1).await;
        assert_eq!(primary.end_sessions().await.unwrap(), 1, "but the one that waits (R11)");
        world.until("it is told", || !other.is_open()).await;
        assert!(one.is_open() && !commit.is_finished());
        world.links.cut(CLIENT, "fsn", true);
        let silence = world.cluster.connect(CLIENT, &region("fsn")).await.err();
        assert_eq!(silence, Some(ConnectError::Unreachable));
    });
}

#[test]
fn names_removed_behind_the_guards_back_hold_nobody_until_it_writes_them() {
    let world = World::new(12);
    world.run(async {
        let primary = world.primary("fsn", &["hel"]).await;
        named(&world, &*primary, &names(&["hel"])).await;
        world.cluster.tamper_names(&region("fsn"));
        tokio::time::sleep(ms(60)).await;
        let session = client(&world, "fsn").await;
        assert_eq!(session.append(1).await, Ok(()));
        assert_eq!(primary.observe().await.sql.unwrap().1.sync_names, "");
        named(&world, &*primary, &names(&["hel"])).await;
        let commit = appends(&session, 2);
        waiting(&world, "fsn", 1).await;
        assert!(!commit.is_finished());
    });
}

#[test]
fn a_crashed_backend_ends_every_session_and_the_primary_stays_one() {
    let world = World::new(13);
    world.run(async {
        let primary = world.primary("fsn", &["hel"]).await;
        world.standby("hel", "fsn").await;
        named(&world, &*primary, &names(&["hel", "nbg"])).await;
        let before = primary.status().await.unwrap();
        let session = client(&world, "fsn").await;
        let commit = appends(&session, 1);
        waiting(&world, "fsn", 1).await;
        world.cluster.crash_backend(&region("fsn"));
        let lost = WriteError::Unknown(Unresolved::ConnectionLost);
        assert_eq!(commit.await.unwrap(), Err(lost));
        let accepts = || world.cluster.accepts_writes(&region("fsn"));
        world.until("it begins anew", accepts).await;
        assert_eq!(primary.status().await.unwrap(), before, "the guard sees nothing of it");
        let session = client(&world, "fsn").await;
        assert_eq!(session.read_set().await, Ok(vec![1]), "what was in WAL is there");
        let commit = appends(&session, 2);
        waiting(&world, "fsn", 1).await;
        named(&world, &*primary, &names(&["hel"])).await;
        assert_eq!(commit.await.unwrap(), Ok(()), "its standby came back");
    });
}

#[test]
fn a_client_that_is_gone_has_received_nothing() {
    let world = World::new(14);
    world.run(async {
        let primary = world.primary("fsn", &["hel"]).await;
        named(&world, &*primary, &names(&["hel"])).await;
        let session = client(&world, "fsn").await;
        let commit = appends(&session, 1);
        waiting(&world, "fsn", 1).await;
        commit.abort();
        primary.set_names(Epoch(1), &SyncNames::default()).await.unwrap();
        waiting(&world, "fsn", 0).await;
        tokio::time::sleep(ms(50)).await;
        assert_eq!(acknowledged(&world), 0);
        let reader = client(&world, "fsn").await;
        assert_eq!(reader.read_set().await, Ok(vec![1]));
    });
}
