//! A CloudNativePG `Cluster` that is hibernated: its pods go, its volumes and its Services stay, so that
//! connection strings are the same afterwards.

use std::sync::Arc;

use async_trait::async_trait;
use continuum_cnpg_pair::kubernetes::cnpg::Cluster;
use continuum_cnpg_pair::kubernetes::hibernate::{self, SleepError};
use continuum_cnpg_pair::kubernetes::patches::{ClusterPatch, PatchError};
use continuum_domain::Epoch;

use super::config::HibernateConfig;
use super::{RestError, Sleeper};
use crate::traffic::kubernetes::Sites;
use crate::traffic::kubernetes::site::{Site, SiteError};

/// An object that others change all the time is tried so often.
const TRIES: usize = 5;

/// The Cluster.
#[derive(Debug)]
pub struct Hibernation {
    site: Arc<Site>,
    path: String,
}

impl From<SiteError> for RestError {
    fn from(error: SiteError) -> Self {
        Self(error.to_string())
    }
}

impl Hibernation {
    /// Opens it by itself.
    pub fn open(config: &HibernateConfig) -> Self {
        Self::open_at(config, &mut Sites::default())
    }

    pub(crate) fn open_at(config: &HibernateConfig, sites: &mut Sites) -> Self {
        let HibernateConfig { namespace, cluster, .. } = config;
        let path = format!("/apis/postgresql.cnpg.io/v1/namespaces/{namespace}/clusters/{cluster}");
        Self { site: sites.site(config.kubeconfig.as_deref()), path }
    }

    async fn cluster(&self) -> Result<Cluster, RestError> {
        let found = self.site.get(&self.path).await?;
        let found = found.ok_or_else(|| RestError(format!("there is none at {}", self.path)))?;
        serde_json::from_value(found)
            .map_err(|error| RestError(format!("the Cluster cannot be read: {error}")))
    }

    /// Says what is to be said of the Cluster as it is, until nobody else was quicker.
    async fn say(
        &self,
        patch: impl Fn(&Cluster) -> Result<ClusterPatch, SleepError>,
    ) -> Result<(), RestError> {
        for _ in 0..TRIES {
            let patch = match patch(&self.cluster().await?) {
                Ok(patch) => patch,
                Err(SleepError::Patch(PatchError::Already)) => return Ok(()),
                Err(error) => return Err(RestError(error.to_string())),
            };
            match self.site.patch(&self.path, &patch.operations).await {
                Ok(_) => {
                    tracing::info!(cluster = self.path, "hibernation was said anew");
                    return Ok(());
                }
                Err(SiteError::Conflict(_) | SiteError::Unfit(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(RestError("others change the Cluster all the time, or refuse the patch".into()))
    }
}

#[async_trait]
impl Sleeper for Hibernation {
    async fn rested(&self, epoch: Epoch) -> Result<bool, RestError> {
        self.say(|cluster| hibernate::rest(cluster, epoch)).await?;
        Ok(hibernate::is_asleep(&self.cluster().await?) == Some(true))
    }

    async fn resuming(&self, epoch: Epoch) -> Result<(), RestError> {
        self.say(|cluster| hibernate::wake(cluster, epoch)).await
    }
}
