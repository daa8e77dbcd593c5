//! One real PostgreSQL: its files, its process, its tools.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};

use crate::operator::spec::Control;

/// How long any tool may take.
const TOOL: Duration = Duration::from_secs(60);
/// How often a new process is asked whether it answers, and how many times.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: usize = 1_500;
/// The user that PostgreSQL runs as where the test is root.
const USER: &str = "postgres";

/// How PostgreSQL is shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// When the last session has ended by itself, for as long; fast after that.
    Smart(Duration),
    /// Sessions are ended, the archiver and the standbys are waited for.
    Fast,
}

/// PostgreSQL in a directory of its own, killed with this value.
#[derive(Debug)]
pub struct Instance {
    bin: PathBuf,
    directory: PathBuf,
    address: IpAddr,
    port: u16,
    process: Option<Child>,
}

/// The file whose presence makes the archiver hang, and with it a fast shutdown.
pub const SLOW: &str = "slow";
/// The file whose presence makes the archiver fail.
pub const FAILING: &str = "failing";

/// Makes the archiver of the instance in a directory do so, or lets it go on.
///
/// # Errors
/// The file could not be written or removed.
pub fn mark(directory: &Path, name: &str, there: bool) -> io::Result<()> {
    let path = directory.join(name);
    match (there, path.exists()) {
        (true, false) => {
            fs::create_dir_all(directory)?;
            fs::write(&path, "")
        }
        (false, true) => fs::remove_file(&path),
        _ => Ok(()),
    }
}

