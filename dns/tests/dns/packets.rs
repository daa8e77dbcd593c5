//! The embedded server with real packets: what clients see as the lease moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::{HandClock, Lab, Running, TIMEOUT, WRITER, change, elect, is_at, region};
use async_trait::async_trait;
use continuum_dns::contract::{self, World};
use continuum_dns::embedded::{EmbeddedNames, LocalNameService};
use continuum_dns::lookup::{RecordType, ResponseCode, query, query_tcp, text};
use continuum_dns::memory::MemoryNames;
use continuum_dns::{NameError, NameService, RpcNameService};
use continuum_domain::{Epoch, PairId, RegionId};
use continuum_runtime::BootClock;
use continuum_witness::faulty::{Fault, FaultyStore};
use continuum_witness::memory::MemoryStore;
use continuum_witness::{RegisterStore, ServerStore, WitnessConfig};

/// A store that can be cut off.
fn cuttable(memory: Arc<MemoryStore>) -> (Arc<dyn RegisterStore>, Arc<AtomicBool>) {
    let cut = Arc::new(AtomicBool::new(false));
    let script = cut.clone();
    let store = FaultyStore::new(memory, move |_| {
        if script.load(Ordering::SeqCst) { Fault::LoseRequest } else { Fault::None }
    });
    (Arc::new(store), cut)
}

#[tokio::test]
async fn the_answer_follows_the_register() {
    let (lab, store) = (Lab::new(), Arc::new(MemoryStore::new()));
    elect(&*store, 1, Some("fsn")).await;
    let server = lab.start(store.clone(), Arc::new(BootClock)).await;
    let seen = server.until_at("192.0.2.1").await;
    assert_eq!(seen.ttl, Some(Duration::from_secs(1)));
    elect(&*store, 2, Some("hel")).await;
    server.until_at("192.0.2.2").await;
    elect(&*store, 3, None).await;
    server.until("no address", |seen| seen.addresses.is_empty()).await;
    assert_eq!(server.writer().await.rcode, ResponseCode::NoError);
    server.stop().await;
}

#[tokio::test]
async fn udp_and_tcp_answer_alike() {
    let (lab, store) = (Lab::new(), Arc::new(MemoryStore::new()));
    elect(&*store, 7, Some("hel")).await;
    let server = lab.start(store, Arc::new(BootClock)).await;
    server.until_at("192.0.2.2").await;
    for (name, kind, code, answers, authorities) in [
        (WRITER, RecordType::A, ResponseCode::NoError, 1, 0),
        (WRITER, RecordType::AAAA, ResponseCode::NoError, 0, 1),
        ("none.db.example", RecordType::A, ResponseCode::NXDomain, 0, 1),
        ("db.example", RecordType::SOA, ResponseCode::NoError, 1, 0),
        ("db.example", RecordType::NS, ResponseCode::NoError, 1, 0),
        ("elsewhere.test", RecordType::A, ResponseCode::Refused, 0, 0),
        ("db.example", RecordType::AXFR, ResponseCode::Refused, 0, 0),
    ] {
        let udp = query(server.dns, name, kind, TIMEOUT).await.unwrap();
        let tcp = query_tcp(server.dns, name, kind, TIMEOUT).await.unwrap();
        for seen in [udp, tcp] {
            assert_eq!(seen.metadata.response_code, code, "{name} {kind}");
            assert_eq!(seen.metadata.authoritative, code != ResponseCode::Refused);
            let counts = (seen.answers.len(), seen.authorities.len());
            assert_eq!(counts, (answers, authorities), "{name} {kind}");
        }
    }
    let epoch = format!("_epoch.{WRITER}");
    let seen = query_tcp(server.dns, &epoch, RecordType::TXT, TIMEOUT).await.unwrap();
    assert_eq!(text(&seen).unwrap(), "pair=app epoch=7 holder=hel");
    server.stop().await;
}

#[tokio::test]
async fn a_publish_moves_the_name_at_once() {
    let (lab, store) = (Lab::new(), Arc::new(MemoryStore::new()));
    elect(&*store, 1, Some("fsn")).await;
    let mut config = crate::common::config();
    (config.poll, config.max_age) = (Duration::from_secs(600), Duration::from_secs(3600));
    let network = lab.network("dns/ns1");
    let clock = Arc::new(BootClock);
    let server = continuum_dns::Server::bind(config, &network, store.clone(), clock).await.unwrap();
    let (dns, rpc) = (server.dns_local(), server.rpc_local().to_string());
    let serving = continuum_runtime::seed::spawn(server.run(std::future::pending()));
    let hel = RpcNameService::new(lab.network("region/hel"), rpc, "ns1", TIMEOUT);
    elect(&*store, 2, Some("hel")).await;
    let published = hel.publish(&change(2, "hel")).await.unwrap();
    assert_eq!((published.epoch, published.ttl), (Epoch(2), Duration::from_secs(1)));
    let seen = continuum_dns::lookup::query_a(dns, WRITER, TIMEOUT).await.unwrap();
    assert!(is_at(&seen, "192.0.2.2"), "{seen:?}");
    serving.abort();
}

