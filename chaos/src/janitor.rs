//! Leaves nothing behind: kills what a lab started and removes its directory.
//!
//! The janitor is a process of its own, started before anything else and in a session of its own.
//! The lab holds the other end of its standard input. When that closes, by whatever end of the lab
//! (a signal, a crash, SIGKILL), the janitor sweeps.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::manifest::{MARK, Manifest};
use crate::process::{self, Process};

/// Arguments of the hidden subcommand `lab-janitor`.
#[derive(Clone, Debug)]
pub struct JanitorArgs {
    /// The lab's process.
    pub parent_pid: i32,
    /// The lab's directory.
    pub directory: PathBuf,
}

/// Every lab directory's name starts so; nothing else is ever swept.
pub const DIRECTORY_PREFIX: &str = "continuum-lab-";

/// What the janitor writes once it can no longer be reached by the lab's terminal.
pub const READY: &[u8] = b"ready\n";

/// Rounds of looking and killing; a process can fork while it is being looked for.
const ROUNDS_MAX: usize = 50;
/// How long one round waits for one killed process to be gone.
const EXIT_WAIT: Duration = Duration::from_millis(500);

/// Executables that a lab starts. A person's shell or editor in the lab's directory is none of them.
const OURS: [&str; 11] = [
    "continuum",
    "postgres",
    "initdb",
    "pg_basebackup",
    "pg_rewind",
    "pg_controldata",
    "pg_waldump",
    "pg_ctl",
    "pg_isready",
    "setpriv",
    "psql",
];

/// Waits for the lab's end, then sweeps. Blocks; needs no runtime.
pub fn run(args: &JanitorArgs) -> io::Result<()> {
    // Leaves the lab's session, so that neither Ctrl-C nor a closed terminal ends it.
    rustix::process::setsid().map_err(io::Error::from)?;
    let mut out = io::stdout();
    out.write_all(READY)?;
    out.flush()?;
    let mut rest = Vec::new();
    match io::stdin().read_to_end(&mut rest) {
        Ok(_) => tracing::debug!(lab = args.parent_pid, "the lab has ended"),
        Err(error) => tracing::warn!(%error, "the lab's pipe broke"),
    }
    sweep(&args.directory)
}

/// Where to save a lab's logs and configuration before its directory is removed. Unset, as usual,
/// nothing is kept.
pub const KEEP_LOGS: &str = "CONTINUUM_LAB_LOGS";

