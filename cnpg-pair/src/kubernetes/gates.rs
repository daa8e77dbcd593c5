//! What stands in the way of a planned move, from either side of it.
//!
//! All of it is asked before the first write, because afterwards the old primary is down until somebody
//! is promoted. Each agent sees its own Cluster alone; the core, which plans the move, has both words
//! together with the register and the positions. What cannot be looked at stands in the way, and says so.

use continuum_domain::observation::Hindrance;

use super::cnpg::{Cluster, ExternalCluster, TruthValue};
use super::reading::{SqlLook, Standing, read};

/// How many WAL files may wait for the archiver, which a fast shutdown waits for.
const READY_WAL_FILES_MAX: u64 = 8;
/// The longest bound of a fast shutdown, in seconds, and what the operator takes where there is none.
const SWITCHOVER_DELAY_MAX: i64 = 30;
const SWITCHOVER_DELAY_NONE: i64 = 3600;
/// The operator's bound of a smart shutdown where there is none.
const SMART_SHUTDOWN_NONE: i64 = 180;

const HEAR: &str = "see that the agent reaches PostgreSQL and the API server";
const MEND: &str = "mend it, or wait until its operator is done";
/// Whoever must leave a Cluster that is ill is not kept there.
const MEND_OR_LEAVE: &str = "mend it, or wait until its operator is done; a failover, which stops it hard, asks none of this";

/// One Cluster, its PostgreSQL, and the names of the pair's others.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The Cluster.
    pub cluster: &'a Cluster,
    /// Its PostgreSQL.
    pub sql: &'a SqlLook,
    /// The others, by their names in the topology.
    pub others: &'a [&'a str],
}

struct Found(Vec<Hindrance>);

impl Found {
    fn add(&mut self, code: &str, meaning: String, action: impl Into<String>) {
        self.0.push(Hindrance { code: code.into(), meaning, action: action.into() });
    }
}

/// What a primary has against being demoted in order, beside what bars any Cluster from being one.
pub fn source(side: Side<'_>) -> Vec<Hindrance> {
    let mut found = Found(Vec::new());
    topology(side, &mut found);
    health("source-healthy", side, MEND_OR_LEAVE, &mut found);
    archiving(side, &mut found);
    bounds(side, &mut found);
    found.0
}

/// What a standby has against being promoted in order.
pub fn target(side: Side<'_>) -> Vec<Hindrance> {
    let mut found = Found(Vec::new());
    topology(side, &mut found);
    health("target-healthy", side, MEND, &mut found);
    own_archive(side, &mut found);
    found.0
}

/// Backups of the source that are being made, by name: the fence of a demotion ends all its instances. `None`
/// where that is not known.
pub fn backup(running: Option<&[String]>) -> Option<Hindrance> {
    let (meaning, action) = match running {
        Some([]) => return None,
        Some(running) => (
            format!("a backup of it is being made, and would fail: {}", running.join(", ")),
            "wait until it has ended, or delete it".to_owned(),
        ),
        None => (
            "whether a backup of it is being made is not known".to_owned(),
            "see that the agent may list Backup objects, and that the API server answers"
                .to_owned(),
        ),
    };
    Some(Hindrance { code: "source-backup".into(), meaning, action })
}

fn name(side: Side<'_>) -> &str {
    side.cluster.own_name().unwrap_or_default()
}

fn external<'a>(side: Side<'a>, other: &str) -> Option<&'a ExternalCluster> {
    side.cluster.spec.external_clusters.iter().flatten().find(|one| one.name == other)
}

/// The webhook refuses a role that names somebody who is not listed, and a `primary` beside `enabled`.
fn topology(side: Side<'_>, found: &mut Found) {
    let (code, name) = ("topology", name(side));
    let replica = side.cluster.spec.replica.as_ref();
    if !replica.is_some_and(|replica| replica.enabled.is_none() && replica.primary.is_some()) {
        found.add(
            code,
            format!("the Cluster {name} is in no distributed topology"),
            "set its spec.replica.primary and source, and take enabled away",
        );
    }
    for other in side.others.iter().filter(|other| external(side, other).is_none()) {
        found.add(
            code,
            format!("the Cluster {name} does not list {other} in externalClusters"),
            "render both Clusters again and apply them",
        );
    }
}

