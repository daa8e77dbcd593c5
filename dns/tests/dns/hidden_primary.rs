//! The embedded server as the hidden primary of secondaries that are real: BIND, Knot and PowerDNS.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::authority::bind::Bind;
use crate::authority::knot::Knot;
use crate::authority::powerdns::PowerDns;
use crate::authority::{KEYS, free_address};
use crate::common::{Lab, TIMEOUT, WRITER, elect};
use continuum_dns::config::{NameServerConfig, SecondaryConfig};
use continuum_dns::embedded::EmbeddedNames;
use continuum_dns::lookup::{RecordType, ResponseCode, query_tcp, text};
use continuum_dns::{DnsConfig, Server};
use continuum_domain::corroborate::Resolver;
use continuum_runtime::{BootClock, seed};
use continuum_witness::RegisterStore;
use continuum_witness::memory::MemoryStore;
use hickory_proto::rr::RData;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long secondaries may take: no figure of ours, a bound for a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
pub const ZONE: &str = "db.example.";

/// A hidden primary.
pub struct Primary {
    pub names: Arc<EmbeddedNames>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Primary {
    pub async fn start(lab: &Lab, config: DnsConfig, store: Arc<dyn RegisterStore>) -> Self {
        let network = lab.network("dns/ns1");
        let server = Server::bind(config, &network, store, Arc::new(BootClock)).await.unwrap();
        let names = server.names().clone();
        let (stop, stopped) = oneshot::channel();
        let task = seed::spawn(async move {
            let stopped = async move { stopped.await.unwrap() };
            server.run(stopped).await.unwrap();
        });
        Self { names, stop, task }
    }

    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

pub fn key_file(lab: &Lab, name: &str, secret: &str) -> PathBuf {
    let file = lab.path(&format!("{name}.key"));
    let text = format!("key \"{name}\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n");
    std::fs::write(&file, text).unwrap();
    file
}

/// A primary at `dns` that tells `secondaries`, each with the first of [`KEYS`].
pub fn config(lab: &Lab, dns: SocketAddr, secondaries: &[SocketAddr]) -> DnsConfig {
    let (name, secret) = KEYS[0];
    let key_file = key_file(lab, name, secret);
    let mut config = crate::common::config();
    config.listen_dns = dns.to_string();
    config.name_servers = vec![
        NameServerConfig {
            name: "ns1.db.example".into(),
            addresses: vec!["127.0.0.1".parse().unwrap()],
        },
        NameServerConfig { name: "ns2.elsewhere.test".into(), addresses: Vec::new() },
    ];
    let secondary =
        |at: &SocketAddr| SecondaryConfig { address: Resolver(*at), key_file: key_file.clone() };
    config.secondaries = secondaries.iter().map(secondary).collect();
    config
}

/// The address that a server answers for the writer, and the epoch beside it.
pub async fn shown(dns: SocketAddr) -> Option<(IpAddr, u64)> {
    let answer = query_tcp(dns, WRITER, RecordType::A, TIMEOUT).await.ok()?;
    let epoch = query_tcp(dns, &format!("_epoch.{WRITER}"), RecordType::TXT, TIMEOUT).await.ok()?;
    let epoch = text(&epoch)?.split_once("epoch=")?.1.split(' ').next()?.parse().ok()?;
    Some((answer.answers.first()?.data.ip_addr()?, epoch))
}

pub fn at(address: &str, epoch: u64) -> Option<(IpAddr, u64)> {
    Some((address.parse().unwrap(), epoch))
}

pub async fn until(what: &str, log: impl Fn() -> String, mut done: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !done().await {
            tokio::time::sleep(LOOK).await;
        }
    };
    let ended = tokio::time::timeout(LIMIT, waiting).await;
    assert!(ended.is_ok(), "{what}: not in {LIMIT:?}\n{}", log());
}

pub async fn serial(dns: SocketAddr) -> Option<u32> {
    let answer = query_tcp(dns, ZONE, RecordType::SOA, TIMEOUT).await.ok()?;
    answer.answers.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    })
}

/// A secondary of any make.
enum Secondary {
    Bind(Bind),
    Knot(Knot),
    PowerDns(PowerDns),
}

#[derive(Clone, Copy)]
enum Make {
    Bind,
    Knot,
    PowerDns,
}

