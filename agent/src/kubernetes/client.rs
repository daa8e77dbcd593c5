//! The clients of a cluster's API server that an agent has: one for itself, and those that its members share.

use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use continuum_cnpg_pair::kubernetes::plane::ApiClients;
use http::header::USER_AGENT;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Error};
use tower::{BoxError, Service, ServiceBuilder};

use super::KubernetesConfig;
use super::alone::Alone;

/// Longest time of one request; a watch begins within it.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// How long a connection that nobody uses is kept, and how many of them at most.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_MAX: usize = 8;
/// How many watches share a connection: an API server may allow no more than a hundred streams on one, and a
/// watch that waits for one does not begin.
const WATCHES_EACH: usize = 50;
/// How often a connection is tried that many share, and how long it may take to answer. Of one that died unseen,
/// what asks is told before the request is late.
const ASKED: Alive = Alive { every: Duration::from_secs(2), within: Duration::from_millis(2_500) };
/// Fifty watches do not begin anew because a server is slow.
const WATCHED: Alive = Alive { every: Duration::from_secs(10), within: Duration::from_secs(10) };
/// How long a request waits for another that makes the connection: many times what that takes.
const PATIENCE: Duration = Duration::from_millis(500);
/// Under which name the agent owns fields.
pub const MANAGER: &str = "continuum";
const AGENT: &str = concat!("continuum-agent/", env!("CARGO_PKG_VERSION"));

/// A cluster, and the namespace in it.
#[derive(Clone)]
pub struct Cluster {
    /// Its client.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cluster({})", self.namespace)
    }
}

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The API server refused it; nothing was changed.
    #[error("the API server refused it: {message} ({code})")]
    Refused {
        /// The HTTP status.
        code: u16,
        /// In its words.
        message: String,
        /// When it is to be asked again, if it says so.
        after: Option<Duration>,
    },
    /// There was no answer, or none that counts: it may have taken effect.
    #[error("no answer of the API server: {0}")]
    Unanswered(String),
}

impl Failure {
    /// The HTTP status of a refusal.
    pub fn code(&self) -> Option<u16> {
        match self {
            Failure::Refused { code, .. } => Some(*code),
            Failure::Unanswered(_) => None,
        }
    }

    /// When the server wants to be asked again.
    pub fn after(&self) -> Option<Duration> {
        match self {
            Failure::Refused { after, .. } => *after,
            Failure::Unanswered(_) => None,
        }
    }
}

impl From<&kube::core::Status> for Failure {
    fn from(status: &kube::core::Status) -> Self {
        let after = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
        let after = (after > 0).then(|| Duration::from_secs(after.into()));
        // An answer of 5xx does not say that nothing was done.
        if status.code >= 500 && status.code != 503 {
            return Failure::Unanswered(format!("{} ({})", status.message, status.code));
        }
        Failure::Refused { code: status.code, message: status.message.clone(), after }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(status) => Failure::from(&*status),
            other => Failure::Unanswered(causes(&other)),
        }
    }
}

/// An error with what is below it: kube tells the outermost only.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// How the cluster of a kubeconfig is reached, or that of this pod.
pub(crate) async fn settings(kubeconfig: Option<&Path>) -> io::Result<Config> {
    let Some(file) = kubeconfig else {
        return Config::incluster().map_err(|error| {
            let why = causes(&error);
            io::Error::other(format!("not in a cluster, and no kubeconfig is given: {why}"))
        });
    };
    let bad = |error: &dyn std::error::Error| {
        io::Error::other(format!("{}: {}", file.display(), causes(error)))
    };
    let read = Kubeconfig::read_from(file).map_err(|error| bad(&error))?;
    let options = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(read, &options).await.map_err(|error| bad(&error))
}

/// A client by these settings. It asks once: a write that is repeated unseen may find its own first
/// attempt there and take it for somebody else's. Of the connections that many requests at a time have
/// made, it soon lets go; kube's own client keeps them until the server ends them.
pub(crate) fn client(settings: Config, connect: Duration) -> io::Result<Client> {
    let lines = settings.rustls_https_connector_with_connector(tcp(connect)).map_err(bad)?;
    let mut builder = legacy::Builder::new(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_MAX);
    over(settings, builder.build(lines))
}

