use continuum_domain::{Epoch, PairRecord};
use proptest::prelude::*;

use super::*;

fn config() -> DnsConfig {
    toml::from_str(
        r#"
        name = "ns1"
        listen_dns = "127.0.0.1:5300"
        listen_rpc = "127.0.0.1:7301"
        zone = "db.example"
        [[names]]
        name = "writer.app.db.example"
        pair = "app"
        ttl = "2s"
        addresses = { fsn = ["192.0.2.1", "2001:db8::1"], hel = ["192.0.2.2"] }
        "#,
    )
    .unwrap()
}

fn zone(epoch: u64, holder: Option<&str>) -> Zone {
    let mut zone = Zone::new(&config(), vec!["192.0.2.53".parse().unwrap()]).unwrap();
    let record = PairRecord {
        epoch: Epoch(epoch),
        holder: holder.map(|name| RegionId::new(name).unwrap()),
        in_sync: Default::default(),
        handover_to: None,
        paused: false,
        waits_for_all: false,
    };
    let pair = PairId::new("app").unwrap();
    zone.evidence_mut(&pair).unwrap().observe(Some(&record), Tick(0));
    zone
}

fn ask(zone: &Zone, name: &str, record_type: RecordType, now: Tick) -> Answer {
    zone.answer(&Question { name: Name::from_ascii(name).unwrap(), record_type }, now)
}

fn addresses(answer: &Answer) -> Vec<String> {
    answer.answers.iter().map(|record| record.data.to_string()).collect()
}

const WRITER: &str = "writer.app.db.example.";

#[test]
fn the_name_points_at_the_holder() {
    let answer = ask(&zone(3, Some("fsn")), WRITER, RecordType::A, Tick(0));
    assert!(answer.authoritative);
    assert_eq!(
        (answer.code, addresses(&answer)),
        (ResponseCode::NoError, vec!["192.0.2.1".into()])
    );
    assert_eq!(answer.answers[0].ttl, 2);
    let answer = ask(&zone(3, Some("fsn")), WRITER, RecordType::AAAA, Tick(0));
    assert_eq!(addresses(&answer), ["2001:db8::1"]);
    let answer = ask(&zone(4, Some("hel")), "WRITER.app.DB.example.", RecordType::A, Tick(0));
    assert_eq!(addresses(&answer), ["192.0.2.2"]);
    assert_eq!(answer.answers[0].name.to_string(), "WRITER.app.DB.example.");
}

#[test]
fn the_epoch_is_told_as_text() {
    let answer = ask(&zone(3, Some("fsn")), &format!("_epoch.{WRITER}"), RecordType::TXT, Tick(0));
    assert_eq!(addresses(&answer), ["pair=app epoch=3 holder=fsn"]);
    let answer = ask(&zone(4, None), &format!("_epoch.{WRITER}"), RecordType::TXT, Tick(0));
    assert_eq!(addresses(&answer), ["pair=app epoch=4 holder=-"]);
}

#[test]
fn what_does_not_exist_is_said_with_the_soa() {
    let fsn = zone(3, Some("fsn"));
    for (name, record_type, code) in [
        ("nothing.db.example.", RecordType::A, ResponseCode::NXDomain),
        ("x.writer.app.db.example.", RecordType::A, ResponseCode::NXDomain),
        ("app.db.example.", RecordType::A, ResponseCode::NoError),
        (WRITER, RecordType::MX, ResponseCode::NoError),
        ("db.example.", RecordType::A, ResponseCode::NoError),
        ("_epoch.writer.app.db.example.", RecordType::A, ResponseCode::NoError),
    ] {
        let answer = ask(&fsn, name, record_type, Tick(0));
        assert_eq!(answer.code, code, "{name} {record_type}");
        assert!(answer.answers.is_empty() && answer.authoritative, "{name} {record_type}");
        let soa = answer.soa.unwrap();
        assert_eq!((soa.record_type(), soa.ttl), (RecordType::SOA, 2));
    }
    let vacant = ask(&zone(4, None), WRITER, RecordType::A, Tick(0));
    assert_eq!((vacant.code, vacant.answers.len()), (ResponseCode::NoError, 0));
    let hel_has_no_v6 = ask(&zone(4, Some("hel")), WRITER, RecordType::AAAA, Tick(0));
    assert_eq!((hel_has_no_v6.code, hel_has_no_v6.answers.len()), (ResponseCode::NoError, 0));
}

