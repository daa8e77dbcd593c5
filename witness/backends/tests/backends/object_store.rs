//! Object stores as cell stores: the contract on a real one, and what is said of failures.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use continuum_witness::cell_contract;
use continuum_witness::recorded::Plan;
use continuum_witness::{CellStore, Put, StoreError};
use continuum_witness_backends::object_store::{ObjectCells, ObjectStoreConfig, ObjectStoreKind};

use crate::npm::azurite::{
    ACCOUNT, KEY, azure, azure_secrets, azurite, create_container, endpoint, open,
};
use crate::npm::{
    Service, answering, answering_in_turn, npm_part, port_after, status_answer, subject,
};

fn s3(endpoint: &str, secrets: &Path) -> ObjectStoreConfig {
    let region = Some("us-east-1".into());
    ObjectStoreConfig { kind: ObjectStoreKind::S3, region, ..azure(endpoint, secrets) }
}

fn s3_secrets(directory: &Path) -> std::path::PathBuf {
    let file = directory.join("s3");
    std::fs::write(&file, "AWS_ACCESS_KEY_ID=S3RVER\nAWS_SECRET_ACCESS_KEY=S3RVER\n").unwrap();
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azure_blobs_keep_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let service = azurite(directory.path());
    create_container(service.port, "cells");
    let endpoint = endpoint(service.port);
    let config = azure(&endpoint, &azure_secrets(directory.path(), KEY));
    let good = config.clone();
    let subject = subject(10, move || open(&good));
    cell_contract::all(&subject).await.unwrap();
    let tally = cell_contract::history(&subject, Plan::of(1_500)).await.unwrap();
    tally.check_substance("azurite").unwrap();

    // What is beside the prefix is not seen, and not listed.
    let other = ObjectStoreConfig { prefix: "witness/other".into(), ..config.clone() };
    assert_eq!(open(&other).list("").await.unwrap(), Vec::<String>::new());
    let bare = ObjectStoreConfig { prefix: String::new(), ..config.clone() };
    assert_eq!(open(&bare).get("probe/sequential").await.unwrap(), None);

    // The same service, asked wrongly.
    let missing = open(&ObjectStoreConfig { bucket: "elsewhere".into(), ..config.clone() });
    all_fail(&*missing, |error| matches!(error, StoreError::Misconfigured(_))).await;
    let key = KEY.replace("Eby8", "Abcd");
    let stranger = open(&azure(&endpoint, &azure_secrets(directory.path(), &key)));
    all_fail(&*stranger, |error| matches!(error, StoreError::Unauthorised(_))).await;

    // And gone.
    let store = open(&config);
    service.stop();
    all_fail(&*store, |error| matches!(error, StoreError::NotSent(_))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make test-long"]
async fn azure_blobs_keep_a_history_of_ten_thousand_calls() {
    let directory = tempfile::tempdir().unwrap();
    let service = azurite(directory.path());
    create_container(service.port, "cells");
    let config = azure(&endpoint(service.port), &azure_secrets(directory.path(), KEY));
    let subject = subject(1, move || open(&config));
    let tally = cell_contract::history(&subject, Plan::of(10_000)).await.unwrap();
    tally.check_substance("azurite").unwrap();
}

async fn all_fail(store: &dyn CellStore, due: impl Fn(&StoreError) -> bool) {
    let created = store.put("probe/new", None, b"new".to_vec()).await.unwrap_err();
    let tag = continuum_witness::Tag(r#"{"e_tag":"\"0x1\""}"#.into());
    let changed = store.put("probe/new", Some(&tag), b"next".to_vec()).await.unwrap_err();
    let read = store.get("probe/new").await.unwrap_err();
    let deleted = store.delete("probe/new", &tag).await.unwrap_err();
    let listed = store.list("probe/").await.unwrap_err();
    for error in [created, changed, read, deleted, listed] {
        assert!(due(&error), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_in_memory_keep_the_contract() {
    let memory = Arc::new(object_store::memory::InMemory::new());
    let open = move || {
        let cells = ObjectCells::in_memory(memory.clone(), "witness/one/").unwrap();
        Arc::new(cells) as Arc<dyn CellStore>
    };
    cell_contract::all(&subject(30, open)).await.unwrap();
}

/// s3rver accepts the conditions and ignores them, as a service that is nearly S3 may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_ignores_the_conditions_is_caught() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = crate::npm::node();
    command
        .arg(npm_part("s3rver/bin/s3rver.js"))
        .args(["-a", "127.0.0.1", "-p", "0", "--configure-bucket", "cells", "-d"])
        .arg(directory.path().join("data"));
    let service =
        Service::start(command, |line| port_after(line, "S3rver listening on 127.0.0.1:"));
    let endpoint = format!("http://127.0.0.1:{}", service.port);
    let config = s3(&endpoint, &s3_secrets(directory.path()));

    // It is reached and stores what it is given: what fails below is the conditions.
    let store = open(&config);
    assert!(matches!(store.put("probe/x", None, b"x".to_vec()).await, Ok(Put::Written(_))));
    assert_eq!(store.get("probe/x").await.unwrap().unwrap().bytes, b"x");

    let subject = subject(3, move || open(&config));
    let violation = cell_contract::sequential(&subject).await.unwrap_err();
    assert!(violation.problem.contains("a second creation: written"), "{violation:?}");
    let violation = cell_contract::one_winner(&subject).await.unwrap_err();
    assert!(violation.problem.contains("winners in round 0"), "{violation:?}");
}

/// Each answer is what some real service gives; the body is what says which one is meant.
#[tokio::test]
async fn a_change_is_said_to_be_undone_only_where_that_is_certain() {
    let directory = tempfile::tempdir().unwrap();
    let secrets = s3_secrets(directory.path());
    let put = |answer: String| {
        let store = open(&s3(&answering(&answer), &secrets));
        async move { store.put("probe/x", None, b"x".to_vec()).await }
    };
    let xml = |code: &str| format!("<Error><Code>{code}</Code></Error>");
    for status in ["500 Internal Server Error", "503 Slow Down", "408 Request Timeout"] {
        let error = put(status_answer(status, &xml("Busy"))).await.unwrap_err();
        assert!(error.may_have_taken_effect(), "{status}: {error:?}");
    }
    let cut = "HTTP/1.1 200 OK\r\ncontent-le";
    assert!(put(cut.into()).await.unwrap_err().may_have_taken_effect());
    let nameless = put(status_answer("200 OK", "")).await.unwrap_err();
    assert!(nameless.may_have_taken_effect(), "{nameless:?}");

    for status in ["429 Too Many Requests"] {
        let error = put(status_answer(status, "")).await.unwrap_err();
        assert!(matches!(error, StoreError::NotSent(_)), "{status}: {error:?}");
    }
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let error = put(status_answer(status, &xml("AccessDenied"))).await.unwrap_err();
        assert!(matches!(error, StoreError::Unauthorised(_)), "{status}: {error:?}");
        assert!(error.to_string().contains("AccessDenied"), "{error}");
    }
    for status in ["400 Bad Request", "301 Moved Permanently", "405 Method Not Allowed"] {
        let error = put(status_answer(status, "")).await.unwrap_err();
        assert!(matches!(error, StoreError::Misconfigured(_)), "{status}: {error:?}");
    }
    let error = put(status_answer("404 Not Found", &xml("NoSuchBucket"))).await.unwrap_err();
    assert!(matches!(error, StoreError::Misconfigured(_)), "{error:?}");
    // Refused, and then the same answer to the read: the change is known to be undone.
    let error = put(status_answer("412 Precondition Failed", "")).await.unwrap_err();
    assert!(matches!(error, StoreError::NotSent(_)), "{error:?}");
}

fn object(tag: &str, bytes: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\netag: \"{tag}\"\r\nlast-modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{bytes}",
        bytes.len()
    )
}

#[tokio::test]
async fn what_stands_in_the_way_of_a_refused_change_is_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let secrets = s3_secrets(directory.path());
    let at = |tag: &str| continuum_witness::Tag(format!(r#"{{"e_tag":"\"{tag}\""}}"#));
    let change = |answers: &[&str]| {
        let store = open(&s3(&answering_in_turn(answers), &secrets));
        let old = at("old");
        async move { store.put("probe/x", Some(&old), b"mine".to_vec()).await }
    };
    let refused = status_answer("412 Precondition Failed", "");
    let busy = status_answer("409 Conflict", "<Code>ConditionalRequestConflict</Code>");

    // Our own bytes: a copy of this change was carried out.
    let answer = change(&[&refused, &object("new", "mine")]).await.unwrap();
    assert_eq!(answer, Put::Written(at("new")));
    let Put::Conflict(Some(cell)) = change(&[&refused, &object("new", "theirs")]).await.unwrap()
    else {
        panic!("written");
    };
    assert_eq!((cell.tag, cell.bytes), (at("new"), b"theirs".to_vec()));
    let gone = status_answer("404 Not Found", "<Code>NoSuchKey</Code>");
    assert_eq!(change(&[&refused, &gone]).await.unwrap(), Put::Conflict(None));

    // Another change was under way and came to nothing: this one is sent again, and not for ever.
    let answer = change(&[&busy, &object("old", "before"), &object("new", "")]).await.unwrap();
    assert_eq!(answer, Put::Written(at("new")));
    let error = change(&[&busy, &object("old", "before")]).await.unwrap_err();
    assert!(matches!(error, StoreError::NotSent(_)), "{error:?}");

    let huge = object("new", &"x".repeat(66 * 1024));
    let error = change(&[&refused, &huge]).await.unwrap_err();
    assert!(matches!(error, StoreError::Misconfigured(_)), "{error:?}");
}

#[tokio::test]
async fn no_error_shows_a_signature() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sas");
    let text =
        format!("AZURE_STORAGE_ACCOUNT_NAME={ACCOUNT}\nAZURE_STORAGE_SAS_KEY=sv=1&sig=hidden\n");
    std::fs::write(&file, text).unwrap();
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let answers = ["400 Bad Request", "403 Forbidden", "404 Not Found", "500 Oh"];
    let answers = answers.map(|status| answering(&status_answer(status, "")));
    for endpoint in answers.iter().cloned().chain([format!("http://{refusing}")]) {
        let store = open(&azure(&endpoint, &file));
        let error = store.put("probe/x", None, b"x".to_vec()).await;
        assert!(!format!("{error:?}").contains("hidden"), "{error:?}");
        let error = store.list("").await.unwrap_err();
        assert!(!format!("{error:?}").contains("hidden"), "{error:?}");
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_given_up_at_the_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let config = s3(&endpoint, &s3_secrets(directory.path()));
    let store = open(&ObjectStoreConfig { deadline: Duration::from_millis(300), ..config });
    all_fail(&*store, StoreError::may_have_taken_effect).await;
}

#[test]
fn a_config_is_read_and_wrong_ones_are_refused() {
    crate::npm::install_ring();
    let directory = tempfile::tempdir().unwrap();
    let text = "kind = \"r2\"\nbucket = \"cells\"\nendpoint = \"https://a.example\"";
    let config: ObjectStoreConfig = toml::from_str(text).unwrap();
    assert_eq!(config.deadline, Duration::from_secs(3));
    assert!(toml::from_str::<ObjectStoreConfig>(&format!("{text}\nsecret = \"x\"")).is_err());

    let good = ObjectStoreConfig { credentials_file: Some(s3_secrets(directory.path())), ..config };
    assert!(ObjectCells::open(&good).is_ok());
    let spoilt: [fn(&mut ObjectStoreConfig); 6] = [
        |config| config.endpoint = None,
        |config| config.endpoint = Some("http://a.example".into()),
        |config| config.kind = ObjectStoreKind::S3,
        |config| config.kind = ObjectStoreKind::Gcs,
        |config| config.bucket.clear(),
        |config| config.prefix = "../up".into(),
    ];
    for (index, spoil) in spoilt.into_iter().enumerate() {
        let mut config = good.clone();
        spoil(&mut config);
        let answer = ObjectCells::open(&config);
        assert!(matches!(answer, Err(StoreError::Misconfigured(_))), "{index}: {answer:?}");
    }
    let file = directory.path().join("spoilt");
    std::fs::write(&file, "AWS_ACCESS_KEY_ID=x\nhidden-secret\n").unwrap();
    let error = ObjectCells::open(&ObjectStoreConfig { credentials_file: Some(file), ..good });
    let text = error.unwrap_err().to_string();
    assert!(text.contains("line 2") && !text.contains("hidden"), "{text}");
}
