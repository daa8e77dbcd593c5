use std::path::Path;

use kube::core::cel::Validator;
use serde_json::json;

use super::*;
use crate::kubernetes::schema::Definitions;

/// Set by `make crds`.
const WRITE: &str = "CONTINUUM_WRITE_CRDS";

fn known() -> Definitions {
    let mut known = Definitions::default();
    definitions().iter().for_each(|(_, definition)| known.add(definition));
    known
}

fn continuum() -> Value {
    json!({
        "apiVersion": "dr.openova.io/v1",
        "kind": "Continuum",
        "metadata": {"name": "app", "namespace": "db"},
        "spec": {
            "primaryRegion": "fsn",
            "hotStandbyRegions": ["hel"],
            "regions": [{"name": "fsn", "host": "a", "port": 5432}, {"name": "hel", "host": "b"}],
            "leaseClient": {"kind": "witness", "config": {"ttlSeconds": 10, "renewSeconds": 2,
                "stopBudgetSeconds": 3, "guardSeconds": 1}},
            "rto": "30s", "rpo": "0s", "autoFailover": true,
            "switchover": {"requested": true, "targetRegion": "hel", "mechanism": "cnpg-pair"},
            "cnpgPair": {"name": "app"},
        },
    })
}

fn pair() -> Value {
    json!({
        "apiVersion": "dr.openova.io/v1",
        "kind": "CnpgPair",
        "metadata": {"name": "app", "namespace": "db"},
        "spec": {
            "primaryCluster": "app-fsn", "replicaCluster": "app-hel",
            "primaryRegion": "fsn", "replicaRegion": "hel",
            "topology": "active-hot-standby", "rpoSeconds": 0, "rtoSeconds": 60, "plan": "starter",
            "members": {
                "primary": {"cidrs": ["192.0.2.0/24"], "store": {"destinationPath": "s3://a/b"}},
                "replica": {"host": "db.hel.example", "port": 5432,
                    "store": {"destinationPath": "s3://a/c"}},
            },
            "backups": {"schedule": "0 0 2 * * *", "retentionPolicy": "30d",
                "onDemand": {"requestId": "before-upgrade", "target": "primary"}},
            "pooler": {"mode": "transaction"},
        },
    })
}

/// What an API server refuses: by the schema, then by the CEL rules.
fn refused(object: &Value, old: Option<&Value>) -> Vec<String> {
    let known = known();
    let problems = known.problems(object).expect("a known kind");
    let mut all: Vec<String> =
        problems.into_iter().map(|one| format!("{}: {}", one.path, one.problem)).collect();
    let schema = known.schema(object).expect("a known kind");
    if let Err(errors) = Validator::new().validate(schema, object, old) {
        all.extend(errors.as_slice().iter().map(|error| format!("CEL: {error}")));
    }
    all
}

/// One place of the tree put to something else, or taken away.
fn planted(mut object: Value, pointer: &str, value: Option<Value>) -> Value {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let parent = object.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
    match value {
        Some(value) => parent.insert(key.to_owned(), value),
        None => parent.remove(key),
    };
    object
}

#[test]
fn the_definitions_are_what_the_types_generate() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../continuum/chart/crds");
    for (name, definition) in definitions() {
        let (file, text) = (folder.join(name), yaml::document(&definition));
        if std::env::var_os(WRITE).is_some() {
            std::fs::create_dir_all(&folder).expect("the folder can be made");
            std::fs::write(&file, &text).expect("the definition can be written");
            continue;
        }
        let written = std::fs::read_to_string(&file).expect("the definition");
        assert!(text == written, "the types changed: run `make crds`, and commit {name}");
    }
}

#[test]
fn sound_objects_are_accepted() {
    assert_eq!(refused(&continuum(), None), Vec::<String>::new());
    assert_eq!(refused(&pair(), None), Vec::<String>::new());
    // An unchanged object is accepted over itself.
    assert_eq!(refused(&continuum(), Some(&continuum())), Vec::<String>::new());
    assert_eq!(refused(&pair(), Some(&pair())), Vec::<String>::new());
    // And both are read by the types.
    serde_json::from_value::<Continuum>(continuum()).expect("a Continuum");
    serde_json::from_value::<CnpgPair>(pair()).expect("a CnpgPair");
}

#[test]
fn what_a_written_spec_becomes_is_accepted() {
    let typed: Continuum = serde_json::from_value(continuum()).expect("a Continuum");
    assert_eq!(refused(&serde_json::to_value(&typed).expect("plain"), None), Vec::<String>::new());
    let typed: CnpgPair = serde_json::from_value(pair()).expect("a CnpgPair");
    assert_eq!(refused(&serde_json::to_value(&typed).expect("plain"), None), Vec::<String>::new());
}

