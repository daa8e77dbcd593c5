//! Commands in pods, by websocket, run by whoever stands in for the pods.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use futures_util::future::BoxFuture;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::header;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::control::Told;
use crate::failure::Failure;

/// A command to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container, where one is named.
    pub container: Option<String>,
    /// Program and arguments.
    pub line: Vec<String>,
}

/// What a command reads and writes.
#[derive(Debug)]
pub struct Streams {
    /// Ends when the client has no more to say.
    pub stdin: mpsc::Receiver<Vec<u8>>,
    /// What it prints.
    pub stdout: mpsc::Sender<Vec<u8>>,
    /// What it complains of.
    pub stderr: mpsc::Sender<Vec<u8>>,
}

/// Runs commands, and returns their exit status.
pub type Handler = Arc<dyn Fn(Command, Streams) -> BoxFuture<'static, i32> + Send + Sync>;

/// The command is carried out, and nobody hears of it; who is told once it has ended.
pub(crate) struct Lost(pub Option<Told>);

impl Drop for Lost {
    fn drop(&mut self) {
        if let Some(told) = &self.0 {
            told.send_replace(true);
        }
    }
}

const PROTOCOLS: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// Channels of the protocol: the first byte of each message.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const CLOSE: u8 = 255;

/// Answers a request for a websocket, and runs the command on it until the server goes down.
///
/// # Errors
/// It asks for none, or for a protocol that is not spoken here.
pub(crate) fn upgrade(
    mut request: axum::extract::Request,
    command: Command,
    (handler, lost): (Handler, Option<Lost>),
    mut stop: watch::Receiver<bool>,
) -> Result<Response, Failure> {
    let said = |name: header::HeaderName| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let key = said(header::SEC_WEBSOCKET_KEY)
        .ok_or_else(|| Failure::bad_request("Upgrade request required"))?;
    let offered = said(header::SEC_WEBSOCKET_PROTOCOL).unwrap_or_default();
    let offered: Vec<&str> = offered.split(',').map(str::trim).collect();
    let spoken = PROTOCOLS.iter().find(|protocol| offered.contains(protocol));
    let spoken = *spoken.ok_or_else(|| Failure::bad_request("no protocol in common"))?;
    let upgraded = hyper::upgrade::on(&mut request);
    continuum_runtime::seed::spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let io = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
        tokio::select! {
            () = run(socket, command, handler, lost) => {}
            _ = stop.changed() => {}
        }
    });
    let response = Response::builder()
        .status(101)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()))
        .header(header::SEC_WEBSOCKET_PROTOCOL, spoken)
        .body(Body::empty());
    response.map_err(|error| Failure::bad_request(error.to_string()))
}

async fn run(
    socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>,
    command: Command,
    handler: Handler,
    lost: Option<Lost>,
) {
    let (mut to, mut from) = socket.split();
    let (stdin_to, stdin) = mpsc::channel(16);
    let (stdout, mut printed) = mpsc::channel::<Vec<u8>>(16);
    let (stderr, mut complained) = mpsc::channel::<Vec<u8>>(16);
    let mut stdin_to = Some(stdin_to);
    let mut running = handler(command, Streams { stdin, stdout, stderr });
    let message = |channel: u8, bytes: &[u8]| {
        let mut framed = vec![channel];
        framed.extend_from_slice(bytes);
        Message::Binary(framed.into())
    };
    // The real server begins every channel with an empty message.
    for channel in [STDOUT, STDERR, STATUS] {
        if to.send(message(channel, &[])).await.is_err() {
            return;
        }
    }
    let mut listening = true;
    let code = loop {
        tokio::select! {
            biased;
            Some(bytes) = printed.recv() => {
                if lost.is_none() && to.send(message(STDOUT, &bytes)).await.is_err() { return }
            }
            Some(bytes) = complained.recv() => {
                if lost.is_none() && to.send(message(STDERR, &bytes)).await.is_err() { return }
            }
            code = &mut running => break code,
            heard = from.next(), if listening => match heard {
                Some(Ok(Message::Binary(bytes))) => match bytes.split_first() {
                    Some((&STDIN, bytes)) if !bytes.is_empty() => {
                        if let Some(stdin) = &stdin_to
                            && stdin.send(bytes.to_vec()).await.is_err()
                        {
                            stdin_to = None;
                        }
                    }
                    Some((&CLOSE, [STDIN])) => stdin_to = None,
                    _ => {}
                },
                Some(Ok(Message::Close(_)) | Err(_)) | None => {
                    stdin_to = None;
                    listening = false;
                }
                Some(Ok(_)) => {}
            },
        }
    };
    drop(running);
    if lost.is_some() {
        return;
    }
    while let Some(bytes) = printed.recv().await {
        let _gone = to.send(message(STDOUT, &bytes)).await;
    }
    while let Some(bytes) = complained.recv().await {
        let _gone = to.send(message(STDERR, &bytes)).await;
    }
    let _gone = to.send(message(STATUS, status(code).as_bytes())).await;
    let _gone = to.close().await;
}

fn status(code: i32) -> String {
    if code == 0 {
        return json!({ "metadata": {}, "status": "Success" }).to_string();
    }
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("command terminated with non-zero exit code: {code}"),
        "reason": "NonZeroExitCode",
        "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
    })
    .to_string()
}
