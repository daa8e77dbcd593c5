//! A Knot with one zone, of its own or transferred from primaries.

use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;

use super::{KEYS, Process, ZONE_TEXT, free_address, has_zone, program, ready};

/// Starts, each at another port, before the test gives up.
const STARTS: u32 = 5;

pub struct Knot {
    process: Process,
    directory: TempDir,
    pub dns: SocketAddr,
}

impl Knot {
    /// A server with the zone db.example, which the keys of [`KEYS`] may change.
    pub async fn start() -> Self {
        Self::primary("").await
    }

    /// The same, with more settings of the zone and what stands beside zones.
    pub async fn primary(settings: &str) -> Self {
        for _ in 0..STARTS {
            let mut server = Self::with(free_address(), &primary(settings));
            if server.is_up().await {
                return server;
            }
            eprintln!("{}", server.process.log());
        }
        panic!("no port could be had");
    }

    /// A server at `dns` that transfers db.example from `primaries`; its key is the first of [`KEYS`].
    pub fn secondary(dns: SocketAddr, primaries: &[SocketAddr]) -> Self {
        Self::with(dns, &secondary(primaries))
    }

    fn with(dns: SocketAddr, zones: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        write_files(directory.path(), dns, zones);
        let process = run(directory.path());
        Self { process, directory, dns }
    }

    async fn is_up(&mut self) -> bool {
        let dns = self.dns;
        ready(&mut self.process, async || has_zone(dns).await).await
    }

    pub fn stop(&mut self) {
        self.process.kill();
    }

    pub async fn restart(&mut self) {
        self.process.kill();
        self.process = run(self.directory.path());
        assert!(self.is_up().await, "{}", self.process.log());
    }

    pub fn log(&self) -> String {
        self.process.log()
    }
}

fn run(home: &Path) -> Process {
    let file = home.join("knot.conf").display().to_string();
    let arguments = ["-c", &file].map(String::from);
    Process::start(&program("knotd"), &arguments, &home.join("knot.log"))
}

fn primary(settings: &str) -> String {
    let mut text = String::from("acl:\n");
    for (name, _) in KEYS {
        text += &format!("  - id: {name}\n    key: {name}\n    action: update\n");
    }
    text += "zone:\n  - domain: db.example\n    file: zone\n    acl: [fsn, hel]\n";
    text + settings
}

fn secondary(primaries: &[SocketAddr]) -> String {
    let key = KEYS[0].0;
    let mut text = String::from("remote:\n");
    for (index, primary) in primaries.iter().enumerate() {
        let (host, port) = (primary.ip(), primary.port());
        text += &format!("  - id: p{index}\n    address: {host}@{port}\n    key: {key}\n");
    }
    text += &format!(
        "acl:\n  - id: told\n    address: 127.0.0.0/8\n    key: {key}\n    action: notify\n"
    );
    let all: Vec<String> = (0..primaries.len()).map(|index| format!("p{index}")).collect();
    let listed = all.join(", ");
    text + &format!(
        "zone:\n  - domain: db.example\n    file: transferred\n    master: [{listed}]\n    acl: told\n"
    )
}

fn write_files(home: &Path, dns: SocketAddr, zones: &str) {
    std::fs::write(home.join("zone"), ZONE_TEXT).unwrap();
    let directory = home.display();
    let mut text = format!(
        "server:\n  listen: 127.0.0.1@{}\n  rundir: {directory}\n  pidfile: {directory}/pid\n  \
         udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         log:\n  - target: stderr\n    any: info\n\
         database:\n  storage: {directory}\n\
         template:\n  - id: default\n    storage: {directory}\n\
         key:\n",
        dns.port()
    );
    for (name, secret) in KEYS {
        text += &format!("  - id: {name}\n    algorithm: hmac-sha256\n    secret: {secret}\n");
    }
    std::fs::write(home.join("knot.conf"), text + zones).unwrap();
}
