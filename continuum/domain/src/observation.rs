//! What is known of a member's PostgreSQL, and how old the knowledge is.
//!
//! Unknown is a value (I7): a field that was not measured is `None`, never 0.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{DataDirectoryId, Epoch, Lsn, RegionId, TimelineId};
use crate::time::Tick;

/// What the guard knows of the PostgreSQL process, without SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessState {
    /// No process; `pg_control` says whether the last stop was clean.
    Stopped,
    /// Started, not yet accepting connections.
    Starting,
    /// Accepting connections, as a standby until promoted.
    Running,
    /// Told to stop, not gone yet.
    Stopping,
}

/// The guard's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActuatorStatus {
    /// State of the process.
    pub process: ProcessState,
    /// Newest epoch any command carried (R4).
    pub epoch: Epoch,
    /// Instant at which the guard stops PostgreSQL, if armed.
    pub deadline: Option<Tick>,
    /// Whether a promotion was requested in this life of the process.
    pub promoted: bool,
    /// Durable break-glass mark: nothing starts while it is set.
    pub fenced: Option<String>,
    /// Identity of the data directory; `None` when there is none or a destructive step is half done.
    pub data_directory: Option<DataDirectoryId>,
    /// Rises each time a PostgreSQL process ended; tells a crash from a stop already handled.
    pub exits: u64,
    /// Why the last process ended, for people.
    pub last_exit: Option<String>,
    /// Its PostgreSQL cannot be told to receive nothing more, so that this member never takes over from a
    /// holder that may live (R18, R19).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub always_receives: bool,
    /// What the member's platform holds against its being a primary; none where nothing looks after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hindrances: Vec<Hindrance>,
    /// Where its platform was told to make a primary of it: by what, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_primary: Option<String>,
    /// What the platform of a primary has against a planned move away from it. It bars no failover.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub against_leaving: Vec<Hindrance>,
}

/// Why a member cannot be made a primary, or be left as one, although its database may be well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hindrance {
    /// Stable name.
    pub code: String,
    /// What it means.
    pub meaning: String,
    /// What a person can do.
    pub action: String,
}

impl ActuatorStatus {
    /// Whether an agent that knows `seen` has something to act on. What its own commands change
    /// (epoch, deadline, promotion) is told by their answers.
    pub fn differs(&self, seen: &Self) -> bool {
        self.process != seen.process
            || self.exits != seen.exits
            || self.fenced != seen.fenced
            || self.data_directory != seen.data_directory
            || self.hindrances != seen.hindrances
            || self.told_primary != seen.told_primary
            || self.against_leaving != seen.against_leaving
    }
}

/// Replication state of one standby, as its primary sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StandbyView {
    /// `pg_stat_replication.state = 'streaming'`.
    pub streaming: bool,
    /// `sync_state = 'sync'`; proves nothing alone (R12).
    pub sync: bool,
    /// Flushed by the standby.
    pub flush: Option<Lsn>,
    /// Replayed by the standby.
    pub replay: Option<Lsn>,
    /// Replay lag in milliseconds as PostgreSQL measured it.
    pub lag_ms: Option<u64>,
}

/// One look by SQL at a running member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SqlView {
    /// `pg_is_in_recovery()`.
    pub in_recovery: bool,
    /// Timeline.
    pub timeline: TimelineId,
    /// Primary: WAL flushed. Standby: last received and flushed.
    pub wal: Option<Lsn>,
    /// Standby: last replayed.
    pub replay: Option<Lsn>,
    /// Standby: the WAL receiver is streaming.
    pub receiver_streaming: bool,
    /// Standby: end of WAL at the sender as the receiver last heard it
    /// (`pg_stat_wal_receiver.latest_end_lsn`).
    pub upstream_end: Option<Lsn>,
    /// Standby: milliseconds before this look at which the sender said so, at most; `None` while it
    /// is not known. A receiver that stands still shows the same end for ever.
    #[serde(default)]
    pub upstream_age_ms: Option<u64>,
    /// `synchronous_standby_names` as shown.
    pub sync_names: String,
    /// Primary: standbys by application name.
    pub standbys: BTreeMap<RegionId, StandbyView>,
    /// Primary: sessions waiting in `SyncRep`.
    pub waiting_commits: u32,
    /// Primary: every place where `synchronous_commit` is set lower than `on` (server, role, database,
    /// a session's last statement), and receivers that bear a member's name without being it; `None`
    /// when that was not looked at.
    #[serde(default)]
    pub lowered_commit: Option<Vec<String>>,
}

/// Everything the agent knows of its member, each part with the instant it was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Observation {
    /// Last answer by SQL.
    pub sql: Option<(Tick, SqlView)>,
    /// Last attempt that failed, with its reason.
    pub failed: Option<(Tick, String)>,
    /// Last success of the WAL-flush write probe (primary only).
    pub write_probe: Option<Tick>,
}

/// What `pg_control` says; readable while PostgreSQL is stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ControlData {
    /// `Database system identifier`.
    pub system_identifier: u64,
    /// Stopped by a clean shutdown (as primary or in recovery).
    pub clean_shutdown: bool,
    /// Whether the last state was that of a standby (`shut down in recovery`, `in archive recovery`).
    pub in_recovery: bool,
    /// Latest checkpoint location; after a clean shutdown of a primary, its shutdown checkpoint.
    pub checkpoint: Lsn,
    /// Timeline of the latest checkpoint.
    pub timeline: TimelineId,
}

/// How a member's history relates to its new primary's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Lineage {
    /// An ancestor: it can follow as it is.
    Follows,
    /// It wrote past the fork: the tail must be saved, then the directory rewound. Up to the fork
    /// both hold the same WAL, by content and not by the numbers of timelines alone.
    Diverged {
        /// Where the histories part.
        fork: Lsn,
        /// End of this member's WAL.
        end: Lsn,
        /// This member's timeline.
        timeline: TimelineId,
    },
    /// It wrote past the fork, and the histories go on with equal timeline numbers and other WAL
    /// there: both were promoted apart. `pg_rewind` goes by the numbers and would take pages of this
    /// member's own for the primary's, so the tail must be saved and the directory cloned.
    Apart {
        /// The last switch up to which both hold the same WAL.
        fork: Lsn,
        /// End of this member's WAL.
        end: Lsn,
        /// This member's timeline.
        timeline: TimelineId,
    },
    /// Within the primary's history as far as positions tell, but the primary no longer holds the
    /// WAL that would prove it: only a clone is safe.
    Unprovable {
        /// What is missing.
        reason: String,
    },
    /// Another database system altogether, or no usable directory.
    Foreign {
        /// What was found.
        reason: String,
    },
}
