use super::*;

fn spec() -> PairSpec {
    let region = |name: &str| RegionId::new(name).expect("valid");
    let member = MemberSpec { priority: 100, host: "h".into(), port: 5432, health_name: None };
    let members = [(region("fsn"), member.clone()), (region("hel"), member)].into();
    PairSpec::new(PairId::new("app").expect("valid"), members, region("fsn"))
}

fn refused(spec: &PairSpec) -> (String, String) {
    let error = spec.check().expect_err("refused");
    (error.path, error.problem)
}

#[test]
fn takeover_waits_for_the_ttl_unless_the_spec_says_otherwise() {
    let spec = spec();
    assert_eq!((spec.takeover, spec.suspect_after), (Takeover::Ttl, Duration::from_millis(600)));
    assert_eq!(spec.check(), Ok(()));
    let text = serde_json::to_string(&spec).expect("plain data");
    assert!(text.contains(r#""takeover":"ttl","suspect_after":"600ms""#), "{text}");
    // What was written before these fields existed.
    let old = text.replace(r#""takeover":"ttl","suspect_after":"600ms","#, "");
    assert_eq!(serde_json::from_str::<PairSpec>(&old).expect("defaults"), spec);
    let ledger = text.replace(r#""takeover":"ttl""#, r#""takeover":"ledger""#);
    let ledger: PairSpec = serde_json::from_str(&ledger).expect("a word it knows");
    assert_eq!(ledger.takeover, Takeover::Ledger);
    let other = text.replace(r#""takeover":"ttl""#, r#""takeover":"quorum""#);
    let error = serde_json::from_str::<PairSpec>(&other).expect_err("refused").to_string();
    assert!(error.contains("expected `ttl` or `ledger`"), "{error}");
}

#[test]
fn suspect_after_has_bounds_in_every_mode() {
    for takeover in [Takeover::Ttl, Takeover::Ledger] {
        for (ms, accepted) in
            [(0, false), (199, false), (200, true), (60_000, true), (60_001, false)]
        {
            let suspect_after = Duration::from_millis(ms);
            let spec = PairSpec { takeover, suspect_after, ..spec() };
            assert_eq!(spec.check().is_ok(), accepted, "{ms} ms");
            if !accepted {
                let line = ("suspect_after".into(), "200ms to 60s is accepted".into());
                assert_eq!(refused(&spec), line);
            }
        }
    }
}

/// R18: an `async` holder acknowledges alone.
#[test]
fn ledger_takeover_needs_a_synchronous_durability() {
    for durability in [Durability::Strict, Durability::Available] {
        let spec = PairSpec { takeover: Takeover::Ledger, durability, ..spec() };
        assert_eq!(spec.check(), Ok(()));
    }
    let spec = PairSpec { takeover: Takeover::Ledger, durability: Durability::Async, ..spec() };
    let (path, problem) = refused(&spec);
    assert_eq!(path, "takeover");
    assert!(problem.contains("strict or available"), "{problem}");
    assert!(problem.contains("the holder acknowledges alone"), "{problem}");
}

#[test]
fn only_ledger_takeover_wants_quicker_beats() {
    assert_eq!(spec().beat_interval(), None);
    let spec = PairSpec { takeover: Takeover::Ledger, ..spec() };
    assert_eq!(spec.beat_interval(), Some(Duration::from_millis(120)));
}

#[test]
fn corroboration_needs_a_health_name_of_every_member() {
    let mut spec = spec();
    // Who does not ask for it sends nothing that an older agent would not understand.
    let plain = serde_json::to_string(&spec).expect("plain data");
    assert!(!plain.contains("health_name") && !plain.contains("corroborate"), "{plain}");
    spec.corroborate = Some(Corroborate::default());
    let (path, problem) = refused(&spec);
    assert_eq!(path, "members.fsn.health_name");
    assert!(problem.contains("is needed"), "{problem}");
    for (region, member) in &mut spec.members {
        member.health_name = Some(format!("health.{region}.example.net"));
    }
    assert_eq!(spec.check(), Ok(()));
    let text = serde_json::to_string(&spec).expect("plain data");
    assert_eq!(serde_json::from_str::<PairSpec>(&text).expect("the same"), spec);
    spec.corroborate = Some(Corroborate { agree: Some(1), ..Corroborate::default() });
    let (path, problem) = refused(&spec);
    assert_eq!(path, "corroborate.agree");
    assert!(problem.contains("a majority of the 3 resolvers: 2 or more"), "{problem}");
    // A name that is none is refused also where nobody asks for it.
    spec.corroborate = None;
    let member = spec.members.values_mut().next().expect("two members");
    member.health_name = Some("here".into());
    assert_eq!(refused(&spec).0, "members.fsn.health_name");
}

fn at_provider() -> NameSpec {
    let addresses = ["fsn", "hel"].into_iter().enumerate();
    let addresses = addresses.map(|(last, name)| {
        let address = std::net::IpAddr::from([10, 0, 0, last as u8]);
        (RegionId::new(name).expect("valid"), [address].into())
    });
    let ttl = Duration::from_secs(5);
    NameSpec::at_provider("app.db.example.", ttl, ("pdns", "DB.example"), addresses.collect())
}

#[test]
fn labels_are_short_words() {
    let with = |key: &str, value: &str| PairSpec {
        labels: BTreeMap::from([(key.to_owned(), value.to_owned())]),
        ..spec()
    };
    assert!(with("env", "prod").check().is_ok() && with("a.b/c-d_e", "1").check().is_ok());
    for (key, value) in [("", "x"), ("env", ""), ("e nv", "x"), ("env", "a,b"), ("env", "é")] {
        let wrong = with(key, value).check().unwrap_err();
        assert_eq!(wrong.path, format!("labels.{key}"), "{key}={value}");
    }
    let many = (0..=LABELS_MAX).map(|number| (number.to_string(), "x".to_owned())).collect();
    assert_eq!(PairSpec { labels: many, ..spec() }.check().unwrap_err().path, "labels");
    // What has none is said as before, so that older agents understand it.
    let json = serde_json::to_string(&spec()).unwrap();
    assert!(!json.contains("labels"), "{json}");
}

fn with_name(name: NameSpec) -> PairSpec {
    PairSpec { names: vec![name], ..spec() }
}

#[test]
fn a_name_without_a_provider_reads_and_is_written_as_it_always_was() {
    let text = r#"{"name":"app","ttl":"500ms"}"#;
    let name: NameSpec = serde_json::from_str(text).expect("as before");
    assert_eq!(name, NameSpec::new("app", Duration::from_millis(500)));
    assert_eq!(serde_json::to_string(&name).expect("plain data"), text);
    assert_eq!(with_name(name.clone()).check(), Ok(()));
    let zone = NameSpec { zone: Some("db.example".into()), ..name };
    let only = "is only for names at a provider or with authorities";
    assert_eq!(refused(&with_name(zone)), ("names[0].zone".into(), only.into()));
}

#[test]
fn of_an_embedded_name_whoever_is_asked_is_told_with_all_that_it_should_serve() {
    let authorities = vec!["10.3.0.20".parse().expect("an address")];
    let ttl = Duration::from_millis(500);
    let name = NameSpec { provider: None, ttl, authorities, ..at_provider() };
    assert!(name.is_followed() && !NameSpec::new("app", ttl).is_followed());
    assert_eq!(with_name(name.clone()).check(), Ok(()));
    let followed = NameSpec { policy: NamePolicy::Follow, ..name.clone() };
    let roomy = vec![name.authorities[0]; 17];
    let wrong = [
        (NameSpec { zone: None, ..name.clone() }, "zone"),
        (NameSpec { zone: Some("other.example".into()), ..name.clone() }, "name"),
        (NameSpec { addresses: BTreeMap::new(), ..name.clone() }, "addresses"),
        (NameSpec { authorities: roomy, ..name.clone() }, "authorities"),
        (followed, "policy"),
    ];
    for (name, field) in wrong {
        let (path, problem) = refused(&with_name(name));
        assert!(path.starts_with(&format!("names[0].{field}")), "{path}: {problem}");
    }
}

#[test]
fn a_name_at_a_provider_is_whole_or_refused_by_its_field() {
    let name = at_provider();
    assert_eq!(with_name(name.clone()).check(), Ok(()));
    let text = serde_json::to_string(&name).expect("plain data");
    assert_eq!(serde_json::from_str::<NameSpec>(&text).expect("the same"), name);
    let port = std::num::NonZeroU16::new(7442);
    let mut one_sided = name.addresses.clone();
    one_sided.insert(RegionId::new("hel").expect("valid"), ["::1".parse().expect("v6")].into());
    let mut stranger = name.addresses.clone();
    stranger.insert(RegionId::new("ash").expect("valid"), ["::1".parse().expect("v6")].into());
    let lag_max = Some(Duration::from_secs(1));
    let (role, policy) = (NameRole::Standby, NamePolicy::Follow);
    let cases = [
        (NameSpec { provider: Some(" ".into()), ..name.clone() }, "provider"),
        (NameSpec { name: "app".into(), ..name.clone() }, "name"),
        (NameSpec { name: "app.example".into(), ..name.clone() }, "name"),
        (NameSpec { name: "db.example".into(), ..name.clone() }, "name"),
        (NameSpec { zone: None, ..name.clone() }, "zone"),
        (NameSpec { ttl: Duration::from_millis(1_500), ..name.clone() }, "ttl"),
        (NameSpec { ttl: Duration::ZERO, ..name.clone() }, "ttl"),
        (NameSpec { ttl: Duration::from_secs(3_601), ..name.clone() }, "ttl"),
        (NameSpec { role, ..name.clone() }, "lag_max"),
        (NameSpec { role, lag_max: Some(Duration::ZERO), ..name.clone() }, "lag_max"),
        (NameSpec { lag_max, ..name.clone() }, "lag_max"),
        (NameSpec { policy, ..name.clone() }, "health_port"),
        (NameSpec { health_port: port, ..name.clone() }, "health_port"),
        (NameSpec { lua: [LuaFeature::EmptyBackup].into(), ..name.clone() }, "lua"),
        (NameSpec { addresses: BTreeMap::new(), ..name.clone() }, "addresses.fsn"),
        (NameSpec { addresses: stranger, ..name.clone() }, "addresses.ash"),
        (NameSpec { policy, health_port: port, addresses: one_sided, ..name.clone() }, "addresses"),
    ];
    for (name, field) in cases {
        assert_eq!(refused(&with_name(name.clone())).0, format!("names[0].{field}"), "{name:?}");
    }
    let twice = PairSpec { names: vec![name.clone(), name], ..spec() };
    assert_eq!(refused(&twice), ("names[1].name".into(), "is listed twice".into()));
}

fn each<T>(make: impl Fn(&str) -> T) -> BTreeMap<RegionId, T> {
    ["fsn", "hel"].map(|name| (RegionId::new(name).expect("valid"), make(name))).into()
}

fn service(target: &str) -> Service {
    let port = std::num::NonZeroU16::new(5432).expect("a port");
    Service { priority: 0, weight: 1, port, target: target.into() }
}

/// A CNAME, an SRV name and one that the provider chooses for.
fn other_kinds() -> [NameSpec; 3] {
    let none = BTreeMap::new();
    let at = ("aws", "db.example");
    let bare = NameSpec::at_provider("app.db.example.", Duration::from_secs(5), at, none);
    [
        NameSpec {
            kind: NameKind::Cname,
            targets: each(|region| format!("pg.{region}.example")),
            ..bare.clone()
        },
        NameSpec {
            kind: NameKind::Srv,
            name: "_postgresql._tcp.app.db.example".into(),
            services: each(|region| service(&format!("pg.{region}.example"))),
            ..bare
        },
        NameSpec {
            routing: Routing::Failover,
            health_checks: each(|region| format!("check-{region}")),
            ..at_provider()
        },
    ]
}

#[test]
fn aliases_services_and_routing_are_whole_or_refused_by_their_field() {
    for name in other_kinds() {
        assert_eq!(with_name(name.clone()).check(), Ok(()));
        let text = serde_json::to_string(&name).expect("plain data");
        assert_eq!(serde_json::from_str::<NameSpec>(&text).expect("the same"), name);
    }
    let [alias, srv, routed] = other_kinds();
    let ash = RegionId::new("ash").expect("valid");
    let with = |targets: BTreeMap<_, _>| NameSpec { targets, ..alias.clone() };
    let mut more = alias.targets.clone();
    more.insert(ash, "x.example".into());
    let (role, lag_max) = (NameRole::Standby, Some(Duration::from_secs(1)));
    let (policy, health_port) = (NamePolicy::Follow, std::num::NonZeroU16::new(7442));
    let addresses = at_provider().addresses;
    let checks = routed.health_checks.clone();
    let one_check: BTreeMap<_, _> = checks.clone().into_iter().take(1).collect();
    let weighted = NameSpec { routing: Routing::Weighted, ..routed.clone() };
    assert_eq!(with_name(weighted.clone()).check(), Ok(()));
    let unchecked = NameSpec { health_checks: BTreeMap::new(), ..weighted.clone() };
    assert_eq!(with_name(unchecked).check(), Ok(()));
    let reading = NameSpec { role, lag_max, ..srv.clone() };
    assert_eq!(with_name(reading).check(), Ok(()));
    let cases = [
        (with(BTreeMap::new()), "targets.fsn"),
        (with(more), "targets.ash"),
        (with(each(|_| "here".into())), "targets.fsn"),
        (with(each(|_| "APP.db.example".into())), "targets.fsn"),
        (NameSpec { addresses: addresses.clone(), ..alias.clone() }, "addresses"),
        (NameSpec { services: srv.services.clone(), ..alias.clone() }, "services"),
        (NameSpec { targets: alias.targets.clone(), ..srv.clone() }, "targets"),
        (NameSpec { targets: alias.targets.clone(), ..at_provider() }, "targets"),
        (NameSpec { role, lag_max, ..alias.clone() }, "role"),
        (NameSpec { policy, health_port, ..alias.clone() }, "policy"),
        (NameSpec { routing: Routing::Weighted, ..alias.clone() }, "routing"),
        (NameSpec { services: BTreeMap::new(), ..srv.clone() }, "services.fsn"),
        (NameSpec { services: each(|_| service("x")), ..srv }, "services.fsn.target"),
        (NameSpec { name: "_Epoch.app.db.example".into(), ..at_provider() }, "name"),
        (NameSpec { health_checks: checks, ..at_provider() }, "health_checks"),
        (NameSpec { health_checks: one_check.clone(), ..routed.clone() }, "health_checks.hel"),
        (NameSpec { health_checks: one_check, ..weighted }, "health_checks.hel"),
        (NameSpec { health_checks: BTreeMap::new(), ..routed.clone() }, "health_checks.fsn"),
        (NameSpec { health_checks: each(|_| "a b".into()), ..routed.clone() }, "health_checks.fsn"),
        (NameSpec { role, lag_max, ..routed.clone() }, "routing"),
        (NameSpec { policy, health_port, ..routed.clone() }, "routing"),
    ];
    for (name, field) in cases {
        assert_eq!(refused(&with_name(name.clone())).0, format!("names[0].{field}"), "{name:?}");
    }
    // Three members have no one that is second.
    let mut three = with_name(routed);
    let ash = RegionId::new("ash").expect("valid");
    let member = three.members.values().next().expect("a member").clone();
    three.members.insert(ash.clone(), member);
    three.names[0].addresses.insert(ash.clone(), ["10.0.0.9".parse().expect("v4")].into());
    three.names[0].health_checks.insert(ash, "c".into());
    assert_eq!(refused(&three).0, "names[0].routing");
    // Older agents are sent nothing that they do not know, where it is not used.
    let text = serde_json::to_string(&at_provider()).expect("plain data");
    for field in ["kind", "targets", "services", "routing", "health_checks"] {
        assert!(!text.contains(field), "{text}");
    }
}

#[test]
fn a_read_only_name_lists_who_is_known_to_be_near() {
    let region = |name: &str| RegionId::new(name).expect("valid");
    let lag = |ms| Some(Duration::from_millis(ms));
    let lags = [("a", lag(400)), ("b", lag(900)), ("c", lag(1_001)), ("d", None)]
        .map(|(name, lag)| (region(name), lag));
    let of = |listed: &[&str]| {
        let listed = listed.iter().map(|name| region(name)).collect();
        let found =
            crate::name_spec::readers(&lags.clone().into(), Duration::from_secs(1), &listed);
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(of(&[]), ["a"], "b is near, and comes back when it is nearer");
    assert_eq!(of(&["a", "b", "c", "d"]), ["a", "b"]);
}
