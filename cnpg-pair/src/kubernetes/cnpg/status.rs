//! `Cluster`: what the operator says of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The operator's prose in `status.phase`. It is compared exactly, and none of it proves health.
pub mod phase {
    /// Said of Clusters that are well, and of some that are not.
    pub const HEALTHY: &str = "Cluster in healthy state";
    /// A failover within the Cluster.
    pub const FAILING_OVER: &str = "Failing over";
    /// A switchover within the Cluster.
    pub const SWITCHOVER: &str = "Switchover in progress";
    /// A replica Cluster becomes a primary one.
    pub const PROMOTING: &str = "Promoting to primary cluster";
    /// Nothing the operator would do helps.
    pub const UNRECOVERABLE: &str = "Cluster is unrecoverable and needs manual intervention";
    /// A person is waited for.
    pub const WAITING_FOR_USER: &str = "Waiting for user action";
    /// The spec is refused.
    pub const INVALID: &str = "Invalid cluster definition";
}

/// The status of a Cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Prose: [`phase`].
    pub phase: Option<String>,
    /// More prose.
    pub phase_reason: Option<String>,
    /// The pod of the primary, or of the designated one of a replica Cluster.
    pub current_primary: Option<String>,
    /// Since when.
    pub current_primary_timestamp: Option<String>,
    /// The pod that should be; may be the word `pending`.
    pub target_primary: Option<String>,
    /// Since when.
    pub target_primary_timestamp: Option<String>,
    /// Since when the primary fails.
    pub current_primary_failing_since_timestamp: Option<String>,
    /// How many instances there are.
    pub instances: Option<u32>,
    /// How many are ready; the operator leaves it out where none is.
    pub ready_instances: Option<u32>,
    /// Pods by how they stand.
    pub instances_status: Option<BTreeMap<String, Vec<String>>>,
    /// What each instance said of itself.
    pub instances_reported_state: Option<BTreeMap<String, InstanceState>>,
    /// The timeline.
    #[serde(rename = "timelineID")]
    pub timeline_id: Option<u64>,
    /// The database system's identifier, in decimal.
    #[serde(rename = "systemID")]
    pub system_id: Option<String>,
    /// What a demoted Cluster's shutdown left for the other one's promotion.
    pub demotion_token: Option<String>,
    /// The token of the last promotion.
    pub last_promotion_token: Option<String>,
    /// The change from primary to replica.
    pub switch_replica_cluster_status: Option<SwitchStatus>,
    /// Conditions.
    pub conditions: Option<Vec<Condition>>,
    /// The Service that leads to the primary.
    pub write_service: Option<String>,
    /// The Service that leads to all.
    pub read_service: Option<String>,
    /// Where the instances run.
    pub topology: Option<Value>,
    /// What the plugins said.
    pub plugin_status: Option<Vec<PluginStatus>>,
    /// Deprecated, and not set where a plugin archives.
    pub first_recoverability_point: Option<String>,
    /// Deprecated, and not set where a plugin archives.
    pub first_recoverability_point_by_method: Option<BTreeMap<String, String>>,
    /// Deprecated, and not set where a plugin archives.
    pub last_successful_backup: Option<String>,
    /// Deprecated, and not set where a plugin archives.
    pub last_successful_backup_by_method: Option<BTreeMap<String, String>>,
    /// Deprecated, and not set where a plugin archives.
    pub last_failed_backup: Option<String>,
}

/// What one instance said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceState {
    /// Whether it takes itself for a primary.
    #[serde(rename = "isPrimary")]
    pub is_primary: Option<bool>,
    /// Its timeline.
    #[serde(rename = "timeLineID")]
    pub timeline_id: Option<u64>,
    /// Its address.
    pub ip: Option<String>,
}

/// `status.switchReplicaClusterStatus`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SwitchStatus {
    /// Whether a demotion is under way. The operator always writes the object around it and leaves
    /// this field out where it is false.
    pub in_progress: Option<bool>,
}

/// One plugin's word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginStatus {
    /// Its name.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// What it says of the Cluster.
    pub status: Option<String>,
}

/// The three words of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TruthValue {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Not known: said so, missing, or a word that is none.
    Unknown,
}

/// A condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Its name.
    #[serde(rename = "type")]
    pub name: Option<String>,
    /// `True`, `False` or `Unknown`.
    pub status: Option<String>,
    /// One word of why.
    pub reason: Option<String>,
    /// Prose.
    pub message: Option<String>,
    /// The generation it is about.
    pub observed_generation: Option<i64>,
    /// Since when.
    pub last_transition_time: Option<String>,
}

impl ClusterStatus {
    /// What a condition says; unknown where it is missing.
    pub fn condition(&self, name: &str) -> TruthValue {
        let named = |condition: &&Condition| condition.name.as_deref() == Some(name);
        let found = self.conditions.iter().flatten().find(named);
        match found.and_then(|condition| condition.status.as_deref()) {
            Some("True") => TruthValue::True,
            Some("False") => TruthValue::False,
            _ => TruthValue::Unknown,
        }
    }

    /// Whether a demotion is under way; `None` where the operator has not written of it.
    pub fn switch_in_progress(&self) -> Option<bool> {
        let switch = self.switch_replica_cluster_status.as_ref()?;
        Some(switch.in_progress.unwrap_or(false))
    }

    /// The demotion token, if there is one.
    pub fn token(&self) -> Option<&str> {
        self.demotion_token.as_deref().filter(|token| !token.is_empty())
    }
}