/// What has a hindrance of its own (asleep, deleted, left alone, ...) is not told twice.
fn health(code: &str, side: Side<'_>, mend: &str, found: &mut Found) {
    let (name, reading) = (name(side), read(side.cluster, side.sql));
    let mut reasons = Vec::new();
    if reading.is(Standing::Fenced) {
        reasons.push("all its instances are fenced".to_owned());
    }
    if reading.is(Standing::InstanceFenced) {
        reasons.push("some of its instances are fenced".to_owned());
    }
    reasons.extend(reading.unwell.iter().cloned());
    if !reasons.is_empty() {
        found.add(code, format!("the Cluster {name} is not well: {}", reasons.join("; ")), mend);
    } else if !reading.unknown.is_empty() {
        found.add(
            code,
            format!(
                "whether the Cluster {name} is well is not known: {}",
                reading.unknown.join(", ")
            ),
            HEAR,
        );
    }
}

/// A fast shutdown waits for the archiver, and the operator's token for what it archives last.
fn archiving(side: Side<'_>, found: &mut Found) {
    let name = name(side);
    let status = side.cluster.status.as_ref();
    let said = status.map_or(TruthValue::Unknown, |status| status.condition("ContinuousArchiving"));
    // Before the first file is archived the operator says nothing; PostgreSQL does.
    match (said, side.sql.archiving_fails) {
        (TruthValue::False, _) | (_, Some(true)) => found.add(
            "source-archiving",
            format!(
                "the Cluster {name} does not archive its WAL, and its shutdown would wait for that"
            ),
            "mend the archive; its condition ContinuousArchiving and PostgreSQL's log say why",
        ),
        (TruthValue::True, _) | (_, Some(false)) => {}
        (TruthValue::Unknown, None) => found.add(
            "source-archiving",
            format!("whether the Cluster {name} archives its WAL is not known"),
            HEAR,
        ),
    }
    match side.sql.ready_wal_files {
        Some(files) if files <= READY_WAL_FILES_MAX => {}
        Some(_) => found.add(
            "source-archive-queue",
            format!(
                "more than {READY_WAL_FILES_MAX} WAL files of the Cluster {name} wait for its archiver, and \
                 its shutdown would wait for them"
            ),
            "wait until the archiver has caught up",
        ),
        None => found.add(
            "source-archive-queue",
            format!("how many WAL files of the Cluster {name} wait for its archiver is not known"),
            HEAR,
        ),
    }
}

fn bounds(side: Side<'_>, found: &mut Found) {
    let (code, name, spec) = ("shutdown-bound", name(side), &side.cluster.spec);
    match spec.switchover_delay {
        Some(delay) if (1..=SWITCHOVER_DELAY_MAX).contains(&delay) => {}
        delay => found.add(
            code,
            format!(
                "switchoverDelay of the Cluster {name} is {} s: its stop may take so long, and 1 to \
                 {SWITCHOVER_DELAY_MAX} are allowed",
                delay.unwrap_or(SWITCHOVER_DELAY_NONE)
            ),
            "set its spec.switchoverDelay",
        ),
    }
    if spec.smart_shutdown_timeout != Some(0) {
        found.add(
            code,
            format!(
                "smartShutdownTimeout of the Cluster {name} is {} s, in which open sessions go on committing",
                spec.smart_shutdown_timeout.unwrap_or(SMART_SHUTDOWN_NONE)
            ),
            "set its spec.smartShutdownTimeout to 0",
        );
    }
}

/// A promotion needs an archive that nobody else has written to.
fn own_archive(side: Side<'_>, found: &mut Found) {
    let Some(own) = side.cluster.archive() else { return };
    for other in side.others {
        if external(side, other).and_then(ExternalCluster::archive) == Some(own) {
            found.add(
                "own-archive",
                format!(
                    "the Clusters {} and {other} archive to one place: {:?} as {:?}",
                    name(side),
                    own.0.unwrap_or("one store"),
                    own.1
                ),
                "give each a serverName of its own",
            );
        }
    }
}

#[cfg(test)]
#[path = "gates_tests.rs"]
mod tests;
