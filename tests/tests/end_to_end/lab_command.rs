//! `continuum lab` as a person runs it: it ends well, and whatever way it ends, nothing is left.

use std::path::{Path, PathBuf};
use std::time::Duration;

use continuum_chaos::LabReport;
use continuum_chaos::janitor;
use continuum_chaos::lab::binary;
use tokio::process::{Child, Command};

const LAB_LIMIT: Duration = Duration::from_secs(280);
const GONE_LIMIT: Duration = Duration::from_secs(40);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

fn lab(temporary: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(binary().expect("the binary is built"));
    command.arg("lab").args(arguments).env("TMPDIR", temporary).kill_on_drop(true);
    command.spawn().expect("the lab starts")
}

/// Short, because unix sockets lie below it.
fn temporary() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("ct-").tempdir_in("/tmp").expect("a directory")
}

fn labs_in(temporary: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(temporary).expect("the directory is there");
    entries.flatten().map(|entry| entry.path()).collect()
}

async fn until(what: &str, limit: Duration, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    };
    tokio::time::timeout(limit, waiting)
        .await
        .unwrap_or_else(|_| panic!("{what}: not in {limit:?}"));
}

async fn runs_to_its_end(times: usize, arguments: &[&str]) {
    let temporary = temporary();
    open_to_all(temporary.path());
    for run in 1..=times {
        let json = temporary.path().join("report.json");
        let text = json.display().to_string();
        let mut child = lab(temporary.path(), &[arguments, &["--json", &text]].concat());
        let ended = tokio::time::timeout(LAB_LIMIT, child.wait()).await;
        let status = ended.expect("the lab ends").expect("the lab is waited for");
        assert!(status.success(), "run {run}: {status}");
        let report: LabReport =
            serde_json::from_slice(&std::fs::read(&json).expect("the report")).expect("its format");
        assert!(report.passed(), "run {run}: {:?}", report.violations);
        assert_eq!(report.events.len(), 2);
        assert!(report.verdict.tally.lost.is_empty() && report.verdict.tally.duplicated.is_empty());
        for event in &report.events {
            println!("run {run}: {}: write gap {:?} ms", event.event, event.write_gap_ms);
        }
        std::fs::remove_file(&json).expect("the report is removed");
        assert_eq!(labs_in(temporary.path()), Vec::<PathBuf>::new(), "run {run} left files");
    }
}

/// PostgreSQL's user must be able to pass through.
fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).expect("ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_moves_fails_over_rejoins_and_leaves_nothing() {
    runs_to_its_end(1, &["--ttl", "3s"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: three times in a row with the default ttl of 10 s"]
async fn it_ends_well_three_times_in_a_row() {
    runs_to_its_end(3, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: the whole lab once more, with its name at a PowerDNS"]
async fn it_ends_well_with_its_name_at_a_powerdns() {
    runs_to_its_end(1, &["--ttl", "3s", "--names", "powerdns"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: the whole lab once more, with names at every kind of name server"]
async fn it_ends_well_with_names_at_every_kind_of_name_server() {
    runs_to_its_end(1, &["--ttl", "3s", "--names", "everywhere"]).await;
}

/// Starts a lab, ends it by `signal` once its processes run, and requires that nothing is left.
async fn ended_by(signal: rustix::process::Signal) {
    let temporary = temporary();
    open_to_all(temporary.path());
    let mut child = lab(temporary.path(), &["--ttl", "3s"]);
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).expect("it runs");
    let directory = || labs_in(temporary.path()).into_iter().next();
    until("PostgreSQL runs", Duration::from_secs(90), || {
        let processes = directory().map(|directory| janitor::processes_of(&directory));
        processes.is_some_and(|all| all.iter().any(|process| process.name == "postgres"))
    })
    .await;
    let directory = directory().expect("the lab's directory");
    let processes = janitor::processes_of(&directory);
    assert!(processes.len() >= 7, "{processes:?}");
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, signal).expect("the lab is there");
    let ended = tokio::time::timeout(GONE_LIMIT, child.wait()).await;
    ended.expect("the lab ends").expect("the lab is waited for");
    until("the directory is gone", GONE_LIMIT, || !directory.exists()).await;
    let alive = |process: &continuum_chaos::process::Process| {
        continuum_chaos::process::read(process.pid)
            .is_some_and(|now| now.started == process.started && !now.zombie)
    };
    let left: Vec<_> = processes.iter().filter(|process| alive(process)).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_killed_with_sigkill_and_leaves_nothing() {
    ended_by(rustix::process::Signal::KILL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_interrupted_and_leaves_nothing() {
    ended_by(rustix::process::Signal::INT).await;
}
