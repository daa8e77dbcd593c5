//! Runs every part of the lab as its own process: start, kill, freeze, thaw, restart by name.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use continuum_runtime::seed;
use rustix::process::Signal;
use tokio::process::Command;
use tokio::sync::watch;

use crate::azurite;
use crate::manifest::{MARK, Manifest, Part};
use crate::process::{self, Handle, Process};

/// How long a killed process may take to be reaped.
const EXIT_LIMIT: Duration = Duration::from_secs(10);
/// Rounds of looking for processes that were forked while their siblings were being signalled.
const SIGNAL_ROUNDS: usize = 3;
/// How much of a log's end is shown when its part fails.
const LOG_TAIL_BYTES: u64 = 2_000;

/// Failures of supervision.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No part has that name.
    #[error("the lab has no part {0}")]
    Unknown(String),
    /// It could not be started.
    #[error("{name} cannot be started: {reason}")]
    Start {
        /// The part.
        name: String,
        /// Why.
        reason: io::Error,
    },
    /// It ended by itself.
    #[error("{name} ended by itself ({status}); the end of its log:\n{tail}")]
    Ended {
        /// The part.
        name: String,
        /// How it ended.
        status: String,
        /// End of its log.
        tail: String,
    },
    /// It does not end.
    #[error("{0} was killed and is still there after {EXIT_LIMIT:?}")]
    Undead(String),
    /// `lab.json` or a log could not be written.
    #[error("{what}: {reason}")]
    File {
        /// The file.
        what: String,
        /// Why.
        reason: io::Error,
    },
}

/// A part that was started, and how it ended if it has.
#[derive(Debug)]
struct Running {
    process: Process,
    ended: watch::Receiver<Option<ExitStatus>>,
    /// Its end is our doing.
    expected: bool,
}

/// Supervises the parts listed in a manifest.
#[derive(Debug)]
pub struct Supervisor {
    manifest: Manifest,
    environment: BTreeMap<String, BTreeMap<String, String>>,
    running: BTreeMap<String, Running>,
    frozen: BTreeMap<String, Vec<Process>>,
}

impl Supervisor {
    /// Takes over a manifest whose parts do not run yet, and writes it.
    pub fn new(manifest: Manifest) -> Result<Self, Error> {
        let supervisor = Self {
            manifest,
            environment: BTreeMap::new(),
            running: BTreeMap::new(),
            frozen: BTreeMap::new(),
        };
        supervisor.write()?;
        Ok(supervisor)
    }

    fn write(&self) -> Result<(), Error> {
        self.manifest.write().map_err(|reason| Error::File { what: "lab.json".into(), reason })
    }

    /// What `lab.json` says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The part with this name.
    pub fn part(&self, name: &str) -> Result<&Part, Error> {
        let found = self.manifest.parts.iter().find(|part| part.name == name);
        found.ok_or_else(|| Error::Unknown(name.into()))
    }

    /// Sets the additional environment of a part, from its next start on.
    pub fn set_environment(&mut self, name: &str, variables: BTreeMap<String, String>) {
        self.environment.insert(name.into(), variables);
    }

    /// Starts a part.
    pub fn start(&mut self, name: &str) -> Result<(), Error> {
        let part = self.part(name)?;
        let fail = |reason| Error::Start { name: name.into(), reason };
        let variables = self.environment.get(name);
        let mut child = command(part, &self.manifest.directory, variables)
            .and_then(|mut command| command.spawn())
            .map_err(fail)?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let process =
            pid.and_then(process::read).ok_or_else(|| fail(io::ErrorKind::NotFound.into()))?;
        let (sender, ended) = watch::channel(None);
        seed::spawn(async move {
            // Reaps at once: a zombie would look like a living holder of a lock file.
            match child.wait().await {
                Ok(status) => sender.send_replace(Some(status)),
                Err(error) => {
                    tracing::error!(%error, "a part cannot be waited for");
                    None
                }
            };
        });
        let (pid, started) = (process.pid, process.started);
        self.running.insert(name.into(), Running { process, ended, expected: false });
        for part in &mut self.manifest.parts {
            if part.name == name {
                (part.pid, part.started) = (Some(pid), Some(started));
            }
        }
        self.write()
    }

