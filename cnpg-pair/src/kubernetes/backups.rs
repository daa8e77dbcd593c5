//! Backups of one Cluster: which `Backup` a request becomes, when none may be asked for, and whether what
//! there is, is as recent as its schedules want it.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::cnpg::{Backup, BackupPhase, Cluster, ScheduledBackup, keys};
use super::crd::{BackupRecord, ConditionStatus};
use super::render::PLUGIN;

/// The label that says from which request a `Backup` came.
pub const REQUEST: &str = "dr.openova.io/backup-request";
/// How long after a time of its schedule a backup may take to be complete, and how long while one is being
/// made.
const LATE_MS: i64 = 3_600_000;
const LATE_RUNNING_MS: i64 = 24 * LATE_MS;

/// The name of the `Backup` of a request: the same for the same request, so that a retry makes nothing
/// twice.
pub fn name_of(cluster: &str, request: &str) -> String {
    format!("{cluster}-ondemand-{request}")
}

/// The `Backup` of a request.
pub fn manifest(pair: &str, cluster: &str, request: &str) -> Value {
    json!({
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Backup",
        "metadata": {
            "name": name_of(cluster, request),
            "labels": {
                "app.kubernetes.io/managed-by": "continuum", keys::PAIR: pair, REQUEST: request,
            },
        },
        "spec": {
            "cluster": { "name": cluster },
            "method": "plugin",
            "pluginConfiguration": { "name": PLUGIN },
            "target": "prefer-standby",
        },
    })
}

/// Whether a `Backup` that has the name is the one of the request: others may take names too.
pub fn is_of(backup: &Backup, cluster: &str, request: &str) -> bool {
    let labels = backup.metadata.labels.as_ref();
    is_of_cluster(backup, cluster)
        && labels.and_then(|labels| labels.get(REQUEST)).is_some_and(|found| found == request)
}

/// Why no backup may be asked of a Cluster now. What cannot be read counts as a fence.
pub fn refusal(cluster: &Cluster) -> Option<&'static str> {
    if cluster.annotation(keys::HIBERNATION) == Some("on") {
        return Some("the Cluster is hibernated: its instances do not run");
    }
    if cluster.fenced().map_or(true, |names| !names.is_empty()) {
        return Some("the Cluster is fenced: what it holds may not be the pair's data");
    }
    if cluster.annotation(keys::RECONCILIATION) == Some("disabled") {
        return Some("the operator's hands are off this Cluster (cnpg.io/reconciliationLoop)");
    }
    None
}

/// The newest backups of a Cluster of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The newest one that is complete.
    pub completed: Option<BackupRecord>,
    /// When that ended, in milliseconds since 1970.
    pub completed_ms: Option<i64>,
    /// When that began.
    pub covers_ms: Option<i64>,
    /// The newest one that has not ended.
    pub running: Option<BackupRecord>,
    /// The newest one that failed.
    pub failed: Option<BackupRecord>,
    /// How many failed since the newest one that is complete.
    pub failures: u32,
}

fn ms(time: Option<&str>) -> Option<i64> {
    time?.parse().ok().map(Timestamp::as_millisecond)
}

fn is_of_cluster(backup: &Backup, cluster: &str) -> bool {
    backup.spec.cluster.as_ref().and_then(|one| one.name.as_deref()) == Some(cluster)
}

/// When a backup ended, or whatever is known that comes before that.
fn at(backup: &Backup) -> i64 {
    let status = backup.status.as_ref();
    let made = backup.metadata.creation_timestamp.as_ref().map(|time| time.0.as_millisecond());
    let stopped = ms(status.and_then(|status| status.stopped_at.as_deref()));
    stopped.or_else(|| began(backup)).or(made).unwrap_or_default()
}

fn began(backup: &Backup) -> Option<i64> {
    ms(backup.status.as_ref()?.started_at.as_deref())
}

/// Those of a Cluster that are being made, by name.
pub fn running<'a>(cluster: &str, all: impl Iterator<Item = &'a Backup>) -> Vec<String> {
    all.filter(|backup| is_of_cluster(backup, cluster) && backup.phase() == BackupPhase::Running)
        .filter_map(|backup| backup.metadata.name.clone())
        .collect()
}

/// What is told of one.
pub fn record(backup: &Backup) -> BackupRecord {
    let status = backup.status.clone().unwrap_or_default();
    BackupRecord {
        name: backup.metadata.name.clone().unwrap_or_default(),
        phase: status.phase,
        method: backup.spec.method.clone(),
        started_at: status.started_at,
        stopped_at: status.stopped_at,
        backup_id: status.backup_id,
        begin_wal: status.begin_wal,
        end_wal: status.end_wal,
        begin_lsn: status.begin_lsn,
        end_lsn: status.end_lsn,
        error: status.error.filter(|error| !error.is_empty()),
    }
}

