//! Cells as ConfigMaps of a Kubernetes cluster.
//!
//! A ConfigMap carries a cell as it is (`binaryData`, up to 1 MiB), where a Lease would need it in an
//! annotation, as text and beside the bounds of annotations. Its name is a digest of the key, which
//! may be longer and may hold other characters than a name; the key itself is in an annotation. A
//! tag names the object's `uid` and `resourceVersion`, which the API server compares in the write.
//!
//! A cluster whose etcd was restored from a backup may count resource versions anew without
//! changing uids. Then an old tag can name another content; whoever restores the cluster of an
//! acceptor has to treat the acceptor as replaced (delete the ConfigMaps that have the label).

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::duration_text;
use continuum_witness::cells::check_cell_bounds;
use continuum_witness::{Cell, CellStore, Put, StoreError, Tag};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::{Api, Client, Config};
use serde::{Deserialize, Serialize};

use crate::causes::{refused_certificate, root, sources};
use crate::digest::hex_digest;

mod clusters;

pub use clusters::{ClusterIdentity, MemberCluster, RefusedAcceptor, Same};

/// Label that every cell's ConfigMap has.
const LABEL: &str = "continuum.internal/witness";
/// Value of the label.
const LABEL_VALUE: &str = "cell";
/// Annotation with the cell's key.
const KEY: &str = "continuum.internal/key";
/// The entry of `binaryData` with the content.
const CONTENT: &str = "cell";
/// Objects per page of a list.
const PAGE: u32 = 200;

/// Where a Kubernetes cluster is and where in it the cells are.
///
/// The caller needs the verbs get, list, create, update and delete on `configmaps` in the namespace,
/// and, for [`KubernetesStore::identity`], get on the namespace `kube-system`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesConfig {
    /// A kubeconfig file; without it the service account of the pod this runs in is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; its current one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Namespace of the cells. It must be there. Nothing else may change ConfigMaps in it that have
    /// the label `continuum.internal/witness`.
    pub namespace: String,
    /// Every request to the API server ends within this span, connecting included. A refused change
    /// takes a second request, to show the cell; a list takes one for each 200 cells.
    #[serde(default = "default_deadline", with = "duration_text")]
    pub deadline: Duration,
}

fn default_deadline() -> Duration {
    Duration::from_secs(2)
}

/// A namespace of a Kubernetes cluster as a cell store.
#[derive(Clone)]
pub struct KubernetesStore {
    client: Client,
    cells: Api<ConfigMap>,
    namespace: String,
    server: String,
    authority: Option<String>,
    deadline: Duration,
}

impl std::fmt::Debug for KubernetesStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KubernetesStore({} at {})", self.namespace, self.server)
    }
}

impl KubernetesStore {
    /// A client of the cluster; connects at the first call. Must be made inside a tokio runtime.
    ///
    /// [`StoreError::Misconfigured`] for settings that cannot work: a file that cannot be read, a
    /// context that is not in it, no kubeconfig outside of a pod.
    pub async fn new(config: &KubernetesConfig) -> Result<Self, StoreError> {
        if config.deadline.is_zero() {
            return Err(misconfigured("the deadline is zero"));
        }
        if config.namespace.is_empty() {
            return Err(misconfigured("the namespace is empty"));
        }
        let mut settings = settings(config).await?;
        // A write that is repeated unseen may find its own first attempt there and report it as
        // somebody else's.
        settings.default_retry = false;
        settings.connect_timeout = Some(config.deadline);
        let server = server(&settings.cluster_url);
        let authority = authority(&settings)?;
        let client = Client::try_from(settings).map_err(misconfigured)?;
        let cells = Api::namespaced(client.clone(), &config.namespace);
        let (namespace, deadline) = (config.namespace.clone(), config.deadline);
        Ok(Self { client, cells, namespace, server, authority, deadline })
    }

    /// What tells this cluster from others. Asks for the namespace `kube-system` and does without
    /// it where that is refused or not answered: what is known without asking still tells.
    pub async fn identity(&self) -> ClusterIdentity {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let found = self.call(namespaces.get_opt("kube-system")).await;
        let kube_system = found.ok().flatten().and_then(|namespace| namespace.metadata.uid);
        let (server, authority) = (self.server.clone(), self.authority.clone());
        ClusterIdentity { server, authority, kube_system }
    }

