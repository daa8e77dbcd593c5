//! Every body that is written parses in a real PowerDNS.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use crate::authority::powerdns::PowerDns;
use continuum_dns::lookup::{RecordType, ResponseCode};
use continuum_dns::lua::{Body, Check, Family, LuaRecord, Selector, UrlCheck};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Bodies asked for; each is one name.
const CASES: usize = 300;
/// Records sent in one call.
const BATCH: usize = 50;

/// Only loopback is probed.
fn checked(family: Family) -> BoxedStrategy<IpAddr> {
    match family {
        Family::V4 => {
            (0u8.., 1u8..).prop_map(|(c, d)| IpAddr::V4(Ipv4Addr::new(127, 0, c, d))).boxed()
        }
        Family::V6 => Just(IpAddr::V6(Ipv6Addr::LOCALHOST)).boxed(),
    }
}

fn any_address(family: Family) -> BoxedStrategy<IpAddr> {
    match family {
        Family::V4 => any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())).boxed(),
        // What looks like IPv4 in IPv6 has a spelling of its own; both sides must know it.
        Family::V6 => prop_oneof![
            any::<u128>().prop_map(|bits| IpAddr::V6(bits.into())),
            any::<u32>().prop_map(|bits| IpAddr::V6(Ipv4Addr::from(bits).to_ipv6_mapped())),
            any::<u16>().prop_map(|bits| IpAddr::V6(u128::from(bits).into())),
        ]
        .boxed(),
    }
}

fn some(address: BoxedStrategy<IpAddr>, most: usize) -> BoxedStrategy<BTreeSet<IpAddr>> {
    prop::collection::btree_set(address, 1..most)
        .prop_filter("at least one", |set| !set.is_empty())
        .boxed()
}

fn text() -> BoxedStrategy<String> {
    prop_oneof![
        "[a-z]{1,20}",
        "[ -~]{0,300}",
        "['\"\\\\{}()\\[\\];,. =-]{0,60}",
        "\\PC{0,40}",
        Just("'], {}) error('x') --".to_owned()),
        Just("\" \"".to_owned()),
    ]
    .boxed()
}

fn check(family: Family) -> BoxedStrategy<Check> {
    let selector = prop::sample::select(vec![
        Selector::Closest,
        Selector::Random,
        Selector::Hashed,
        Selector::All,
    ]);
    let source = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    (selector.clone(), selector, 1u32..3, prop::option::of(Just(source)))
        .prop_map(|(selector, backup, timeout_seconds, source)| Check {
            selector,
            backup,
            timeout_seconds,
            source,
            fail_on_incomplete: false,
        })
        .boxed()
}

fn body(family: Family) -> BoxedStrategy<Body> {
    let url = ("[a-z]{1,20}", text()).prop_map(|(host, path)| format!("http://{host}:9/{path}"));
    let url = prop_oneof![url, text()];
    let sets = prop::collection::vec(some(checked(family), 4), 1..3);
    prop_oneof![
        3 => (url, sets, check(family), prop::option::of(text())).prop_map(
            |(url, sets, check, string_match)| Body::IfUrlUp {
                sets,
                check: UrlCheck { url, string_match, check },
            }
        ),
        1 => (1u16.., some(checked(family), 6), check(family)).prop_map(
            |(port, addresses, check)| Body::IfPortUp {
                port: NonZeroU16::new(port).unwrap(),
                addresses,
                check,
            }
        ),
        1 => some(any_address(family), 20).prop_map(Body::PickClosest),
        1 => some(any_address(family), 20).prop_map(Body::PickRandom),
        1 => some(any_address(family), 20).prop_map(Body::All),
        1 => prop::collection::btree_map(any_address(family), 1u32..1000, 1..20)
            .prop_map(Body::PickWeighted),
    ]
    .boxed()
}

fn drawn() -> Vec<(Family, Body)> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let any = prop::sample::select(Family::ALL.to_vec())
        .prop_flat_map(|family| body(family).prop_map(move |body| (family, body)));
    (0..CASES).map(|_| any.new_tree(&mut runner).unwrap().current()).collect()
}

fn record_type(family: Family) -> RecordType {
    match family {
        Family::V4 => RecordType::A,
        Family::V6 => RecordType::AAAA,
    }
}

#[tokio::test]
async fn every_body_parses_and_answers_addresses_of_its_own() {
    let server = PowerDns::start().await;
    let cases: BTreeMap<String, (Family, Body)> = drawn()
        .into_iter()
        .enumerate()
        .map(|(number, case)| (format!("n{number}.db.example."), case))
        .collect();
    let all: Vec<_> = cases.iter().collect();
    for batch in all.chunks(BATCH) {
        let contents = batch.iter().map(|(name, (family, body))| {
            (name.as_str(), "LUA", vec![LuaRecord::new(*family, body).unwrap().to_string()])
        });
        server.put(&contents.collect::<Vec<_>>()).await;
    }
    for (name, (family, body)) in &cases {
        let seen = server.ask(name, record_type(*family)).await;
        let content = LuaRecord::new(*family, body).unwrap();
        assert_eq!(seen.metadata.response_code, ResponseCode::NoError, "{content}");
        let listed: BTreeSet<IpAddr> =
            seen.answers.iter().filter_map(|record| record.data.ip_addr()).collect();
        assert!(!listed.is_empty() && listed.is_subset(&body.addresses()), "{content}: {seen:?}");
        if let Body::All(due) = body {
            assert_eq!(&listed, due, "{content}");
        }
    }
}

#[tokio::test]
async fn the_server_takes_what_it_cannot_run_and_says_so_only_when_asked() {
    let server = PowerDns::start().await;
    for (name, content) in [
        ("open.db.example.", r#"A "all({'10.1.0.11'}""#),
        ("quoted.db.example.", r#"A "all({\"10.1.0.11\"})""#),
        ("unknown.db.example.", r#"A "pickanything({'10.1.0.11'})""#),
    ] {
        server.put(&[(name, "LUA", vec![content.into()])]).await;
        let code = server.code(name, RecordType::A).await;
        assert_eq!(code, ResponseCode::ServFail, "{content}");
    }

    // Not refused either: this version knows no `empty` and answers any of them all the same.
    let content = r#"A "ifportup(9,{'127.0.0.1'},{backupSelector='empty'})""#;
    server.put(&[("empty.db.example.", "LUA", vec![content.into()])]).await;
    let seen = server.ask("empty.db.example.", RecordType::A).await;
    assert_eq!(seen.answers.len(), 1, "{seen:?}");
}
