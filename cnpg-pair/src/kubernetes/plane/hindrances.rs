//! What a Cluster holds against its being a primary, whatever its PostgreSQL says. Pure.

use continuum_domain::observation::Hindrance;

use crate::kubernetes::cnpg::{Cluster, keys, phase};
use crate::kubernetes::foreign;
use crate::kubernetes::hibernate::{Sleep, sleep};

/// All of it. A Cluster that sleeps because its pair is paused is woken with the pair, and is none.
pub(crate) fn of(cluster: &Cluster) -> Vec<Hindrance> {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let mut found = Vec::new();
    let mut add = |code: &str, meaning: String, action: String| {
        found.push(Hindrance { code: code.into(), meaning, action });
    };
    let key = keys::HIBERNATION;
    // What is not understood is not taken for ours.
    if cluster.annotation(key) == Some("on") && !matches!(sleep(cluster), Ok(Sleep::Ours(_))) {
        add(
            "hibernated",
            format!(
                "the Cluster {name} sleeps by somebody's word ({key}: on): it has no PostgreSQL"
            ),
            format!("take {key} away from the Cluster when it may run"),
        );
    }
    let key = keys::RECONCILIATION;
    if cluster.annotation(key) == Some("disabled") {
        add(
            "reconciliation-off",
            format!("the operator leaves the Cluster {name} alone ({key}: disabled)"),
            format!("take {key} away from the Cluster"),
        );
    }
    if cluster.metadata.deletion_timestamp.is_some() {
        add(
            "deleting",
            format!("the Cluster {name} is being deleted"),
            "make it anew if that was not meant".into(),
        );
    }
    let demotes = cluster.status.as_ref().and_then(|status| status.switch_in_progress());
    if demotes == Some(true) {
        add(
            "demotion-in-progress",
            format!("the operator is making a replica of the Cluster {name}, and refuses until it is done"),
            "wait; where it does not end, look at condition ContinuousArchiving and at the operator".into(),
        );
    }
    let said = cluster.status.as_ref().and_then(|status| status.phase.as_deref());
    match said {
        Some(phase::UNRECOVERABLE) => add(
            "unrecoverable",
            format!("the operator has given the Cluster {name} up"),
            "look at the other side first, then rebuild this one".into(),
        ),
        Some(phase::WAITING_FOR_USER) => add(
            "waiting-for-user",
            format!("the operator of the Cluster {name} waits for a person"),
            format!("see `kubectl cnpg status {name}`"),
        ),
        _ => {}
    }
    found
}

/// Whether its spec asks for a primary, and who else has written the role by the API server's record.
pub(crate) fn told_primary(cluster: &Cluster) -> Option<String> {
    if cluster.asks_for_replica() != Some(false) {
        return None;
    }
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let writers = foreign::writers_of_the_role(cluster);
    let by = if writers.is_empty() { String::new() } else { format!(" by {}", writers.join(", ")) };
    Some(format!("the Cluster {name} was told to be a primary{by}"))
}

#[cfg(test)]
#[path = "hindrances_tests.rs"]
mod tests;
