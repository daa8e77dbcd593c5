//! `CnpgPair`: two CloudNativePG Clusters, and how they replicate.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Backups, RegionBackups, StatusCondition};
use crate::kubernetes::render::{Plan, Size};

/// Two Clusters, one in each region.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(group = "dr.openova.io", version = "v1", kind = "CnpgPair", plural = "cnpgpairs")]
#[kube(shortname = "cpp", category = "continuum", namespaced, status = "CnpgPairStatus")]
#[kube(derive = "PartialEq")]
#[kube(doc = "Two CloudNativePG Clusters in two regions, and how they replicate")]
#[kube(
    printcolumn = r#"{"name":"Primary","type":"string","jsonPath":".status.currentPrimaryRegion"}"#
)]
#[kube(printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#)]
#[kube(printcolumn = r#"{"name":"Streaming","type":"boolean","jsonPath":".status.streaming"}"#)]
#[kube(printcolumn = r#"{"name":"Lag","type":"number","jsonPath":".status.walLagSeconds"}"#)]
#[kube(printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("self.primaryCluster != self.replicaCluster")
    .message("the two Clusters need names of their own: they share one topology"))]
#[x_kube(validation = Rule::new("self.primaryRegion != self.replicaRegion")
    .message("the two Clusters must be in different regions"))]
#[x_kube(validation = Rule::new(
        "!has(self.backups) || (has(self.members.primary.store) && has(self.members.replica.store))")
    .message("backups need the store of both members"))]
pub struct CnpgPairSpec {
    /// The Cluster that is made as the primary.
    #[schemars(length(min = 1, max = 50), regex(pattern = r"^[a-z]([a-z0-9-]{0,48}[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("primaryCluster is immutable"))]
    pub primary_cluster: String,
    /// The Cluster that is made as its replica.
    #[schemars(length(min = 1, max = 50), regex(pattern = r"^[a-z]([a-z0-9-]{0,48}[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("replicaCluster is immutable"))]
    pub replica_cluster: String,
    /// The region of `primaryCluster`.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z][a-z0-9-]{0,39}$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("primaryRegion is immutable"))]
    pub primary_region: String,
    /// The region of `replicaCluster`.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z][a-z0-9-]{0,39}$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("replicaRegion is immutable"))]
    pub replica_region: String,
    /// How they stand to each other.
    #[serde(default)]
    pub topology: PairTopology,
    /// Only 0: a loss is measured in bytes of WAL, see `rpoBytes` of `Continuum`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86400))]
    pub rpo_seconds: Option<u32>,
    /// Longest time without writes that a move may cost, where `Continuum` says none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86400))]
    pub rto_seconds: Option<u32>,
    /// How large they are.
    #[serde(default)]
    pub plan: Plan,
    /// What is not as the plan has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// The image of PostgreSQL; the operator's where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub image_name: Option<String>,
    /// The database that is made.
    #[serde(default = "app")]
    #[schemars(regex(pattern = r"^[a-z_][a-z0-9_]{0,62}$"))]
    pub database: String,
    /// Its owner.
    #[serde(default = "app")]
    #[schemars(regex(pattern = r"^[a-z_][a-z0-9_]{0,62}$"))]
    pub owner: String,
    /// Where the operator runs, for the network policies.
    #[serde(default = "operator_namespace")]
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    pub operator_namespace: String,
    /// Other namespaces whose pods may connect, the agent's among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")))]
    pub client_namespaces: Vec<String>,
    /// What differs between the two.
    pub members: Members,
    /// Backups on a schedule, and on demand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backups: Option<Backups>,
    /// PgBouncer beside each Cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooler: Option<PoolerOptions>,
}

fn app() -> String {
    "app".into()
}
fn operator_namespace() -> String {
    "cnpg-system".into()
}

/// How the Clusters stand to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PairTopology {
    /// One is writable, the other follows. Two writable ones cannot be one database.
    #[default]
    ActiveHotStandby,
}

/// What differs between the two Clusters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Members {
    /// Of `primaryCluster`.
    pub primary: Member,
    /// Of `replicaCluster`.
    pub replica: Member,
}

/// One Cluster's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Member {
    /// Where the other region reaches it; its mesh Service where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub host: Option<String>,
    /// The port there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// Where its instances connect from, as the other region sees it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(regex(pattern = r"^[0-9a-fA-F.:]+/[0-9]{1,3}$")))]
    pub cidrs: Vec<String>,
    /// The class of its volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class: Option<String>,
    /// Where it archives to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<BackupStore>,
}

/// An object store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupStore {
    /// Bucket and path, for example `s3://backups/app`.
    #[schemars(length(min = 1, max = 1024))]
    pub destination_path: String,
    /// The store's address, where it is not the provider's own.
    #[serde(rename = "endpointURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub endpoint_url: Option<String>,
    /// Keys of a Secret; the role of the service account without them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3_credentials: Option<S3Credentials>,
}

/// Where the credentials are, never what they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct S3Credentials {
    /// The id of the access key.
    pub access_key_id: SecretKeyReference,
    /// The access key.
    pub secret_access_key: SecretKeyReference,
}

/// One key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeyReference {
    /// The Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// How connections are shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PoolMode {
    /// One server connection per client.
    #[default]
    Session,
    /// One server connection per transaction.
    Transaction,
}

/// PgBouncer beside a Cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolerOptions {
    /// How many.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 16))]
    pub instances: u32,
    /// How connections are shared.
    #[serde(default)]
    pub mode: PoolMode,
    /// Most clients of each.
    #[serde(default = "clients")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_clients: u32,
    /// Server connections of each.
    #[serde(default = "connections")]
    #[schemars(range(min = 1, max = 10_000))]
    pub pool_size: u32,
}

fn two() -> u32 {
    2
}
fn clients() -> u32 {
    1000
}
fn connections() -> u32 {
    25
}

/// How the two stand, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CnpgPairPhase {
    /// Not looked at yet.
    Pending,
    /// The replica streams.
    Streaming,
    /// The replica does not stream.
    Degraded,
    /// Neither is writable, or both would be.
    Failed,
    /// Not known.
    Unknown,
}

/// How the two stand. A field that is missing was not measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CnpgPairStatus {
    /// In one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<CnpgPairPhase>,
    /// Whether the replica streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streaming: Option<bool>,
    /// Where the primary is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_primary_region: Option<String>,
    /// How far behind the replica is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal_lag_seconds: Option<f64>,
    /// The same in bytes of WAL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal_lag_bytes: Option<u64>,
    /// Backups, by region: each cluster's object tells of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["region"]))]
    pub backups: Vec<RegionBackups>,
    /// The generation of the spec that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<StatusCondition>,
}
