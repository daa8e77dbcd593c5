//! The network seam: authenticated byte streams, and gRPC and HTTP on top of them.
//!
//! Production uses mutual TLS ([`TlsNetwork`]); a simulator supplies its own [`Network`]. Servers
//! read who called from the [`Identity`] beside each stream, whatever carried it.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};

use crate::clock::{BootClock, Clock};
use crate::handshakes::Unfinished;
use crate::identity::Identity;
use crate::rotation::{Credentials, Rotating, ends_ms};
use crate::seed;

/// How long a TLS handshake may take with somebody who is dialled: it is another one's turn then.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// Accepted connections that wait to be served; more are held back in the kernel.
const ACCEPTED_MAX: usize = 64;

/// A byte stream.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}
/// A boxed byte stream.
pub type BoxIo = Box<dyn Io>;

/// A connection a server accepted, with who is at the other end.
pub struct Accepted {
    /// The stream.
    pub io: BoxIo,
    /// The authenticated caller; `None` when it has no certificate, or one without a name of ours.
    pub identity: Option<Identity>,
    /// When its certificate ends, milliseconds since 1970, where it has one.
    pub ends_ms: Option<i64>,
    /// Where it came from.
    pub remote: SocketAddr,
}

/// A bound listener.
pub struct Listening {
    /// The address it listens on, with the port that was chosen.
    pub local: SocketAddr,
    /// Connections as they are accepted.
    pub incoming: mpsc::Receiver<Accepted>,
}

/// The network as the program may see it.
#[async_trait]
pub trait Network: Send + Sync + Debug {
    /// Dials `address` (`host:port`) and proves that `expect` answers there.
    async fn connect(&self, address: &str, expect: &Identity) -> io::Result<BoxIo>;

    /// Binds `address` and accepts authenticated connections.
    async fn listen(&self, address: &str) -> io::Result<Listening>;

    /// The same for a server that knows its callers by other means too: a connection without a
    /// certificate is accepted, and has no identity. One that is shown must be good.
    async fn listen_open(&self, address: &str) -> io::Result<Listening> {
        self.listen(address).await
    }

    /// When the first of the own certificates and authorities ends, milliseconds since 1970; `None`
    /// where there are none.
    fn certificates_end_ms(&self) -> Option<i64> {
        None
    }
}

/// A network handed around.
pub type SharedNetwork = Arc<dyn Network>;

/// Paths of one party's certificate, key and trusted authority, PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// Certificates of the authority that signs all parties.
    pub authority: PathBuf,
    /// This party's certificate chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

fn file_error(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
}

fn roots(authority: &Path) -> io::Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(authority).map_err(|error| file_error(authority, error))?
    {
        let certificate = certificate.map_err(|error| file_error(authority, error))?;
        roots.add(certificate).map_err(|error| file_error(authority, error))?;
    }
    if roots.is_empty() {
        return Err(file_error(authority, "holds no certificate"));
    }
    Ok(Arc::new(roots))
}

/// The authorities that the operating system trusts.
fn system_roots() -> io::Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    match found.errors.into_iter().next() {
        Some(error) if added == 0 => Err(io::Error::other(error)),
        None if added == 0 => Err(io::Error::other("the system trusts no authority")),
        _ => Ok(Arc::new(roots)),
    }
}

/// TLS settings for dialling without a certificate of one's own. Only `authority` is trusted, or what
/// the operating system trusts where none is given.
pub fn trusting(authority: Option<&Path>, protocols: &[&[u8]]) -> io::Result<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(authority.map_or_else(system_roots, roots)?)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

