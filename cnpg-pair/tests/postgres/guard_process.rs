//! What only a real process can show: who dies with whom, and how fast.

use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{World, processes_in, until};
use continuum_cnpg_pair::contract::{Bench, region};
use continuum_cnpg_pair::plane::StopMode;
use continuum_cnpg_pair::{DataPlane, PlaneError};
use continuum_domain::observation::{Lineage, ProcessState};
use continuum_domain::{Epoch, RegionId, SyncNames, Tick};
use continuum_runtime::seed;

const FAR: Duration = Duration::from_secs(600);

async fn standby(world: &mut World, region: &RegionId) -> Arc<dyn DataPlane> {
    let plane = world.agent(region).await;
    plane.take().await.unwrap();
    plane.initialise().await.unwrap();
    plane.start(Epoch(1), &SyncNames::default(), None).await.unwrap();
    plane
}

async fn primary(world: &mut World, region: &RegionId) -> Arc<dyn DataPlane> {
    let plane = standby(world, region).await;
    plane.arm(Epoch(1), world.now() + FAR).await.unwrap();
    plane.promote(Epoch(1), &SyncNames::default()).await.unwrap();
    plane
}

fn signal(name: &str, pids: &[u32]) {
    for pid in pids {
        assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
    }
}

/// The postmaster: the one whose parent is the guard.
fn postmaster(world: &World, region: &RegionId) -> u32 {
    let file = world.config(region).data_directory.join("postmaster.pid");
    std::fs::read_to_string(file).unwrap().lines().next().unwrap().parse().unwrap()
}

fn process_named(world: &World, region: &RegionId, word: &str) -> u32 {
    let found = processes_in(&world.config(region).data_directory).into_iter().find(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(word)
    });
    found.unwrap()
}

fn stopped_within(world: &World, since: Tick, limit: Duration) {
    let took = world.now().since(since);
    println!("gone after {took:?}");
    assert!(took < limit, "took {took:?}");
}

/// R5: PostgreSQL never outlives its guard, not even one that is killed.
#[tokio::test]
async fn killing_the_guard_kills_postgresql() {
    let Some(mut world) = World::new() else { return };
    let fsn = region("fsn");
    let plane = primary(&mut world, &fsn).await;
    plane.observe().await;
    let data = world.config(&fsn).data_directory.clone();
    assert!(processes_in(&data).len() > 3);
    let since = world.now();
    let mut guard = world.guards.remove(&fsn).unwrap();
    guard.kill();
    until("no process is left", async || processes_in(&data).is_empty()).await;
    stopped_within(&world, since, Duration::from_secs(2));
    assert!(matches!(plane.status().await, Err(PlaneError::GuardLost(_))));

    world.start_guard(&fsn);
    until("the new guard answers", async || plane.status().await.is_ok()).await;
    plane.take().await.unwrap();
    assert!(plane.status().await.unwrap().data_directory.is_some());
    plane.start(Epoch(1), &SyncNames::default(), None).await.unwrap();
}

/// R5: a promotion that hangs is ended at the deadline, although PostgreSQL is a standby still.
#[tokio::test]
async fn the_deadline_ends_an_outstanding_promotion() {
    let Some(mut world) = World::new() else { return };
    let fsn = region("fsn");
    let plane = standby(&mut world, &fsn).await;
    signal("-STOP", &[process_named(&world, &fsn, "startup")]);
    let deadline = world.now() + Duration::from_millis(400);
    plane.arm(Epoch(1), deadline).await.unwrap();
    let promotion = plane.promote(Epoch(1), &SyncNames::default()).await;
    assert!(promotion.is_err(), "it cannot have finished: {promotion:?}");
    until("it was stopped", async || {
        plane.status().await.unwrap().process == ProcessState::Stopped
    })
    .await;
    assert!(world.now() >= deadline);
    stopped_within(&world, deadline, Duration::from_secs(3));
    assert!(plane.status().await.unwrap().last_exit.unwrap().contains("deadline"));
    plane.start(Epoch(1), &SyncNames::default(), None).await.unwrap();
    assert!(plane.observe().await.sql.unwrap().1.in_recovery, "the request did not survive");
}

