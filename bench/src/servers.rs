//! The servers that are measured, as processes of their own, and the sessions on them.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use continuum_control::config::{CoreConfig, Peer};
use continuum_domain::{SessionRecord, Version};
use continuum_runtime::certificates::Authority;
use continuum_runtime::net::{TlsFiles, TlsNetwork};
use continuum_runtime::{Identity, Role};
use continuum_witness::{Answer, RegisterStore, ServerStore};

use crate::Failure;

/// What both servers are called in their certificates.
pub const NAME: &str = "bench";

/// One party's certificate.
pub fn issue(authority: &Authority, role: Role, name: &str) -> Result<TlsFiles, Failure> {
    Ok(authority.issue(&Identity::new(role, name))?)
}

/// A process that ends with its owner.
pub struct Process(Child);

impl Process {
    /// Starts it on the processor `core`, if one is named.
    fn start(program: &Path, arguments: &[String], core: Option<u32>) -> Result<Self, Failure> {
        let mut command = match core {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &core.to_string()]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        let started = command.spawn();
        Ok(Self(started.map_err(|error| format!("{}: {error}", program.display()))?))
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about either error.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// A port of loopback nobody listens on.
pub fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A running witness server.
pub struct Witness {
    /// It.
    pub process: Process,
    /// Where it listens.
    pub address: String,
}

impl Witness {
    /// Starts one below `directory`.
    pub fn start(directory: &Path, tls: &TlsFiles, core: Option<u32>) -> Result<Self, Failure> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let tls = serde_json::to_string(tls)?;
        let data = directory.join("witness").display().to_string();
        let arguments =
            ["serve", "--data", &data, "--listen", &address, "--tls", &tls].map(str::to_owned);
        let process = Process::start(&std::env::current_exe()?, &arguments, core)?;
        Ok(Self { process, address })
    }
}

/// A running control node.
pub struct ControlNode {
    /// It.
    pub process: Process,
    /// Where it listens.
    pub peer: Peer,
}

impl ControlNode {
    /// Starts one; its directory is where `config` says.
    pub fn start(peer: Peer, config: &CoreConfig, tls: &TlsFiles) -> Result<Self, Failure> {
        let (config, tls) = (serde_json::to_string(config)?, serde_json::to_string(tls)?);
        let arguments = ["serve-core", "--config", &config, "--tls", &tls].map(str::to_owned);
        let process = Process::start(&std::env::current_exe()?, &arguments, None)?;
        Ok(Self { process, peer })
    }
}

/// A running etcd: its defaults, with certificates of both sides as the witness server has.
pub struct Etcd {
    /// It.
    pub process: Process,
    /// Where it listens.
    pub port: u16,
}

impl Etcd {
    /// Starts one below `directory`.
    pub fn start(directory: &Path, tls: &TlsFiles, core: Option<u32>) -> Result<Self, Failure> {
        let (port, peer) = (free_port()?, free_port()?);
        let url = format!("https://127.0.0.1:{port}");
        let arguments = [
            format!("--data-dir={}", directory.join("etcd").display()),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
            format!("--cert-file={}", tls.certificate.display()),
            format!("--key-file={}", tls.key.display()),
            format!("--trusted-ca-file={}", tls.authority.display()),
            "--client-cert-auth".into(),
            "--logger=zap".into(),
            "--log-level=error".into(),
        ];
        Ok(Self { process: Process::start(Path::new("etcd"), &arguments, core)?, port })
    }
}

/// One region's session on a witness server: a connection of its own, a register of its own.
pub struct Session {
    store: ServerStore,
    key: String,
    beat: u64,
}

impl Session {
    /// Of the region `name`, not created yet.
    pub fn new(
        authority: &Authority,
        name: &str,
        address: &str,
        deadline: Duration,
    ) -> Result<Self, Failure> {
        let network = Arc::new(TlsNetwork::load(&issue(authority, Role::Region, name)?)?);
        let store = ServerStore::new(network, address, NAME, deadline);
        Ok(Self { store, key: format!("session/{name}"), beat: 0 })
    }

    /// One renewal, as an agent does it: the next beat in place of the last.
    pub async fn renew(&mut self) -> Result<(), Failure> {
        let answer =
            self.store.compare_and_swap(&self.key, Version(self.beat), session(self.beat + 1));
        match answer.await? {
            Answer::Accepted(version) => self.beat = version.0,
            // An earlier renewal whose answer was late did take effect.
            Answer::Refused(held) => {
                self.beat = held.map_or(0, |held| held.version.0);
                return Err("refused: an earlier renewal took effect".into());
            }
        }
        Ok(())
    }
}

/// A session's record, as an agent writes it.
pub fn session(beat: u64) -> Vec<u8> {
    let record = SessionRecord { incarnation: 1, beat, ttl_ms: 10_000, renew_ms: 2_000 };
    serde_json::to_vec(&record).expect("a plain struct of plain fields")
}

/// Asks until it works, for up to half a minute.
pub async fn until_ready<T>(
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut last = None;
    for _ in 0..300 {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(format!("{what} does not answer: {last:?}").into())
}
