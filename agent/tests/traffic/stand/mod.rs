//! A PgBouncer before a PostgreSQL that answers at two addresses, as two regions would.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use continuum_agent::traffic::config::PgBouncerConfig;
use continuum_agent::traffic::contract::Stand;
use continuum_agent::traffic::pgbouncer::PgBouncer;
use continuum_agent::traffic::{Pointing, TrafficSwitch};
use continuum_domain::{Epoch, PairId, RegionId};
use continuum_runtime::{BootClock, Clock as _, seed};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// How long a server may take to answer after its start, and to end.
const LIMIT: Duration = Duration::from_secs(30);
/// A client that has not got through by then is held back.
const PATIENCE: Duration = Duration::from_millis(500);

pub const FSN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
pub const HEL: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// A process of a test, ended with it.
pub struct Ended(pub Child);

impl Ended {
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        let _gone_already = pid.map(|pid| kill_process(pid, signal));
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // PostgreSQL's immediate shutdown; PgBouncer ends by it as well.
        self.signal(Signal::CONT);
        self.signal(Signal::QUIT);
        let deadline = BootClock.now() + Duration::from_secs(5);
        while self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            if BootClock.now() > deadline {
                let _gone_already = self.0.kill();
                let _reaped = self.0.wait();
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// PostgreSQL's programs, and PgBouncer's; the error says what is missing.
pub fn programs() -> Result<(PathBuf, PathBuf), String> {
    let pgbouncer = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"];
    let pgbouncer = pgbouncer.map(PathBuf::from).into_iter().find(|program| program.is_file());
    let pgbouncer = pgbouncer.ok_or("PgBouncer is not installed: make pgbouncer")?;
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.map(|entry| entry.path()).max().map(|version| version.join("bin"));
    let given = std::env::var_os("CONTINUUM_PG_BIN").map(PathBuf::from);
    let postgres = given.or(newest).filter(|directory| directory.join("postgres").is_file());
    let postgres = postgres.ok_or("PostgreSQL's server is not installed: make postgres")?;
    Ok((postgres, pgbouncer))
}

/// A command that runs as user postgres when we are root, which neither program wants to be.
fn as_postgres(program: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
    command
}

/// Lets user postgres write there, and its group read what we write there (setgid).
fn share(directory: &Path) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = passwd.lines().find(|line| line.starts_with("postgres:"));
    let group = line.and_then(|line| line.split(':').nth(3)?.parse().ok());
    if let Some(group) = group.filter(|_| geteuid().is_root()) {
        std::os::unix::fs::chown(directory, None, Some(group)).expect("ours");
    }
    fs::set_permissions(directory, Permissions::from_mode(0o2777)).expect("ours");
}

fn free_port(addresses: &[Ipv4Addr]) -> u16 {
    loop {
        let first = TcpListener::bind((addresses[0], 0)).expect("a free port");
        let port = first.local_addr().expect("it has an address").port();
        if addresses[1..].iter().all(|address| TcpListener::bind((*address, port)).is_ok()) {
            return port;
        }
    }
}

/// The two servers and what is told to them.
pub struct Pooled {
    pub directory: tempfile::TempDir,
    _postgres: Ended,
    pub postgres_port: u16,
    pub pgbouncer: Ended,
    pub pgbouncer_port: u16,
    program: PathBuf,
    switch: PgBouncer,
    another: PgBouncer,
    clients: Vec<Client>,
}

impl Pooled {
    /// Starts both; PostgreSQL has no data yet, PgBouncer no database.
    pub async fn start() -> Result<Self, String> {
        let (postgres, program) = programs()?;
        let directory = tempfile::Builder::new().prefix("ct-").tempdir_in("/tmp").expect("made");
        share(directory.path());
        let data = directory.path().join("data");
        let mut initdb = as_postgres(&postgres.join("initdb"));
        initdb.args(["-U", "postgres", "-A", "trust", "--no-sync", "-D"]).arg(&data);
        assert!(initdb.stdout(Stdio::null()).status().expect("it runs").success());
        let postgres_port = free_port(&[FSN, HEL]);
        let mut server = as_postgres(&postgres.join("postgres"));
        server.arg("-D").arg(&data).args(["-p", &postgres_port.to_string(), "-F"]);
        server.args(["-c", &format!("listen_addresses={FSN},{HEL}"), "-k", ""]);
        let server = Ended(server.stderr(Stdio::null()).spawn().expect("it runs"));
        let pgbouncer_port = free_port(&[Ipv4Addr::LOCALHOST]);
        let config = write_files(directory.path(), pgbouncer_port);
        let pgbouncer = start_pgbouncer(&program, directory.path());
        let open = || PgBouncer::open(&config).expect("no file to read");
        let mut started = Self {
            _postgres: server,
            postgres_port,
            pgbouncer,
            pgbouncer_port,
            program,
            switch: open(),
            another: open(),
            clients: Vec::new(),
            directory,
        };
        started.answering().await;
        Ok(started)
    }

