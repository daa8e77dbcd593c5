//! The embedded name server: sockets around [`EmbeddedNames`].

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use continuum_runtime::edge::EdgeLayer;
use continuum_runtime::net::Listening;
use continuum_runtime::{BootClock, SharedClock, SharedNetwork, seed};
use continuum_witness::RegisterStore;
use hickory_proto::op::{Metadata, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::{ConfigError, DnsConfig};
use crate::embedded::EmbeddedNames;
use crate::proto::names_server::NamesServer;
use crate::rpc::Service;
use crate::tcp;
use crate::transfer::keys::{Keys, Signed};
use crate::transfer::notify;
use crate::zone::{Answer, Question};

/// Largest publish request, in bytes.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// How long open connections may take to finish at shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// Tries to find a port that is free for UDP and TCP both, when any port will do.
const PORT_TRIES: u32 = 20;

/// Why a name server did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration is refused.
    #[error("name server configuration: {0}")]
    Config(#[from] ConfigError),
    /// An address cannot be listened on.
    #[error("name server cannot listen on {address}: {error}")]
    Listen {
        /// The address as configured.
        address: String,
        /// What the system said.
        error: io::Error,
    },
    /// Publishing over gRPC failed.
    #[error("name server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// Answering questions failed.
    #[error("name server stopped answering: {0}")]
    Dns(String),
}

/// A name server that listens.
pub struct Server {
    config: DnsConfig,
    keys: Keys,
    names: Arc<EmbeddedNames>,
    udp: UdpSocket,
    tcp: TcpListener,
    dns_local: SocketAddr,
    rpc: Listening,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({} at {})", self.config.name, self.dns_local)
    }
}

impl Server {
    /// Checks the configuration and binds the addresses. Registers are read from `store`, ages
    /// are measured by `clock`.
    pub async fn bind(
        config: DnsConfig,
        network: &SharedNetwork,
        store: Arc<dyn RegisterStore>,
        clock: SharedClock,
    ) -> Result<Self, ServeError> {
        config.check()?;
        let keys = Keys::load(&config)?;
        let (udp, tcp, dns_local) = bind_dns(&config.listen_dns)
            .await
            .map_err(|error| ServeError::Listen { address: config.listen_dns.clone(), error })?;
        let rpc = network
            .listen(&config.listen_rpc)
            .await
            .map_err(|error| ServeError::Listen { address: config.listen_rpc.clone(), error })?;
        let own: Vec<IpAddr> =
            Some(dns_local.ip()).into_iter().filter(|address| !address.is_unspecified()).collect();
        let names = EmbeddedNames::new(&config, own, store, clock)?;
        Ok(Self { config, keys, names, udp, tcp, dns_local, rpc })
    }

    /// The names that are served.
    pub fn names(&self) -> &Arc<EmbeddedNames> {
        &self.names
    }

    /// Where questions are answered, UDP and TCP.
    pub fn dns_local(&self) -> SocketAddr {
        self.dns_local
    }

    /// Where publishes are taken.
    pub fn rpc_local(&self) -> SocketAddr {
        self.rpc.local
    }

    /// Serves until `shutdown` is ready.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let Self { config, keys, names, udp, tcp, dns_local, rpc } = self;
        let (name, rpc_local) = (&config.name, rpc.local);
        let handler = Handler { names: names.clone(), keys };
        let mut dns = hickory_server::Server::new(handler.clone());
        dns.register_socket(udp);
        let _notifiers = notify::start(&config, &names, dns_local.ip())?;
        let mut connections = Box::pin(tcp::serve(tcp, handler));

        let stop = watch::Sender::new(false);
        let mut stopped = stop.subscribe();
        let mut serving = Box::pin(serve_names(names, rpc, async move {
            if stopped.wait_for(|stop| *stop).await.is_err() {
                tracing::debug!("the server was dropped");
            }
        }));
        tracing::info!(%name, dns = %dns_local, rpc = %rpc_local, "name server is ready");
        tokio::select! {
            result = &mut serving => return result,
            result = dns.block_until_done() => {
                let why = result.err().map_or("its sockets closed".into(), |error| error.to_string());
                return Err(ServeError::Dns(why));
            }
            error = &mut connections => return Err(ServeError::Dns(error.to_string())),
            () = shutdown => {}
        }
        stop.send_replace(true);
        let ending = async {
            if let Err(error) = dns.shutdown_gracefully().await {
                tracing::debug!(%error, "ending the name server");
            }
            (&mut serving).await
        };
        match tokio::time::timeout(SHUTDOWN_GRACE, ending).await {
            Ok(result) => result?,
            Err(_) => tracing::warn!(%name, "connections were cut at shutdown"),
        }
        tracing::info!(%name, "name server has stopped");
        Ok(())
    }
}

