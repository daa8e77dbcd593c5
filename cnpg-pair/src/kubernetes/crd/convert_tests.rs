use continuum_domain::corroborate::Corroborate;
use continuum_domain::spec::{Durability, LuaFeature, NameRole, Takeover};
use serde_json::{Value, json};

use super::*;

fn continuum(change: impl FnOnce(&mut Value)) -> Continuum {
    let mut value = json!({
        "apiVersion": "dr.openova.io/v1",
        "kind": "Continuum",
        "metadata": {"name": "app", "namespace": "db"},
        "spec": {
            "applicationRef": "shop",
            "primaryRegion": "fsn",
            "hotStandbyRegions": ["hel", "nbg"],
            "regions": [
                {"name": "fsn", "host": "db.fsn.example", "lbIPs": ["192.0.2.1"]},
                {"name": "hel", "host": "db.hel.example", "port": 6432, "lbIPs": ["192.0.2.2"]},
                {"name": "nbg", "host": "db.nbg.example", "priority": 1, "lbIPs": ["192.0.2.3"]},
            ],
            "rto": "30s",
            "rpo": "0s",
            "autoFailover": true,
            "leaseClient": {"kind": "witness", "config": {"ttlSeconds": 30, "renewSeconds": 5}},
        },
    });
    change(&mut value);
    serde_json::from_value(value).expect("a Continuum")
}

fn refused(change: impl FnOnce(&mut Value)) -> Vec<(String, String)> {
    let errors = to_pair_spec(&continuum(change), None).expect_err("refused");
    errors.into_iter().map(|error| (error.path, error.problem)).collect()
}

#[test]
fn what_users_know_becomes_a_spec() {
    let spec = to_pair_spec(&continuum(|_| ()), None).expect("a spec");
    assert_eq!(spec.id.as_str(), "app");
    assert_eq!(spec.first_primary.as_str(), "fsn");
    assert_eq!(spec.labels, BTreeMap::from([("application".into(), "shop".into())]));
    assert_eq!(spec.mode, PairMode::Automatic);
    let objectives = spec.objectives.expect("objectives");
    assert_eq!(objectives.rto, Some(Duration::from_secs(30)));
    assert_eq!(objectives.rpo_bytes, Some(0));
    let member = |name: &str| &spec.members[&RegionId::new(name).expect("valid")];
    assert_eq!((member("fsn").priority, member("fsn").port), (100, 5432));
    assert_eq!((member("hel").priority, member("hel").port), (90, 6432));
    assert_eq!(member("nbg").priority, 1);
}

#[test]
fn nobody_fails_over_by_itself_who_did_not_ask_for_it() {
    let quiet = continuum(|value| {
        value["spec"].as_object_mut().expect("an object").remove("autoFailover");
    });
    assert_eq!(to_pair_spec(&quiet, None).expect("a spec").mode, PairMode::Manual);
    let watching = continuum(|value| {
        value["spec"]["autoFailover"] = json!(false);
        value["spec"]["mode"] = json!("observe-only");
    });
    assert_eq!(to_pair_spec(&watching, None).expect("a spec").mode, PairMode::ObserveOnly);
    let both = refused(|value| value["spec"]["mode"] = json!("manual"));
    assert_eq!(both[0].0, "spec.autoFailover");
}

