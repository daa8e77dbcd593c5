//! A managed node group of Amazon EKS: its `scalingConfig`, with the former sizes in its labels.
//!
//! Two calls of the API are enough, `DescribeNodegroup` and `UpdateNodegroupConfig`; the latter carries sizes
//! and labels together. It has no condition: what a person sets in the moment between the two calls is
//! overwritten. While an update is under way EKS refuses every other.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use continuum_dns::provider::key_file;
use continuum_runtime::SharedClock;
use reqwest::{Client, Method};
use serde::Deserialize;
use serde_json::{Value, json};

use super::config::EksConfig;
use super::{CALL_DEADLINE, NodePool, PoolError, PoolSeen, Scale, Write, decide};
use crate::http_client::{self, explain};

/// The label with the size it had.
const DESIRED: &str = "dr.openova.io/desired-before-rest";
/// The label with the least size it had: a group is not made smaller than that.
const MIN: &str = "dr.openova.io/min-before-rest";

pub(super) struct NodeGroup {
    client: Client,
    url: String,
    region: String,
    key_file: PathBuf,
    clock: SharedClock,
}

impl std::fmt::Debug for NodeGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeGroup({})", self.url)
    }
}

#[derive(Deserialize)]
struct Described {
    nodegroup: Group,
}

/// What EKS says of a group. What it leaves out is not known.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    #[serde(default)]
    scaling_config: Sizes,
    #[serde(default)]
    labels: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sizes {
    min_size: Option<u32>,
    max_size: Option<u32>,
    desired_size: Option<u32>,
}

/// The sizes before an agent made it small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Former {
    desired: u32,
    min: u32,
}

impl Group {
    fn former(&self) -> Result<Option<Former>, PoolError> {
        let read = |label: &str| {
            let text = self.labels.as_ref().and_then(|labels| labels.get(label));
            let wrong =
                |text| PoolError::Refused(format!("the label {label} is no number: {text}"));
            text.map(|text| text.parse::<u32>().map_err(|_| wrong(text))).transpose()
        };
        match (read(DESIRED)?, read(MIN)?) {
            (None, None) => Ok(None),
            (Some(desired), Some(min)) => Ok(Some(Former { desired, min })),
            _ => {
                Err(PoolError::Refused(format!("only one of the labels {DESIRED}, {MIN} is there")))
            }
        }
    }

    fn seen(&self) -> Result<PoolSeen, PoolError> {
        let former = self.former()?.map(|former| former.desired);
        // How many nodes are ready EKS does not say.
        Ok(PoolSeen { wanted: self.scaling_config.desired_size, ready: None, former })
    }

    /// The body of the update that carries `write` out.
    fn update(&self, write: Write) -> Result<Value, PoolError> {
        let Sizes { min_size, max_size, desired_size } = self.scaling_config;
        let (Some(min), Some(max), Some(wanted)) = (min_size, max_size, desired_size) else {
            return Err(PoolError::Refused("its least and its largest size are not known".into()));
        };
        let (labels, least) = match write.former {
            Some(former) => {
                let labels = json!({ DESIRED: former.to_string(), MIN: min.to_string() });
                (json!({ "addOrUpdateLabels": labels }), min.min(write.size.unwrap_or(wanted)))
            }
            // What a person made of the least size meanwhile stays where it is more.
            None => {
                let former = self.former()?.map_or(min, |former| former.min.max(min));
                (json!({ "removeLabels": [DESIRED, MIN] }), former)
            }
        };
        // A largest size that a person lowered meanwhile stays.
        let desired = write.size.unwrap_or(wanted).max(least).min(max);
        let sizes = json!({
            "minSize": least.min(desired), "maxSize": max, "desiredSize": desired,
        });
        Ok(json!({ "labels": labels, "scalingConfig": sizes }))
    }
}

