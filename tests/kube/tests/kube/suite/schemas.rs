//! Kinds that are defined: schema, rules, status.

use serde_json::{Value, json};

use crate::subject::{DEFINITIONS, MERGE, Subject};

fn text() -> Value {
    json!({ "type": "string" })
}

pub async fn unknown_fields_are_dropped_and_defaults_filled_in(s: &Subject) {
    s.define(json!({ "type": "object", "properties": {
        "a": text(),
        "size": { "type": "integer", "default": 3 },
        "inner": {
            "type": "object",
            "properties": { "mode": { "type": "string", "default": "slow" } },
        },
        "open": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
        "pairs": { "type": "object", "additionalProperties": text() },
    } }))
    .await;
    let spec = json!({
        "a": "1", "typo": true, "inner": { "typo": 1 }, "open": { "free": [1] }, "pairs": { "x": "y" },
    });
    let made = s.post(&s.things(), s.thing("one", spec)).await.unwrap();
    let due = json!({
        "a": "1", "size": 3, "inner": { "mode": "slow" }, "open": { "free": [1] }, "pairs": { "x": "y" },
    });
    assert_eq!(made["spec"], due);
    let made = s.post(&s.things(), s.thing("two", json!({}))).await.unwrap();
    assert_eq!(made["spec"], json!({ "size": 3 }));
}

pub async fn unknown_fields_are_refused_where_asked(s: &Subject) {
    if s.is_older_than(25, "strict field validation") {
        return;
    }
    s.define(json!({ "type": "object", "properties": { "a": text() } })).await;
    let strict = format!("{}?fieldValidation=Strict", s.things());
    let refused =
        s.post(&strict, s.thing("one", json!({ "a": "1", "typo": 1 }))).await.unwrap_err();
    refused.is(400, "BadRequest");
    assert!(refused.message.contains("unknown field \"spec.typo\""), "{refused:?}");
    s.post(&strict, s.thing("one", json!({ "a": "1" }))).await.unwrap();
    let one = format!("{}/one?fieldValidation=Strict", s.things());
    let refused = s.patch(MERGE, &one, json!({ "spec": { "typo": 1 } })).await.unwrap_err();
    assert!(refused.message.contains("unknown field \"spec.typo\""), "{refused:?}");
}

pub async fn a_schema_refuses_by_field(s: &Subject) {
    s.define(json!({ "type": "object", "required": ["needed"], "properties": {
        "needed": text(),
        "size": { "type": "integer", "minimum": 1, "maximum": 5 },
        "mode": { "type": "string", "enum": ["slow", "fast"] },
        "name": { "type": "string", "pattern": "^[a-z]+$", "maxLength": 4 },
        "either": { "x-kubernetes-int-or-string": true },
        "list": { "type": "array", "maxItems": 2, "items": {
            "type": "object", "required": ["x"], "properties": { "x": text() },
        } },
        "set": { "type": "array", "x-kubernetes-list-type": "set", "items": text() },
        "maybe": { "type": "string", "nullable": true },
    } }))
    .await;
    let good = json!({
        "needed": "x", "size": 5, "mode": "fast", "name": "abcd", "either": "50%",
        "list": [{ "x": "1" }], "set": ["a", "b"], "maybe": null,
    });
    s.post(&s.things(), s.thing("good", good.clone())).await.unwrap();
    for (field, value, at, reason) in [
        ("needed", Value::Null, "spec.needed", "FieldValueRequired"),
        ("size", json!(0), "spec.size", "FieldValueInvalid"),
        ("size", json!(6), "spec.size", "FieldValueInvalid"),
        ("size", json!("big"), "spec.size", "FieldValueTypeInvalid"),
        ("mode", json!("other"), "spec.mode", "FieldValueNotSupported"),
        ("name", json!("A"), "spec.name", "FieldValueInvalid"),
        ("name", json!("abcde"), "spec.name", "FieldValueTooLong"),
        ("either", json!(true), "spec.either", "FieldValueTypeInvalid"),
        ("list", json!([{}]), "spec.list[0].x", "FieldValueRequired"),
        ("list", json!([{"x": "1"}, {"x": "1"}, {"x": "1"}]), "spec.list", "FieldValueTooMany"),
        ("set", json!(["a", "a"]), "spec.set[1]", "FieldValueDuplicate"),
    ] {
        let mut spec = good.clone();
        if value.is_null() {
            spec.as_object_mut().unwrap().remove(field);
        } else {
            spec[field] = value;
        }
        let refused = s.post(&s.things(), s.thing("bad", spec)).await.unwrap_err();
        refused.is(422, "Invalid");
        let found = refused.causes();
        let (where_it_is, why) = found.first().unwrap_or_else(|| panic!("{refused:?}"));
        // Older servers do not say which item of a list it is, and know fewer reasons.
        if s.minor >= 25 {
            assert_eq!((where_it_is.as_str(), why.as_str()), (at, reason), "{refused:?}");
        } else {
            assert_eq!(where_it_is.as_str(), at.replace("[0]", ""), "{refused:?}");
        }
        assert_eq!(
            (&refused.details["name"], &refused.details["kind"]),
            (&json!("bad"), &json!("Thing"))
        );
    }
    // A patch is held to it too, and nothing of it is left.
    let path = format!("{}/good", s.things());
    s.patch(MERGE, &path, json!({ "spec": { "size": 9 } })).await.unwrap_err().is(422, "Invalid");
    assert_eq!(s.get(&path).await.unwrap()["spec"]["size"], 5);
}

