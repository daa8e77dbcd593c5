//! Which cluster an API server belongs to, and when a cluster may not be a pair's only acceptor.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use continuum_witness::StoreError;
use serde::{Deserialize, Serialize};

use super::{KubernetesConfig, KubernetesStore};

/// What tells one cluster from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterIdentity {
    /// The API server's `host:port` in lower case.
    pub server: String,
    /// SHA-256 in hex of the authority's certificates that the API server is checked against.
    pub authority: Option<String>,
    /// The uid of the namespace `kube-system`, which a cluster keeps for as long as it lives.
    /// `None` when the caller may not read it.
    pub kube_system: Option<String>,
}

/// By what two descriptions are of one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Same {
    /// The namespace `kube-system` is the same: certain.
    KubeSystem,
    /// The API server's address is the same.
    Server,
    /// Both API servers were checked against the same authority.
    Authority,
}

impl fmt::Display for Same {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Same::KubeSystem => "its namespace kube-system has the same uid",
            Same::Server => "its API server has the same address",
            Same::Authority => "its API server is of the same authority",
        })
    }
}

impl ClusterIdentity {
    /// Whether both are one cluster, and by what.
    ///
    /// Where the uid of `kube-system` is known of both, it alone decides: one cluster has many
    /// addresses, and authorities can be shared. Where it is not, the same address or the same
    /// authority is taken for the same cluster, because a cluster usually has an authority of its
    /// own and is seen under different addresses from inside and outside. This errs towards "the
    /// same"; who shares an authority among clusters has to let the uid be read.
    pub fn same_as(&self, other: &Self) -> Option<Same> {
        if let (Some(one), Some(another)) = (&self.kube_system, &other.kube_system) {
            return (one == another).then_some(Same::KubeSystem);
        }
        if self.server == other.server {
            return Some(Same::Server);
        }
        let known = self.authority.is_some() && self.authority == other.authority;
        known.then_some(Same::Authority)
    }
}

/// Why a cluster may not be the only acceptor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the only acceptor is the cluster that this member runs in ({same}): with that cluster the \
     lease would be lost too, and the other member could not take over; name three acceptors, or a \
     cluster of neither member"
)]
pub struct RefusedAcceptor {
    /// By what it was recognised.
    pub same: Same,
}

/// How an agent reaches the cluster that its member runs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberCluster {
    /// A kubeconfig file.
    pub kubeconfig: PathBuf,
    /// Context of the kubeconfig; its current one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
}

impl MemberCluster {
    /// The cluster as it is known from here: that of `named`, or else the one whose pod this
    /// process is; `None` for a member outside of any cluster, and for a pod without a service
    /// account. Does without the uid of `kube-system` where the API server does not tell it
    /// within `deadline`.
    ///
    /// [`StoreError::Misconfigured`] for a kubeconfig that is named and cannot be used.
    pub async fn identity(
        named: Option<&Self>,
        deadline: Duration,
    ) -> Result<Option<ClusterIdentity>, StoreError> {
        if named.is_none() && std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() {
            return Ok(None);
        }
        let config = KubernetesConfig {
            kubeconfig: named.map(|cluster| cluster.kubeconfig.clone()),
            context: named.and_then(|cluster| cluster.context.clone()),
            namespace: "kube-system".into(),
            deadline,
        };
        match KubernetesStore::new(&config).await {
            Ok(store) => Ok(Some(store.identity().await)),
            // A pod may have no service account. Nothing can be compared then, and an agent that did
            // not start would cost more than the check is worth.
            Err(error) if named.is_none() => {
                tracing::warn!(%error, "the cluster of this pod is not known: \
                    name it by [member_cluster], so that it is not the only acceptor");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(server: &str, authority: Option<&str>, uid: Option<&str>) -> ClusterIdentity {
        let text = |text: &str| text.to_owned();
        ClusterIdentity {
            server: server.to_owned(),
            authority: authority.map(text),
            kube_system: uid.map(text),
        }
    }

    #[test]
    fn the_uid_decides_where_both_are_known() {
        let store = cluster("a:443", Some("ca"), Some("1"));
        let (same, other) =
            (cluster("b:443", None, Some("1")), cluster("a:443", Some("ca"), Some("2")));
        assert_eq!(store.same_as(&same), Some(Same::KubeSystem));
        assert_eq!(store.same_as(&other), None);
    }

    #[test]
    fn address_or_authority_decide_otherwise() {
        let store = cluster("a:443", Some("ca"), Some("1"));
        assert_eq!(store.same_as(&cluster("a:443", None, None)), Some(Same::Server));
        assert_eq!(store.same_as(&cluster("b:443", Some("ca"), None)), Some(Same::Authority));
        assert_eq!(store.same_as(&cluster("b:443", Some("cb"), None)), None);
        let bare = cluster("a:443", None, None);
        assert_eq!(bare.same_as(&cluster("b:443", None, None)), None);
    }
}
