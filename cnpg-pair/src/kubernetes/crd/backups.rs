//! Backups of a `CnpgPair`: what is wanted, and what became of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Backups on a schedule, and one that is wanted now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backups {
    /// Six fields, seconds first.
    #[serde(default = "nightly")]
    #[schemars(regex(pattern = r"^\S+( \S+){5}$"))]
    pub schedule: String,
    /// How long they are kept.
    #[serde(default = "a_month")]
    #[schemars(regex(pattern = r"^[1-9][0-9]*[dwm]$"))]
    pub retention_policy: String,
    /// One that is wanted now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_demand: Option<OnDemandBackup>,
}

fn nightly() -> String {
    "0 0 2 * * *".into()
}
fn a_month() -> String {
    "30d".into()
}

/// A backup that is wanted now. It is made once for each `requestId`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OnDemandBackup {
    /// Tells one request from the next.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"))]
    pub request_id: String,
    /// Of which of the two Clusters.
    #[serde(default)]
    pub target: BackupTarget,
}

/// One of the two Clusters, by its role when the request is first seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BackupTarget {
    /// That of the region that holds the lease.
    Primary,
    /// The other one: it costs the primary nothing.
    #[default]
    Standby,
}

/// The backups of one region's Cluster. What is missing there is not, or is not known: the condition
/// `BackupHealthy` tells them apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegionBackups {
    /// The region.
    pub region: String,
    /// The newest one that is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_completed: Option<BackupRecord>,
    /// The one that is being made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<BackupRecord>,
    /// The newest one that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failed: Option<BackupRecord>,
    /// What became of the last request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_request: Option<BackupRequest>,
    /// The last requests that were taken up; none of them is again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handled_requests: Vec<String>,
}

/// One `Backup`, as its operator tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupRecord {
    /// The object's name.
    pub name: String,
    /// How far it is, in the operator's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// How it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<String>,
    /// Its id in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_id: Option<String>,
    /// Its first WAL file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begin_wal: Option<String>,
    /// Its last WAL file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_wal: Option<String>,
    /// Where it begins.
    #[serde(rename = "beginLSN", skip_serializing_if = "Option::is_none")]
    pub begin_lsn: Option<String>,
    /// From where on it is consistent.
    #[serde(rename = "endLSN", skip_serializing_if = "Option::is_none")]
    pub end_lsn: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What became of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupRequest {
    /// Its `requestId`.
    pub id: String,
    /// The `Backup` it became.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// How far that is, in the operator's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The region whose agent it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<String>,
    /// What it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// Why it became none, or why that failed, with what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}
