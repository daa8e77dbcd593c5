//! `Cluster`: what was asked of the operator.

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys;
use super::status::ClusterStatus;

/// The spec of a Cluster, as far as it is read.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(group = "postgresql.cnpg.io", version = "v1", kind = "Cluster", plural = "clusters")]
#[kube(namespaced, schema = "disabled", status = "ClusterStatus", derive = "PartialEq")]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// How many instances there should be.
    pub instances: Option<u32>,
    /// Where the Cluster stands in the distributed topology.
    pub replica: Option<ReplicaSpec>,
    /// Clusters that can be streamed or restored from, by name.
    pub external_clusters: Option<Vec<ExternalCluster>>,
    /// How the data directory is made.
    pub bootstrap: Option<Bootstrap>,
    /// PostgreSQL's own configuration.
    pub postgresql: Option<PostgresSpec>,
    /// Probes of the instances.
    pub probes: Option<Probes>,
    /// Plugins, the archiver among them.
    pub plugins: Option<Vec<Plugin>>,
    /// Seconds before a failing primary is replaced.
    pub failover_delay: Option<i64>,
    /// Bound of a fast shutdown in seconds; the operator takes an hour where it is missing.
    pub switchover_delay: Option<i64>,
    /// Bound of a stop in seconds.
    pub stop_delay: Option<i64>,
    /// Seconds of a smart shutdown, in which open sessions go on committing.
    pub smart_shutdown_timeout: Option<i64>,
    /// Seconds an instance may take to start.
    pub start_delay: Option<i64>,
    /// Seconds without an answer before an instance is restarted.
    pub liveness_probe_timeout: Option<i64>,
}

/// `spec.replica`. What is not known is kept: a whole value is compared and replaced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaSpec {
    /// The Cluster's own name in the topology; its `metadata.name` where it is missing.
    #[serde(rename = "self", skip_serializing_if = "Option::is_none")]
    pub own: Option<String>,
    /// The name of the primary Cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// The name of the Cluster to stream from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The older switch; excludes `primary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// What a promotion waits to have replayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promotion_token: Option<String>,
    /// A wanted delay of replay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_apply_delay: Option<String>,
    /// Fields of newer operators.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// One of `spec.externalClusters`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalCluster {
    /// Its name in the topology.
    pub name: String,
    /// How to reach it, by libpq's words.
    pub connection_parameters: Option<BTreeMap<String, String>>,
    /// The client's key.
    pub ssl_key: Option<SecretKey>,
    /// The client's certificate.
    pub ssl_cert: Option<SecretKey>,
    /// The authority of the server's certificate.
    pub ssl_root_cert: Option<SecretKey>,
    /// The password.
    pub password: Option<SecretKey>,
    /// Its archive, by a plugin.
    pub plugin: Option<Plugin>,
}

/// A key of a Secret; never its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretKey {
    /// The Secret.
    pub name: Option<String>,
    /// The key in it.
    pub key: Option<String>,
}

/// A plugin and its parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plugin {
    /// Its name.
    pub name: String,
    /// Whether it is in use.
    pub enabled: Option<bool>,
    /// Whether it archives WAL.
    #[serde(rename = "isWALArchiver")]
    pub is_wal_archiver: Option<bool>,
    /// Its parameters.
    pub parameters: Option<BTreeMap<String, String>>,
}

/// `spec.bootstrap`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// A new data directory.
    pub initdb: Option<Value>,
    /// A copy of a running Cluster.
    pub pg_basebackup: Option<BootstrapSource>,
    /// A copy out of an archive.
    pub recovery: Option<BootstrapSource>,
}

/// Where a copy comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapSource {
    /// A name of `externalClusters`.
    pub source: Option<String>,
}

/// `spec.postgresql`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PostgresSpec {
    /// Settings, by name.
    pub parameters: Option<BTreeMap<String, String>>,
    /// Whom a commit waits for.
    pub synchronous: Option<Synchronous>,
}

/// `spec.postgresql.synchronous`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Synchronous {
    /// `any` or `first`.
    pub method: Option<String>,
    /// How many must answer.
    pub number: Option<i64>,
    /// How many instances of the Cluster itself are listed.
    pub max_standby_names_from_cluster: Option<i64>,
    /// Names before those of the Cluster.
    pub standby_names_pre: Option<Vec<String>>,
    /// Names after those of the Cluster.
    pub standby_names_post: Option<Vec<String>>,
    /// `required` or `preferred`.
    pub data_durability: Option<String>,
    /// Whether a failover in the Cluster needs a quorum.
    pub failover_quorum: Option<bool>,
    /// Labels of pods that part failure domains.
    pub pod_failure_domain_keys: Option<Vec<String>>,
    /// Labels of nodes that part failure domains.
    pub node_failure_domain_keys: Option<Vec<String>>,
}

/// `spec.probes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probes {
    /// The liveness probe.
    pub liveness: Option<Liveness>,
}

/// `spec.probes.liveness`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Liveness {
    /// Whether a primary that reaches nobody ends.
    pub isolation_check: Option<IsolationCheck>,
}

/// `spec.probes.liveness.isolationCheck`; times in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IsolationCheck {
    /// Whether it is on.
    pub enabled: Option<bool>,
    /// Longest wait for an answer.
    pub request_timeout: Option<i64>,
    /// Longest wait for a connection.
    pub connection_timeout: Option<i64>,
}

impl Cluster {
    /// One annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// The Cluster's name in the topology.
    pub fn own_name(&self) -> Option<&str> {
        let own = self.spec.replica.as_ref().and_then(|replica| replica.own.as_deref());
        own.or(self.metadata.name.as_deref())
    }

    /// Whether the spec asks for a replica, by the operator's own rule; `None` where the Cluster has
    /// no name.
    pub fn asks_for_replica(&self) -> Option<bool> {
        let Some(replica) = &self.spec.replica else { return Some(false) };
        if let Some(enabled) = replica.enabled {
            return Some(enabled);
        }
        match &replica.primary {
            Some(primary) => Some(self.own_name()? != primary),
            None => Some(false),
        }
    }

    /// The names in the fence annotation. `Err` is what stands there and is no JSON list.
    pub fn fenced(&self) -> Result<Vec<String>, String> {
        let Some(text) = self.annotation(keys::FENCED) else { return Ok(Vec::new()) };
        serde_json::from_str(text).map_err(|_| text.to_owned())
    }

    /// The plugin that archives WAL, with the store and the server's name in it.
    pub fn archive(&self) -> Option<(Option<&str>, &str)> {
        let archives = |plugin: &&Plugin| {
            plugin.is_wal_archiver == Some(true) && plugin.enabled != Some(false)
        };
        let plugin = self.spec.plugins.as_ref()?.iter().find(archives)?;
        plugin.place(self.metadata.name.as_deref())
    }
}

impl ExternalCluster {
    /// The store of its archive, and the server's name in it.
    pub fn archive(&self) -> Option<(Option<&str>, &str)> {
        self.plugin.as_ref()?.place(Some(&self.name))
    }
}

impl Plugin {
    fn place<'a>(&'a self, own: Option<&'a str>) -> Option<(Option<&'a str>, &'a str)> {
        let parameter = |key: &str| self.parameters.as_ref()?.get(key).map(String::as_str);
        let server = parameter("serverName").or(own)?;
        Some((parameter("barmanObjectName"), server))
    }
}
