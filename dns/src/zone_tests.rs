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
        rested_by: None,
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

/// A name of each kind, all of one pair.
fn of_each_kind() -> DnsConfig {
    let more: DnsConfig = toml::from_str(
        r#"
        name = "ns1"
        listen_dns = "127.0.0.1:5300"
        listen_rpc = "127.0.0.1:7301"
        zone = "db.example"
        [[names]]
        name = "pg.db.example"
        pair = "app"
        ttl = "2s"
        kind = "cname"
        targets = { fsn = "PG.fsn.example", hel = "pg.hel.example." }
        [[names]]
        name = "_postgresql._tcp.db.example"
        pair = "app"
        ttl = "2s"
        kind = "srv"
        [names.services]
        fsn = { port = 5432, target = "pg.fsn.example" }
        hel = { port = 5433, target = "pg.hel.example", priority = 1, weight = 2 }
        "#,
    )
    .unwrap();
    let mut config = config();
    config.names.extend(more.names);
    config
}

fn zone_of_each_kind(epoch: u64, holder: Option<&str>) -> Zone {
    let known = zone(epoch, holder).evidence;
    Zone { evidence: known, ..Zone::new(&of_each_kind(), Vec::new()).unwrap() }
}

#[test]
fn an_alias_answers_every_type_and_a_service_its_own() {
    let (fsn, hel) = (zone_of_each_kind(3, Some("fsn")), zone_of_each_kind(4, Some("hel")));
    for kind in [RecordType::A, RecordType::AAAA, RecordType::CNAME, RecordType::TXT] {
        let answer = ask(&fsn, "pg.db.example.", kind, Tick(0));
        assert_eq!(addresses(&answer), ["pg.fsn.example."], "{kind}");
        assert_eq!(answer.answers[0].record_type(), RecordType::CNAME);
        let moved = ask(&hel, "pg.db.example.", kind, Tick(0));
        assert_eq!(addresses(&moved), ["pg.hel.example."], "{kind}");
    }
    let service = "_postgresql._tcp.db.example.";
    let answer = ask(&fsn, service, RecordType::SRV, Tick(0));
    assert_eq!(addresses(&answer), ["0 0 5432 pg.fsn.example."]);
    let moved = ask(&hel, service, RecordType::SRV, Tick(0));
    assert_eq!(addresses(&moved), ["1 2 5433 pg.hel.example."]);
    let other = ask(&fsn, service, RecordType::A, Tick(0));
    assert_eq!((other.code, other.answers.len()), (ResponseCode::NoError, 0));
    for name in ["pg.db.example.", service] {
        let text = ask(&fsn, &format!("_epoch.{name}"), RecordType::TXT, Tick(0));
        assert_eq!(addresses(&text), ["pair=app epoch=3 holder=fsn"]);
        let pair = PairId::new("app").unwrap();
        let [own, stranger] = ["fsn", "ash"].map(|name| RegionId::new(name).unwrap());
        assert_eq!(fsn.ttl_for(name, &pair, &own), Some(Duration::from_secs(2)));
        assert_eq!(fsn.ttl_for(name, &pair, &stranger), None);
    }
}

#[test]
fn what_a_kind_does_not_have_is_refused_by_its_field() {
    type Edit = fn(&mut crate::config::NameConfig);
    let cases: [(usize, Edit, &str); 6] = [
        (1, |name| name.targets.clear(), "names[1].targets: every member needs a target"),
        (1, |name| name.kind = Default::default(), "names[1].addresses: every member needs at"),
        (
            1,
            |name| name.targets.values_mut().for_each(|one| *one = "x".into()),
            "names[1].targets.fsn",
        ),
        (2, |name| name.services.clear(), "names[2].services: every member needs a service"),
        (
            0,
            |name| name.targets = [(region("fsn"), "a.b".into())].into(),
            "names[0].targets: is only",
        ),
        (0, |name| name.name = "_epoch.a.db.example".into(), "names[0].name: names below _epoch"),
    ];
    assert_eq!(of_each_kind().check(), Ok(()));
    for (at, edit, due) in cases {
        let mut config = of_each_kind();
        edit(&mut config.names[at]);
        let told = config.check().unwrap_err().to_string();
        assert!(told.starts_with(due), "{told}");
    }
}

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

proptest! {
    /// Whoever holds the pair, and whatever is asked: no answer leads to anybody else (I3).
    #[test]
    fn only_the_holder_is_answered(
        epoch in 1u64..9,
        holder in prop::option::of(prop::sample::select(vec!["fsn", "hel"])),
        name in prop::sample::select(vec![WRITER, "pg.db.example.", "_postgresql._tcp.db.example."]),
        kind in prop::sample::select(vec![
            RecordType::A, RecordType::AAAA, RecordType::CNAME, RecordType::SRV, RecordType::TXT,
            RecordType::ANY, RecordType::MX,
        ]),
    ) {
        let answer = ask(&zone_of_each_kind(epoch, holder), name, kind, Tick(0));
        let config = of_each_kind();
        for record in &answer.answers {
            let text = record.data.to_string();
            let of = |region: &str| {
                let entry = config.names.iter().find(|entry| format!("{}.", entry.name) == name);
                let own = held(entry.unwrap()).unwrap()[&RegionId::new(region).unwrap()].clone();
                own.iter().any(|data| data.to_string() == text)
            };
            prop_assert!(holder.is_some_and(of), "{} is not {:?}'s", text, holder);
        }
        let own = match name {
            WRITER => RecordType::A,
            "pg.db.example." => RecordType::CNAME,
            _ => RecordType::SRV,
        };
        if holder.is_some() && (own == RecordType::CNAME || [own, RecordType::ANY].contains(&kind)) {
            prop_assert!(!answer.answers.is_empty(), "{} {}", name, kind);
        }
    }
}
