//! What the judge sees: everything, from outside, with nothing under way.

use std::time::Duration;

use continuum_domain::observation::ProcessState;
use continuum_domain::{DataDirectoryId, Epoch, Lsn, RegionId, SyncNames, TimelineId};

/// A connection of a client, unique in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// Where one WAL record comes from, unique in the cluster: PostgreSQL itself cannot tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordId(pub u64);

/// One promotion (or the first `initdb`), unique in the cluster, unlike the number of a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineId(pub u64);

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The first record of a new database system.
    Begin,
    /// A client's commit: `id` is in the set.
    Append(u64),
    /// A client's commit: the register holds this.
    Register(u64),
    /// A commit of the agent without content: wake, probe, canary.
    Message,
    /// A replication role for this region.
    Role(RegionId),
    /// A checkpoint; `shutdown` for the last record of a fast stop.
    Checkpoint {
        /// Whether it ends a life of a primary.
        shutdown: bool,
    },
    /// The first record after a promotion.
    EndOfRecovery,
}

impl Content {
    /// Whether the record commits a transaction.
    pub fn is_commit(&self) -> bool {
        matches!(
            self,
            Content::Append(_) | Content::Register(_) | Content::Message | Content::Role(_)
        )
    }
}

/// One WAL record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it comes from.
    pub id: RecordId,
    /// The record it was written behind; itself for the first.
    pub previous: RecordId,
    /// The promotion under which it was written.
    pub line: LineId,
    /// Number of its timeline, as PostgreSQL picked it.
    pub timeline: TimelineId,
    /// First position.
    pub start: Lsn,
    /// First position of the record before it, as its header says: what PostgreSQL checks.
    pub behind: Lsn,
    /// Position behind it.
    pub end: Lsn,
    /// What it says.
    pub content: Content,
}

/// One member as it is now.
#[derive(Clone, Debug)]
pub struct MemberView {
    /// Its region.
    pub region: RegionId,
    /// Whether its guard runs.
    pub guard_up: bool,
    /// Identity of its data directory, as the guard knows it (R13).
    pub directory: Option<DataDirectoryId>,
    /// All WAL in the directory, on disk or not; empty when there is no directory.
    pub wal: Vec<Record>,
    /// How many of these records are flushed.
    pub flushed: usize,
    /// How many of these records are applied; all of them on a primary.
    pub applied: usize,
    /// State of the process.
    pub process: ProcessState,
    /// Out of recovery.
    pub primary: bool,
    /// A commit over a connection made now would be carried out, and acknowledged once its standbys
    /// have it. While a stop is under way connections made before may still get through.
    pub accepts_writes: bool,
    /// The names in its configuration.
    pub names: SyncNames,
    /// Whether committing backends wait for standbys (R12): not always what the names say.
    pub backends_wait: bool,
    /// Where it streams from, when it does.
    pub streams_from: Option<RegionId>,
    /// Commits that wait for standbys.
    pub waiting: usize,
}

impl MemberView {
    /// Position behind the last flushed record.
    pub fn flushed_to(&self) -> Lsn {
        self.wal[..self.flushed].last().map_or(Lsn(0), |record| record.end)
    }

    /// Position behind the last applied record.
    pub fn applied_to(&self) -> Lsn {
        self.wal[..self.applied].last().map_or(Lsn(0), |record| record.end)
    }

    /// Whether the WAL holds this record.
    pub fn holds(&self, id: RecordId) -> bool {
        self.wal.iter().rev().any(|record| record.id == id)
    }

    /// Whether each record stands behind the one it was written behind. False once PostgreSQL took
    /// WAL of another history for its own because the numbers fitted.
    pub fn is_one_history(&self) -> bool {
        self.wal.windows(2).all(|pair| pair[1].previous == pair[0].id)
    }
}

/// An acknowledgement that a client received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Whose.
    pub session: SessionId,
    /// By which member.
    pub member: RegionId,
    /// The commit.
    pub record: RecordId,
    /// Where it ends.
    pub end: Lsn,
    /// What it says.
    pub content: Content,
    /// The promotion under which the member wrote it.
    pub line: LineId,
    /// That timeline's number.
    pub timeline: TimelineId,
    /// When the member let it go, since the start.
    pub released: Duration,
    /// Since when sessions there lower `synchronous_commit`: by the client's own choice it waited
    /// for nobody.
    pub lowered_since: Option<Duration>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client received the reply to a commit. The time is that of the receipt.
    Acknowledged(Acknowledged),
    /// A member accepts connections.
    Started {
        /// Which.
        member: RegionId,
    },
    /// A member left recovery.
    Promoted {
        /// Which.
        member: RegionId,
        /// The promotion.
        line: LineId,
        /// The number it took.
        timeline: TimelineId,
        /// Where it begins.
        starts_at: Lsn,
        /// The epoch of the command.
        epoch: Epoch,
        /// Whether it still received WAL when its promotion began (R19).
        receiving: bool,
    },
    /// No process of a member is left.
    Stopped {
        /// Which.
        member: RegionId,
        /// Whether it had been promoted.
        primary: bool,
        /// Whether by a clean shutdown.
        clean: bool,
        /// Why.
        why: String,
    },
    /// A standby began to stream.
    Streams {
        /// The standby.
        member: RegionId,
        /// Its upstream.
        from: RegionId,
        /// From where on.
        at: Lsn,
        /// Whether the upstream's history really contains what the standby holds.
        sound: bool,
    },
    /// A data directory was replaced or lost; `None` when it has no identity now.
    Directory {
        /// Whose.
        member: RegionId,
        /// Its identity.
        id: Option<DataDirectoryId>,
        /// How that came.
        how: String,
    },
    /// A guard begins something after which its data directory is another (R13).
    Forgotten {
        /// Whose.
        member: RegionId,
        /// Its identity until now.
        id: DataDirectoryId,
    },
    /// Somebody cancelled a commit's wait (R11).
    WaitCancelled {
        /// Where.
        member: RegionId,
        /// Whose; `None` for the agent's own sessions.
        session: Option<SessionId>,
    },
    /// A slot fell behind the WAL that is kept.
    SlotLost {
        /// Where.
        member: RegionId,
        /// Whose.
        standby: RegionId,
    },
    /// Anything else, for people.
    Note(String),
}

/// What happened when, since the start of the simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// When.
    pub at: Duration,
    /// What.
    pub event: Event,
}
