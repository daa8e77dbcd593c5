//! `DataPlane` on plain PostgreSQL: commands through the guard, observation by SQL.

pub(crate) mod access;
pub(crate) mod canary;
mod heard;
pub(crate) mod lineage;
mod link;
pub(crate) mod observe;
pub(crate) mod plane;
pub(crate) mod replication;
pub(crate) mod sql;
pub(crate) mod tls;
mod walsender;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use continuum_domain::{Epoch, Generation, RegionId, Tick};
use continuum_runtime::SharedClock;

use crate::guard::GuardConfig;
use crate::plane::PlaneError;
use crate::wire::{Answer, Command, Outcome};
use access::Access;
use canary::Canary;
pub use heard::SenderClock;
use link::Link;
use observe::Observer;
use sql::{Session, SessionOptions};

/// Application name of the agent's own sessions, with the generation appended.
pub(crate) const SESSION_NAME: &str = "continuum_agent";

/// Writes one record and, committing, flushes it.
pub(crate) const WRITE_RECORD: &str = "select pg_logical_emit_message(true, 'continuum', '')";

/// Where an agent finds its member's guard and PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaneConfig {
    /// This member's region.
    pub region: RegionId,
    /// All regions of the pair.
    pub members: BTreeSet<RegionId>,
    /// The guard's socket.
    pub guard_socket: PathBuf,
    /// Directory of PostgreSQL's unix socket.
    pub socket_directory: PathBuf,
    /// PostgreSQL's port.
    pub port: u16,
    /// File with the password of the replication roles.
    pub replication_password_file: PathBuf,
}

impl From<&GuardConfig> for PlaneConfig {
    fn from(guard: &GuardConfig) -> Self {
        Self {
            region: guard.region.clone(),
            members: guard.members.clone(),
            guard_socket: guard.socket.clone(),
            socket_directory: guard.socket_directory.clone(),
            port: guard.port,
            replication_password_file: guard.replication_password_file.clone(),
        }
    }
}

/// The data plane of one plain PostgreSQL.
pub struct PostgresPlane {
    config: PlaneConfig,
    access: Arc<Access>,
    clock: SharedClock,
    /// Arm, stop and status never share a connection with anything that may be large.
    urgent: Link,
    bulk: Link,
    /// What `take` returned; 0 before it, which every guard refuses.
    generation: AtomicU64,
    observer: Arc<Observer>,
    canary: Mutex<Option<Canary>>,
    /// When a checkpoint was last written on demand.
    checkpoint: Mutex<Option<Tick>>,
    /// Roles whose password this agent has set, with the password.
    roles: Mutex<BTreeSet<(RegionId, String)>>,
}

impl PostgresPlane {
    /// A plane for one member. Connects to nothing yet.
    pub fn new(config: PlaneConfig, clock: SharedClock) -> Self {
        Self {
            urgent: Link::new(config.guard_socket.clone()),
            bulk: Link::new(config.guard_socket.clone()),
            observer: Arc::new(Observer::default()),
            canary: Mutex::new(None),
            checkpoint: Mutex::new(None),
            roles: Mutex::new(BTreeSet::new()),
            generation: AtomicU64::new(0),
            access: Arc::new(Access::local(&config)),
            config,
            clock,
        }
    }

    fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire))
    }

    /// Sends a command to the guard and waits for its end, at most `limit`.
    async fn ask(
        &self,
        link: &Link,
        what: &'static str,
        epoch: Option<Epoch>,
        command: Command,
        limit: Duration,
    ) -> Result<Answer, PlaneError> {
        match link.call(what, Some(self.generation()), epoch, command, limit).await? {
            Outcome::Done(answer) => Ok(answer),
            Outcome::Refused(why) => Err(PlaneError::Refused(why)),
            Outcome::Failed { what, reason } => Err(PlaneError::Failed { what, reason }),
        }
    }

    /// A session with this member's PostgreSQL that never waits for standbys.
    async fn local_session(&self, limit: Duration) -> Result<Session, PlaneError> {
        let options = SessionOptions { local_commit: true, limit };
        Session::local(&self.access, &self.session_name(), options).await
    }

    fn session_name(&self) -> String {
        format!("{SESSION_NAME}_{}", self.generation())
    }
}

/// An answer of a kind that does not fit its question: the guard is of another version.
fn unexpected(what: &str, answer: &Answer) -> PlaneError {
    PlaneError::Failed {
        what: what.into(),
        reason: format!("the guard answered {answer:?}; guard and agent must be of one version"),
    }
}
