//! A `MachineDeployment` of Cluster API: `spec.replicas`, with the former size in an annotation.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::config::MachineDeploymentConfig;
use super::{NodePool, PoolError, PoolSeen, Scale, Write, decide};
use crate::traffic::kubernetes::site::{Site, SiteError};

/// The annotation with the size it had.
const FORMER: &str = "dr.openova.io/replicas-before-rest";
/// An object that others change all the time is tried so often.
const TRIES: usize = 5;

#[derive(Debug)]
pub(super) struct MachineDeployment {
    site: Arc<Site>,
    path: String,
}

impl From<SiteError> for PoolError {
    fn from(error: SiteError) -> Self {
        match error {
            SiteError::Unreachable(_) | SiteError::Busy(_) => Self::Unreachable(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}

impl MachineDeployment {
    pub fn new(site: Arc<Site>, at: &MachineDeploymentConfig) -> Self {
        let MachineDeploymentConfig { namespace, machine_deployment: name, version, .. } = at;
        let group = "/apis/cluster.x-k8s.io";
        let path = format!("{group}/{version}/namespaces/{namespace}/machinedeployments/{name}");
        Self { site, path }
    }

    async fn object(&self) -> Result<Value, PoolError> {
        let found = self.site.get(&self.path).await?;
        found.ok_or_else(|| PoolError::Refused(format!("there is none at {}", self.path)))
    }
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

fn seen(object: &Value) -> Result<PoolSeen, PoolError> {
    let former = match object["metadata"]["annotations"].get(FORMER) {
        None => None,
        Some(text) => {
            let read = text.as_str().and_then(|text| text.parse().ok());
            let unread =
                || PoolError::Refused(format!("the annotation {FORMER} is no number: {text}"));
            Some(read.ok_or_else(unread)?)
        }
    };
    let ready = &object["status"]["readyReplicas"];
    Ok(PoolSeen { wanted: number(&object["spec"]["replicas"]), ready: number(ready), former })
}

fn patch(object: &Value, write: Write) -> Vec<Value> {
    let metadata = &object["metadata"];
    let mut operations = vec![
        json!({ "op": "test", "path": "/metadata/uid", "value": metadata["uid"] }),
        json!({ "op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"] }),
    ];
    let path = format!("/metadata/annotations/{}", FORMER.replace('/', "~1"));
    match write.former {
        Some(former) => {
            if !metadata["annotations"].is_object() {
                operations
                    .push(json!({ "op": "add", "path": "/metadata/annotations", "value": {} }));
            }
            operations.push(json!({ "op": "add", "path": path, "value": former.to_string() }));
        }
        None => operations.push(json!({ "op": "remove", "path": path })),
    }
    if let Some(size) = write.size {
        operations.push(json!({ "op": "replace", "path": "/spec/replicas", "value": size }));
    }
    operations
}

#[async_trait]
impl NodePool for MachineDeployment {
    async fn look(&self) -> Result<PoolSeen, PoolError> {
        seen(&self.object().await?)
    }

    async fn scale_to(&self, scale: Scale) -> Result<(), PoolError> {
        let mut last = None;
        for _ in 0..TRIES {
            let object = self.object().await?;
            let Some(write) = decide(seen(&object)?, scale)? else { return Ok(()) };
            match self.site.patch(&self.path, &patch(&object, write)).await {
                Ok(_) => return Ok(()),
                Err(error @ (SiteError::Conflict(_) | SiteError::Unfit(_))) => last = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        let many = || PoolError::Refused("others change it all the time".into());
        Err(last.map_or_else(many, PoolError::from))
    }
}
