//! The network seam on the simulated network: authenticated by a few plain bytes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use continuum_runtime::net::{Accepted, BoxIo, Listening, Network};
use continuum_runtime::{Identity, seed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use turmoil::net::{TcpListener, TcpStream};

use crate::links::{Links, Reach};

/// As in production.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
const ACCEPTED_MAX: usize = 64;
/// How long the kernel tries to connect; every caller of ours gives up before.
const CONNECT_GIVEN_UP: Duration = Duration::from_secs(60);

/// One party's network. Both ends tell their identity first; as with certificates, a client goes
/// on only when the server is who it dialled.
#[derive(Clone)]
pub struct SimNetwork {
    me: Identity,
    host: String,
    links: Links,
}

impl SimNetwork {
    /// The network of `me`, on this host.
    pub fn new(me: Identity, host: &str, links: &Links) -> Self {
        Self { me, host: host.to_owned(), links: links.clone() }
    }

    /// Connects as TCP would. The simulated network refuses at once what it drops; here silence is
    /// silence, and a process that is not there is refused after one round trip.
    async fn dial(&self, address: &str) -> io::Result<TcpStream> {
        let to = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let refused = match self.links.reach(&self.host, to) {
            Reach::Yes => match TcpStream::connect(address).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => error,
                other => return other,
            },
            Reach::Refused => {
                tokio::time::sleep(self.links.latency().1).await;
                io::Error::new(io::ErrorKind::ConnectionRefused, address.to_owned())
            }
            Reach::Silence => return self.silence(address).await,
        };
        match self.links.reach(&self.host, to) {
            Reach::Silence => self.silence(address).await,
            _ => Err(refused),
        }
    }

    async fn silence(&self, address: &str) -> io::Result<TcpStream> {
        tokio::time::sleep(CONNECT_GIVEN_UP).await;
        Err(io::Error::new(io::ErrorKind::TimedOut, address.to_owned()))
    }
}

impl std::fmt::Debug for SimNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimNetwork({} on {})", self.me, self.host)
    }
}

async fn introduce(stream: &mut TcpStream, me: &Identity) -> io::Result<()> {
    let text = me.to_string();
    let length = u8::try_from(text.len()).map_err(io::Error::other)?;
    let mut bytes = vec![length];
    bytes.extend(text.as_bytes());
    stream.write_all(&bytes).await
}

async fn meet(stream: &mut TcpStream) -> io::Result<Identity> {
    let length = stream.read_u8().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    Identity::from_str(&text).map_err(io::Error::other)
}

/// The port of `host:port`.
fn port(address: &str) -> io::Result<u16> {
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    port.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, address.to_owned()))
}

#[async_trait]
impl Network for SimNetwork {
    async fn connect(&self, address: &str, expect: &Identity) -> io::Result<BoxIo> {
        let mut stream = self.dial(address).await?;
        let hands = async {
            introduce(&mut stream, &self.me).await?;
            meet(&mut stream).await
        };
        let server = tokio::time::timeout(HANDSHAKE_TIMEOUT, hands).await;
        let server = server.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if server != *expect {
            let text = format!("{address} is {server}, not {expect}");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(Box::new(stream))
    }

    async fn listen(&self, address: &str) -> io::Result<Listening> {
        let port = port(address)?;
        let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)).await?;
        let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        let (sender, incoming) = mpsc::channel(ACCEPTED_MAX);
        seed::spawn(accept(listener, self.me.clone(), sender));
        Ok(Listening { local, incoming })
    }
}

async fn accept(listener: TcpListener, me: Identity, sender: mpsc::Sender<Accepted>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sender.closed() => return,
        };
        let Ok((mut stream, remote)) = accepted else { continue };
        let (me, sender) = (me.clone(), sender.clone());
        seed::spawn(async move {
            let hands = async {
                let client = meet(&mut stream).await?;
                introduce(&mut stream, &me).await.map(|()| client)
            };
            if let Ok(Ok(client)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, hands).await {
                let io = Box::new(stream);
                let accepted = Accepted { io, identity: Some(client), ends_ms: None, remote };
                if sender.send(accepted).await.is_err() {
                    tracing::debug!(%remote, "server is gone");
                }
            }
        });
    }
}
