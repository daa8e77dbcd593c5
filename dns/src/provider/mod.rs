//! Places where records are kept, and publishing to them under the fence contract.
//!
//! One trait for all of them: read what stands, and change companion and records in one step on
//! the condition that the companion still is what was read. What is to be changed is decided by
//! [`crate::records::plan`], the same for every provider.

mod api_text;
pub mod config;
pub mod contract;
mod http;
pub mod key_file;
pub mod memory;
mod patience;
pub mod pdm;
pub mod places;
pub mod powerdns;
pub mod publish;
pub mod rfc2136;
pub mod route53;
mod wire;

use std::time::Duration;

use async_trait::async_trait;

use crate::records::Seen;
use crate::records::plan::Change;

/// Why a provider did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The companion is no longer what was read. Nothing changed; read again.
    #[error("{0} has changed since it was read; nothing was written")]
    Conflict(String),
    /// The server does not let this key or address do it. Nothing changed.
    #[error("not authorised: {0}")]
    Unauthorised(String),
    /// No connection came about. Nothing changed.
    #[error("not reachable: {0}")]
    Unreachable(String),
    /// Asked, and no answer that can be relied on. The change may have taken effect; read again.
    #[error("no reliable answer: {0}; a change may have taken effect")]
    Unanswered(String),
    /// The server says that it failed. Read again before relying on either outcome.
    #[error("the server failed: {0}; its log says why")]
    Failed(String),
    /// The server cannot do this at all as it is set up. Nothing changed.
    #[error("{0}")]
    Misconfigured(String),
    /// Written, but the server does not answer questions with it.
    #[error("written, but not served: {0}")]
    NotServed(String),
}

/// A place where records are kept. Every call returns within a bounded time.
#[async_trait]
pub trait RecordProvider: Send + Sync + std::fmt::Debug + 'static {
    /// What stands at `name` and its companion now, at the place where changes are made.
    async fn read(&self, name: &str) -> Result<Seen, ProviderError>;

    /// Makes one change. `Ok` means that it was made by this call.
    async fn change(&self, change: &Change) -> Result<(), ProviderError>;

    /// Whether the condition is tested by the place itself, together with the change. Where it is
    /// not, two writers that race may both change, and the later one wins.
    fn is_fence(&self) -> bool;

    /// Whether the last change at `name` is at all servers of the place. `None` where it is so with
    /// the answer to the change, or is not known.
    async fn settled(&self, _name: &str) -> Result<Option<bool>, ProviderError> {
        Ok(None)
    }

    /// How long a name that stands as wanted need not be looked at again. Publishing is repeated
    /// each second, and a place may not bear as many questions.
    fn look_again(&self) -> Duration {
        Duration::ZERO
    }
}

/// Refuses names of other zones; both with their last dot.
fn within(zone: &str, name: &str) -> Result<(), ProviderError> {
    if name == zone || name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.')) {
        return Ok(());
    }
    Err(ProviderError::Misconfigured(format!("{name} does not lie in the zone {zone}")))
}

/// An error with its causes, in one line.
fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
