//! What is kept in annotations of a Cluster: whose it is, which data directory it has, and what it was
//! handed for its promotion. They outlive every agent, and each patch tests the first of them.

use continuum_domain::{DataDirectoryId, Epoch, Generation, SyncNames};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::clusters::{Seen, failed};
use crate::kubernetes::cnpg::{Cluster, keys};
use crate::kubernetes::patches::{ClusterPatch, PatchError, annotate, not_stale};
use crate::plane::PlaneError;

/// The newest agent's generation (R4).
pub(crate) const GENERATION: &str = "dr.openova.io/generation";
/// The identity of the data directory (R13).
pub(crate) const DIRECTORY: &str = "dr.openova.io/data-directory";
/// The token of the demoted Cluster, for the next promotion of this one.
pub(crate) const HANDED: &str = "dr.openova.io/handed";
/// The epoch of the first lease that this Cluster led by, where it led before an agent came: no agent wrote
/// its role, so that no other mark says so.
pub(crate) const LED: &str = "dr.openova.io/led";
/// Why a person has fenced this member.
pub(crate) const BROKEN_GLASS: &str = "dr.openova.io/fence-reason";

/// The identity as it is kept. It counts for one instance of one database: a copy, or another instance
/// that the operator made the leading one, is another directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Directory {
    /// `None` while a destructive step is under way or was cut short.
    pub id: Option<DataDirectoryId>,
    /// The instance.
    pub instance: String,
    /// The database system.
    pub system: String,
}

/// A demotion token that this Cluster was handed, under the epoch of the holder that stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handed {
    /// The holder's epoch; the token is for the next one.
    pub epoch: Epoch,
    /// The token.
    pub token: String,
}

/// The generation that has the Cluster; `None` before the first agent.
pub(crate) fn generation(cluster: &Cluster) -> Result<Option<Generation>, PlaneError> {
    let Some(text) = cluster.annotation(GENERATION) else { return Ok(None) };
    let number = text.parse().map_err(|_| {
        failed("reading the Cluster", &format!("{GENERATION} {text:?} is no number"))
    })?;
    Ok(Some(Generation(number)))
}

/// The patch that takes the Cluster.
pub(crate) fn take(cluster: &Cluster, next: Generation) -> Result<ClusterPatch, PatchError> {
    annotate(cluster, &[(GENERATION, Some(&next.to_string()))])
}

/// Refuses where another generation has the Cluster.
pub(crate) fn is_had_by(cluster: &Cluster, ours: Generation) -> Result<(), PlaneError> {
    let found = generation(cluster)?;
    if found != Some(ours) {
        let found = found.map_or("nobody".to_owned(), |found| found.to_string());
        return Err(PlaneError::Refused(format!("generation {found} has the Cluster, not {ours}")));
    }
    Ok(())
}

/// The same patch, which takes effect only while `generation` has the Cluster.
pub(crate) fn under(
    mut patch: ClusterPatch,
    cluster: &Cluster,
    ours: Generation,
) -> Result<ClusterPatch, PlaneError> {
    is_had_by(cluster, ours)?;
    let path = format!("/metadata/annotations/{}", GENERATION.replace('/', "~1"));
    patch.operations.insert(0, json!({"op": "test", "path": path, "value": ours.to_string()}));
    Ok(patch)
}

/// Whether some agent has led this Cluster by a lease. Marks alone: they outlive every pod and volume.
pub(crate) fn was_led(cluster: &Cluster) -> bool {
    [keys::EPOCH, LED].iter().any(|key| cluster.annotation(key).is_some())
}

/// The patch that says that it was.
pub(crate) fn led(cluster: &Cluster, epoch: Epoch) -> Result<ClusterPatch, PatchError> {
    if was_led(cluster) {
        return Err(PatchError::Already);
    }
    annotate(cluster, &[(LED, Some(&epoch.to_string()))])
}

/// A mark that is JSON; one that cannot be read is an error, never taken for none.
pub(crate) fn read<T: serde::de::DeserializeOwned>(
    cluster: &Cluster,
    key: &str,
) -> Result<Option<T>, PlaneError> {
    let Some(text) = cluster.annotation(key) else { return Ok(None) };
    let value = serde_json::from_str(text);
    value.map(Some).map_err(|error| failed("reading the Cluster", &format!("{key}: {error}")))
}

