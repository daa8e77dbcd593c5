//! Aliases and services on real servers: written, served, moved with the lease, and repaired.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use crate::authority::bind::Bind;
use crate::authority::powerdns::{KEY, PowerDns as Server, ZONE};
use crate::authority::{KEYS, TIMEOUT};
use continuum_dns::NameError;
use continuum_dns::provider::RecordProvider;
use continuum_dns::provider::powerdns::{PowerDns, PowerDnsAt};
use continuum_dns::provider::publish::publish;
use continuum_dns::provider::rfc2136::{Rfc2136, TsigKey};
use continuum_dns::records::due::due;
use continuum_dns::records::plan::ForeignWrite;
use continuum_dns::records::routed::{Routed, Rule};
use continuum_dns::records::{Records, Served, Wanted};
use continuum_dns::verify::{Resolved, Verdict, resolved, shown, verify};
use continuum_domain::spec::{NameKind, NameRole, NameSpec, Service};
use continuum_domain::{Epoch, PairId, RegionId};
use continuum_runtime::BootClock;

const NAME: &str = "app.db.example";
const SRV: &str = "_postgresql._tcp.app.db.example";

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn each<T>(make: impl Fn(&str) -> T) -> BTreeMap<RegionId, T> {
    ["fsn", "hel", "ash"].map(|name| (region(name), make(name))).into()
}

fn bare(name: &str) -> NameSpec {
    let at = ("x", "db.example");
    NameSpec::at_provider(name, Duration::from_secs(5), at, BTreeMap::new())
}

fn alias() -> NameSpec {
    let targets = each(|region| format!("PG.{region}.db.example"));
    NameSpec { kind: NameKind::Cname, targets, ..bare(NAME) }
}

fn srv(role: NameRole) -> NameSpec {
    let services = each(|region| Service {
        priority: 10,
        weight: 5,
        port: NonZeroU16::new(5432).unwrap(),
        target: format!("pg.{region}.db.example."),
    });
    NameSpec { kind: NameKind::Srv, services, role, ..bare(SRV) }
}

fn wanted(name: &NameSpec, epoch: u64, holder: &str, readers: &[&str]) -> Wanted {
    let pair = PairId::new("app").unwrap();
    let readers = readers.iter().map(|name| region(name)).collect();
    let records = due(&pair, name, &region(holder), &readers).unwrap();
    let name = format!("{}.", name.name);
    Wanted { name, pair, epoch: Epoch(epoch), holder: region(holder), records }
}

fn updates(server: SocketAddr) -> Arc<dyn RecordProvider> {
    let key = TsigKey::new(KEYS[0].0, "hmac-sha256", KEYS[0].1).unwrap();
    let clock = Arc::new(BootClock);
    Arc::new(Rfc2136::new(server, "db.example", Some(key), clock, TIMEOUT).unwrap())
}

fn api(server: &Server) -> Arc<dyn RecordProvider> {
    let (api, dns, zone) = (server.api_url(), server.dns, ZONE.into());
    let at = PowerDnsAt { api, key: KEY.into(), dns, zone, deadline: TIMEOUT };
    Arc::new(PowerDns::new(at).unwrap())
}

/// What is written is what the server answers, by every way of asking.
async fn is_served(server: SocketAddr, wanted: &Wanted) {
    let lines = wanted.records.lines();
    let verdicts = verify(&[server], ZONE, wanted, TIMEOUT).await;
    assert_eq!(verdicts[&server], Verdict::Serves, "{lines:?}");
    assert_eq!(
        resolved(server, wanted, TIMEOUT).await,
        Resolved::Serves { validated: false },
        "{lines:?}"
    );
    let seen = shown(server, &wanted.name, TIMEOUT).await.unwrap();
    let due: BTreeSet<(String, u32)> = lines.into_iter().map(|line| (line, 5)).collect();
    assert_eq!(seen.records, due);
}

async fn follow(server: SocketAddr, provider: &dyn RecordProvider) {
    let mut before: Option<Wanted> = None;
    for (epoch, holder) in (1..).zip(["fsn", "hel", "fsn"]) {
        let wanted = wanted(&alias(), epoch, holder, &[]);
        assert!(publish(provider, &wanted).await.unwrap().changed);
        is_served(server, &wanted).await;
        if let Some(before) = before.replace(wanted) {
            let verdicts = verify(&[server], ZONE, &before, TIMEOUT).await;
            assert!(matches!(&verdicts[&server], Verdict::Wrong { .. }), "{verdicts:?}");
        }
    }
    let writer = srv(NameRole::Primary);
    let readers = NameSpec { name: format!("_read.{SRV}"), ..srv(NameRole::Standby) };
    for (epoch, holder) in (1..).zip(["fsn", "hel"]) {
        let wanted = wanted(&writer, epoch, holder, &["ash"]);
        assert!(publish(provider, &wanted).await.unwrap().changed);
        is_served(server, &wanted).await;
        assert_eq!(wanted.records.services.len(), 1);
    }
    for (epoch, listed) in (1..).zip([&["hel", "ash"][..], &["ash"], &[]]) {
        let wanted = wanted(&readers, epoch, "fsn", listed);
        assert!(publish(provider, &wanted).await.unwrap().changed);
        assert_eq!(wanted.records.services.len(), listed.len());
        is_served(server, &wanted).await;
    }
}

