//! The REST API over the simulated network: one request, one connection.

use std::io;
use std::time::Duration;

use continuum_control_api::problem::Problem;
use continuum_control_api::rest::API;
use continuum_runtime::net::SharedNetwork;
use continuum_runtime::{Identity, Role};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::hosts::API_PORT;

/// How long one node may take.
const DEADLINE: Duration = Duration::from_secs(12);

/// An answer: its status and its body.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// JSON.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body, when the request succeeded and it is what was expected.
    pub fn value<T: DeserializeOwned>(&self) -> Option<T> {
        let good = (200..300).contains(&self.status);
        good.then(|| serde_json::from_slice(&self.body).ok()).flatten()
    }

    /// The code of the problem, when it is one.
    pub fn code(&self) -> Option<String> {
        let problem: Problem = serde_json::from_slice(&self.body).ok()?;
        Some(problem.code)
    }

    /// The status and the beginning of the body, for the trace.
    pub fn summary(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let text: String = text.chars().take(160).collect();
        format!("{} {text}", self.status)
    }
}

/// Asks the nodes in turn until one answers with anything but 503.
pub async fn call(
    network: &SharedNetwork,
    nodes: &[String],
    method: &str,
    path: &str,
    body: Option<&(impl Serialize + Sync)>,
) -> Option<Reply> {
    let body = body.map(|body| serde_json::to_vec(body).expect("requests are plain data"));
    let mut busy = None;
    for node in nodes {
        let asked = ask(network, node, method, path, body.as_deref().unwrap_or_default());
        match tokio::time::timeout(DEADLINE, asked).await {
            Ok(Ok(reply)) if reply.status == 503 => busy = Some(reply),
            Ok(Ok(reply)) => return Some(reply),
            _ => {}
        }
    }
    busy
}

async fn ask(
    network: &SharedNetwork,
    node: &str,
    method: &str,
    path: &str,
    body: &[u8],
) -> io::Result<Reply> {
    let identity = Identity::new(Role::Core, node);
    let address = format!("{node}:{API_PORT}");
    let connecting = network.connect(&address, &identity);
    let connected = tokio::time::timeout(Duration::from_secs(2), connecting).await;
    let mut stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let head = format!(
        "{method} {API}{path} HTTP/1.1\r\nhost: {node}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    parse(&answer).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

fn parse(answer: &[u8]) -> Option<Reply> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Reply { status, body: answer.get(end + 4..)?.to_vec() })
}
