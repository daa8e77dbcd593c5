//! How a Cluster stands, by name.
//!
//! The operator's phase says "healthy" of Clusters whose primary is fenced, whose replicas are stuck
//! and which have no pod left. So a Cluster is healthy here only where its phase, its conditions, its
//! counts, its annotations and PostgreSQL itself all say so; one that is missing makes it unknown.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::cnpg::{Cluster, ClusterStatus, TruthValue, keys, phase};

/// What PostgreSQL itself said, through SQL; `None` is what was not heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SqlLook {
    /// `pg_is_in_recovery()`.
    pub in_recovery: Option<bool>,
    /// `pg_control_system()`.
    pub system_id: Option<u64>,
    /// WAL files that wait for the archiver.
    pub ready_wal_files: Option<u64>,
    /// Whether what the archiver did last came to nothing.
    pub archiving_fails: Option<bool>,
}

/// A named state of one Cluster. Several can hold at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Everything that was looked at says so.
    Healthy,
    /// Something says that it is not well; see [`Reading::unwell`].
    Unwell,
    /// Something that says whether it is well was not heard; see [`Reading::unknown`].
    Unknown,
    /// It is being deleted.
    Deleting,
    /// All instances are fenced.
    Fenced,
    /// Some instances are fenced.
    InstanceFenced,
    /// It sleeps on purpose.
    Hibernated,
    /// The operator was told to leave it alone.
    ReconciliationOff,
    /// It is on its way from primary to replica.
    DemotionInProgress,
    /// Its demotion has ended and left a token; whether it is a new one is another question.
    TokenReady,
    /// It is on its way from replica to primary.
    Promoting,
    /// Its primary moves within it.
    SwitchoverWithin,
    /// The operator has given it up.
    Unrecoverable,
    /// The operator waits for a person.
    WaitingForUser,
    /// A promotion token was left in its spec; the next demotion would be refused, or the next
    /// promotion would wait for an old place.
    PromotionTokenLeft,
}

/// What a Cluster is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterRole {
    /// It may accept writes.
    Primary,
    /// It follows another one.
    Replica,
    /// Not known, or its spec and its PostgreSQL say different things.
    Unknown,
}

/// How a Cluster stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Its names.
    pub standing: BTreeSet<Standing>,
    /// What it is, where spec and PostgreSQL agree.
    pub role: ClusterRole,
    /// What says that it is not well.
    pub unwell: Vec<String>,
    /// What was not heard.
    pub unknown: Vec<&'static str>,
}

impl Reading {
    /// Whether a name holds.
    pub fn is(&self, standing: Standing) -> bool {
        self.standing.contains(&standing)
    }
}

/// Reads one Cluster.
pub fn read(cluster: &Cluster, sql: &SqlLook) -> Reading {
    let mut reading = Reading {
        standing: BTreeSet::new(),
        role: role(cluster, sql),
        unwell: Vec::new(),
        unknown: Vec::new(),
    };
    read_metadata(cluster, &mut reading);
    match &cluster.status {
        Some(status) => read_status(cluster, status, &mut reading),
        None => reading.unknown.push("status"),
    }
    read_sql(cluster, sql, &mut reading);
    let named = |standing: &Standing| {
        !matches!(standing, Standing::TokenReady | Standing::PromotionTokenLeft)
    };
    // What has a name of its own is not healthy, whatever else is said.
    let quiet = !reading.standing.iter().any(named);
    if !reading.unwell.is_empty() {
        reading.standing.insert(Standing::Unwell);
    }
    if !reading.unknown.is_empty() {
        reading.standing.insert(Standing::Unknown);
    }
    if quiet && reading.unwell.is_empty() && reading.unknown.is_empty() {
        reading.standing.insert(Standing::Healthy);
    }
    reading
}

fn read_metadata(cluster: &Cluster, reading: &mut Reading) {
    if cluster.metadata.deletion_timestamp.is_some() {
        reading.standing.insert(Standing::Deleting);
    }
    match cluster.fenced() {
        Ok(names) if names.iter().any(|name| name == "*") => {
            reading.standing.insert(Standing::Fenced);
        }
        Ok(names) if !names.is_empty() => {
            reading.standing.insert(Standing::InstanceFenced);
        }
        Ok(_) => {}
        Err(text) => reading.unwell.push(format!("{} {text:?} is no JSON list", keys::FENCED)),
    }
    if cluster.annotation(keys::HIBERNATION) == Some("on") {
        reading.standing.insert(Standing::Hibernated);
    }
    if cluster.annotation(keys::RECONCILIATION) == Some("disabled") {
        reading.standing.insert(Standing::ReconciliationOff);
    }
    let replica = cluster.spec.replica.as_ref();
    if replica.and_then(|replica| replica.promotion_token.as_ref()).is_some() {
        reading.standing.insert(Standing::PromotionTokenLeft);
    }
}

