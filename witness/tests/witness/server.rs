//! The server and its client: identity, errors, restarts, a killed and a frozen process.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use continuum_domain::{Epoch, PairRecord, RegionId, SessionRecord, Version};
use continuum_runtime::SharedNetwork;
use continuum_runtime::net::{TlsFiles, TlsNetwork};
use continuum_witness::{Answer, RegisterStore, StoreError, WitnessConfig};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

const DEADLINE: Duration = Duration::from_secs(3);

fn session(beat: u64) -> Vec<u8> {
    serde_json::to_vec(&SessionRecord { incarnation: 1, beat, ttl_ms: 10_000, renew_ms: 0 })
        .unwrap()
}

#[tokio::test]
async fn callers_change_only_what_is_theirs() {
    let lab = crate::common::Lab::new();
    let server = lab.start("w1").await;
    let fsn = lab.client("region/fsn", &server.address, DEADLINE);
    let hel = lab.client("region/hel", &server.address, DEADLINE);
    let operator = lab.client("operator/ann", &server.address, DEADLINE);
    let witness = lab.client("witness/w2", &server.address, DEADLINE);

    let accepted = fsn.compare_and_swap("session/fsn", Version(0), session(1)).await;
    assert_eq!(accepted, Ok(Answer::Accepted(Version(1))));
    let denied = hel.compare_and_swap("session/fsn", Version(1), session(2)).await;
    assert!(matches!(denied, Err(StoreError::Unauthorised(_))), "{denied:?}");
    let backwards = fsn.compare_and_swap("session/fsn", Version(1), session(0)).await;
    assert!(matches!(backwards, Err(StoreError::Misconfigured(_))), "{backwards:?}");
    let unknown = fsn.compare_and_swap("other/x", Version(0), vec![]).await;
    assert!(matches!(unknown, Err(StoreError::Misconfigured(_))), "{unknown:?}");

    let record = PairRecord {
        epoch: Epoch(1),
        holder: Some(RegionId::new("hel").unwrap()),
        in_sync: Default::default(),
        handover_to: None,
        paused: false,
        waits_for_all: false,
        rested_by: None,
    };
    let value = serde_json::to_vec(&record).unwrap();
    let taken = hel.compare_and_swap("pair/app", Version(0), value.clone()).await;
    assert_eq!(taken, Ok(Answer::Accepted(Version(1))));
    let nbg = lab.client("region/nbg", &server.address, DEADLINE);
    let denied = nbg.compare_and_swap("pair/app", Version(1), value.clone()).await;
    assert!(matches!(denied, Err(StoreError::Unauthorised(_))), "{denied:?}");
    let denied = operator.compare_and_swap("pair/app", Version(1), value.clone()).await;
    assert!(matches!(denied, Err(StoreError::Unauthorised(_))), "{denied:?}");
    assert_eq!(operator.read("pair/app").await.unwrap().unwrap().value, value);
    assert!(matches!(witness.read("pair/app").await, Err(StoreError::Unauthorised(_))));
    server.stop().await;
}

#[tokio::test]
async fn a_witness_of_another_name_or_none_is_not_asked() {
    let lab = crate::common::Lab::new();
    let server = lab.start("w2").await;
    // The client expects w1.
    let client = lab.client("region/fsn", &server.address, DEADLINE);
    let answer = client.compare_and_swap("session/fsn", Version(0), session(1)).await;
    assert!(matches!(answer, Err(StoreError::NotSent(_))), "{answer:?}");
    let address = server.address.clone();
    server.stop().await;
    let client = lab.client("region/fsn", &address, DEADLINE);
    assert!(matches!(client.read("session/fsn").await, Err(StoreError::NotSent(_))));
}

#[tokio::test]
async fn a_client_finds_a_restarted_server_by_itself() {
    let lab = crate::common::Lab::new();
    let server = lab.start("w1").await;
    let client = lab.client("region/fsn", &server.address, DEADLINE);
    client.compare_and_swap("session/fsn", Version(0), session(1)).await.unwrap();
    let address = server.address.clone();
    server.stop().await;
    assert!(client.read("session/fsn").await.is_err());
    let server = lab.start_at("w1", &address).await;
    let held = until_answered(&client, "session/fsn").await;
    assert_eq!(held, Some(session(1)));
    server.stop().await;
}

