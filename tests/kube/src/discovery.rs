//! What the server says it serves.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::kinds::{Kinds, Resource};

/// The release whose behaviour is followed.
pub const MINOR: u32 = 33;

/// `/version`.
#[must_use]
pub fn version() -> Value {
    json!({
        "major": "1",
        "minor": MINOR.to_string(),
        "gitVersion": format!("v1.{MINOR}.0"),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "none",
        "platform": "linux/amd64",
    })
}

/// `/api`.
#[must_use]
pub fn core_versions() -> Value {
    json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] })
}

fn group(name: &str, versions: &[&str]) -> Value {
    let entry =
        |version: &&str| json!({ "groupVersion": format!("{name}/{version}"), "version": version });
    json!({
        "name": name,
        "versions": versions.iter().map(entry).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(entry),
    })
}

/// `/apis`, or one group of it.
#[must_use]
pub fn groups(kinds: &Kinds, only: Option<&str>) -> Option<Value> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for kind in kinds.all().filter(|kind| !kind.group.is_empty()) {
        let versions = found.entry(&kind.group).or_default();
        if !versions.contains(&kind.version.as_str()) {
            versions.push(&kind.version);
        }
    }
    if let Some(name) = only {
        let mut one = group(name, found.get(name)?);
        one["kind"] = json!("APIGroup");
        one["apiVersion"] = json!("v1");
        return Some(one);
    }
    let all: Vec<Value> = found.iter().map(|(name, versions)| group(name, versions)).collect();
    Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": all }))
}

fn entry(kind: &Resource) -> Value {
    let mut entry = json!({
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": [
            "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"
        ],
    });
    if !kind.short.is_empty() {
        entry["shortNames"] = json!(kind.short);
    }
    entry
}

/// The kinds of one version of a group.
#[must_use]
pub fn resources(kinds: &Kinds, group: &str, version: &str) -> Option<Value> {
    let mut found = Vec::new();
    for kind in kinds.all().filter(|kind| kind.group == group && kind.version == version) {
        found.push(entry(kind));
        if kind.status {
            let mut status = entry(kind);
            status["name"] = json!(format!("{}/status", kind.plural));
            status["verbs"] = json!(["get", "patch", "update"]);
            found.push(status);
        }
        if kind.kind == "Pod" && !kind.custom {
            found.push(json!({
                "name": "pods/exec", "singularName": "", "namespaced": true,
                "kind": "PodExecOptions", "verbs": ["create", "get"],
            }));
        }
    }
    let served = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    (!found.is_empty()).then(|| {
        json!({
            "kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": served, "resources": found,
        })
    })
}