    async fn call<T>(
        &self,
        answer: impl Future<Output = Result<T, kube::Error>> + Send,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(self.deadline, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) => Err(Failure::Refused(status)),
            Ok(Err(error)) => Err(Failure::Failed(error_of(&error))),
            Err(_) => {
                let text = format!("{} gave no answer in {:?}", self.server, self.deadline);
                Err(Failure::Failed(StoreError::Unanswered(text)))
            }
        }
    }

    async fn read(&self, key: &str) -> Result<Option<Cell>, StoreError> {
        match self.call(self.cells.get_opt(&name(key))).await? {
            Some(object) => Ok(Some(cell(key, object)?)),
            None => Ok(None),
        }
    }

    /// What a refused change shows. The refusal is certain, so that a failure of the read after it
    /// may not be taken for "may still take effect".
    async fn conflict(&self, key: &str) -> Result<Put, StoreError> {
        match self.read(key).await {
            Ok(current) => Ok(Put::Conflict(current)),
            Err(StoreError::Unanswered(text)) => {
                Err(StoreError::NotSent(format!("refused, and then not shown why: {text}")))
            }
            Err(error) => Err(error),
        }
    }
}

/// What came instead of an answer.
enum Failure {
    /// The API server answered with this status.
    Refused(Box<Status>),
    /// Anything else.
    Failed(StoreError),
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(status) => refusal(&status),
            Failure::Failed(error) => error,
        }
    }
}

fn misconfigured(text: impl std::fmt::Display) -> StoreError {
    StoreError::Misconfigured(format!("Kubernetes: {text}"))
}

async fn settings(config: &KubernetesConfig) -> Result<Config, StoreError> {
    let Some(file) = &config.kubeconfig else {
        if config.context.is_some() {
            return Err(misconfigured("a context needs a kubeconfig"));
        }
        return Config::incluster().map_err(misconfigured);
    };
    let bad = |error: &dyn std::fmt::Display| misconfigured(format!("{}: {error}", file.display()));
    let read = Kubeconfig::read_from(file).map_err(|error| bad(&error))?;
    let options = KubeConfigOptions { context: config.context.clone(), ..Default::default() };
    Config::from_custom_kubeconfig(read, &options).await.map_err(|error| bad(&error))
}

fn server(url: &impl ToString) -> String {
    let url = url.to_string().to_lowercase();
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", &url));
    let host = rest.split('/').next().unwrap_or_default();
    // A port after the host or after an address in brackets.
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    match (has_port, scheme) {
        (true, _) => host.to_owned(),
        (false, "http") => format!("{host}:80"),
        (false, _) => format!("{host}:443"),
    }
}

fn authority(settings: &Config) -> Result<Option<String>, StoreError> {
    let Some(certificates) = &settings.root_cert else { return Ok(None) };
    let mut certificates = certificates.clone();
    certificates.sort();
    Ok(Some(hex_digest(&certificates.concat())))
}

fn name(key: &str) -> String {
    format!("continuum-{}", hex_digest(key.as_bytes()))
}

fn tag(object: &ConfigMap) -> Result<Tag, StoreError> {
    match (&object.metadata.uid, &object.metadata.resource_version) {
        (Some(uid), Some(version)) => Ok(Tag(format!("{uid}.{version}"))),
        // Also after a write, which then did take effect: not to be denied.
        _ => Err(StoreError::Unanswered("an object without uid or resourceVersion".into())),
    }
}

/// Uid and resource version of a tag.
fn parts(tag: &Tag) -> Result<(String, String), StoreError> {
    match tag.0.split_once('.') {
        Some((uid, version)) if !uid.is_empty() && !version.is_empty() => {
            Ok((uid.to_owned(), version.to_owned()))
        }
        _ => Err(misconfigured(format!("{tag} is no tag of a cluster"))),
    }
}

fn cell(key: &str, mut object: ConfigMap) -> Result<Cell, StoreError> {
    let named = object.metadata.annotations.as_ref().and_then(|all| all.get(KEY));
    if named.map(String::as_str) != Some(key) {
        let text = format!("{} is of the key {named:?}, not of {key:?}", name(key));
        return Err(misconfigured(text));
    }
    let tag = tag(&object)?;
    let content = object.binary_data.as_mut().and_then(|all| all.remove(CONTENT));
    match content {
        Some(ByteString(bytes)) => Ok(Cell { tag, bytes }),
        None => Err(misconfigured(format!("{} has no content", name(key)))),
    }
}

