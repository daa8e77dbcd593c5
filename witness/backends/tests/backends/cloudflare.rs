//! The worker on Cloudflare's own runtime: the contract, who may do what, and what failures say.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use continuum_witness::cell_contract;
use continuum_witness::recorded::Plan;
use continuum_witness::{CellStore, Put, StoreError};
use continuum_witness_backends::cloudflare::{CloudflareCells, CloudflareConfig};
use futures_util::StreamExt as _;
use sha2::{Digest as _, Sha256};

use crate::npm::{Service, answering, npm_part, status_answer, subject};

const FSN: &str = "token-of-fsn-0123456789";
const HEL: &str = "token-of-hel-0123456789";
const OPERATOR: &str = "token-of-operator-0123456789";

struct Lab {
    directory: tempfile::TempDir,
    tokens: String,
}

impl Lab {
    /// A built worker that is not running yet.
    fn new() -> Self {
        crate::npm::install_ring();
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("objects")).unwrap();
        let source =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../cloudflare-worker/src/index.ts");
        let built = crate::npm::node()
            .arg(npm_part("esbuild/bin/esbuild"))
            .arg(source)
            .args(["--bundle", "--format=esm", "--external:cloudflare:workers"])
            .args(["--log-level=warning", "--target=es2024"])
            .arg(format!("--outfile={}", directory.path().join("worker.mjs").display()))
            .status()
            .unwrap();
        assert!(built.success(), "the worker does not compile");
        let grants = [
            (FSN, r#"{"region":"fsn","pairs":["app"]}"#),
            (HEL, r#"{"region":"hel","pairs":["other"],"writes":["next","extra/*"]}"#),
            (OPERATOR, r#"{"region":"operator","operator":true}"#),
        ];
        let entries = grants.map(|(token, grant)| format!("{:?}:{grant}", sha256(token)));
        Self { directory, tokens: format!("{{{}}}", entries.join(",")) }
    }

    fn start(&self) -> Service {
        let config = self.directory.path().join("config.capnp");
        std::fs::write(&config, capnp(&self.directory.path().join("objects"), &self.tokens))
            .unwrap();
        let mut command = Command::new(workerd());
        command.arg("serve").arg(config).arg("--control-fd=1");
        Service::start(command, |line| {
            // {"event":"listen","socket":"http","port":40123}
            line.contains("\"http\"")
                .then(|| crate::npm::port_after(line.trim_end_matches('}'), ":"))?
        })
    }

    fn open(&self, port: u16, token: &str) -> Arc<dyn CellStore> {
        Arc::new(CloudflareCells::open(&self.config(port, token)).unwrap())
    }

    fn config(&self, port: u16, token: &str) -> CloudflareConfig {
        let token_file = self.directory.path().join(sha256(token));
        std::fs::write(&token_file, format!("{token}\n")).unwrap();
        CloudflareConfig {
            url: format!("http://127.0.0.1:{port}"),
            prefix: "lab".into(),
            token_file,
            deadline: Duration::from_secs(20),
        }
    }
}

fn workerd() -> PathBuf {
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "64" };
    // Not the package's own starter: that is a process in front of this one, and is what would be
    // stopped.
    npm_part(&format!("@cloudflare/workerd-linux-{machine}/bin/workerd"))
}

fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn capnp(objects: &Path, tokens: &str) -> String {
    let tokens = tokens.replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        r#"using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .worker), (name = "disk", disk = (path = "{}", writable = true))],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")]);
const worker :Workerd.Worker = (
  modules = [(name = "worker.mjs", esModule = embed "worker.mjs")],
  compatibilityDate = "2026-04-01",
  durableObjectNamespaces = [(className = "Cells", uniqueKey = "cells", enableSql = true)],
  durableObjectStorage = (localDisk = "disk"),
  bindings = [(name = "CELLS", durableObjectNamespace = "Cells"), (name = "TOKENS", text = "{tokens}")]);
"#,
        objects.display()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worker_keeps_the_contract_and_what_it_holds() {
    let lab = Lab::new();
    let service = lab.start();
    let stores = [lab.open(service.port, FSN), lab.open(service.port, HEL)];
    let next = std::sync::atomic::AtomicUsize::new(0);
    let open = move || {
        let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        stores[index % stores.len()].clone()
    };
    let subject = subject(10, open);
    cell_contract::all(&subject).await.unwrap();
    let tally = cell_contract::history(&subject, Plan::of(10_000)).await.unwrap();
    tally.check_substance("worker").unwrap();

    let store = lab.open(service.port, FSN);
    let Put::Written(tag) = store.put("probe/kept", None, b"kept".to_vec()).await.unwrap() else {
        panic!("refused");
    };
    // More keys than one answer to a list has, beside those of the contract.
    // Few at a time: a thousand connections at once overflow the queue of a listener.
    let many = futures_util::stream::iter(0..1005).for_each_concurrent(16, |index| {
        let store = store.clone();
        async move {
            let put = store.put(&format!("probe/many/{index}"), None, b"x".to_vec()).await;
            assert!(matches!(put, Ok(Put::Written(_))), "{put:?}");
        }
    });
    many.await;
    assert_eq!(store.list("probe/many/").await.unwrap().len(), 1005);
    assert_eq!(store.list("probe/many/\u{10000}").await.unwrap().len(), 0);

    // Killed, not asked to end: what was answered is there.
    service.stop();
    let service = lab.start();
    let store = lab.open(service.port, FSN);
    let kept = store.get("probe/kept").await.unwrap().unwrap();
    assert_eq!((kept.tag, kept.bytes), (tag, b"kept".to_vec()));
    assert_eq!(store.list("probe/many/").await.unwrap().len(), 1005);

    // Another prefix is another object.
    let config = CloudflareConfig { prefix: "lab-2".into(), ..lab.config(service.port, FSN) };
    let other = CloudflareCells::open(&config).unwrap();
    assert_eq!(other.get("probe/kept").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_renewal_costs_on_the_wire() {
    let lab = Lab::new();
    let service = lab.start();
    let (way, at) = crate::common::wire::Wire::to(service.port).await;
    crate::common::wire::check_cost("cloudflare", lab.open(at, OPERATOR), &way).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_writes_what_is_its_own() {
    let lab = Lab::new();
    let service = lab.start();
    let [fsn, hel, operator] = [FSN, HEL, OPERATOR].map(|token| lab.open(service.port, token));
    let own = ["g1/a/session/fsn", "g12/b/pair/app", "g1/a/probe/x"];
    let foreign = [
        "g1/a/session/hel",
        "g1/a/pair/other",
        "g1/a/next",
        "g1/a/extra/x",
        "g1/a/session/fsn/x",
        "g1/a/b/session/fsn",
        "g1//session/fsn",
        "x/a/session/fsn",
        "session/fsn",
        "g1/a/session/hel\n/session/fsn",
        "other",
    ];
    for key in own {
        let put = fsn.put(key, None, b"1".to_vec()).await.unwrap();
        let Put::Written(tag) = put else { panic!("{key}: {put:?}") };
        let put = fsn.put(key, Some(&tag), b"2".to_vec()).await.unwrap();
        let Put::Written(tag) = put else { panic!("{key}: {put:?}") };
        // Everybody sees it.
        assert_eq!(hel.get(key).await.unwrap().unwrap().tag, tag);
        if !key.contains("probe") {
            denied(&hel.put(key, Some(&tag), b"3".to_vec()).await);
            denied(&hel.delete(key, &tag).await);
        }
        assert!(operator.delete(key, &tag).await.unwrap());
    }
    for key in foreign {
        denied(&fsn.put(key, None, b"1".to_vec()).await);
        assert_eq!(operator.get(key).await.unwrap(), None, "{key}");
    }
    for key in ["g1/a/next", "g1/a/extra/x", "g1/a/session/hel"] {
        assert!(matches!(hel.put(key, None, b"1".to_vec()).await, Ok(Put::Written(_))), "{key}");
    }
    denied(&hel.put("g1/a/extra", None, b"1".to_vec()).await);

    // Whoever marks an empty store makes it count, also one that lost its promises.
    denied(&fsn.put("mark", None, b"1".to_vec()).await);
    let Put::Written(mark) = operator.put("mark", None, b"1".to_vec()).await.unwrap() else {
        panic!("refused");
    };
    denied(&fsn.put("mark", Some(&mark), b"2".to_vec()).await);
    denied(&fsn.delete("mark", &mark).await);
    assert!(matches!(operator.put("mark", Some(&mark), b"2".to_vec()).await, Ok(Put::Written(_))));

    let stranger = lab.open(service.port, "token-of-nobody-0123456789");
    denied(&stranger.get("mark").await);
    denied(&stranger.list("").await);
    denied(&stranger.put("probe/x", None, b"x".to_vec()).await);
}

fn denied<T: std::fmt::Debug>(answer: &Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Unauthorised(_))), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raw_requests_are_answered_with_a_code() {
    let lab = Lab::new();
    let service = lab.start();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = |path: &str, token: &str, body: Vec<u8>| {
        let url = format!("http://127.0.0.1:{}{path}", service.port);
        let request = client.post(url).header("authorization", token).body(body);
        async move {
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            let value: serde_json::Value = response.json().await.unwrap();
            (status, value["code"].as_str().unwrap_or("none").to_owned())
        }
    };
    let token = format!("Bearer {FSN}");
    let got = r#"{"op":"get","key":"probe/x"}"#.as_bytes().to_vec();
    let due = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(ask("/v1/lab", &token, got.clone()).await, due(200, "none"));
    for wrong in ["Bearer", "Bearer x", "Basic eDp4", &FSN[1..]] {
        assert_eq!(ask("/v1/lab", wrong, got.clone()).await, due(401, "unauthorised"), "{wrong}");
    }
    for path in ["/", "/v1/", "/v1/a/b", "/v2/lab", "/v1/l%20b"] {
        assert_eq!(ask(path, &token, got.clone()).await, due(404, "misconfigured"), "{path}");
    }
    let large = "a".repeat(65 * 1024 * 4 / 3 + 8);
    let bad = [
        String::new(),
        "[".into(),
        "null".into(),
        "{}".into(),
        r#"{"op":"get","key":""}"#.into(),
        r#"{"op":"get","key":7}"#.into(),
        r#"{"op":"get","key":"probe/\ud800"}"#.into(),
        format!(r#"{{"op":"get","key":"{}"}}"#, "k".repeat(321)),
        r#"{"op":"put","key":"probe/x","bytes":"AA=="}"#.into(),
        r#"{"op":"put","key":"probe/x","expected":null,"bytes":"?"}"#.into(),
        format!(r#"{{"op":"put","key":"probe/x","expected":null,"bytes":"{large}"}}"#),
        r#"{"op":"delete","key":"probe/x"}"#.into(),
        r#"{"op":"list","prefix":"probe/"}"#.into(),
    ];
    for body in bad {
        let answer = ask("/v1/lab", &token, body.clone().into_bytes()).await;
        let shown: String = body.chars().take(60).collect();
        assert_eq!(answer, due(400, "misconfigured"), "{shown}");
    }
    let answer = ask("/v1/lab", &token, vec![b' '; 128 * 1024 + 1]).await;
    assert_eq!(answer, due(413, "misconfigured"));
    let conflict = br#"{"op":"put","key":"probe/x","expected":"t","bytes":"AA=="}"#.to_vec();
    assert_eq!(ask("/v1/lab", &token, conflict).await, due(409, "conflict"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_misconfigured_and_unanswered_are_told_apart() {
    let mut lab = Lab::new();
    let service = lab.start();
    let store = lab.open(service.port, FSN);
    assert!(store.get("probe/x").await.unwrap().is_none());
    service.stop();
    let put = |store: Arc<dyn CellStore>| async move {
        store.put("probe/x", None, b"x".to_vec()).await.unwrap_err()
    };
    let gone = put(store).await;
    assert!(matches!(gone, StoreError::NotSent(_)), "{gone:?}");

    for tokens in ["", "{}", "{\"short\":{\"region\":\"fsn\"}}"] {
        lab.tokens = tokens.into();
        let service = lab.start();
        let error = put(lab.open(service.port, FSN)).await;
        assert!(matches!(error, StoreError::Misconfigured(_)), "{tokens}: {error:?}");
    }

    // What stands before the worker answers without its codes.
    let other = |answer: String| {
        let config = CloudflareConfig { url: answering(&answer), ..lab.config(0, FSN) };
        Arc::new(CloudflareCells::open(&config).unwrap()) as Arc<dyn CellStore>
    };
    for (status, body) in [
        ("200 OK", "<html>"),
        ("200 OK", "{}"),
        ("409 Conflict", "{}"),
        ("500 Internal Server Error", ""),
        ("503 Service Unavailable", r#"{"code":"failed","message":""}"#),
        ("522 Timed out", "<html>"),
    ] {
        let error = put(other(status_answer(status, body))).await;
        assert!(error.may_have_taken_effect(), "{status}: {error:?}");
    }
    let error = other(status_answer("200 OK", "{}")).get("probe/x").await.unwrap_err();
    assert!(matches!(error, StoreError::Unanswered(_)), "no cell was read: {error:?}");
    let error = put(other(status_answer("429 Too Many Requests", ""))).await;
    assert!(matches!(error, StoreError::NotSent(_)), "{error:?}");
    let error = put(other(status_answer("404 Not Found", "<html>"))).await;
    assert!(matches!(error, StoreError::Misconfigured(_)), "{error:?}");
    denied::<()>(&Err(put(other(status_answer("403 Forbidden", "<html>"))).await));

    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = lab.config(silent.local_addr().unwrap().port(), FSN);
    let config = CloudflareConfig { deadline: Duration::from_millis(300), ..config };
    let store = CloudflareCells::open(&config).unwrap();
    assert!(put(Arc::new(store)).await.may_have_taken_effect());
}

#[test]
fn a_wrong_config_is_refused_without_its_secret() {
    let lab = Lab::new();
    let good = lab.config(1, FSN);
    assert!(CloudflareCells::open(&good).is_ok());
    let spoilt: [fn(&mut CloudflareConfig); 5] = [
        |config| config.url = "http://a.example".into(),
        |config| config.url = "https://a.example/path".into(),
        |config| config.prefix.clear(),
        |config| config.prefix = "a/b".into(),
        |config| config.token_file = "/nowhere/token".into(),
    ];
    for (index, spoil) in spoilt.into_iter().enumerate() {
        let mut config = good.clone();
        spoil(&mut config);
        let answer = CloudflareCells::open(&config);
        assert!(matches!(answer, Err(StoreError::Misconfigured(_))), "{index}: {answer:?}");
    }
    let config = lab.config(1, "hidden\ntoken");
    let text = CloudflareCells::open(&config).unwrap_err().to_string();
    assert!(!text.contains("hidden"), "{text}");
    assert!(!format!("{:?}", CloudflareCells::open(&good)).contains(FSN));
}
