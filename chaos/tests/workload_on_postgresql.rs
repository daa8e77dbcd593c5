//! The workload against one real PostgreSQL: what it records is what the server did.
//!
//! Skipped, saying so, where PostgreSQL's server programs are missing.

#![allow(clippy::unwrap_used, reason = "a test, its helpers included")]

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use continuum_chaos::history::{Attempt, Outcome};
use continuum_chaos::ledger;
use continuum_chaos::names::Name;
use continuum_chaos::workload::{Connection, OWNER_ROLE, Workload};
use continuum_runtime::{BootClock, Clock as _, seed};
use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::{RData, Record, rdata::A};
use tokio::net::UdpSocket;

const NAME: &str = "app.lab.continuum.test";
const LIMIT: Duration = Duration::from_secs(20);

fn programs() -> Option<PathBuf> {
    let newest = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path());
    let given = std::env::var_os("CONTINUUM_PG_BIN").map(PathBuf::from);
    let found = given.or_else(|| newest.max().map(|version| version.join("bin")));
    found.filter(|directory| directory.join("postgres").is_file())
}

/// A command that runs as user postgres when we are root, which PostgreSQL refuses to be.
fn as_postgres(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
    command
}

struct Postgres {
    _directory: tempfile::TempDir,
    process: std::process::Child,
    address: SocketAddr,
}

impl Postgres {
    async fn start(programs: &Path) -> Self {
        let directory = tempfile::Builder::new().prefix("cw-").tempdir_in("/tmp").unwrap();
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(directory.path(), open).unwrap();
        let data = directory.path().join("data");
        let made = as_postgres(&programs.join("initdb"))
            .args(["-U", "postgres", "-A", "trust", "--no-sync", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = as_postgres(&programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-k"])
            .arg(directory.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut started = Self { _directory: directory, process, address };
        started.connect().await;
        started
    }

    async fn connect(&mut self) -> Connection {
        let deadline = BootClock.now() + LIMIT;
        loop {
            match Connection::open(OWNER_ROLE, self.address, Duration::from_secs(1)).await {
                Ok(connection) => return connection,
                Err(problem) => assert!(BootClock.now() < deadline, "{problem}"),
            }
            assert!(self.process.try_wait().unwrap().is_none(), "PostgreSQL ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Immediate shutdown, so that no child of it is left.
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::QUIT).ok();
        self.process.wait().ok();
    }
}

/// A name server that answers every question with 127.0.0.1.
async fn name_server() -> Name {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = socket.local_addr().unwrap();
    seed::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let mut answer = Message::from_vec(&buffer[..length]).unwrap();
            answer.metadata.message_type = MessageType::Response;
            let name = answer.queries[0].name().clone();
            answer.add_answer(Record::from_rdata(name, 1, RData::A(A(Ipv4Addr::LOCALHOST))));
            socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
        }
    });
    Name { servers: vec![server], name: NAME.into() }
}

/// Writers at work, and a session that makes their life hard.
struct Scene {
    workload: Workload,
    admin: Connection,
}

impl Scene {
    async fn start(postgres: &mut Postgres) -> Self {
        let (name, clock) = (name_server().await, Arc::new(BootClock));
        let port = postgres.address.port();
        let workload = Workload::start(name, port, 4, clock).await.unwrap();
        Self { workload, admin: postgres.connect().await }
    }

    async fn run(&self, sql: &str) {
        self.admin.batch(sql).await.unwrap();
    }

    async fn set(&self, setting: &str) {
        self.run(&format!("ALTER SYSTEM {setting}")).await;
        self.run("SELECT pg_reload_conf()").await;
    }

    /// Waits until as many attempts ended so, and runs `meanwhile` in between.
    async fn until(&self, count: usize, meanwhile: Option<&str>, fits: impl Fn(&Attempt) -> bool) {
        let deadline = BootClock.now() + LIMIT;
        while self.workload.recorder().attempts().iter().filter(|a| fits(a)).count() < count {
            let trouble = self.workload.recorder().last_trouble();
            assert!(BootClock.now() < deadline, "the last trouble: {trouble:?}");
            if let Some(sql) = meanwhile {
                self.run(sql).await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn acknowledged_again(&self) {
        let since = BootClock.now();
        self.until(1, None, |attempt| attempt.is_acknowledged() && attempt.sent >= since).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attempt_is_accounted_for_through_kills_cancels_and_refusals() {
    let Some(programs) = programs() else {
        println!("skipped: PostgreSQL's server programs are not installed");
        return;
    };
    let mut postgres = Postgres::start(&programs).await;
    let mut scene = Scene::start(&mut postgres).await;
    scene.acknowledged_again().await;

    // A session that is ended may have committed.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'INSERT%'";
    let lost = |attempt: &Attempt| matches!(attempt.outcome, Outcome::Indeterminate { .. });
    scene.until(1, Some(end), lost).await;
    scene.acknowledged_again().await;

    // A refusal is definite.
    scene.set("SET default_transaction_read_only = on").await;
    scene.until(4, None, |attempt| matches!(attempt.outcome, Outcome::Failed { .. })).await;
    scene.set("RESET default_transaction_read_only").await;
    scene.acknowledged_again().await;

    // Commits wait for a standby that is not there and are cancelled: success, taken back.
    scene.set("SET synchronous_standby_names = 'nobody'").await;
    let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let taken_back = |attempt: &Attempt| {
        let Outcome::Indeterminate { why } = &attempt.outcome else { return false };
        why.starts_with("warning")
    };
    scene.until(1, Some(cancel), taken_back).await;
    scene.set("RESET synchronous_standby_names").await;
    scene.acknowledged_again().await;

    let attempts = scene.workload.stop().await;
    let survivors = scene.workload.survivors(postgres.address.ip()).await.unwrap();
    let tally = ledger::tally(&attempts, &survivors);
    assert!(tally.acknowledged > 0 && tally.failed >= 4, "{tally:?}");
    assert!(tally.indeterminate_present > 0, "a cancelled wait leaves its row there: {tally:?}");
    assert!(tally.lost.is_empty() && tally.duplicated.is_empty(), "{tally:?}");
    assert!(tally.failed_present.is_empty(), "{tally:?}");
    assert_eq!(ledger::invented(&attempts, &survivors), vec![]);
}
