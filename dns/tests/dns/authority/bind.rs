//! A BIND with one zone in a file of its own.

use std::net::SocketAddr;
use std::path::Path;

use continuum_dns::lookup::{RecordType, ResponseCode, query_tcp};
use tempfile::TempDir;

use super::{KEYS, Process, TIMEOUT, free_address, program, ready};

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
        for _ in 0..STARTS {
            let (directory, dns) = (tempfile::tempdir().unwrap(), free_address());
            write_files(directory.path(), dns);
            let process = run(directory.path());
            let mut server = Self { process, directory, dns };
            if server.is_up().await {
                return server;
            }
            eprintln!("{}", server.process.log());
        }
        panic!("no port could be had");
    }

    async fn is_up(&mut self) -> bool {
        let dns = self.dns;
        ready(&mut self.process, async || {
            let seen = query_tcp(dns, "db.example.", RecordType::SOA, TIMEOUT).await;
            seen.is_ok_and(|seen| seen.metadata.response_code == ResponseCode::NoError)
        })
        .await
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

fn write_files(home: &Path, dns: SocketAddr) {
    let zone = "$TTL 60\n@ IN SOA ns1 hostmaster 1 60 10 3600 5\n@ IN NS ns1\nns1 IN A 127.0.0.1\n";
    std::fs::write(home.join("zone"), zone).unwrap();
    let directory = home.display();
    let mut text = format!(
        "options {{ directory \"{directory}\"; listen-on port {} {{ 127.0.0.1; }};\n\
         listen-on-v6 {{ none; }}; pid-file none; session-keyfile none; recursion no;\n\
         dnssec-validation no; allow-transfer {{ none; }}; notify no;\n\
         lock-file none; }};\ncontrols {{ }};\n",
        dns.port()
    );
    for (name, secret) in KEYS {
        text += &format!("key \"{name}\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n");
    }
    text += "zone \"db.example\" { type primary; file \"zone\"; update-policy {\n";
    for (name, _) in KEYS {
        text += &format!("grant {name} zonesub ANY;\n");
    }
    text += "}; };\n";
    std::fs::write(home.join("named.conf"), text).unwrap();
}
