//! A PowerDNS with a SQLite database of its own.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use continuum_dns::lookup::{Message, RecordType, ResponseCode, query_tcp};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{KEYS, Process, TIMEOUT, free_address, program, ready};

const SCHEMA: &str = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";
/// Starts, each at other ports, before the test gives up: a port may be taken meanwhile.
const STARTS: u32 = 5;
pub const KEY: &str = "sekrit";
pub const ZONE: &str = "db.example.";

pub struct PowerDns {
    process: Process,
    directory: TempDir,
    pub dns: SocketAddr,
    api: SocketAddr,
    client: Client,
}

impl PowerDns {
    /// A server with the zone [`ZONE`].
    pub async fn start() -> Self {
        Self::probing(1).await
    }

    /// The same; LUA records' probes are `interval` seconds apart.
    pub async fn probing(interval: u32) -> Self {
        // More than one test of a process may do so; the first one wins.
        let _first = rustls::crypto::ring::default_provider().install_default();
        for _ in 0..STARTS {
            if let Some(mut server) = Self::try_start_at(free_address(), interval).await {
                server.create_zone().await;
                return server;
            }
        }
        panic!("no ports could be had");
    }

    /// A server at `dns` that transfers [`ZONE`] from `primaries`; its key is the first of [`KEYS`].
    pub async fn secondary(dns: SocketAddr, primaries: &[SocketAddr]) -> Self {
        let _first = rustls::crypto::ring::default_provider().install_default();
        let server = Self::try_start_at(dns, 1).await.expect("its ports are free");
        let (name, secret) = KEYS[0];
        let key = json!({ "name": name, "algorithm": "hmac-sha256", "key": secret });
        server.api(Method::POST, "/tsigkeys", key).await;
        let primaries: Vec<String> = primaries.iter().map(ToString::to_string).collect();
        let zone = json!({ "name": ZONE, "kind": "Slave", "masters": primaries,
            "slave_tsig_key_ids": [format!("{name}.")] });
        server.api(Method::POST, "/zones", zone).await;
        server.api(Method::PUT, &format!("/zones/{ZONE}/axfr-retrieve"), Value::Null).await;
        server
    }

    async fn try_start_at(dns: SocketAddr, interval: u32) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("pdns.sqlite3");
        let loaded = Command::new(program("sqlite3"))
            .arg(&database)
            .stdin(Stdio::from(File::open(SCHEMA).unwrap()))
            .status()
            .unwrap();
        assert!(loaded.success());
        let api = free_address();
        let home = directory.path().display();
        let settings = format!(
            "launch=gsqlite3\ngsqlite3-database={}\ngsqlite3-dnssec=yes\n\
             gsqlite3-pragma-synchronous=0\ngsqlite3-pragma-foreign-keys=1\n\
             local-address=127.0.0.1\nlocal-port={}\nsocket-dir={home}\n\
             daemon=no\nguardian=no\ndisable-syslog=yes\nsecurity-poll-suffix=\n\
             api=yes\napi-key={KEY}\nwebserver=yes\nwebserver-address=127.0.0.1\n\
             webserver-port={}\nwebserver-allow-from=127.0.0.0/8\nenable-lua-records=shared\n\
             lua-health-checks-interval={interval}\nsecondary=yes\ndnsupdate=yes\nallow-dnsupdate-from=127.0.0.0/8\n\
             loglevel=4\n",
            database.display(),
            dns.port(),
            api.port(),
        );
        std::fs::write(directory.path().join("pdns.conf"), settings).unwrap();
        let client = Client::builder().no_proxy().timeout(TIMEOUT).build().unwrap();
        let process = Self::run(directory.path().to_owned());
        let mut server = Self { process, directory, dns, api, client };
        server.is_up().await.then_some(server)
    }

    fn run(directory: PathBuf) -> Process {
        let arguments = [format!("--config-dir={}", directory.display())];
        Process::start(&program("pdns_server"), &arguments, &directory.join("pdns.log"))
    }

    async fn is_up(&mut self) -> bool {
        let Self { process, api, client, .. } = self;
        let url = format!("http://{api}/api/v1/servers/localhost");
        ready(process, async || {
            let sent = client.get(&url).header("X-API-Key", KEY).send().await;
            sent.is_ok_and(|answer| answer.status() == StatusCode::OK)
        })
        .await
    }

    async fn create_zone(&mut self) {
        let zone = json!({
            "name": ZONE, "kind": "Native", "nameservers": ["ns1.db.example."],
            "soa_edit_api": "INCREASE",
            "soa_edit": "",
        });
        self.api(Method::POST, "/zones", zone).await;
        for (name, secret) in KEYS {
            let key = json!({ "name": name, "algorithm": "hmac-sha256", "key": secret });
            self.api(Method::POST, "/tsigkeys", key).await;
        }
        let names = KEYS.map(|(name, _)| name);
        let allowed = json!({ "kind": "TSIG-ALLOW-DNSUPDATE", "metadata": names });
        self.api(Method::POST, &format!("/zones/{ZONE}/metadata"), allowed).await;
    }

    /// Has the zone signed from now on, each answer as it is given.
    pub async fn sign(&mut self) {
        self.process.kill();
        let home = self.directory.path();
        let signed = Command::new(program("pdnsutil"))
            .arg(format!("--config-dir={}", home.display()))
            .args(["secure-zone", ZONE.trim_end_matches('.')])
            .output()
            .unwrap();
        assert!(signed.status.success(), "{signed:?}");
        self.process = Self::run(home.to_owned());
        assert!(self.is_up().await, "{}", self.process.log());
    }

    /// The API's address.
    pub fn api_url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// One call of the API, which must succeed.
    pub async fn api(&self, method: Method, path: &str, body: Value) -> Value {
        let url = format!("{}/api/v1/servers/localhost{path}", self.api_url());
        let request = self.client.request(method, &url).header("X-API-Key", KEY);
        let answer = request.body(body.to_string()).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
    }

    /// Replaces record sets, `(name, type, contents)`, behind everybody's back.
    pub async fn put(&self, sets: &[(&str, &str, Vec<String>)]) {
        let rrsets: Vec<Value> = sets
            .iter()
            .map(|(name, kind, contents)| {
                let records: Vec<Value> = contents
                    .iter()
                    .map(|content| json!({ "content": content, "disabled": false }))
                    .collect();
                let change = if records.is_empty() { "DELETE" } else { "REPLACE" };
                json!({ "name": name, "type": kind, "ttl": 5, "changetype": change,
                    "records": records })
            })
            .collect();
        self.api(Method::PATCH, &format!("/zones/{ZONE}"), json!({ "rrsets": rrsets })).await;
    }

    pub async fn ask(&self, name: &str, kind: RecordType) -> Message {
        query_tcp(self.dns, name, kind, TIMEOUT).await.unwrap()
    }

    pub async fn code(&self, name: &str, kind: RecordType) -> ResponseCode {
        self.ask(name, kind).await.metadata.response_code
    }

    /// Kills it; it stays down.
    pub fn stop(&mut self) {
        self.process.kill();
    }

    /// Kills it and starts it again on the same data and ports.
    pub async fn restart(&mut self) {
        self.process.kill();
        self.process = Self::run(self.directory.path().to_owned());
        assert!(self.is_up().await, "{}", self.process.log());
    }

    pub fn log(&self) -> String {
        self.process.log()
    }
}
