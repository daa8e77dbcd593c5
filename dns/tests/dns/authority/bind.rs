//! A BIND with one zone in a file of its own.

use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;

use super::{KEYS, Process, ZONE_TEXT, free_address, has_zone, program, ready};

/// Starts, each at another port, before the test gives up.
const STARTS: u32 = 5;

pub struct Bind {
    process: Process,
    directory: TempDir,
    pub dns: SocketAddr,
}

impl Bind {
    /// A server with the zone db.example, which the keys of [`KEYS`] may change.
    pub async fn start() -> Self {
        Self::primary("").await
    }

    /// The same, with more settings of the zone.
    pub async fn primary(settings: &str) -> Self {
        for _ in 0..STARTS {
            let mut server = Self::with(free_address(), &primary(settings), "");
            if server.is_up().await {
                return server;
            }
            eprintln!("{}", server.process.log());
        }
        panic!("no port could be had");
    }

    /// A server at `dns` that transfers db.example from `primaries`; its key is `key`.
    pub fn secondary(dns: SocketAddr, primaries: &[SocketAddr], key: (&str, &str)) -> Self {
        Self::secondary_with(dns, primaries, key, "")
    }

    /// The same, with more settings of the zone.
    pub fn secondary_with(
        dns: SocketAddr,
        primaries: &[SocketAddr],
        key: (&str, &str),
        settings: &str,
    ) -> Self {
        let (name, secret) = key;
        let key = format!("key \"{name}\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n");
        Self::with(dns, &(secondary(primaries, name) + settings), &key)
    }

    /// A server whose zone db.example is `text` and stays so.
    pub async fn fixed(text: &str) -> Self {
        let zone = "type primary; file \"fixed\";";
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("fixed"), text).unwrap();
        let mut server = Self::within(directory, free_address(), zone, "");
        assert!(server.is_up().await, "{}", server.process.log());
        server
    }

    fn with(dns: SocketAddr, zone: &str, key: &str) -> Self {
        Self::within(tempfile::tempdir().unwrap(), dns, zone, key)
    }

    fn within(directory: TempDir, dns: SocketAddr, zone: &str, key: &str) -> Self {
        write_files(directory.path(), dns, zone, key);
        let process = run(directory.path());
        Self { process, directory, dns }
    }

    async fn is_up(&mut self) -> bool {
        let dns = self.dns;
        ready(&mut self.process, async || has_zone(dns).await).await
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    pub fn stop(&mut self) {
        self.process.kill();
    }

    pub async fn restart(&mut self) {
        self.process.kill();
        self.process = run(self.directory.path());
        assert!(self.is_up().await, "{}", self.process.log());
    }
}

fn run(home: &Path) -> Process {
    let file = home.join("named.conf").display().to_string();
    let arguments = ["-g", "-c", &file].map(String::from);
    Process::start(&program("named"), &arguments, &home.join("named.log"))
}

fn primary(settings: &str) -> String {
    let grants = KEYS.map(|(name, _)| format!("grant {name} zonesub ANY;\n")).concat();
    format!("type primary; file \"zone\"; {settings} update-policy {{\n{grants}}};")
}

fn secondary(primaries: &[SocketAddr], key: &str) -> String {
    let listed = primaries
        .iter()
        .map(|primary| format!("{} port {} key \"{key}\"; ", primary.ip(), primary.port()));
    let listed: String = listed.collect();
    format!("type secondary; file \"transferred\"; primaries {{ {listed}}};")
}

/// A key that is given replaces those of [`KEYS`].
fn write_files(home: &Path, dns: SocketAddr, zone: &str, key: &str) {
    std::fs::write(home.join("zone"), ZONE_TEXT).unwrap();
    let directory = home.display();
    let mut text = format!(
        "options {{ directory \"{directory}\"; listen-on port {} {{ 127.0.0.1; }};\n\
         listen-on-v6 {{ none; }}; pid-file none; session-keyfile none; recursion no;\n\
         dnssec-validation no; allow-transfer {{ none; }}; notify no;\n\
         lock-file none; }};\ncontrols {{ }};\n",
        dns.port()
    );
    if key.is_empty() {
        for (name, secret) in KEYS {
            text += &format!("key \"{name}\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n");
        }
    }
    text += key;
    text += &format!("zone \"db.example\" {{ {zone} }};\n");
    std::fs::write(home.join("named.conf"), text).unwrap();
}
