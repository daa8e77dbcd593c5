//! The agent's small state on disk: specs as last seen, and promises.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use continuum_domain::spec::PairSpec;
use continuum_domain::{PairId, RegionId};
use continuum_runtime::durable;
use serde::{Deserialize, Serialize};

/// Specs as the core last sent them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Specs {
    pub specs: BTreeMap<PairId, (u64, PairSpec)>,
    /// Milliseconds left when this was received; served again in full after a restart.
    pub automation_paused: BTreeMap<PairId, u64>,
}

/// A promise as kept on disk. After a restart it is served again in full (R20): the clock of
/// before says nothing about how much of it has passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PromiseFile {
    hold_ms: u64,
}

/// Where the state lives.
#[derive(Clone, Debug)]
pub(crate) struct StateDirectory(PathBuf);

impl StateDirectory {
    pub fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        Ok(Self(path.to_owned()))
    }

    pub fn journal(&self) -> PathBuf {
        self.0.join("journal.json")
    }

    /// Specs on disk; those in `spec_files` fill in what the core never sent.
    pub fn read_specs(&self, spec_files: &[PathBuf], region: &RegionId) -> io::Result<Specs> {
        let mut specs: Specs = durable::read_json(&self.0.join("specs.json"))?.unwrap_or_default();
        for file in spec_files {
            if let Some(spec) = durable::read_json::<PairSpec>(file)?
                && spec.members.contains_key(region)
            {
                specs.specs.entry(spec.id.clone()).or_insert((0, spec));
            }
        }
        Ok(specs)
    }

    pub fn write_specs(&self, specs: &Specs) -> io::Result<()> {
        durable::write_json(&self.0.join("specs.json"), specs)
    }

    fn promise_file(&self, pair: &PairId) -> PathBuf {
        self.0.join(format!("promise-{pair}.json"))
    }

    /// The promise that must be served again, if one was ever given and not known to be over.
    pub fn read_promise(&self, pair: &PairId) -> io::Result<Option<Duration>> {
        let file: Option<PromiseFile> = durable::read_json(&self.promise_file(pair))?;
        Ok(file.map(|promise| Duration::from_millis(promise.hold_ms)))
    }

    pub fn write_promise(&self, pair: &PairId, hold: Duration) -> io::Result<()> {
        let hold_ms = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
        durable::write_json(&self.promise_file(pair), &PromiseFile { hold_ms })
    }

    /// A promise is over: the file goes, so that the next start does not serve it once more.
    pub fn clear_promise(&self, pair: &PairId) -> io::Result<()> {
        match std::fs::remove_file(self.promise_file(pair)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_served_again_in_full_r20() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(directory.path()).unwrap();
        let pair = PairId::new("app").unwrap();
        assert_eq!(state.read_promise(&pair).unwrap(), None);
        state.write_promise(&pair, Duration::from_millis(10_100)).unwrap();
        assert_eq!(state.read_promise(&pair).unwrap(), Some(Duration::from_millis(10_100)));
        state.clear_promise(&pair).unwrap();
        assert_eq!(state.read_promise(&pair).unwrap(), None);
    }
}
