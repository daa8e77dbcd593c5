//! Rules of the modelled guard, disk and streams where the contract suite is silent.

use std::time::Duration;

use crate::postgres_bench::{CLIENT, World, ms, region, upstream_of};
use continuum_cnpg_pair::plane::StopMode;
use continuum_cnpg_pair::{DataPlane, PlaneError};
use continuum_domain::observation::ProcessState;
use continuum_domain::{Epoch, SyncNames};
use continuum_runtime::Clock;
use continuum_sim::postgres::{Event, Settings, Spans};
use tokio::task::spawn_local;

fn none() -> SyncNames {
    SyncNames::default()
}

#[test]
fn power_takes_what_was_not_flushed_and_nothing_else() {
    let mut lost = 0;
    for seed in 0..20 {
        let world = World::new(seed);
        let (before, after) = world.run(async {
            let primary = world.primary("fsn", &["hel"]).await;
            let standby = world.standby("hel", "fsn").await;
            let session = world.cluster.connect(CLIENT, &region("fsn")).await.unwrap();
            session.append(1).await.unwrap();
            world.cluster.fsync_hang(&region("fsn"), true);
            let sessions: Vec<_> = (2..8)
                .map(|id| {
                    let cluster = world.cluster.clone();
                    spawn_local(async move {
                        let session = cluster.connect(CLIENT, &region("fsn")).await.unwrap();
                        session.append(id).await
                    })
                })
                .collect();
            tokio::time::sleep(ms(500)).await;
            assert!(sessions.iter().all(|one| !one.is_finished()), "no flush, no answer");
            assert!(primary.observe().await.sql.is_some(), "a look needs no disk");
            let before = world.cluster.member(&region("fsn"));
            assert_eq!(before.wal.len(), before.flushed + 6);
            // A stream that begins anew begins with all that may be sent.
            standby.follow(Epoch(1), None).await.unwrap();
            tokio::time::sleep(ms(100)).await;
            standby.follow(Epoch(1), Some(&upstream_of(&region("fsn")))).await.unwrap();
            world.streams("hel", "fsn").await;
            tokio::time::sleep(ms(100)).await;
            let standby = world.cluster.member(&region("hel"));
            assert_eq!(standby.wal.len(), before.flushed, "only what is flushed is sent");
            let before = world.cluster.member(&region("fsn"));
            world.cluster.power_off(&region("fsn"));
            assert!(matches!(
                primary.status().await,
                Err(PlaneError::GuardLost(_) | PlaneError::Timeout { .. })
            ));
            (before, world.cluster.member(&region("fsn")))
        });
        assert_eq!(after.wal, before.wal[..after.wal.len()]);
        assert!(after.wal.len() >= before.flushed && after.process == ProcessState::Stopped);
        lost += before.wal.len() - after.wal.len();
    }
    assert!(lost > 0, "some of it is lost under some seed");
}

