//! The register trait: read, and compare-and-swap. Nothing more is asked of a witness.

use async_trait::async_trait;
use continuum_domain::Version;

/// A register's value and version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// Version of the value; raised by each accepted change.
    pub version: Version,
    /// The value, opaque to the store.
    pub value: Vec<u8>,
}

/// The answer to a compare-and-swap that the store decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The register now holds the value, at this version.
    Accepted(Version),
    /// The register was at another version; this is what it held. Nothing changed.
    Refused(Option<Versioned>),
}

/// A request that brought no decision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No answer. A compare-and-swap may have taken effect or may still (R9): only a read that
    /// shows another version than the expected one settles it.
    #[error("no answer from the witness ({0}); a change may still take effect")]
    Unanswered(String),
    /// The request was certainly not carried out: it was never sent, or refused before execution.
    #[error("the witness could not be asked: {0}")]
    NotSent(String),
    /// The caller may not touch this key. Certainly not carried out.
    #[error("not authorised by the witness: {0}")]
    Unauthorised(String),
    /// The store is set up wrongly or broken; asking again will not help. Certainly not carried out.
    #[error("the witness is misconfigured or damaged: {0}")]
    Misconfigured(String),
}

impl StoreError {
    /// Whether a compare-and-swap that failed so may still take effect.
    pub fn may_have_taken_effect(&self) -> bool {
        matches!(self, StoreError::Unanswered(_))
    }

    /// Its kind in one word, which stays the same over versions.
    pub fn code(&self) -> &'static str {
        match self {
            StoreError::Unanswered(_) => "unanswered",
            StoreError::NotSent(_) => "not-sent",
            StoreError::Unauthorised(_) => "unauthorised",
            StoreError::Misconfigured(_) => "misconfigured",
        }
    }
}

/// A linearizable register store. Deadlines are the implementation's: every call returns within a
/// bounded time, with [`StoreError::Unanswered`] when it does not know.
#[async_trait]
pub trait RegisterStore: Send + Sync + 'static {
    /// Reads a register; `None` when it was never written.
    async fn read(&self, key: &str) -> Result<Option<Versioned>, StoreError>;

    /// Replaces the value iff the register is at `expected` ([`Version::ABSENT`] to create it).
    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Version,
        value: Vec<u8>,
    ) -> Result<Answer, StoreError>;
}
