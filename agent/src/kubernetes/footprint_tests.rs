//! What a hundred watched pairs cost: memory and time of a process of its own, and requests.

use std::process::{Child, Command, Stdio};

use super::*;

const PAIRS: usize = 100;
/// For the child: where the API server is.
const SERVER: &str = "CONTINUUM_FOOTPRINT_SERVER";
/// What Linux counts in for every process, whatever its own clock does.
const TICKS_PER_SECOND: f64 = 100.0;
const WINDOW: Duration = Duration::from_secs(60);

struct Part(Child);

impl Drop for Part {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}

fn name(number: usize) -> String {
    format!("pair-{number}")
}

/// The controller, and a core that tells of another lag each half minute, as the real one does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the_footprint_of_a_hundred_pairs: make footprint-kube"]
async fn part_of_the_footprint() {
    let Ok(server) = std::env::var(SERVER) else { return };
    let mut settings = kube::Config::new(server.parse().unwrap());
    settings.auth_info.token = Some("agent".to_owned().into());
    let core = ScriptedCore::default();
    let (desk, _handle) = core.connect();
    let controller = Controller {
        cluster: Cluster::with(settings, "db").unwrap(),
        region: RegionId::new("hel").unwrap(),
        timing: Timing::default(),
        clock: clock(),
        desk: desk.clone(),
        pairs: Pairs::default(),
        backups: BackupDesk::new(&RegionId::new("hel").unwrap(), &[], &clock()),
        roles: RoleDesk::new(&RegionId::new("hel").unwrap(), &Pairs::default(), &clock()),
    };
    seed::spawn(controller.run());
    for lag in 1.. {
        tokio::time::sleep(Duration::from_secs(30)).await;
        let pairs = core.kept().specs.clone().into_iter().map(|(pair, (version, spec))| {
            let lagging = PairStanding { lag_bytes: Some(lag), ..standing(version, &spec) };
            (pair, Some(lagging.into()))
        });
        desk.told(false, pairs.collect());
    }
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Seconds of processor time so far.
fn processor(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|one| one.parse::<f64>().unwrap()).sum();
    ticks / TICKS_PER_SECOND
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes two minutes: make footprint-kube"]
async fn the_footprint_of_a_hundred_pairs() {
    let mut site = Site::start().await;
    for number in 0..PAIRS {
        site.create(&object(&name(number))).await;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "kubernetes::controller::tests::footprint::part_of_the_footprint",
        ])
        .env(SERVER, site.server.url())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let part = Part(child);
    let pid = part.0.id();
    let healthy = |server: &ApiServer, number: usize| {
        let object = server.peek("continuums.dr.openova.io", "db", &name(number)).unwrap();
        object["status"]["phase"] == "Healthy"
    };
    eventually("all of them healthy", async || {
        (0..PAIRS).all(|number| healthy(&site.server, number)).then_some(())
    })
    .await;
    site.server.control().forget_requests();
    let before = processor(pid);
    tokio::time::sleep(WINDOW).await;
    let cores = (processor(pid) - before) / WINDOW.as_secs_f64();
    let resident = resident_kib(pid);
    println!("resident {resident} KiB, {cores:.3} of a core");
    for ((verb, kind, _), rate) in site.server.control().per_minute() {
        println!("{verb} {kind}: {rate:.1} a minute");
    }
    // An outage: what was changed right after it is seen within half a minute.
    site.server.down().await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    site.server.up().await.unwrap();
    site.api = Api::namespaced(site.server.client().unwrap(), "db");
    let up = BootClock.now();
    site.create(&object("late")).await;
    eventually("the late one", async || {
        let object = site.server.peek("continuums.dr.openova.io", "db", "late")?;
        object["status"]["phase"].is_string().then_some(())
    })
    .await;
    println!("seen {:?} after the outage", BootClock.now().since(up));
    // Promised is half of it and less, for a release build; this only catches what grows.
    assert!(resident < 100 * 1024, "{resident} KiB");
    assert!(cores < 0.5, "{cores} of a core");
}
