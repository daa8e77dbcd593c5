//! The writes, each one patch with what must still be so when it lands.
//!
//! They are JSON patches whose first operations are tests: the API server carries out all of it or
//! nothing, against the object as it is then. The role is one value, `spec.replica`; it is compared
//! and replaced whole, so that a role and a token of different decisions never meet in one object.

use std::collections::BTreeMap;

use continuum_domain::Epoch;
use serde_json::{Value, json};

use super::cnpg::{Cluster, ReplicaSpec, keys};
use super::token::Fit;
use super::written::{WRITTEN, Written};

/// One write to one Cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterPatch {
    /// The operations of the JSON patch, tests first.
    pub operations: Vec<Value>,
}

/// Why a patch is not made. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The Cluster was not read from an API server.
    #[error("the Cluster has no {0}: it was not read from an API server")]
    NotRead(&'static str),
    /// It is in no distributed topology.
    #[error("the Cluster has no {0}: it is in no distributed topology")]
    NoTopology(&'static str),
    /// Somebody with a newer epoch was there.
    #[error("the Cluster was written under epoch {seen}, newer than {ours}")]
    Stale {
        /// What stands in the Cluster.
        seen: Epoch,
        /// What this command has.
        ours: Epoch,
    },
    /// The mark of the newest epoch cannot be read.
    #[error("{key} {found:?} is no epoch")]
    Mark {
        /// The annotation.
        key: &'static str,
        /// What stands there.
        found: String,
    },
    /// The token does not fit.
    #[error("the target does not stand where the token says: {0:?}")]
    Token(Fit),
    /// The fence is not ours.
    #[error("the fence was not set by us: {0}")]
    ForeignFence(String),
    /// There is nothing to do.
    #[error("the Cluster is so already")]
    Already,
}

/// Who takes the primary role from whom, by the names of the topology.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// The new primary.
    pub primary: &'a str,
    /// Whom the patched Cluster streams from when it is a replica.
    pub source: &'a str,
}

/// Primary to replica. The token must go in the same write: the operator refuses a replica that has
/// one.
pub fn demote(cluster: &Cluster, epoch: Epoch, to: &str) -> Result<ClusterPatch, PatchError> {
    role(cluster, epoch, Route { primary: to, source: to }, None)
}

/// Replica to primary, once it has replayed what the token says. `from` is whom it follows later.
pub fn promote(
    cluster: &Cluster,
    epoch: Epoch,
    from: &str,
    (token, fit): (&str, Fit),
) -> Result<ClusterPatch, PatchError> {
    if fit != Fit::Exact {
        return Err(PatchError::Token(fit));
    }
    let own = own(cluster)?.to_owned();
    role(cluster, epoch, Route { primary: &own, source: from }, Some(token))
}

/// Replica to primary without a token: at once, and the old primary has to be rebuilt.
pub fn promote_at_once(
    cluster: &Cluster,
    epoch: Epoch,
    from: &str,
) -> Result<ClusterPatch, PatchError> {
    let own = own(cluster)?.to_owned();
    role(cluster, epoch, Route { primary: &own, source: from }, None)
}

/// Takes a token that was used out of the spec, and leaves the role as it is.
pub fn clear_token(cluster: &Cluster, epoch: Epoch) -> Result<ClusterPatch, PatchError> {
    let replica = replica(cluster)?;
    if replica.promotion_token.is_none() {
        return Err(PatchError::Already);
    }
    let new = ReplicaSpec { promotion_token: None, ..replica.clone() };
    replace_role(cluster, epoch, &new)
}

/// Writes the role again that was written last, over whatever stands there now.
pub fn put_back(
    cluster: &Cluster,
    epoch: Epoch,
    written: &Written,
) -> Result<ClusterPatch, PatchError> {
    not_stale(cluster, keys::EPOCH, epoch)?;
    let old = cluster.spec.replica.as_ref();
    let new = ReplicaSpec {
        own: written.own.clone(),
        primary: written.primary.clone(),
        source: written.source.clone(),
        enabled: None,
        promotion_token: None,
        ..old.cloned().unwrap_or_default()
    };
    if old == Some(&new) {
        return Err(PatchError::Already);
    }
    let mut patch = annotate(cluster, &[(keys::EPOCH, Some(&epoch.to_string()))])?;
    patch.operations.push(as_written(&new, epoch));
    let path = "/spec/replica";
    match old {
        Some(old) => {
            patch.operations.insert(1, json!({"op": "test", "path": path, "value": old}));
        }
        // What is not there cannot be tested, so that nothing at all may have changed.
        None => patch.operations.insert(1, unchanged(cluster)?),
    }
    patch.operations.push(json!({"op": "add", "path": path, "value": new}));
    Ok(patch)
}