#[test]
fn what_cannot_be_done_is_refused_by_its_field() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 14] = [
        (|v| v["metadata"]["name"] = json!("App"), "metadata.name"),
        (|v| v["spec"]["rpo"] = json!("30s"), "spec.rpo"),
        (|v| v["spec"]["rpoBytes"] = json!(1024), "spec.rpo"),
        (|v| v["spec"]["rto"] = json!("soon"), "spec.rto"),
        (|v| v["spec"]["leaseClient"]["kind"] = json!("cloudflare-kv"), "spec.leaseClient.kind"),
        (
            |v| v["spec"]["leaseClient"]["config"]["renewSeconds"] = json!(9),
            "spec.leaseClient.config",
        ),
        (|v| v["spec"]["hotStandbyRegions"] = json!(["hel", "fsn"]), "spec.hotStandbyRegions[1]"),
        (|v| v["spec"]["hotStandbyRegions"] = json!(["hel", "nbg", "sin"]), "spec.regions"),
        (|v| v["spec"]["hotStandbyRegions"] = json!(["hel"]), "spec.regions"),
        (
            |v| v["spec"]["switchover"] = json!({"targetRegion": "sin"}),
            "spec.switchover.targetRegion",
        ),
        (|v| v["spec"]["regions"][0]["lbIPs"] = json!(["192.0.2"]), "spec.regions[0].lbIPs[0]"),
        (|v| v["spec"]["labels"] = json!({"application": "x"}), "spec.labels.application"),
        (|v| v["spec"]["stallTimeout"] = json!("0s"), "spec.stallTimeout"),
        (
            |v| v["spec"]["names"] = json!([{"name": "db.example", "ttl": "5x"}]),
            "spec.names[0].ttl",
        ),
    ];
    for (change, path) in cases {
        let errors = refused(change);
        assert!(errors.iter().any(|(found, _)| found == path), "{path}: {errors:?}");
    }
}

#[test]
fn every_mistake_is_said_at_once() {
    let errors = refused(|value| {
        value["spec"]["rpo"] = json!("30s");
        value["spec"]["drain"] = json!("1 minute");
        value["spec"]["regions"][1]["name"] = json!("fsn");
    });
    let paths: Vec<&str> = errors.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["spec.regions[1].name", "spec.regions", "spec.drain", "spec.rpo"]);
}

#[test]
fn a_lua_record_is_the_shorter_way_of_saying_names() {
    let spec = to_pair_spec(
        &continuum(|value| {
            value["spec"]["luaRecord"] = json!({"hostnames": ["db.example.org"],
                "provider": "pdns", "zone": "example.org", "healthPort": 8080});
        }),
        None,
    )
    .expect("a spec");
    assert_eq!(spec.names.len(), 1);
    let name = &spec.names[0];
    assert_eq!((name.policy, name.ttl), (NamePolicy::Follow, Duration::from_secs(30)));
    assert_eq!(name.addresses.len(), 3);
}

#[test]
fn the_pair_of_clusters_has_a_say() {
    let pair = |primary: &str, rpo: u32| CnpgPairSpec {
        primary_region: primary.into(),
        replica_region: "hel".into(),
        rto_seconds: Some(60),
        rpo_seconds: Some(rpo),
        ..CnpgPairSpec::default()
    };
    let quiet = continuum(|value| {
        let spec = value["spec"].as_object_mut().expect("an object");
        spec.remove("rto");
        spec.remove("rpo");
    });
    let objectives = |pair: &CnpgPairSpec| to_pair_spec(&quiet, Some(pair)).map(|s| s.objectives);
    let said = objectives(&pair("fsn", 0)).expect("a spec").expect("objectives");
    assert_eq!((said.rto, said.rpo_bytes), (Some(Duration::from_secs(60)), Some(0)));
    for (planted, part) in [(pair("fsn", 30), "bytes of WAL"), (pair("sin", 0), "sin")] {
        let errors = objectives(&planted).expect_err("refused");
        assert_eq!(errors[0].path, "spec.cnpgPair");
        assert!(errors[0].problem.contains(part), "{errors:?}");
    }
}

#[test]
fn the_lease_timing_is_read_and_checked() {
    let timing = timing(&continuum(|_| ()).spec).expect("sound").expect("said");
    assert_eq!((timing.ttl, timing.renew), (Duration::from_secs(30), Duration::from_secs(5)));
    assert_eq!(timing.stop_budget, Duration::from_secs(3));
}