pub async fn a_rule_refuses_by_its_message(s: &Subject) {
    if s.is_older_than(25, "rules in CEL") {
        return;
    }
    s.define(json!({ "type": "object",
        "properties": {
            "low": { "type": "integer" },
            "high": { "type": "integer" },
            "namespace": text(),
            "names": { "type": "array", "maxItems": 10, "items": {
                "type": "string", "maxLength": 20,
                "x-kubernetes-validations": [
                    { "rule": "self.startsWith('n-')", "message": "must begin with n-" },
                ],
            } },
        },
        "x-kubernetes-validations": [
            { "rule": "!has(self.low) || !has(self.high) || self.low <= self.high",
              "message": "low is above high" },
            { "rule": "!has(self.namespace) || self.namespace.size() < 50",
              "message": "the plain name is short" },
            { "rule": "!has(self.__namespace__) || self.__namespace__ != 'no'" },
        ],
    }))
    .await;
    let good = json!({ "low": 1, "high": 2, "names": ["n-a"] });
    s.post(&s.things(), s.thing("good", good)).await.unwrap();
    let refused =
        s.post(&s.things(), s.thing("bad", json!({ "low": 3, "high": 2 }))).await.unwrap_err();
    refused.is(422, "Invalid");
    assert!(refused.message.contains("low is above high"), "{refused:?}");
    assert_eq!(refused.causes()[0].0, "spec");
    let refused =
        s.post(&s.things(), s.thing("bad", json!({ "names": ["n-a", "x"] }))).await.unwrap_err();
    assert!(refused.message.contains("must begin with n-"), "{refused:?}");
    assert_eq!(refused.causes()[0].0, "spec.names[1]");
    let refused =
        s.post(&s.things(), s.thing("bad", json!({ "namespace": "no" }))).await.unwrap_err();
    assert!(refused.message.contains("failed rule: !has(self.__namespace__)"), "{refused:?}");
}

pub async fn a_rule_compares_with_before(s: &Subject) {
    if s.is_older_than(25, "rules in CEL") {
        return;
    }
    s.define(json!({ "type": "object", "properties": {
        "fixed": {
            "type": "string",
            "x-kubernetes-validations": [
                { "rule": "self == oldSelf", "message": "it is fixed" },
            ],
        },
        "items": {
            "type": "array", "maxItems": 10,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object", "required": ["name"],
                "properties": { "name": text(), "at": { "type": "integer" } },
                "x-kubernetes-validations": [
                    { "rule": "self.at >= oldSelf.at", "message": "it only grows" },
                ],
            },
        },
    } }))
    .await;
    let spec =
        json!({ "fixed": "a", "items": [{ "name": "x", "at": 2 }, { "name": "y", "at": 5 }] });
    s.post(&s.things(), s.thing("one", spec)).await.unwrap();
    let one = format!("{}/one", s.things());
    let refused = s.patch(MERGE, &one, json!({ "spec": { "fixed": "b" } })).await.unwrap_err();
    assert!(refused.message.contains("it is fixed"), "{refused:?}");
    // Found by its key, wherever it stands now.
    let items =
        json!({ "spec": { "items": [{ "name": "y", "at": 6 }, { "name": "x", "at": 1 }] } });
    let refused = s.patch(MERGE, &one, items).await.unwrap_err();
    assert!(refused.message.contains("it only grows"), "{refused:?}");
    let items =
        json!({ "spec": { "items": [{ "name": "new", "at": 0 }, { "name": "x", "at": 2 }] } });
    s.patch(MERGE, &one, items).await.unwrap();
}