#[test]
fn the_zone_has_its_own_records() {
    let zone = zone(3, Some("fsn"));
    let soa = ask(&zone, "db.example.", RecordType::SOA, Tick(0));
    let RData::SOA(soa) = &soa.answers[0].data else { panic!("no SOA") };
    assert_eq!((soa.serial, soa.rname.to_string()), (4, "hostmaster.db.example.".into()));
    let ns = ask(&zone, "db.example.", RecordType::NS, Tick(0));
    assert_eq!(addresses(&ns), ["ns.db.example."]);
    let server = ask(&zone, "ns.db.example.", RecordType::A, Tick(0));
    assert_eq!(addresses(&server), ["192.0.2.53"]);
}

#[test]
fn other_zones_are_refused() {
    for name in ["example.", "other.example.", "xdb.example.", "."] {
        let answer = ask(&zone(3, Some("fsn")), name, RecordType::A, Tick(0));
        assert_eq!((answer.code, answer.authoritative), (ResponseCode::Refused, false), "{name}");
    }
}

#[test]
fn what_is_unknown_is_a_failure_and_not_an_absence() {
    let late = Tick(0) + Duration::from_millis(2001);
    let known = zone(3, Some("fsn"));
    for (name, record_type) in [
        (WRITER, RecordType::A),
        (WRITER, RecordType::MX),
        ("_epoch.writer.app.db.example.", RecordType::TXT),
    ] {
        let answer = ask(&known, name, record_type, late);
        assert_eq!((answer.code, answer.soa), (ResponseCode::ServFail, None), "{name}");
    }
    let gap = ask(&zone(3, Some("nbg")), WRITER, RecordType::A, Tick(0));
    assert_eq!(gap.code, ResponseCode::ServFail);
    let fresh = Zone::new(&config(), Vec::new()).unwrap();
    assert_eq!(ask(&fresh, WRITER, RecordType::A, Tick(0)).code, ResponseCode::ServFail);
}

#[test]
fn wrong_configurations_are_refused_by_path() {
    type Change = fn(&mut DnsConfig);
    let table: &[(&str, Change)] = &[
        ("zone", |config| config.zone = ".".into()),
        ("poll", |config| config.poll = Duration::ZERO),
        ("max_age", |config| config.max_age = config.poll),
        ("names[0].name", |config| config.names[0].name = "writer.elsewhere".into()),
        ("names[0].name", |config| config.names[0].name = "db.example".into()),
        ("names[0].ttl", |config| config.names[0].ttl = Duration::from_millis(1500)),
        ("names[0].addresses", |config| config.names[0].addresses.clear()),
        ("names[1].name", |config| config.names.push(config.names[0].clone())),
        ("names", |config| config.names[0].name = "ns.db.example".into()),
    ];
    for (path, change) in table {
        let mut config = config();
        change(&mut config);
        assert_eq!(Zone::new(&config, Vec::new()).unwrap_err().path, *path);
    }
    assert_eq!(config().poll, Duration::from_millis(100));
    assert_eq!(config().max_age, Duration::from_secs(2));
}

proptest! {
    /// Whatever is asked, and whenever: an address that is answered is the holder's, and the
    /// authority's word only names the zone.
    #[test]
    fn only_the_holders_addresses_are_answered(
        name in "(writer\\.app\\.|app\\.|ns\\.|[a-z]{1,3}\\.|)(db\\.example|example)\\.",
        kind in any::<u16>().prop_map(RecordType::from),
        holder in prop::option::of(prop::sample::select(vec!["fsn", "hel"])),
        millis in 0u64..4000,
    ) {
        let now = Tick(0) + Duration::from_millis(millis);
        let answer = ask(&zone(3, holder), &name, kind, now);
        for record in &answer.answers {
            prop_assert!(answer.authoritative && answer.code == ResponseCode::NoError);
            if let Some(address) = record.data.ip_addr() {
                let holders: &[&str] = match holder {
                    _ if name.starts_with("ns.") => &["192.0.2.53"],
                    Some("fsn") => &["192.0.2.1", "2001:db8::1"],
                    Some(_) => &["192.0.2.2"],
                    None => &[],
                };
                prop_assert!(holders.contains(&address.to_string().as_str()));
                prop_assert!(name.starts_with("ns.") || millis <= 2000);
            }
        }
    }
}
