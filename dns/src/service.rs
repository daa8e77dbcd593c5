//! The name-service trait: make a name point at the holder, fenced by the epoch.

use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::{Epoch, PairId, RegionId};

/// What a name should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameChange {
    /// The pair the name belongs to.
    pub pair: PairId,
    /// Fully qualified name.
    pub name: String,
    /// The epoch under which `holder` holds the pair.
    pub epoch: Epoch,
    /// The region the name should point at.
    pub holder: RegionId,
    /// Time to live of the records; a service with a setting of its own keeps that.
    pub ttl: Duration,
}

/// The name says what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The epoch that stands.
    pub epoch: Epoch,
    /// Time to live in force.
    pub ttl: Duration,
}

/// Why a name does not say what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No answer. The change may have taken effect; publish it again.
    #[error("no answer from the name service ({0}); the change may have taken effect")]
    Unanswered(String),
    /// The epoch is older than the newest the service knows. Nothing changed; who holds the pair
    /// must be read again.
    #[error("the name service knows epoch {newest}, which is newer; read the pair again")]
    Refused {
        /// The newest epoch known.
        newest: Epoch,
    },
    /// What the service knows of the lease contradicts the change. Nothing changed.
    #[error("the name service knows otherwise: {0}; read the pair again")]
    Contradicted(String),
    /// The caller may not publish this. Nothing changed.
    #[error("not authorised by the name service: {0}")]
    Unauthorised(String),
    /// The service is set up wrongly, for example without this name. Nothing changed.
    #[error("the name service is misconfigured: {0}")]
    Misconfigured(String),
}

impl NameError {
    /// A stable word for the kind.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unanswered(_) => "unanswered",
            Self::Refused { .. } => "newer-epoch",
            Self::Contradicted(_) => "contradicted",
            Self::Unauthorised(_) => "unauthorised",
            Self::Misconfigured(_) => "misconfigured",
        }
    }
}

/// A place where names are published. Level-triggered: callers publish the same again and again,
/// and each call makes the name say it. Epochs never go back. Every call returns within a bounded
/// time.
#[async_trait]
pub trait NameService: Send + Sync + 'static {
    /// Makes the name point at the holder, unless a newer epoch stands.
    async fn publish(&self, change: &NameChange) -> Result<Published, NameError>;
}