#[test]
fn a_status_is_accepted_with_what_is_not_known() {
    let mut object = continuum();
    object["status"] = json!({"phase": "Unknown", "observedGeneration": 3, "conditions": [
        {"type": "Ready", "status": "Unknown", "reason": "NotHeard", "message": "",
            "lastTransitionTime": "2026-08-03T10:00:00Z", "observedGeneration": 3}]});
    assert_eq!(refused(&object, None), Vec::<String>::new());
    object["status"]["conditions"][0]["status"] = json!("Perhaps");
    assert_eq!(refused(&object, None).len(), 1);
}

#[test]
fn each_planted_mistake_in_a_continuum_is_refused() {
    let cases = [
        (
            "/spec/primaryRegion",
            Some(json!("hel")),
            "primaryRegion must not be in hotStandbyRegions",
        ),
        ("/spec/primaryRegion", None, "spec.primaryRegion"),
        ("/spec/primaryRegion", Some(json!("Fsn")), "spec.primaryRegion"),
        ("/spec/hotStandbyRegions", Some(json!([])), "spec.hotStandbyRegions"),
        ("/spec/hotStandbyRegions", Some(json!(["hel", "nbg"])), "need their entry in regions"),
        ("/spec/hotStandbyRegions", Some(json!(["nbg"])), "each of regions must be"),
        ("/spec/regions", None, "spec.regions"),
        (
            "/spec/regions",
            Some(json!([{"name": "fsn", "host": "a"}, {"name": "fsn", "host": "b"}])),
            "there twice",
        ),
        ("/spec/regions/0/port", Some(json!(0)), "spec.regions[0].port"),
        ("/spec/regions/0/port", Some(json!(65536)), "spec.regions[0].port"),
        ("/spec/regions/0/loadBalancer", Some(json!("x")), "is no field of this kind"),
        ("/spec/somethingElse", Some(json!(1)), "is no field of this kind"),
        ("/spec/rto", Some(json!("1 minute")), "spec.rto"),
        ("/spec/rpo", Some(json!("-1s")), "spec.rpo"),
        ("/spec/stallTimeout", Some(json!("1d")), "spec.stallTimeout"),
        ("/spec/leaseClient/kind", Some(json!("cloudflare-kv")), "only witness"),
        ("/spec/leaseClient/kind", Some(json!("dns-quorum")), "only witness"),
        ("/spec/leaseClient/config/renewSeconds", Some(json!(3)), "at least 3 * renewSeconds"),
        ("/spec/leaseClient/config/ttlSeconds", Some(json!(9)), "at least 3 * renewSeconds"),
        ("/spec/leaseClient/config/stopBudgetSeconds", Some(json!(4)), "at least 3 * renewSeconds"),
        ("/spec/leaseClient/config/guardSeconds", Some(json!(2)), "at least 3 * renewSeconds"),
        ("/spec/leaseClient/config/ttlSeconds", Some(json!(601)), "ttlSeconds"),
        ("/spec/switchover/targetRegion", Some(json!("nbg")), "must be one of the regions"),
        ("/spec/switchover/targetRegion", None, "names its targetRegion"),
        ("/spec/switchover/mechanism", Some(json!("raft-transition")), "mechanism"),
        ("/spec/lossApproval", Some(json!({"rpoBytes": 1})), "only for durability async"),
        ("/spec/mode", Some(json!("manual")), "say different things"),
        ("/spec/durability", Some(json!("eventual")), "spec.durability"),
        ("/metadata/name", Some(json!("App.One")), "metadata.name is the pair's name"),
    ];
    for (pointer, value, part) in cases {
        let found = refused(&planted(continuum(), pointer, value.clone()), None);
        assert!(found.iter().any(|one| one.contains(part)), "{pointer} as {value:?}: {found:?}");
    }
    let mut ledger = continuum();
    ledger["spec"]["takeover"] = json!("ledger");
    assert_eq!(refused(&ledger, None), Vec::<String>::new());
    ledger["spec"]["durability"] = json!("async");
    assert_eq!(refused(&ledger, None).len(), 1);
}

#[test]
fn each_planted_mistake_in_a_pair_is_refused() {
    let cases = [
        ("/spec/replicaCluster", Some(json!("app-fsn")), "need names of their own"),
        ("/spec/replicaRegion", Some(json!("fsn")), "must be in different regions"),
        ("/spec/topology", Some(json!("active-active")), "spec.topology"),
        ("/spec/plan", Some(json!("gold")), "spec.plan"),
        ("/spec/members", None, "spec.members"),
        ("/spec/members/primary/store", None, "backups need the store of both members"),
        ("/spec/members/primary/cidrs", Some(json!(["everywhere"])), "cidrs[0]"),
        ("/spec/members/primary/password", Some(json!("x")), "is no field of this kind"),
        ("/spec/size", Some(json!({"memory": "lots"})), "spec.size.memory"),
        ("/spec/size", Some(json!({"instances": 0})), "spec.size.instances"),
        ("/spec/backups/schedule", Some(json!("0 2 * * *")), "spec.backups.schedule"),
        ("/spec/backups/onDemand", Some(json!({"target": "primary"})), "requestId"),
        (
            "/spec/backups/onDemand/requestId",
            Some(json!("ends-")),
            "spec.backups.onDemand.requestId",
        ),
        ("/spec/backups/onDemand/target", Some(json!("hel")), "spec.backups.onDemand.target"),
        ("/spec/pooler/mode", Some(json!("statement")), "spec.pooler.mode"),
        ("/spec/rpoSeconds", Some(json!(-1)), "spec.rpoSeconds"),
    ];
    for (pointer, value, part) in cases {
        let found = refused(&planted(pair(), pointer, value.clone()), None);
        assert!(found.iter().any(|one| one.contains(part)), "{pointer} as {value:?}: {found:?}");
    }
}