/// Sets a mark.
pub(crate) fn write<T: Serialize>(
    cluster: &Cluster,
    key: &str,
    value: &T,
) -> Result<ClusterPatch, PatchError> {
    let text = json!(value).to_string();
    if cluster.annotation(key) == Some(text.as_str()) {
        return Err(PatchError::Already);
    }
    annotate(cluster, &[(key, Some(&text))])
}

/// R13: the identity of the instance that leads, if it is that one's.
pub(crate) fn directory(cluster: &Cluster) -> Option<DataDirectoryId> {
    let kept: Directory = read(cluster, DIRECTORY).ok()??;
    let status = cluster.status.as_ref()?;
    // An operator that was just started may not say which database it is; the instance is another where
    // the Cluster was made anew, and so are the marks.
    let same = status.current_primary.as_deref() == Some(kept.instance.as_str())
        && status.system_id.as_ref().is_none_or(|system| *system == kept.system);
    kept.id.filter(|_| same)
}

/// Sets whom a commit waits for: everybody in the list, whom the operator waits for by their names.
pub(crate) fn names(
    seen: &Seen,
    epoch: Epoch,
    standbys: &[String],
) -> Result<ClusterPatch, PatchError> {
    not_stale(&seen.cluster, keys::EPOCH, epoch)?;
    let found = &seen.synchronous;
    let mut wanted = found.clone();
    if standbys.is_empty() {
        wanted = Value::Null;
    } else {
        if !wanted.is_object() {
            wanted = json!({});
        }
        wanted["method"] = json!("first");
        wanted["number"] = json!(standbys.len());
        wanted["standbyNamesPre"] = json!(standbys);
        wanted["maxStandbyNamesFromCluster"] = json!(0);
        wanted["dataDurability"] = json!("required");
    }
    if wanted == *found {
        return Err(PatchError::Already);
    }
    let version = seen.cluster.metadata.resource_version.as_deref();
    let version = version.ok_or(PatchError::NotRead("resourceVersion"))?;
    let mut operations =
        vec![json!({"op": "test", "path": "/metadata/resourceVersion", "value": version})];
    if wanted.is_null() {
        operations.push(json!({"op": "remove", "path": "/spec/postgresql/synchronous"}));
    } else {
        if seen.cluster.spec.postgresql.is_none() {
            operations.push(json!({"op": "add", "path": "/spec/postgresql", "value": {}}));
        }
        let path = "/spec/postgresql/synchronous";
        operations.push(json!({"op": "add", "path": path, "value": wanted}));
    }
    Ok(ClusterPatch { operations })
}

/// Whom a commit waits for by the spec.
pub(crate) fn names_of(cluster: &Cluster) -> Vec<String> {
    let postgresql = cluster.spec.postgresql.as_ref();
    let synchronous = postgresql.and_then(|postgresql| postgresql.synchronous.as_ref());
    synchronous.and_then(|s| s.standby_names_pre.clone()).unwrap_or_default()
}

/// Whether `synchronous_standby_names`, as PostgreSQL shows it, waits for exactly these.
pub(crate) fn shows(shown: &str, due: &[String]) -> bool {
    if due.is_empty() {
        return shown.trim().is_empty();
    }
    let Some((count, list)) = shown.strip_prefix("FIRST ").and_then(|rest| rest.split_once('('))
    else {
        return false;
    };
    let mut names: Vec<&str> =
        list.trim_end_matches(')').split(',').map(|name| name.trim().trim_matches('"')).collect();
    names.sort_unstable();
    let mut due: Vec<&str> = due.iter().map(String::as_str).collect();
    due.sort_unstable();
    names == due && count.trim().parse() == Ok(due.len())
}

/// The names of Clusters for names of regions; the unfillable name is its own.
pub(crate) fn standby_names(
    names: &SyncNames,
    clusters: &std::collections::BTreeMap<continuum_domain::RegionId, String>,
) -> Result<Vec<String>, PlaneError> {
    let cluster = |region| {
        let missing = || failed("setting the names", &format!("no Cluster is known in {region}"));
        clusters.get(region).cloned().ok_or_else(missing)
    };
    let mut list: Vec<String> = names.members.iter().map(cluster).collect::<Result<_, _>>()?;
    if names.probe {
        list.push(continuum_domain::sync_names::PROBE_NAME.to_owned());
    }
    Ok(list)
}

#[cfg(test)]
#[path = "marks_tests.rs"]
mod tests;
