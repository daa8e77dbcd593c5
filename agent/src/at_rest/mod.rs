//! The surroundings of paused pairs: Clusters that sleep, pools of nodes that go.
//!
//! ```text
//!   pair's register, own member ---> Rest (pure) --+--> sleeper: hibernates the Cluster, or wakes it
//!                                                  +--> pool: made small, or as it was
//!
//!   down: PostgreSQL stands still -> the Cluster sleeps -> the nodes go
//!   up:   the nodes come back -> the Cluster wakes -> PostgreSQL can be started
//! ```
//!
//! All of it by level: an agent that is started anew finds the same. Nothing in here can hold up the pair's
//! own machine, and no failure of a pool keeps a Cluster asleep for longer than its bound.

use std::fmt::Debug;

use async_trait::async_trait;
use continuum_domain::Epoch;

pub mod config;
mod desk;
pub mod hibernation;

pub(crate) use desk::{RestDesk, RestSeen};

/// Why a member's surroundings were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RestError(pub String);

/// What can sleep while its pair rests. Both are idempotent and bounded, and said again and again.
#[async_trait]
pub trait Sleeper: Send + Sync + Debug {
    /// The pair rests since `epoch`. `true` once it is known to sleep.
    async fn rested(&self, epoch: Epoch) -> Result<bool, RestError>;

    /// The pair is to run. What somebody else put to sleep is not woken.
    async fn resuming(&self, epoch: Epoch) -> Result<(), RestError>;
}
