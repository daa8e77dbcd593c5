//! Random commands under random faults: nothing panics, positions stay in order, what standbys
//! were waited for is on them, and when the faults are over every command is answered.

use std::sync::Arc;

use crate::postgres_bench::{CLIENT, World, ms, region, upstream_of};
use continuum_cnpg_pair::DataPlane;
use continuum_cnpg_pair::plane::StopMode;
use continuum_domain::observation::ProcessState;
use continuum_domain::{Epoch, SyncNames};
use continuum_sim::postgres::{Event, ModelPlane};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::spawn_local;

const NAMES: [&str; 3] = ["fsn", "hel", "nbg"];

fn one_of(rng: &mut SmallRng) -> &'static str {
    NAMES[rng.random_range(0..NAMES.len())]
}

fn break_something(world: &World, rng: &mut SmallRng) {
    let (it, cluster) = (region(one_of(rng)), &world.cluster);
    let on = rng.random_bool(0.5);
    match rng.random_range(0..17) {
        0 => cluster.kill_postmaster(&it),
        1 => cluster.kill_guard(&it),
        2 => cluster.start_guard(&it),
        3 => cluster.power_off(&it),
        4 => cluster.power_on(&it),
        5 => cluster.freeze(&it),
        6 => cluster.thaw(&it),
        7 => cluster.fsync_hang(&it, on),
        8 => cluster.disk_full(&it, on),
        9 => cluster.cannot_start(&it, on),
        10 => cluster.replay_stall(&it, on),
        11 => cluster.receiver_stuck(&it, on),
        12 => cluster.slow_checkpointer(&it, on),
        13 => cluster.slow_commands(&it, on),
        14 => cluster.crash_backend(&it),
        15 => world.links.cut(it.as_str(), one_of(rng), on),
        _ => cluster.heal(),
    }
}

/// One command of an agent that knows no rules, given up after a while.
async fn command(world: World, plane: Arc<ModelPlane>, name: &'static str, mut rng: SmallRng) {
    let epoch = plane.status().await.map_or(Epoch(1), |status| status.epoch);
    let upstream = upstream_of(&region(NAMES[rng.random_range(0..3)]));
    let names = SyncNames::of([region(one_of(&mut rng))]);
    let limit = ms(rng.random_range(1..4_000));
    let work = async {
        match rng.random_range(0..13) {
            0 => drop(plane.take().await),
            1 => drop(plane.arm(epoch, world.far()).await),
            2 | 3 => drop(plane.start(epoch, &SyncNames::default(), Some(&upstream)).await),
            4 => drop(plane.promote(Epoch(epoch.0 + 1), &names).await),
            5 => drop(plane.set_names(epoch, &names).await),
            6 => drop(plane.follow(epoch, Some(&upstream)).await),
            7 => drop(plane.stop(epoch, StopMode::Fast).await),
            8 => drop(plane.stop(epoch, StopMode::Immediate).await),
            9 => drop(plane.lineage(&upstream).await),
            10 => drop(plane.rewind(epoch, &upstream).await),
            11 => drop(plane.reclone(epoch, &upstream).await),
            _ => {
                let others: Vec<_> =
                    NAMES.iter().filter(|n| **n != name).map(|n| region(n)).collect();
                drop(plane.ensure_replication(&others).await);
                drop((plane.wake().await, plane.checkpoint().await, plane.observe().await));
            }
        }
    };
    drop(tokio::time::timeout(limit, work).await);
}

fn check(world: &World) {
    for name in NAMES {
        let view = world.cluster.member(&region(name));
        assert!(view.flushed <= view.wal.len() && view.applied <= view.wal.len(), "{view:?}");
        let ordered = view
            .wal
            .windows(2)
            .all(|pair| pair[0].end == pair[1].start && pair[1].behind == pair[0].start);
        assert!(ordered, "positions of {name}");
        assert!(view.guard_up || view.process != ProcessState::Running, "{name}: R5");
    }
}

/// When all is whole again, a member can be made anew and led.
async fn every_command_is_answered(world: &World) {
    for name in NAMES {
        let plane = world.plane(name).await;
        let epoch = Epoch(1_000);
        plane.stop(epoch, StopMode::Immediate).await.unwrap();
        world.cluster.wipe(&region(name));
        let ready = || world.cluster.member(&region(name)).process == ProcessState::Stopped;
        world.until("it is stopped", ready).await;
        while plane.initialise().await.is_err() {
            tokio::time::sleep(ms(100)).await;
            world.cluster.wipe(&region(name));
        }
        plane.start(epoch, &SyncNames::default(), None).await.unwrap();
        plane.arm(epoch, world.far()).await.unwrap();
        plane.promote(epoch, &SyncNames::default()).await.unwrap();
        plane.set_names(epoch, &SyncNames::default()).await.unwrap();
        plane.commit_probe().await.unwrap();
    }
}

fn storm(seed: u64) -> usize {
    let world = World::new(seed);
    let mut rng = SmallRng::seed_from_u64(seed);
    world.run(async {
        let mut planes = vec![world.primary("fsn", &["hel", "nbg"]).await];
        for name in ["hel", "nbg"] {
            planes.push(world.standby(name, "fsn").await);
        }
        for turn in 0..300 {
            if rng.random_bool(0.3) {
                break_something(&world, &mut rng);
            }
            let at = rng.random_range(0..NAMES.len());
            if rng.random_bool(0.2) {
                let own = SmallRng::seed_from_u64(rng.random());
                drop(spawn_local(command(world.clone(), planes[at].clone(), NAMES[at], own)));
            }
            let cluster = world.cluster.clone();
            drop(spawn_local(async move {
                if let Ok(session) = cluster.connect(CLIENT, &region(NAMES[at])).await {
                    drop((session.append(turn).await, session.read_set().await));
                }
            }));
            tokio::time::sleep(ms(rng.random_range(1..100))).await;
            check(&world);
        }
        world.cluster.heal();
        for from in NAMES {
            NAMES.iter().for_each(|to| world.links.cut(from, to, false));
        }
        // Commands given up may still take effect.
        tokio::time::sleep(ms(5_000)).await;
        every_command_is_answered(&world).await;
    });
    let happened = world.cluster.happened(0);
    happened.iter().filter(|one| matches!(one.event, Event::Acknowledged(_))).count()
}

#[test]
fn nothing_breaks_but_what_is_broken() {
    let acknowledged: usize = (0..12).map(storm).sum();
    assert!(acknowledged > 50, "clients got through: {acknowledged}");
}
