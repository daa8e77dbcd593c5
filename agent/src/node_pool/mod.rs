//! Pools of nodes that a pair's members run on, which need not be there while it is paused.
//!
//! A pool is told one of two things: be small, or be as you were. How large it was is kept at the pool itself
//! by the same write, so that any agent can put it back. A size that is not known is never taken for none.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use continuum_runtime::SharedClock;

pub mod config;
pub mod contract;
mod eks;
mod machine_deployment;
mod webhook;

use crate::traffic::kubernetes::Sites;
use config::NodePoolConfig;

/// Longest time one call to a pool may take.
pub const CALL_DEADLINE: Duration = Duration::from_secs(3);

/// What a pool was seen to be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolSeen {
    /// How many nodes it should have; `None`: not known.
    pub wanted: Option<u32>,
    /// How many there are; `None`: not known.
    pub ready: Option<u32>,
    /// How many it should have had before an agent made it small; `None`: none did.
    pub former: Option<u32>,
}

/// What a pool is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Have no more than so many nodes.
    Rest(u32),
    /// Have as many as before an agent made it small; nothing where none did.
    Former,
}

/// Why a pool was not scaled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// There is no answer, so that it may have been done or not.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// Nothing was changed.
    #[error("nothing was changed: {0}")]
    Refused(String),
}

/// A pool of nodes. Every method is idempotent and bounded; after an error it may have taken effect or not,
/// which [`NodePool::look`] tells.
#[async_trait]
pub trait NodePool: Send + Sync + Debug {
    /// What it is like now.
    async fn look(&self) -> Result<PoolSeen, PoolError>;

    /// Makes it small, or as it was. A size that a person set meanwhile stays.
    async fn scale_to(&self, scale: Scale) -> Result<(), PoolError>;
}

/// What to write to a pool: how many nodes it should have, if that changes, and what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub size: Option<u32>,
    pub former: Option<u32>,
}

/// What telling a pool so comes to; `None`: nothing.
pub(crate) fn decide(seen: PoolSeen, scale: Scale) -> Result<Option<Write>, PoolError> {
    let unknown = || PoolError::Refused("how many nodes it should have is not known".into());
    let wanted = seen.wanted.ok_or_else(unknown)?;
    Ok(match (scale, seen.former) {
        // Small already, by a person: it stays so afterwards.
        (Scale::Rest(size), None) if wanted <= size => None,
        (Scale::Rest(size), None) => Some(Write { size: Some(size), former: Some(wanted) }),
        // A person made it larger meanwhile, and has a reason.
        (Scale::Rest(_), Some(_)) | (Scale::Former, None) => None,
        (Scale::Former, Some(former)) => {
            Some(Write { size: (wanted < former).then_some(former), former: None })
        }
    })
}

/// A pool with what an agent knows of it.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub config: NodePoolConfig,
    pub pool: Arc<dyn NodePool>,
}

/// Opens the configured pools.
pub(crate) fn open(
    pools: &[NodePoolConfig],
    sites: &mut Sites,
    clock: &SharedClock,
) -> std::io::Result<Vec<Kept>> {
    let mut open = |config: &NodePoolConfig| -> std::io::Result<Kept> {
        Ok(Kept { config: config.clone(), pool: open_one(config, sites, clock)? })
    };
    pools.iter().map(&mut open).collect()
}

fn open_one(
    config: &NodePoolConfig,
    sites: &mut Sites,
    clock: &SharedClock,
) -> std::io::Result<Arc<dyn NodePool>> {
    Ok(match config {
        NodePoolConfig::MachineDeployment(at) => {
            let site = sites.site(at.kubeconfig.as_deref());
            Arc::new(machine_deployment::MachineDeployment::new(site, at))
        }
        NodePoolConfig::Eks(at) => Arc::new(eks::NodeGroup::open(at, clock.clone())?),
        NodePoolConfig::Webhook(at) => Arc::new(webhook::Webhook::open(at, clock.clone())?),
    })
}

/// Opens one pool by itself, without an agent.
pub fn open_alone(
    config: &NodePoolConfig,
    clock: &SharedClock,
) -> std::io::Result<Arc<dyn NodePool>> {
    open_one(config, &mut Sites::default(), clock)
}