/// R11: processes that answer to no signal but SIGKILL are gone within the stop budget.
#[tokio::test]
async fn a_frozen_postgresql_is_killed_within_the_budget() {
    let Some(mut world) = World::new() else { return };
    let fsn = region("fsn");
    let plane = primary(&mut world, &fsn).await;
    plane.observe().await;
    signal("-STOP", &processes_in(&world.config(&fsn).data_directory));
    let deadline = world.now() + Duration::from_millis(100);
    plane.arm(Epoch(1), deadline).await.unwrap();
    until("it was stopped", async || {
        plane.status().await.unwrap().process == ProcessState::Stopped
    })
    .await;
    stopped_within(&world, deadline, world.config(&fsn).stop_budget);
    assert!(processes_in(&world.config(&fsn).data_directory).is_empty());
}

/// A postmaster that dies leaves no backend alive, and the exit is counted.
#[tokio::test]
async fn a_postmaster_that_dies_leaves_nobody_behind() {
    let Some(mut world) = World::new() else { return };
    let fsn = region("fsn");
    let plane = primary(&mut world, &fsn).await;
    plane.observe().await;
    let seen = plane.status().await.unwrap();
    signal("-KILL", &[postmaster(&world, &fsn)]);
    until("it was noticed", async || {
        plane.status().await.unwrap().process == ProcessState::Stopped
    })
    .await;
    let status = plane.status().await.unwrap();
    assert_eq!(status.exits, seen.exits + 1);
    assert!(status.last_exit.unwrap().contains("by itself"));
    assert!(processes_in(&world.config(&fsn).data_directory).is_empty());
    plane.start(Epoch(1), &SyncNames::default(), None).await.unwrap();
}

/// A process an earlier guard left is killed before the new guard serves anybody.
#[tokio::test]
async fn leftovers_are_killed_never_adopted() {
    let Some(mut world) = World::new() else { return };
    let fsn = region("fsn");
    let plane = standby(&mut world, &fsn).await;
    plane.stop(Epoch(1), StopMode::Fast).await.unwrap();
    world.guards.remove(&fsn).unwrap().kill();
    let config = world.config(&fsn).clone();
    let bin = continuum_cnpg_pair::guard::locate_binaries(None).unwrap();
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]);
        command.arg(bin.join("postgres"));
        command
    } else {
        Command::new(bin.join("postgres"))
    };
    let main = config.state_directory.join("postgresql/postgresql.conf");
    command.arg("-D").arg(&config.data_directory).stderr(std::process::Stdio::null());
    command.arg("-c").arg(format!("config_file={}", main.display())).current_dir("/");
    let mut orphan = command.spawn().unwrap();
    until("it runs", async || processes_in(&config.data_directory).len() > 2).await;
    world.start_guard(&fsn);
    until("the new guard answers", async || plane.status().await.is_ok()).await;
    assert!(processes_in(&config.data_directory).is_empty());
    assert!(!orphan.wait().unwrap().success());
    plane.take().await.unwrap();
    plane.start(Epoch(1), &SyncNames::default(), None).await.unwrap();
}

/// Told to end, the guard takes PostgreSQL with it; two guards never share a directory.
#[tokio::test]
async fn a_guard_ends_with_its_postgresql_and_is_alone() {
    let Some(mut world) = World::new() else { return };
    let fsn = region("fsn");
    let plane = primary(&mut world, &fsn).await;
    let first = world.guards.remove(&fsn).unwrap();
    world.start_guard(&fsn);
    let mut second = world.guards.remove(&fsn).unwrap();
    assert!(!second.wait().success());
    assert!(second.log().contains("another guard holds it"), "{}", second.log());
    std::mem::forget(second);
    let mut first = first;
    signal("-TERM", &[first.pid()]);
    assert!(first.wait().success());
    assert!(processes_in(&world.config(&fsn).data_directory).is_empty());
    drop(plane);
}

/// Two sessions of one name: the old agent's are gone once the new one has taken the actuator.
#[tokio::test]
async fn taking_ends_the_old_agents_sessions() {
    let Some(mut world) = World::new() else { return };
    let fsn = region("fsn");
    let old = primary(&mut world, &fsn).await;
    old.set_names(Epoch(1), &SyncNames::default().with_probe()).await.unwrap();
    until("the canary waits", async || {
        old.start_canary().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        old.look_canary().await.unwrap().waiting
    })
    .await;
    let new = world.agent(&fsn).await;
    new.take().await.unwrap();
    until("the old canary is gone", async || {
        old.look_canary().await.map_or(true, |look| !look.waiting)
    })
    .await;
}

