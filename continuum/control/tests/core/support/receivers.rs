//! Receivers of audit records: a real NATS server, a line that loses answers, an HTTP server and a mail
//! server that misbehave as they are told.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_nats::jetstream::{self, stream::Stream};
use continuum_runtime::seed;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::eventually;

/// What is read of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub id: String,
    pub index: u64,
}

/// A NATS server with a store that outlives it.
pub struct NatsServer {
    directory: tempfile::TempDir,
    pub port: u16,
    child: Option<Child>,
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

impl NatsServer {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut server = Self { directory, port: free_port().await, child: None };
        server.resume().await;
        server
    }

    /// Starts it on its store.
    pub async fn resume(&mut self) {
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        let child = Command::new("nats-server")
            .env("PATH", path)
            .args(["--addr", "127.0.0.1", "--port", &self.port.to_string(), "--jetstream"])
            .arg("--store_dir")
            .arg(self.directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("nats-server of Debian's package nats-server");
        self.child = Some(child);
        eventually("NATS answers", || async { async_nats::connect(self.url()).await.ok() }).await;
    }

    /// Ends it at once.
    pub async fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().await.unwrap();
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    async fn context(&self) -> jetstream::Context {
        jetstream::new(async_nats::connect(self.url()).await.unwrap())
    }

    /// Makes a stream as an administrator would.
    pub async fn create(&self, name: &str, subject: &str) {
        let config = jetstream::stream::Config {
            name: name.into(),
            subjects: vec![subject.into()],
            ..Default::default()
        };
        self.context().await.create_stream(config).await.unwrap();
    }

    /// Everything in a stream, in its order.
    pub async fn read(&self, stream: &str) -> Vec<Published> {
        let mut stream: Stream = self.context().await.get_stream(stream).await.unwrap();
        let last = stream.info().await.unwrap().state.last_sequence;
        let mut all = Vec::new();
        for sequence in 1..=last {
            let message = stream.get_raw_message(sequence).await.unwrap();
            let event: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
            let id = message.headers.get("Nats-Msg-Id").unwrap().to_string();
            assert_eq!(event["id"], id.as_str());
            all.push(Published { id, index: event["data"]["index"].as_u64().unwrap() });
        }
        all
    }
}

/// A line to a server that is cut when it should bring some of the acknowledgements.
pub struct LossyLine {
    pub port: u16,
    /// Acknowledgements that came from the server.
    pub acknowledged: Arc<AtomicUsize>,
    /// Those of them that said "I had this already".
    pub repeated: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for LossyLine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn count(text: &[u8], what: &[u8]) -> usize {
    text.windows(what.len()).filter(|window| *window == what).count()
}

impl LossyLine {
    /// Loses every `nth` acknowledgement.
    pub async fn to(port: u16, nth: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (acknowledged, repeated) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let counters = (acknowledged.clone(), Arc::clone(&repeated));
        let task = seed::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                seed::spawn(carry(near, port, nth, counters.clone()));
            }
        });
        Self { port: own, acknowledged, repeated, task }
    }
}

async fn carry(
    near: TcpStream,
    port: u16,
    nth: usize,
    (acknowledged, repeated): (Arc<AtomicUsize>, Arc<AtomicUsize>),
) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    let up =
        seed::spawn(async move { drop(tokio::io::copy(&mut near_read, &mut far_write).await) });
    let mut piece = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = far_read.read(&mut piece).await {
        let text = &piece[..length];
        repeated.fetch_add(
            count(text, b"\"duplicate\": true") + count(text, b"\"duplicate\":true"),
            Ordering::SeqCst,
        );
        if count(text, b"\"seq\":") > 0
            && (acknowledged.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(nth)
        {
            break;
        }
        if near_write.write_all(text).await.is_err() {
            break;
        }
    }
    up.abort();
}

/// How a receiver treats its next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// This answer, and these seconds as `Retry-After`.
    Answer(u16, Option<u64>),
    /// Reads all of it and cuts the connection.
    Cut,
    /// Never answers.
    Hang,
}

