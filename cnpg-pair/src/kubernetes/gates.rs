//! What must hold before a controlled hand-over begins.
//!
//! Everything is looked at before the first write, because afterwards the old primary is down until
//! somebody is promoted. A gate that cannot be looked at is shut, and says so.

use continuum_domain::Lsn;
use serde::{Deserialize, Serialize};

use super::cnpg::{Cluster, TruthValue};
use super::reading::{ClusterRole, PairStanding, Reading, SqlLook, Standing, read, read_pair};

/// One side of a hand-over.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The Cluster.
    pub cluster: &'a Cluster,
    /// Its PostgreSQL.
    pub sql: &'a SqlLook,
}

/// What else must be known; `None` is what is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Backups of the source that are being made, by name.
    pub backups_running: Option<Vec<String>>,
    /// Whether the Secrets of the database roles are the same on both sides.
    pub role_secrets_equal: Option<bool>,
    /// Whether the source was seen to reach the target as it will after the hand-over.
    pub reverse_path_proven: Option<bool>,
}

/// Bounds of a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How far behind the target may be.
    pub lag_bytes_max: u64,
    /// How many WAL files may wait for the archiver, which a fast shutdown waits for.
    pub ready_wal_files_max: u64,
    /// The longest bound of a fast shutdown.
    pub switchover_delay_max: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { lag_bytes_max: 16 << 20, ready_wal_files_max: 8, switchover_delay_max: 30 }
    }
}

/// The gates, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// The source is the primary and the target its replica, in one distributed topology.
    Topology,
    /// The source is well.
    SourceHealthy,
    /// The target is well.
    TargetHealthy,
    /// Both are the same database.
    SameSystem,
    /// Both are on the same timeline.
    SameTimeline,
    /// The target streams.
    TargetStreaming,
    /// The target is near.
    TargetLag,
    /// The source archives.
    SourceArchiving,
    /// The source's archiver has little left to do.
    SourceArchiveQueue,
    /// No backup of the source is being made.
    SourceBackup,
    /// Neither is in the middle of a demotion.
    NoTransition,
    /// Neither has a promotion token left in its spec.
    NoTokenLeft,
    /// The source's shutdown is bounded.
    ShutdownBound,
    /// The target archives to a place of its own, which a promotion needs empty.
    OwnArchive,
    /// Roles have the same passwords on both sides.
    RoleSecrets,
    /// The way back is known to work.
    ReversePath,
}

/// Why a hand-over may not begin. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Which gate.
    pub gate: Gate,
    /// Whether it is shut because something is not known.
    pub unknown: bool,
    /// What was found.
    pub reason: String,
    /// What to do.
    pub next: String,
}

struct Found(Vec<Refusal>);

impl Found {
    fn refuse(&mut self, gate: Gate, reason: impl Into<String>, next: &str) {
        let (reason, next) = (reason.into(), next.into());
        self.0.push(Refusal { gate, unknown: false, reason, next });
    }

    fn unknown(&mut self, gate: Gate, what: &str, next: &str) {
        let reason = format!("not known: {what}");
        self.0.push(Refusal { gate, unknown: true, reason, next: next.into() });
    }
}

const HEAR: &str = "see that the agent reaches PostgreSQL and the API server";

/// Looks at every gate, so that a person sees all that is to be done at once. Empty: it may begin.
pub fn refusals(
    source: Side<'_>,
    target: Side<'_>,
    around: &Surroundings,
    limits: &Limits,
) -> Vec<Refusal> {
    let mut found = Found(Vec::new());
    let readings = (read(source.cluster, source.sql), read(target.cluster, target.sql));
    topology(source, target, &readings, &mut found);
    health(Gate::SourceHealthy, &readings.0, &mut found);
    health(Gate::TargetHealthy, &readings.1, &mut found);
    lineage(source, target, &mut found);
    streaming(source, target, limits, &mut found);
    archiving(source, target, limits, &mut found);
    transition(source, target, &mut found);
    bounds(source, limits, &mut found);
    surroundings(around, &mut found);
    found.0
}