async fn streams(primary: &dyn DataPlane, standby: &RegionId) -> bool {
    let (_, view) = primary.observe().await.sql.unwrap();
    view.standbys.get(standby).is_some_and(|standby| standby.streaming)
}

/// A standby that followed a switch receives the segment of the fork again, and recovery prefers
/// the new copy: killed half way, it must still come up with all it had, its upstream there or not.
#[tokio::test]
async fn a_copy_of_the_fork_received_in_part_hides_nothing() {
    let Some(mut world) = World::new() else { return };
    let (fsn, hel) = (region("fsn"), region("hel"));
    let names = SyncNames::default();
    let a = primary(&mut world, &fsn).await;
    a.ensure_replication(std::slice::from_ref(&hel)).await.unwrap();
    let b = world.agent(&hel).await;
    b.take().await.unwrap();
    let (to_a, to_b) = (world.upstream(&fsn), world.upstream(&hel));
    b.reclone(Epoch(1), &to_a).await.unwrap();
    b.start(Epoch(1), &names, Some(&to_a)).await.unwrap();
    until("streams", async || streams(&*a, &hel).await).await;
    a.stop(Epoch(1), StopMode::Fast).await.unwrap();
    let held = a.control_data().await.unwrap().checkpoint;
    b.arm(Epoch(2), world.now() + FAR).await.unwrap();
    until("caught up", async || b.observe().await.sql.unwrap().1.replay > Some(held)).await;
    b.promote(Epoch(2), &names).await.unwrap();
    b.ensure_replication(std::slice::from_ref(&fsn)).await.unwrap();

    // What a standby killed at that moment leaves: the new history, and the copy's first bytes.
    let wal = |region| world.config(region).data_directory.join("pg_wal");
    let segment = |timeline: u64| format!("{timeline:08X}{:08X}{:08X}", 0, held.0 >> 24);
    let owner = std::fs::metadata(wal(&fsn).join(segment(2))).unwrap();
    let whole = std::fs::read(wal(&hel).join(segment(3))).unwrap();
    let history = std::fs::read(wal(&hel).join("00000003.history")).unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = wal(&fsn).join(name);
        std::fs::write(&path, bytes).unwrap();
        std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    };
    put("00000003.history", &history);
    for received in [0, 8 * 1024] {
        let mut bytes = vec![0; whole.len()];
        bytes[..received].copy_from_slice(&whole[..received]);
        put(&segment(3), &bytes);
        a.start(Epoch(2), &names, None).await.unwrap();
        let seen = a.observe().await.sql.unwrap().1;
        assert!(seen.replay > Some(held), "with {received} bytes: {:?} of {held}", seen.replay);
        a.stop(Epoch(2), StopMode::Immediate).await.unwrap();
    }
    assert_eq!(a.lineage(&to_b).await.unwrap(), Lineage::Follows);
}

/// One value from a member's PostgreSQL, as its owner.
async fn ask(world: &World, region: &RegionId, statement: &str) -> Option<String> {
    let config = world.config(region);
    let address = format!("host={} port={} user=postgres", config.listen_host, config.port);
    let (client, connection) =
        tokio_postgres::connect(&address, tokio_postgres::NoTls).await.unwrap();
    let driver = seed::spawn(connection);
    let answers = client.simple_query(statement).await.unwrap();
    driver.abort();
    answers.iter().find_map(|answer| match answer {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    })
}

/// A slot that fell off the cap keeps nothing any more, and newer PostgreSQL refuses to serve from
/// it: it is made anew, so that a member that was cloned can stream.
#[tokio::test]
async fn a_slot_that_was_lost_is_made_anew() {
    const STATUS: &str = "select wal_status from pg_replication_slots";
    let Some(mut world) = World::new() else { return };
    let (fsn, hel) = (region("fsn"), region("hel"));
    let plane = primary(&mut world, &fsn).await;
    // What is kept for a rewind keeps slots too.
    ask(&world, &fsn, "alter system set wal_keep_size = 0").await;
    ask(&world, &fsn, "select pg_reload_conf()").await;
    plane.ensure_replication(std::slice::from_ref(&hel)).await.unwrap();
    assert_eq!(ask(&world, &fsn, STATUS).await.as_deref(), Some("reserved"));
    for _ in 0..8 {
        ask(&world, &fsn, "select pg_switch_wal() from pg_logical_emit_message(false, '', '')")
            .await;
    }
    plane.checkpoint().await.unwrap();
    assert_eq!(ask(&world, &fsn, STATUS).await.as_deref(), Some("lost"));
    plane.ensure_replication(std::slice::from_ref(&hel)).await.unwrap();
    assert_eq!(ask(&world, &fsn, STATUS).await.as_deref(), Some("reserved"));
}

