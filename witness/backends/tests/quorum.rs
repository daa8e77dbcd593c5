//! A quorum of three real stores of three kinds: our server, an object store, etcd.
#![allow(clippy::unwrap_used, reason = "a failure in a helper fails its test")]

use std::sync::Arc;
use std::time::Duration;

use common::{Etcd, ready};
use continuum_runtime::{Identity, Role};
use continuum_witness::faulty::{self, Holding};
use continuum_witness::faulty_cells::FaultyCells;
use continuum_witness::quorum::found;
use continuum_witness::recorded::{self, Client, Plan, Tally};
use continuum_witness::{Acceptor, CellStore, QuorumStore, ServerCells};
use continuum_witness_backends::etcd::{EtcdConfig, EtcdStore};
use npm::azurite;

mod common;
#[path = "../../tests/common/mod.rs"]
mod lab;
mod npm;

/// Of one call of one store.
const STORE_DEADLINE: Duration = Duration::from_secs(5);
/// Of one call of the quorum.
const DEADLINE: Duration = Duration::from_secs(10);

type Open = Arc<dyn Fn() -> Arc<dyn CellStore> + Send + Sync>;

/// What goes wrong on the way to one acceptor of one client.
fn faulty(open: &Open, seed: u64) -> Arc<FaultyCells> {
    Arc::new(FaultyCells::new(open(), faulty::seeded(seed)))
}

fn quorum(stores: impl IntoIterator<Item = (&'static str, Arc<dyn CellStore>)>) -> QuorumStore {
    let acceptor = |(name, store): (&str, _)| Acceptor { name: name.into(), store };
    let acceptors = stores.into_iter().map(acceptor).collect();
    QuorumStore::new(acceptors, Identity::new(Role::Operator, "tester"), DEADLINE)
}

async fn judged(plan: Plan) -> Tally {
    let lab = lab::Lab::new();
    let server = lab.start("w1").await;
    let (network, address) = (lab.network("operator/tester"), server.address.clone());
    let of_server: Open = Arc::new(move || {
        Arc::new(ServerCells::new(network.clone(), address.clone(), "w1", STORE_DEADLINE))
    });

    let blobs = tempfile::tempdir().unwrap();
    let service = azurite::azurite(blobs.path());
    azurite::create_container(service.port, "cells");
    let secrets = azurite::azure_secrets(blobs.path(), azurite::KEY);
    let mut config = azurite::azure(&azurite::endpoint(&service), &secrets);
    config.deadline = STORE_DEADLINE;
    let of_bucket: Open = Arc::new(move || azurite::open(&config));

    let directory = tempfile::tempdir().unwrap();
    let mut etcd = Etcd::start(directory.path(), &[]);
    let text = format!("endpoints = ['{}']\ndeadline = '5s'", etcd.url());
    let config: EtcdConfig = toml::from_str(&text).unwrap();
    let of_etcd: Open = Arc::new(move || Arc::new(EtcdStore::new(&config).unwrap()));
    let cells = of_etcd();
    ready(etcd.process(), async || cells.get("ready").await.ok()).await;

    let ways = [("server", of_server), ("bucket", of_bucket), ("etcd", of_etcd)];
    let sound = || ways.iter().map(|(name, open)| (*name, open()));
    let acceptors: Vec<_> =
        sound().map(|(name, store)| Acceptor { name: name.into(), store }).collect();
    found(&acceptors).await.unwrap();
    let clients = (0..plan.clients).map(|client| {
        let seed = |at: usize| plan.seed.wrapping_add(client * 3 + at as u64);
        let faulty: Vec<_> = ways
            .iter()
            .enumerate()
            .map(|(at, (name, open))| (*name, faulty(open, seed(at))))
            .collect();
        let held = faulty.iter().map(|(_, cells)| cells.clone() as Arc<dyn Holding>).collect();
        let stores = faulty.into_iter().map(|(name, cells)| (name, cells as Arc<dyn CellStore>));
        Client { store: Arc::new(quorum(stores)), held }
    });
    let reader = quorum(sound());
    let judged = recorded::run("quorum", plan, "probe/history/", clients.collect(), &reader).await;
    server.stop().await;
    judged.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_kinds_of_stores_are_one_register() {
    let tally = judged(Plan { clients: 4, ..Plan::of(600) }).await;
    println!("{tally:?}");
    tally.check_substance("quorum").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make test-long"]
async fn three_kinds_of_stores_are_one_register_for_ten_thousand_calls() {
    let tally = judged(Plan { clients: 4, seed: 2, ..Plan::of(10_000) }).await;
    println!("{tally:?}");
    tally.check_substance("quorum").unwrap();
}
