//! Starting PostgreSQL, and what its end means.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use continuum_domain::SyncNames;
use continuum_domain::observation::ProcessState;
use continuum_runtime::seed;
use rustix::process::Signal;
use tokio::process::Child;

use super::core::{Guard, Ticket};
use super::process::{Handle, Instance, remove_stale_lock};
use super::{Failure, blocking, files, state, tools};
use crate::plane::{StopMode, Upstream};
use crate::wire::Answer;

/// How often PostgreSQL's own status is looked at while it starts.
const START_POLL: Duration = Duration::from_millis(2);
/// How often what a dead postmaster left is swept.
const SWEEP_POLL: Duration = Duration::from_millis(1);
/// The log is set aside at a start once it is larger than this.
const LOG_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How much of the log's end is read for an error.
const LOG_TAIL_BYTES: u64 = 4 * 1024;

/// The PostgreSQL process.
#[derive(Debug)]
pub(crate) struct Running {
    pub pid: i32,
    pub handle: Arc<Handle>,
    pub instance: Instance,
    pub ready: bool,
    /// The settings changed while it started.
    pub reload_when_ready: bool,
    /// A promotion was requested in this life of the process: it may be a primary at any instant,
    /// so the deadline stops it (R5).
    pub promoted: bool,
    pub stopping: Option<StopMode>,
    pub why: Option<String>,
}

impl Running {
    pub fn state(&self) -> ProcessState {
        match (self.stopping, self.ready) {
            (Some(_), _) => ProcessState::Stopping,
            (None, true) => ProcessState::Running,
            (None, false) => ProcessState::Starting,
        }
    }
}

impl Guard {
    /// Starts PostgreSQL as a standby, always. Returns once it accepts connections.
    pub async fn start(
        self: &Arc<Self>,
        ticket: &Ticket,
        names: &SyncNames,
        upstream: Option<Upstream>,
    ) -> Result<Answer, Failure> {
        let pid = {
            let _turn = self.enter(ticket).await?;
            self.clone().refresh_identity().await;
            {
                let mut inner = self.inner();
                inner.may_start()?;
                // R10: starting only adds names.
                state::add_names(&mut inner.names, names);
                inner.upstream = upstream;
            }
            self.persist().await?;
            self.prepare_start().await?;
            let child = {
                let mut inner = self.inner();
                // A stop, a fence or a newer agent that came while files were written wins.
                inner.recheck(ticket)?;
                inner.may_start()?;
                let (child, running) = self.spawn_postgres()?;
                inner.running = Some(running);
                child
            };
            self.notify();
            let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
            drop(seed::spawn(self.clone().reap(child)));
            pid
        };
        self.wait_ready(pid).await
    }

    /// Writes the whole configuration from the guard's own state.
    pub async fn write_configuration(&self) -> Result<(), Failure> {
        let (config, layout, owner) = (self.config.clone(), self.layout.clone(), self.owner());
        let replication = self.replication_text();
        let raised = files::raised_settings(&self.config, &self.control_text().await?);
        blocking("writing the configuration", move || {
            let password = files::read_password(&config.replication_password_file)?;
            for (path, text) in [
                (layout.main(), files::main_text(&config, &layout, &raised)),
                (layout.for_rewind(), files::rewind_text(&layout)),
                (layout.hba(), files::hba_text(&config)),
                (layout.ident(), String::new()),
                (layout.replication(), replication),
                (layout.passfile(), files::passfile_text(&config, &password)),
            ] {
                files::replace(&path, text.as_bytes(), owner.as_ref(), false)?;
            }
            Ok(())
        })
        .await
    }