#[test]
fn a_full_slot_lets_its_standby_fall_off_until_it_is_cloned() {
    let settings =
        Settings { segment_bytes: 1 << 10, slot_cap_bytes: 4 << 10, ..Settings::default() };
    let world = World::with_settings(1, settings);
    world.run(async {
        let primary = world.primary("fsn", &["hel"]).await;
        let standby = world.standby("hel", "fsn").await;
        standby.stop(Epoch(1), StopMode::Fast).await.unwrap();
        for _ in 0..20 {
            primary.wake().await.unwrap();
        }
        primary.checkpoint().await.unwrap();
        let slot = world.cluster.slot(&region("fsn"), &region("hel")).unwrap();
        assert!(!slot.1, "WAL within the cap is kept: {slot:?}");
        let upstream = upstream_of(&region("fsn"));
        standby.start(Epoch(1), &none(), Some(&upstream)).await.unwrap();
        world.streams("hel", "fsn").await;
        standby.stop(Epoch(1), StopMode::Fast).await.unwrap();
        for _ in 0..100 {
            primary.wake().await.unwrap();
        }
        primary.checkpoint().await.unwrap();
        assert!(world.cluster.slot(&region("fsn"), &region("hel")).unwrap().1);
        standby.start(Epoch(1), &none(), Some(&upstream)).await.unwrap();
        tokio::time::sleep(ms(5_000)).await;
        assert_eq!(world.cluster.member(&region("hel")).streams_from, None);
        standby.stop(Epoch(1), StopMode::Fast).await.unwrap();
        standby.reclone(Epoch(1), &upstream).await.unwrap();
        standby.start(Epoch(1), &none(), Some(&upstream)).await.unwrap();
        world.streams("hel", "fsn").await;
        let holds = || world.cluster.member(&region("hel")).wal.len();
        let wanted = world.cluster.member(&region("fsn")).wal.len();
        world.until("it catches up", || holds() >= wanted).await;
        primary.wake().await.unwrap();
        world
            .until("the slot counts again", || {
                !world.cluster.slot(&region("fsn"), &region("hel")).unwrap().1
            })
            .await;
    });
}

/// Both are promoted apart and take one number; then the one follows the other unproven.
async fn promoted_apart(world: &World) -> bool {
    let a = world.primary("fsn", &["hel"]).await;
    let b = world.standby("hel", "fsn").await;
    b.follow(Epoch(1), None).await.unwrap();
    a.stop(Epoch(1), StopMode::Immediate).await.unwrap();
    let behind = || world.cluster.member(&region("hel")).streams_from.is_none();
    world.until("it streams no more", behind).await;
    a.start(Epoch(1), &none(), None).await.unwrap();
    a.arm(Epoch(2), world.far()).await.unwrap();
    b.arm(Epoch(2), world.far()).await.unwrap();
    let one = a.promote(Epoch(2), &none()).await.unwrap();
    let other = b.promote(Epoch(2), &none()).await.unwrap();
    assert_eq!(one.timeline, other.timeline);
    let lines = ["fsn", "hel"].map(|name| world.cluster.member(&region(name)).wal.pop().unwrap());
    assert_ne!(lines[0].line, lines[1].line, "the judge tells them apart");
    a.wake().await.unwrap();
    for _ in 0..10 {
        b.wake().await.unwrap();
    }
    b.ensure_replication(&[region("fsn")]).await.unwrap();
    a.stop(Epoch(2), StopMode::Fast).await.unwrap();
    a.start(Epoch(2), &none(), Some(&upstream_of(&region("hel")))).await.unwrap();
    tokio::time::sleep(ms(3_000)).await;
    world.cluster.member(&region("fsn")).is_one_history()
}

#[test]
fn foreign_wal_is_taken_where_positions_fit_and_only_there() {
    let fits = Settings { record_units: (6, 6), ..Settings::default() };
    let world = World::with_settings(3, fits);
    assert!(!world.run(promoted_apart(&world)), "taken silently");
    let unsound = |one: &Event| matches!(one, Event::Streams { sound: false, .. });
    assert!(world.cluster.happened(0).iter().any(|one| unsound(&one.event)));

    let differs = Settings { record_units: (6, 400), ..Settings::default() };
    let world = World::with_settings(3, differs);
    assert!(world.run(promoted_apart(&world)), "no record begins where this one ends");
}

