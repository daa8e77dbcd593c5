//! The processes of one PostgreSQL instance, found by their working directory.
//!
//! Backends call `setsid`, so no process group holds them all; but every process of PostgreSQL
//! works in the data directory. It is compared by device and inode, so a rename hides nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A data directory as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instance {
    device: u64,
    inode: u64,
}

impl Instance {
    /// The instance of a data directory.
    pub fn of(data: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(data)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }

    fn owns(self, pid: i32) -> bool {
        let inside = fs::metadata(format!("/proc/{pid}/cwd"))
            .is_ok_and(|cwd| cwd.dev() == self.device && cwd.ino() == self.inode);
        // What cannot be examined counts: a dying process has lost its program already, but holds
        // its directory, files and sockets for a moment yet.
        inside && runs_postgres(pid).unwrap_or(true)
    }

    /// Every process of the instance and every descendant of one.
    pub fn processes(self) -> BTreeSet<i32> {
        let parents = parents();
        let mut found: BTreeSet<i32> =
            parents.keys().copied().filter(|pid| self.owns(*pid)).collect();
        loop {
            let more: Vec<i32> = parents
                .iter()
                .filter(|(pid, parent)| found.contains(parent) && !found.contains(pid))
                .map(|(pid, _)| *pid)
                .collect();
            if more.is_empty() {
                return found;
            }
            found.extend(more);
        }
    }

    /// Sends SIGKILL to every process of the instance but `except`; returns how many there were.
    pub fn kill_all(self, except: Option<i32>) -> usize {
        let found = self.processes();
        let victims = found.into_iter().filter(|pid| Some(*pid) != except);
        victims.filter_map(|pid| Handle::open(pid).ok()).map(|h| h.signal(Signal::KILL)).count()
    }
}

/// Whether a process runs a program of PostgreSQL; an error when that cannot be seen. A shell an
/// operator left standing in the data directory does not.
fn runs_postgres(pid: i32) -> io::Result<bool> {
    let program = fs::read_link(format!("/proc/{pid}/exe"))?;
    Ok(program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("postgres")))
}

/// Parent of every live process; zombies are left out, they run nothing any more.
fn parents() -> BTreeMap<i32, i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let (state, parent) = state_and_parent(pid)?;
        (state != 'Z').then_some((pid, parent))
    })
    .collect()
}

fn state_and_parent(pid: i32) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold blanks and parentheses: fields are counted from the last ')'.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether a process exists and is no zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    state_and_parent(pid).is_some_and(|(state, _)| state != 'Z')
}

/// One process, immune to the reuse of its number.
#[derive(Debug)]
pub(crate) struct Handle {
    fd: OwnedFd,
}

impl Handle {
    /// Opens a process by number.
    pub fn open(pid: i32) -> io::Result<Self> {
        let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("pid 0"))?;
        Ok(Self { fd: pidfd_open(pid, PidfdFlags::empty())? })
    }

    /// Sends a signal; a process that has ended is fine.
    pub fn signal(&self, signal: Signal) {
        if let Err(error) = pidfd_send_signal(&self.fd, signal)
            && error != rustix::io::Errno::SRCH
        {
            tracing::error!(%error, ?signal, "a signal could not be sent to PostgreSQL");
        }
    }
}

/// Removes a lock file whose process is gone. PostgreSQL would take a zombie for a live server.
/// Only called when no process of the instance is left.
pub(crate) fn remove_stale_lock(path: &Path) -> io::Result<()> {
    let Ok(text) = fs::read_to_string(path) else { return Ok(()) };
    let pid = text.lines().next().and_then(|line| line.trim().parse::<i32>().ok());
    match pid {
        // A kernel thread that got the number has no program to show.
        Some(pid)
            if is_alive(pid)
                && runs_postgres(pid)
                    .unwrap_or_else(|error| error.kind() == io::ErrorKind::PermissionDenied) =>
        {
            Ok(())
        }
        _ => super::files::remove_if_there(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_not_postgres() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(is_alive(me));
        assert!(!runs_postgres(me).unwrap());
        let here = Instance::of(&std::env::current_dir().unwrap()).unwrap();
        assert!(!here.processes().contains(&me), "only PostgreSQL is ever killed");
    }
}
