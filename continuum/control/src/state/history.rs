//! What changes of holder cost, against what was asked for.

use std::time::Duration;

use continuum_control_api::link::JournalEntry;
use continuum_control_api::rest::HistoryEntry;
use continuum_domain::objective::Loss;
use continuum_domain::pair::{BY_HOT, BY_LEDGER, RESUMED};
use continuum_domain::spec::PairSpec;
use continuum_domain::{Epoch, PairId, RegionId};
use serde::{Deserialize, Serialize};

use super::{CoreState, EPOCHS_MAX, EpochRecord, PairState, Reply};

/// What a change of holder was seen to cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// No write was seen for at most so long, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage_ms: Option<u64>,
    /// What the former holder had written beyond the fork: bytes, and commits if they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<(u64, Option<u64>)>,
}

impl CoreState {
    /// The first write of an epoch was seen. What was measured first stands: a later leader saw less.
    pub(super) fn writes_resumed(&mut self, pair: &PairId, epoch: Epoch, outage_ms: u64) -> Reply {
        if let Some(cost) = self.cost(pair, epoch) {
            cost.outage_ms.get_or_insert(outage_ms);
        }
        Reply::Done
    }

    /// A former holder came back and left a tail behind. Only that of the epoch before counts: what
    /// an older one left behind was no part of this move.
    pub(super) fn left_behind(
        &mut self,
        region: &RegionId,
        entry: &JournalEntry,
        tail: (u64, Option<u64>),
    ) {
        let before = Epoch(entry.epoch.0.saturating_sub(1));
        let pair = self.pairs.get(&entry.pair);
        let held = pair.and_then(|pair| pair.epochs.get(&before));
        if held.is_some_and(|record| record.holder == *region)
            && let Some(cost) = self.cost(&entry.pair, entry.epoch)
        {
            cost.tail.get_or_insert(tail);
        }
    }

    fn cost(&mut self, pair: &PairId, epoch: Epoch) -> Option<&mut Cost> {
        let pair = self.pairs.get_mut(pair)?;
        pair.costs.entry(epoch).or_default();
        while pair.costs.len() > EPOCHS_MAX {
            pair.costs.pop_first();
        }
        pair.costs.get_mut(&epoch)
    }
}

impl PairState {
    /// Changes of holder, newest first.
    pub fn history(&self) -> impl Iterator<Item = HistoryEntry> {
        self.epochs.iter().rev().map(|(epoch, record)| self.entry(*epoch, record))
    }

    fn entry(&self, epoch: Epoch, record: &EpochRecord) -> HistoryEntry {
        let before = Epoch(epoch.0.saturating_sub(1));
        let known = || self.epochs.get(&before).map(|record| record.holder.clone());
        let from = record.from.clone().or_else(known);
        let mut cost = self.costs.get(&epoch).copied().unwrap_or_default();
        if record.by == RESUMED {
            // That nobody could write was what somebody wanted.
            cost.outage_ms = None;
        }
        let spec = self.spec_at(record.at_ms);
        let objectives = spec.and_then(|spec| spec.objectives).unwrap_or_default();
        let loss = loss(record, spec, cost);
        HistoryEntry {
            epoch,
            holder: record.holder.clone(),
            from,
            by: record.by.clone(),
            operation: record.operation.clone(),
            at_ms: record.at_ms,
            outage_ms: cost.outage_ms,
            loss,
            objectives,
            rto_met: objectives.rto_met(cost.outage_ms.map(Duration::from_millis)),
            rpo_met: objectives.rpo_met(loss),
        }
    }

    /// The spec in force at a time of the wall clock; the first one for what was before it.
    fn spec_at(&self, at_ms: i64) -> Option<&PairSpec> {
        let then = self.versions.iter().rev().find(|version| version.at_ms <= at_ms);
        then.or(self.versions.first())?.spec.as_ref()
    }
}

/// What was lost of what had been acknowledged.
///
/// A planned move proves that the target has everything. A takeover of a listed member loses nothing
/// where commits wait for the ledger. Everything else is bounded by what the former holder had beyond
/// the fork, once somebody has looked.
fn loss(record: &EpochRecord, spec: Option<&PairSpec>, cost: Cost) -> Loss {
    let waits = spec.is_some_and(|spec| spec.durability.is_synchronous());
    match record.by.as_str() {
        "handover" | "returned" | "created" | RESUMED => Loss::Nothing,
        BY_HOT | BY_LEDGER | "expired" | "vacant" if waits => Loss::Nothing,
        _ => match cost.tail {
            Some((bytes, commits)) => Loss::AtMost { bytes, commits },
            None => Loss::Unknown,
        },
    }
}

#[cfg(test)]
mod tests {
    use continuum_domain::spec::Durability;

    use super::*;

    fn loss_by(by: &str, durability: Durability, cost: Cost) -> Loss {
        let region = |name: &str| RegionId::new(name).unwrap();
        let member = |host: &str| continuum_domain::spec::MemberSpec {
            priority: 100,
            host: host.into(),
            port: 5432,
            health_name: None,
        };
        let members = [(region("fsn"), member("a")), (region("hel"), member("b"))].into();
        let mut spec = PairSpec::new(PairId::new("shop").unwrap(), members, region("fsn"));
        spec.durability = durability;
        let record = EpochRecord {
            holder: region("hel"),
            from: None,
            by: by.into(),
            operation: None,
            at_ms: 1,
        };
        loss(&record, Some(&spec), cost)
    }

    #[test]
    fn only_what_is_proven_counts_as_no_loss() {
        let (bare, tail) = (Cost::default(), Cost { tail: Some((80, Some(2))), ..Cost::default() });
        let at_most = Loss::AtMost { bytes: 80, commits: Some(2) };
        for by in ["ledger", "expired", "hot", "vacant"] {
            assert_eq!(loss_by(by, Durability::Strict, bare), Loss::Nothing, "{by}");
            assert_eq!(loss_by(by, Durability::Async, bare), Loss::Unknown, "{by}");
            assert_eq!(loss_by(by, Durability::Async, tail), at_most, "{by}");
        }
        for by in ["approved", "a word of a newer version"] {
            assert_eq!(loss_by(by, Durability::Strict, bare), Loss::Unknown, "{by}");
            assert_eq!(loss_by(by, Durability::Strict, tail), at_most, "{by}");
        }
        assert_eq!(loss_by("handover", Durability::Async, bare), Loss::Nothing);
        let record = EpochRecord {
            holder: RegionId::new("hel").unwrap(),
            from: None,
            by: "expired".into(),
            operation: None,
            at_ms: 1,
        };
        assert_eq!(loss(&record, None, bare), Loss::Unknown, "how commits waited is not known");
    }
}
