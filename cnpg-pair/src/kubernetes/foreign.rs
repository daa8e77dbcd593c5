//! Who else wrote the role fields, and what may be done about it.
//!
//! A tool that keeps Clusters as a repository has them, or a person, may write `spec.replica` at any
//! time. It is seen by comparing with what we wrote last. What is done is a policy of the pair, but
//! never one that could make two primaries: the lease alone says who may be one.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::cnpg::{Cluster, ReplicaSpec};
use super::token::TokenHash;
use super::written::Written;

/// Where the API server's record of who owns which field has the role's.
const ROLE: &str = "/f:spec/f:replica";
/// The name under which our writes are recorded.
pub const FIELD_MANAGER: &str = "continuum";

/// A role field that is not as we left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Its path.
    pub path: String,
    /// What we wrote; `None` where we wrote none.
    pub ours: Option<String>,
    /// What stands there.
    pub found: Option<String>,
}

/// Somebody else wrote the role of a Cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignWrite {
    /// What differs.
    pub changes: Vec<FieldChange>,
    /// Who owns those fields by the record of the API server, where it says so.
    pub managers: Vec<String>,
}

/// What a pair wants done about a foreign write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForeignPolicy {
    /// Say so, and touch nothing.
    #[default]
    Report,
    /// Write ours again, where that is safe.
    Restore,
    /// Take it for a wish to move, where that is safe.
    Follow,
}

/// What the lease says of the Cluster and of the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// This one's region holds the lease, and the other Cluster is known to be a replica.
    Holder,
    /// This one's region holds the lease; the other Cluster is not known to be a replica.
    HolderAlone,
    /// Another region holds it.
    Other,
    /// Not known.
    Unknown,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// Say so.
    Report,
    /// Write the role again that the lease gives this Cluster.
    Restore,
    /// Begin a hand-over through its gates, to where the foreign write points.
    HandOver,
    /// Fence this Cluster at once: it was told to be a primary and does not hold the lease.
    Fence,
}

/// Compares a Cluster with the role we wrote last.
pub fn detect(applied: &Written, cluster: &Cluster) -> Option<ForeignWrite> {
    let none = ReplicaSpec::default();
    let found = cluster.spec.replica.as_ref().unwrap_or(&none);
    let enabled = found.enabled.map(|on| on.to_string());
    // A token is a key to the other one's data; that it differs is enough to say.
    let token = found.promotion_token.as_deref().map(TokenHash::of);
    let said = |token: &Option<TokenHash>| token.as_ref().map(|_| "(a token)".to_owned());
    let pairs = [
        ("self", applied.own.clone(), found.own.clone(), applied.own != found.own),
        (
            "primary",
            applied.primary.clone(),
            found.primary.clone(),
            applied.primary != found.primary,
        ),
        ("source", applied.source.clone(), found.source.clone(), applied.source != found.source),
        ("enabled", None, enabled, found.enabled.is_some()),
        ("promotionToken", said(&applied.token), said(&token), applied.token != token),
    ];
    let changes: Vec<FieldChange> = pairs
        .into_iter()
        .filter(|(_, _, _, differs)| *differs)
        .map(|(field, ours, found, _)| FieldChange {
            path: format!("spec.replica.{field}"),
            ours,
            found,
        })
        .collect();
    if changes.is_empty() {
        return None;
    }
    Some(ForeignWrite { managers: managers(cluster, &changes), changes })
}

/// Who else owns the field that says which Cluster is the primary, by the record of the API server.
pub fn writers_of_the_role(cluster: &Cluster) -> Vec<String> {
    let path = ["primary", "enabled"].map(|field| format!("spec.replica.{field}"));
    let change = path.map(|path| FieldChange { path, ours: None, found: None });
    managers(cluster, &change)
}

/// Forgets what the API server's record says of everything but the role, and of this agent: nothing else of it
/// is asked for.
pub fn keep_writers_of_the_role(cluster: &mut Cluster) {
    let Some(entries) = &mut cluster.metadata.managed_fields else { return };
    entries.retain_mut(|entry| {
        if entry.manager.as_deref() == Some(FIELD_MANAGER) {
            return false;
        }
        let Some(fields) = &mut entry.fields_v1 else { return false };
        let Some(role) = fields.0.pointer_mut(ROLE).map(Value::take) else { return false };
        fields.0 = json!({ "f:spec": { "f:replica": role } });
        true
    });
}

fn managers(cluster: &Cluster, changes: &[FieldChange]) -> Vec<String> {
    let owns = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        changes.iter().any(|change| {
            let field = change.path.trim_start_matches("spec.replica.");
            let pointer = format!("{ROLE}/f:{field}");
            fields.is_some_and(|fields| fields.pointer(&pointer).is_some())
        })
    };
    let entries = cluster.metadata.managed_fields.iter().flatten().filter(owns);
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.manager.clone())
        .filter(|name| name != FIELD_MANAGER)
        .collect();
    names.sort();
    names.dedup();
    names
}

/// What to do about a foreign write to a Cluster.
///
/// | this Cluster | was told to be | report | restore | follow |
/// |---|---|---|---|---|
/// | not the holder's | primary | fence | fence | fence |
/// | not the holder's | replica | report | restore | report |
/// | the holder's, the other a replica | primary | report | restore | report |
/// | the holder's, the other a replica | replica | report | restore | hand over |
/// | the holder's, the other not known | anything | report | report | report |
/// | not known | anything | report | report | report |
///
/// Restoring a replica's role is safe, as it takes the right to write away. Restoring a primary's is
/// so only while nobody else can be one. A primary that was told to be a replica is already on its
/// way down; what is restored there is whatever the lease says when the patch is made.
pub fn respond(policy: ForeignPolicy, cluster: &Cluster, holding: Holding) -> Response {
    // What does not even have a name in the topology is taken for a primary.
    let told_primary = cluster.asks_for_replica() != Some(true);
    match (holding, policy) {
        (Holding::Other, _) if told_primary => Response::Fence,
        (Holding::Unknown | Holding::HolderAlone, _) | (_, ForeignPolicy::Report) => {
            Response::Report
        }
        (Holding::Other | Holding::Holder, ForeignPolicy::Restore) => Response::Restore,
        (Holding::Holder, ForeignPolicy::Follow) if !told_primary => Response::HandOver,
        (Holding::Other | Holding::Holder, ForeignPolicy::Follow) => Response::Report,
    }
}

#[cfg(test)]
#[path = "foreign_tests.rs"]
mod tests;
