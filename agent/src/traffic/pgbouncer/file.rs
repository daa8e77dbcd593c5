//! The file that PgBouncer includes: where its databases are, and in comments what an agent must know
//! of it after any restart, of itself or of PgBouncer.
//!
//! Epoch and address stand in one file that is replaced as a whole, under a lock, after a look at the
//! epoch that stands there. So of two agents that write, the one that knows less changes nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use continuum_domain::RegionId;
use continuum_runtime::durable;
use serde::{Deserialize, Serialize};

use super::super::memory::may_point;
use super::super::{Pointing, SwitchError};

/// What the line begins with that holds the state; the rest is JSON.
const STATE: &str = ";; continuum ";
const HEAD: &str =
    ";; Written by a Continuum agent for PgBouncer to include. Changes by hand are lost.\n";
/// PgBouncer's user reads it by its group, which is the directory's where that has the setgid bit.
const MODE: u32 = 0o640;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Where the databases are.
    pub target: Option<Pointing>,
    /// The holder before the present one: sessions may still be there.
    #[serde(default)]
    pub before: Option<RegionId>,
    /// Clients are held back at an agent's word, and why.
    #[serde(default)]
    pub held: Option<String>,
}

/// The file of one pair at one PgBouncer.
#[derive(Clone, Debug)]
pub struct DatabasesFile {
    path: PathBuf,
    databases: BTreeMap<String, String>,
}

impl DatabasesFile {
    /// The file at `path` with these databases.
    pub fn new(path: &Path, databases: &BTreeMap<String, String>) -> Self {
        Self { path: path.to_owned(), databases: databases.clone() }
    }

    /// What it says; a file that was never written says nothing, and one without a state that is
    /// understood is an error.
    pub fn read(&self) -> Result<State, SwitchError> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(error) => return Err(self.failed("reading", error)),
        };
        if text.trim().is_empty() {
            // Made by hand, so that PgBouncer has something to include before the agent's first start.
            return Ok(State::default());
        }
        let line = text.lines().find_map(|line| line.strip_prefix(STATE));
        let line = line.ok_or_else(|| self.failed("reading", "it was not written by an agent"))?;
        serde_json::from_str(line).map_err(|error| self.failed("reading", error))
    }

    /// Leads clients to `to`, if no later epoch stands there.
    pub fn point(&self, to: &Pointing) -> Result<(), SwitchError> {
        self.change(|state| {
            may_point(state.target.as_ref(), to)?;
            let holder = state.target.as_ref().map(|target| target.holder.clone());
            let moved = holder.filter(|holder| *holder != to.holder);
            state.before = moved.or(state.before.take());
            state.target = Some(to.clone());
            Ok(())
        })
    }

    /// Notes that clients are held back, or no longer.
    pub fn set_held(&self, why: Option<&str>) -> Result<(), SwitchError> {
        self.change(|state| {
            state.held = why.map(str::to_owned);
            Ok(())
        })
    }

    fn change(
        &self,
        change: impl FnOnce(&mut State) -> Result<(), SwitchError>,
    ) -> Result<(), SwitchError> {
        let _lock = self.lock()?;
        let mut state = self.read()?;
        change(&mut state)?;
        let text = self.render(&state)?;
        // By its text and not by its state: a line that somebody changed is made right.
        if fs::read_to_string(&self.path).is_ok_and(|found| found == text) {
            return Ok(());
        }
        durable::write_atomic_as(&self.path, text.as_bytes(), MODE)
            .map_err(|error| self.failed("writing", error))
    }

    /// Held by one agent at a time; whoever finds it taken tries again a little later.
    fn lock(&self) -> Result<File, SwitchError> {
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        let opened = OpenOptions::new().create(true).truncate(false).write(true).open(path);
        let file = opened.map_err(|error| self.failed("locking", error))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                Err(self.failed("locking", "another agent is writing it"))
            }
            Err(TryLockError::Error(error)) => Err(self.failed("locking", error)),
        }
    }

    fn render(&self, state: &State) -> Result<String, SwitchError> {
        let json = serde_json::to_string(state).map_err(|error| self.failed("writing", error))?;
        let mut text = format!("{HEAD}{STATE}{json}\n[databases]\n");
        let Some(target) = &state.target else { return Ok(text) };
        let plain = |c: char| c.is_ascii_alphanumeric() || ".:-_/".contains(c);
        if target.host.is_empty() || !target.host.chars().all(plain) {
            let problem = format!("{:?} cannot be written as a host", target.host);
            return Err(self.failed("writing", problem));
        }
        for (name, rest) in &self.databases {
            let line = format!("{name} = host={} port={} {rest}", target.host, target.port);
            // Writing into a string does not fail.
            let _infallible = writeln!(text, "{}", line.trim_end());
        }
        Ok(text)
    }

    fn failed(&self, what: &str, reason: impl ToString) -> SwitchError {
        SwitchError::refused(format!("{what} {}", self.path.display()), reason)
    }
}

