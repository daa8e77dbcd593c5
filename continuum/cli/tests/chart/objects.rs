//! Every object is one that Kubernetes knows, with no field that it does not.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{cases, kind, name, objects, values};

/// What a type of Kubernetes makes of an object: what it does not know is not in it any more.
fn known<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, String> {
    let typed: T = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    serde_json::to_value(typed).map_err(|error| error.to_string())
}

/// The fields of others' kinds that the chart uses, as their definitions have them.
fn fields_of(api: &str, kind: &str) -> Option<Value> {
    let any = json!(null);
    let issuer = json!({ "group": any, "kind": any, "name": any });
    let key = json!({ "algorithm": any, "size": any, "encoding": any, "rotationPolicy": any });
    let secret = json!({ "name": any, "key": any });
    let selector = json!({ "matchLabels": any });
    let tls = json!({
        "serverName": any, "ca": { "secret": secret }, "cert": { "secret": secret }, "keySecret": secret,
    });
    let endpoint =
        json!({ "port": any, "scheme": any, "path": any, "interval": any, "tlsConfig": tls });
    let rule = json!({ "alert": any, "expr": any, "for": any, "labels": any, "annotations": any });
    Some(match (api, kind) {
        ("cert-manager.io/v1", "Certificate") => json!({
            "secretName": any, "dnsNames": any, "usages": any, "duration": any, "renewBefore": any,
            "privateKey": key, "issuerRef": issuer,
        }),
        ("monitoring.coreos.com/v1", "ServiceMonitor") => {
            json!({ "selector": selector, "endpoints": [endpoint] })
        }
        ("monitoring.coreos.com/v1", "PodMonitor") => {
            json!({ "selector": selector, "podMetricsEndpoints": [endpoint] })
        }
        ("monitoring.coreos.com/v1", "PrometheusRule") => {
            json!({ "groups": [{ "name": any, "rules": [rule] }] })
        }
        _ => return None,
    })
}

/// What of `value` a shape has; null is anything.
fn cut(value: &Value, shape: &Value) -> Value {
    match (value, shape) {
        (_, Value::Null) => value.clone(),
        (Value::Object(map), Value::Object(shape)) => {
            let kept = map.iter().filter_map(|(k, v)| Some((k.clone(), cut(v, shape.get(k)?))));
            Value::Object(kept.collect())
        }
        (Value::Array(items), Value::Array(shape)) => {
            Value::Array(items.iter().map(|item| cut(item, &shape[0])).collect())
        }
        _ => Value::Null,
    }
}

/// What is wrong with an object.
fn problem(object: &Value) -> Option<String> {
    let api = object["apiVersion"].as_str().unwrap_or_default();
    let known = match (api, kind(object)) {
        ("v1", "ConfigMap") => known::<ConfigMap>(object),
        ("v1", "Service") => known::<Service>(object),
        ("v1", "ServiceAccount") => known::<ServiceAccount>(object),
        ("v1", "PersistentVolumeClaim") => known::<PersistentVolumeClaim>(object),
        ("apps/v1", "StatefulSet") => known::<StatefulSet>(object),
        ("apps/v1", "Deployment") => known::<Deployment>(object),
        ("policy/v1", "PodDisruptionBudget") => known::<PodDisruptionBudget>(object),
        ("networking.k8s.io/v1", "NetworkPolicy") => known::<NetworkPolicy>(object),
        ("rbac.authorization.k8s.io/v1", "Role") => known::<Role>(object),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => known::<RoleBinding>(object),
        (api, kind) => match fields_of(api, kind) {
            None => return Some(format!("{api} {kind} is no kind that is known")),
            Some(shape) => {
                let mut whole = object.clone();
                whole["spec"] = cut(&object["spec"], &shape);
                Ok(whole)
            }
        },
    };
    match known {
        Err(error) => Some(error),
        Ok(known) => (known != *object).then(|| format!("is read as {known}")),
    }
}

#[test]
fn every_object_is_one_that_kubernetes_knows() {
    let mut kinds = BTreeSet::new();
    for (case, objects) in cases() {
        let mut seen = BTreeSet::new();
        for object in objects {
            assert_eq!(problem(&object), None, "{case}: {} {}", kind(&object), name(&object));
            // Rights alone are where the members are.
            let elsewhere = kind(&object).starts_with("Role");
            let namespace = object["metadata"]["namespace"].as_str();
            assert!(namespace == Some("db") || elsewhere, "{case}: {}", name(&object));
            kinds.insert(kind(&object).to_owned());
            let identity = [kind(&object), name(&object), namespace.unwrap()].map(str::to_owned);
            assert!(seen.insert(identity), "{case}: twice {object}");
        }
    }
    assert_eq!(kinds.len(), 14, "{kinds:?}");
}

#[test]
fn a_planted_field_or_kind_is_seen() {
    let objects = objects(&values("full"));
    for object in &objects {
        let mut planted = object.clone();
        let inner = if planted.get("spec").is_some() { "spec" } else { "metadata" };
        planted[inner]["unheardOf"] = json!(1);
        assert!(problem(&planted).is_some(), "{} {}", kind(object), name(object));
    }
    let deployment = objects.iter().find(|object| kind(object) == "Deployment").unwrap();
    let mut planted = deployment.clone();
    planted["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = json!({});
    assert!(problem(&planted).is_some());
    planted = deployment.clone();
    planted["spec"]["replicas"] = json!("2");
    assert!(problem(&planted).is_some());
    planted["kind"] = json!("DaemonSets");
    assert!(problem(&planted).is_some());
}