impl NodeGroup {
    pub fn open(at: &EksConfig, clock: SharedClock) -> std::io::Result<Self> {
        let client = http_client::client(CALL_DEADLINE)?;
        let usual = || format!("https://eks.{}.amazonaws.com", at.region);
        let endpoint = at.endpoint.clone().unwrap_or_else(usual);
        let endpoint = endpoint.trim_end_matches('/');
        let url = format!("{endpoint}/clusters/{}/node-groups/{}", at.cluster, at.nodegroup);
        let (region, key_file) = (at.region.clone(), at.key_file.clone());
        Ok(Self { client, url, region, key_file, clock })
    }

    async fn group(&self) -> Result<Group, PoolError> {
        let text = self.ask(Method::GET, "", String::new()).await?;
        let unread = |error| PoolError::Refused(format!("its answer cannot be read: {error}"));
        let Described { nodegroup } = serde_json::from_str(&text).map_err(unread)?;
        Ok(nodegroup)
    }

    async fn ask(&self, method: Method, path: &str, body: String) -> Result<String, PoolError> {
        let url = format!("{}{path}", self.url);
        let signed = self.signed(method.as_str(), &url, &body).await?;
        let mut request =
            self.client.request(method, &url).header("content-type", "application/json");
        for (name, value) in signed {
            request = request.header(name, value);
        }
        let unreachable =
            |error: reqwest::Error| PoolError::Unreachable(explain(&error, CALL_DEADLINE));
        let answer = request.body(body).send().await.map_err(unreachable)?;
        let status = answer.status();
        if status.is_success() {
            return answer.text().await.map_err(unreachable);
        }
        let kind = answer.headers().get("x-amzn-errortype").and_then(|kind| kind.to_str().ok());
        // Some ends of the API add where the kind is described.
        let kind = kind.and_then(|kind| kind.split(':').next()).unwrap_or_default().to_owned();
        let said: Value = answer.json().await.unwrap_or_default();
        let said = said["message"].as_str().unwrap_or("nothing more");
        let text = format!("EKS says {status} {kind}: {said}");
        // After a fault on their side it may have been done.
        Err(match status.is_server_error() {
            true => PoolError::Unreachable(text),
            false => PoolError::Refused(text),
        })
    }

    /// The headers that sign a request with the keys that are in the file now (Signature Version 4).
    async fn signed(
        &self,
        method: &str,
        url: &str,
        body: &str,
    ) -> Result<Vec<(&'static str, String)>, PoolError> {
        let text = tokio::fs::read_to_string(&self.key_file).await;
        let keys = key_file::aws(&self.key_file, text)
            .map_err(|error| PoolError::Refused(error.to_string()))?;
        let identity =
            Credentials::new(keys.id, keys.secret, keys.session, None, "key_file").into();
        let refused = |error: String| PoolError::Refused(format!("no request: {error}"));
        let since = Duration::from_millis(u64::try_from(self.clock.wall_ms()).unwrap_or_default());
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("eks")
            .time(SystemTime::UNIX_EPOCH + since)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| refused(error.to_string()))?
            .into();
        let headers = [("content-type", "application/json")].into_iter();
        let body = SignableBody::Bytes(body.as_bytes());
        let request = SignableRequest::new(method, url, headers, body)
            .map_err(|error| refused(error.to_string()))?;
        let output = sign(request, &params).map_err(|error| refused(error.to_string()))?;
        let (instructions, _) = output.into_parts();
        let (headers, _) = instructions.into_parts();
        Ok(headers.iter().map(|header| (header.name(), header.value().to_owned())).collect())
    }
}

#[async_trait]
impl NodePool for NodeGroup {
    async fn look(&self) -> Result<PoolSeen, PoolError> {
        self.group().await?.seen()
    }

    async fn scale_to(&self, scale: Scale) -> Result<(), PoolError> {
        let group = self.group().await?;
        let Some(write) = decide(group.seen()?, scale)? else { return Ok(()) };
        let body = group.update(write)?.to_string();
        self.ask(Method::POST, "/update-config", body).await.map(drop)
    }
}
