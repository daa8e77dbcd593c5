//! Who may transfer the zone, and what is told before it is known.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::authority::bind::Bind;
use crate::authority::{KEYS, free_address};
use crate::common::{Lab, TIMEOUT, WRITER, elect};
use crate::hidden_primary::{Primary, ZONE, at, config, key_file, serial, shown, until};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use continuum_dns::config::SecondaryConfig;
use continuum_dns::lookup::{Message, RecordType, ResponseCode, query, query_tcp};
use continuum_domain::corroborate::Resolver;
use continuum_runtime::{BootClock, Clock};
use continuum_witness::RegisterStore;
use continuum_witness::memory::MemoryStore;
use hickory_proto::op::{MessageType, OpCode, Query};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{Name, RData, Record, TSigner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