    async fn prepare_start(&self) -> Result<(), Failure> {
        self.write_configuration().await?;
        self.uncover_wal().await?;
        let (config, layout, owner) = (self.config.clone(), self.layout.clone(), self.owner());
        blocking("preparing the start", move || {
            let (data, owner) = (&config.data_directory, owner.as_ref());
            files::strip_overrides(data, owner)?;
            for name in ["recovery.signal", "promote", "backup_label.old"] {
                files::remove_if_there(&data.join(name))?;
            }
            // PostgreSQL boots as a standby, always; only a promotion under a lease changes that.
            if !data.join("standby.signal").exists() {
                files::replace(&data.join("standby.signal"), b"", owner, true)?;
            }
            remove_stale_lock(&data.join("postmaster.pid"))?;
            let socket = format!(".s.PGSQL.{}.lock", config.port);
            remove_stale_lock(&config.socket_directory.join(socket))?;
            if fs::metadata(layout.log()).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
                fs::rename(layout.log(), layout.log().with_extension("log.1"))?;
            }
            Ok(())
        })
        .await
    }

    /// Spawns from this thread, which must be the main one (R5).
    fn spawn_postgres(&self) -> Result<(Child, Running), Failure> {
        let what = "starting PostgreSQL";
        let failed = |error: std::io::Error| Failure::failed(what, error);
        let data = &self.config.data_directory;
        let instance = Instance::of(data).map_err(failed)?;
        let log = OpenOptions::new().create(true).append(true).open(self.layout.log());
        let log = log.map_err(failed)?;
        let mut command = self.tools.command("postgres");
        command.arg("-D").arg(data);
        command.arg("-c").arg(format!("config_file={}", self.layout.main().display()));
        command.stdout(log.try_clone().map_err(failed)?).stderr(log).stdin(Stdio::null());
        let child = command.spawn().map_err(failed)?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| Failure::failed(what, "it ended at once"))?;
        let handle = Arc::new(Handle::open(pid).map_err(failed)?);
        let running = Running {
            pid,
            handle,
            instance,
            ready: false,
            reload_when_ready: false,
            promoted: false,
            stopping: None,
            why: None,
        };
        tracing::info!(pid, "PostgreSQL spawned");
        Ok((child, running))
    }

    /// Waits for the postmaster's end, then kills whatever it left: a backend without its
    /// postmaster could still acknowledge (R5).
    async fn reap(self: Arc<Self>, mut child: Child) {
        let status = child.wait().await;
        let (instance, why) = {
            let mut inner = self.inner();
            let Some(running) = inner.running.as_mut() else { return };
            let expected = running.stopping.is_some();
            running.stopping.get_or_insert(StopMode::Immediate);
            let why = running.why.clone().filter(|_| expected);
            (running.instance, why.unwrap_or_else(|| "it ended by itself".into()))
        };
        self.notify();
        while instance.kill_all(None) > 0 {
            tokio::time::sleep(SWEEP_POLL).await;
        }
        let how = match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        {
            let mut inner = self.inner();
            inner.running = None;
            inner.exits += 1;
            inner.last_exit = Some(format!("{why} ({how})"));
        }
        tracing::warn!(why, how, "PostgreSQL has ended, no process of it is left");
        self.notify();
    }

    async fn wait_ready(&self, pid: i32) -> Result<Answer, Failure> {
        let path = self.config.data_directory.join("postmaster.pid");
        loop {
            if self.start_has_failed(pid) {
                return Err(Failure::failed("starting PostgreSQL", self.log_tail().await));
            }
            let text = tokio::fs::read_to_string(&path).await.unwrap_or_default();
            if is_ready(&text, pid) {
                if let Some(running) = self.inner().running.as_mut().filter(|r| r.pid == pid) {
                    running.ready = true;
                    if std::mem::take(&mut running.reload_when_ready) {
                        running.handle.signal(Signal::HUP);
                    }
                }
                self.notify();
                return Ok(Answer::Nothing);
            }
            tokio::time::sleep(START_POLL).await;
        }
    }

    fn start_has_failed(&self, pid: i32) -> bool {
        let inner = self.inner();
        let ours = inner.running.as_ref().filter(|running| running.pid == pid);
        ours.is_none_or(|running| running.stopping.is_some())
    }

    async fn log_tail(&self) -> String {
        let path = self.layout.log();
        let text = blocking("reading the log", move || read_end(&path)).await;
        tools::last_lines(&text.unwrap_or_else(|failure| failure.to_string()))
    }
}

impl super::core::Inner {
    pub fn not_barred(&self) -> Result<(), Failure> {
        if self.ending {
            return Err(Failure::refused("the guard is ending"));
        }
        match &self.fence {
            Some(reason) => {
                Err(Failure::refused(format!("the member is fenced: {reason}; unfence it first")))
            }
            None => Ok(()),
        }
    }

    fn may_start(&self) -> Result<(), Failure> {
        self.not_barred()?;
        if self.running.is_some() {
            return Err(Failure::refused("PostgreSQL runs already"));
        }
        if let Some(job) = self.job {
            return Err(Failure::refused(format!("{job} is under way")));
        }
        if self.identity.is_none() {
            return Err(Failure::refused(
                "there is no usable data directory; initialise or clone it first (R13)",
            ));
        }
        Ok(())
    }
}

/// Whether `postmaster.pid` is of this process and says that connections are accepted.
fn is_ready(text: &str, pid: i32) -> bool {
    let mut lines = text.lines();
    let ours = lines.next().is_some_and(|line| line.trim() == pid.to_string());
    ours && lines.nth(6).is_some_and(|status| status.trim() == "ready")
}

fn read_end(path: &Path) -> std::io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_ready_line_counts() {
        let text = "77\n/data\n1700000000\n5501\n/sock\n127.0.0.2\n  1 2\nready   \n";
        assert!(is_ready(text, 77));
        assert!(!is_ready(text, 78));
        assert!(!is_ready(&text.replace("ready", "starting"), 77));
        assert!(!is_ready("77\n/data\n", 77));
    }
}