fn object(key: &str, expected: Option<(String, String)>, bytes: Vec<u8>) -> ConfigMap {
    let (uid, resource_version) = expected.unzip();
    let one = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name(key)),
            uid,
            resource_version,
            labels: Some(one(LABEL, LABEL_VALUE)),
            annotations: Some(one(KEY, key)),
            ..Default::default()
        },
        binary_data: Some(BTreeMap::from([(CONTENT.to_owned(), ByteString(bytes))])),
        ..Default::default()
    }
}

fn is_of(status: &Status, kind: &str) -> bool {
    status.details.as_ref().is_some_and(|details| details.kind == kind)
}

/// Only what certainly was not carried out may be said to be so; the rest is unanswered.
fn refusal(status: &Status) -> StoreError {
    let text = format!("Kubernetes: {} ({})", status.message, status.code);
    match status.code {
        403 if status.message.contains("is being terminated") => StoreError::Misconfigured(text),
        401 | 403 => StoreError::Unauthorised(text),
        400 | 404 | 405 | 413 | 415 | 422 => StoreError::Misconfigured(text),
        _ => StoreError::Unanswered(text),
    }
}

/// What a request without an answer from the API server proves.
fn error_of(error: &kube::Error) -> StoreError {
    use hyper_util::client::legacy::Error as Dial;
    let unsent = sources(error).any(|at| at.downcast_ref::<Dial>().is_some_and(Dial::is_connect));
    let text = format!("Kubernetes: {}", root(error));
    match error {
        // Before anything is sent: the login's file or program failed.
        kube::Error::Auth(_) | kube::Error::BuildRequest(_) => StoreError::Misconfigured(text),
        _ if unsent => match refused_certificate(error) {
            Some(why) => misconfigured(why),
            None => StoreError::NotSent(text),
        },
        _ => StoreError::Unanswered(text),
    }
}

#[async_trait]
impl CellStore for KubernetesStore {
    async fn get(&self, key: &str) -> Result<Option<Cell>, StoreError> {
        check_cell_bounds(key, &[])?;
        self.read(key).await
    }

    async fn put(
        &self,
        key: &str,
        expected: Option<&Tag>,
        bytes: Vec<u8>,
    ) -> Result<Put, StoreError> {
        check_cell_bounds(key, &bytes)?;
        let expected = expected.map(parts).transpose()?;
        let (params, creation) = (PostParams::default(), expected.is_none());
        let object = object(key, expected, bytes);
        let answer = if creation {
            self.call(self.cells.create(&params, &object)).await
        } else {
            self.call(self.cells.replace(&name(key), &params, &object)).await
        };
        match answer {
            Ok(written) => Ok(Put::Written(tag(&written)?)),
            Err(Failure::Refused(status)) if status.code == 409 => self.conflict(key).await,
            // No such object to replace; a creation runs into 404 only where the namespace is none.
            Err(Failure::Refused(status))
                if status.code == 404 && !creation && !is_of(&status, "namespaces") =>
            {
                self.conflict(key).await
            }
            Err(failure) => Err(failure.into()),
        }
    }

    async fn delete(&self, key: &str, expected: &Tag) -> Result<bool, StoreError> {
        check_cell_bounds(key, &[])?;
        let (uid, version) = parts(expected)?;
        let held = Preconditions { uid: Some(uid), resource_version: Some(version) };
        let params = DeleteParams::default().preconditions(held);
        match self.call(self.cells.delete(&name(key), &params)).await {
            // An object in place of a status: something holds it back from being gone.
            Ok(answer) => Ok(answer.is_right()),
            Err(Failure::Refused(status)) if status.code == 409 => Ok(false),
            Err(Failure::Refused(status)) if status.code == 404 => Ok(true),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut params =
            ListParams::default().labels(&format!("{LABEL}={LABEL_VALUE}")).limit(PAGE);
        let mut keys = Vec::new();
        loop {
            let page = self.call(self.cells.list_metadata(&params)).await?;
            let key = |metadata: ObjectMeta| metadata.annotations?.remove(KEY);
            let found = page.items.into_iter().filter_map(|item| key(item.metadata));
            keys.extend(found.filter(|key| key.starts_with(prefix)));
            match page.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => params = params.continue_token(&next),
                None => return Ok(keys),
            }
        }
    }
}