#[test]
fn what_must_not_change_cannot() {
    let moved = planted(continuum(), "/spec/primaryRegion", Some(json!("hel")));
    let moved = planted(moved, "/spec/hotStandbyRegions", Some(json!(["fsn"])));
    assert_eq!(refused(&moved, None), Vec::<String>::new());
    let found = refused(&moved, Some(&continuum()));
    assert!(found.len() == 1 && found[0].contains("ask for a move"), "{found:?}");
    for field in ["primaryCluster", "replicaCluster", "primaryRegion", "replicaRegion"] {
        let changed = planted(pair(), &format!("/spec/{field}"), Some(json!("other")));
        assert_eq!(refused(&changed, None), Vec::<String>::new());
        let found = refused(&changed, Some(&pair()));
        assert!(found.len() == 1 && found[0].contains("is immutable"), "{field}: {found:?}");
    }
}

/// The rules of both definitions are understood; one that is not would be no rule.
#[test]
fn every_rule_compiles_and_nothing_unknown_is_preserved() {
    fn walk(value: &Value, rules: &mut usize) {
        match value {
            Value::Object(object) => {
                assert!(!object.contains_key("x-kubernetes-preserve-unknown-fields"), "{object:?}");
                let found = object.get("x-kubernetes-validations").and_then(Value::as_array);
                *rules += found.map_or(0, Vec::len);
                object.values().for_each(|value| walk(value, rules));
            }
            Value::Array(array) => array.iter().for_each(|value| walk(value, rules)),
            _ => {}
        }
    }
    let mut rules = 0;
    for (_, definition) in definitions() {
        walk(&definition, &mut rules);
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let compiled = kube::core::cel::compile_schema(schema);
        assert!(!compiled.has_errors(), "{:?}", compiled.compilation_errors());
    }
    assert!(rules >= 17, "{rules} rules");
}

/// The documentation names every field of both specs, and no other in its first column.
#[test]
fn the_documentation_names_every_field() {
    let docs = include_str!("../../../../docs/KUBERNETES.md");
    let mut known = std::collections::BTreeSet::new();
    for (_, definition) in definitions() {
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let fields = schema["properties"]["spec"]["properties"].as_object().expect("fields");
        known.extend(fields.keys().cloned());
    }
    let tables: Vec<&str> = docs.split("| field of `spec` |").skip(1).collect();
    assert_eq!(tables.len(), 2);
    let mut named = std::collections::BTreeSet::new();
    for table in tables {
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        for row in rows {
            let cell = row.split('|').nth(1).expect("a cell");
            named.extend(cell.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    assert_eq!(named, known);
}

/// A column that reads a field which is never written stays empty for ever.
#[test]
fn printer_columns_read_fields_that_are_there() {
    for (name, definition) in definitions() {
        let version = &definition["spec"]["versions"][0];
        let schema = &version["schema"]["openAPIV3Schema"];
        for column in version["additionalPrinterColumns"].as_array().expect("columns") {
            let path = column["jsonPath"].as_str().expect("a path");
            if path == ".metadata.creationTimestamp" {
                continue;
            }
            let mut at = schema;
            for step in path.split('[').next().expect("a part").split('.').skip(1) {
                at = &at["properties"][step];
            }
            assert!(at.is_object(), "{name}: {path}");
        }
    }
}

#[test]
fn the_names_are_those_users_know() {
    let [(_, continuum), (_, pair)] = definitions();
    for (definition, kind, plural, short) in
        [(continuum, "Continuum", "continuums", "dr"), (pair, "CnpgPair", "cnpgpairs", "cpp")]
    {
        let spec = &definition["spec"];
        assert_eq!(spec["group"], "dr.openova.io");
        assert_eq!(spec["scope"], "Namespaced");
        assert_eq!(spec["names"]["kind"], kind);
        assert_eq!(spec["names"]["plural"], plural);
        assert_eq!(spec["names"]["shortNames"], json!([short]));
        assert_eq!(spec["versions"][0]["name"], "v1");
        assert_eq!(spec["versions"][0]["subresources"]["status"], json!({}));
    }
}
