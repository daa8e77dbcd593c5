//! `Pooler`: PgBouncer beside a Cluster.

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::backup::ClusterReference;

/// What a pooler should be.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(group = "postgresql.cnpg.io", version = "v1", kind = "Pooler", plural = "poolers")]
#[kube(namespaced, schema = "disabled", status = "PoolerStatus", derive = "PartialEq")]
pub struct PoolerSpec {
    /// Of which Cluster.
    pub cluster: Option<ClusterReference>,
    /// How many there should be.
    pub instances: Option<u32>,
    /// `rw`, `ro` or `r`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// PgBouncer's own settings.
    pub pgbouncer: Option<PgBouncer>,
}

/// `spec.pgbouncer`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PgBouncer {
    /// `session` or `transaction`.
    pub pool_mode: Option<String>,
    /// Whether clients wait.
    pub paused: Option<bool>,
    /// Settings, by name.
    pub parameters: Option<BTreeMap<String, String>>,
}

/// How a pooler stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolerStatus {
    /// How many there are; not how many are paused.
    pub instances: Option<u32>,
    /// `active`, `paused`, `inactive` or `failed`.
    pub phase: Option<String>,
    /// Why.
    pub phase_reason: Option<String>,
    /// What is wrong.
    pub error: Option<String>,
}
