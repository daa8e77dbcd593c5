//! The role of a Cluster as it was written last by an agent, kept beside it: what differs from that was
//! written by somebody else. It stands in the same patch as the role, and outlives every agent.

use continuum_domain::Epoch;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::cnpg::{Cluster, ReplicaSpec, keys};
use super::token::TokenHash;

/// The annotation it is kept in.
pub const WRITTEN: &str = "dr.openova.io/role";

/// The role fields. `enabled` is never written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Under which epoch; none where it was found so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// `spec.replica.self`.
    #[serde(rename = "self", skip_serializing_if = "Option::is_none")]
    pub own: Option<String>,
    /// `spec.replica.primary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// `spec.replica.source`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Which token, never the token: it is a key to the other one's data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenHash>,
}

impl Written {
    /// The role as it is about to be written.
    pub fn of(role: &ReplicaSpec, epoch: Option<Epoch>) -> Self {
        Self {
            epoch,
            own: role.own.clone(),
            primary: role.primary.clone(),
            source: role.source.clone(),
            token: role.promotion_token.as_deref().map(TokenHash::of),
        }
    }

    /// The role as it was written last; `None` where no agent has, where one wrote it under another epoch
    /// that does not keep this, or where what stands there cannot be read.
    pub fn read(cluster: &Cluster) -> Option<Self> {
        let written: Self = serde_json::from_str(cluster.annotation(WRITTEN)?).ok()?;
        let epoch = cluster.annotation(keys::EPOCH).map(str::parse).transpose().ok()?;
        (written.epoch == epoch.map(Epoch)).then_some(written)
    }

    /// As it stands in the annotation.
    pub fn text(&self) -> String {
        json!(self).to_string()
    }

    /// Whether this role is that of a primary.
    pub fn leads(&self) -> bool {
        self.own.is_some() && self.own == self.primary
    }
}