/// When a connection counts as dead.
#[derive(Clone, Copy, Debug)]
struct Alive {
    every: Duration,
    within: Duration,
}

/// A client whose requests share one connection by HTTP/2 where the server speaks it, as those of Kubernetes'
/// own clients do, and have one each where it does not. One that died unseen ends what goes over it. It asks
/// once, as the other does; it runs no commands in pods, which need a connection each.
fn shared(settings: Config, alive: Alive, patience: Duration) -> io::Result<Client> {
    let tls = settings.rustls_client_config().map_err(bad)?;
    let mut lines = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    if let Some(name) = &settings.tls_server_name {
        let name = name.clone().try_into().map_err(io::Error::other)?;
        lines = lines.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let lines = lines.enable_all_versions().wrap_connector(tcp(DEADLINE));
    let mut builder = legacy::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_MAX)
        .http2_keep_alive_interval(alive.every)
        .http2_keep_alive_timeout(alive.within);
    over(settings, Alone::new(builder.build(lines), patience))
}

fn tcp(connect: Duration) -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(connect));
    tcp
}

/// A client that asks over these lines, as who the settings say.
fn over<L>(mut settings: Config, lines: L) -> io::Result<Client>
where
    L: Service<Request<Body>, Response = Response<Incoming>> + Clone + Send + 'static,
    L::Error: Into<BoxError>,
    L::Future: Send,
{
    if settings.proxy_url.is_some() {
        return Err(io::Error::other("the kubeconfig names a proxy, which cannot be used"));
    }
    settings.headers.push((USER_AGENT, HeaderValue::from_static(AGENT)));
    let service = ServiceBuilder::new()
        .layer(settings.base_uri_layer())
        .option_layer(settings.auth_layer().map_err(bad)?)
        .layer(settings.extra_headers_layer().map_err(bad)?)
        .map_err(Into::into)
        .service(lines);
    Ok(ClientBuilder::new(service, settings.default_namespace).build())
}

fn bad(error: Error) -> io::Error {
    io::Error::other(causes(&error))
}

/// The ways to one API server that the members share whose Clusters it has.
pub(crate) struct Ways {
    settings: Config,
    patience: Duration,
    asking: Client,
    commanding: Client,
    watching: Option<Client>,
    watches: usize,
}

impl Ways {
    /// To the API server of a kubeconfig, or of this pod; connected to when it is first asked.
    pub async fn to(kubeconfig: Option<&Path>) -> io::Result<Self> {
        Self::by(settings(kubeconfig).await?, PATIENCE)
    }

    fn by(settings: Config, patience: Duration) -> io::Result<Self> {
        let asking = shared(settings.clone(), ASKED, patience)?;
        let commanding = client(settings.clone(), DEADLINE)?;
        Ok(Self { settings, patience, asking, commanding, watching: None, watches: 0 })
    }

    /// The clients of one more Cluster. What it is asked does not wait behind what others watch.
    pub fn of_one_more(&mut self) -> io::Result<ApiClients> {
        let watching = match self.watching.take() {
            Some(known) if !self.watches.is_multiple_of(WATCHES_EACH) => known,
            _ => shared(self.settings.clone(), WATCHED, self.patience)?,
        };
        self.watches += 1;
        self.watching = Some(watching.clone());
        let (asking, commanding) = (self.asking.clone(), self.commanding.clone());
        Ok(ApiClients { asking, commanding, watching })
    }
}

impl Cluster {
    /// The cluster of the configuration; it is connected to at the first request.
    pub async fn open(config: &KubernetesConfig) -> io::Result<Self> {
        let client = Self::connect(config.kubeconfig.as_deref()).await?;
        Ok(Self { client, namespace: config.namespace.clone() })
    }

    /// A client for the cluster of a kubeconfig, or for that of this pod.
    pub async fn connect(kubeconfig: Option<&Path>) -> io::Result<Client> {
        client(settings(kubeconfig).await?, DEADLINE)
    }

    /// The cluster of these settings.
    pub fn with(settings: Config, namespace: &str) -> io::Result<Self> {
        Ok(Self { client: client(settings, DEADLINE)?, namespace: namespace.to_owned() })
    }
}

/// Ends a request at its deadline.
pub async fn bounded<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(DEADLINE, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failure::Unanswered(format!("nothing came within {DEADLINE:?}"))),
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
