//! Regions whose member is a CloudNativePG Cluster, as their agents are told of it.

use std::collections::BTreeMap;
use std::path::Path;

use continuum_domain::RegionId;
use serde_json::{Value, json};

use crate::layout::{Layout, PAIR, Region};

/// The name of a region's Cluster.
pub fn cluster_name(region: &RegionId) -> String {
    format!("{PAIR}-{region}")
}

/// The namespace of the lab's Clusters.
pub const NAMESPACE: &str = "db";

/// The member of a region whose PostgreSQL is a Cluster, for its agent.
pub(crate) fn member(layout: &Layout, region: &Region, kubeconfig: &Path) -> Value {
    let names: BTreeMap<_, _> =
        layout.regions.iter().map(|other| (&other.id, cluster_name(&other.id))).collect();
    json!({
        "id": PAIR,
        "namespace": NAMESPACE,
        "clusters": names,
        "host": region.address.to_string(),
        "port": layout.postgres_port,
        "user": "postgres",
        "tls": false,
        "replication_role": "postgres",
        "kubeconfig": kubeconfig,
    })
}

/// Where an agent finds what is asked for in its region's Kubernetes.
pub(crate) fn watched(kubeconfig: &Path) -> Value {
    json!({ "kubeconfig": kubeconfig, "namespace": NAMESPACE })
}

/// The Cluster of a region, which sleeps while the pair is paused.
pub(crate) fn hibernated(region: &Region, kubeconfig: &Path) -> Value {
    json!({
        "pair": PAIR,
        "kubeconfig": kubeconfig,
        "namespace": NAMESPACE,
        "cluster": cluster_name(&region.id),
    })
}
