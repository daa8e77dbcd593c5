//! The data-plane trait: what an agent can ask of its member, whatever the member is made of.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::observation::{ActuatorStatus, ControlData, Lineage, Observation};
use continuum_domain::{
    DataDirectoryId, Epoch, Generation, Lsn, RegionId, SyncNames, Tick, TimelineId,
};
use serde::{Deserialize, Serialize};

use crate::kubernetes::plane::RoleBoard;

/// Where to stream or copy from: another member's PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its region.
    pub region: RegionId,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// How PostgreSQL is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopMode {
    /// Ends sessions, writes a shutdown checkpoint, sends all WAL to streaming standbys.
    Fast,
    /// The fence (R11): SIGQUIT, then SIGKILL of every process of the instance within the stop
    /// budget. No commit that waits is released.
    Immediate,
}

/// Failures of the data plane. A command that may still take effect is said so.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PlaneError {
    /// The guard refused: an older generation or epoch, a fence mark, no armed deadline.
    #[error("refused by the guard: {0}")]
    Refused(String),
    /// The guard does not answer; the command may or may not have been carried out.
    #[error("the guard does not answer: {0}")]
    GuardLost(String),
    /// PostgreSQL or one of its tools failed.
    #[error("{what} failed: {reason}")]
    Failed {
        /// What was tried.
        what: String,
        /// What it said.
        reason: String,
    },
    /// It did not finish in its time; it may still.
    #[error("{what} did not finish within {seconds} s")]
    Timeout {
        /// What was tried.
        what: String,
        /// Its limit.
        seconds: u64,
    },
}

/// The answer to taking the actuator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// This agent's generation: all commands of earlier ones are refused from now on.
    pub generation: Generation,
    /// State at that moment.
    pub status: ActuatorStatus,
}

/// A finished promotion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promoted {
    /// The new timeline.
    pub timeline: TimelineId,
    /// First position on it.
    pub starts_at: Lsn,
}

/// One look at the canary commit of the growth proof (R12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryLook {
    /// Whether the canary's backend waits in `SyncRep`.
    pub waiting: bool,
    /// A WAL position at or past the canary's commit record; known once it waits.
    pub commit_lsn: Option<Lsn>,
}

/// What a saved divergent tail holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TailArtefact {
    /// Directory the artefact was written to.
    pub path: String,
    /// Where the histories part.
    pub fork: Lsn,
    /// End of this member's WAL.
    pub end: Lsn,
    /// Commit records found in the tail.
    pub commits: u64,
}

/// Waits for whoever looks after a member, of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperatorWait {
    /// What was waited for.
    pub what: &'static str,
    /// How often.
    pub times: u64,
    /// How long in all.
    pub took: Duration,
}

