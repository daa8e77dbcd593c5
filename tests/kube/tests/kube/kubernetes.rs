//! The suite on a real API server: `make test-kube`, which builds one where there is none, or any
//! that `KUBECONFIG` names. Nothing in here knows which server it is.

use std::fs::File;
use std::net::TcpListener;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::FutureExt as _;
use kube::{Client, Config};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};

use crate::subject::Subject;
use crate::suite::CASES;

const LOOK: Duration = Duration::from_millis(100);
const LOOKS: usize = 600;

/// A process that ends with its owner, also when the test panics.
struct Process(Child);

impl Process {
    fn start(program: &Path, arguments: &[String], log: &Path) -> Self {
        let log = File::create(log).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        Self(child.unwrap_or_else(|error| panic!("{}: {error}", program.display())))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// A real API server on an etcd of its own.
struct Real {
    // Ends before the etcd it needs.
    _server: Process,
    _etcd: Process,
    directory: tempfile::TempDir,
    config: Config,
}

fn ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// Writes a certificate of the server and its key, and returns the authority's certificate.
fn certificates(directory: &Path) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    std::fs::write(directory.join("server.crt"), certificate.pem()).unwrap();
    std::fs::write(directory.join("server.key"), key.serialize_pem()).unwrap();
    authority.der().to_vec()
}

impl Real {
    async fn start(program: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = certificates(directory.path());
        let file = |name: &str| directory.path().join(name).display().to_string();
        let tokens = "suite,admin,admin,\"system:masters\"\n";
        std::fs::write(directory.path().join("tokens.csv"), tokens).unwrap();
        let [client, peer, port] = ports();
        let etcd = [
            format!("--data-dir={}", file("etcd")),
            format!("--listen-client-urls=http://127.0.0.1:{client}"),
            format!("--advertise-client-urls=http://127.0.0.1:{client}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
        ];
        let etcd = Process::start(Path::new("etcd"), &etcd, &directory.path().join("etcd.log"));
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
        let server = Process::start(program, &arguments, &log);
        let mut config = Config::new(format!("https://127.0.0.1:{port}").parse().unwrap());
        config.root_cert = Some(vec![authority]);
        config.auth_info.token = Some("suite".to_owned().into());
        Self { _server: server, _etcd: etcd, directory, config }
    }

    /// Waits for the namespaces, which the server makes a moment after it serves.
    async fn wait(&self) -> Client {
        let client = Client::try_from(self.config.clone()).unwrap();
        for _ in 0..LOOKS {
            let request =
                hyper::Request::get("/api/v1/namespaces/default").body(Vec::new()).unwrap();
            if client.request::<serde_json::Value>(request).await.is_ok() {
                return client;
            }
            tokio::time::sleep(LOOK).await;
        }
        let log = std::fs::read_to_string(self.directory.path().join("apiserver.log")).unwrap();
        panic!("not ready: {log}");
    }
}

#[tokio::test]
#[ignore = "needs a kube-apiserver: make test-kube"]
async fn a_real_server_keeps_the_suite() {
    let program = std::env::var_os("CONTINUUM_KUBE_APISERVER").map(PathBuf::from);
    let (_real, client) = match (program, std::env::var_os("KUBECONFIG")) {
        (Some(program), _) => {
            let real = Real::start(&program).await;
            let client = real.wait().await;
            (Some(real), client)
        }
        (None, Some(_)) => (None, Client::try_default().await.unwrap()),
        (None, None) => panic!("CONTINUUM_KUBE_APISERVER or KUBECONFIG names no server"),
    };
    let only = std::env::var("CONTINUUM_KUBE_CASE").ok();
    let (mut failed, mut skipped) = (Vec::new(), Vec::new());
    for (name, case) in CASES.iter().filter(|(name, _)| only.as_ref().is_none_or(|is| is == name)) {
        // Of this run alone: a server of somebody's may have seen another.
        let place = format!("{name}-{}", std::process::id());
        let subject = Subject::new(client.clone(), &place).await;
        println!("case {name}");
        if AssertUnwindSafe(case(&subject)).catch_unwind().await.is_err() {
            failed.push(*name);
        }
        subject.clean().await;
        skipped.append(&mut subject.skipped.lock().unwrap());
    }
    println!("{} cases, skipped in part: {skipped:#?}", CASES.len());
    assert_eq!(failed, Vec::<&str>::new());
}
