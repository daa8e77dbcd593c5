//! The etcd backend on a real etcd.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{Etcd, free_ports, ready};
use base64::Engine as _;
use continuum_domain::Version;
use continuum_runtime::{Identity, Role};
use continuum_witness::cell_contract::{self, CellSubject};
use continuum_witness::recorded::Plan;
use continuum_witness::{Acceptor, Answer, QuorumStore, RegisterStore, quorum};
use continuum_witness::{Cell, CellStore, Put, StoreError, Tag};
use continuum_witness_backends::etcd::{EtcdConfig, EtcdStore};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(5);

fn config(endpoints: &[String]) -> EtcdConfig {
    EtcdConfig {
        endpoints: endpoints.to_vec(),
        ca_file: None,
        certificate_file: None,
        key_file: None,
        user: None,
        password_file: None,
        prefix: "test/".into(),
        deadline: DEADLINE,
    }
}

fn open(url: String) -> EtcdStore {
    EtcdStore::new(&config(&[url])).unwrap()
}

/// An etcd that answers.
async fn started(directory: &Path) -> Etcd {
    let mut etcd = Etcd::start(directory, &[]);
    wait(&mut etcd).await;
    etcd
}

async fn wait(etcd: &mut Etcd) {
    let store = open(etcd.url());
    ready(etcd.process(), async || store.get("ready").await.ok()).await;
}

