//! A name server on loopback, with certificates of its own authority and a clock set by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use continuum_dns::lookup::{Lookup, ResponseCode, query_a};
use continuum_dns::{DnsConfig, NameChange, RpcNameService, ServeError, Server};
use continuum_domain::record::pair_key;
use continuum_domain::{Epoch, PairId, PairRecord, RegionId, Tick, Version};
use continuum_runtime::certificates::Authority;
use continuum_runtime::net::TlsNetwork;
use continuum_runtime::{Clock, Identity, SharedClock, SharedNetwork, seed};
use continuum_witness::{Answer, RegisterStore};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const WRITER: &str = "writer.app.db.example";
pub const TIMEOUT: Duration = Duration::from_secs(3);

/// A clock that stands until it is moved.
#[derive(Debug, Default)]
pub struct HandClock(AtomicU64);

impl HandClock {
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(u64::try_from(span.as_nanos()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Tick {
        Tick(self.0.load(Ordering::SeqCst))
    }
    fn wall_ms(&self) -> i64 {
        0
    }
}

pub struct Lab {
    directory: tempfile::TempDir,
    authority: Authority,
}

impl Lab {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::create(&directory.path().join("tls")).unwrap();
        Self { directory, authority }
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    pub fn network(&self, identity: &str) -> SharedNetwork {
        let identity: Identity = identity.parse().unwrap();
        Arc::new(TlsNetwork::load(&self.authority.issue(&identity).unwrap()).unwrap())
    }

    pub async fn start(&self, store: Arc<dyn RegisterStore>, clock: SharedClock) -> Running {
        let network = self.network("dns/ns1");
        let server = Server::bind(config(), &network, store, clock).await.unwrap();
        let (dns, rpc) = (server.dns_local(), server.rpc_local().to_string());
        let (stop, stopped) = oneshot::channel();
        let server = seed::spawn(server.run(async move {
            stopped.await.unwrap();
        }));
        Running { dns, rpc, stop, server }
    }

    pub fn agent(&self, identity: &str, running: &Running) -> RpcNameService {
        RpcNameService::new(self.network(identity), running.rpc.clone(), "ns1", TIMEOUT)
    }
}

pub struct Running {
    pub dns: SocketAddr,
    pub rpc: String,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        self.server.await.unwrap().unwrap();
    }

    pub async fn writer(&self) -> Lookup {
        query_a(self.dns, WRITER, TIMEOUT).await.unwrap()
    }

    /// Asks until the writer's answer is as wished.
    pub async fn until(&self, what: &str, wished: impl Fn(&Lookup) -> bool) -> Lookup {
        let asking = async {
            loop {
                let seen = self.writer().await;
                if wished(&seen) {
                    return seen;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), asking).await.expect(what)
    }

    pub async fn until_at(&self, address: &str) -> Lookup {
        self.until(address, |seen| is_at(seen, address)).await
    }

    pub async fn until_code(&self, code: ResponseCode) {
        self.until("a response code", |seen| seen.rcode == code).await;
    }
}

pub fn is_at(seen: &Lookup, address: &str) -> bool {
    seen.addresses == [address.parse::<std::net::IpAddr>().unwrap()]
}

pub fn config() -> DnsConfig {
    toml::from_str(
        r#"
        name = "ns1"
        listen_dns = "127.0.0.1:0"
        listen_rpc = "127.0.0.1:0"
        zone = "db.example"
        poll = "20ms"
        max_age = "2s"
        [[names]]
        name = "writer.app.db.example"
        pair = "app"
        ttl = "1s"
        addresses = { fsn = ["192.0.2.1"], hel = ["192.0.2.2"] }
        "#,
    )
    .unwrap()
}

pub fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

pub fn change(epoch: u64, holder: &str) -> NameChange {
    NameChange {
        pair: PairId::new("app").unwrap(),
        name: WRITER.into(),
        epoch: Epoch(epoch),
        holder: region(holder),
        ttl: Duration::from_secs(30),
    }
}

/// Writes the pair's register as its new holder would.
pub async fn elect(store: &dyn RegisterStore, epoch: u64, holder: Option<&str>) {
    let key = pair_key(&PairId::new("app").unwrap());
    let held = store.read(&key).await.unwrap();
    let record = PairRecord {
        epoch: Epoch(epoch),
        holder: holder.map(region),
        in_sync: Default::default(),
        handover_to: None,
        paused: false,
        waits_for_all: false,
        rested_by: None,
    };
    let value = serde_json::to_vec(&record).unwrap();
    let at = held.map_or(Version::ABSENT, |held| held.version);
    let answer = store.compare_and_swap(&key, at, value).await.unwrap();
    assert!(matches!(answer, Answer::Accepted(_)), "{answer:?}");
}