#[tokio::test]
async fn bind_serves_them_by_dynamic_update() {
    let bind = Bind::start().await;
    follow(bind.dns, &*updates(bind.dns)).await;
}

#[tokio::test]
async fn powerdns_serves_them_by_dynamic_update_and_by_its_api() {
    let server = Server::start().await;
    follow(server.dns, &*updates(server.dns)).await;
    let server = Server::start().await;
    follow(server.dns, &*api(&server)).await;
}

#[tokio::test]
async fn what_a_hand_made_of_them_is_found_and_repaired() {
    let server = Server::start().await;
    let (alias, service) =
        (wanted(&alias(), 3, "fsn", &[]), wanted(&srv(NameRole::Primary), 3, "fsn", &[]));
    let put = async |name: &str, kind: &str, content: &str| {
        let contents = if content.is_empty() { vec![] } else { vec![content.to_owned()] };
        server.put(&[(name, kind, contents)]).await;
    };
    for provider in [updates(server.dns), api(&server)] {
        for due in [&alias, &service] {
            publish(&*provider, due).await.unwrap();
            is_served(server.dns, due).await;
        }
        let repaired = async |due: &Wanted, what: &str| {
            let foreign = publish(&*provider, due).await.unwrap().foreign;
            assert!(matches!(foreign, Some(ForeignWrite::Records { .. })), "{what}: {foreign:?}");
            is_served(server.dns, due).await;
        };
        put(&alias.name, "CNAME", "elsewhere.example.").await;
        repaired(&alias, "another target").await;
        put(&alias.name, "CNAME", "").await;
        put(&alias.name, "A", "198.51.100.66").await;
        repaired(&alias, "an address in its place").await;
        put(&service.name, "SRV", "10 5 5432 elsewhere.example.").await;
        repaired(&service, "another host").await;
        put(&service.name, "SRV", "10 5 5433 pg.fsn.db.example.").await;
        repaired(&service, "another port").await;
        put(&service.name, "A", "198.51.100.66").await;
        repaired(&service, "an address beside it").await;
    }
}

/// Where a provider cannot choose by health checks, it says so and writes nothing.
#[tokio::test]
async fn routing_is_refused_where_nobody_checks() {
    let server = Server::start().await;
    let routed = Routed {
        id: "fsn".into(),
        rule: Rule::Primary,
        health_check: None,
        addresses: ["192.0.2.1".parse().unwrap()].into(),
    };
    let records = Records { ttl: 5, routed: [routed].into(), ..Records::default() };
    let wanted = Wanted { records, ..wanted(&alias(), 1, "fsn", &[]) };
    for provider in [updates(server.dns), api(&server)] {
        let refused = publish(&*provider, &wanted).await;
        assert!(matches!(refused, Err(NameError::Misconfigured(_))), "{refused:?}");
    }
    let seen = shown(server.dns, &wanted.name, TIMEOUT).await.unwrap();
    assert!(seen.records.is_empty() && seen.companion.is_empty(), "{seen:?}");
}

/// From the spec to what is printed, reported and compared.
#[test]
fn each_kind_has_its_lines() {
    let read = NameRole::Standby;
    for (name, holder, readers, lines) in [
        (alias(), "hel", &[][..], &["CNAME pg.hel.db.example."][..]),
        (srv(NameRole::Primary), "ash", &["fsn"], &["SRV 10 5 5432 pg.ash.db.example."]),
        (
            srv(read),
            "ash",
            &["hel", "fsn"],
            &["SRV 10 5 5432 pg.fsn.db.example.", "SRV 10 5 5432 pg.hel.db.example."],
        ),
        (srv(read), "ash", &[], &[]),
    ] {
        let records = wanted(&name, 1, holder, readers).records;
        assert_eq!(records.lines(), lines);
        assert_eq!(Records::read(records.ttl, &records.lines()), Some(records.clone()));
        let mut answered = Served::default();
        assert_eq!(records.is_served_by(&answered), lines.is_empty());
        (answered.alias, answered.services) = (records.alias.clone(), records.services.clone());
        assert!(records.is_served_by(&answered));
        answered.alias = Some("elsewhere.example.".into());
        assert!(!records.is_served_by(&answered));
    }
}