impl TlsFiles {
    fn own(&self) -> io::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| file_error(&self.certificate, error))?;
        if chain.is_empty() {
            return Err(file_error(&self.certificate, "holds no certificate"));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| file_error(&self.key, error))?;
        Ok((chain, key))
    }

    /// The identity this party's own certificate carries.
    pub fn identity(&self) -> io::Result<Identity> {
        let (chain, _) = self.own()?;
        chain.first().and_then(certificate_identity).ok_or_else(|| {
            file_error(&self.certificate, "carries no name under continuum.internal")
        })
    }

    /// TLS settings for dialling, offering `protocols` by ALPN.
    pub fn client_config(&self, protocols: &[&[u8]]) -> io::Result<ClientConfig> {
        let (chain, key) = self.own()?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots(&self.authority)?)
            .with_client_auth_cert(chain, key)
            .map_err(|error| file_error(&self.key, error))?;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }

    /// TLS settings for listening; a client without a certificate of the authority is refused.
    pub fn server_config(&self) -> io::Result<ServerConfig> {
        self.server_config_with(false)
    }

    /// The same; a client without any certificate is accepted.
    pub(crate) fn open_server_config(&self) -> io::Result<ServerConfig> {
        self.server_config_with(true)
    }

    /// The own chain, and the authorities.
    pub(crate) fn certificates(&self) -> io::Result<Vec<CertificateDer<'static>>> {
        let (mut all, _) = self.own()?;
        for certificate in CertificateDer::pem_file_iter(&self.authority)
            .map_err(|error| file_error(&self.authority, error))?
        {
            all.push(certificate.map_err(|error| file_error(&self.authority, error))?);
        }
        Ok(all)
    }

    fn server_config_with(&self, open: bool) -> io::Result<ServerConfig> {
        let (chain, key) = self.own()?;
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots(&self.authority)?, provider());
        let verifier = if open { verifier.allow_unauthenticated() } else { verifier };
        let verifier = verifier.build().map_err(io::Error::other)?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| file_error(&self.key, error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificate_identity(certificate: &CertificateDer<'_>) -> Option<Identity> {
    use x509_parser::extensions::GeneralName;
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(text) => Identity::from_dns_name(text),
        _ => None,
    })
}

/// Mutual TLS over TCP.
///
/// The files are read again when they are replaced; what was not good changes nothing.
pub struct TlsNetwork {
    credentials: Arc<Rotating>,
}

impl Debug for TlsNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsNetwork")
    }
}

impl TlsNetwork {
    /// Loads certificates; a missing or broken file is an error that names it.
    pub fn load(files: &TlsFiles) -> io::Result<Self> {
        let credentials = Arc::new(Rotating::load(files)?);
        credentials.warn_of_end(BootClock.wall_ms());
        Ok(Self { credentials })
    }
}

#[async_trait]
impl Network for TlsNetwork {
    async fn connect(&self, address: &str, expect: &Identity) -> io::Result<BoxIo> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(expect.dns_name()).map_err(io::Error::other)?;
        let connector = tokio_rustls::TlsConnector::from(self.credentials.current().client.clone());
        let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, connector.connect(name, tcp)).await;
        Ok(Box::new(stream.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??))
    }

    async fn listen(&self, address: &str) -> io::Result<Listening> {
        listen_tls(address, self.credentials.clone(), |now| now.server.clone()).await
    }

    async fn listen_open(&self, address: &str) -> io::Result<Listening> {
        listen_tls(address, self.credentials.clone(), |now| now.open_server.clone()).await
    }

    fn certificates_end_ms(&self) -> Option<i64> {
        self.credentials.current().ends_ms
    }
}

/// Which settings a listener uses of those that are in force.
type Choice = fn(&Credentials) -> Arc<ServerConfig>;

async fn listen_tls(
    address: &str,
    credentials: Arc<Rotating>,
    choice: Choice,
) -> io::Result<Listening> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("cannot bind {address}: {error}")))?;
    let local = listener.local_addr()?;
    let (sender, incoming) = mpsc::channel(ACCEPTED_MAX);
    seed::spawn(accept_loop(listener, (credentials, choice), sender));
    Ok(Listening { local, incoming })
}

/// The next connection; `None` when nobody takes any more.
async fn accept_next(
    listener: &TcpListener,
    sender: &mpsc::Sender<Accepted>,
) -> Option<(TcpStream, SocketAddr)> {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => return Some(accepted),
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            () = sender.closed() => return None,
        }
    }
}

async fn accept_loop(
    listener: TcpListener,
    (credentials, choice): (Arc<Rotating>, Choice),
    sender: mpsc::Sender<Accepted>,
) {
    let mut unfinished = Unfinished::default();
    while let Some((tcp, remote)) = accept_next(&listener, &sender).await {
        let place = unfinished.place().await;
        let acceptor = tokio_rustls::TlsAcceptor::from(choice(&credentials.current()));
        let sender = sender.clone();
        seed::spawn(async move {
            if let Err(error) = tcp.set_nodelay(true) {
                tracing::debug!(%remote, %error, "nodelay not set");
            }
            match place.carry_out(acceptor.accept(tcp)).await {
                Ok(Ok(stream)) => {
                    let certificates = stream.get_ref().1.peer_certificates();
                    let identity =
                        certificates.and_then(|chain| chain.first()).and_then(certificate_identity);
                    let ends_ms = certificates.and_then(|chain| chain.first()).and_then(ends_ms);
                    let accepted = Accepted { io: Box::new(stream), identity, ends_ms, remote };
                    if sender.send(accepted).await.is_err() {
                        tracing::debug!(%remote, "server is gone");
                    }
                }
                Ok(Err(error)) => tracing::debug!(%remote, %error, "TLS handshake refused"),
                Err(why) => tracing::debug!(%remote, ?why, "TLS handshake given up"),
            }
        });
    }
}

