//! Processes as `/proc` shows them: trees, and signals that cannot hit a reused pid.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

/// One process at the instant of looking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Start time in clock ticks since boot; with the pid it names one process for ever.
    pub started: u64,
    /// Exited, and not yet reaped.
    pub zombie: bool,
    /// Name of the executable, at most 15 bytes.
    pub name: String,
}

/// Reads one process; `None` when it is gone.
pub fn read(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may itself hold spaces and parentheses.
    let (open, close) = (stat.find('(')?, stat.rfind(')')?);
    let fields: Vec<&str> = stat.get(close + 2..)?.split_ascii_whitespace().collect();
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
        zombie: matches!(*fields.first()?, "Z" | "X"),
        name: stat.get(open + 1..close)?.to_owned(),
    })
}

/// All living processes by pid.
pub fn table() -> BTreeMap<i32, Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(read)
        .filter(|process| !process.zombie)
        .map(|process| (process.pid, process))
        .collect()
}

/// `roots` and everything below them, parents before children.
pub fn trees(roots: &[i32], table: &BTreeMap<i32, Process>) -> Vec<Process> {
    let mut found: Vec<Process> = roots.iter().filter_map(|pid| table.get(pid).cloned()).collect();
    let mut next = 0;
    while let Some(parent) = found.get(next).map(|process| process.pid) {
        let children = table.values().filter(|process| process.parent == parent);
        let new: Vec<Process> =
            children.filter(|child| found.iter().all(|p| p.pid != child.pid)).cloned().collect();
        found.extend(new);
        next += 1;
    }
    found
}

/// Working directory; `None` when gone or not ours to see.
pub fn working_directory(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// Arguments, as far as the process has not overwritten them.
pub fn arguments(pid: i32) -> Vec<String> {
    split_zero(fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default())
}

/// Environment at its start, as far as the process has not overwritten it.
pub fn environment(pid: i32) -> Vec<String> {
    split_zero(fs::read(format!("/proc/{pid}/environ")).unwrap_or_default())
}

fn split_zero(bytes: Vec<u8>) -> Vec<String> {
    let parts = bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty());
    parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

/// Whether it works in `directory` or names it in its arguments.
pub fn belongs_to(process: &Process, directory: &Path) -> bool {
    let text = directory.to_string_lossy();
    working_directory(process.pid).is_some_and(|cwd| cwd.starts_with(directory))
        || arguments(process.pid).iter().any(|argument| argument.contains(text.as_ref()))
}

/// A hold on one process: signals reach it or nobody, whatever becomes of its pid.
#[derive(Debug)]
pub struct Handle {
    fd: OwnedFd,
    /// What it holds.
    pub process: Process,
}

impl Handle {
    /// Opens a process seen earlier; `None` when it is gone or its pid names another one now.
    pub fn open(process: &Process) -> Option<Self> {
        let fd =
            rustix::process::pidfd_open(Pid::from_raw(process.pid)?, PidfdFlags::empty()).ok()?;
        let now = read(process.pid)?;
        (now.started == process.started).then(|| Self { fd, process: process.clone() })
    }

    /// Sends a signal; an error only says that the process is gone or not ours.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        rustix::process::pidfd_send_signal(&self.fd, signal).map_err(io::Error::from)
    }

    /// Blocks until it has exited, at most `limit`; whether it has.
    pub fn wait(&self, limit: Duration) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        let timeout = Timespec::try_from(limit).ok();
        matches!(rustix::event::poll(&mut fds, timeout.as_ref()), Ok(ready) if ready > 0)
    }
}

/// Sends `signal` to all of `processes` that still are who they were; those reached.
pub fn signal_all(processes: &[Process], signal: Signal) -> Vec<Handle> {
    let handles = processes.iter().filter_map(Handle::open);
    handles.filter(|handle| handle.signal(signal).is_ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_found_by_tree_by_place_and_killed_by_handle() {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new("sleep")
            .arg("600")
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let me = i32::try_from(std::process::id()).unwrap();
        let found = trees(&[me], &table());
        let process = found.iter().find(|process| process.pid == pid).expect("in our tree").clone();
        assert!(belongs_to(&process, directory.path()));
        assert!(!belongs_to(&process, Path::new("/nonexistent")));

        let stranger = Process { started: process.started + 1, ..process.clone() };
        assert!(Handle::open(&stranger).is_none(), "a reused pid is not our process");

        let handle = Handle::open(&process).unwrap();
        assert!(!handle.wait(Duration::ZERO));
        handle.signal(Signal::KILL).unwrap();
        assert!(handle.wait(Duration::from_secs(5)));
        child.wait().unwrap();
        assert!(read(pid).is_none_or(|now| now.started != process.started));
    }
}
