//! What lowers `synchronous_commit` on a real primary is seen by the next looks, and is gone from
//! them when it is taken back: a ledger takeover rests on it.

use std::time::Duration;

use crate::support::World;
use continuum_cnpg_pair::DataPlane;
use continuum_cnpg_pair::contract::{Bench, region};
use continuum_domain::{Epoch, SyncNames, Tick};
use continuum_runtime::seed;
use tokio_postgres::{Client, NoTls};

const PATIENCE: Duration = Duration::from_secs(20);
const FAR: Duration = Duration::from_secs(600);

async fn client(world: &World) -> Client {
    let config = world.config(&region("fsn"));
    let socket = config.socket_directory.to_string_lossy().into_owned();
    let mut settings = tokio_postgres::Config::new();
    settings.host_path(socket).port(config.port).user("postgres").dbname("postgres");
    let (client, connection) = settings.connect(NoTls).await.unwrap();
    drop(seed::spawn(connection));
    client
}

/// Looks until what lowers it is as `expected` says.
async fn sees(world: &World, plane: &dyn DataPlane, expected: impl Fn(&[String]) -> bool) {
    let deadline: Tick = world.now() + PATIENCE;
    loop {
        let seen = plane.observe().await.sql.and_then(|(_, view)| view.lowered_commit);
        if seen.as_deref().is_some_and(&expected) {
            return;
        }
        assert!(world.now() < deadline, "still {seen:?}");
        world.pause(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_place_that_lowers_it_is_named() {
    let Some(mut world) = World::new() else { return };
    let plane = world.agent(&region("fsn")).await;
    plane.take().await.unwrap();
    plane.initialise().await.unwrap();
    let names = SyncNames::default();
    plane.start(Epoch(1), &names, None).await.unwrap();
    plane.arm(Epoch(1), world.now() + FAR).await.unwrap();
    plane.promote(Epoch(1), &names).await.unwrap();
    let admin = client(&world).await;
    let plane = &*plane;
    sees(&world, plane, <[String]>::is_empty).await;

    for (lowers, restores, says) in [
        (
            "alter role postgres set synchronous_commit = 'LOCAL'",
            "alter role postgres reset synchronous_commit",
            "role postgres sets synchronous_commit to LOCAL",
        ),
        (
            "alter database postgres set synchronous_commit = off",
            "alter database postgres reset synchronous_commit",
            "database postgres sets synchronous_commit to off",
        ),
        (
            "alter role postgres in database postgres set synchronous_commit = remote_write",
            "alter role postgres in database postgres reset synchronous_commit",
            "role postgres in database postgres sets synchronous_commit to remote_write",
        ),
        (
            "alter system set synchronous_commit = local",
            "alter system reset synchronous_commit",
            "the configuration sets synchronous_commit to local",
        ),
    ] {
        admin.batch_execute(lowers).await.unwrap();
        sees(&world, plane, |seen| seen == [says.to_owned()]).await;
        admin.batch_execute(restores).await.unwrap();
        sees(&world, plane, <[String]>::is_empty).await;
    }
    // What does not lower it is not named.
    admin.batch_execute("alter role postgres set synchronous_commit = on").await.unwrap();
    world.pause(Duration::from_millis(700)).await;
    sees(&world, plane, <[String]>::is_empty).await;

    let session = client(&world).await;
    for lowers in [
        "set synchronous_commit = off",
        "SET LOCAL synchronous_commit TO 'local'",
        "select set_config('synchronous_commit', 'off', false)",
    ] {
        session.batch_execute(lowers).await.unwrap();
        sees(&world, plane, |seen| seen.len() == 1 && seen[0].contains("of postgres sets")).await;
        session.batch_execute("select 1").await.unwrap();
        sees(&world, plane, <[String]>::is_empty).await;
    }
}