/// Runs a channel's background work in the scope it was opened in.
#[derive(Clone, Copy)]
pub(crate) struct SeamExecutor;

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for SeamExecutor {
    fn execute(&self, work: F) {
        seed::spawn(work);
    }
}

/// Listens without TLS and without identities, for callers that have none: load balancers.
pub async fn listen_plain(address: &str) -> io::Result<Listening> {
    let listener = TcpListener::bind(address).await?;
    let local = listener.local_addr()?;
    let (sender, incoming) = mpsc::channel(ACCEPTED_MAX);
    seed::spawn(async move {
        while let Some((tcp, remote)) = accept_next(&listener, &sender).await {
            let accepted = Accepted { io: Box::new(tcp), identity: None, ends_ms: None, remote };
            if sender.send(accepted).await.is_err() {
                return;
            }
        }
    });
    Ok(Listening { local, incoming })
}

/// A lazy gRPC channel to `expect` at `address`. It redials by itself; every call still needs a
/// deadline of its own.
pub fn channel(network: &SharedNetwork, address: &str, expect: &Identity) -> Channel {
    let (network, address, expect) = (network.clone(), address.to_owned(), expect.clone());
    let endpoint = Endpoint::from_static("http://peer.continuum.internal")
        .connect_timeout(Duration::from_secs(2))
        .http2_keep_alive_interval(Duration::from_secs(2))
        .keep_alive_timeout(Duration::from_secs(2))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .executor(SeamExecutor);
    endpoint.connect_with_connector_lazy(tower::service_fn(move |_uri: http::Uri| {
        let (network, address, expect) = (network.clone(), address.clone(), expect.clone());
        async move { network.connect(&address, &expect).await.map(TokioIo::new) }
    }))
}

/// What a gRPC or HTTP handler finds in its request's extensions.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The authenticated caller; `None` when its certificate carries no name of ours.
    pub identity: Option<Identity>,
    /// When its certificate ends, milliseconds since 1970, where it has one.
    pub ends_ms: Option<i64>,
    /// Where it came from.
    pub remote: SocketAddr,
}

/// An accepted stream in the shape tonic serves.
pub struct GrpcIo(Accepted);

impl tonic::transport::server::Connected for GrpcIo {
    type ConnectInfo = Caller;
    fn connect_info(&self) -> Caller {
        let Accepted { identity, ends_ms, remote, .. } = &self.0;
        Caller { identity: identity.clone(), ends_ms: *ends_ms, remote: *remote }
    }
}

impl AsyncRead for GrpcIo {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for GrpcIo {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        std::pin::Pin::new(&mut self.0.io).poll_write(context, bytes)
    }
    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0.io).poll_flush(context)
    }
    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0.io).poll_shutdown(context)
    }
}

impl Listening {
    /// The connections as tonic's `serve_with_incoming` takes them.
    pub fn grpc(self) -> impl futures_util::Stream<Item = io::Result<GrpcIo>> {
        futures_util::stream::unfold(self.incoming, |mut incoming| async move {
            incoming.recv().await.map(|accepted| (Ok(GrpcIo(accepted)), incoming))
        })
    }
}

/// The listener in the shape `axum::serve` takes; use with
/// `router.into_make_service_with_connect_info::<Caller>()`.
impl axum::serve::Listener for Listening {
    type Io = GrpcIo;
    type Addr = Caller;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.incoming.recv().await {
            Some(accepted) => {
                let io = GrpcIo(accepted);
                let caller = tonic::transport::server::Connected::connect_info(&io);
                (io, caller)
            }
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(Caller { identity: None, ends_ms: None, remote: self.local })
    }
}

impl axum::extract::connect_info::Connected<axum::serve::IncomingStream<'_, Listening>> for Caller {
    fn connect_info(stream: axum::serve::IncomingStream<'_, Listening>) -> Self {
        stream.remote_addr().clone()
    }
}