pub async fn spec_and_status_are_written_apart(s: &Subject) {
    s.define(json!({ "type": "object", "properties": { "a": text() } })).await;
    let one = format!("{}/one", s.things());
    let status = format!("{one}/status");
    let mut body = s.thing("one", json!({ "a": "1" }));
    body["status"] = json!({ "phase": "made" });
    let made = s.post(&s.things(), body).await.unwrap();
    assert!(made["status"].is_null(), "a new object has no status");
    assert_eq!(made["metadata"]["generation"], 1);

    let both = json!({
        "spec": { "a": "2" }, "status": { "phase": "ready" }, "metadata": { "labels": { "x": "y" } },
    });
    let done = s.patch(MERGE, &status, both.clone()).await.unwrap();
    assert_eq!((&done["spec"]["a"], &done["status"]["phase"]), (&json!("1"), &json!("ready")));
    assert!(done["metadata"]["labels"].is_null());
    assert_eq!(done["metadata"]["generation"], 1);

    let mut both = both;
    both["status"]["phase"] = json!("lost");
    let done = s.patch(MERGE, &one, both).await.unwrap();
    assert_eq!((&done["spec"]["a"], &done["status"]["phase"]), (&json!("2"), &json!("ready")));
    assert_eq!(done["metadata"]["generation"], 2);
    let labels = json!({ "metadata": { "labels": { "x": "z" } } });
    assert_eq!(s.patch(MERGE, &one, labels).await.unwrap()["metadata"]["generation"], 2);

    let mut whole = s.get(&one).await.unwrap();
    whole["status"] = json!({ "phase": "replaced" });
    whole["spec"]["a"] = json!("3");
    let done = s.put(&status, whole.clone()).await.unwrap();
    assert_eq!((&done["spec"]["a"], &done["status"]["phase"]), (&json!("2"), &json!("replaced")));
    s.put(&status, whole).await.unwrap_err().is(409, "Conflict");
    assert_eq!(s.get(&status).await.unwrap()["status"]["phase"], "replaced");
}

pub async fn a_definition_must_be_served_as_named(s: &Subject) {
    let mut wrong = s.definition(json!({ "type": "object" }));
    wrong["metadata"]["name"] = json!(format!("others.{}", s.group()));
    let refused = s.post(DEFINITIONS, wrong).await.unwrap_err();
    refused.is(422, "Invalid");
    assert_eq!(refused.causes()[0].0, "metadata.name");
    let mut without = s.definition(json!({ "type": "object" }));
    without["spec"]["versions"][0].as_object_mut().unwrap().remove("schema");
    s.post(DEFINITIONS, without).await.unwrap_err().is(422, "Invalid");
}

pub async fn a_kind_goes_with_its_definition(s: &Subject) {
    s.define(json!({ "type": "object", "properties": { "a": text() } })).await;
    s.post(&s.things(), s.thing("one", json!({ "a": "1" }))).await.unwrap();
    let definition = format!("{DEFINITIONS}/things.{}", s.group());
    s.delete(&definition, Value::Null).await.unwrap();
    s.until("the kind is gone", async || {
        s.get(&s.things()).await.is_err_and(|refused| refused.code == 404)
    })
    .await;
    s.until("the definition is gone", async || {
        s.get(&definition).await.is_err_and(|refused| refused.code == 404)
    })
    .await;
    s.define(json!({ "type": "object", "properties": { "a": text() } })).await;
    let again = s.get(&s.things()).await.unwrap();
    assert_eq!(again["items"], json!([]));
}
