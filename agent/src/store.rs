//! The agent's small state on disk: specs as last seen, and promises.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use continuum_domain::spec::PairSpec;
use continuum_domain::{PairId, RegionId};
use continuum_runtime::disk::{self, SharedDisk};
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

const SPECS: &str = "specs.json";

/// Where the state lives.
#[derive(Clone, Debug)]
pub(crate) struct StateDisk(SharedDisk);

impl StateDisk {
    pub fn new(disk: SharedDisk) -> Self {
        Self(disk)
    }

    pub fn disk(&self) -> &SharedDisk {
        &self.0
    }

    /// Specs on disk; the `initial` ones fill in what the core never sent.
    pub async fn read_specs(&self, initial: Vec<PairSpec>, region: &RegionId) -> io::Result<Specs> {
        let read: Option<Specs> = disk::read_json(self.0.as_ref(), SPECS).await?;
        let mut specs = read.unwrap_or_default();
        for spec in initial {
            if spec.members.contains_key(region) {
                specs.specs.entry(spec.id.clone()).or_insert((0, spec));
            }
        }
        Ok(specs)
    }

    pub async fn write_specs(&self, specs: &Specs) -> io::Result<()> {
        disk::write_json(self.0.as_ref(), SPECS, specs).await
    }

    /// The promise that must be served again, if one was ever given and not known to be over.
    pub async fn read_promise(&self, pair: &PairId) -> io::Result<Option<Duration>> {
        let file: Option<PromiseFile> =
            disk::read_json(self.0.as_ref(), &promise_file(pair)).await?;
        Ok(file.map(|promise| Duration::from_millis(promise.hold_ms)))
    }

    pub async fn write_promise(&self, pair: &PairId, hold: Duration) -> io::Result<()> {
        let hold_ms = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
        disk::write_json(self.0.as_ref(), &promise_file(pair), &PromiseFile { hold_ms }).await
    }

    /// A promise is over: the file goes, so that the next start does not serve it once more.
    pub async fn clear_promise(&self, pair: &PairId) -> io::Result<()> {
        match self.0.remove(&promise_file(pair)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn promise_file(pair: &PairId) -> String {
    format!("promise-{pair}.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use continuum_runtime::disk::FsDisk;

    #[tokio::test]
    async fn a_promise_is_served_again_in_full_r20() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDisk::new(std::sync::Arc::new(FsDisk::open(directory.path()).unwrap()));
        let pair = PairId::new("app").unwrap();
        assert_eq!(state.read_promise(&pair).await.unwrap(), None);
        state.write_promise(&pair, Duration::from_millis(10_100)).await.unwrap();
        let promise = state.read_promise(&pair).await.unwrap();
        assert_eq!(promise, Some(Duration::from_millis(10_100)));
        state.clear_promise(&pair).await.unwrap();
        state.clear_promise(&pair).await.unwrap();
        assert_eq!(state.read_promise(&pair).await.unwrap(), None);
    }
}
