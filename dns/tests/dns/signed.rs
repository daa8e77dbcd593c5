//! Signed zones: a change by dynamic update is signed and served, and a resolver that checks signatures
//! is told apart from one that fails.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::authority::bind::Bind;
use crate::authority::knot::Knot;
use crate::authority::powerdns::PowerDns;
use crate::authority::unbound::Unbound;
use crate::authority::{KEYS, TIMEOUT, ZONE_TEXT, free_address, program};
use crate::common::{Lab, WRITER, elect};
use crate::hidden_primary::{Primary, config};
use continuum_dns::lookup::{RecordType, ResponseCode, query_tcp};
use continuum_dns::provider::publish::publish;
use continuum_dns::provider::rfc2136::{Rfc2136, TsigKey};
use continuum_dns::records::{Records, Wanted};
use continuum_dns::verify::{Resolved, resolved};
use continuum_domain::{Epoch, PairId, RegionId};
use continuum_runtime::BootClock;
use continuum_witness::memory::MemoryStore;

const NAME: &str = "app.db.example.";
const VALIDATED: Resolved = Resolved::Serves { validated: true };
/// How long a server may take to sign; a bound for a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

fn wanted(epoch: u64, holder: &str, address: &str) -> Wanted {
    Wanted {
        name: NAME.into(),
        pair: PairId::new("app").unwrap(),
        epoch: Epoch(epoch),
        holder: RegionId::new(holder).unwrap(),
        records: Records::plain(5, [address.parse::<IpAddr>().unwrap()].into()),
    }
}

async fn write(server: SocketAddr, key: usize, wanted: &Wanted) {
    let key = TsigKey::new(KEYS[key].0, "hmac-sha256", KEYS[key].1).unwrap();
    let clock = Arc::new(BootClock);
    let provider = Rfc2136::new(server, "db.example", Some(key), clock, TIMEOUT).unwrap();
    publish(&provider, wanted).await.unwrap();
}

