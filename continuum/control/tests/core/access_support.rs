//! Callers of the API, each by what it shows.

use continuum_control_api::rest::API;
use continuum_domain::access::{Selector, Tier};
use continuum_runtime::net::{TlsFiles, trusting};
use continuum_runtime::{Identity, Role};
use http::HeaderMap;
use serde_json::{Value, json};

use crate::support::Cluster;

/// Longest life of a token in these tests.
pub const DAY_MS: u64 = 86_400_000;

/// What somebody shows.
#[derive(Clone, Debug, Default)]
pub struct Shows {
    pub certificate: Option<TlsFiles>,
    pub authorization: Option<String>,
}

impl Shows {
    pub fn certificate(files: &TlsFiles) -> Self {
        Self { certificate: Some(files.clone()), authorization: None }
    }

    pub fn bearer(text: &str) -> Self {
        Self { certificate: None, authorization: Some(format!("Bearer {text}")) }
    }
}

pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Reply {
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub fn told(&self) -> (u16, &str) {
        (self.status, self.code())
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

/// One caller at one node.
pub struct Client {
    http: reqwest::Client,
    base: String,
    authorization: Option<String>,
}

impl Client {
    pub fn new(cluster: &Cluster, node: &str, shows: &Shows) -> Self {
        let peer = cluster.peers.iter().find(|peer| peer.name == node).unwrap();
        let host = Identity::new(Role::Core, &peer.name).dns_name();
        let address: std::net::SocketAddr = peer.api_address.parse().unwrap();
        let tls = match &shows.certificate {
            Some(files) => files.client_config(&[b"h2"]).unwrap(),
            None => trusting(Some(&cluster.operator.authority), &[b"h2"]).unwrap(),
        };
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .resolve(&host, address)
            .build()
            .unwrap();
        let base = format!("https://{host}:{}", address.port());
        Self { http, base, authorization: shows.authorization.clone() }
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.base));
        match &self.authorization {
            Some(text) => request.header("authorization", text),
            None => request,
        }
    }

    /// Below the version prefix.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Reply {
        let mut request = self.request(method, &format!("{API}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let is_stream =
            headers.get("content-type").is_some_and(|media| media == "text/event-stream");
        let bytes = if is_stream { Default::default() } else { response.bytes().await.unwrap() };
        Reply { status, headers, body: serde_json::from_slice(&bytes).unwrap_or_default() }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, &[], None).await
    }

    pub async fn send(&self, method: &str, path: &str, body: Value) -> Reply {
        self.call(method, path, &[], Some(&body)).await
    }
}

/// The leader, and a node that does not lead.
pub async fn nodes(cluster: &Cluster) -> (String, String) {
    let leader = cluster.leader().await;
    let follower = cluster.peers.iter().find(|peer| peer.name != leader).unwrap().name.clone();
    (leader, follower)
}

/// Who may do everything.
pub fn owner(cluster: &Cluster, node: &str) -> Client {
    Client::new(cluster, node, &Shows::certificate(&cluster.operator))
}

/// Makes a token; its name, its identifier and what it shows.
pub async fn token(owner: &Client, name: &str, tier: Tier, scope: &Selector) -> (String, Shows) {
    let body = json!({ "name": name, "tier": tier, "selector": scope, "for_ms": DAY_MS });
    let made = owner.send("POST", "/access/tokens", body).await;
    assert_eq!(made.status, 200, "{}", made.body);
    let id = made.body["token"]["id"].as_str().unwrap().to_owned();
    (id, Shows::bearer(made.body["secret"].as_str().unwrap()))
}

pub fn selector(text: &str) -> Selector {
    Selector::try_from(text.to_owned()).unwrap()
}
