//! The manifests of a pair, for both regions.
//!
//! Rendering is a function: the same pair gives the same bytes. It writes how the two Clusters are
//! *made*; who is the primary later is moved by patches of the role fields alone, so these manifests
//! must not be applied over a pair that has moved without leaving `spec.replica` out.
//!
//! Nothing secret is rendered, only the names of Secrets.

mod backup;
mod checks;
mod cluster;
mod derive;
mod network;
mod parameters;
mod plan;
pub mod yaml;

pub(crate) use backup::PLUGIN;

pub use derive::pair_of;
pub use plan::{Plan, Size, Sizes};

use continuum_domain::spec::{Durability, SpecError};
use serde_json::{Map, Value, json};

use super::cnpg::keys;
use super::crd::{CnpgPair, CnpgPairSpec, Member};

/// The manifests of one region.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionManifests {
    /// The region.
    pub region: String,
    /// In the order in which they are applied.
    pub manifests: Vec<Value>,
}

/// What is said of one Cluster while the other is at hand.
#[derive(Clone, Copy)]
struct Side<'a> {
    pair: &'a str,
    namespace: &'a str,
    spec: &'a CnpgPairSpec,
    sizes: &'a Sizes,
    durability: Durability,
    /// Whether this is the one that is made as the primary.
    first: bool,
}

impl<'a> Side<'a> {
    fn other(self) -> Self {
        Self { first: !self.first, ..self }
    }

    fn cluster(self) -> &'a str {
        if self.first { &self.spec.primary_cluster } else { &self.spec.replica_cluster }
    }

    fn region(self) -> &'a str {
        if self.first { &self.spec.primary_region } else { &self.spec.replica_region }
    }

    fn member(self) -> &'a Member {
        let members = &self.spec.members;
        if self.first { &members.primary } else { &members.replica }
    }

    fn role(self) -> &'static str {
        if self.first { "primary" } else { "replica" }
    }

    fn mesh(self) -> String {
        format!("{}-mesh", self.cluster())
    }

    /// Where the other region reaches this Cluster.
    fn host(self) -> String {
        let mesh = || format!("{}.{}.svc", self.mesh(), self.namespace);
        self.member().host.clone().unwrap_or_else(mesh)
    }

    fn metadata(self, name: impl Into<String>) -> Map<String, Value> {
        let mut metadata = Map::new();
        metadata.insert("name".into(), name.into().into());
        metadata.insert("namespace".into(), self.namespace.into());
        metadata.insert(
            "labels".into(),
            json!({
                "app.kubernetes.io/managed-by": "continuum",
                keys::PAIR: self.pair,
                keys::ROLE: self.role(),
            }),
        );
        metadata
    }
}

/// Renders both regions, the first primary's before the other's. All that is wrong is said at once.
pub fn render(
    pair: &CnpgPair,
    durability: Durability,
) -> Result<[RegionManifests; 2], Vec<SpecError>> {
    checks::check(pair)?;
    let sizes = pair.spec.plan.sizes().overridden(pair.spec.size.as_ref());
    let side = Side {
        pair: pair.metadata.name.as_deref().unwrap_or_default(),
        namespace: pair.metadata.namespace.as_deref().unwrap_or_default(),
        spec: &pair.spec,
        sizes: &sizes,
        durability,
        first: true,
    };
    Ok([side, side.other()].map(|side| RegionManifests {
        region: side.region().to_owned(),
        manifests: manifests(side),
    }))
}

fn manifests(side: Side<'_>) -> Vec<Value> {
    let mut manifests = backup::stores(side);
    manifests.push(network::mirror(side));
    manifests.push(cluster::cluster(side));
    manifests.extend(network::pooler(side));
    manifests.extend(backup::schedule(side));
    manifests.extend(network::policy(side));
    manifests
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