    async fn answering(&mut self) {
        let deadline = BootClock.now() + LIMIT;
        loop {
            let direct = client(FSN, self.postgres_port, "postgres").await;
            let console = client(Ipv4Addr::LOCALHOST, self.pgbouncer_port, "pgbouncer").await;
            match (direct, console) {
                (Ok(_), Ok(_)) => return,
                (direct, console) => {
                    let log = fs::read_to_string(self.directory.path().join("pgbouncer.log"));
                    let ended = self.pgbouncer.0.try_wait();
                    assert!(
                        BootClock.now() < deadline,
                        "{:?} {:?} {ended:?} {log:?}",
                        direct.err(),
                        console.err()
                    );
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills PgBouncer and starts it again with the same files.
    pub async fn restart_pgbouncer(&mut self) {
        self.pgbouncer.signal(Signal::KILL);
        let _reaped = self.pgbouncer.0.wait();
        self.pgbouncer = start_pgbouncer(&self.program, self.directory.path());
        self.answering().await;
    }

    /// Says a command at the console, as a person does.
    pub async fn by_hand(&self, command: &str) {
        let console = client(Ipv4Addr::LOCALHOST, self.pgbouncer_port, "pgbouncer").await;
        console.expect("a session").simple_query(command).await.expect("it is understood");
    }
}

fn write_files(directory: &Path, port: u16) -> PgBouncerConfig {
    let text = |name: &str| directory.join(name).display().to_string();
    let included = directory.join("databases.ini");
    fs::write(&included, "").expect("written");
    fs::write(directory.join("users.txt"), "\"postgres\" \"\"\n").expect("written");
    let ini = format!(
        "[databases]\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = trust\nauth_file = {}\nadmin_users = postgres\n\
         pool_mode = transaction\nserver_login_retry = 0.2\nlogfile = {}\npidfile = {}\n\
         %include {}\n",
        text("users.txt"),
        text("pgbouncer.log"),
        text("pgbouncer.pid"),
        included.display(),
    );
    fs::write(directory.join("pgbouncer.ini"), ini).expect("written");
    PgBouncerConfig {
        name: "pooler".into(),
        pair: PairId::new("app").expect("valid"),
        admin: format!("127.0.0.1:{port}"),
        admin_user: "postgres".into(),
        admin_password_file: None,
        databases_file: included,
        databases: [("app".to_owned(), "dbname=postgres user=postgres".to_owned())].into(),
    }
}

fn start_pgbouncer(program: &Path, directory: &Path) -> Ended {
    let mut command = as_postgres(program);
    command.arg("-q").arg(directory.join("pgbouncer.ini"));
    Ended(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs"))
}

/// A session; the error is for people.
pub async fn client(address: Ipv4Addr, port: u16, database: &str) -> Result<Client, String> {
    let mut config = Config::new();
    config.host(address.to_string()).port(port).user("postgres").dbname(database);
    let connecting = tokio::time::timeout(PATIENCE, config.connect(NoTls)).await;
    let (client, connection) =
        connecting.map_err(|_| "no session in time")?.map_err(|error| error.to_string())?;
    seed::spawn(async move {
        let _ends_with_the_client = connection.await;
    });
    Ok(client)
}

/// The one value of an answer.
pub fn value(answer: &[SimpleQueryMessage]) -> Option<String> {
    answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    })
}

#[async_trait]
impl Stand for Pooled {
    fn switch(&self) -> &dyn TrafficSwitch {
        &self.switch
    }

    fn another(&self) -> &dyn TrafficSwitch {
        &self.another
    }

    fn to(&self, epoch: u64, holder: &str) -> Pointing {
        let host = if holder == "fsn" { FSN } else { HEL };
        Pointing {
            pair: PairId::new("app").expect("valid"),
            epoch: Epoch(epoch),
            holder: RegionId::new(holder).expect("valid"),
            host: host.to_string(),
            port: self.postgres_port,
        }
    }

    async fn begin(&mut self) -> Option<String> {
        let client = client(Ipv4Addr::LOCALHOST, self.pgbouncer_port, "app").await.ok()?;
        let begun = async {
            client.simple_query("BEGIN").await.ok()?;
            let answer = client.simple_query("SELECT host(inet_server_addr())").await.ok()?;
            let address = value(&answer)?;
            Some(if address == FSN.to_string() { "fsn" } else { "hel" }.to_owned())
        };
        let holder = tokio::time::timeout(PATIENCE, begun).await.ok()??;
        self.clients.push(client);
        Some(holder)
    }

    async fn end(&mut self) {
        if !self.clients.is_empty() {
            let _ended_already = self.clients.remove(0).simple_query("COMMIT").await;
        }
    }

    async fn hold_by_hand(&mut self, held: bool) {
        self.by_hand(if held { "PAUSE app" } else { "RESUME app" }).await;
    }
}