/// Finds them among all that are there.
pub fn standing<'a>(cluster: &str, all: impl Iterator<Item = &'a Backup>) -> Standing {
    let (mut completed, mut running, mut failed) = (None, None, Vec::new());
    for backup in all.filter(|backup| is_of_cluster(backup, cluster)) {
        let newest = |slot: &mut Option<&'a Backup>| {
            if slot.is_none_or(|found| at(found) <= at(backup)) {
                *slot = Some(backup);
            }
        };
        match backup.phase() {
            BackupPhase::Completed => newest(&mut completed),
            BackupPhase::Failed => failed.push(backup),
            // One that nobody has said anything of has not ended.
            BackupPhase::Waiting | BackupPhase::Running | BackupPhase::Unknown => {
                newest(&mut running);
            }
        }
    }
    let ended = completed.map(at);
    let since = failed.iter().filter(|backup| ended.is_none_or(|ended| at(backup) > ended));
    Standing {
        failures: u32::try_from(since.count()).unwrap_or(u32::MAX),
        completed: completed.map(record),
        completed_ms: ended,
        covers_ms: completed.map(|backup| began(backup).unwrap_or_else(|| at(backup))),
        running: running.map(record),
        failed: failed.into_iter().max_by_key(|backup| at(backup)).map(record),
    }
}

/// How the backups of a Cluster are: whether that is well, one word of why, and what to do.
pub type Health = (ConditionStatus, &'static str, String);

/// Judges them at `now_ms`. A backup counts for the times of its schedules that it began after.
pub fn health<'a>(
    cluster: &str,
    standing: &Standing,
    schedules: impl Iterator<Item = &'a ScheduledBackup>,
    now_ms: i64,
) -> Health {
    let own = |one: &&ScheduledBackup| {
        one.spec.cluster.as_ref().and_then(|found| found.name.as_deref()) == Some(cluster)
    };
    let all: Vec<&ScheduledBackup> = schedules.filter(own).collect();
    let acting = || all.iter().filter(|one| one.spec.suspend != Some(true));
    let no = |reason, text: String| (ConditionStatus::False, reason, text);
    if let Some(failed) = standing.failed.as_ref().filter(|_| standing.failures > 0) {
        let why =
            failed.error.as_deref().or(failed.phase.as_deref()).unwrap_or("no reason is given");
        let text = format!(
            "the newest backup {} failed: {why}. What is complete is as old as lastCompleted says; mend it \
             and ask for one under a new requestId",
            failed.name
        );
        return no("LastFailed", text);
    }
    if all.is_empty() {
        let text =
            format!("{cluster} has no ScheduledBackup: no backup is made by itself. Render it");
        return no("NotScheduled", text);
    }
    if acting().next().is_none() {
        return no(
            "Suspended",
            "every ScheduledBackup is suspended: set spec.suspend to false".into(),
        );
    }
    let due = acting().filter_map(|one| due(one, now_ms)).max();
    let late = if standing.running.is_some() { LATE_RUNNING_MS } else { LATE_MS };
    let missed = due
        .filter(|due| now_ms - due > late && standing.covers_ms.is_none_or(|covers| covers < *due));
    if let Some(missed) = missed {
        let since = Timestamp::from_millisecond(missed).unwrap_or_default();
        let text = format!(
            "no backup was completed that began since {since}, when one was due. A restore would lack what \
             came later, but for archived WAL; look at the operator and at `running`"
        );
        return no("Overdue", text);
    }
    match &standing.completed {
        Some(newest) => {
            (ConditionStatus::True, "Recent", format!("{} is the newest backup", newest.name))
        }
        None => {
            let text = "no backup is complete yet: nothing could be restored from one".to_owned();
            (ConditionStatus::Unknown, "NoneYet", text)
        }
    }
}

/// When a backup was due last. The operator may not have noticed: then it is the time it said would come.
fn due(schedule: &ScheduledBackup, now_ms: i64) -> Option<i64> {
    let status = schedule.status.as_ref()?;
    let next = ms(status.next_schedule_time.as_deref()).filter(|next| *next <= now_ms);
    next.max(ms(status.last_schedule_time.as_deref()))
}

#[cfg(test)]
#[path = "backups_tests.rs"]
mod tests;