impl Secondary {
    async fn start(make: Make, dns: SocketAddr, primaries: &[SocketAddr]) -> Self {
        match make {
            Make::Bind => Self::Bind(Bind::secondary(dns, primaries, KEYS[0])),
            Make::Knot => Self::Knot(Knot::secondary(dns, primaries)),
            Make::PowerDns => Self::PowerDns(PowerDns::secondary(dns, primaries).await),
        }
    }

    fn log(&self) -> String {
        match self {
            Self::Bind(server) => server.log(),
            Self::Knot(server) => server.log(),
            Self::PowerDns(server) => server.log(),
        }
    }
}

/// The zone is transferred and follows each change of holder because of a NOTIFY, by its changes alone
/// where the secondary asks for those; and a primary that is away and comes back, with a change meanwhile or without, goes on from there.
async fn follows(make: Make) {
    let (lab, store) = (Lab::new(), Arc::new(MemoryStore::new()));
    elect(&*store, 4, Some("fsn")).await;
    let (dns, secondary) = (free_address(), free_address());
    let primary = Primary::start(&lab, config(&lab, dns, &[secondary]), store.clone()).await;
    let server = Secondary::start(make, secondary, &[dns]).await;
    let served = async |address: &str, epoch: u64| {
        let what = format!("{address} under epoch {epoch}");
        until(&what, || server.log(), async || shown(secondary).await == at(address, epoch)).await;
    };
    served("192.0.2.1", 4).await;
    assert_eq!(serial(secondary).await, Some(5));
    let listed = query_tcp(secondary, ZONE, RecordType::NS, TIMEOUT).await.unwrap();
    let listed: BTreeSet<String> =
        listed.answers.iter().map(|record| record.data.to_string()).collect();
    assert_eq!(listed, ["ns1.db.example.", "ns2.elsewhere.test."].map(String::from).into());

    elect(&*store, 5, Some("hel")).await;
    served("192.0.2.2", 5).await;
    elect(&*store, 6, None).await;
    until(
        "nobody holds it",
        || server.log(),
        async || {
            let answer = query_tcp(secondary, WRITER, RecordType::A, TIMEOUT).await.unwrap();
            serial(secondary).await == Some(7)
                && answer.answers.is_empty()
                && answer.metadata.response_code == ResponseCode::NoError
        },
    )
    .await;
    elect(&*store, 7, Some("fsn")).await;
    served("192.0.2.1", 7).await;
    let transfers = primary.names.transfers();
    let (whole, changes) = (transfers.whole(), transfers.changes());
    // PowerDNS asks for the whole zone unless it is told otherwise.
    let by_changes = !matches!(make, Make::PowerDns);
    assert!(whole >= 1 && (changes >= 3) == by_changes, "{transfers:?}\n{}", server.log());
    assert_eq!(transfers.refused(), 0);

    primary.stop().await;
    assert_eq!(shown(secondary).await, at("192.0.2.1", 7), "it goes on by itself");
    elect(&*store, 8, Some("hel")).await;
    let primary = Primary::start(&lab, config(&lab, dns, &[secondary]), store.clone()).await;
    served("192.0.2.2", 8).await;
    primary.stop().await;
    let primary = Primary::start(&lab, config(&lab, dns, &[secondary]), store.clone()).await;
    until("its serial", String::new, async || serial(dns).await == Some(9)).await;
    assert_eq!(serial(secondary).await, Some(9));
    elect(&*store, 9, Some("fsn")).await;
    served("192.0.2.1", 9).await;
    primary.stop().await;
}

#[tokio::test]
async fn bind_follows_by_notify_and_by_changes() {
    follows(Make::Bind).await;
}

#[tokio::test]
async fn knot_follows_by_notify_and_by_changes() {
    follows(Make::Knot).await;
}

#[tokio::test]
async fn powerdns_follows_by_notify() {
    follows(Make::PowerDns).await;
}