/// Takes the role that stands there for ours: it is compared with from now on.
pub fn adopt(cluster: &Cluster) -> Result<ClusterPatch, PatchError> {
    let role = replica(cluster)?;
    let text = Written::of(role, newest(cluster, keys::EPOCH)?).text();
    if cluster.annotation(WRITTEN) == Some(text.as_str()) {
        return Err(PatchError::Already);
    }
    let mut patch = annotate(cluster, &[(WRITTEN, Some(&text))])?;
    patch.operations.insert(1, json!({"op": "test", "path": "/spec/replica", "value": role}));
    Ok(patch)
}

/// Keeps what is written beside it. The tests of the role and of its epoch are tests of this too.
fn as_written(role: &ReplicaSpec, epoch: Epoch) -> Value {
    let text = Written::of(role, Some(epoch)).text();
    json!({"op": "add", "path": pointer(WRITTEN), "value": text})
}

fn unchanged(cluster: &Cluster) -> Result<Value, PatchError> {
    let version = cluster.metadata.resource_version.as_deref();
    let version = version.ok_or(PatchError::NotRead("resourceVersion"))?;
    Ok(json!({"op": "test", "path": "/metadata/resourceVersion", "value": version}))
}

/// Fences all instances and says under which epoch. Single instances that others fenced stay so.
pub fn fence(cluster: &Cluster, epoch: Epoch) -> Result<ClusterPatch, PatchError> {
    // What cannot be read cannot be kept, and a fence is never held up by it.
    match not_stale(cluster, keys::FENCE_EPOCH, epoch) {
        Ok(()) | Err(PatchError::Mark { .. }) => {}
        Err(error) => return Err(error),
    }
    let mut names = cluster.fenced().unwrap_or_default();
    if !names.iter().any(|name| name == "*") {
        names.insert(0, "*".into());
    }
    let list = json!(names).to_string();
    let mark = epoch.to_string();
    annotate(cluster, &[(keys::FENCED, Some(&list)), (keys::FENCE_EPOCH, Some(&mark))])
}

/// Takes our fence away. One that the operator or a person has set stays, and so do those of single
/// instances.
pub fn unfence(cluster: &Cluster, epoch: Epoch) -> Result<ClusterPatch, PatchError> {
    let names = cluster.fenced().map_err(PatchError::ForeignFence)?;
    let marked = cluster.annotation(keys::FENCE_EPOCH).is_some();
    if !names.iter().any(|name| name == "*") {
        if !marked {
            return Err(PatchError::Already);
        }
        // At the end of a demotion the operator takes our fence away with its own: a mark that stays would
        // make ours of the next one that a person sets.
        not_stale(cluster, keys::FENCE_EPOCH, epoch)?;
        return annotate(cluster, &[(keys::FENCE_EPOCH, None)]);
    }
    if !marked {
        return Err(PatchError::ForeignFence(json!(names).to_string()));
    }
    not_stale(cluster, keys::FENCE_EPOCH, epoch)?;
    let kept: Vec<&String> = names.iter().filter(|name| *name != "*").collect();
    let list = (!kept.is_empty()).then(|| json!(kept).to_string());
    annotate(cluster, &[(keys::FENCED, list.as_deref()), (keys::FENCE_EPOCH, None)])
}

/// Puts a Cluster to sleep, or wakes it.
pub fn hibernate(cluster: &Cluster, on: bool) -> Result<ClusterPatch, PatchError> {
    let wanted = if on { "on" } else { "off" };
    let found = cluster.annotation(keys::HIBERNATION);
    if found == Some(wanted) || (!on && found.is_none()) {
        return Err(PatchError::Already);
    }
    annotate(cluster, &[(keys::HIBERNATION, Some(wanted))])
}