/// One member's PostgreSQL. Every command that changes it goes through one actuator (R4), carries
/// the epoch it acts under, and is refused if older than the newest seen there.
///
/// Implementations must be safe to call concurrently: `arm` and `stop(Immediate)` never wait
/// behind another call.
#[async_trait]
pub trait DataPlane: Send + Sync + 'static {
    /// Takes the actuator (R4): older generations are refused from now on, the old agent's SQL
    /// sessions are ended and seen gone.
    async fn take(&self) -> Result<Taken, PlaneError>;

    /// The actuator's state.
    async fn status(&self) -> Result<ActuatorStatus, PlaneError>;

    /// Waits until the actuator's state differs from `seen` by what [`ActuatorStatus::differs`] compares.
    async fn changed(&self, seen: &ActuatorStatus) -> Result<ActuatorStatus, PlaneError>;

    /// Sets the deadline at which the guard stops PostgreSQL if it is promoted or a promotion is
    /// outstanding (R5); a plain standby runs on.
    async fn arm(&self, epoch: Epoch, deadline: Tick) -> Result<(), PlaneError>;

    /// Starts PostgreSQL as a standby, always; with `upstream` it streams from there. Names only
    /// add (R10). Returns when it accepts connections.
    async fn start(
        &self,
        epoch: Epoch,
        names: &SyncNames,
        upstream: Option<&Upstream>,
    ) -> Result<(), PlaneError>;

    /// Promotes, with `names` standing before the first client is let in (R10). Refused without an
    /// armed deadline in the future (R5). Returns when `pg_is_in_recovery()` is false.
    async fn promote(&self, epoch: Epoch, names: &SyncNames) -> Result<Promoted, PlaneError>;

    /// Sets the standbys a commit waits for and reloads.
    async fn set_names(&self, epoch: Epoch, names: &SyncNames) -> Result<(), PlaneError>;

    /// Points a running standby at another upstream, or at none, and reloads.
    async fn follow(&self, epoch: Epoch, upstream: Option<&Upstream>) -> Result<(), PlaneError>;

    /// Takes the upstream of a running standby away and returns once no WAL receiver is left: from
    /// then on it receives nothing, and this is how far it has received (R18).
    async fn stop_receiving(&self, epoch: Epoch) -> Result<Lsn, PlaneError>;

    /// Stops PostgreSQL and returns when no process of it is left.
    async fn stop(&self, epoch: Epoch, mode: StopMode) -> Result<(), PlaneError>;

    /// Sets or clears the durable break-glass fence; setting it stops PostgreSQL immediately.
    async fn set_fence(&self, reason: Option<&str>) -> Result<(), PlaneError>;

    /// Reads `pg_control`.
    async fn control_data(&self) -> Result<ControlData, PlaneError>;

    /// One look by SQL, bounded in time; failures are part of the observation.
    async fn observe(&self) -> Observation;

    /// Writes a checkpoint, so that the shutdown that follows is short; one of a few seconds ago will do.
    async fn checkpoint(&self) -> Result<(), PlaneError>;

    /// On a new primary: replication role and slots for `standbys`, dropping slots of others.
    async fn ensure_replication(&self, standbys: &[RegionId]) -> Result<(), PlaneError>;

    /// Starts one commit that must wait in `SyncRep` (R12), in a session of its own.
    async fn start_canary(&self) -> Result<(), PlaneError>;

    /// Looks at the canary.
    async fn look_canary(&self) -> Result<CanaryLook, PlaneError>;

    /// Writes one WAL record without waiting for standbys, which wakes waiting commits after the
    /// names changed, and returns a position at or past it.
    async fn wake(&self) -> Result<Lsn, PlaneError>;

    /// Commits one row as a client would and returns when it is acknowledged.
    async fn commit_probe(&self) -> Result<(), PlaneError>;

    /// Ends all client sessions.
    async fn end_sessions(&self) -> Result<u32, PlaneError>;

    /// Creates the first primary's data directory.
    async fn initialise(&self) -> Result<DataDirectoryId, PlaneError>;

    /// How this stopped member's history relates to `primary`'s.
    async fn lineage(&self, primary: &Upstream) -> Result<Lineage, PlaneError>;

    /// Saves WAL past the fork, decoded, before it is rewound away.
    async fn save_tail(&self, fork: Lsn, timeline: TimelineId) -> Result<TailArtefact, PlaneError>;

    /// Rewinds the stopped data directory to `primary`'s history and gives it a new identity (R13).
    async fn rewind(&self, epoch: Epoch, primary: &Upstream)
    -> Result<DataDirectoryId, PlaneError>;

    /// Replaces the data directory by a base backup of `primary`, with a new identity (R13).
    async fn reclone(
        &self,
        epoch: Epoch,
        primary: &Upstream,
    ) -> Result<DataDirectoryId, PlaneError>;

    /// How long somebody else was waited for who looks after the member, since this value was made; nothing
    /// where nobody does.
    fn operator_waits(&self) -> Vec<OperatorWait> {
        Vec::new()
    }

    /// Where a member whose role others can write tells of that, and asks what to do; `None` where nobody
    /// else can.
    fn role_board(&self) -> Option<Arc<RoleBoard>> {
        None
    }

    /// What a member that was stopped cleanly hands to whom it hands the lease, beside the lease: a token
    /// that its own operator asks for. `None` where there is no such thing.
    async fn handover_evidence(&self) -> Option<String> {
        None
    }

    /// Takes that of the holder that stopped under `epoch`, durably. An error: this member does not stand
    /// where it says, or not yet.
    async fn take_evidence(&self, _epoch: Epoch, _evidence: &str) -> Result<(), PlaneError> {
        Ok(())
    }
}
