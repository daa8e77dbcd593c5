//! One question to one name server, for clients and tests that must not cache.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use continuum_domain::name_spec::absolute;
use continuum_runtime::seed;
use hickory_proto::op::{Edns, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::records::routed::Srv;

pub use hickory_proto::op::{Message, ResponseCode};
pub use hickory_proto::rr::RecordType;

/// Largest UDP answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 4096;
/// Largest UDP answer that a resolver is told to send: what no path fragments.
const UDP_PAYLOAD: u16 = 1232;
/// How often a question to a resolver is sent within its time, at most.
const SENDS: u32 = 3;

/// What a name server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Addresses, in the order of the answer.
    pub addresses: Vec<IpAddr>,
    /// Shortest time to live of the records; `None` when there are none.
    pub ttl: Option<Duration>,
    /// The response code: `NoError` without addresses means that there are none of this type.
    pub rcode: ResponseCode,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The name is not one.
    #[error("{name:?} is not a name: {problem}")]
    Name {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The server did not answer in time, or cannot be reached.
    #[error("no answer from {server} in {timeout:?}")]
    Unanswered {
        /// The server.
        server: SocketAddr,
        /// How long the question waited.
        timeout: Duration,
    },
    /// The question cannot be sent, or the answer not read.
    #[error("lookup failed: {0}")]
    Io(#[from] io::Error),
}

/// Asks `server` for the IPv4 addresses of `name` by one UDP question.
pub async fn query_a(
    server: SocketAddr,
    name: &str,
    timeout: Duration,
) -> Result<Lookup, LookupError> {
    let message = query(server, name, RecordType::A, timeout).await?;
    let addresses = message.answers.iter().filter_map(|record| record.data.ip_addr()).collect();
    let ttl = message.answers.iter().map(|record| record.ttl).min();
    Ok(Lookup {
        addresses,
        ttl: ttl.map(|seconds| Duration::from_secs(u64::from(seconds))),
        rcode: message.metadata.response_code,
    })
}

/// Asks `server` one question by UDP and returns the whole answer.
pub async fn query(
    server: SocketAddr,
    name: &str,
    record_type: RecordType,
    timeout: Duration,
) -> Result<Message, LookupError> {
    let question = question(name, record_type)?;
    within(server, timeout, ask_udp(server, question)).await
}

/// Asks `server` one question by TCP and returns the whole answer.
pub async fn query_tcp(
    server: SocketAddr,
    name: &str,
    record_type: RecordType,
    timeout: Duration,
) -> Result<Message, LookupError> {
    let question = question(name, record_type)?;
    within(server, timeout, ask_tcp(server, question)).await
}

/// Asks a recursive resolver one question: by UDP, said again while no answer comes, and by TCP when
/// the answer does not fit.
pub async fn resolve(
    resolver: SocketAddr,
    name: &str,
    record_type: RecordType,
    timeout: Duration,
) -> Result<Message, LookupError> {
    ask_resolver(resolver, question(name, record_type)?, timeout).await
}

/// The same, without the resolver's checking signatures.
pub async fn resolve_unchecked(
    resolver: SocketAddr,
    name: &str,
    record_type: RecordType,
    timeout: Duration,
) -> Result<Message, LookupError> {
    let mut question = question(name, record_type)?;
    question.metadata.checking_disabled = true;
    ask_resolver(resolver, question, timeout).await
}

async fn ask_resolver(
    resolver: SocketAddr,
    mut question: Message,
    timeout: Duration,
) -> Result<Message, LookupError> {
    question.metadata.recursion_desired = true;
    // It may say whether it has checked signatures (RFC 6840).
    question.metadata.authentic_data = true;
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_PAYLOAD);
    question.edns = Some(edns);
    let asking = async {
        let answer = ask_again_by_udp(resolver, &question, timeout / SENDS).await?;
        if !answer.metadata.truncation {
            return Ok(answer);
        }
        ask_tcp(resolver, question).await
    };
    within(resolver, timeout, asking).await
}

/// The text of the first TXT record.
pub fn text(message: &Message) -> Option<String> {
    message.answers.iter().find_map(|record: &Record| match &record.data {
        RData::TXT(text) => {
            Some(text.txt_data.iter().map(|part| String::from_utf8_lossy(part)).collect())
        }
        _ => None,
    })
}

async fn within(
    server: SocketAddr,
    timeout: Duration,
    asking: impl Future<Output = io::Result<Message>>,
) -> Result<Message, LookupError> {
    match tokio::time::timeout(timeout, asking).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(LookupError::Unanswered { server, timeout }),
    }
}

fn question(name: &str, record_type: RecordType) -> Result<Message, LookupError> {
    let mut parsed = Name::from_str(name)
        .map_err(|error| LookupError::Name { name: name.into(), problem: error.to_string() })?;
    parsed.set_fqdn(true);
    let mut message = Message::new(random_number(), MessageType::Query, OpCode::Query);
    message.add_query(Query::query(parsed, record_type));
    Ok(message)
}

/// An SRV record of an answer.
pub(crate) fn srv(found: &hickory_proto::rr::rdata::SRV) -> Srv {
    let target = absolute(&found.target.to_string());
    Srv { priority: found.priority, weight: found.weight, port: found.port, target }
}

/// A number to tell answers apart by.
pub(crate) fn random_number() -> u16 {
    let random = seed::random_id(6);
    random.bytes().fold(0u16, |sum, byte| sum.wrapping_mul(251).wrapping_add(u16::from(byte)))
}

async fn ask_udp(server: SocketAddr, question: Message) -> io::Result<Message> {
    let socket = connected(server).await?;
    socket.send(&encode(&question)?).await?;
    Ok(receive(&socket, &question).await?.0)
}

/// A socket on a port of the system's choice that hears this server alone.
async fn connected(server: SocketAddr) -> io::Result<UdpSocket> {
    let local = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    Ok(socket)
}

/// The answer to `question`, as a message and as it came.
pub(crate) async fn receive(
    socket: &UdpSocket,
    question: &Message,
) -> io::Result<(Message, Vec<u8>)> {
    let mut buffer = vec![0; ANSWER_BYTES_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anything else is a late answer to somebody before us, or noise.
        match Message::from_vec(&buffer[..length]) {
            Ok(answer) if fits(&answer, question) => {
                buffer.truncate(length);
                return Ok((answer, buffer));
            }
            _ => {}
        }
    }
}

/// The same question from the same port, in case it or its answer was lost.
async fn ask_again_by_udp(
    server: SocketAddr,
    question: &Message,
    pause: Duration,
) -> io::Result<Message> {
    let (socket, bytes) = (connected(server).await?, encode(question)?);
    loop {
        socket.send(&bytes).await?;
        let answer = tokio::time::timeout(pause, receive(&socket, question)).await;
        if let Ok(answer) = answer {
            return Ok(answer?.0);
        }
    }
}

/// Sends one encoded message by TCP and returns the answer's bytes.
pub(crate) async fn exchange_tcp(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], message].concat()).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    Ok(buffer)
}

async fn ask_tcp(server: SocketAddr, question: Message) -> io::Result<Message> {
    let buffer = exchange_tcp(server, &encode(&question)?).await?;
    let answer = Message::from_vec(&buffer).map_err(io::Error::other)?;
    if fits(&answer, &question) { Ok(answer) } else { Err(io::Error::other("another's answer")) }
}

fn encode(message: &Message) -> io::Result<Vec<u8>> {
    message.to_vec().map_err(io::Error::other)
}

fn fits(answer: &Message, question: &Message) -> bool {
    answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.queries == question.queries
}