#[cfg(test)]
mod tests {
    use continuum_domain::{Epoch, PairId};

    use super::*;

    fn to(epoch: u64, holder: &str, host: &str) -> Pointing {
        Pointing {
            pair: PairId::new("app").unwrap(),
            epoch: Epoch(epoch),
            holder: RegionId::new(holder).unwrap(),
            host: host.into(),
            port: 5432,
        }
    }

    fn file(directory: &Path) -> DatabasesFile {
        let rest = |name: &str, rest: &str| (name.to_owned(), rest.to_owned());
        let databases = [rest("app", "dbname=app pool_size=20"), rest("plain", "")].into();
        DatabasesFile::new(&directory.join("app.ini"), &databases)
    }

    #[test]
    fn a_late_writer_replaces_nothing_and_what_is_held_outlives_a_move() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path());
        assert_eq!(file.read(), Ok(State::default()));
        file.point(&to(7, "fsn", "10.1.0.5")).unwrap();
        file.set_held(Some("op-1")).unwrap();
        file.point(&to(8, "hel", "10.2.0.5")).unwrap();
        assert_eq!(file.point(&to(7, "fsn", "10.1.0.5")), Err(SwitchError::Superseded(Epoch(8))));
        assert!(matches!(
            file.point(&to(8, "fsn", "10.1.0.5")),
            Err(SwitchError::Contradicted { .. })
        ));
        let state = file.read().unwrap();
        assert_eq!(state.target, Some(to(8, "hel", "10.2.0.5")));
        assert_eq!(state.before, Some(RegionId::new("fsn").unwrap()));
        assert_eq!(state.held.as_deref(), Some("op-1"));
        let text = fs::read_to_string(directory.path().join("app.ini")).unwrap();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "[databases]",
                "app = host=10.2.0.5 port=5432 dbname=app pool_size=20",
                "plain = host=10.2.0.5 port=5432",
            ]
        );
        let path = directory.path().join("app.ini");
        fs::write(&path, text.replace("10.2.0.5 port=5432 dbname", "10.9.9.9 port=5432 dbname"))
            .unwrap();
        file.point(&to(8, "hel", "10.2.0.5")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "a line changed by hand");
        // The same holder at another address, as a changed spec says.
        file.point(&to(8, "hel", "10.2.0.6")).unwrap();
        assert_eq!(file.read().unwrap().target, Some(to(8, "hel", "10.2.0.6")));
    }

    #[test]
    fn what_was_not_written_by_an_agent_is_left_alone_and_what_cannot_be_written_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path());
        fs::write(directory.path().join("app.ini"), "\n").unwrap();
        assert_eq!(file.read(), Ok(State::default()), "an empty one");
        fs::write(directory.path().join("app.ini"), "[databases]\napp = host=x\n").unwrap();
        let error = file.point(&to(7, "fsn", "10.1.0.5")).unwrap_err().to_string();
        assert!(error.contains("not written by an agent"), "{error}");
        fs::remove_file(directory.path().join("app.ini")).unwrap();
        let error = file.point(&to(7, "fsn", "10.1.0.5 user=x")).unwrap_err().to_string();
        assert!(error.contains("cannot be written as a host"), "{error}");
        let held = file.lock().unwrap();
        let error = file.point(&to(7, "fsn", "10.1.0.5")).unwrap_err().to_string();
        assert!(error.contains("another agent"), "{error}");
        drop(held);
        assert_eq!(file.point(&to(7, "fsn", "10.1.0.5")), Ok(()));
    }
}
