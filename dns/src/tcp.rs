//! Questions by TCP, transfers among them: limits on connections, on time and on transfers at once.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::net::NetError;
use hickory_server::net::runtime::TokioTime;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponse;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::server::Handler;
use crate::transfer::keys::Signed;
use crate::transfer::messages;

/// Open connections, at most; who comes later is closed at once.
const CONNECTIONS_MAX: usize = 256;
/// An idle connection is closed after this long, and one whose question comes too slowly.
const IDLE: Duration = Duration::from_secs(5);
/// Longest time in which a peer takes one answer.
const ANSWER_TAKEN: Duration = Duration::from_secs(5);
/// Transfers at once; others wait for their turn.
const TRANSFERS_MAX: usize = 8;
/// Longest time of a transfer, its wait included.
const TRANSFER: Duration = Duration::from_secs(30);
/// Pause after connections cannot be accepted, for want of file descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers questions until this is dropped; its connections end with it.
pub(crate) async fn serve(listener: TcpListener, handler: Handler) -> io::Error {
    let front = Arc::new(Front { handler, transfers: Semaphore::new(TRANSFERS_MAX) });
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, peer)) if connections.len() < CONNECTIONS_MAX => {
                let front = front.clone();
                connections.spawn(async move {
                    if let Err(error) = front.connection(stream, peer).await {
                        tracing::debug!(%peer, %error, "a connection ended");
                    }
                });
            }
            Ok((_, peer)) => {
                tracing::warn!(%peer, limit = CONNECTIONS_MAX, "too many TCP connections; closed");
            }
            Err(error) => {
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

struct Front {
    handler: Handler,
    transfers: Semaphore,
}

impl Front {
    async fn connection(&self, mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        loop {
            let Some(question) = within(IDLE, read(&mut stream)).await? else { return Ok(()) };
            let request =
                Request::from_bytes(question, peer, Protocol::Tcp).map_err(io::Error::other)?;
            if request.metadata.message_type == MessageType::Response {
                return Ok(());
            }
            if asks_transfer(&request) {
                within(TRANSFER, self.transfer(&mut stream, &request)).await?;
                continue;
            }
            let answer = Captured::default();
            self.handler.handle_request::<_, TokioTime>(&request, answer.clone()).await;
            within(ANSWER_TAKEN, write(&mut stream, &answer.take())).await?;
        }
    }

    async fn transfer(&self, stream: &mut TcpStream, request: &Request) -> io::Result<()> {
        let _turn = self.transfers.acquire().await.map_err(io::Error::other)?;
        let (names, peer) = (&self.handler.names, request.src());
        let [query] = request.queries.queries() else { return Ok(()) };
        let question = query.original();
        let refused = |code, chain| {
            messages::refusal(&request.metadata, question, code, chain).map_err(io::Error::other)
        };
        let chain = match self.handler.signed(request) {
            Signed::By(chain) if *question.name() == names.origin() => chain,
            Signed::By(chain) => {
                names.transfers().count_refused();
                return write(stream, &refused(ResponseCode::NotAuth, Some(chain))?).await;
            }
            Signed::Not => {
                names.transfers().count_refused();
                tracing::warn!(%peer, "a transfer without a key was asked for and refused");
                return write(stream, &refused(ResponseCode::Refused, None)?).await;
            }
            Signed::Wrong(..) => {
                names.transfers().count_refused();
                tracing::warn!(%peer, "a transfer with a wrong key or clock was asked for and refused");
                let answer = Captured::default();
                self.handler.handle_request::<_, TokioTime>(request, answer.clone()).await;
                return write(stream, &answer.take()).await;
            }
        };
        let have = serial_of(request);
        let Some((records, changes)) = names.transfer(have) else {
            return write(stream, &refused(ResponseCode::ServFail, Some(chain))?).await;
        };
        let (key, count) = (chain.key_name(), records.len());
        let sent = messages::messages(request.metadata.id, question, records, chain);
        for message in sent.map_err(io::Error::other)? {
            write(stream, &message).await?;
        }
        if changes {
            names.transfers().count_changes();
        } else {
            names.transfers().count_whole();
        }
        tracing::info!(%peer, key, records = count, changes, ?have, "the zone was transferred");
        Ok(())
    }
}

fn asks_transfer(request: &Request) -> bool {
    let asked = |record_type| matches!(record_type, RecordType::AXFR | RecordType::IXFR);
    let [query] = request.queries.queries() else { return false };
    request.metadata.op_code == OpCode::Query
        && query.query_class() == DNSClass::IN
        && asked(query.query_type())
}

/// The serial that an IXFR says its sender has; `None` for an AXFR.
fn serial_of(request: &Request) -> Option<u32> {
    let [query] = request.queries.queries() else { return None };
    let serial = |record: &Record| match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    };
    (query.query_type() == RecordType::IXFR)
        .then(|| request.authorities.iter().find_map(serial))
        .flatten()
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing in {limit:?}"))),
    }
}

/// The next message; `None` at the end of the connection.
async fn read(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

async fn write(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], message].concat()).await
}

/// An answer as it is sent.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait::async_trait]
impl ResponseHandler for Captured {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let mut bytes = Vec::new();
        let info = response.destructive_emit(&mut BinEncoder::new(&mut bytes))?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
        Ok(info)
    }
}
