//! Guards as real processes with real PostgreSQL, in a temporary directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use continuum_cnpg_pair::contract::{Bench, region};
use continuum_cnpg_pair::plane::Upstream;
use continuum_cnpg_pair::{DataPlane, GuardConfig, PlaneConfig, PostgresPlane, guard};
use continuum_domain::{RegionId, Tick};
use continuum_runtime::{BootClock, Clock};

pub const REGIONS: [&str; 2] = ["fsn", "hel"];

/// A guard process; killed, and PostgreSQL with it, when dropped.
pub struct GuardProcess {
    pub config: GuardConfig,
    child: Child,
}

/// The world of one test.
pub struct World {
    /// Dropped before the directory they work in.
    pub guards: BTreeMap<RegionId, GuardProcess>,
    configs: BTreeMap<RegionId, GuardConfig>,
    directory: tempfile::TempDir,
}

impl World {
    /// A world, or `None` with a printed reason where PostgreSQL is missing.
    pub fn new() -> Option<Self> {
        if let Err(error) = guard::locate_binaries(None) {
            println!("skipped: {error}");
            return None;
        }
        let directory = tempfile::Builder::new().prefix("cpair-").tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let password = directory.path().join("password");
        fs::write(&password, "correct:horse\\battery\n").unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        let configs = REGIONS
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let config =
                    config(directory.path(), name, &format!("127.0.0.{}", 11 + index), &password);
                (region(name), config)
            })
            .collect();
        Some(Self { directory, configs, guards: BTreeMap::new() })
    }

    pub fn config(&self, region: &RegionId) -> &GuardConfig {
        &self.configs[region]
    }

    pub fn start_guard(&mut self, region: &RegionId) {
        let config = self.configs[region].clone();
        let file = self.directory.path().join(format!("{region}.toml"));
        fs::write(&file, toml::to_string(&config).unwrap()).unwrap();
        let guard = GuardProcess::spawn(config, file);
        self.guards.insert(region.clone(), guard);
    }

    pub fn plane(&self, region: &RegionId) -> PostgresPlane {
        PostgresPlane::new(PlaneConfig::from(self.config(region)), Arc::new(BootClock))
    }
}

fn config(root: &Path, name: &str, host: &str, password: &Path) -> GuardConfig {
    let listener = TcpListener::bind((host, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let root = root.join(name);
    let settings = [
        ("shared_buffers", "16MB"),
        ("max_connections", "30"),
        ("min_wal_size", "32MB"),
        ("wal_recycle", "off"),
        ("wal_init_zero", "off"),
        ("fsync", "off"),
    ];
    GuardConfig {
        pair: continuum_domain::PairId::new("shop").unwrap(),
        region: region(name),
        members: REGIONS.iter().map(|name| region(name)).collect::<BTreeSet<_>>(),
        socket: root.join("g.sock"),
        data_directory: root.join("pg").join("data"),
        state_directory: root.join("guard"),
        bin_directory: None,
        os_user: "postgres".into(),
        listen_host: host.into(),
        port,
        socket_directory: root.join("s"),
        replication_password_file: password.into(),
        durability: continuum_domain::spec::Durability::Available,
        max_slot_wal_keep_size: "64MB".into(),
        settings: settings.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        trusted_networks: vec!["127.0.0.0/8".into()],
        hba: Vec::new(),
        stop_budget: Duration::from_secs(3),
    }
}

impl GuardProcess {
    fn spawn(config: GuardConfig, file: PathBuf) -> Self {
        let _ = fs::remove_file(&config.socket);
        let log = config.state_directory.with_extension("log");
        fs::create_dir_all(config.state_directory.parent().unwrap()).unwrap();
        let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_continuum-guard"))
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { config, child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end by itself.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }

    /// What the guard wrote, for a failed test.
    pub fn log(&self) -> String {
        fs::read_to_string(self.config.state_directory.with_extension("log")).unwrap_or_default()
    }

    /// Live processes whose working directory is this data directory.
    pub fn postgres_processes(&self) -> Vec<u32> {
        processes_in(&self.config.data_directory)
    }
}

impl Drop for GuardProcess {
    fn drop(&mut self) {
        self.kill();
        for pid in self.postgres_processes() {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
        if std::thread::panicking() {
            eprintln!("--- guard {}:\n{}", self.config.region, self.log());
            let log = self.config.state_directory.join("log/postgresql.log");
            eprintln!("--- postgres:\n{}", fs::read_to_string(log).unwrap_or_default());
        }
    }
}

pub fn processes_in(data: &Path) -> Vec<u32> {
    let Ok(wanted) = fs::metadata(data) else { return Vec::new() };
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            fs::metadata(format!("/proc/{pid}/cwd"))
                .is_ok_and(|cwd| (cwd.dev(), cwd.ino()) == (wanted.dev(), wanted.ino()))
        })
        .collect()
}

/// Polls until `condition` holds; panics with `what` after 20 s.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = BootClock.now() + Duration::from_secs(20);
    while !condition().await {
        assert!(BootClock.now() < deadline, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[async_trait(?Send)]
impl Bench for World {
    async fn agent(&mut self, region: &RegionId) -> Arc<dyn DataPlane> {
        if !self.guards.contains_key(region) {
            self.start_guard(region);
        }
        let plane = Arc::new(self.plane(region));
        until("the guard answers", async || plane.status().await.is_ok()).await;
        plane
    }

    fn upstream(&self, region: &RegionId) -> Upstream {
        let config = self.config(region);
        Upstream { region: region.clone(), host: config.listen_host.clone(), port: config.port }
    }

    async fn restart_actuator(&mut self, region: &RegionId) {
        let mut guard = self.guards.remove(region).unwrap();
        guard.kill();
        drop(guard);
        self.start_guard(region);
        let plane = self.plane(region);
        until("the guard answers", async || plane.status().await.is_ok()).await;
    }

    async fn stick_receiver(&mut self, region: &RegionId, stuck: bool) {
        let signal = if stuck { "-STOP" } else { "-CONT" };
        let receives = |pid: &u32| {
            let title = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            title.contains("walreceiver")
        };
        let receivers: Vec<u32> =
            self.guards[region].postgres_processes().into_iter().filter(receives).collect();
        assert_eq!(receivers.len(), 1, "one WAL receiver in {region}");
        let pid = receivers[0].to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    async fn move_away(&mut self, region: &RegionId) {
        let data = self.config(region).data_directory.clone();
        fs::rename(&data, data.with_extension("moved-away")).unwrap();
    }

    fn now(&self) -> Tick {
        BootClock.now()
    }

    async fn pause(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}
