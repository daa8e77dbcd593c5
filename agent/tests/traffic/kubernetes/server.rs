//! An API server with the kinds that switches are about, and agents that reach it.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::{Method, Request};
use continuum_agent::traffic::config::TrafficConfig;
use continuum_agent::traffic::{self, Pointing, TrafficSwitch};
use continuum_domain::{Epoch, PairId, RegionId};
use continuum_runtime::{BootClock, SharedClock};
use continuum_test_kube::{ApiServer, Options, Real};
use serde_json::{Value, json};

pub const ROUTE: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes";
pub const POOLERS: &str = "/apis/postgresql.cnpg.io/v1/namespaces/shop/poolers";
pub const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices";
pub const SERVICES: &str = "/api/v1/namespaces/shop/services";
pub const CLUSTERS: &str = "/apis/postgresql.cnpg.io/v1/namespaces/shop/clusters";
pub const MACHINES: &str = "/apis/cluster.x-k8s.io/v1/namespaces/shop/machinedeployments";
const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json";

tokio::task_local! {
    /// The real API server that every [`Server`] is then a namespace of.
    pub static REAL: Rc<Real>;
}

/// Namespaces that were made in a real server so far.
static MADE: AtomicU32 = AtomicU32::new(0);

/// The real API server, where a test is held against one.
pub fn real() -> Option<Rc<Real>> {
    REAL.try_with(Rc::clone).ok()
}

/// An API server. Tests speak of the namespace `shop`; on a real server it is one of the test's own.
pub struct Server {
    api: Option<ApiServer>,
    client: kube::Client,
    namespace: String,
    directory: tempfile::TempDir,
}

/// The published definition, where there is one on this machine; else one that takes everything.
fn definition(group: &str, plural: &str, kind: &str) -> Value {
    let given = std::env::var_os("CONTINUUM_TEST_CRDS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/kube/crds");
    let file = given.unwrap_or(beside).join(format!("{group}_{plural}.yaml"));
    if let Ok(text) = std::fs::read_to_string(file) {
        return serde_yaml_ng::from_str(&text).unwrap();
    }
    let open = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    // A real server wants a word about groups of Kubernetes itself, such as this one.
    let approved = json!({ "api-approved.kubernetes.io": "unapproved, for tests" });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}"), "annotations": approved },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": { "plural": plural, "singular": kind.to_lowercase(), "kind": kind },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": {
                    "type": "object", "properties": { "spec": open, "status": open },
                } },
            }],
        },
    })
}

impl Server {
    pub async fn start() -> Self {
        let (api, client, namespace) = match real() {
            None => {
                let api = ApiServer::start(Options::default()).await.unwrap();
                let client = api.client().unwrap();
                (Some(api), client, "shop".to_owned())
            }
            Some(real) => {
                let number = MADE.fetch_add(1, Ordering::Relaxed);
                (None, real.client.clone(), format!("shop-{}-{number}", std::process::id()))
            }
        };
        let directory = tempfile::tempdir().unwrap();
        let server = Self { api, client, namespace, directory };
        let name = json!({ "metadata": { "name": server.namespace } });
        server.post("/api/v1/namespaces", name).await;
        for (group, plural, kind, collection) in [
            ("gateway.networking.k8s.io", "httproutes", "HTTPRoute", ROUTE),
            ("postgresql.cnpg.io", "poolers", "Pooler", POOLERS),
            ("postgresql.cnpg.io", "clusters", "Cluster", CLUSTERS),
            ("cluster.x-k8s.io", "machinedeployments", "MachineDeployment", MACHINES),
        ] {
            server.define(definition(group, plural, kind), collection).await;
        }
        server
    }

    async fn define(&self, definition: Value, collection: &str) {
        if self.ask(Method::GET, collection, JSON, Value::Null).await.is_ok() {
            return;
        }
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        self.post(definitions, definition).await;
        for _ in 0..1_000 {
            if self.ask(Method::GET, collection, JSON, Value::Null).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{collection} is not served");
    }

    /// The server in memory, for its faults.
    pub fn api(&self) -> &ApiServer {
        self.api.as_ref().expect("the server in memory")
    }

    /// The same, to take it down.
    pub fn api_mut(&mut self) -> &mut ApiServer {
        self.api.as_mut().expect("the server in memory")
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        media_type: &str,
        body: Value,
    ) -> Result<Value, kube::Error> {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let path = path.replace("/namespaces/shop", &format!("/namespaces/{}", self.namespace));
        let request =
            Request::builder().method(method).uri(path).header("content-type", media_type);
        self.client.request(request.body(bytes).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path, JSON, Value::Null).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.ask(Method::POST, path, JSON, body).await.unwrap()
    }

    pub async fn patch(&self, path: &str, body: Value) -> Value {
        self.ask(Method::PATCH, path, MERGE, body).await.unwrap()
    }

    pub async fn delete(&self, path: &str) {
        self.ask(Method::DELETE, path, JSON, Value::Null).await.unwrap();
    }

    /// The file by which an agent of that name reaches it.
    pub fn kubeconfig(&self, agent: &str) -> PathBuf {
        if let Some(real) = real() {
            return real.kubeconfig.clone();
        }
        let file = self.directory.path().join(agent);
        let text = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "clusters": [{ "name": "it", "cluster": { "server": self.api().url() } }],
            "users": [{ "name": agent, "user": { "token": agent } }],
            "contexts": [{ "name": "it", "context": { "cluster": "it", "user": agent } }],
        });
        std::fs::write(&file, text.to_string()).unwrap();
        file
    }

    /// A switch as an agent of that name opens it.
    pub fn open(&self, config: &Value, agent: &str) -> Arc<dyn TrafficSwitch> {
        self.open_at(config, agent, &(Arc::new(BootClock) as SharedClock))
    }

    pub fn open_at(
        &self,
        config: &Value,
        agent: &str,
        clock: &SharedClock,
    ) -> Arc<dyn TrafficSwitch> {
        let mut config = config.clone();
        config["kubeconfig"] = json!(self.kubeconfig(agent));
        config["namespace"] = json!(self.namespace);
        let config: TrafficConfig = serde_json::from_value(config).unwrap();
        assert_eq!(config.problems(), []);
        traffic::open(&[config], clock).unwrap().remove(0).switch
    }
}

pub fn to(epoch: u64, holder: &str) -> Pointing {
    Pointing {
        pair: PairId::new("app").unwrap(),
        epoch: Epoch(epoch),
        holder: RegionId::new(holder).unwrap(),
        host: if holder == "fsn" { "10.1.0.5" } else { "10.2.0.5" }.into(),
        port: 5432,
    }
}