fn read_status(cluster: &Cluster, status: &ClusterStatus, reading: &mut Reading) {
    read_phase(status, reading);
    match status.switch_in_progress() {
        Some(true) => {
            reading.standing.insert(Standing::DemotionInProgress);
        }
        Some(false) => {
            let switched = status.condition("ReplicaClusterSwitch") == TruthValue::True;
            if switched && status.token().is_some() {
                reading.standing.insert(Standing::TokenReady);
            }
        }
        None => reading.unknown.push("status.switchReplicaClusterStatus"),
    }
    for name in ["Ready", "ConsistentSystemID"] {
        match status.condition(name) {
            TruthValue::True => {}
            TruthValue::False => reading.unwell.push(format!("condition {name} is False")),
            TruthValue::Unknown if name == "Ready" => reading.unknown.push("condition Ready"),
            TruthValue::Unknown => reading.unknown.push("condition ConsistentSystemID"),
        }
    }
    match (cluster.spec.instances, status.ready_instances) {
        (Some(wanted), Some(ready)) if wanted == ready && ready > 0 => {}
        (Some(wanted), Some(ready)) => {
            reading.unwell.push(format!("{ready} of {wanted} instances are ready"));
        }
        (None, _) => reading.unknown.push("spec.instances"),
        (_, None) => reading.unknown.push("status.readyInstances"),
    }
    match (&status.current_primary, &status.target_primary) {
        (Some(current), Some(target)) if current == target => {}
        (Some(_), Some(target)) => {
            reading.unwell.push(format!("its primary is to become {target}"));
        }
        _ => reading.unknown.push("status.currentPrimary"),
    }
    if status.current_primary_failing_since_timestamp.as_ref().is_some_and(|at| !at.is_empty()) {
        reading.unwell.push("its primary fails".into());
    }
}

fn read_phase(status: &ClusterStatus, reading: &mut Reading) {
    let Some(text) = status.phase.as_deref() else {
        return reading.unknown.push("status.phase");
    };
    let named = match text {
        phase::HEALTHY => return,
        phase::FAILING_OVER | phase::SWITCHOVER => Some(Standing::SwitchoverWithin),
        phase::PROMOTING => Some(Standing::Promoting),
        phase::UNRECOVERABLE => Some(Standing::Unrecoverable),
        phase::WAITING_FOR_USER => Some(Standing::WaitingForUser),
        _ => None,
    };
    let reason = status.phase_reason.as_deref().unwrap_or_default();
    let said = if reason.is_empty() { text.into() } else { format!("{text}: {reason}") };
    reading.unwell.push(format!("the operator says {said:?}"));
    reading.standing.extend(named);
}

fn read_sql(cluster: &Cluster, sql: &SqlLook, reading: &mut Reading) {
    if sql.in_recovery.is_none() {
        reading.unknown.push("PostgreSQL: pg_is_in_recovery()");
    } else if reading.role == ClusterRole::Unknown {
        reading.unwell.push("its spec and its PostgreSQL say different roles".into());
    }
    let said = cluster.status.as_ref().and_then(|status| status.system_id.as_deref());
    match (said.map(str::parse::<u64>), sql.system_id) {
        (Some(Ok(said)), Some(own)) if said == own => {}
        (Some(Ok(said)), Some(own)) => {
            reading.unwell.push(format!("its status says system {said}, PostgreSQL says {own}"));
        }
        (_, None) => reading.unknown.push("PostgreSQL: system identifier"),
        _ => reading.unknown.push("status.systemID"),
    }
}

fn role(cluster: &Cluster, sql: &SqlLook) -> ClusterRole {
    match (cluster.asks_for_replica(), sql.in_recovery) {
        (Some(true), Some(true)) => ClusterRole::Replica,
        (Some(false), Some(false)) => ClusterRole::Primary,
        _ => ClusterRole::Unknown,
    }
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;
