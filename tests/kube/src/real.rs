//! A real API server, for suites that are held against one: started on an etcd of its own, or the one that
//! `KUBECONFIG` names.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};

const LOOK: Duration = Duration::from_millis(100);
const LOOKS: usize = 600;
/// What whoever asks the started server shows; it may do everything.
const TOKEN: &str = "suite";

/// A process that ends with its owner, also when the test panics.
#[derive(Debug)]
struct Process(Child);

impl Process {
    fn start(program: &Path, arguments: &[String], log: &Path) -> io::Result<Self> {
        let log = File::create(log)?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        let named = |error| io::Error::other(format!("{}: {error}", program.display()));
        child.map(Self).map_err(named)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// What was started for it, in the order in which it ends.
#[derive(Debug)]
struct Started {
    _server: Process,
    _etcd: Process,
    _directory: tempfile::TempDir,
}

/// A real API server.
pub struct Real {
    /// A client that may do everything.
    pub client: Client,
    /// The file by which the same is reached.
    pub kubeconfig: PathBuf,
    /// The minor version that the server says it is.
    pub minor: u32,
    _started: Option<Started>,
}

impl std::fmt::Debug for Real {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the client, which knows a token.
        write!(f, "Real({}, 1.{})", self.kubeconfig.display(), self.minor)
    }
}

impl Real {
    /// Starts the program that `CONTINUUM_KUBE_APISERVER` names, else takes the server that `KUBECONFIG`
    /// names.
    pub async fn find() -> io::Result<Self> {
        let program = std::env::var_os("CONTINUUM_KUBE_APISERVER").map(PathBuf::from);
        match (program, std::env::var_os("KUBECONFIG")) {
            (Some(program), _) => Self::start(&program).await,
            (None, Some(file)) => Self::at(file.into(), None).await,
            (None, None) => {
                let what = "CONTINUUM_KUBE_APISERVER or KUBECONFIG names no server: make test-kube";
                Err(io::Error::other(what))
            }
        }
    }

    async fn start(program: &Path) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let authority = certificates(directory.path())?;
        let file = |name: &str| directory.path().join(name).display().to_string();
        let tokens = format!("{TOKEN},admin,admin,\"system:masters\"\n");
        std::fs::write(directory.path().join("tokens.csv"), tokens)?;
        let [client, peer, port] = ports()?;
        let etcd = [
            format!("--data-dir={}", file("etcd")),
            format!("--listen-client-urls=http://127.0.0.1:{client}"),
            format!("--advertise-client-urls=http://127.0.0.1:{client}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
        ];
        let etcd = Process::start(Path::new("etcd"), &etcd, &directory.path().join("etcd.log"))?;
        let arguments = [
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--secure-port={port}"),
            format!("--etcd-servers=http://127.0.0.1:{client}"),
            format!("--cert-dir={}", directory.path().display()),
            format!("--tls-cert-file={}", file("server.crt")),
            format!("--tls-private-key-file={}", file("server.key")),
            format!("--token-auth-file={}", file("tokens.csv")),
            format!("--service-account-key-file={}", file("server.crt")),
            format!("--service-account-signing-key-file={}", file("server.key")),
        ];
        let log = directory.path().join("apiserver.log");
        let server = Process::start(program, &arguments, &log)?;
        let kubeconfig = directory.path().join("kubeconfig");
        let url = format!("https://127.0.0.1:{port}");
        std::fs::write(&kubeconfig, access(&url, &authority).to_string())?;
        let started = Started { _server: server, _etcd: etcd, _directory: directory };
        let made = Self::at(kubeconfig, Some(started)).await;
        let tail = || std::fs::read_to_string(&log).unwrap_or_default();
        made.map_err(|error| io::Error::other(format!("{error}: {}", tail())))
    }

    async fn at(kubeconfig: PathBuf, started: Option<Started>) -> io::Result<Self> {
        let read = Kubeconfig::read_from(&kubeconfig).map_err(io::Error::other)?;
        let settings = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
        let client = Client::try_from(settings.map_err(io::Error::other)?);
        let client = client.map_err(io::Error::other)?;
        wait(&client).await?;
        let version = client.apiserver_version().await.map_err(io::Error::other)?;
        let minor = version.minor.trim_end_matches('+').parse().map_err(io::Error::other)?;
        Ok(Self { client, kubeconfig, minor, _started: started })
    }
}

/// Waits for the namespaces, which the server makes a moment after it serves.
async fn wait(client: &Client) -> io::Result<()> {
    for _ in 0..LOOKS {
        let request = hyper::Request::get("/api/v1/namespaces/default").body(Vec::new());
        let request = request.map_err(io::Error::other)?;
        if client.request::<Value>(request).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(io::Error::other("the API server is not ready"))
}

fn access(url: &str, authority: &str) -> Value {
    use base64::Engine as _;
    let authority = base64::engine::general_purpose::STANDARD.encode(authority);
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "clusters": [{
            "name": "it",
            "cluster": { "server": url, "certificate-authority-data": authority },
        }],
        "users": [{ "name": "it", "user": { "token": TOKEN } }],
        "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it" } }],
    })
}

fn ports<const N: usize>() -> io::Result<[u16; N]> {
    // All are held until all are known.
    let listeners = (0..N).map(|_| TcpListener::bind("127.0.0.1:0"));
    let listeners: Vec<TcpListener> = listeners.collect::<io::Result<_>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// Writes a certificate of the server and its key, and returns the authority's certificate as PEM.
fn certificates(directory: &Path) -> io::Result<String> {
    let made = || -> Result<(String, String, String), rcgen::Error> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        let certificate = params.signed_by(&key, &authority)?;
        Ok((authority.pem(), certificate.pem(), key.serialize_pem()))
    };
    let (authority, certificate, key) = made().map_err(io::Error::other)?;
    std::fs::write(directory.join("server.crt"), certificate)?;
    std::fs::write(directory.join("server.key"), key)?;
    Ok(authority)
}