/// Kills every process of the lab in `directory`, then removes the directory.
pub fn sweep(directory: &Path) -> io::Result<()> {
    let directory = &fs::canonicalize(directory).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(directory.to_owned()),
        _ => Err(error),
    })?;
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !name.starts_with(DIRECTORY_PREFIX) {
        return Err(io::Error::other(format!("{} is not a lab's directory", directory.display())));
    }
    kill_all(directory)?;
    if let Some(keep) = std::env::var_os(KEEP_LOGS).filter(|keep| !keep.is_empty()) {
        save_logs(directory, &PathBuf::from(keep).join(name))?;
    }
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Copies what tells the lab's story: logs, configuration, `lab.json`; no key and no data.
fn save_logs(from: &Path, to: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    for entry in entries.flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            save_logs(&path, &target)?;
            continue;
        }
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if matches!(ending, "log" | "toml" | "json" | "conf") {
            fs::create_dir_all(to)?;
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Kills every process of the lab in `directory`, and waits until they are gone.
pub fn kill_all(directory: &Path) -> io::Result<()> {
    for _ in 0..ROUNDS_MAX {
        let left = processes_of(directory);
        if left.is_empty() {
            return Ok(());
        }
        for handle in process::signal_all(&left, Signal::KILL) {
            handle.wait(EXIT_WAIT);
        }
    }
    let left = processes_of(directory);
    let names: Vec<String> = left.iter().map(|p| format!("{} ({})", p.pid, p.name)).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(io::Error::other(format!("processes cannot be killed: {}", names.join(", "))))
}

/// Every living process of the lab in `directory`, but for the lab itself and the caller.
pub fn processes_of(directory: &Path) -> Vec<Process> {
    let manifest = Manifest::read(directory).ok().flatten();
    let mark = format!("{MARK}={}", directory.display());
    let me = i32::try_from(std::process::id()).unwrap_or_default();
    let recorded = |process: &Process| {
        manifest
            .iter()
            .flat_map(|manifest| &manifest.parts)
            .any(|part| part.pid == Some(process.pid) && part.started == Some(process.started))
    };
    let ours = |process: &Process| {
        OURS.contains(&process.name.as_str()) && process::belongs_to(process, directory)
    };
    let is_janitor = |process: &Process| {
        process.name == "continuum"
            && process::arguments(process.pid).iter().any(|argument| argument == "lab-janitor")
    };
    let lab = manifest.as_ref().map(|manifest| manifest.lab_pid);
    process::table()
        .into_values()
        .filter(|process| process.pid != me && Some(process.pid) != lab)
        .filter(|process| {
            recorded(process)
                || process::environment(process.pid).contains(&mark)
                || (ours(process) && !is_janitor(process))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn lab_directory() -> PathBuf {
        tempfile::Builder::new().prefix(DIRECTORY_PREFIX).tempdir().unwrap().keep()
    }

    fn sleeper(configure: impl FnOnce(&mut Command)) -> std::process::Child {
        let mut command = Command::new("sleep");
        command.arg("600").stdin(Stdio::null());
        configure(&mut command);
        command.spawn().unwrap()
    }

    #[test]
    fn a_sweep_takes_what_is_marked_or_recorded_and_leaves_a_bystander() {
        let directory = lab_directory();
        let mut marked = sleeper(|command| {
            command.env(MARK, &directory);
        });
        let mut bystander = sleeper(|command| {
            command.current_dir(&directory);
        });
        let mut recorded = sleeper(|_| ());
        let pid = i32::try_from(recorded.id()).unwrap();
        let part = crate::manifest::Part {
            name: "core-1".into(),
            role: "server".into(),
            region: None,
            pid: Some(pid),
            started: process::read(pid).map(|process| process.started),
            argv: Vec::new(),
            ports: Default::default(),
            data_directory: directory.clone(),
            log: directory.join("core-1.log"),
        };
        let manifest = Manifest {
            directory: directory.clone(),
            lab_pid: 0,
            pair: "app".into(),
            name: "app.lab".into(),
            dns: "127.0.0.1:53".into(),
            postgresql: Default::default(),
            operator_config: PathBuf::new(),
            parts: vec![part],
        };
        manifest.write().unwrap();
        sweep(&directory).unwrap();
        assert!(!directory.exists());
        assert!(!marked.wait().unwrap().success());
        assert!(!recorded.wait().unwrap().success());
        assert!(bystander.try_wait().unwrap().is_none(), "a person's shell there is left alone");
        bystander.kill().unwrap();
        bystander.wait().unwrap();
    }

    #[test]
    fn logs_are_saved_and_keys_are_not() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for file in ["log/core-1.log", "tls/core-1.key", "config/client.toml", "fsn/data/base/1"] {
            let path = from.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"text").unwrap();
        }
        save_logs(from.path(), to.path()).unwrap();
        assert!(to.path().join("log/core-1.log").exists());
        assert!(to.path().join("config/client.toml").exists());
        assert!(!to.path().join("tls").exists() && !to.path().join("fsn").exists());
    }

    #[test]
    fn a_directory_that_is_no_labs_is_never_removed() {
        let directory = tempfile::tempdir().unwrap();
        assert!(sweep(directory.path()).is_err());
        assert!(directory.path().exists());
        let gone = std::env::temp_dir().join(format!("{DIRECTORY_PREFIX}gone"));
        assert!(sweep(&gone).is_ok(), "already removed is as good as removed");
    }
}
