//! Dynamic update against a real PowerDNS, a real BIND and a real Knot.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::authority::bind::Bind;
use crate::authority::knot::Knot;
use crate::authority::powerdns::PowerDns;
use crate::authority::{KEYS, TIMEOUT};
use async_trait::async_trait;
use continuum_dns::contract::World;
use continuum_dns::lookup::{RecordType, query_a, query_tcp, text};
use continuum_dns::provider::contract::{Subject, all};
use continuum_dns::provider::memory::MemoryRecords;
use continuum_dns::provider::publish::{FollowedName, RecordNames, publish};
use continuum_dns::provider::rfc2136::{Rfc2136, TsigKey};
use continuum_dns::provider::{ProviderError, RecordProvider};
use continuum_dns::records::plan::Change;
use continuum_dns::records::{Companion, Records, Seen, Stamp, Wanted};
use continuum_dns::{NameChange, NameError, NameService};
use continuum_domain::{Epoch, PairId, RegionId};
use continuum_runtime::BootClock;

const NAME: &str = "app.db.example.";

fn key(region: &str) -> TsigKey {
    let (name, secret) = KEYS.into_iter().find(|(name, _)| *name == region).unwrap();
    TsigKey::new(name, "hmac-sha256", secret).unwrap()
}

fn provider(server: SocketAddr, key: Option<TsigKey>) -> Rfc2136 {
    Rfc2136::new(server, "db.example", key, Arc::new(BootClock), TIMEOUT).unwrap()
}

fn pair() -> PairId {
    PairId::new("app").unwrap()
}

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn subject(server: SocketAddr, name: &str) -> Subject {
    let clients = ["fsn", "hel"]
        .map(|region| -> Arc<dyn RecordProvider> { Arc::new(provider(server, Some(key(region)))) });
    Subject { clients: clients.into(), name: name.into(), pair: pair() }
}

fn names(server: SocketAddr, holder: &str) -> RecordNames {
    let addresses: BTreeMap<RegionId, BTreeSet<IpAddr>> =
        [("fsn", "192.0.2.1"), ("hel", "192.0.2.2")]
            .map(|(name, address)| (region(name), [address.parse().unwrap()].into()))
            .into();
    let followed = [("app.db.example".into(), FollowedName::plain(pair(), 5, &addresses))];
    RecordNames::new(Arc::new(provider(server, Some(key(holder)))), followed.into())
}

fn change(epoch: u64, holder: &str) -> NameChange {
    NameChange {
        pair: pair(),
        name: NAME.into(),
        epoch: Epoch(epoch),
        holder: region(holder),
        ttl: Duration::from_secs(30),
    }
}

/// The name service of a server, for the contract of name services.
struct Served(SocketAddr);

#[async_trait]
impl World for Served {
    fn pair(&self) -> PairId {
        pair()
    }
    fn name(&self) -> String {
        NAME.into()
    }
    fn regions(&self) -> [RegionId; 2] {
        [region("fsn"), region("hel")]
    }
    fn service(&self, region: &RegionId) -> Arc<dyn NameService> {
        Arc::new(names(self.0, region.as_str()))
    }
    async fn elect(&self, _epoch: Epoch, _holder: &RegionId) {}
    async fn resolve(&self) -> Option<RegionId> {
        match query_a(self.0, NAME, TIMEOUT).await.unwrap().addresses.as_slice() {
            [] => None,
            [one] => Some(region(if one.to_string() == "192.0.2.1" { "fsn" } else { "hel" })),
            more => panic!("{more:?}"),
        }
    }
}

#[tokio::test]
async fn powerdns_keeps_the_contracts() {
    let server = PowerDns::start().await;
    all(&subject(server.dns, "one.db.example.")).await.unwrap();
    continuum_dns::contract::all(&Served(server.dns)).await.unwrap();
}

#[tokio::test]
async fn bind_keeps_the_contracts() {
    let server = Bind::start().await;
    all(&subject(server.dns, "one.db.example.")).await.unwrap();
    continuum_dns::contract::all(&Served(server.dns)).await.unwrap();
}