#[test]
fn a_standby_past_the_fork_is_not_taken_along() {
    // Positions fit, so that nothing but the fork itself stands in the way.
    let fits = Settings { record_units: (6, 6), ..Settings::default() };
    let world = World::with_settings(4, fits);
    world.run(async {
        let a = world.primary("fsn", &["hel"]).await;
        let b = world.standby("hel", "fsn").await;
        b.follow(Epoch(1), None).await.unwrap();
        let gone = || world.cluster.member(&region("hel")).streams_from.is_none();
        world.until("it streams no more", gone).await;
        a.wake().await.unwrap();
        let own = world.cluster.end_of_wal(&region("fsn"));
        a.stop(Epoch(1), StopMode::Immediate).await.unwrap();
        b.arm(Epoch(2), world.far()).await.unwrap();
        b.promote(Epoch(2), &none()).await.unwrap();
        b.ensure_replication(&[region("fsn")]).await.unwrap();
        for _ in 0..20 {
            b.wake().await.unwrap();
        }
        a.start(Epoch(2), &none(), Some(&upstream_of(&region("hel")))).await.unwrap();
        tokio::time::sleep(ms(5_000)).await;
        assert_eq!(world.cluster.end_of_wal(&region("fsn")), own, "it forked off before");
    });
}

#[test]
fn an_outstanding_promotion_stops_at_the_deadline() {
    let slow = Settings { promote: Spans::ms(2_000, 2_000), ..Settings::default() };
    let world = World::with_settings(5, slow);
    world.run(async {
        let it = world.plane("fsn").await;
        it.initialise().await.unwrap();
        it.start(Epoch(1), &none(), None).await.unwrap();
        let deadline = world.clock.now() + ms(300);
        it.arm(Epoch(1), deadline).await.unwrap();
        let failed = it.promote(Epoch(1), &none()).await;
        assert!(matches!(failed, Err(PlaneError::Failed { .. })), "{failed:?}");
        let late = world.clock.now().since(deadline);
        assert!(late > Duration::ZERO && late < ms(3_000), "{late:?}");
        let promoted = |one: &Event| matches!(one, Event::Promoted { .. });
        assert!(!world.cluster.happened(0).iter().any(|one| promoted(&one.event)));
    });
}

#[test]
fn a_guard_frozen_past_its_deadline_stops_at_once_when_it_goes_on() {
    let world = World::new(6);
    world.run(async {
        let it = world.primary("fsn", &[]).await;
        it.arm(Epoch(1), world.clock.now() + ms(200)).await.unwrap();
        world.cluster.freeze(&region("fsn"));
        let asked = it.status().await;
        assert!(matches!(asked, Err(PlaneError::Timeout { .. })), "{asked:?}");
        assert_eq!(world.cluster.member(&region("fsn")).process, ProcessState::Running);
        world.cluster.thaw(&region("fsn"));
        let since = world.clock.now();
        let stops = || world.cluster.member(&region("fsn")).process == ProcessState::Stopped;
        world.until("it is stopped", stops).await;
        assert!(world.clock.now().since(since) < ms(3_000));
    });
}

#[test]
fn postgresql_dies_with_its_guard_and_the_next_one_remembers() {
    let world = World::new(7);
    world.run(async {
        let it = world.primary("fsn", &[]).await;
        it.arm(Epoch(4), world.far()).await.unwrap();
        world.cluster.kill_guard(&region("fsn"));
        assert!(matches!(it.arm(Epoch(4), world.far()).await, Err(PlaneError::GuardLost(_))));
        tokio::time::sleep(ms(10)).await;
        assert_eq!(world.cluster.member(&region("fsn")).process, ProcessState::Stopped);
        world.cluster.start_guard(&region("fsn"));
        let late = it.start(Epoch(4), &none(), None).await;
        assert!(late.is_ok(), "the generation is remembered: {late:?}");
        let status = it.status().await.unwrap();
        assert_eq!((status.epoch, status.deadline, status.promoted), (Epoch(4), None, false));
    });
}