/// Keeps `names` up to date from their registers and takes publishes on `rpc` until `shutdown` is
/// ready; questions are answered by whoever calls [`EmbeddedNames::answer`].
pub async fn serve_names(
    names: Arc<EmbeddedNames>,
    rpc: Listening,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let _pollers = Pollers::start(&names);
    let edge = EdgeLayer::new(names.clock());
    let service = NamesServer::new(Service { names }).max_decoding_message_size(REQUEST_BYTES_MAX);
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .layer(edge)
        .add_service(service)
        .serve_with_incoming_shutdown(rpc.grpc(), shutdown)
        .await?;
    Ok(())
}

/// Runs a name server that reads its registers from `store`, until `shutdown` is ready.
pub async fn serve(
    config: DnsConfig,
    network: SharedNetwork,
    store: Arc<dyn RegisterStore>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let server = Server::bind(config, &network, store, Arc::new(BootClock)).await?;
    server.run(shutdown).await
}

async fn bind_dns(address: &str) -> io::Result<(UdpSocket, TcpListener, SocketAddr)> {
    let mut tries = PORT_TRIES;
    loop {
        let tcp = TcpListener::bind(address).await?;
        let local = tcp.local_addr()?;
        tries -= 1;
        match UdpSocket::bind(local).await {
            Ok(udp) => return Ok((udp, tcp, local)),
            Err(error) if tries == 0 || !address.ends_with(":0") => return Err(error),
            Err(_) => {}
        }
    }
}

/// One task for each pair, ended when this is dropped.
struct Pollers(Vec<JoinHandle<()>>);

impl Pollers {
    fn start(names: &Arc<EmbeddedNames>) -> Self {
        let tasks = names.pairs().into_iter().map(|pair| {
            let names = names.clone();
            seed::spawn(async move { names.poll(pair).await })
        });
        Self(tasks.collect())
    }
}

impl Drop for Pollers {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Answers questions, and says who may transfer the zone.
#[derive(Clone)]
pub(crate) struct Handler {
    /// What is answered from.
    pub names: Arc<EmbeddedNames>,
    keys: Keys,
}

impl Handler {
    /// What the signature of `request` is worth.
    pub fn signed(&self, request: &Request) -> Signed {
        let now = u64::try_from(self.names.clock().wall_ms() / 1000).unwrap_or_default();
        self.keys.check(request.signature.as_deref(), request.as_slice(), now)
    }

    fn answer(&self, request: &Request, signed: &Signed) -> Answer {
        let only = |code| Answer { code, authoritative: false, answers: Vec::new(), soa: None };
        if let Signed::Wrong(code, _) = signed {
            return only(*code);
        }
        if request.metadata.op_code != OpCode::Query {
            return only(ResponseCode::NotImp);
        }
        let [query] = request.queries.queries() else { return only(ResponseCode::FormErr) };
        if query.query_class() != DNSClass::IN {
            return only(ResponseCode::Refused);
        }
        let name = query.original().name().clone();
        match (query.query_type(), signed) {
            // By UDP it is told the newest serial, and comes again by TCP (RFC 1995).
            (RecordType::IXFR, Signed::By(_)) if name == self.names.origin() => {
                self.names.answer(&Question { name, record_type: RecordType::SOA })
            }
            (RecordType::AXFR | RecordType::IXFR, _) => only(ResponseCode::Refused),
            (record_type, _) => self.names.answer(&Question { name, record_type }),
        }
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let signed = self.signed(request);
        let answer = self.answer(request, &signed);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = answer.code;
        metadata.authoritative = answer.authoritative;
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &request.edns {
            builder.edns(edns);
        }
        let Answer { answers, soa, .. } = &answer;
        let unsigned = || {
            let mut bytes = Vec::new();
            let mut builder = MessageResponseBuilder::from_message_request(request);
            if let Some(edns) = &request.edns {
                builder.edns(edns);
            }
            let response = builder.build(metadata, answers, [], soa, []);
            response.destructive_emit(&mut BinEncoder::new(&mut bytes)).map(|_| bytes)
        };
        let signature = match signed {
            Signed::Not => Ok(None),
            Signed::By(mut chain) => unsigned().and_then(|bytes| chain.sign(&bytes)).map(Some),
            Signed::Wrong(_, context) => {
                unsigned().and_then(|bytes| context.sign(&bytes)).map(Some)
            }
        };
        let mut response = builder.build(metadata, answers, [], soa, []);
        let sent = match signature {
            Ok(signature) => {
                signature.into_iter().for_each(|signature| response.set_signature(signature));
                response_handle.send_response(response).await
            }
            Err(error) => Err(error.into()),
        };
        sent.unwrap_or_else(|error| {
            tracing::debug!(%error, "an answer could not be sent");
            let counts = hickory_proto::op::HeaderCounts::default();
            ResponseInfo::from(hickory_proto::op::Header { metadata, counts })
        })
    }
}
