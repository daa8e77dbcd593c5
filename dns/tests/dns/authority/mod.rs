//! Name servers of others, started by a test and gone with it.

pub mod bind;
pub mod calls;
pub mod gate;
pub mod knot;
pub mod pdm;
pub mod powerdns;
pub mod route53;
pub mod unbound;

use std::fs::File;
use std::future::Future;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use continuum_dns::lookup::{RecordType, ResponseCode, query_tcp};

/// How long a server may take to start.
const READY: Duration = Duration::from_secs(60);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(10);
/// How long one question may take.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// TSIG keys by region, hmac-sha256.
pub const KEYS: [(&str, &str); 2] = [
    ("fsn", "ZnNuLWZzbi1mc24tZnNuLWZzbi1mc24tZnNuLWZzbiE="),
    ("hel", "aGVsLWhlbC1oZWwtaGVsLWhlbC1oZWwtaGVsLWhlbCE="),
];

/// The zone db.example as it is before anybody writes to it.
pub const ZONE_TEXT: &str =
    "$TTL 60\n@ IN SOA ns1 hostmaster 1 60 10 3600 5\n@ IN NS ns1\nns1 IN A 127.0.0.1\n";

/// Whether a server has the zone db.example.
pub async fn has_zone(dns: SocketAddr) -> bool {
    let seen = query_tcp(dns, "db.example.", RecordType::SOA, TIMEOUT).await;
    seen.is_ok_and(|seen| seen.metadata.response_code == ResponseCode::NoError)
}

/// A process that ends with its owner, also when the test panics.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub fn start(program: &Path, arguments: &[String], log: &Path) -> Self {
        let output = File::options().create(true).append(true).open(log).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; see `make powerdns`", program.display()));
        Self { child, log: log.to_owned() }
    }

    pub fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Kills it, and returns when it is gone and its ports are free.
    pub fn kill(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program, from PATH or where Debian keeps programs of administrators.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/bin".into()])
        .map(|directory| directory.join(name))
        .find(|file| file.exists())
        .unwrap_or_else(|| panic!("{name} is not installed; see `make powerdns`"))
}

/// Ports that systems give to nobody unasked: one of those could go to a connection of another test
/// while a server is down, and the server could not come back. Each process has a block of its own.
const PORTS_FROM: u32 = 12_000;
const PORT_BLOCKS: u32 = 400;
const PORTS_A_BLOCK: u32 = 50;

static PORTS_GIVEN: AtomicU32 = AtomicU32::new(0);

/// A loopback address where nobody listens, neither by UDP nor by TCP.
pub fn free_address() -> SocketAddr {
    let block = PORTS_FROM + std::process::id() % PORT_BLOCKS * PORTS_A_BLOCK;
    loop {
        let given = PORTS_GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(block + given % PORTS_A_BLOCK).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// How a log says that a port was taken.
const IN_USE: [&str; 2] = ["address already in use", "address in use"];

/// Asks until the server answers; false when it has ended or did not get its ports.
pub async fn ready<F: Future<Output = bool>>(
    process: &mut Process,
    mut ask: impl FnMut() -> F,
) -> bool {
    let asked = tokio::time::timeout(READY, async {
        loop {
            if ask().await {
                return true;
            }
            // All of them go on without a port that they could not have.
            let log = process.log().to_lowercase();
            if process.ended() || IN_USE.iter().any(|text| log.contains(text)) {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    asked.await.unwrap_or_else(|_| panic!("not ready: {}", process.log()))
}