/// A spec with every field that a `Continuum` can say set to something of its own.
fn full() -> PairSpec {
    let mut spec = to_pair_spec(&continuum(|_| ()), None).expect("a spec");
    spec.labels.insert("env".into(), "prod".into());
    spec.durability = Durability::Strict;
    spec.mode = PairMode::SemiAutomatic;
    spec.takeover = Takeover::Ledger;
    spec.on_witness_loss = spec::WitnessLossPolicy::Failsafe;
    spec.autonomous = false;
    spec.core_grace = Duration::from_millis(1500);
    spec.stall_timeout = Duration::from_secs(90);
    spec.anti_flap = Duration::from_secs(7200);
    spec.switchover_deadline = Duration::from_secs(60);
    spec.restart_budget = Duration::from_secs(61);
    spec.write_stall_timeout = Duration::from_secs(3661);
    spec.suspect_after = Duration::from_millis(250);
    spec.drain = Duration::ZERO;
    spec.drain_failure = continuum_domain::traffic::DrainFailure::Undo;
    spec.max_lag_bytes = 17;
    spec.restarts_in_place = 0;
    let addresses: Addresses = spec
        .members
        .keys()
        .map(|region| (region.clone(), BTreeSet::from(["192.0.2.9".parse().expect("valid")])))
        .collect();
    let place = ("pdns", "example.org");
    let seconds = Duration::from_secs;
    let mut reader = NameSpec::at_provider("ro.example.org", seconds(5), place, addresses.clone());
    (reader.role, reader.lag_max) = (NameRole::Standby, Some(seconds(3)));
    let mut follow = NameSpec::at_provider("rw.example.org", seconds(60), place, addresses);
    (follow.policy, follow.health_port) = (NamePolicy::Follow, NonZeroU16::new(8080));
    spec.names = vec![NameSpec::new("db.internal.", seconds(1)), reader, follow];
    spec.check().expect("a sound spec");
    spec
}

#[test]
fn a_spec_goes_through_a_continuum_and_back() {
    let with_loss = {
        let mut spec = full();
        spec.takeover = Takeover::Ttl;
        spec.durability = Durability::Async;
        spec.loss_approval = Some(spec::LossApproval { rpo_bytes: 5 });
        spec.objectives = None;
        spec
    };
    for spec in [full(), with_loss] {
        let continuum = from_pair_spec(&spec).expect("a Continuum");
        // And through the API server.
        let text = serde_json::to_string(&continuum).expect("plain data");
        let continuum: Continuum = serde_json::from_str(&text).expect("a Continuum");
        assert_eq!(to_pair_spec(&continuum, None), Ok(spec));
    }
}

#[test]
fn a_continuum_goes_through_a_spec_and_back() {
    let first = from_pair_spec(&full()).expect("a Continuum");
    let spec = to_pair_spec(&first, None).expect("a spec");
    assert_eq!(from_pair_spec(&spec), Ok(first));
}

#[test]
fn what_a_continuum_has_no_word_for_is_refused_by_its_field() {
    type Change = fn(&mut PairSpec);
    let cases: [(Change, &str); 7] = [
        (|spec| spec.corroborate = Some(Corroborate::default()), "corroborate"),
        (|spec| spec.drain = Duration::from_micros(1500), "drain"),
        (
            |spec| {
                spec.objectives =
                    Some(Objectives { rto: Some(Duration::from_millis(1500)), rpo_bytes: None })
            },
            "objectives.rto",
        ),
        (
            |spec| {
                let member = spec.members.values_mut().next().expect("one");
                member.health_name = Some("health.example".into());
            },
            "members.fsn.health_name",
        ),
        (|spec| spec.names[2].lua = BTreeSet::from([LuaFeature::EmptyBackup]), "names[2].lua"),
        (|spec| spec.names[2].kind = continuum_domain::spec::NameKind::Cname, "names[2].kind"),
        (|spec| spec.names[2].addresses.clear(), "names[2].addresses"),
    ];
    for (change, path) in cases {
        let mut spec = full();
        change(&mut spec);
        let errors = from_pair_spec(&spec).expect_err("refused");
        assert_eq!(errors[0].path, path, "{errors:?}");
    }
}

#[test]
fn durations_go_round_and_what_is_none_is_refused() {
    for ms in [0, 1, 999, 1000, 1500, 60_000, 61_000, 3_600_000, 5_400_000, 86_400_000] {
        let value = Duration::from_millis(ms);
        let text = durations::write("x", value).expect("whole milliseconds");
        assert_eq!(durations::read("x", &text), Ok(value), "{text}");
    }
    for planted in
        ["", "5", "s", "-5s", "+5s", "5 s", "1.5s", "5d", "1m30s", "99999999999999999999s"]
    {
        assert!(durations::read("x", planted).is_err(), "{planted}");
    }
    assert!(durations::read("x", &format!("{}h", u64::MAX)).is_err(), "too long to count");
}