#[tokio::test]
async fn without_the_witness_the_holders_word_keeps_the_name_and_silence_loses_it() {
    let lab = Lab::new();
    let memory = Arc::new(MemoryStore::new());
    let (store, cut) = cuttable(memory.clone());
    let clock = Arc::new(HandClock::default());
    elect(&*memory, 1, Some("fsn")).await;
    let server = lab.start(store, clock.clone()).await;
    server.until_at("192.0.2.1").await;
    let fsn = lab.agent("region/fsn", &server);
    let hel = lab.agent("region/hel", &server);

    cut.store(true, Ordering::SeqCst);
    for _ in 0..4 {
        clock.advance(Duration::from_millis(1500));
        fsn.publish(&change(1, "fsn")).await.unwrap();
        assert!(is_at(&server.writer().await, "192.0.2.1"));
    }
    let other = hel.publish(&change(1, "hel")).await;
    assert!(matches!(other, Err(NameError::Contradicted(_))), "{other:?}");
    clock.advance(Duration::from_millis(2500));
    server.until_code(ResponseCode::ServFail).await;

    // A takeover just before the witness was lost: the new holder's word is all there is.
    hel.publish(&change(2, "hel")).await.unwrap();
    assert!(is_at(&server.writer().await, "192.0.2.2"));
    let late = fsn.publish(&change(1, "fsn")).await;
    assert_eq!(late, Err(NameError::Refused { newest: Epoch(2) }));

    elect(&*memory, 2, Some("hel")).await;
    cut.store(false, Ordering::SeqCst);
    clock.advance(Duration::from_millis(2500));
    server.until_at("192.0.2.2").await;
    server.stop().await;
}

#[tokio::test]
async fn an_epoch_that_was_never_won_is_not_believed() {
    let (lab, store) = (Lab::new(), Arc::new(MemoryStore::new()));
    elect(&*store, 5, Some("fsn")).await;
    let server = lab.start(store.clone(), Arc::new(BootClock)).await;
    server.until_at("192.0.2.1").await;
    let hel = lab.agent("region/hel", &server);
    let claimed = hel.publish(&change(6, "hel")).await;
    assert!(matches!(claimed, Err(NameError::Contradicted(_))), "{claimed:?}");
    assert!(is_at(&server.writer().await, "192.0.2.1"));
    server.stop().await;
}

#[tokio::test]
async fn only_a_member_publishes_and_only_itself() {
    let (lab, store) = (Lab::new(), Arc::new(MemoryStore::new()));
    elect(&*store, 1, Some("fsn")).await;
    let server = lab.start(store, Arc::new(BootClock)).await;
    server.until_at("192.0.2.1").await;
    for (caller, holder) in
        [("region/hel", "fsn"), ("operator/ann", "fsn"), ("core/c1", "fsn"), ("witness/w1", "fsn")]
    {
        let denied = lab.agent(caller, &server).publish(&change(1, holder)).await;
        assert!(matches!(denied, Err(NameError::Unauthorised(_))), "{caller}: {denied:?}");
    }
    let outsider = lab.agent("region/nbg", &server).publish(&change(1, "nbg")).await;
    assert!(matches!(outsider, Err(NameError::Misconfigured(_))), "{outsider:?}");
    let mut other = change(1, "fsn");
    other.name = "other.db.example".into();
    let unknown = lab.agent("region/fsn", &server).publish(&other).await;
    assert!(matches!(unknown, Err(NameError::Misconfigured(_))), "{unknown:?}");
    server.stop().await;
}

#[tokio::test]
async fn with_a_real_witness_the_name_follows_and_survives_its_loss() {
    let lab = Lab::new();
    let members = [region("fsn"), region("hel")].into();
    let config = WitnessConfig {
        name: "w1".into(),
        listen: "127.0.0.1:0".into(),
        data_directory: lab.path("witness"),
        pairs: [(PairId::new("app").unwrap(), members)].into(),
    };
    let witness =
        continuum_witness::Server::bind(config, &lab.network("witness/w1")).await.unwrap();
    let address = witness.local().to_string();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = continuum_runtime::seed::spawn(witness.run(async move {
        stopped.await.unwrap();
    }));
    let store = |identity: &str, deadline| {
        let network = lab.network(identity);
        Arc::new(ServerStore::new(network, address.clone(), "w1", deadline))
    };
    let (fsn, hel) = (store("region/fsn", TIMEOUT), store("region/hel", TIMEOUT));
    elect(&*fsn, 1, Some("fsn")).await;
    let clock = Arc::new(HandClock::default());
    let server = lab.start(store("dns/ns1", Duration::from_millis(500)), clock.clone()).await;
    server.until_at("192.0.2.1").await;
    elect(&*hel, 2, Some("hel")).await;
    server.until_at("192.0.2.2").await;

    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    clock.advance(Duration::from_secs(3));
    server.until_code(ResponseCode::ServFail).await;
    lab.agent("region/hel", &server).publish(&change(2, "hel")).await.unwrap();
    assert!(is_at(&server.writer().await, "192.0.2.2"));
    server.stop().await;
}

