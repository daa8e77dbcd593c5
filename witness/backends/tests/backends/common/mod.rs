//! Servers of others, started by a test and gone with it.

use std::fs::File;
use std::future::Future;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

pub mod wire;

/// How long a server may take to start.
const READY: Duration = Duration::from_secs(60);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// A process that ends with its owner, also when the test panics.
pub struct Process {
    child: Child,
    pub log: PathBuf,
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
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        Self { child, log: log.to_owned() }
    }

    /// Returns from stopping it when it stands still: until then one of its threads may go on.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
        if signal == Signal::STOP {
            waitpid(Some(pid), WaitOptions::UNTRACED).unwrap();
        }
    }

    pub fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Kills it, and returns when it is gone and its ports are free.
    pub fn kill(&mut self) {
        // Nothing softer: a stopped process would not hear it, and nothing it holds is wanted.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Loopback ports nobody listens on, all different.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// Asks until the answer is there; fails when the server ends or takes too long.
pub async fn ready<T, F: Future<Output = Option<T>>>(
    process: &mut Process,
    mut ask: impl FnMut() -> F,
) -> T {
    let asked = tokio::time::timeout(READY, async {
        loop {
            if let Some(answer) = ask().await {
                return Some(answer);
            }
            if process.ended() {
                return None;
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    match asked.await {
        Ok(Some(answer)) => answer,
        Ok(None) => panic!("it ended: {}", std::fs::read_to_string(&process.log).unwrap()),
        Err(_) => panic!("not ready: {}", std::fs::read_to_string(&process.log).unwrap()),
    }
}

/// An etcd with a data directory of its own.
pub struct Etcd {
    process: Process,
    directory: PathBuf,
    ports: [u16; 2],
    more: Vec<String>,
}

impl Etcd {
    /// Starts one in `directory`, at free ports; `more` are further arguments.
    pub fn start(directory: &Path, more: &[String]) -> Self {
        let (ports, directory, more) = (free_ports(), directory.to_owned(), more.to_vec());
        let process = Self::run(&directory, ports, &more);
        Self { process, directory, ports, more }
    }

    fn run(directory: &Path, [client, peer]: [u16; 2], more: &[String]) -> Process {
        let scheme = if more.is_empty() { "http" } else { "https" };
        let data = directory.join("etcd");
        let mut arguments = vec![format!("--data-dir={}", data.display())];
        arguments.extend(
            ["listen-client-urls", "advertise-client-urls"]
                .map(|name| format!("--{name}={scheme}://127.0.0.1:{client}")),
        );
        arguments.extend(
            ["listen-peer-urls", "initial-advertise-peer-urls"]
                .map(|name| format!("--{name}=http://127.0.0.1:{peer}")),
        );
        arguments.push(format!("--initial-cluster=default=http://127.0.0.1:{peer}"));
        arguments.extend_from_slice(more);
        Process::start(Path::new("etcd"), &arguments, &directory.join("etcd.log"))
    }

    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Ends it by SIGKILL, and starts it again at the same ports on the same data, or on none.
    pub fn restart(self, wipe: bool) -> Self {
        let Self { process, directory, ports, more } = self;
        drop(process);
        if wipe {
            std::fs::remove_dir_all(directory.join("etcd")).unwrap();
        }
        let process = Self::run(&directory, ports, &more);
        Self { process, directory, ports, more }
    }
}

/// Writes an authority (`ca`), a certificate for 127.0.0.1 (`server`), one of an administrator
/// (`client`), each as `.crt` and `.key`, and a second authority (`other.crt`).
pub fn certificates(directory: &Path) {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose,
        IsCa, KeyPair, KeyUsagePurpose,
    };
    let write = |name: &str, text: String| std::fs::write(directory.join(name), text).unwrap();
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let ca = authority("test authority");
    write("ca.crt", ca.pem());
    write("other.crt", authority("another authority").pem());
    let leaf = |name: &str, usage: ExtendedKeyUsagePurpose| {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, "system:masters");
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        write(&format!("{name}.crt"), params.signed_by(&key, &ca).unwrap().pem());
        write(&format!("{name}.key"), key.serialize_pem());
    };
    leaf("server", ExtendedKeyUsagePurpose::ServerAuth);
    leaf("client", ExtendedKeyUsagePurpose::ClientAuth);
}