async fn written(store: &EtcdStore, key: &str, expected: Option<&Tag>, bytes: &str) -> Tag {
    match store.put(key, expected, bytes.into()).await.unwrap() {
        Put::Written(tag) => tag,
        Put::Conflict(cell) => panic!("{key} is {cell:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let etcd = started(directory.path()).await;
    let url = etcd.url();
    let open = move || Arc::new(open(url.clone())) as Arc<dyn CellStore>;
    let subject = CellSubject { open: Arc::new(open), space: "probe/".into(), rounds: 30 };
    cell_contract::all(&subject).await.unwrap();
    let tally = cell_contract::history(&subject, Plan::of(10_000)).await.unwrap();
    tally.check_substance("etcd").unwrap();
}

#[tokio::test]
async fn long_lists_are_whole() {
    let directory = tempfile::tempdir().unwrap();
    let etcd = started(directory.path()).await;
    let store = open(etcd.url());
    let mut keys: Vec<_> = (0..1203).map(|at| format!("many/{at}")).collect();
    for key in &keys {
        written(&store, key, None, "x").await;
    }
    written(&store, "many0", None, "beside").await;
    keys.sort();
    assert_eq!(store.list("many/").await.unwrap(), keys);
    assert_eq!(store.list("").await.unwrap().len(), keys.len() + 1);
}

#[tokio::test]
async fn a_restart_keeps_what_was_answered() {
    let directory = tempfile::tempdir().unwrap();
    let etcd = started(directory.path()).await;
    let store = open(etcd.url());
    let tag = written(&store, "cell", None, "kept").await;
    let mut etcd = etcd.restart(false);
    wait(&mut etcd).await;
    let due = Cell { tag: tag.clone(), bytes: b"kept".to_vec() };
    // The client of before finds the way back by itself; its old connection may cost one call.
    let seen = ready(etcd.process(), async || store.get("cell").await.ok()).await;
    assert_eq!(seen, Some(due));
    written(&store, "cell", Some(&tag), "changed").await;
}

#[tokio::test]
async fn a_wiped_etcd_accepts_no_old_tag() {
    let directory = tempfile::tempdir().unwrap();
    let etcd = started(directory.path()).await;
    let old = written(&open(etcd.url()), "cell", None, "before").await;
    let mut etcd = etcd.restart(true);
    wait(&mut etcd).await;
    let store = open(etcd.url());
    let put = |expected: Tag| {
        let store = &store;
        async move { store.put("cell", Some(&expected), b"after".to_vec()).await.unwrap() }
    };
    assert_eq!(put(old.clone()).await, Put::Conflict(None));
    let new = written(&store, "cell", None, "another").await;
    // Revisions count anew: without the digest the old tag would fit.
    let revision = |tag: &Tag| tag.0.split('.').next().unwrap().to_owned();
    assert_eq!(revision(&new), revision(&old), "the revision alone tells them apart");
    let cell = Cell { tag: new.clone(), bytes: b"another".to_vec() };
    assert_eq!(put(old.clone()).await, Put::Conflict(Some(cell)));
    assert!(!store.delete("cell", &old).await.unwrap());
    assert!(store.delete("cell", &new).await.unwrap());
}

#[tokio::test]
async fn another_member_is_asked_when_one_cannot_be_reached() {
    let directory = tempfile::tempdir().unwrap();
    let etcd = started(directory.path()).await;
    let [closed] = free_ports();
    let endpoints = [format!("http://127.0.0.1:{closed}"), etcd.url()];
    let store = EtcdStore::new(&config(&endpoints)).unwrap();
    written(&store, "cell", None, "one").await;
    assert!(store.get("cell").await.unwrap().is_some());
}

#[tokio::test]
async fn unreachable_silent_and_misconfigured_are_told_apart() {
    let [closed] = free_ports();
    let store = open(format!("http://127.0.0.1:{closed}"));
    let put = store.put("cell", None, b"x".to_vec()).await;
    assert!(matches!(put, Err(StoreError::NotSent(_))), "{put:?}");

    // A frozen etcd takes the request in and answers nothing; thawed, it may carry it out.
    let directory = tempfile::tempdir().unwrap();
    let mut etcd = started(directory.path()).await;
    let mut short = config(&[etcd.url()]);
    short.deadline = Duration::from_secs(1);
    let store = EtcdStore::new(&short).unwrap();
    store.get("cell").await.unwrap();
    etcd.process().signal(Signal::STOP);
    let put = store.put("cell", None, b"x".to_vec()).await;
    assert!(matches!(put, Err(StoreError::Unanswered(_))), "{put:?}");
    etcd.process().signal(Signal::CONT);
    ready(etcd.process(), async || store.get("cell").await.ok()).await;

    // Somebody else's port: it accepts and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    short.endpoints = vec![format!("http://{}", listener.local_addr().unwrap())];
    let put = EtcdStore::new(&short).unwrap().put("cell", None, b"x".to_vec()).await;
    assert!(matches!(put, Err(StoreError::Unanswered(_))), "{put:?}");

    let good = config(&[etcd.url()]);
    let missing = Some(directory.path().join("missing"));
    for bad in [
        EtcdConfig { endpoints: vec![], ..good.clone() },
        EtcdConfig { endpoints: vec!["127.0.0.1:2379".into()], ..good.clone() },
        EtcdConfig { endpoints: vec!["https://127.0.0.1:2379".into()], ..good.clone() },
        EtcdConfig { ca_file: missing.clone(), ..good.clone() },
        EtcdConfig { user: Some("user".into()), ..good.clone() },
        EtcdConfig { key_file: missing, ..good.clone() },
        EtcdConfig { prefix: String::new(), ..good.clone() },
        EtcdConfig { deadline: Duration::ZERO, ..good.clone() },
    ] {
        let store = EtcdStore::new(&bad);
        assert!(matches!(store, Err(StoreError::Misconfigured(_))), "{store:?}");
    }
    let wrong = store.put("cell", Some(&Tag("7".into())), b"x".to_vec()).await;
    assert!(matches!(wrong, Err(StoreError::Misconfigured(_))), "{wrong:?}");
    assert!(toml::from_str::<EtcdConfig>("endpoints = []\nendpoint = 'x'").is_err());
    let least: EtcdConfig = toml::from_str("endpoints = ['http://etcd:2379']").unwrap();
    assert_eq!((least.prefix.as_str(), least.deadline), ("continuum/", Duration::from_secs(2)));
}

/// One call of etcd's JSON gateway, which only the test's set-up needs.
async fn gateway(etcd: &Etcd, path: &str, body: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", etcd.port())).await.unwrap();
    let request = format!(
        "POST /v3/{path} HTTP/1.1\r\nhost: etcd\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
}

#[tokio::test]
async fn a_login_is_checked() {
    let directory = tempfile::tempdir().unwrap();
    let etcd = started(directory.path()).await;
    // A key and the end of its range in base64: test/ to test0.
    let grant = r#"{"name":"cells","perm":{"permType":"READWRITE","key":"dGVzdC8=","range_end":"dGVzdDA="}}"#;
    for (path, body) in [
        ("auth/user/add", r#"{"name":"root","password":"r"}"#),
        ("auth/user/grant", r#"{"user":"root","role":"root"}"#),
        ("auth/role/add", r#"{"name":"cells"}"#),
        ("auth/role/grant", grant),
        ("auth/user/add", r#"{"name":"witness","password":"right"}"#),
        ("auth/user/grant", r#"{"user":"witness","role":"cells"}"#),
        ("auth/enable", "{}"),
    ] {
        gateway(&etcd, path, body).await;
    }
    let (right, wrong) = (directory.path().join("right"), directory.path().join("wrong"));
    std::fs::write(&right, "right\n").unwrap();
    std::fs::write(&wrong, "wrong\n").unwrap();
    let anybody = config(&[etcd.url()]);
    let user = Some("witness".to_owned());
    let known = EtcdConfig { user: user.clone(), password_file: Some(right), ..anybody.clone() };
    let store = EtcdStore::new(&known).unwrap();
    let tag = written(&store, "cell", None, "one").await;
    for refused in [
        EtcdConfig { user, password_file: Some(wrong), ..anybody.clone() },
        anybody,
        EtcdConfig { prefix: "elsewhere/".into(), ..known.clone() },
    ] {
        let store = EtcdStore::new(&refused).unwrap();
        let put = store.put("cell", Some(&tag), b"two".to_vec()).await;
        assert!(matches!(put, Err(StoreError::Unauthorised(_))), "{put:?}");
    }
    // A token does not outlive the etcd that gave it out: the client logs in anew.
    let mut etcd = etcd.restart(false);
    let seen = ready(etcd.process(), async || store.get("cell").await.ok()).await;
    assert_eq!(seen.unwrap().bytes, b"one");
    written(&store, "cell", Some(&tag), "two").await;
}

/// Grants one of etcd's roles a permission; `end` is the end of a range, empty for one key.
async fn grant(etcd: &Etcd, role: &str, permission: &str, key: &str, end: &str) {
    let code = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let body = format!(
        r#"{{"name":"{role}","perm":{{"permType":"{permission}","key":"{}","range_end":"{}"}}}}"#,
        code(key),
        code(end)
    );
    gateway(etcd, "auth/role/grant", &body).await;
}

/// The policy of docs/WITNESS.md: everybody reads, a region writes its own session, a member its pair,
/// an operator all. The incarnation stands in the keys, so the grants come after the founding.
#[tokio::test]
async fn roles_keep_regions_to_their_own_keys() {
    let directory = tempfile::tempdir().unwrap();
    let etcd = started(directory.path()).await;
    let anybody = config(&[etcd.url()]);
    let acceptor = |config: &EtcdConfig| Acceptor {
        name: "etcd".into(),
        store: Arc::new(EtcdStore::new(config).unwrap()),
    };
    let founded = quorum::found(&[acceptor(&anybody)]).await.unwrap();
    let own = format!("g1/{}", founded["etcd"]);
    for role in ["look", "fsn", "hel", "app", "all"] {
        gateway(&etcd, "auth/role/add", &format!(r#"{{"name":"{role}"}}"#)).await;
    }
    grant(&etcd, "look", "READ", "test/", "test0").await;
    grant(&etcd, "look", "READWRITE", "test/probe/", "test/probe0").await;
    for region in ["fsn", "hel"] {
        grant(&etcd, region, "READWRITE", &format!("test/{own}/session/{region}"), "").await;
    }
    grant(&etcd, "app", "READWRITE", &format!("test/{own}/pair/app"), "").await;
    grant(&etcd, "all", "READWRITE", "test/", "test0").await;
    let users: [(&str, &[&str]); 5] = [
        ("root", &["root"]),
        ("fsn", &["look", "fsn", "app"]),
        ("hel", &["look", "hel", "app"]),
        ("nbg", &["look"]),
        ("operator", &["all"]),
    ];
    for (user, roles) in users {
        let body = format!(r#"{{"name":"{user}","password":"secret"}}"#);
        gateway(&etcd, "auth/user/add", &body).await;
        for role in roles {
            let body = format!(r#"{{"user":"{user}","role":"{role}"}}"#);
            gateway(&etcd, "auth/user/grant", &body).await;
        }
    }
    gateway(&etcd, "auth/enable", "{}").await;
    let password = directory.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let access = |user: &str| EtcdConfig {
        user: Some(user.into()),
        password_file: Some(password.clone()),
        ..anybody.clone()
    };
    let [fsn, hel, nbg, operator] =
        ["fsn", "hel", "nbg", "operator"].map(|user| EtcdStore::new(&access(user)).unwrap());
    let session = format!("{own}/session/fsn");
    let tag = written(&fsn, &session, None, "1").await;
    let foreign = [
        hel.put(&session, Some(&tag), b"2".to_vec()).await,
        nbg.put(&format!("{own}/pair/app"), None, b"1".to_vec()).await,
        fsn.put(&format!("{own}/pair/other"), None, b"1".to_vec()).await,
        fsn.put(&format!("{session}/x"), None, b"1".to_vec()).await,
        fsn.put("mark", None, b"1".to_vec()).await,
        fsn.put(&format!("{own}/next"), None, b"1".to_vec()).await,
    ];
    for put in foreign {
        assert!(matches!(put, Err(StoreError::Unauthorised(_))), "{put:?}");
    }
    let removed = hel.delete(&session, &tag).await;
    assert!(matches!(removed, Err(StoreError::Unauthorised(_))), "{removed:?}");
    assert_eq!(hel.get(&session).await.unwrap().unwrap().bytes, b"1");
    assert!(operator.delete(&session, &tag).await.unwrap());

    // What is left to each is enough for the registers.
    let register = |user: &str| {
        let me = Identity::new(Role::Region, user);
        QuorumStore::new(vec![acceptor(&access(user))], me, DEADLINE)
    };
    let [fsn, hel, nbg] = ["fsn", "hel", "nbg"].map(register);
    for version in 0..3 {
        let renewed = fsn.compare_and_swap("session/fsn", Version(version), b"beat".to_vec()).await;
        assert_eq!(renewed, Ok(Answer::Accepted(Version(version + 1))));
    }
    assert_eq!(hel.read("session/fsn").await.unwrap().unwrap().version, Version(3));
    let taken = hel.compare_and_swap("pair/app", Version(0), b"hel".to_vec()).await;
    assert_eq!(taken, Ok(Answer::Accepted(Version(1))));
    let taken = nbg.compare_and_swap("pair/app", Version(1), b"nbg".to_vec()).await;
    assert!(matches!(taken, Err(StoreError::Unauthorised(_))), "{taken:?}");
    assert_eq!(fsn.read("pair/app").await.unwrap().unwrap().value, b"hel");
}

#[tokio::test]
async fn certificates_of_both_sides_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    crate::common::certificates(directory.path());
    let option = |name: &str, file: &str| format!("--{name}={}", at(file).display());
    let more = [
        option("cert-file", "server.crt"),
        option("key-file", "server.key"),
        option("trusted-ca-file", "ca.crt"),
        "--client-cert-auth".to_owned(),
    ];
    let mut etcd = Etcd::start(directory.path(), &more);
    let good = EtcdConfig {
        ca_file: Some(at("ca.crt")),
        certificate_file: Some(at("client.crt")),
        key_file: Some(at("client.key")),
        ..config(&[format!("https://127.0.0.1:{}", etcd.port())])
    };
    let store = EtcdStore::new(&good).unwrap();
    ready(etcd.process(), async || store.get("cell").await.ok()).await;
    written(&store, "cell", None, "one").await;

    let stranger = EtcdConfig { ca_file: Some(at("other.crt")), ..good.clone() };
    let put = EtcdStore::new(&stranger).unwrap().put("cell", None, b"x".to_vec()).await;
    assert!(matches!(put, Err(StoreError::Misconfigured(_))), "{put:?}");
    let nobody = EtcdConfig { certificate_file: None, key_file: None, ..good };
    assert!(EtcdStore::new(&nobody).unwrap().get("cell").await.is_err());
}