struct Embedded {
    lab: Lab,
    store: Arc<MemoryStore>,
    server: Running,
}

fn holder_of(address: Option<&std::net::IpAddr>) -> Option<RegionId> {
    address.map(|address| region(if address.to_string() == "192.0.2.1" { "fsn" } else { "hel" }))
}

#[async_trait]
impl World for Embedded {
    fn pair(&self) -> PairId {
        PairId::new("app").unwrap()
    }
    fn name(&self) -> String {
        WRITER.into()
    }
    fn regions(&self) -> [RegionId; 2] {
        [region("fsn"), region("hel")]
    }
    fn service(&self, region: &RegionId) -> Arc<dyn NameService> {
        Arc::new(self.lab.agent(&format!("region/{region}"), &self.server))
    }
    async fn elect(&self, epoch: Epoch, holder: &RegionId) {
        elect(&*self.store, epoch.0, Some(holder.as_str())).await;
    }
    async fn resolve(&self) -> Option<RegionId> {
        holder_of(self.server.writer().await.addresses.first())
    }
}

#[tokio::test]
async fn the_embedded_server_keeps_the_contract() {
    let (lab, store) = (Lab::new(), Arc::new(MemoryStore::new()));
    let server = lab.start(store.clone(), Arc::new(BootClock)).await;
    let world = Embedded { lab, store, server };
    contract::all(&world).await.unwrap();
    world.server.stop().await;
}

/// The service in this process, without sockets, as the simulator runs it.
struct Local(Arc<MemoryStore>, Arc<EmbeddedNames>);

#[async_trait]
impl World for Local {
    fn pair(&self) -> PairId {
        PairId::new("app").unwrap()
    }
    fn name(&self) -> String {
        WRITER.into()
    }
    fn regions(&self) -> [RegionId; 2] {
        [region("fsn"), region("hel")]
    }
    fn service(&self, region: &RegionId) -> Arc<dyn NameService> {
        Arc::new(LocalNameService::new(self.1.clone(), region.clone()))
    }
    async fn elect(&self, epoch: Epoch, holder: &RegionId) {
        elect(&*self.0, epoch.0, Some(holder.as_str())).await;
    }
    async fn resolve(&self) -> Option<RegionId> {
        self.1.holder(&self.pair())
    }
}

#[tokio::test]
async fn the_service_without_sockets_keeps_the_contract() {
    let (store, clock) = (Arc::new(MemoryStore::new()), Arc::new(HandClock::default()));
    let names = EmbeddedNames::new(&crate::common::config(), vec![], store.clone(), clock).unwrap();
    contract::all(&Local(store, names)).await.unwrap();
}

/// The recording service, and the same without its fence.
struct Recorded {
    names: Arc<MemoryNames>,
    fenced: bool,
}

struct Unfenced(Arc<MemoryNames>);

#[async_trait]
impl NameService for Unfenced {
    async fn publish(
        &self,
        change: &continuum_dns::NameChange,
    ) -> Result<continuum_dns::Published, NameError> {
        let held = self.0.get(WRITER).map_or(Epoch(0), |held| held.epoch);
        let mut raised = change.clone();
        raised.epoch = Epoch(held.0 + 1);
        self.0.publish(&raised).await?;
        Ok(continuum_dns::Published { epoch: change.epoch, ttl: change.ttl })
    }
}

#[async_trait]
impl World for Recorded {
    fn pair(&self) -> PairId {
        PairId::new("app").unwrap()
    }
    fn name(&self) -> String {
        WRITER.into()
    }
    fn regions(&self) -> [RegionId; 2] {
        [region("fsn"), region("hel")]
    }
    fn service(&self, _region: &RegionId) -> Arc<dyn NameService> {
        if self.fenced { self.names.clone() } else { Arc::new(Unfenced(self.names.clone())) }
    }
    async fn elect(&self, _epoch: Epoch, _holder: &RegionId) {}
    async fn resolve(&self) -> Option<RegionId> {
        self.names.get(WRITER).map(|held| held.holder)
    }
}

#[tokio::test]
async fn names_in_memory_keep_the_contract_and_a_missing_fence_is_caught() {
    let world = |fenced| Recorded { names: Arc::new(MemoryNames::new()), fenced };
    contract::all(&world(true)).await.unwrap();
    assert!(contract::all(&world(false)).await.is_err(), "a service without a fence passed");
}