fn topology(source: Side<'_>, target: Side<'_>, readings: &(Reading, Reading), found: &mut Found) {
    let gate = Gate::Topology;
    match read_pair((source.cluster, source.sql), (target.cluster, target.sql)) {
        PairStanding::First => {}
        PairStanding::Unknown => found.unknown(gate, "which of the two accepts writes", HEAR),
        PairStanding::BothPrimary => found.refuse(
            gate,
            "both may accept writes",
            "fence the one that does not hold the lease, then compare their histories",
        ),
        PairStanding::Second | PairStanding::Neither => found.refuse(
            gate,
            "the source accepts no writes",
            "look up which member holds the lease; a hand-over starts there",
        ),
    }
    for (side, reading, role) in
        [(source, &readings.0, ClusterRole::Primary), (target, &readings.1, ClusterRole::Replica)]
    {
        let replica = side.cluster.spec.replica.as_ref();
        let distributed =
            replica.is_some_and(|replica| replica.enabled.is_none() && replica.primary.is_some());
        if !distributed {
            found.refuse(
                gate,
                format!("{} is in no distributed topology", name(side)),
                "set spec.replica.primary and source, and take enabled away",
            );
        } else if reading.role != role && reading.role != ClusterRole::Unknown {
            found.refuse(
                gate,
                format!("{} is a {:?}", name(side), reading.role),
                "look up which member holds the lease; a hand-over starts there",
            );
        }
    }
    let primary = |side: Side<'_>| {
        side.cluster.spec.replica.as_ref().and_then(|replica| replica.primary.clone())
    };
    let own = source.cluster.own_name().map(str::to_owned);
    if [primary(source), primary(target)].iter().any(|named| *named != own) {
        found.refuse(
            gate,
            "the two do not name the same primary",
            "see who changed spec.replica; let the one that holds the lease be named by both",
        );
    }
    for (from, to) in [(source, target), (target, source)] {
        let reaches = to.cluster.own_name().is_some_and(|own| {
            from.cluster.spec.external_clusters.iter().flatten().any(|one| one.name == own)
        });
        if !reaches {
            found.refuse(
                gate,
                format!("{} does not list {} in externalClusters", name(from), name(to)),
                "render both Clusters again and apply them",
            );
        }
    }
}

fn name(side: Side<'_>) -> String {
    side.cluster.own_name().unwrap_or("a Cluster without a name").to_owned()
}

fn health(gate: Gate, reading: &Reading, found: &mut Found) {
    let names = [
        (Standing::Deleting, "it is being deleted", "choose another member"),
        (
            Standing::Fenced,
            "all its instances are fenced",
            "find out why, then take the fence away",
        ),
        (Standing::InstanceFenced, "some instances are fenced", "find out why, then unfence them"),
        (Standing::Hibernated, "it is hibernated", "resume it and wait until it follows"),
        (
            Standing::ReconciliationOff,
            "its operator was told to leave it alone",
            "take cnpg.io/reconciliationLoop away",
        ),
        (Standing::Promoting, "it is being promoted", "wait until that has ended"),
        (Standing::SwitchoverWithin, "its primary moves within it", "wait until that has ended"),
        (Standing::Unrecoverable, "the operator has given it up", "rebuild it from the primary"),
        (Standing::WaitingForUser, "the operator waits for a person", "see its phaseReason"),
    ];
    for (standing, reason, next) in names {
        if reading.is(standing) {
            found.refuse(gate, reason, next);
        }
    }
    for reason in &reading.unwell {
        found.refuse(gate, reason.clone(), "mend the Cluster first");
    }
    for what in &reading.unknown {
        found.unknown(gate, what, HEAR);
    }
}

fn lineage(source: Side<'_>, target: Side<'_>, found: &mut Found) {
    match (source.sql.system_id, target.sql.system_id) {
        (Some(one), Some(other)) if one == other => {}
        (Some(one), Some(other)) => found.refuse(
            Gate::SameSystem,
            format!("the source is system {one}, the target {other}"),
            "rebuild the target from the source",
        ),
        _ => found.unknown(Gate::SameSystem, "both system identifiers", HEAR),
    }
    let said = |side: Side<'_>| side.cluster.status.as_ref().and_then(|status| status.timeline_id);
    match (source.sql.timeline, target.sql.timeline) {
        (Some(one), Some(other)) if one == other => {
            // The operator compares what its status says.
            for side in [source, target] {
                match said(side) {
                    Some(number) if number == one.0 => {}
                    Some(number) => found.refuse(
                        Gate::SameTimeline,
                        format!("the status of {} says timeline {number}, not {one}", name(side)),
                        "wait until the operator has caught up",
                    ),
                    None => found.unknown(Gate::SameTimeline, "status.timelineID", HEAR),
                }
            }
        }
        (Some(one), Some(other)) => found.refuse(
            Gate::SameTimeline,
            format!("the source is on timeline {one}, the target on {other}"),
            "wait until the target follows; if it has left the source's history, rebuild it",
        ),
        _ => found.unknown(Gate::SameTimeline, "both timelines", HEAR),
    }
}

fn streaming(source: Side<'_>, target: Side<'_>, limits: &Limits, found: &mut Found) {
    match target.sql.streaming {
        Some(true) => {}
        Some(false) => found.refuse(
            Gate::TargetStreaming,
            "the target does not stream",
            "see the receiver's log for the connection to the source",
        ),
        None => found.unknown(Gate::TargetStreaming, "whether the target streams", HEAR),
    }
    match (source.sql.flushed, target.sql.replayed) {
        (Some(end), Some(replayed)) => lag(end, replayed, limits, found),
        _ => found.unknown(Gate::TargetLag, "how far behind the target is", HEAR),
    }
}