fn replica(cluster: &Cluster) -> Result<&ReplicaSpec, PatchError> {
    let replica = cluster.spec.replica.as_ref().ok_or(PatchError::NoTopology("spec.replica"))?;
    if replica.enabled.is_some() || replica.primary.is_none() {
        return Err(PatchError::NoTopology("spec.replica.primary"));
    }
    Ok(replica)
}

fn own(cluster: &Cluster) -> Result<&str, PatchError> {
    cluster.own_name().ok_or(PatchError::NoTopology("name"))
}

fn role(
    cluster: &Cluster,
    epoch: Epoch,
    route: Route<'_>,
    token: Option<&str>,
) -> Result<ClusterPatch, PatchError> {
    let old = replica(cluster)?;
    let new = ReplicaSpec {
        primary: Some(route.primary.into()),
        source: Some(route.source.into()),
        promotion_token: token.map(str::to_owned),
        ..old.clone()
    };
    if new == *old && newest(cluster, keys::EPOCH)? == Some(epoch) {
        return Err(PatchError::Already);
    }
    replace_role(cluster, epoch, &new)
}

fn replace_role(
    cluster: &Cluster,
    epoch: Epoch,
    new: &ReplicaSpec,
) -> Result<ClusterPatch, PatchError> {
    not_stale(cluster, keys::EPOCH, epoch)?;
    let mut patch = annotate(cluster, &[(keys::EPOCH, Some(&epoch.to_string()))])?;
    // The role is looked at in the same breath as it is replaced.
    patch
        .operations
        .insert(1, json!({"op": "test", "path": "/spec/replica", "value": replica(cluster)?}));
    patch.operations.push(as_written(new, epoch));
    patch.operations.push(json!({"op": "replace", "path": "/spec/replica", "value": new}));
    Ok(patch)
}

/// The epoch in an annotation.
fn newest(cluster: &Cluster, key: &'static str) -> Result<Option<Epoch>, PatchError> {
    let Some(text) = cluster.annotation(key) else { return Ok(None) };
    let number = text.parse().map_err(|_| PatchError::Mark { key, found: text.into() })?;
    Ok(Some(Epoch(number)))
}

pub(crate) fn not_stale(
    cluster: &Cluster,
    key: &'static str,
    ours: Epoch,
) -> Result<(), PatchError> {
    match newest(cluster, key)? {
        Some(seen) if seen > ours => Err(PatchError::Stale { seen, ours }),
        _ => Ok(()),
    }
}

/// Sets annotations, or takes them away. Each must still be as it was read; what is not there cannot
/// be tested, so then nothing at all may have changed.
pub(crate) fn annotate(
    cluster: &Cluster,
    changes: &[(&str, Option<&str>)],
) -> Result<ClusterPatch, PatchError> {
    let uid = cluster.metadata.uid.as_deref().ok_or(PatchError::NotRead("uid"))?;
    let unchanged = unchanged(cluster)?;
    let none = BTreeMap::new();
    let present = cluster.metadata.annotations.as_ref().unwrap_or(&none);
    let mut operations = vec![json!({"op": "test", "path": "/metadata/uid", "value": uid})];
    if changes.iter().any(|(key, _)| !present.contains_key(*key)) {
        operations.push(unchanged);
    }
    for (key, _) in changes {
        if let Some(value) = present.get(*key) {
            operations.push(json!({"op": "test", "path": pointer(key), "value": value}));
        }
    }
    if present.is_empty() {
        operations.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    for (key, value) in changes {
        match value {
            Some(value) => {
                operations.push(json!({"op": "add", "path": pointer(key), "value": value}));
            }
            None if present.contains_key(*key) => {
                operations.push(json!({"op": "remove", "path": pointer(key)}));
            }
            None => {}
        }
    }
    Ok(ClusterPatch { operations })
}

fn pointer(annotation: &str) -> String {
    format!("/metadata/annotations/{}", annotation.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
#[path = "patches_tests.rs"]
mod tests;