fn owner() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = users.lines().find(|line| line.split(':').next() == Some(USER))?;
    let mut numbers = user.split(':').skip(2).map_while(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

impl Instance {
    /// None yet: what there will be in `directory`, by the programs in `bin`, at this address and port.
    ///
    /// # Errors
    /// The directory could not be made.
    pub fn new(bin: &Path, directory: &Path, address: IpAddr, port: u16) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
        if let Some((user, group)) = owner() {
            chown(directory, Some(user), Some(group))?;
        }
        let (bin, directory) = (bin.to_owned(), directory.to_owned());
        Ok(Self { bin, directory, address, port, process: None })
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Whether there is a database.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.data().join("PG_VERSION").exists()
    }

    /// Whether it would start, or has started, as a standby.
    #[must_use]
    pub fn is_standby(&self) -> bool {
        self.data().join("standby.signal").exists()
    }

    /// A program of PostgreSQL's, as its user, in its directory, killed with the test.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if owner().is_some() {
            let (user, group) = (format!("--reuid={USER}"), format!("--regid={USER}"));
            command.args([&user, &group, "--init-groups"]);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places = vec![self.bin.clone()];
        places.extend(std::env::split_paths(&path));
        let path = std::env::join_paths(places).unwrap_or(path);
        command.arg("--").arg(program.as_ref());
        command.env_clear().env("PATH", path).env("LC_ALL", "C").env("TZ", "UTC");
        command.env("PGDATA", self.data()).env("PGHOST", &self.directory).env("PGUSER", USER);
        command.env("PGPORT", self.port.to_string());
        command.current_dir(&self.directory).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a tool to its end, and returns what it printed.
    ///
    /// # Errors
    /// It failed, or took too long.
    pub async fn tool(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = self.command(program);
        let run = command.args(arguments).output();
        let output =
            tokio::time::timeout(TOOL, run).await.map_err(|_| format!("{program}: late"))?;
        let output = output.map_err(|error| format!("{program}: {error}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// Asks it by SQL.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn sql(&self, text: &str) -> Result<String, String> {
        self.tool("psql", &["-XAtq", "-d", "postgres", "-c", text]).await
    }

    /// Makes a new database.
    ///
    /// # Errors
    /// The tool failed.
    pub async fn initialise(&self) -> Result<(), String> {
        let data = self.data().display().to_string();
        let flags = ["-D", &data, "-A", "trust", "-U", USER, "--no-sync", "-E", "UTF8"];
        self.tool("initdb", &[flags.as_slice(), &["--locale=C"]].concat()).await.map(|_| ())
    }

    /// Makes a copy of another, which follows it.
    ///
    /// # Errors
    /// The tool failed; what it left is gone.
    pub async fn copy(&self, from: &str) -> Result<(), String> {
        let data = self.data().display().to_string();
        let flags = ["-D", &data, "-X", "stream", "-c", "fast", "--no-sync", "-d", from];
        if let Err(error) = self.tool("pg_basebackup", &flags).await {
            let _none = fs::remove_dir_all(self.data());
            return Err(error);
        }
        self.make_standby().map_err(|error| error.to_string())
    }

    /// Makes it a standby at its next start.
    ///
    /// # Errors
    /// The file could not be written.
    pub fn make_standby(&self) -> io::Result<()> {
        let path = self.data().join("standby.signal");
        fs::write(&path, "")?;
        if let Some((user, group)) = owner() {
            chown(&path, Some(user), Some(group))?;
        }
        Ok(())
    }

    /// Writes its configuration, and has it read where it runs.
    ///
    /// # Errors
    /// The file could not be written.
    pub fn configure(
        &mut self,
        name: &str,
        upstream: Option<&str>,
        settings: &[(String, String)],
    ) -> io::Result<()> {
        let quote = |value: &str| format!("'{}'", value.replace('\'', "''"));
        let directory = self.directory.display();
        let mut text = format!(
            "listen_addresses = '{}'\nport = {}\nunix_socket_directories = '{directory}'\n\
             cluster_name = {}\nshared_buffers = '16MB'\nmax_connections = 40\nfsync = off\n\
             wal_keep_size = '64MB'\nwal_log_hints = on\narchive_mode = on\n\
             archive_command = 'while test -e {}; do sleep 0.1; done; test ! -e {}'\n\
             primary_conninfo = {}\n\
             wal_retrieve_retry_interval = '100ms'\n",
            self.address,
            self.port,
            quote(name),
            self.directory.join(SLOW).display(),
            self.directory.join(FAILING).display(),
            quote(upstream.unwrap_or_default()),
        );
        for (name, value) in settings {
            text += &format!("{name} = {}\n", quote(value));
        }
        // The directory may be another one since.
        let path = self.data().join("postgresql.conf");
        if fs::read_to_string(&path).is_ok_and(|found| found == text) {
            return Ok(());
        }
        fs::write(path, &text)?;
        self.signal(Signal::HUP);
        Ok(())
    }

    /// Whether the process is there.
    pub fn runs(&mut self) -> bool {
        match &mut self.process {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => false,
        }
    }

    /// Starts it, and waits until it answers.
    ///
    /// # Errors
    /// It ended, or never answered.
    pub async fn start(&mut self) -> Result<(), String> {
        let log = self.directory.join("postgres.log");
        let log = fs::OpenOptions::new().create(true).append(true).open(&log);
        let log = log.map_err(|error| error.to_string())?;
        let again = log.try_clone().map_err(|error| error.to_string())?;
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).stdout(log).stderr(again).process_group(0);
        self.process = Some(command.spawn().map_err(|error| error.to_string())?);
        for _ in 0..LOOKS {
            if self.sql("SELECT 1").await.is_ok() {
                return Ok(());
            }
            if !self.runs() {
                return Err("PostgreSQL ended at its start".to_owned());
            }
            tokio::time::sleep(LOOK).await;
        }
        Err("PostgreSQL does not answer".to_owned())
    }

    fn signal(&self, signal: Signal) {
        let pid = self.process.as_ref().and_then(Child::id).and_then(|pid| pid.try_into().ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _gone = kill_process(pid, signal);
        }
    }

    /// Shuts it down, and after `bound` without mercy. Tells whether it went by itself.
    pub async fn stop(&mut self, how: Stop, bound: Duration) -> bool {
        if let Stop::Smart(wait) = how {
            self.signal(Signal::TERM);
            if self.ended_within(wait).await {
                return true;
            }
        }
        self.signal(Signal::INT);
        if self.ended_within(bound).await {
            return true;
        }
        self.kill(Signal::QUIT).await;
        false
    }

    /// Ends it at once.
    async fn kill(&mut self, signal: Signal) {
        self.signal(signal);
        if !self.ended_within(TOOL).await {
            self.signal(Signal::KILL);
            let _ended = self.ended_within(TOOL).await;
        }
    }

    async fn ended_within(&mut self, bound: Duration) -> bool {
        let Some(child) = &mut self.process else { return true };
        if tokio::time::timeout(bound, child.wait()).await.is_err() {
            return false;
        }
        self.process = None;
        true
    }

    /// What its control file says.
    ///
    /// # Errors
    /// The tool failed.
    pub async fn control(&self) -> Result<Control, String> {
        let data = self.data().display().to_string();
        Ok(Control::read(&self.tool("pg_controldata", &["-D", &data]).await?))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let pid = self.process.as_ref().and_then(Child::id).and_then(|pid| pid.try_into().ok());
        if let Some(group) = pid.and_then(Pid::from_raw) {
            let _gone = kill_process_group(group, Signal::KILL);
        }
    }
}
