use serde_json::json;

use super::*;

fn definitions() -> Definitions {
    let schema = json!({"type": "object", "required": ["spec"], "properties": {
        "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
        "spec": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 4},
            "count": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 9},
            "mode": {"type": "string", "enum": ["on", "off"]},
            "ratio": {"type": "number", "nullable": true},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "limit": {"x-kubernetes-int-or-string": true,
                "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "at": {"type": "string", "format": "date-time"},
            "keys": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string"},
                "x-kubernetes-list-type": "set"},
            "parts": {"type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object",
                "properties": {"name": {"type": "string"}, "size": {"type": "integer"}}}},
            "one": {"type": "object", "properties": {"a": {"type": "string"},
                "b": {"type": "string"}}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        }},
    }});
    let mut definitions = Definitions::default();
    definitions.add(&json!({"kind": "CustomResourceDefinition", "spec": {"group": "example.org",
        "names": {"kind": "Thing"}, "versions": [
            {"name": "v1", "served": true, "schema": {"openAPIV3Schema": schema}}]}}));
    definitions.add(&json!({"kind": "Service"}));
    definitions
}

fn problems(spec: Value) -> Vec<String> {
    let object = json!({"apiVersion": "example.org/v1", "kind": "Thing",
        "metadata": {"name": "x", "labels": {}}, "spec": spec});
    let found = definitions().problems(&object).expect("a known kind");
    found.into_iter().map(|problem| problem.path).collect()
}

#[test]
fn what_the_schema_says_is_accepted() {
    for spec in [
        json!({"name": "abc"}),
        json!({"name": "abc", "count": 9, "mode": "on", "ratio": null, "labels": {"any": "x"},
            "free": {"what": [1, {"ever": true}]}, "limit": "5Mi", "keys": ["a", "b"],
            "parts": [{"name": "a", "size": 1}, {"name": "b"}], "one": {"a": "x"},
            "at": "2026-08-03T10:00:00Z"}),
        json!({"name": "abc", "limit": 5}),
    ] {
        assert_eq!(problems(spec), Vec::<String>::new());
    }
}

#[test]
fn each_planted_mistake_is_refused_where_it_is() {
    for (field, planted, path) in [
        ("name", json!(5), "spec.name"),
        ("name", json!("Abc"), "spec.name"),
        ("name", json!("a"), "spec.name"),
        ("name", json!("abcde"), "spec.name"),
        ("name", Value::Null, "spec.name"),
        ("count", json!("1"), "spec.count"),
        ("count", json!(0), "spec.count"),
        ("count", json!(10), "spec.count"),
        ("count", json!(1.5), "spec.count"),
        ("count", json!(4_294_967_296_i64), "spec.count"),
        ("mode", json!("On"), "spec.mode"),
        ("labels", json!({"a": 1}), "spec.labels.a"),
        ("labels", json!([]), "spec.labels"),
        ("free", json!("x"), "spec.free"),
        ("limit", json!(1.5), "spec.limit"),
        ("limit", json!(true), "spec.limit"),
        ("keys", json!([]), "spec.keys"),
        ("keys", json!(["a", "b", "c"]), "spec.keys"),
        ("keys", json!(["a", "a"]), "spec.keys"),
        ("keys", json!(["a", 1]), "spec.keys[1]"),
        ("parts", json!([{"name": "a"}, {"name": "a", "size": 2}]), "spec.parts"),
        ("parts", json!([{"name": "a", "colour": 2}]), "spec.parts[0].colour"),
        ("one", json!({}), "spec.one"),
        ("one", json!({"a": "x", "b": "y"}), "spec.one"),
        ("at", json!("yesterday"), "spec.at"),
        ("unknown", json!(1), "spec.unknown"),
    ] {
        let mut spec = json!({"name": "abc"});
        spec[field] = planted.clone();
        assert!(problems(spec).contains(&path.to_owned()), "{field} as {planted}");
    }
    assert_eq!(problems(json!({})), ["spec.name"]);
}

#[test]
fn what_is_not_defined_is_not_judged() {
    let other = json!({"apiVersion": "example.org/v2", "kind": "Thing", "metadata": {"name": "x"}});
    assert_eq!(definitions().problems(&other), None);
    assert!(Definitions::default().is_empty() && !definitions().is_empty());
    let nameless = json!({"apiVersion": "example.org/v1", "kind": "Thing", "spec": {"name": "ab"},
        "more": 1});
    let found = definitions().problems(&nameless).expect("a known kind");
    assert_eq!(
        found.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(),
        ["metadata.name", "more"]
    );
}
