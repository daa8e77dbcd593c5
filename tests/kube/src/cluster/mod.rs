//! One cluster's state, and what each verb does to it. No I/O: the time of a write is handed in.

pub mod definition;
pub mod delete;
pub mod merge_patch;
pub mod patch;
pub mod read;
pub mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::apply::managed::Writer;
use crate::failure::{Cause, Failure};
use crate::kinds::{Kinds, Resource};
use crate::path::Query;
use crate::schema::rules::Unknown;
use crate::store::{Key, Store};

/// What can be set about a server before it starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many changes watches can still be told; older ones answer 410.
    pub window: usize,
    /// Serves definitions whose rules cannot all be asked here, without those rules. They are told
    /// by `unknown_rules`.
    pub ignore_unknown_rules: bool,
    /// Milliseconds between the bookmarks of a watch that wants them.
    pub bookmarks_ms: u64,
    /// Whether it speaks TLS, by a certificate made at its start.
    pub tls: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { window: 10_000, ignore_unknown_rules: false, bookmarks_ms: 60_000, tls: false }
    }
}

/// Everything a request says beside its body.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The kind asked for.
    pub resource: Arc<Resource>,
    /// The namespace of the path; empty without one.
    pub namespace: String,
    /// `status`, where that is written.
    pub subresource: Option<String>,
    /// The parameters.
    pub query: Query,
    /// Who writes, where the request names nobody: the first part of its user agent.
    pub agent: String,
    /// The time of the request, as objects write it.
    pub now: String,
}

impl Ask {
    pub(crate) fn key(&self, name: &str) -> Key {
        let namespace =
            if self.resource.namespaced { self.namespace.clone() } else { String::new() };
        (namespace, name.to_owned())
    }

    pub(crate) fn writer(&self, apply: bool) -> Writer {
        let manager = self.query.get("fieldManager").unwrap_or(&self.agent);
        Writer {
            manager: manager.to_owned(),
            apply,
            api_version: self.resource.api_version(),
            subresource: self.subresource.clone(),
        }
    }

    pub(crate) fn writes_status(&self) -> bool {
        self.subresource.as_deref() == Some("status")
    }

    pub(crate) fn dry_run(&self) -> bool {
        self.query.get("dryRun") == Some("All")
    }
}

/// Looks at every object that is written to a kind that is defined, and names what is wrong.
pub type Webhook = fn(&Resource, &Value) -> Vec<Cause>;

/// One cluster.
#[derive(Debug)]
pub struct Cluster {
    /// What is served.
    pub kinds: Kinds,
    /// What is kept.
    pub store: Store,
    pub(crate) options: Options,
    /// Rules of served definitions that are not asked.
    pub unknown: Vec<Unknown>,
    /// What refuses objects beside their schemas, by its name.
    pub(crate) webhook: Option<(String, Webhook)>,
    /// The rest of lists that are read in pages, by token.
    pub(crate) pages: BTreeMap<String, read::Page>,
}

impl Cluster {
    /// A cluster with the namespaces that every one has.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let mut cluster = Self {
            kinds: Kinds::built_in(),
            store: Store::new(options.window),
            options,
            unknown: Vec::new(),
            webhook: None,
            pages: BTreeMap::new(),
        };
        for name in ["default", "kube-system"] {
            let namespace = json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {
                    "name": name,
                    "uid": uid(),
                    "creationTimestamp": "2026-01-01T00:00:00Z",
                    "labels": { "kubernetes.io/metadata.name": name },
                },
                "spec": { "finalizers": ["kubernetes"] },
                "status": { "phase": "Active" },
            });
            cluster.store.put("/namespaces", (String::new(), name.to_owned()), namespace);
        }
        // Nobody has seen these versions, and a watch from one of them is as good as from none.
        cluster.store.compact();
        cluster
    }

    /// One object as it is kept.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn kept(&self, ask: &Ask, name: &str) -> Result<Arc<Value>, Failure> {
        let found = self.store.get(&ask.resource.storage(), &ask.key(name));
        found.cloned().ok_or_else(|| Failure::not_found(&ask.resource, name))
    }
}

/// A new object's identity.
pub(crate) fn uid() -> String {
    let hex = continuum_runtime::seed::secret();
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

/// An object's own name.
pub(crate) fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}