    /// Whether a part was started and has not ended.
    pub fn is_running(&self, name: &str) -> bool {
        self.running.get(name).is_some_and(|running| running.ended.borrow().is_none())
    }

    /// The first part that ended without our doing.
    pub fn check(&self) -> Result<(), Error> {
        for (name, running) in &self.running {
            let status = *running.ended.borrow();
            if let Some(status) = status
                && !running.expected
            {
                let tail = self.part(name).map(|part| log_tail(&part.log)).unwrap_or_default();
                return Err(Error::Ended { name: name.clone(), status: status.to_string(), tail });
            }
        }
        Ok(())
    }

    /// Says that a part will end by itself.
    pub fn expect_end(&mut self, name: &str) {
        if let Some(running) = self.running.get_mut(name) {
            running.expected = true;
        }
    }

    /// Waits until a part has ended by itself, as one that crashes on purpose does.
    pub async fn ended(&mut self, name: &str, limit: Duration) -> bool {
        let Some(running) = self.running.get_mut(name) else { return false };
        running.expected = true;
        let ended = running.ended.wait_for(Option::is_some);
        matches!(tokio::time::timeout(limit, ended).await, Ok(Ok(_)))
    }

    /// Kills a part with SIGKILL and waits until it is reaped. What it started lives on, unless it
    /// cares for that itself: that is what the scenario is about. The object store is told to end
    /// instead, because it is to keep what it answered.
    pub async fn kill(&mut self, name: &str) -> Result<(), Error> {
        let process = match self.running.get_mut(name) {
            Some(running) => {
                running.expected = true;
                running.process.clone()
            }
            None => return self.part(name).map(drop),
        };
        let signal = match self.part(name)?.role.as_str() {
            azurite::ROLE => Signal::TERM,
            _ => Signal::KILL,
        };
        process::signal_all(&[process], signal);
        self.reaped(&[name.to_owned()]).await
    }

    /// Kills a part and starts it again.
    pub async fn restart(&mut self, name: &str) -> Result<(), Error> {
        self.kill(name).await?;
        self.start(name)
    }

    /// Kills everything of a region at once: agent, guard, PostgreSQL.
    pub async fn kill_region(&mut self, region: &str) -> Result<(), Error> {
        let names = self.parts_of(region);
        for name in &names {
            if let Some(running) = self.running.get_mut(name) {
                running.expected = true;
            }
        }
        let mut handles = Vec::new();
        for _ in 0..SIGNAL_ROUNDS {
            handles.extend(process::signal_all(&self.processes_of(region), Signal::KILL));
        }
        self.reaped(&names).await?;
        // PostgreSQL is not our child; its new parent reaps it when it gets round to it.
        let waits = handles.into_iter().map(|handle| gone(handle, EXIT_LIMIT));
        let undead = futures_util::future::join_all(waits).await.into_iter().flatten().next();
        undead.map_or(Ok(()), |undead| Err(Error::Undead(undead)))
    }

    /// Freezes everything of a region with SIGSTOP, as a host that is suspended.
    pub fn freeze(&mut self, region: &str) -> usize {
        let mut stopped: Vec<Process> = Vec::new();
        for _ in 0..SIGNAL_ROUNDS {
            let mut new = self.processes_of(region);
            new.retain(|process| !stopped.contains(process));
            process::signal_all(&new, Signal::STOP);
            stopped.extend(new);
        }
        let count = stopped.len();
        self.frozen.insert(region.into(), stopped);
        count
    }

    /// Lets a frozen region go on.
    pub fn thaw(&mut self, region: &str) {
        let mut processes = self.frozen.remove(region).unwrap_or_default();
        // Children that were stopped in a fork too late to be listed.
        processes.extend(self.processes_of(region));
        process::signal_all(&processes, Signal::CONT);
    }

    /// Names of a region's parts, the agent first: it must not see its guard die.
    pub fn parts_of(&self, region: &str) -> Vec<String> {
        let mut parts: Vec<&Part> = self.manifest.parts.iter().collect();
        parts.retain(|part| part.region.as_deref() == Some(region));
        parts.sort_by(|left, right| left.role.cmp(&right.role));
        parts.into_iter().map(|part| part.name.clone()).collect()
    }

