//! The `[at_rest]` section of an agent's configuration.

use std::path::PathBuf;

use continuum_domain::PairId;
use serde::{Deserialize, Serialize};

use crate::node_pool::config::NodePoolConfig;

/// What becomes of the surroundings of paused pairs. What is not listed stays, with PostgreSQL stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtRestConfig {
    /// Clusters that are hibernated.
    #[serde(default)]
    pub hibernate: Vec<HibernateConfig>,
    /// Pools of nodes that are made small.
    #[serde(default)]
    pub node_pool: Vec<NodePoolConfig>,
}

/// A CloudNativePG `Cluster` that sleeps while its pair rests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HibernateConfig {
    /// The pair.
    pub pair: PairId,
    /// How its API server is reached; without it as a pod of that cluster.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// The Cluster's namespace.
    pub namespace: String,
    /// The Cluster.
    pub cluster: String,
}