#[tokio::test]
async fn knot_keeps_the_contracts() {
    let server = Knot::start().await;
    all(&subject(server.dns, "one.db.example.")).await.unwrap();
    continuum_dns::contract::all(&Served(server.dns)).await.unwrap();
}

/// Memory without its condition: what a provider that is no fence but claims it looks like.
#[derive(Debug)]
struct Unfenced(Arc<MemoryRecords>);

#[async_trait]
impl RecordProvider for Unfenced {
    async fn read(&self, name: &str) -> Result<Seen, ProviderError> {
        self.0.read(name).await
    }
    async fn change(&self, change: &Change) -> Result<(), ProviderError> {
        let companion = Companion::of(&change.stamp);
        self.0.put(&change.name, Seen { companion, records: change.records.clone() });
        Ok(())
    }
    fn is_fence(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn memory_keeps_the_contract_and_a_missing_condition_is_caught() {
    let memory = Arc::new(MemoryRecords::default());
    let subject = |client: Arc<dyn RecordProvider>| Subject {
        clients: vec![client],
        name: NAME.into(),
        pair: pair(),
    };
    all(&subject(memory)).await.unwrap();
    let unfenced = Unfenced(Arc::new(MemoryRecords::default()));
    assert!(all(&subject(Arc::new(unfenced))).await.is_err(), "a provider without a fence passed");
}

#[tokio::test]
async fn what_a_hand_wrote_is_found_counted_and_repaired() {
    let server = PowerDns::start().await;
    server.put(&[(NAME, "CNAME", vec!["elsewhere.example.".into()])]).await;
    let names = names(server.dns, "fsn");
    let undone = AtomicU64::new(0);
    let at_fsn = async |what: &str, foreign: u64| {
        let outcome = names.publish_told(&change(3, "fsn")).await.unwrap();
        undone.fetch_add(outcome.foreign.is_some().into(), Ordering::Relaxed);
        assert_eq!(undone.load(Ordering::Relaxed), foreign, "{what}");
        let seen = query_a(server.dns, NAME, TIMEOUT).await.unwrap();
        assert_eq!(seen.addresses, ["192.0.2.1".parse::<IpAddr>().unwrap()], "{what}");
        assert_eq!(seen.ttl, Some(Duration::from_secs(5)), "{what}");
    };
    at_fsn("a name from before", 1).await;
    at_fsn("the same again", 1).await;
    server.put(&[(NAME, "A", vec!["198.51.100.66".into()])]).await;
    at_fsn("another address", 2).await;
    server.put(&[(NAME, "AAAA", vec!["2001:db8::66".into()])]).await;
    at_fsn("an address more", 3).await;
    // What a text holds makes no difference, as long as the server itself knows it again.
    let odd = [r#""v=spf1" "two""#, r#""a\"b""#, r#""a\\b""#, r#""\195\169""#];
    for (text, foreign) in odd.into_iter().zip(4..) {
        server.put(&[("_epoch.app.db.example.", "TXT", vec![text.into()])]).await;
        at_fsn(text, foreign).await;
    }
    server.put(&[("_epoch.app.db.example.", "TXT", vec![r#""é""#.into()])]).await;
    let stuck = names.publish(&change(3, "fsn")).await;
    assert!(matches!(stuck, Err(NameError::Misconfigured(_))), "{stuck:?}");
    server.put(&[("_epoch.app.db.example.", "TXT", vec![])]).await;
    at_fsn("no companion", 8).await;

    // A hand that writes a higher epoch keeps every lower one out: that is the fence.
    let stamp = Stamp { pair: pair(), epoch: Epoch(9), holder: None, sum: None };
    server.put(&[("_epoch.app.db.example.", "TXT", vec![format!("\"{stamp}\"")])]).await;
    let refused = names.publish(&change(3, "fsn")).await;
    assert_eq!(refused, Err(NameError::Refused { newest: Epoch(9) }));
    names.publish(&change(10, "fsn")).await.unwrap();
    let other = Stamp { pair: PairId::new("other").unwrap(), ..stamp };
    server.put(&[("_epoch.app.db.example.", "TXT", vec![format!("\"{other}\"")])]).await;
    let refused = names.publish(&change(11, "fsn")).await;
    assert!(matches!(refused, Err(NameError::Misconfigured(_))), "{refused:?}");
}

async fn survives(dns: SocketAddr) {
    let seen = query_tcp(dns, "_epoch.app.db.example.", RecordType::TXT, TIMEOUT).await.unwrap();
    assert!(text(&seen).unwrap().starts_with("pair=app epoch=7 holder=hel sum="), "{seen:?}");
    let late = names(dns, "fsn").publish(&change(6, "fsn")).await;
    assert_eq!(late, Err(NameError::Refused { newest: Epoch(7) }));
}

#[tokio::test]
async fn a_killed_server_is_unreachable_and_comes_back_with_its_fence() {
    let (mut powerdns, mut bind) = (PowerDns::start().await, Bind::start().await);
    let mut knot = Knot::start().await;
    for dns in [powerdns.dns, bind.dns, knot.dns] {
        names(dns, "hel").publish(&change(7, "hel")).await.unwrap();
    }
    powerdns.stop();
    bind.stop();
    knot.stop();
    for dns in [powerdns.dns, bind.dns, knot.dns] {
        let down = provider(dns, None).read(NAME).await;
        assert!(matches!(down, Err(ProviderError::Unreachable(_))), "{down:?}");
        let down = names(dns, "hel").publish(&change(8, "hel")).await;
        assert!(matches!(down, Err(NameError::Unanswered(_))), "{down:?}");
    }
    powerdns.restart().await;
    survives(powerdns.dns).await;
    bind.restart().await;
    survives(bind.dns).await;
    knot.restart().await;
    survives(knot.dns).await;
}

/// Publishes until there is an answer, as agents do: a writer that got none does not know what came of it.
/// How often that was.
async fn insist(client: Rfc2136, wanted: Wanted) -> (Result<(), NameError>, u32) {
    let mut lost = 0;
    loop {
        match publish(&client, &wanted).await {
            Err(NameError::Unanswered(_)) => lost += 1,
            told => return (told.map(drop), lost),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Twenty writers of two regions race for each epoch, and the server is killed and started again in the
/// middle of each race, after another number of answers each time. In the end one has won, what stands is
/// its, and nothing has gone back.
#[tokio::test]
async fn of_twenty_writers_one_wins_each_epoch_also_when_the_server_is_killed() {
    const WRITERS: usize = 20;
    const ROUNDS: usize = 10;
    let mut server = PowerDns::start().await;
    let dns = server.dns;
    let holder = |writer: usize| region(&format!("w{writer}"));
    let address = |writer: usize| -> IpAddr { format!("192.0.2.{}", writer + 1).parse().unwrap() };
    let mut unanswered = 0;
    for round in 0..ROUNDS {
        let epoch = Epoch(u64::try_from(round).unwrap() + 1);
        let mut racing = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let client = provider(dns, Some(key(KEYS[writer % 2].0)));
            // A holder of its own for each: at the most one of them is right.
            let (holder, records) = (holder(writer), Records::plain(5, [address(writer)].into()));
            let wanted = Wanted { name: NAME.into(), pair: pair(), epoch, holder, records };
            racing.spawn(async move { (writer, insist(client, wanted).await) });
        }
        let mut told = Vec::new();
        for _ in 0..2 * round {
            told.push(racing.join_next().await.unwrap().unwrap());
        }
        server.restart().await;
        told.extend(racing.join_all().await);
        let mut won = Vec::new();
        for (writer, (told, lost)) in told {
            unanswered += lost;
            match told {
                Ok(()) => won.push(writer),
                // The same epoch stands there for another.
                Err(NameError::Contradicted(_)) => {}
                Err(other) => panic!("{epoch}, writer {writer}: {other}"),
            }
        }
        let [winner] = won[..] else { panic!("{epoch}: {won:?} won") };
        let seen = provider(dns, None).read(NAME).await.unwrap();
        let stands = seen.companion.stamp().unwrap();
        assert_eq!((stands.epoch, stands.holder), (epoch, Some(holder(winner))));
        assert_eq!(seen.records.addresses, [address(winner)].into());
    }
    assert!(unanswered > 0, "the server was never away while it was asked");
    println!("{ROUNDS} epochs, {WRITERS} writers each: {unanswered} tries without an answer");
}

async fn kinds(dns: SocketAddr) {
    let write = async |key: Option<TsigKey>, zone: &str, name: &str| {
        let stamp = Stamp { pair: pair(), epoch: Epoch(1), holder: None, sum: None };
        let change = Change {
            name: name.into(),
            expected: Companion::default(),
            stamp,
            records: Records::plain(5, ["192.0.2.1".parse().unwrap()].into()),
        };
        let provider = Rfc2136::new(dns, zone, key, Arc::new(BootClock), TIMEOUT).unwrap();
        provider.change(&change).await
    };
    let wrong_secret = TsigKey::new("fsn", "hmac-sha256", "AAAAAAAAAAAAAAAAAAAAAA==").unwrap();
    let unknown = TsigKey::new("nobody", "hmac-sha256", KEYS[0].1).unwrap();
    for key in [None, Some(wrong_secret), Some(unknown)] {
        let what = format!("{key:?}");
        let answer = write(key, "db.example", NAME).await;
        assert!(matches!(answer, Err(ProviderError::Unauthorised(_))), "{what}: {answer:?}");
    }
    let outside = write(Some(key("fsn")), "db.example", "app.other.example.").await;
    assert!(matches!(outside, Err(ProviderError::Misconfigured(_))), "{outside:?}");
    let unserved = provider(dns, None);
    let elsewhere = Rfc2136::new(dns, "other.example", None, Arc::new(BootClock), TIMEOUT).unwrap();
    let unserved = (unserved.read(NAME).await, elsewhere.read("app.other.example.").await);
    assert_eq!(unserved.0, Ok(Seen::default()));
    assert!(matches!(unserved.1, Err(ProviderError::Unauthorised(_))), "{unserved:?}");
    write(Some(key("fsn")), "db.example", NAME).await.unwrap();
    let twice = write(Some(key("fsn")), "db.example", NAME).await;
    assert!(matches!(twice, Err(ProviderError::Conflict(_))), "{twice:?}");
}

#[tokio::test]
async fn kinds_of_failure_are_told_apart() {
    let (powerdns, bind) = (PowerDns::start().await, Bind::start().await);
    let knot = Knot::start().await;
    kinds(powerdns.dns).await;
    kinds(bind.dns).await;
    kinds(knot.dns).await;
    powerdns.put(&[(NAME, "A", vec![]), (NAME, "LUA", vec![r#"A "all(""#.into()])]).await;
    let failed = provider(powerdns.dns, None).read(NAME).await;
    assert!(matches!(failed, Err(ProviderError::Failed(_))), "{failed:?}");

    // Takes connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let short = Duration::from_millis(50);
    let silent = Rfc2136::new(address, "db.example", None, Arc::new(BootClock), short).unwrap();
    let unanswered = silent.read(NAME).await;
    assert!(matches!(unanswered, Err(ProviderError::Unanswered(_))), "{unanswered:?}");
}

/// Says yes to whatever it is asked, with the id it was asked with, and signs nothing.
async fn yes_man() -> (SocketAddr, tokio::task::JoinHandle<()>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = continuum_runtime::seed::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let length = stream.read_u16().await.unwrap();
            let mut request = vec![0; usize::from(length)];
            stream.read_exact(&mut request).await.unwrap();
            // The header alone: id, response with the same opcode, authoritative, no error.
            let mut answer = vec![0, 12, request[0], request[1], request[2] | 0x84];
            answer.resize(14, 0);
            stream.write_all(&answer).await.unwrap();
        }
    });
    (address, serving)
}

#[tokio::test]
async fn a_yes_that_is_not_signed_is_no_yes() {
    let (address, serving) = yes_man().await;
    let stamp = Stamp { pair: pair(), epoch: Epoch(1), holder: None, sum: None };
    let records = Records::plain(5, ["192.0.2.1".parse().unwrap()].into());
    let change = Change { name: NAME.into(), expected: Companion::default(), stamp, records };
    let unsigned = provider(address, Some(key("fsn"))).change(&change).await;
    assert!(matches!(unsigned, Err(ProviderError::Unanswered(_))), "{unsigned:?}");
    assert_eq!(provider(address, None).change(&change).await, Ok(()), "it does say yes");
    serving.abort();
}
