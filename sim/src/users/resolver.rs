//! Asking the name server, and keeping its answers for their time.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use turmoil::net::UdpSocket;

use crate::clock::WorldTime;
use crate::hosts::{DNS_PORT, DNS_TTL};
use crate::plan::NAMES;
use crate::users::Users;

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_millis(500);

/// One answer, in the world's time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// When it was asked.
    pub asked: Duration,
    /// When the answer came.
    pub came: Duration,
    /// The region named; `None` when the server had none to name.
    pub region: Option<String>,
}

struct Inner {
    socket: UdpSocket,
    number: u64,
    kept: Option<(Duration, String)>,
}

/// A caching resolver.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<Mutex<Inner>>,
    users: Users,
    time: WorldTime,
}

impl Resolver {
    /// A resolver on the current host.
    pub async fn open(users: &Users, time: &WorldTime, port: u16) -> std::io::Result<Self> {
        let socket = UdpSocket::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)).await?;
        let inner = Inner { socket, number: 0, kept: None };
        Ok(Self { inner: Arc::new(Mutex::new(inner)), users: users.clone(), time: time.clone() })
    }

    /// The region the name points at, from memory while the answer's time to live lasts.
    pub async fn region(&self) -> Option<String> {
        let mut inner = self.inner.lock().await;
        if let Some((until, region)) = &inner.kept
            && self.time.now() < *until
        {
            return Some(region.clone());
        }
        let asked = self.time.now();
        let region = tokio::time::timeout(DEADLINE, ask(&mut inner)).await.ok()??;
        let came = self.time.now();
        inner.kept = region.clone().map(|region| (came + DNS_TTL, region));
        self.users.learnt().answers.push(Answered { asked, came, region: region.clone() });
        region
    }
}

/// `None`: no answer; `Some(None)`: an answer without an address.
async fn ask(inner: &mut Inner) -> Option<Option<String>> {
    inner.number += 1;
    let number = inner.number.to_string();
    inner.socket.send_to(number.as_bytes(), (NAMES, DNS_PORT)).await.ok()?;
    let mut buffer = [0; 64];
    loop {
        let (length, _) = inner.socket.recv_from(&mut buffer).await.ok()?;
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let (of, region) = text.split_once(' ')?;
        // Answers to questions that were given up come late.
        if of == number {
            return Some((region != "-").then(|| region.to_owned()));
        }
    }
}