/// A secondary of two primaries, one of which reads a witness that is behind: what that one tells takes
/// nothing back, also when it is the only one left. Once it has read on, it is followed.
async fn never_goes_back(make: Make) {
    let (lab, store, behind) = (Lab::new(), Arc::new(MemoryStore::new()), MemoryStore::new());
    let behind = Arc::new(behind);
    elect(&*store, 6, Some("hel")).await;
    elect(&*behind, 3, Some("fsn")).await;
    // As in two regions: PowerDNS knows who told it by the address alone.
    let (mut one, mut other, secondary) = (free_address(), free_address(), free_address());
    one.set_ip("127.0.0.2".parse().unwrap());
    other.set_ip("127.0.0.3".parse().unwrap());
    let newer = Primary::start(&lab, config(&lab, one, &[secondary]), store.clone()).await;
    let stale = Primary::start(&lab, config(&lab, other, &[secondary]), behind.clone()).await;
    let server = Secondary::start(make, secondary, &[other, one]).await;
    until("the newer one", || server.log(), async || shown(secondary).await == at("192.0.2.2", 6))
        .await;
    newer.stop().await;
    // The stale one tells of a change that is still behind.
    elect(&*behind, 4, Some("fsn")).await;
    until("its change", String::new, async || shown(other).await == at("192.0.2.1", 4)).await;
    for _ in 0..100 {
        assert_eq!(shown(secondary).await, at("192.0.2.2", 6), "{}", server.log());
        tokio::time::sleep(LOOK).await;
    }
    elect(&*behind, 7, Some("fsn")).await;
    until("the other one", || server.log(), async || shown(secondary).await == at("192.0.2.1", 7))
        .await;
    stale.stop().await;
}

#[tokio::test]
async fn bind_never_goes_back_to_a_stale_primary() {
    never_goes_back(Make::Bind).await;
}

#[tokio::test]
async fn knot_never_goes_back_to_a_stale_primary() {
    never_goes_back(Make::Knot).await;
}

#[tokio::test]
async fn powerdns_never_goes_back_to_a_stale_primary() {
    never_goes_back(Make::PowerDns).await;
}

#[tokio::test]
async fn a_zone_of_many_messages_arrives_whole() {
    let (lab, store) = (Lab::new(), Arc::new(MemoryStore::new()));
    elect(&*store, 2, Some("fsn")).await;
    let (dns, bind, knot) = (free_address(), free_address(), free_address());
    let mut config = config(&lab, dns, &[bind, knot]);
    let name = config.names[0].clone();
    config.names.extend((0..2_000).map(|number| {
        let mut name = name.clone();
        name.name = format!("number-{number}.of-many.db.example");
        name
    }));
    let primary = Primary::start(&lab, config, store).await;
    let bind_server = Bind::secondary(bind, &[dns], KEYS[0]);
    let knot_server = Knot::secondary(knot, &[dns]);
    for (dns, log) in [(bind, bind_server.log()), (knot, knot_server.log())] {
        for number in [0, 999, 1_999] {
            let name = format!("number-{number}.of-many.db.example.");
            until(
                &name,
                || log.clone(),
                async || {
                    let answer = query_tcp(dns, &name, RecordType::A, TIMEOUT).await;
                    answer.is_ok_and(|answer| answer.answers.len() == 1)
                },
            )
            .await;
        }
    }
    assert_eq!(primary.names.transfers().whole(), 2);
    primary.stop().await;
}

/// Another address under the same edition would stay unseen by secondaries until the next move: that is
/// said, and one more in the edition brings it at once.
#[tokio::test]
async fn a_changed_configuration_without_a_new_edition_is_found() {
    let (lab, store) = (Lab::new(), Arc::new(MemoryStore::new()));
    elect(&*store, 4, Some("fsn")).await;
    let (dns, secondary) = (free_address(), free_address());
    let mut config = config(&lab, dns, &[secondary]);
    let primary = Primary::start(&lab, config.clone(), store.clone()).await;
    let server = Knot::secondary(secondary, &[dns]);
    until("the zone", || server.log(), async || shown(secondary).await == at("192.0.2.1", 4)).await;
    assert_eq!(primary.names.transfers().contradicted(), 0);
    primary.stop().await;

    let fsn = crate::common::region("fsn");
    config.names[0].addresses.insert(fsn, vec!["192.0.2.99".parse().unwrap()]);
    let primary = Primary::start(&lab, config.clone(), store.clone()).await;
    let transfers = primary.names.clone();
    let transfers = transfers.transfers();
    until("it to be found", || server.log(), async || transfers.contradicted() > 0).await;
    assert_eq!(shown(secondary).await, at("192.0.2.1", 4));
    primary.stop().await;

    config.edition = 1;
    let primary = Primary::start(&lab, config, store).await;
    until(
        "the new address",
        || server.log(),
        async || shown(secondary).await == at("192.0.2.99", 4),
    )
    .await;
    assert_eq!(primary.names.transfers().contradicted(), 0);
    primary.stop().await;
}