    /// Every living process of a region: its parts, what they started, and PostgreSQL wherever it
    /// hangs in the process tree.
    pub fn processes_of(&self, region: &str) -> Vec<Process> {
        let table = process::table();
        let roots: Vec<i32> = self
            .parts_of(region)
            .iter()
            .filter(|name| self.is_running(name))
            .filter_map(|name| self.running.get(name).map(|running| running.process.pid))
            .collect();
        let mut found = process::trees(&roots, &table);
        let directory = self.manifest.directory.join(region);
        let strays = table.values().filter(|process| {
            process.name == "postgres"
                && process::working_directory(process.pid)
                    .is_some_and(|place| place.starts_with(&directory))
        });
        for stray in strays {
            if found.iter().all(|process| process.pid != stray.pid) {
                found.push(stray.clone());
            }
        }
        found
    }

    async fn reaped(&mut self, names: &[String]) -> Result<(), Error> {
        for name in names {
            let Some(running) = self.running.get_mut(name) else { continue };
            let ended = running.ended.wait_for(Option::is_some);
            if !matches!(tokio::time::timeout(EXIT_LIMIT, ended).await, Ok(Ok(_))) {
                return Err(Error::Undead(name.clone()));
            }
            for part in &mut self.manifest.parts {
                if part.name == *name {
                    (part.pid, part.started) = (None, None);
                }
            }
        }
        self.write()
    }
}

async fn gone(handle: Handle, limit: Duration) -> Option<String> {
    let what = format!("{} ({})", handle.process.pid, handle.process.name);
    let waited = continuum_runtime::seed::blocking(move || handle.wait(limit)).await;
    (!matches!(waited, Ok(true))).then_some(what)
}

fn command(
    part: &Part,
    directory: &Path,
    variables: Option<&BTreeMap<String, String>>,
) -> io::Result<Command> {
    let (program, arguments) =
        part.argv.split_first().ok_or_else(|| io::Error::other("no command line"))?;
    let log = OpenOptions::new().create(true).append(true).open(&part.log)?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    command.stdout(log.try_clone()?).stderr(log);
    // The user's own settings must not reach into the lab.
    for (name, _) in std::env::vars_os() {
        let passes = matches!(name.to_str(), Some("CONTINUUM_LOG" | "CONTINUUM_PG_BIN"));
        if !passes && name.to_string_lossy().starts_with("CONTINUUM_") {
            command.env_remove(&name);
        }
    }
    command.env(MARK, directory);
    command.envs(variables.into_iter().flatten());
    // Its own process group, so that Ctrl-C at the terminal reaches the lab alone.
    command.process_group(0);
    Ok(command)
}

/// The end of a log, whole lines.
pub fn log_tail(path: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(match text.split_once('\n') {
            Some((_, rest)) if length > LOG_TAIL_BYTES => rest.to_owned(),
            _ => text,
        })
    };
    read().unwrap_or_else(|error| format!("{}: {error}", path.display()))
}

/// The postmaster's process, by its pid file.
pub fn postmaster(data_directory: &Path) -> Option<Process> {
    let text = fs::read_to_string(data_directory.join("postmaster.pid")).ok()?;
    let process = process::read(text.lines().next()?.trim().parse().ok()?)?;
    (process.name == "postgres" && !process.zombie).then_some(process)
}

/// The binary to start parts from: the one given, `CONTINUUM_BIN`, this very program, or the one
/// cargo built beside this program or test.
pub fn find_binary(given: Option<&Path>) -> Result<PathBuf, String> {
    let named =
        given.map(Path::to_owned).or_else(|| std::env::var_os("CONTINUUM_BIN").map(Into::into));
    if let Some(binary) = named {
        let missing = format!("{} is not there", binary.display());
        return binary.is_file().then_some(binary).ok_or(missing);
    }
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    if own.file_name().is_some_and(|name| name == "continuum") {
        return Ok(own);
    }
    let mut beside = own.ancestors().skip(1).take(2).map(|place| place.join("continuum"));
    beside.find(|binary| binary.is_file()).ok_or_else(|| {
        "the continuum binary is not built: run `cargo build -p continuum`, or set CONTINUUM_BIN".into()
    })
}

#[cfg(test)]
#[path = "supervise_tests.rs"]
mod tests;
