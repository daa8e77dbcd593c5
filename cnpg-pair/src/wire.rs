//! What agent and guard say to each other: one JSON object a line, replies matched by id.

use continuum_domain::observation::{ActuatorStatus, ControlData};
use continuum_domain::{DataDirectoryId, Epoch, Generation, Lsn, SyncNames, Tick, TimelineId};
use serde::{Deserialize, Serialize};

use crate::plane::{StopMode, TailArtefact, Upstream};
use crate::wal::Ancestor;

/// Longest request line a guard reads, in bytes.
pub(crate) const REQUEST_BYTES_MAX: u64 = 64 * 1024;

/// One request. `generation` and `epoch` are checked before anything is done (R4).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub id: u64,
    pub generation: Option<Generation>,
    pub epoch: Option<Epoch>,
    pub command: Command,
}

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub(crate) enum Command {
    Take,
    Status,
    Changed { seen: ActuatorStatus },
    Arm { deadline: Tick },
    Start { names: SyncNames, upstream: Option<Upstream> },
    Promote { names: SyncNames },
    SetNames { names: SyncNames },
    Follow { upstream: Option<Upstream> },
    Stop { mode: StopMode },
    Fence { reason: String },
    Unfence,
    ControlData,
    Initialise,
    History,
    Sample { timeline: TimelineId, end: Lsn },
    SaveTail { fork: Lsn, timeline: TimelineId },
    Rewind { upstream: Upstream },
    Reclone { upstream: Upstream },
}

/// One reply.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub id: u64,
    pub outcome: Outcome,
}

/// How a request ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Done(Answer),
    Refused(String),
    Failed { what: String, reason: String },
}

/// What a request that succeeded returns.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Nothing,
    Taken {
        generation: Generation,
        status: ActuatorStatus,
    },
    Status(ActuatorStatus),
    Control(ControlData),
    Directory(DataDirectoryId),
    History(Box<LocalHistory>),
    NoHistory {
        reason: String,
    },
    /// `None`: this member no longer holds that WAL.
    Sample(Option<WalSample>),
    Tail(TailArtefact),
}

/// The history of a stopped data directory, enough to compare it with a primary's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalHistory {
    pub control: ControlData,
    /// Newest timeline with WAL in the directory.
    pub timeline: TimelineId,
    /// End of the last whole record on it.
    pub end: Lsn,
    /// Timelines before it, oldest first; `None` when its history file is missing.
    pub ancestors: Option<Vec<Ancestor>>,
    /// Bytes of WAL just before `end`, to compare with the primary's own.
    pub sample: WalSample,
    /// Size of a WAL segment in bytes.
    pub segment_bytes: u64,
}

/// A short run of WAL inside one segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WalSample {
    pub start: Lsn,
    /// Its bytes in hexadecimal.
    pub hex: String,
}