/// Reads until the store answers; the calls themselves wait, up to their deadline.
async fn until_answered(store: &dyn RegisterStore, key: &str) -> Option<Vec<u8>> {
    let asking = async {
        loop {
            match store.read(key).await {
                Ok(held) => return held.map(|held| held.value),
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.unwrap()
}

const CHILD_DATA: &str = "CONTINUUM_TEST_WITNESS_DATA";
const CHILD_LISTEN: &str = "CONTINUUM_TEST_WITNESS_LISTEN";
const CHILD_TLS: &str = "CONTINUUM_TEST_WITNESS_TLS";

/// Not a test: the witness process that the tests below kill and freeze.
#[tokio::test]
#[ignore = "runs as a child of other tests"]
async fn child_witness() {
    let data = PathBuf::from(std::env::var(CHILD_DATA).unwrap());
    let tls = std::env::var(CHILD_TLS).unwrap();
    let files: TlsFiles = serde_json::from_str(&tls).unwrap();
    let network: SharedNetwork = Arc::new(TlsNetwork::load(&files).unwrap());
    let config = crate::common::config("w1", &std::env::var(CHILD_LISTEN).unwrap(), data);
    continuum_witness::serve(config, network, std::future::pending()).await.unwrap();
}

struct Process(Child);

impl Process {
    fn start(lab: &crate::common::Lab, address: &str) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "server::child_witness", "--ignored", "--nocapture"])
            .env(CHILD_DATA, lab.data())
            .env(CHILD_LISTEN, address)
            .env(CHILD_TLS, serde_json::to_string(&lab.issue("witness/w1")).unwrap())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
    /// Returns from stopping it when it stands still: until then one of its threads may go on.
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, signal).unwrap();
        if signal == Signal::STOP {
            waitpid(Some(pid), WaitOptions::UNTRACED).unwrap();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn free_address() -> String {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_kill_9() {
    let (lab, address) = (crate::common::Lab::new(), free_address());
    let client = Arc::new(lab.client("region/fsn", &address, Duration::from_millis(500)));
    let mut answered = 0;
    for round in 0..3 {
        let process = Process::start(&lab, &address);
        let held = until_answered(&*client, "session/fsn").await;
        let seen =
            held.map_or(0, |value| serde_json::from_slice::<SessionRecord>(&value).unwrap().beat);
        assert!(seen >= answered, "round {round}: beat {answered} was answered, {seen} is held");
        answered = seen;
        let writer = {
            let client = client.clone();
            continuum_runtime::seed::spawn(async move {
                let mut last = answered;
                // Each beat makes one version, so the beat is the version.
                while let Ok(Answer::Accepted(Version(version))) =
                    client.compare_and_swap("session/fsn", Version(last), session(last + 1)).await
                {
                    last = version;
                }
                last
            })
        };
        tokio::time::sleep(Duration::from_millis(150)).await;
        drop(process);
        answered = writer.await.unwrap();
    }
    assert!(answered > 3, "only {answered} changes were made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_unanswered_within_the_deadline_and_found_again() {
    let (lab, address) = (crate::common::Lab::new(), free_address());
    let process = Process::start(&lab, &address);
    let deadline = Duration::from_millis(500);
    let client = lab.client("region/fsn", &address, deadline);
    until_answered(&client, "session/fsn").await;
    client.compare_and_swap("session/fsn", Version(0), session(1)).await.unwrap();

    process.signal(Signal::STOP);
    for _ in 0..3 {
        let asking = client.compare_and_swap("session/fsn", Version(1), session(2));
        // Far more than its deadline, and far less than for ever: the machine may be busy.
        let answer = tokio::time::timeout(deadline * 20, asking).await;
        let error = answer.expect("the call outlived its deadline").unwrap_err();
        assert!(error.may_have_taken_effect(), "{error}");
    }
    process.signal(Signal::CONT);
    let held = until_answered(&client, "session/fsn").await.unwrap();
    // The first change was sent and may have landed; no other value can be there.
    assert!(held == session(1) || held == session(2));
}

#[test]
fn the_configuration_reads_as_documented() {
    let text = r#"
        name = "w1"
        listen = "127.0.0.1:7201"
        data_directory = "/var/lib/continuum/witness"
        [pairs]
        app = ["fsn", "hel"]
    "#;
    let config: WitnessConfig = toml::from_str(text).unwrap();
    assert_eq!(config.pairs.len(), 1);
    assert!(toml::from_str::<WitnessConfig>(&format!("colour = 1\n{text}")).is_err());
}
