//! The HTTP API of a real PowerDNS.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::authority::TIMEOUT;
use crate::authority::gate::Gate;
use crate::authority::powerdns::{KEY, PowerDns as Server, ZONE};
use continuum_dns::NameError;
use continuum_dns::lookup::{RecordType, ResponseCode, query_a};
use continuum_dns::lua::Features;
use continuum_dns::lua::policy::{flip, follow};
use continuum_dns::provider::contract::{Subject, all};
use continuum_dns::provider::powerdns::{PowerDns, PowerDnsAt};
use continuum_dns::provider::publish::publish;
use continuum_dns::provider::{ProviderError, RecordProvider};
use continuum_dns::records::plan::Change;
use continuum_dns::records::{Companion, Records, Seen, Wanted};
use continuum_domain::{Epoch, PairId, RegionId};

const NAME: &str = "app.db.example.";

fn at(server: &Server) -> PowerDnsAt {
    PowerDnsAt {
        api: server.api_url(),
        key: KEY.into(),
        dns: server.dns,
        zone: ZONE.into(),
        deadline: TIMEOUT,
    }
}

fn pair() -> PairId {
    PairId::new("app").unwrap()
}

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
    addresses.iter().map(|text| text.parse().unwrap()).collect()
}

fn wanted(epoch: u64, holder: &str, records: Records) -> Wanted {
    Wanted { name: NAME.into(), pair: pair(), epoch: Epoch(epoch), holder: region(holder), records }
}

#[tokio::test]
async fn the_api_keeps_the_contract_of_what_is_no_fence() {
    let server = Server::start().await;
    let client = Arc::new(PowerDns::new(at(&server)).unwrap());
    assert!(!client.is_fence());
    let name = "one.db.example.".into();
    all(&Subject { clients: vec![client], name, pair: pair() }).await.unwrap();
}

#[tokio::test]
async fn writers_of_one_process_do_not_overtake_each_other() {
    let server = Server::start().await;
    let client = Arc::new(PowerDns::new(at(&server)).unwrap());
    let mut racing = tokio::task::JoinSet::new();
    for last in 0..10 {
        let wanted = wanted(1, &format!("r{last}"), Records::plain(5, set(&["192.0.2.1"])));
        let client = client.clone();
        racing.spawn(async move { publish(&*client, &wanted).await });
    }
    let answers = racing.join_all().await;
    let winners = answers.iter().filter(|answer| answer.is_ok()).count();
    let told = answers.iter().filter(|answer| matches!(answer, Err(NameError::Contradicted(_))));
    assert_eq!((winners, told.count()), (1, 9), "{answers:?}");
}

