use super::*;

fn manifest(directory: &Path, parts: &[(&str, &[&str])]) -> Manifest {
    let part = |(name, argv): &(&str, &[&str])| Part {
        name: (*name).to_owned(),
        role: name.rsplit('-').next().unwrap().to_owned(),
        region: Some("fsn".into()),
        pid: None,
        started: None,
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        ports: BTreeMap::new(),
        data_directory: directory.to_owned(),
        log: directory.join(format!("{name}.log")),
    };
    Manifest {
        directory: directory.to_owned(),
        lab_pid: std::process::id().cast_signed(),
        pair: "app".into(),
        name: "app.lab".into(),
        dns: "127.0.0.1:53".into(),
        postgresql: BTreeMap::new(),
        operator_config: PathBuf::new(),
        parts: parts.iter().map(part).collect(),
    }
}

#[tokio::test]
async fn a_part_is_started_killed_and_restarted_by_name_and_lab_json_follows() {
    let directory = tempfile::tempdir().unwrap();
    let listed = manifest(directory.path(), &[("fsn-agent", &["sleep", "600"])]);
    let mut supervisor = Supervisor::new(listed).unwrap();
    supervisor.start("fsn-agent").unwrap();
    let first = Manifest::read(directory.path()).unwrap().unwrap().parts[0].pid.unwrap();
    assert!(supervisor.is_running("fsn-agent"));
    supervisor.restart("fsn-agent").await.unwrap();
    let second = Manifest::read(directory.path()).unwrap().unwrap().parts[0].pid.unwrap();
    assert_ne!(first, second);
    supervisor.kill("fsn-agent").await.unwrap();
    assert!(!supervisor.is_running("fsn-agent"));
    supervisor.check().expect("a part that we killed has not ended by itself");
    assert!(Manifest::read(directory.path()).unwrap().unwrap().parts[0].pid.is_none());
    assert!(matches!(supervisor.kill("nobody").await, Err(Error::Unknown(_))));
}

#[tokio::test]
async fn a_part_that_ends_by_itself_is_reported_with_the_end_of_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let script = "echo configuration is wrong >&2; exit 2";
    let listed = manifest(directory.path(), &[("core-1", &["sh", "-c", script])]);
    let mut supervisor = Supervisor::new(listed).unwrap();
    supervisor.start("core-1").unwrap();
    let running = supervisor.running.get_mut("core-1").unwrap();
    running.ended.wait_for(Option::is_some).await.unwrap();
    let text = supervisor.check().unwrap_err().to_string();
    assert!(text.contains("exit status: 2") && text.contains("configuration is wrong"), "{text}");
}

#[tokio::test]
async fn a_region_is_frozen_thawed_and_killed_with_everything_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let script = "sleep 600 & sleep 600";
    let parts: [(&str, &[&str]); 2] =
        [("fsn-guard", &["sh", "-c", script]), ("fsn-agent", &["sleep", "600"])];
    let mut supervisor = Supervisor::new(manifest(directory.path(), &parts)).unwrap();
    supervisor.start("fsn-guard").unwrap();
    supervisor.start("fsn-agent").unwrap();
    assert_eq!(supervisor.parts_of("fsn"), ["fsn-agent", "fsn-guard"]);
    let all = || supervisor_states(&supervisor_pids(directory.path()));
    until("the guard's children appear", || supervisor.processes_of("fsn").len() == 4).await;
    assert_eq!(supervisor.freeze("fsn"), 4);
    // A signal was sent when the call returns; a process that runs takes it at its next turn.
    until("all stand still", || all().iter().all(|state| *state == 'T')).await;
    supervisor.thaw("fsn");
    until("all go on", || all().iter().all(|state| *state != 'T')).await;
    supervisor.kill_region("fsn").await.unwrap();
    assert!(supervisor.processes_of("fsn").is_empty());
    supervisor.check().unwrap();
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let met = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), met).await.expect(what);
}

fn supervisor_pids(directory: &Path) -> Vec<i32> {
    let listed = Manifest::read(directory).unwrap().unwrap();
    let roots: Vec<i32> = listed.parts.iter().filter_map(|part| part.pid).collect();
    process::trees(&roots, &process::table()).into_iter().map(|process| process.pid).collect()
}

fn supervisor_states(pids: &[i32]) -> Vec<char> {
    let state = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat[stat.rfind(')')? + 2..].chars().next()
    };
    pids.iter().filter_map(state).collect()
}