#[test]
fn a_rewind_cut_short_leaves_no_identity() {
    let slow = Settings { rewind: Spans::ms(500, 500), ..Settings::default() };
    let world = World::with_settings(8, slow);
    world.run(async {
        let a = world.primary("fsn", &["hel"]).await;
        let b = world.standby("hel", "fsn").await;
        a.stop(Epoch(1), StopMode::Fast).await.unwrap();
        b.arm(Epoch(2), world.far()).await.unwrap();
        b.promote(Epoch(2), &none()).await.unwrap();
        b.ensure_replication(&[region("fsn")]).await.unwrap();
        let upstream = upstream_of(&region("hel"));
        let job = spawn_local(async move { (a.rewind(Epoch(2), &upstream).await, a) });
        tokio::time::sleep(ms(300)).await;
        world.cluster.kill_guard(&region("fsn"));
        let (cut, a) = job.await.unwrap();
        assert!(matches!(cut, Err(PlaneError::GuardLost(_))), "{cut:?}");
        world.cluster.start_guard(&region("fsn"));
        a.take().await.unwrap();
        assert_eq!(a.status().await.unwrap().data_directory, None);
        let start = a.start(Epoch(2), &none(), None).await;
        assert!(matches!(start, Err(PlaneError::Refused(_))), "{start:?}");
        let upstream = upstream_of(&region("hel"));
        assert!(matches!(a.rewind(Epoch(2), &upstream).await, Err(PlaneError::Refused(_))));
        a.reclone(Epoch(2), &upstream).await.unwrap();
        a.start(Epoch(2), &none(), Some(&upstream)).await.unwrap();
        world.streams("fsn", "hel").await;
    });
}

#[test]
fn a_command_of_a_dead_agent_that_lands_late_is_refused() {
    let settings = Settings { local_slow: Spans::ms(400, 400), ..Settings::default() };
    let mut late = 0;
    for seed in 0..10 {
        let world = World::with_settings(seed, settings.clone());
        world.run(async {
            let old = world.primary("fsn", &[]).await;
            world.cluster.slow_commands(&region("fsn"), true);
            let names = SyncNames::of([region("hel")]);
            let command = spawn_local(async move { old.set_names(Epoch(9), &names).await });
            tokio::time::sleep(ms(5)).await;
            world.cluster.slow_commands(&region("fsn"), false);
            world.plane("fsn").await;
            let outcome = command.await.unwrap();
            let names = world.cluster.member(&region("fsn")).names;
            if matches!(outcome, Err(PlaneError::Refused(_))) {
                assert!(names.is_empty());
                late += 1;
            }
        });
    }
    assert!(late > 0, "it was late under some seed");
}

#[test]
fn a_disk_without_room_keeps_nothing_alive() {
    let world = World::new(9);
    world.run(async {
        let it = world.primary("fsn", &[]).await;
        world.cluster.disk_full(&region("fsn"), true);
        let fenced = it.set_fence(Some("drill")).await;
        assert!(matches!(fenced, Err(PlaneError::Failed { .. })), "not written: {fenced:?}");
        let stops = || world.cluster.member(&region("fsn")).process == ProcessState::Stopped;
        world.until("stopped all the same", stops).await;
        let why = it.status().await.unwrap().last_exit.unwrap();
        assert!(why.contains("fenced"), "and not for another reason: {why}");
    });
}

#[test]
fn a_cut_stream_ends_by_its_timeout_and_comes_back() {
    let world = World::new(10);
    world.run(async {
        let primary = world.primary("fsn", &["hel"]).await;
        world.standby("hel", "fsn").await;
        world.links.cut("fsn", "hel", true);
        world.links.cut("hel", "fsn", true);
        tokio::time::sleep(ms(2_000)).await;
        let seen = primary.observe().await.sql.unwrap().1;
        assert!(seen.standbys.contains_key(&region("hel")), "a short silence is borne");
        tokio::time::sleep(ms(7_000)).await;
        let seen = primary.observe().await.sql.unwrap().1;
        assert!(!seen.standbys.contains_key(&region("hel")), "a long one is not");
        assert_eq!(world.cluster.member(&region("hel")).streams_from, None);
        world.links.cut("fsn", "hel", false);
        world.links.cut("hel", "fsn", false);
        world.streams("hel", "fsn").await;
    });
}