async fn until_at(server: &Server, address: &str) {
    let due = set(&[address]);
    let asking = async {
        loop {
            let seen = query_a(server.dns, NAME, TIMEOUT).await.unwrap();
            if seen.addresses.iter().copied().collect::<BTreeSet<_>>() == due {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let seen = tokio::time::timeout(std::time::Duration::from_secs(30), asking).await;
    seen.unwrap_or_else(|_| panic!("never at {address}: {}", server.log()));
}

#[tokio::test]
async fn follow_moves_with_the_lease_and_without_a_write() {
    let server = Server::start().await;
    let client = PowerDns::new(at(&server)).unwrap();
    let fsn = Gate::start("127.0.0.1:0", true).await;
    let hel = Gate::start(&format!("127.0.0.2:{}", fsn.address.port()), false).await;
    let members: BTreeMap<RegionId, BTreeSet<IpAddr>> =
        [("fsn", set(&["127.0.0.1"])), ("hel", set(&["127.0.0.2"]))]
            .map(|(name, addresses)| (region(name), addresses))
            .into();
    let url = format!("http://app.db.example:{}/pairs/app/primary", fsn.address.port());
    let records = Records::lua(1, &follow(&members, &url, Features::default()).unwrap());
    let wanted = wanted(1, "fsn", records);
    assert!(publish(&client, &wanted).await.unwrap().changed);
    until_at(&server, "127.0.0.1").await;
    let before = client.read(NAME).await.unwrap();
    fsn.open.send(false).unwrap();
    hel.open.send(true).unwrap();
    until_at(&server, "127.0.0.2").await;
    assert_eq!(client.read(NAME).await.unwrap(), before);
    assert!(!publish(&client, &wanted).await.unwrap().changed);
}

#[tokio::test]
async fn flip_answers_the_holder_whatever_a_probe_says() {
    let server = Server::start().await;
    let client = PowerDns::new(at(&server)).unwrap();
    // Nobody listens there.
    let url = "http://app.db.example:9/pairs/app/primary";
    for (epoch, holder, address) in [(1, "fsn", "127.0.0.1"), (2, "hel", "127.0.0.2")] {
        let lua = flip(&set(&[address]), Some(url), Features::default()).unwrap();
        let outcome =
            publish(&client, &wanted(epoch, holder, Records::lua(5, &lua))).await.unwrap();
        assert_eq!((outcome.changed, outcome.foreign), (true, None));
        for _ in 0..20 {
            let seen = query_a(server.dns, NAME, TIMEOUT).await.unwrap();
            assert_eq!(seen.addresses, [address.parse::<IpAddr>().unwrap()]);
        }
    }
    // Plain addresses where LUA records stood, and what a hand put beside them.
    server.put(&[(NAME, "A", vec!["198.51.100.66".into()])]).await;
    let plain = wanted(3, "fsn", Records::plain(5, set(&["192.0.2.1"])));
    let outcome = publish(&client, &plain).await.unwrap();
    assert!(outcome.foreign.is_some());
    let seen = query_a(server.dns, NAME, TIMEOUT).await.unwrap();
    assert_eq!(seen.addresses, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(client.read(NAME).await.unwrap().records, plain.records);
}

#[tokio::test]
async fn a_record_that_cannot_run_is_found_by_reading_it_back() {
    let server = Server::start().await;
    let client = PowerDns::new(at(&server)).unwrap();
    let records =
        Records { ttl: 5, lua: [r#"A "all({'10.1.0.11'}""#.into()].into(), ..Records::default() };
    let broken = wanted(1, "fsn", records);
    let change = Change {
        name: NAME.into(),
        expected: Companion::default(),
        stamp: broken.stamp(),
        records: broken.records.clone(),
    };
    let answer = client.change(&change).await;
    assert!(matches!(answer, Err(ProviderError::NotServed(_))), "{answer:?}");
    // The API itself is content.
    let due = Seen { companion: Companion::of(&broken.stamp()), records: broken.records };
    assert_eq!(client.read(NAME).await.unwrap(), due);
    let seen = server.code(NAME, RecordType::A).await;
    assert_eq!(seen, ResponseCode::ServFail);
}

#[tokio::test]
async fn kinds_of_failure_are_told_apart() {
    let mut server = Server::start().await;
    let good = PowerDns::new(at(&server)).unwrap();
    assert_eq!(good.advice().await.unwrap(), Vec::<String>::new());
    let keyless = PowerDns::new(PowerDnsAt { key: "wrong".into(), ..at(&server) }).unwrap();
    let answer = keyless.read(NAME).await;
    assert!(matches!(answer, Err(ProviderError::Unauthorised(_))), "{answer:?}");
    assert!(!answer.unwrap_err().to_string().contains("wrong"));
    let zoneless = PowerDns::new(PowerDnsAt { zone: "new.example".into(), ..at(&server) }).unwrap();
    let answer = zoneless.read("app.new.example.").await;
    assert!(matches!(answer, Err(ProviderError::Misconfigured(_))), "{answer:?}");
    for _ in 0..2 {
        zoneless.ensure_zone(&["ns1.db.example.".into()]).await.unwrap();
    }
    assert_eq!(zoneless.read("app.new.example.").await, Ok(Seen::default()));
    let outside = zoneless.read(NAME).await;
    assert!(matches!(outside, Err(ProviderError::Misconfigured(_))), "{outside:?}");
    server.stop();
    let down = good.read(NAME).await;
    assert!(matches!(down, Err(ProviderError::Unreachable(_))), "{down:?}");
    server.restart().await;
    let plain = wanted(1, "fsn", Records::plain(5, set(&["192.0.2.1"])));
    assert!(publish(&good, &plain).await.unwrap().changed);
}
