//! The kinds that are served: those every cluster has, and those that definitions add.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::schema::rules::Rules;

/// A kind of object at one version, as it is served.
#[derive(Clone, Debug)]
pub struct Resource {
    /// The API group; empty for the core's.
    pub group: String,
    /// The version within it.
    pub version: String,
    /// The kind, as in `kind`.
    pub kind: String,
    /// The name in paths.
    pub plural: String,
    /// The name of one.
    pub singular: String,
    /// Short names, for discovery.
    pub short: Vec<String>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether it has a status of its own writers.
    pub status: bool,
    /// Whether a definition brought it.
    pub custom: bool,
    /// Its structural schema; of a kind every cluster has only what merging needs.
    pub schema: Arc<Value>,
    /// Its rules, compiled.
    pub rules: Arc<Rules>,
}

impl Resource {
    /// What `apiVersion` says.
    #[must_use]
    pub fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// The plural with its group, as messages name it.
    #[must_use]
    pub fn qualified(&self) -> String {
        match self.group.as_str() {
            "" => self.plural.clone(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// Where its objects are kept: all versions of a kind are one.
    #[must_use]
    pub fn storage(&self) -> String {
        format!("{}/{}", self.group, self.plural)
    }
}

/// Everything that is served, by group, version and plural.
#[derive(Clone, Debug, Default)]
pub struct Kinds(BTreeMap<(String, String, String), Arc<Resource>>);

impl Kinds {
    /// The kinds every cluster has, as far as tests need them.
    #[must_use]
    pub fn built_in() -> Self {
        let mut kinds = Self::default();
        for (group, version, kind, plural, namespaced, status) in BUILT_IN {
            kinds.add(Resource {
                group: (*group).into(),
                version: (*version).into(),
                kind: (*kind).into(),
                plural: (*plural).into(),
                singular: kind.to_lowercase(),
                short: Vec::new(),
                namespaced: *namespaced,
                status: *status,
                custom: false,
                schema: Arc::new(built_in_schema(kind)),
                rules: Arc::default(),
            });
        }
        kinds
    }

    /// Serves one more.
    pub fn add(&mut self, resource: Resource) {
        let key = (resource.group.clone(), resource.version.clone(), resource.plural.clone());
        self.0.insert(key, Arc::new(resource));
    }

    /// Serves none of a definition's versions any more.
    pub fn remove(&mut self, group: &str, plural: &str) {
        self.0.retain(|(at, _, name), _| (at.as_str(), name.as_str()) != (group, plural));
    }

    /// The kind at a path.
    #[must_use]
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.0.get(&(group.into(), version.into(), plural.into())).cloned()
    }

    /// All of them, sorted.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.0.values()
    }
}

/// Group, version, kind, plural, whether namespaced, whether with status.
const BUILT_IN: &[(&str, &str, &str, &str, bool, bool)] = &[
    ("", "v1", "Namespace", "namespaces", false, true),
    ("", "v1", "Pod", "pods", true, true),
    ("", "v1", "Secret", "secrets", true, false),
    ("", "v1", "ConfigMap", "configmaps", true, false),
    ("", "v1", "Service", "services", true, true),
    ("", "v1", "Event", "events", true, false),
    ("", "v1", "ServiceAccount", "serviceaccounts", true, false),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", true, true),
    ("apps", "v1", "Deployment", "deployments", true, true),
    ("apps", "v1", "StatefulSet", "statefulsets", true, true),
    ("coordination.k8s.io", "v1", "Lease", "leases", true, false),
    ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", true, false),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", true, false),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", true, true),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles", true, false),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", true, false),
    (
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        false,
        true,
    ),
];

fn keyed(keys: &[&str], items: Value) -> Value {
    let mut items = items;
    items["type"] = json!("object");
    items["x-kubernetes-preserve-unknown-fields"] = json!(true);
    json!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": keys,
        "items": items,
    })
}

fn open(properties: Value) -> Value {
    json!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": properties,
    })
}

/// What of metadata merges otherwise than by key.
pub(crate) fn metadata_schema() -> Value {
    let text = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    open(json!({
        "labels": text,
        "annotations": text,
        "finalizers": {
            "type": "array", "x-kubernetes-list-type": "set", "items": { "type": "string" }
        },
        "ownerReferences": keyed(&["uid"], json!({})),
    }))
}

fn pod_spec() -> Value {
    let container = json!({ "properties": {
        "env": keyed(&["name"], json!({})),
        "ports": keyed(&["containerPort", "protocol"], json!({ "properties": {
            "protocol": { "type": "string", "default": "TCP" },
        } })),
        "volumeMounts": keyed(&["mountPath"], json!({})),
    } });
    open(json!({
        "containers": keyed(&["name"], container.clone()),
        "initContainers": keyed(&["name"], container),
        "volumes": keyed(&["name"], json!({})),
    }))
}

/// The lists of these kinds that are merged by key; everything else is taken as it comes.
fn built_in_schema(kind: &str) -> Value {
    let conditions = open(json!({ "conditions": keyed(&["type"], json!({})) }));
    let text = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let spec = match kind {
        "Pod" => pod_spec(),
        "Service" => open(json!({
            "ports": keyed(&["port", "protocol"], json!({ "properties": {
                "protocol": { "type": "string", "default": "TCP" },
            } })),
            "selector": text,
        })),
        "Deployment" | "StatefulSet" => open(json!({
            "template": open(json!({ "spec": pod_spec() })),
        })),
        _ => open(json!({})),
    };
    open(json!({
        "metadata": metadata_schema(),
        "spec": spec,
        "status": conditions,
        "data": text,
    }))
}
