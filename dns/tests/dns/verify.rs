//! Verification from outside, of real servers that are right, late, wrong, lame and gone.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::authority::bind::Bind;
use crate::authority::powerdns::PowerDns;
use crate::authority::{KEYS, TIMEOUT};
use continuum_dns::lookup::ResponseCode;
use continuum_dns::provider::publish::publish;
use continuum_dns::provider::rfc2136::{Rfc2136, TsigKey};
use continuum_dns::records::{Records, Served, Wanted};
use continuum_dns::verify::{Verdict, verify};
use continuum_domain::{Epoch, PairId, RegionId};
use continuum_runtime::BootClock;

const NAME: &str = "app.db.example.";

fn wanted(epoch: u64, address: &str) -> Wanted {
    Wanted {
        name: NAME.into(),
        pair: PairId::new("app").unwrap(),
        epoch: Epoch(epoch),
        holder: RegionId::new("fsn").unwrap(),
        records: Records::plain(5, [address.parse::<IpAddr>().unwrap()].into()),
    }
}

async fn write(server: SocketAddr, wanted: &Wanted) {
    let key = TsigKey::new(KEYS[0].0, "hmac-sha256", KEYS[0].1).unwrap();
    let clock = Arc::new(BootClock);
    let provider = Rfc2136::new(server, "db.example", Some(key), clock, TIMEOUT).unwrap();
    publish(&provider, wanted).await.unwrap();
}

async fn verdict(server: SocketAddr, zone: &str, due: &Wanted) -> Verdict {
    verify(&[server], zone, due, Duration::from_secs(2)).await.remove(&server).unwrap()
}

#[tokio::test]
async fn what_is_wrong_with_each_server_is_told_apart() {
    // BIND counts its serial up from 1, PowerDNS writes the date: the first is the older one.
    let (mut powerdns, bind) = (PowerDns::start().await, Bind::start().await);
    let (old, due) = (wanted(1, "192.0.2.1"), wanted(2, "192.0.2.2"));
    assert_eq!(verdict(powerdns.dns, "db.example.", &due).await, Verdict::NoSuchName);
    for server in [powerdns.dns, bind.dns] {
        write(server, &old).await;
    }
    write(powerdns.dns, &due).await;
    let both = verify(&[powerdns.dns, bind.dns], "db.example.", &due, TIMEOUT).await;
    assert_eq!(both[&powerdns.dns], Verdict::Serves);
    let late = &both[&bind.dns];
    assert!(matches!(late, Verdict::Stale { epoch: Some(1), .. }), "{late:?}");
    // Alone it cannot be known to be late.
    let alone = verdict(bind.dns, "db.example.", &due).await;
    assert!(matches!(alone, Verdict::Wrong { .. }), "{alone:?}");
    write(bind.dns, &due).await;
    assert_eq!(verdict(bind.dns, "db.example.", &due).await, Verdict::Serves);

    powerdns.put(&[(NAME, "A", vec!["198.51.100.66".into()])]).await;
    let edited = verdict(powerdns.dns, "db.example.", &due).await;
    let addresses: BTreeSet<IpAddr> = ["198.51.100.66".parse().unwrap()].into();
    let served = Served { addresses, ..Served::default() };
    assert_eq!(edited, Verdict::Wrong { served, companion: Some(due.stamp().to_string()) });
    powerdns.put(&[(NAME, "A", vec![]), (NAME, "TXT", vec!["\"only\"".into()])]).await;
    assert_eq!(verdict(powerdns.dns, "db.example.", &due).await, Verdict::NoData);
    powerdns.put(&[(NAME, "LUA", vec![r#"A "all(""#.into()])]).await;
    assert_eq!(verdict(powerdns.dns, "db.example.", &due).await, Verdict::ServerFailure);

    let mut elsewhere = due.clone();
    elsewhere.name = "app.other.example.".into();
    for server in [powerdns.dns, bind.dns] {
        let lame = verdict(server, "other.example.", &elsewhere).await;
        assert_eq!(lame, Verdict::Lame(ResponseCode::Refused));
    }
    powerdns.stop();
    let gone = verdict(powerdns.dns, "db.example.", &due).await;
    assert!(matches!(gone, Verdict::Unanswered(_)), "{gone:?}");
}