/// The key that a resolver should trust, as the zone itself has it.
async fn anchor(server: SocketAddr) -> String {
    let looking = async {
        loop {
            let answer = query_tcp(server, "db.example.", RecordType::DNSKEY, TIMEOUT).await;
            let keys = answer.map(|answer| answer.answers).unwrap_or_default();
            let mut keys = keys.iter().map(|record| record.data.to_string());
            // The key that signs keys has flags 257.
            if let Some(key) = keys.find(|text| text.starts_with("257 ")) {
                return format!("db.example. DNSKEY {key}");
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(LIMIT, looking).await.expect("the zone is not signed")
}

async fn until(resolver: &Unbound, due: &Wanted, verdict: &Resolved) {
    let mut seen = None;
    let looking = async {
        while seen.as_ref() != Some(verdict) {
            let now = resolved(resolver.dns, due, TIMEOUT).await;
            assert!(!matches!(now, Resolved::Bogus(_)), "{now:?}");
            seen = Some(now);
            tokio::time::sleep(LOOK).await;
        }
    };
    let ended = tokio::time::timeout(LIMIT, looking).await;
    assert!(ended.is_ok(), "{verdict:?} was due, {seen:?}\n{}", resolver.log());
}

/// Every change is signed and served, `at_once` or soon. There is no moment at which a resolver that checks
/// signatures holds the zone to be bogus.
async fn follows(server: SocketAddr, at_once: bool) -> Unbound {
    let resolver = Unbound::start(&[server], Some(&anchor(server).await)).await;
    for epoch in 1..20 {
        let (region, address) =
            if epoch % 2 == 0 { ("hel", "192.0.2.2") } else { ("fsn", "192.0.2.1") };
        let due = wanted(epoch, region, address);
        write(server, usize::try_from(epoch % 2).unwrap(), &due).await;
        if at_once {
            let seen = resolved(resolver.dns, &due, TIMEOUT).await;
            assert_eq!(seen, VALIDATED, "epoch {epoch}\n{}", resolver.log());
        } else {
            until(&resolver, &due, &VALIDATED).await;
        }
    }
    let mut nowhere = wanted(20, "hel", "192.0.2.2");
    nowhere.name = "none.db.example.".into();
    assert_eq!(resolved(resolver.dns, &nowhere, TIMEOUT).await, Resolved::NoSuchName);
    resolver
}

#[tokio::test]
async fn bind_signs_what_is_written() {
    let server = Bind::primary("dnssec-policy default;").await;
    follows(server.dns, true).await;
}

/// The zone that is written and the one that is signed are two then: the second follows the first.
#[tokio::test]
async fn bind_signs_inline_what_is_written() {
    let server = Bind::primary("dnssec-policy default; inline-signing yes;").await;
    follows(server.dns, false).await;
}

#[tokio::test]
async fn knot_signs_what_is_written() {
    let server = Knot::primary("    dnssec-signing: on\n").await;
    follows(server.dns, true).await;
}

#[tokio::test]
async fn powerdns_signs_what_is_written_and_lua_records() {
    let mut server = PowerDns::start().await;
    server.sign().await;
    let resolver = follows(server.dns, true).await;
    let body = r#"A "pickrandom({'192.0.2.7'})""#;
    server.put(&[("lua.db.example.", "LUA", vec![body.into()])]).await;
    let mut due = wanted(1, "fsn", "192.0.2.7");
    due.name = "lua.db.example.".into();
    until(&resolver, &due, &VALIDATED).await;
}

/// The embedded server signs nothing: a secondary of it does, and is followed by resolvers that check it.
#[tokio::test]
async fn a_secondary_of_the_embedded_server_signs_what_it_transfers() {
    let (lab, store) = (Lab::new(), Arc::new(MemoryStore::new()));
    elect(&*store, 1, Some("fsn")).await;
    let (dns, secondary) = (free_address(), free_address());
    let primary = Primary::start(&lab, config(&lab, dns, &[secondary]), store.clone()).await;
    let signing = "dnssec-policy default; inline-signing yes;";
    let server = Bind::secondary_with(secondary, &[dns], KEYS[0], signing);
    let resolver = Unbound::start(&[secondary], Some(&anchor(secondary).await)).await;
    for epoch in 2..8 {
        let (region, address) =
            if epoch % 2 == 0 { ("hel", "192.0.2.2") } else { ("fsn", "192.0.2.1") };
        elect(&*store, epoch, Some(region)).await;
        let mut due = wanted(epoch, region, address);
        due.name = WRITER.to_owned() + ".";
        until(&resolver, &due, &VALIDATED).await;
    }
    assert_eq!(primary.names.transfers().contradicted(), 0, "{}", server.log());
    primary.stop().await;
}

/// The zone with the name at `address`, signed by a new key; the signatures begin and end as `dnssec-signzone` reads
/// it. With the key.
fn sign(address: &str, from: &str, to: &str) -> (String, String) {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let due = wanted(1, "fsn", "192.0.2.1");
    let name = format!("app 5 IN A {address}\n_epoch.app 5 IN TXT \"{}\"\n", due.stamp());
    std::fs::write(home.join("zone"), format!("{ZONE_TEXT}{name}")).unwrap();
    let key = ["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", "db.example"];
    let key = run(home, "dnssec-keygen", &key);
    let signing =
        ["-q", "-P", "-z", "-s", from, "-e", to, "-o", "db.example", "-f", "signed", "zone"];
    let mut signing: Vec<&str> = signing.into();
    signing.push(&key);
    let public = std::fs::read_to_string(home.join(format!("{key}.key"))).unwrap();
    let public = public.lines().find(|line| line.contains(" DNSKEY ")).unwrap().to_owned();
    std::fs::write(home.join("zone"), format!("{ZONE_TEXT}{name}{public}\n")).unwrap();
    run(home, "dnssec-signzone", &signing);
    (std::fs::read_to_string(home.join("signed")).unwrap(), public)
}

fn run(home: &Path, name: &str, arguments: &[&str]) -> String {
    let done = Command::new(program(name)).args(arguments).current_dir(home).output().unwrap();
    assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn bogus_is_told_from_failing_and_from_no_such_name() {
    let due = wanted(1, "fsn", "192.0.2.1");
    let (right, key) = sign("192.0.2.1", "now-3600", "now+86400");
    let server = Bind::fixed(&right).await;
    let resolver = Unbound::start(&[server.dns], Some(&key)).await;
    assert_eq!(resolved(resolver.dns, &due, TIMEOUT).await, VALIDATED, "{}", resolver.log());
    let unchecking = Unbound::start(&[server.dns], None).await;
    let unchecked = Resolved::Serves { validated: false };
    assert_eq!(resolved(unchecking.dns, &due, TIMEOUT).await, unchecked);

    let bogus = async |text: &str, key: &str, what: &str, says: &str| {
        let server = Bind::fixed(text).await;
        let resolver = Unbound::start(&[server.dns], Some(key)).await;
        let seen = resolved(resolver.dns, &due, TIMEOUT).await;
        assert!(matches!(seen, Resolved::Bogus(_)), "{what}: {seen:?}\n{}", resolver.log());
        assert!(seen.to_string().contains(says), "{what}: {seen}");
        assert_eq!(seen.serves(), Some(false));
        let unchecking = Unbound::start(&[server.dns], None).await;
        let seen = resolved(unchecking.dns, &due, TIMEOUT).await;
        assert_eq!(seen, unchecked, "{what}: whoever checks nothing sees nothing of it");
    };
    let (over, its_key) = sign("192.0.2.1", "now-1728000", "now-864000");
    bogus(&over, &its_key, "signatures that are over", "bogus").await;
    let (forged, its_key) = sign("192.0.2.9", "now-3600", "now+86400");
    bogus(&forged.replace("192.0.2.9", "192.0.2.1"), &its_key, "a forged address", "bogus").await;
    let (_, another) = sign("192.0.2.1", "now-3600", "now+86400");
    bogus(&right, &another, "a key that was rolled and its DS not", "bogus").await;

    // Its authority is lame: a resolver refuses what is asked of an authority.
    let failing = Unbound::start(&[unchecking.dns], Some(&key)).await;
    let failed = resolved(failing.dns, &due, TIMEOUT).await;
    assert_eq!(failed, Resolved::Failed(ResponseCode::ServFail), "{}", failing.log());
}