/// A request, or a mail, that a receiver read.
#[derive(Clone, Debug)]
pub struct Received {
    pub head: String,
    pub body: String,
    pub manner: Manner,
}

impl Received {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// An HTTP or mail server that does as it is told, and is well behaved when nothing is left of that.
pub struct Receiver {
    pub port: u16,
    script: Arc<Mutex<VecDeque<Manner>>>,
    got: Arc<Mutex<Vec<Received>>>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Shared = (Arc<Mutex<VecDeque<Manner>>>, Arc<Mutex<Vec<Received>>>);

impl Receiver {
    pub async fn http(script: &[Manner]) -> Self {
        Self::start(script, false).await
    }

    pub async fn mail(script: &[Manner]) -> Self {
        Self::start(script, true).await
    }

    async fn start(script: &[Manner], is_mail: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = Arc::new(Mutex::new(script.iter().copied().collect::<VecDeque<_>>()));
        let got: Arc<Mutex<Vec<Received>>> = Arc::default();
        let shared: Shared = (script.clone(), got.clone());
        let task = seed::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = shared.clone();
                seed::spawn(async move {
                    match is_mail {
                        true => drop(serve_mail(stream, shared).await),
                        false => drop(serve_http(stream, shared).await),
                    }
                });
            }
        });
        Self { port, script, got, task }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/in", self.port)
    }

    pub fn then(&self, script: &[Manner]) {
        self.script.lock().unwrap().extend(script);
    }

    pub fn received(&self) -> Vec<Received> {
        self.got.lock().unwrap().clone()
    }

    /// Those that were taken.
    pub fn taken(&self) -> Vec<Received> {
        let taken = |one: &Received| matches!(one.manner, Manner::Answer(200..=299, _));
        self.received().into_iter().filter(taken).collect()
    }
}

fn manner(script: &Mutex<VecDeque<Manner>>) -> Manner {
    script.lock().unwrap().pop_front().unwrap_or(Manner::Answer(200, None))
}

async fn serve_http(stream: TcpStream, (script, got): Shared) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let length = head
            .lines()
            .find_map(|line| {
                line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
            })
            .unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let manner = manner(&script);
        let body = String::from_utf8(body).unwrap();
        got.lock().unwrap().push(Received { head, body, manner });
        match manner {
            Manner::Cut => return Ok(()),
            Manner::Hang => std::future::pending().await,
            Manner::Answer(status, after) => {
                let after = after.map(|after| format!("retry-after: {after}\r\n"));
                let answer = format!(
                    "HTTP/1.1 {status} X\r\n{}content-length: 2\r\n\r\nno",
                    after.unwrap_or_default()
                );
                stream.get_mut().write_all(answer.as_bytes()).await?;
            }
        }
    }
}

async fn serve_mail(stream: TcpStream, (script, got): Shared) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(b"220 test\r\n").await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let answer = match line.get(..4).unwrap_or_default().to_uppercase().as_str() {
            "DATA" => {
                stream.get_mut().write_all(b"354 go on\r\n").await?;
                let mut text = String::new();
                while !text.ends_with("\r\n.\r\n") {
                    if stream.read_line(&mut text).await? == 0 {
                        return Ok(());
                    }
                }
                let manner = manner(&script);
                let (head, body) = text.split_once("\r\n\r\n").unwrap();
                let (head, body) = (head.to_owned(), body.to_owned());
                got.lock().unwrap().push(Received { head, body, manner });
                match manner {
                    Manner::Cut => return Ok(()),
                    Manner::Hang => std::future::pending().await,
                    Manner::Answer(200, _) => "250 taken".to_owned(),
                    Manner::Answer(code, _) => format!("{code} no"),
                }
            }
            "QUIT" => {
                stream.get_mut().write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => "250 fine".to_owned(),
        };
        stream.get_mut().write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}
