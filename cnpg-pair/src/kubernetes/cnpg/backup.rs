//! `Backup` and `ScheduledBackup`.

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A Cluster by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterReference {
    /// Its name.
    pub name: Option<String>,
}

/// The plugin that makes a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginConfiguration {
    /// Its name.
    pub name: Option<String>,
    /// Its parameters.
    pub parameters: Option<BTreeMap<String, String>>,
}

/// What a backup should be.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(group = "postgresql.cnpg.io", version = "v1", kind = "Backup", plural = "backups")]
#[kube(namespaced, schema = "disabled", status = "BackupStatus", derive = "PartialEq")]
#[serde(rename_all = "camelCase")]
pub struct BackupSpec {
    /// Of which Cluster.
    pub cluster: Option<ClusterReference>,
    /// `plugin`, `volumeSnapshot` or `barmanObjectStore`.
    pub method: Option<String>,
    /// With which plugin.
    pub plugin_configuration: Option<PluginConfiguration>,
    /// `primary` or `prefer-standby`.
    pub target: Option<String>,
    /// Whether the instance runs on meanwhile.
    pub online: Option<bool>,
    /// How, if it does.
    pub online_configuration: Option<Value>,
}

/// What became of a backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatus {
    /// A word of [`BackupPhase`].
    pub phase: Option<String>,
    /// Its id in the store.
    pub backup_id: Option<String>,
    /// Its name in the store.
    pub backup_name: Option<String>,
    /// When it began.
    pub started_at: Option<String>,
    /// When it ended.
    pub stopped_at: Option<String>,
    /// Its first WAL file.
    pub begin_wal: Option<String>,
    /// Its last WAL file.
    pub end_wal: Option<String>,
    /// Where it begins.
    #[serde(rename = "beginLSN")]
    pub begin_lsn: Option<String>,
    /// From where on it is consistent.
    #[serde(rename = "endLSN")]
    pub end_lsn: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// Which instance made it.
    #[serde(rename = "instanceID")]
    pub instance_id: Option<Value>,
    /// PostgreSQL's major version.
    pub major_version: Option<i64>,
    /// The snapshots it is made of.
    pub snapshot_backup_status: Option<Value>,
    /// What the plugin said.
    pub plugin_metadata: Option<BTreeMap<String, String>>,
}

/// How far a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupPhase {
    /// It has not begun, and will.
    Waiting,
    /// It is being made.
    Running,
    /// It is done.
    Completed,
    /// It failed, or cannot be made.
    Failed,
    /// No word, or a word that is not known.
    Unknown,
}

impl Backup {
    /// How far it is.
    pub fn phase(&self) -> BackupPhase {
        match self.status.as_ref().and_then(|status| status.phase.as_deref()) {
            Some("pending") => BackupPhase::Waiting,
            Some("started" | "running" | "finalizing") => BackupPhase::Running,
            Some("completed") => BackupPhase::Completed,
            Some("failed" | "walArchivingFailing" | "invalid backup definition") => {
                BackupPhase::Failed
            }
            _ => BackupPhase::Unknown,
        }
    }
}

/// When backups are made.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(group = "postgresql.cnpg.io", version = "v1", kind = "ScheduledBackup")]
#[kube(plural = "scheduledbackups", derive = "PartialEq")]
#[kube(namespaced, schema = "disabled", status = "ScheduledBackupStatus")]
#[serde(rename_all = "camelCase")]
pub struct ScheduledBackupSpec {
    /// Six fields, seconds first.
    pub schedule: Option<String>,
    /// Whether one is made at once.
    pub immediate: Option<bool>,
    /// Whether it rests.
    pub suspend: Option<bool>,
    /// `none`, `self` or `cluster`.
    pub backup_owner_reference: Option<String>,
    /// Of which Cluster; cannot be changed.
    pub cluster: Option<ClusterReference>,
    /// As in [`BackupSpec`].
    pub method: Option<String>,
    /// As in [`BackupSpec`].
    pub plugin_configuration: Option<PluginConfiguration>,
    /// As in [`BackupSpec`].
    pub target: Option<String>,
}

/// How the schedule stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduledBackupStatus {
    /// When it was last looked at.
    pub last_check_time: Option<String>,
    /// When the last backup was asked for.
    pub last_schedule_time: Option<String>,
    /// When the next one will be.
    pub next_schedule_time: Option<String>,
    /// What is wrong with it.
    pub error: Option<String>,
}
