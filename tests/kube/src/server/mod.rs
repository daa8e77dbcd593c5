//! The server itself: a port, connections, and the cluster behind them.

pub mod answer;
pub mod exec;
pub mod tls;
pub mod watch;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::response::Response;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch as channel;
use tokio::task::{JoinHandle, JoinSet};

use crate::cluster::{Cluster, Options, Webhook};
use crate::control::Control;
use crate::schema::rules::Unknown;

/// What all connections share.
pub struct Shared {
    cluster: Mutex<Cluster>,
    /// The version of now: told to watches at each change.
    pub(crate) changed: channel::Sender<u64>,
    pub(crate) control: Control,
    pub(crate) options: Options,
    pub(crate) exec: Mutex<Option<exec::Handler>>,
    identity: Option<tls::Identity>,
    connections: AtomicUsize,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Shared")
    }
}

impl Shared {
    pub(crate) fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells watches that there may be something new.
    pub(crate) fn tell(&self, cluster: &Cluster) {
        self.changed.send_replace(cluster.store.version());
    }
}

/// The mark of a response that is never sent: its connection ends instead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropped;

/// A running API server. It goes down with this handle.
#[derive(Debug)]
pub struct ApiServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    listening: Option<Listening>,
}

#[derive(Debug)]
struct Listening {
    accepting: JoinHandle<()>,
    // Its end is the sign for what has left its connection.
    _stop: channel::Sender<bool>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl ApiServer {
    /// Starts one with nothing but the kinds of every cluster, at a free port of this machine.
    ///
    /// # Errors
    /// No port could be had.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let cluster = Cluster::new(options.clone());
        let identity = if options.tls { Some(tls::Identity::new()?) } else { None };
        let shared = Arc::new(Shared {
            changed: channel::Sender::new(cluster.store.version()),
            cluster: Mutex::new(cluster),
            control: Control::default(),
            options,
            exec: Mutex::new(None),
            identity,
            connections: AtomicUsize::new(0),
        });
        let listening = Some(listen(&shared, listener));
        Ok(Self { shared, address, listening })
    }

    /// Where it is reached.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.shared.identity.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Its faults and its log.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.shared.control
    }

    /// Connections that were made so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Ends every connection and refuses new ones. What it keeps stays.
    pub async fn down(&mut self) {
        if let Some(mut listening) = self.listening.take() {
            listening.accepting.abort();
            // The port is free when the task is gone.
            let _aborted = (&mut listening.accepting).await;
        }
    }

    /// Serves again, at the same port.
    ///
    /// # Errors
    /// The port is somebody else's by now.
    pub async fn up(&mut self) -> io::Result<()> {
        if self.listening.is_none() {
            let listener = TcpListener::bind(self.address).await?;
            self.listening = Some(listen(&self.shared, listener));
        }
        Ok(())
    }

    /// Forgets all changes so far: watches that begin in the past hear 410.
    pub fn compact(&self) {
        self.shared.cluster().store.compact();
    }

    /// Rules of served definitions that are not asked, where the server may leave them out.
    #[must_use]
    pub fn unknown_rules(&self) -> Vec<Unknown> {
        self.shared.cluster().unknown.clone()
    }

    /// Who runs commands in pods.
    pub fn on_exec(&self, handler: exec::Handler) {
        let mut kept = self.shared.exec.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(handler);
    }

    /// What refuses objects beside their schemas, as a webhook of that name.
    pub fn on_admission(&self, name: &str, webhook: Webhook) {
        self.shared.cluster().webhook = Some((name.to_owned(), webhook));
    }

    /// An object as it is kept, past every fault; by the kind's plural with its group.
    #[must_use]
    pub fn peek(&self, qualified: &str, namespace: &str, name: &str) -> Option<Value> {
        let (plural, group) = qualified.split_once('.').unwrap_or((qualified, ""));
        let key = (namespace.to_owned(), name.to_owned());
        let cluster = self.shared.cluster();
        cluster.store.get(&format!("{group}/{plural}"), &key).map(|object| Value::clone(object))
    }

    /// The certificate to trust it by, where it speaks TLS.
    #[must_use]
    pub fn authority(&self) -> Option<Vec<u8>> {
        self.shared.identity.as_ref().map(|identity| identity.authority.clone())
    }

    /// A client's settings for this server, as a user of that name.
    #[must_use]
    pub fn config(&self, user: &str) -> kube::Config {
        let url = self.url().parse().unwrap_or_default();
        let mut config = kube::Config::new(url);
        config.root_cert = self.authority().map(|authority| vec![authority]);
        config.auth_info.token = Some(user.to_owned().into());
        // The client would ask again by itself where a test wants to see the refusal.
        config.default_retry = false;
        config
    }

    /// A client of this server, as administrator.
    ///
    /// # Errors
    /// The client could not be made.
    pub fn client(&self) -> kube::Result<kube::Client> {
        kube::Client::try_from(self.config("admin"))
    }
}

fn listen(shared: &Arc<Shared>, listener: TcpListener) -> Listening {
    let (stop, stopped) = channel::channel(false);
    let shared = shared.clone();
    let accepting = continuum_runtime::seed::spawn(async move {
        // Its connections end with it.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        connections.spawn(serve(shared.clone(), stream, stopped.clone()));
                    }
                }
                _ = connections.join_next(), if !connections.is_empty() => {}
            }
        }
    });
    Listening { accepting, _stop: stop }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream, stop: channel::Receiver<bool>) {
    shared.connections.fetch_add(1, Ordering::Relaxed);
    // Small answers must not wait for each other.
    let _unset = stream.set_nodelay(true);
    match shared.identity.clone() {
        None => speak(shared, stream, stop).await,
        Some(identity) => {
            if let Ok(stream) = identity.acceptor.accept(stream).await {
                speak(shared, stream, stop).await;
            }
        }
    }
}

async fn speak(
    shared: Arc<Shared>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    stop: channel::Receiver<bool>,
) {
    let router = answer::router(shared, stop);
    let service = tower::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let router = router.clone();
        async move {
            use tower::ServiceExt as _;
            let request = request.map(axum::body::Body::new);
            let response: Response = match router.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            if response.extensions().get::<Dropped>().is_some() {
                return Err(io::Error::from(io::ErrorKind::ConnectionReset));
            }
            Ok(response)
        }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let connection = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
    let _ended = connection.await;
}
