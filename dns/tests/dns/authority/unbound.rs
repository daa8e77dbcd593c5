//! An Unbound that asks the authorities of db.example and nobody else.

use std::net::SocketAddr;

use continuum_dns::lookup::{RecordType, query};
use tempfile::TempDir;

use super::{Process, TIMEOUT, free_address, program, ready};

/// Starts, each at another port, before the test gives up.
const STARTS: u32 = 5;

pub struct Unbound {
    process: Process,
    _directory: TempDir,
    pub dns: SocketAddr,
}

impl Unbound {
    /// A resolver that keeps nothing, and checks signatures by the key `anchor`, a DNSKEY record as text;
    /// without one it checks none.
    pub async fn start(authorities: &[SocketAddr], anchor: Option<&str>) -> Self {
        let none = "cache-max-ttl: 0\n  cache-max-negative-ttl: 0\n";
        Self::with(authorities, anchor, none).await
    }

    /// A resolver as its makers set it: it keeps an answer for its ttl.
    pub async fn caching(authorities: &[SocketAddr]) -> Self {
        Self::with(authorities, None, "").await
    }

    async fn with(authorities: &[SocketAddr], anchor: Option<&str>, settings: &str) -> Self {
        for _ in 0..STARTS {
            let (directory, dns) = (tempfile::tempdir().unwrap(), free_address());
            let file = directory.path().join("unbound.conf");
            std::fs::write(&file, text(dns, authorities, anchor, settings)).unwrap();
            let arguments = ["-d", "-c", &file.display().to_string()].map(String::from);
            let log = directory.path().join("unbound.log");
            let process = Process::start(&program("unbound"), &arguments, &log);
            let mut server = Self { process, _directory: directory, dns };
            let up = ready(&mut server.process, async || {
                query(dns, "db.example.", RecordType::NS, TIMEOUT).await.is_ok()
            });
            if up.await {
                return server;
            }
            eprintln!("{}", server.process.log());
        }
        panic!("no port could be had");
    }

    pub fn log(&self) -> String {
        self.process.log()
    }
}

fn text(
    dns: SocketAddr,
    authorities: &[SocketAddr],
    anchor: Option<&str>,
    settings: &str,
) -> String {
    let mut text = format!(
        "server:\n  interface: 127.0.0.1@{}\n  access-control: 127.0.0.0/8 allow\n  \
         do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n  pidfile: \"\"\n  use-syslog: no\n  \
         logfile: \"\"\n  num-threads: 1\n  do-ip6: no\n  do-not-query-localhost: no\n  ede: yes\n  \
         module-config: \"validator iterator\"\n  {settings}",
        dns.port()
    );
    if let Some(anchor) = anchor {
        text += &format!("\n  trust-anchor: \"{anchor}\"\n");
    }
    text += "\nstub-zone:\n  name: \"db.example\"\n";
    for authority in authorities {
        text += &format!("  stub-addr: {}@{}\n", authority.ip(), authority.port());
    }
    text + "remote-control:\n  control-enable: no\n"
}
