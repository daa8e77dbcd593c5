//! Shrinking the in-sync ledger: the register first, only then the names.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::PairMachine;
use super::register::{Outstanding, Purpose};
use crate::ids::{Lsn, RegionId};
use crate::observation::SqlView;
use crate::record::PairRecord;
use crate::spec::Durability;
use crate::time::Tick;

#[derive(Clone, Debug)]
struct Progress {
    replay: Option<Lsn>,
    /// Since when it neither caught up nor moved, although it should have.
    stuck_since: Option<Tick>,
    last_look: Tick,
}

/// What is known of each standby's progress.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    progress: BTreeMap<RegionId, Progress>,
    expected: Vec<RegionId>,
    before: Vec<RegionId>,
}

impl State {
    pub fn forget(&mut self) {
        self.progress.clear();
    }

    /// Which standbys have held no commit for longer than `limit`.
    pub fn stalled(&self, limit: Duration) -> Vec<RegionId> {
        self.progress
            .iter()
            .filter(|(_, progress)| {
                progress.stuck_since.is_some_and(|since| progress.last_look.since(since) >= limit)
            })
            .map(|(region, _)| region.clone())
            .collect()
    }

    /// Members the ledger listed before `write`.
    pub fn ledger_before(&mut self, write: &Outstanding) -> Vec<RegionId> {
        let after: Vec<_> = write.value.in_sync.keys().cloned().collect();
        std::mem::replace(&mut self.before, after)
    }

    pub fn expect(&mut self, members: Vec<RegionId>) {
        self.before.clone_from(&members);
        self.expected = members;
    }

    /// Takes in a look at the primary. A standby is stuck from the first look at which it did not
    /// stream, or had not caught up and had not moved since the look before.
    pub fn observe(&mut self, at: Tick, sql: &SqlView, me: &RegionId) {
        let expected = self.expected.clone();
        for region in expected.iter().filter(|region| *region != me) {
            let view = sql.standbys.get(region).filter(|standby| standby.streaming);
            let replay = view.and_then(|standby| standby.replay.or(standby.flush));
            let before = self.progress.get(region);
            let caught_up = replay.zip(sql.wal).is_some_and(|(replay, wal)| replay >= wal);
            let moved = match (before.and_then(|before| before.replay), replay) {
                (Some(before), Some(replay)) => replay > before,
                (None, Some(_)) => true,
                (_, None) => false,
            };
            let stuck_since = if caught_up || moved {
                None
            } else {
                before.and_then(|before| before.stuck_since).or(Some(at))
            };
            let progress = Progress { replay, stuck_since, last_look: at };
            self.progress.insert(region.clone(), progress);
        }
        self.progress.retain(|region, _| expected.contains(region));
    }
}

impl PairMachine {
    /// `available`: a standby that holds no commit for `stall_timeout` leaves the ledger, by CAS,
    /// and only after that the names let go of it. `async`: nobody is waited for, so nobody is
    /// listed. `strict` never shrinks.
    pub(super) fn decide_shrink(&mut self, now: Tick, record: &PairRecord) {
        self.shrink.expect(record.in_sync.keys().cloned().collect());
        if !self.register.settled() || !self.session.valid(now) {
            return;
        }
        let (mut leaving, why) = match self.spec.durability {
            Durability::Strict => return,
            Durability::Async => (self.spec.others(&self.me), "durability async".to_owned()),
            Durability::Available => {
                let limit = self.spec.stall_timeout;
                let why = format!("no commit held for {}", humantime::format_duration(limit));
                let stalled: BTreeSet<_> = self.shrink.stalled(limit).into_iter().collect();
                let ordered = self.leaves_by_order().filter(|_| stalled.is_empty());
                ordered.map_or((stalled, why), |(region, why)| ([region].into(), why))
            }
        };
        leaving.retain(|region| record.in_sync.contains_key(region));
        if leaving.is_empty() {
            return;
        }
        let mut value = record.clone();
        value.in_sync.retain(|region, _| !leaving.contains(region));
        let names: Vec<_> = leaving.iter().map(RegionId::as_str).collect();
        let reason = format!("{}: {why}", names.join(", "));
        self.write(now, value, Purpose::Shrink { reason });
    }
}