fn lag(end: Lsn, replayed: Lsn, limits: &Limits, found: &mut Found) {
    let behind = end.bytes_since(replayed);
    if behind > limits.lag_bytes_max {
        let reason =
            format!("the target is {behind} bytes behind, {} allowed", limits.lag_bytes_max);
        found.refuse(Gate::TargetLag, reason, "wait until it has caught up");
    }
}

fn archiving(source: Side<'_>, target: Side<'_>, limits: &Limits, found: &mut Found) {
    let status = source.cluster.status.as_ref();
    match status.map_or(TruthValue::Unknown, |status| status.condition("ContinuousArchiving")) {
        TruthValue::True => {}
        TruthValue::False => found.refuse(
            Gate::SourceArchiving,
            "the source does not archive; its shutdown would wait for it",
            "mend the archive, or see what its ContinuousArchiving condition says",
        ),
        TruthValue::Unknown => {
            found.unknown(Gate::SourceArchiving, "the condition ContinuousArchiving", HEAR);
        }
    }
    match source.sql.ready_wal_files {
        Some(files) if files <= limits.ready_wal_files_max => {}
        Some(files) => found.refuse(
            Gate::SourceArchiveQueue,
            format!(
                "{files} WAL files wait for the archiver; {} allowed",
                limits.ready_wal_files_max
            ),
            "wait until the archiver has caught up",
        ),
        None => found.unknown(Gate::SourceArchiveQueue, "how many WAL files wait", HEAR),
    }
    match (source.cluster.archive(), target.cluster.archive()) {
        (Some(one), Some(other)) if one == other => found.refuse(
            Gate::OwnArchive,
            format!("both archive to {:?} as {:?}", one.0.unwrap_or("one store"), one.1),
            "give the target a serverName of its own",
        ),
        _ => {}
    }
}

fn transition(source: Side<'_>, target: Side<'_>, found: &mut Found) {
    for side in [source, target] {
        let status = side.cluster.status.as_ref();
        match status.and_then(|status| status.switch_in_progress()) {
            Some(false) => {}
            Some(true) => found.refuse(
                Gate::NoTransition,
                format!("{} is in the middle of a demotion", name(side)),
                "wait until status.switchReplicaClusterStatus.inProgress is false",
            ),
            None => found.unknown(Gate::NoTransition, "whether a demotion is under way", HEAR),
        }
        let replica = side.cluster.spec.replica.as_ref();
        if replica.is_some_and(|replica| replica.promotion_token.is_some()) {
            found.refuse(
                Gate::NoTokenLeft,
                format!("{} has a promotion token left in its spec", name(side)),
                "clear spec.replica.promotionToken",
            );
        }
    }
}

fn bounds(source: Side<'_>, limits: &Limits, found: &mut Found) {
    let spec = &source.cluster.spec;
    match spec.switchover_delay {
        Some(delay) if (1..=limits.switchover_delay_max).contains(&delay) => {}
        delay => found.refuse(
            Gate::ShutdownBound,
            format!(
                "switchoverDelay is {} s; a stop may take so long, and 1 to {} are allowed",
                delay.unwrap_or(3600),
                limits.switchover_delay_max
            ),
            "set spec.switchoverDelay",
        ),
    }
    if spec.smart_shutdown_timeout != Some(0) {
        found.refuse(
            Gate::ShutdownBound,
            format!(
                "smartShutdownTimeout is {} s, in which open sessions go on committing",
                spec.smart_shutdown_timeout.unwrap_or(180)
            ),
            "set spec.smartShutdownTimeout to 0",
        );
    }
}

fn surroundings(around: &Surroundings, found: &mut Found) {
    match &around.backups_running {
        Some(running) if running.is_empty() => {}
        Some(running) => found.refuse(
            Gate::SourceBackup,
            format!("a backup of the source is being made: {}", running.join(", ")),
            "wait until it has ended, or delete it",
        ),
        None => found.unknown(Gate::SourceBackup, "whether a backup is being made", HEAR),
    }
    match around.role_secrets_equal {
        Some(true) => {}
        Some(false) => found.refuse(
            Gate::RoleSecrets,
            "the role Secrets of the two differ; clients could not log in after the move",
            "copy the source's role Secrets to the target",
        ),
        None => found.unknown(Gate::RoleSecrets, "whether the role Secrets are the same", HEAR),
    }
    match around.reverse_path_proven {
        Some(true) => {}
        Some(false) => found.refuse(
            Gate::ReversePath,
            "the source does not reach the target; it could not follow after the move",
            "open the way from the source's region to the target's instances",
        ),
        None => found.unknown(Gate::ReversePath, "whether the source reaches the target", HEAR),
    }
}

#[cfg(test)]
#[path = "gates_tests.rs"]
mod tests;
