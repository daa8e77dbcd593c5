//! Putting a Cluster to sleep while its pair is at rest, and waking it: the two patches, as pure decisions.
//!
//! CNPG's annotation says *that* it sleeps. Beside it stands, in an annotation of ours, what an agent said
//! last and under which epoch. So a sleep that a person ordered is told apart, and is never ended here; and
//! an agent that was left behind does not put a Cluster to sleep that was resumed since.

use continuum_domain::Epoch;

use super::cnpg::{Cluster, Condition, keys};
use super::patches::{ClusterPatch, PatchError, annotate};

/// The annotation with an agent's last word: `on 7` or `off 7`.
pub const MARK: &str = "dr.openova.io/rest";

/// Whether a Cluster sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// It does not.
    Awake,
    /// It was told to by an agent, under this epoch.
    Ours(Epoch),
    /// It was told to by somebody else.
    Foreign,
}

/// Why a Cluster is not told anything. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SleepError {
    /// The patch is not to be made.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// Somebody else put it to sleep.
    #[error(
        "the Cluster was hibernated by somebody else; take {} away when it may run",
        keys::HIBERNATION
    )]
    Foreign,
}

/// Reads whether a Cluster sleeps, and by whose word.
pub fn sleep(cluster: &Cluster) -> Result<Sleep, PatchError> {
    let on = cluster.annotation(keys::HIBERNATION) == Some("on");
    Ok(match (on, word(cluster)?) {
        (false, _) => Sleep::Awake,
        (true, Some((true, epoch))) => Sleep::Ours(epoch),
        (true, _) => Sleep::Foreign,
    })
}

/// Whether the operator has done what the annotation says: all pods are gone. `None` where it does not say.
pub fn is_asleep(cluster: &Cluster) -> Option<bool> {
    let status = cluster.status.as_ref()?;
    let named = |one: &&Condition| one.name.as_deref() == Some(keys::HIBERNATION);
    let condition = status.conditions.as_ref()?.iter().find(named)?;
    Some(condition.status.as_deref() == Some("True"))
}

/// Puts a Cluster to sleep; its volumes and its Services stay.
pub fn rest(cluster: &Cluster, epoch: Epoch) -> Result<ClusterPatch, SleepError> {
    match (not_stale(cluster, epoch)?, sleep(cluster)?) {
        ((), Sleep::Foreign) => Err(SleepError::Foreign),
        ((), Sleep::Ours(found)) if found == epoch => Err(PatchError::Already.into()),
        _ => say(cluster, true, epoch),
    }
}

/// Wakes a Cluster that an agent put to sleep.
pub fn wake(cluster: &Cluster, epoch: Epoch) -> Result<ClusterPatch, SleepError> {
    match (not_stale(cluster, epoch)?, sleep(cluster)?) {
        ((), Sleep::Foreign) => Err(SleepError::Foreign),
        // Nobody's word yet: a Cluster that was never put to sleep is not touched.
        ((), Sleep::Awake) => Err(PatchError::Already.into()),
        ((), Sleep::Ours(_)) => say(cluster, false, epoch),
    }
}

fn say(cluster: &Cluster, on: bool, epoch: Epoch) -> Result<ClusterPatch, SleepError> {
    let word = if on { "on" } else { "off" };
    let mark = format!("{word} {epoch}");
    Ok(annotate(cluster, &[(keys::HIBERNATION, Some(word)), (MARK, Some(&mark))])?)
}

/// An agent's last word, and its epoch.
fn word(cluster: &Cluster) -> Result<Option<(bool, Epoch)>, PatchError> {
    let Some(text) = cluster.annotation(MARK) else { return Ok(None) };
    let unread = || PatchError::Mark { key: MARK, found: text.into() };
    let (word, epoch) = text.split_once(' ').ok_or_else(unread)?;
    let on = match word {
        "on" => true,
        "off" => false,
        _ => return Err(unread()),
    };
    Ok(Some((on, Epoch(epoch.parse().map_err(|_| unread())?))))
}

fn not_stale(cluster: &Cluster, ours: Epoch) -> Result<(), PatchError> {
    let role = cluster.annotation(keys::EPOCH).and_then(|text| text.parse().ok()).map(Epoch);
    let seen = word(cluster)?.map(|(_, epoch)| epoch).max(role);
    match seen {
        Some(seen) if seen > ours => Err(PatchError::Stale { seen, ours }),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "hibernate_tests.rs"]
mod tests;
