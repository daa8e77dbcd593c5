//! A quorum of three real stores of three kinds: our server, an object store, etcd.

use std::sync::Arc;
use std::time::Duration;

use crate::common::wire::{self, Counting, Wire};
use crate::common::{Etcd, ready};
use crate::npm::azurite;
use continuum_domain::Version;
use continuum_runtime::{Identity, Role};
use continuum_witness::faulty::{self, Holding};
use continuum_witness::faulty_cells::FaultyCells;
use continuum_witness::quorum::found;
use continuum_witness::recorded::{self, Client, Plan, Tally};
use continuum_witness::{Acceptor, Answer, CellStore, QuorumStore, RegisterStore, ServerCells};
use continuum_witness_backends::etcd::{EtcdConfig, EtcdStore};

#[path = "../../../tests/witness/common/mod.rs"]
mod lab;

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

/// Three running stores, and the ways to them.
struct Three {
    server: lab::Running,
    ways: [(&'static str, Open); 3],
    bucket: (crate::npm::Service, tempfile::TempDir),
    etcd: (Etcd, tempfile::TempDir),
    lab: lab::Lab,
}

impl Three {
    async fn start() -> Self {
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
        let mut config = azurite::azure(&azurite::endpoint(service.port), &secrets);
        config.deadline = STORE_DEADLINE;
        let ofbucket: Open = Arc::new(move || azurite::open(&config));

        let directory = tempfile::tempdir().unwrap();
        let mut etcd = Etcd::start(directory.path(), &[]);
        let ofetcd = etcd_at(etcd.port());
        let cells = ofetcd();
        ready(etcd.process(), async || cells.get("ready").await.ok()).await;
        let ways = [("server", of_server), ("bucket", ofbucket), ("etcd", ofetcd)];
        let (bucket, etcd) = ((service, blobs), (etcd, directory));
        Self { server, ways, bucket, etcd, lab }
    }

    fn stores(&self) -> impl Iterator<Item = (&'static str, Arc<dyn CellStore>)> {
        self.ways.iter().map(|(name, open)| (*name, open()))
    }
}

fn etcd_at(port: u16) -> Open {
    let text = format!("endpoints = ['http://127.0.0.1:{port}']\ndeadline = '5s'");
    let config: EtcdConfig = toml::from_str(&text).unwrap();
    Arc::new(move || Arc::new(EtcdStore::new(&config).unwrap()))
}

async fn judged(plan: Plan) -> Tally {
    let three = Three::start().await;
    let acceptors: Vec<_> =
        three.stores().map(|(name, store)| Acceptor { name: name.into(), store }).collect();
    found(&acceptors).await.unwrap();
    let clients = (0..plan.clients).map(|client| {
        let seed = |at: usize| plan.seed.wrapping_add(client * 3 + at as u64);
        let faulty: Vec<_> = three
            .ways
            .iter()
            .enumerate()
            .map(|(at, (name, open))| (*name, faulty(open, seed(at))))
            .collect();
        let held = faulty.iter().map(|(_, cells)| cells.clone() as Arc<dyn Holding>).collect();
        let stores = faulty.into_iter().map(|(name, cells)| (name, cells as Arc<dyn CellStore>));
        Client { store: Arc::new(quorum(stores)), held }
    });
    let reader = quorum(three.stores());
    let judged = recorded::run("quorum", plan, "probe/history/", clients.collect(), &reader).await;
    three.server.stop().await;
    judged.unwrap()
}

/// Pairs that nothing happens to are never asked for, however many there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_is_one_put_at_each_acceptor_and_idle_pairs_cost_nothing() {
    let three = Three::start().await;
    let counted: Vec<_> =
        three.stores().map(|(name, store)| (name, Counting::new(store))).collect();
    let acceptor = |(name, store): &(&str, Arc<Counting>)| Acceptor {
        name: (*name).into(),
        store: store.clone(),
    };
    let (quorum, incarnations) = wire::region_fsn(counted.iter().map(acceptor).collect()).await;
    let calls = || -> Vec<_> { counted.iter().map(|(_, store)| store.calls()).collect() };
    let settled = async |register: &str, version| {
        for (name, store) in three.stores() {
            wire::holds(store.as_ref(), &incarnations[name], register, version).await;
        }
    };
    wire::renew(&quorum, 0).await;
    settled("session/fsn", 1).await;
    for pair in 0..10 {
        let key = format!("pair/p{pair}");
        let taken = quorum.compare_and_swap(&key, Version(0), b"fsn".into()).await;
        assert_eq!(taken, Ok(Answer::Accepted(Version(1))));
        settled(&key, 1).await;
    }
    let mut before = calls();
    for version in 1..6 {
        wire::renew(&quorum, version).await;
        settled("session/fsn", version + 1).await;
        let after = calls();
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(*after, (before.0 + 1, before.1), "puts, other calls");
        }
        before = after;
    }
    three.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_renewal_costs_on_the_wire() {
    let three = Three::start().await;
    let port = |address: &str| address.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let (way, at) = Wire::to(port(&three.server.address)).await;
    let network = three.lab.network("operator/tester");
    let address = format!("127.0.0.1:{at}");
    let server = ServerCells::new(network, address, "w1", STORE_DEADLINE);
    wire::check_cost("server", Arc::new(server), &way).await;
    let (way, at) = Wire::to(three.bucket.0.port).await;
    let secrets = azurite::azure_secrets(three.bucket.1.path(), azurite::KEY);
    let config = azurite::azure(&azurite::endpoint(at), &secrets);
    wire::check_cost("object-store", azurite::open(&config), &way).await;
    let (way, at) = Wire::to(three.etcd.0.port()).await;
    wire::check_cost("etcd", etcd_at(at)(), &way).await;
    three.server.stop().await;
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
