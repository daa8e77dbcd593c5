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
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use continuum_dns::config::{NameServerConfig, SecondaryConfig};
use continuum_dns::embedded::EmbeddedNames;
use continuum_dns::lookup::{Message, RecordType, ResponseCode, query, query_tcp, text};
use continuum_dns::{DnsConfig, Server};
use continuum_domain::corroborate::Resolver;
use continuum_runtime::{BootClock, Clock, seed};
use continuum_witness::RegisterStore;
use continuum_witness::memory::MemoryStore;
use hickory_proto::op::{MessageType, OpCode, Query};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{Name, RData, Record, TSigner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long secondaries may take: no figure of ours, a bound for a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
const ZONE: &str = "db.example.";

/// A hidden primary.
pub struct Primary {
    names: Arc<EmbeddedNames>,
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

fn key_file(lab: &Lab, name: &str, secret: &str) -> PathBuf {
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
async fn shown(dns: SocketAddr) -> Option<(IpAddr, u64)> {
    let answer = query_tcp(dns, WRITER, RecordType::A, TIMEOUT).await.ok()?;
    let epoch = query_tcp(dns, &format!("_epoch.{WRITER}"), RecordType::TXT, TIMEOUT).await.ok()?;
    let epoch = text(&epoch)?.split_once("epoch=")?.1.split(' ').next()?.parse().ok()?;
    Some((answer.answers.first()?.data.ip_addr()?, epoch))
}

fn at(address: &str, epoch: u64) -> Option<(IpAddr, u64)> {
    Some((address.parse().unwrap(), epoch))
}

async fn until(what: &str, log: impl Fn() -> String, mut done: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !done().await {
            tokio::time::sleep(LOOK).await;
        }
    };
    let ended = tokio::time::timeout(LIMIT, waiting).await;
    assert!(ended.is_ok(), "{what}: not in {LIMIT:?}\n{}", log());
}

async fn serial(dns: SocketAddr) -> Option<u32> {
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

fn signer(name: &str, secret: &str) -> TSigner {
    let secret = STANDARD.decode(secret).unwrap();
    let name: Name = name.parse().unwrap();
    TSigner::new(secret, TsigAlgorithm::HmacSha256, name, 300).unwrap()
}

fn asking(zone: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    let zone: Name = zone.parse().unwrap();
    message.add_query(Query::query(zone.clone(), kind));
    if kind == RecordType::IXFR {
        let soa = SOA::new(zone.clone(), zone.clone(), 5, 1, 1, 1, 1);
        message.add_authority(Record::from_rdata(zone, 0, RData::SOA(soa)));
    }
    message
}

/// Sends by TCP what may be signed, as if the clock were `late` seconds ahead; the first message of the
/// answer, and whether its signature is right.
async fn exchange(
    dns: SocketAddr,
    mut message: Message,
    key: Option<&TSigner>,
    late: i64,
) -> (Message, bool) {
    let now = u64::try_from(BootClock.wall_ms() / 1000 + late).unwrap();
    let verifier = key.and_then(|key| message.finalize(key, now).unwrap());
    let mut stream = tokio::net::TcpStream::connect(dns).await.unwrap();
    let bytes = message.to_vec().unwrap();
    stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let length = stream.read_u16().await.unwrap();
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await.unwrap();
    let right = verifier.is_some_and(|mut verifier| verifier.verify(&answer).is_ok());
    (Message::from_vec(&answer).unwrap(), right)
}

#[tokio::test]
async fn whoever_lacks_the_key_gets_no_zone() {
    let (lab, store) = (Lab::new(), Arc::new(MemoryStore::new()));
    elect(&*store, 4, Some("fsn")).await;
    let dns = free_address();
    let mut config = config(&lab, dns, &[free_address()]);
    let (name, secret) = KEYS[0];
    let unnamed = key_file(&lab, "short", "c2hvcnQ=");
    config
        .secondaries
        .push(SecondaryConfig { address: Resolver(free_address()), key_file: unnamed });
    let primary = Primary::start(&lab, config, store).await;
    until("the first version", String::new, async || serial(dns).await == Some(5)).await;
    let right = signer(name, secret);
    for (what, key, late, zone, kind, code, signed) in [
        ("no key", None, 0, ZONE, RecordType::AXFR, ResponseCode::Refused, false),
        ("no key", None, 0, ZONE, RecordType::IXFR, ResponseCode::Refused, false),
        (
            "a wrong secret",
            Some(signer(name, KEYS[1].1)),
            0,
            ZONE,
            RecordType::AXFR,
            ResponseCode::NotAuth,
            false,
        ),
        (
            "a key of nobody",
            Some(signer("nobody", secret)),
            0,
            ZONE,
            RecordType::AXFR,
            ResponseCode::NotAuth,
            false,
        ),
        (
            "another clock",
            Some(right.clone()),
            -1000,
            ZONE,
            RecordType::AXFR,
            ResponseCode::NotAuth,
            false,
        ),
        (
            "another zone",
            Some(right.clone()),
            0,
            "other.example.",
            RecordType::AXFR,
            ResponseCode::NotAuth,
            true,
        ),
        ("the key", Some(right.clone()), 0, ZONE, RecordType::AXFR, ResponseCode::NoError, true),
        (
            "the newest version",
            Some(right.clone()),
            0,
            ZONE,
            RecordType::IXFR,
            ResponseCode::NoError,
            true,
        ),
        (
            "an ordinary question",
            Some(right.clone()),
            0,
            ZONE,
            RecordType::SOA,
            ResponseCode::NoError,
            true,
        ),
        (
            "an ordinary question with a wrong secret",
            Some(signer(name, KEYS[1].1)),
            0,
            ZONE,
            RecordType::SOA,
            ResponseCode::NotAuth,
            false,
        ),
    ] {
        let (answer, right) = exchange(dns, asking(zone, kind), key.as_ref(), late).await;
        let seen = (answer.metadata.response_code, right);
        assert_eq!(seen, (code, signed), "{what}, {kind}: {answer:?}");
        let soas = answer.answers.iter().filter(|record| record.record_type() == RecordType::SOA);
        let due = match (code, kind) {
            (ResponseCode::NoError, RecordType::AXFR) => 2,
            (ResponseCode::NoError, _) => 1,
            _ => 0,
        };
        assert_eq!(soas.count(), due, "{what}, {kind}: {answer:?}");
        assert!(due > 0 || answer.answers.is_empty(), "{what}, {kind}: {answer:?}");
    }
    assert_eq!(primary.names.transfers().refused(), 6);
    // By UDP there is none at all.
    for kind in [RecordType::AXFR, RecordType::IXFR] {
        let answer = query(dns, ZONE, kind, TIMEOUT).await.unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused, "{kind}");
    }
    primary.stop().await;
}

#[tokio::test]
async fn a_secondary_with_a_wrong_key_is_refused_and_one_with_the_key_is_not() {
    let (lab, store) = (Lab::new(), Arc::new(MemoryStore::new()));
    elect(&*store, 4, Some("fsn")).await;
    let (dns, wrong, right) = (free_address(), free_address(), free_address());
    let primary = Primary::start(&lab, config(&lab, dns, &[wrong, right]), store).await;
    let refused = Bind::secondary(wrong, &[dns], (KEYS[0].0, KEYS[1].1));
    let server = Bind::secondary(right, &[dns], KEYS[0]);
    until("the right one", || server.log(), async || shown(right).await == at("192.0.2.1", 4))
        .await;
    until(
        "the wrong one to have tried",
        || refused.log(),
        async || {
            refused.log().contains("tsig verify failure")
                || refused.log().contains("expected a TSIG")
                || refused.log().contains("BADSIG")
                || refused.log().contains("NOTAUTH")
        },
    )
    .await;
    let answer = query_tcp(wrong, ZONE, RecordType::SOA, TIMEOUT).await.unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail, "{}", refused.log());
    primary.stop().await;
}

#[tokio::test]
async fn nothing_is_told_of_a_zone_before_every_register_was_read() {
    let (lab, store) = (Lab::new(), Arc::new(MemoryStore::new()));
    let (dns, secondary) = (free_address(), free_address());
    let mut config = config(&lab, dns, &[secondary]);
    let mut second = config.names[0].clone();
    second.name = "other.db.example".into();
    second.pair = continuum_domain::PairId::new("other").unwrap();
    config.names.push(second);
    // A register that is not one: what stands there is not known.
    let key = continuum_domain::record::pair_key(&continuum_domain::PairId::new("other").unwrap());
    let absent = continuum_domain::Version::ABSENT;
    store.compare_and_swap(&key, absent, b"not a record".to_vec()).await.unwrap();
    elect(&*store, 4, Some("fsn")).await;
    let primary = Primary::start(&lab, config, store).await;
    let direct = async || query_tcp(dns, WRITER, RecordType::A, TIMEOUT).await.unwrap();
    until("the pair that is known", String::new, async || direct().await.answers.len() == 1).await;
    let (name, secret) = KEYS[0];
    for kind in [RecordType::SOA, RecordType::AXFR, RecordType::IXFR] {
        let asked = exchange(dns, asking(ZONE, kind), Some(&signer(name, secret)), 0).await;
        assert_eq!(
            (asked.0.metadata.response_code, asked.1),
            (ResponseCode::ServFail, true),
            "{kind}"
        );
    }
    primary.stop().await;
}
