//! The agent's small state on disk: specs as last seen, and promises.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use continuum_control_api::heard::{Heard, by_pair};
use continuum_control_api::link::Blocked;
use continuum_domain::spec::PairSpec;
use continuum_domain::{PairId, RegionId};
use continuum_runtime::disk::{self, SharedDisk};
use serde::{Deserialize, Serialize};

/// Pairs whose newest spec is not understood here, in the words of a named state.
pub(crate) type Behind = BTreeMap<PairId, Blocked>;

type ByPair = BTreeMap<PairId, (u64, Heard<PairSpec>)>;

/// Specs as the core last sent them. One that another version wrote, and this one does not understand
/// in full, is kept as it came, and the pair goes on by the one before it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Specs {
    #[serde(deserialize_with = "by_pair")]
    specs: ByPair,
    /// The specs before these: what an agent of an older version can go back to.
    #[serde(default, deserialize_with = "by_pair", skip_serializing_if = "BTreeMap::is_empty")]
    before: ByPair,
    /// Milliseconds left when this was received; served again in full after a restart.
    #[serde(deserialize_with = "by_pair")]
    pub automation_paused: BTreeMap<PairId, u64>,
}

impl Specs {
    /// As the core just sent them.
    pub fn received(specs: ByPair, automation_paused: BTreeMap<PairId, u64>) -> Self {
        Self { specs, before: BTreeMap::new(), automation_paused }
    }

    /// These, with what was understood of the `old` ones to fall back on.
    pub fn after(mut self, old: Specs) -> Self {
        for (pair, spec) in old.specs {
            if self.specs.get(&pair).is_some_and(|new| *new != spec) && is_understood(&spec) {
                self.before.insert(pair, spec);
            }
        }
        for (pair, spec) in old.before {
            if self.specs.contains_key(&pair) && is_understood(&spec) {
                self.before.entry(pair).or_insert(spec);
            }
        }
        self
    }

    /// What each pair is run by. Where the newest spec is not understood, the one before it counts, but
    /// for the leave to go alone: that was given by words which have been replaced, and the new ones
    /// may have taken it back. The core, which knows them, can still be asked.
    pub fn acting(&self) -> BTreeMap<PairId, (u64, PairSpec)> {
        let of = |pair: &PairId, (version, newest): &(u64, Heard<PairSpec>)| {
            if let Heard::Understood(spec) = newest {
                return Some((*version, spec.clone()));
            }
            let (version, before) = self.before.get(pair)?;
            Some((*version, PairSpec { autonomous: false, ..before.understood()?.clone() }))
        };
        let acting = |(pair, newest)| Some((Clone::clone(pair), of(pair, newest)?));
        self.specs.iter().filter_map(acting).collect()
    }

    /// The pairs whose newest spec is not understood.
    pub fn behind(&self) -> Behind {
        let acting = self.acting();
        let state = |pair: &PairId, version: u64, problem: &str| Blocked {
            code: "spec-not-understood".into(),
            meaning: format!(
                "version {version} of the spec is not understood by this agent, of version {}: \
                 {problem}; {}",
                env!("CARGO_PKG_VERSION"),
                match acting.get(pair) {
                    Some((old, _)) => format!(
                        "it goes on by version {old}, and does not fail over without the core"
                    ),
                    None => "it knows none that it understands, and does not run the pair".into(),
                }
            ),
            action: "upgrade the agent of this region, or apply the spec without that field".into(),
        };
        let of = |(pair, (version, newest)): (&PairId, &(u64, Heard<PairSpec>))| match newest {
            Heard::Understood(_) => None,
            Heard::Other(other) => Some((pair.clone(), state(pair, *version, &other.problem))),
        };
        self.specs.iter().filter_map(of).collect()
    }
}

fn is_understood((_, spec): &(u64, Heard<PairSpec>)) -> bool {
    spec.understood().is_some()
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
                specs.specs.entry(spec.id.clone()).or_insert((0, spec.into()));
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
#[path = "store_tests.rs"]
mod tests;
