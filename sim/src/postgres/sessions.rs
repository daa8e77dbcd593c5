//! Clients' connections.

use std::sync::Arc;

use super::cluster::Cluster;
use super::judge::SessionId;

/// Why a connection was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// PostgreSQL, or the host without it, said no.
    #[error("refused: {0}")]
    Refused(String),
    /// Nobody answered in time.
    #[error("no answer")]
    Unreachable,
}

/// Why nobody knows whether a commit took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// The connection ended before the answer.
    #[error("the connection was lost")]
    ConnectionLost,
    /// Its wait for the standbys was cancelled: it is on this member for certain, and perhaps on no
    /// other (R11).
    #[error("the wait for the standbys was cancelled")]
    WaitCancelled,
    /// No answer in the time a client waits.
    #[error("no answer in time")]
    Timeout,
}

/// How a statement failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// It certainly did not commit, and never will.
    #[error("refused: {0}")]
    Refused(String),
    /// It may have committed, or still may.
    #[error("unresolved: {0}")]
    Unknown(Unresolved),
}

/// One client's connection to one member. Dropping it closes it.
pub struct Session {
    cluster: Arc<Cluster>,
    id: SessionId,
}

impl Session {
    pub(super) fn new(cluster: Arc<Cluster>, id: SessionId) -> Self {
        Self { cluster, id }
    }

    /// Its number.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Commits one element of the set. `Ok`: acknowledged.
    pub async fn append(&self, _id: u64) -> Result<(), WriteError> {
        Err(WriteError::Refused("not there yet".into()))
    }

    /// Commits a new value of the register. `Ok`: acknowledged.
    pub async fn write_register(&self, _value: u64) -> Result<(), WriteError> {
        Err(WriteError::Refused("not there yet".into()))
    }

    /// The register's value as this member shows it; `None` before the first write.
    pub async fn read_register(&self) -> Result<Option<u64>, WriteError> {
        Err(WriteError::Refused("not there yet".into()))
    }

    /// The set as this member shows it, in the order of commits.
    pub async fn read_set(&self) -> Result<Vec<u64>, WriteError> {
        Err(WriteError::Refused("not there yet".into()))
    }

    /// Whether the connection is still open, as far as the client knows.
    pub fn is_open(&self) -> bool {
        let _ = &self.cluster;
        false
    }
}