/// Not a check but a measurement: prints how long each step took.
#[tokio::test]
async fn timings() {
    let Some(mut world) = World::new() else { return };
    let (fsn, hel) = (region("fsn"), region("hel"));
    let names = SyncNames::default();
    let a = standby(&mut world, &fsn).await;
    a.arm(Epoch(1), world.now() + FAR).await.unwrap();
    let mut since = world.now();
    let mut lap = |what: &str, now: Tick| {
        println!("{what:32} {:?}", now.since(since));
        since = now;
    };
    a.promote(Epoch(1), &names).await.unwrap();
    lap("promote", world.now());
    a.ensure_replication(std::slice::from_ref(&hel)).await.unwrap();
    lap("ensure_replication", world.now());
    let b = world.agent(&hel).await;
    b.take().await.unwrap();
    lap("(second guard)", world.now());
    let (to_a, to_b) = (world.upstream(&fsn), world.upstream(&hel));
    b.reclone(Epoch(1), &to_a).await.unwrap();
    lap("reclone", world.now());
    b.start(Epoch(1), &names, Some(&to_a)).await.unwrap();
    lap("start standby", world.now());
    until("streams", async || streams(&*a, &hel).await).await;
    lap("then streaming", world.now());
    a.checkpoint().await.unwrap();
    lap("checkpoint", world.now());
    a.stop(Epoch(1), StopMode::Fast).await.unwrap();
    lap("fast stop", world.now());
    let at = a.control_data().await.unwrap().checkpoint;
    lap("control data", world.now());
    until("caught up", async || b.observe().await.sql.unwrap().1.replay > Some(at)).await;
    lap("caught up", world.now());
    b.arm(Epoch(2), world.now() + FAR).await.unwrap();
    lap("arm", world.now());
    b.promote(Epoch(2), &names).await.unwrap();
    lap("promote", world.now());
    b.commit_probe().await.unwrap();
    lap("first commit", world.now());
    b.ensure_replication(std::slice::from_ref(&fsn)).await.unwrap();
    lap("ensure_replication", world.now());
    assert_eq!(a.lineage(&to_b).await.unwrap(), Lineage::Follows);
    lap("lineage", world.now());
    a.start(Epoch(2), &names, Some(&to_b)).await.unwrap();
    lap("start as standby", world.now());
    until("streams", async || streams(&*b, &fsn).await).await;
    lap("then streaming", world.now());
    a.stop(Epoch(2), StopMode::Immediate).await.unwrap();
    lap("immediate stop of the standby", world.now());
    b.wake().await.unwrap();
    b.stop(Epoch(2), StopMode::Immediate).await.unwrap();
    lap("immediate stop of the primary", world.now());
    a.start(Epoch(3), &names, None).await.unwrap();
    a.arm(Epoch(3), world.now() + FAR).await.unwrap();
    a.promote(Epoch(3), &names).await.unwrap();
    a.ensure_replication(std::slice::from_ref(&hel)).await.unwrap();
    lap("start + promote + replication", world.now());
    let Lineage::Diverged { fork, timeline, .. } = b.lineage(&to_a).await.unwrap() else {
        panic!()
    };
    lap("lineage after a crash", world.now());
    b.save_tail(fork, timeline).await.unwrap();
    lap("save tail", world.now());
    b.rewind(Epoch(3), &to_a).await.unwrap();
    lap("rewind", world.now());
    b.start(Epoch(3), &names, Some(&to_a)).await.unwrap();
    lap("start after the rewind", world.now());
    until("streams", async || streams(&*a, &hel).await).await;
    lap("then streaming", world.now());
}
