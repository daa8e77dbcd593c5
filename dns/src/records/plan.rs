//! From what stands at a name and who holds the lease, to what is to be done. Pure.

use continuum_domain::{Epoch, PairId, RegionId};

use super::{Companion, Records, Seen, Stamp, Wanted};

/// One conditional change: companion and records together, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The name.
    pub name: String,
    /// Nothing is changed unless the companion is exactly this.
    pub expected: Companion,
    /// The companion afterwards.
    pub stamp: Stamp,
    /// The records afterwards; all others of their types, and a CNAME, are gone.
    pub records: Records,
}

/// Records or a companion that no writer of ours left so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForeignWrite {
    /// Records without a companion: from before the name followed the lease, or the companion was
    /// taken away.
    Unstamped(Records),
    /// The companion has another sum than the records.
    Records {
        /// The companion.
        stamp: Stamp,
        /// The records as they were found.
        found: Records,
    },
    /// The companion is not one stamp.
    Companion(Companion),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// It stands as wanted.
    Nothing,
    /// Write. With `foreign`, somebody else had written meanwhile.
    Change {
        /// What.
        change: Box<Change>,
        /// What of others is undone by it.
        foreign: Option<ForeignWrite>,
    },
    /// A higher epoch stands: the writer's lease is over. Nothing may be changed.
    Refused {
        /// The highest epoch that stands.
        newest: Epoch,
    },
    /// The same epoch stands under another holder: one of the two never won it.
    Contradicted {
        /// Who it says holds the epoch, if anybody.
        holder: Option<RegionId>,
    },
    /// The name follows another pair. A person decides whose it is.
    OfAnother {
        /// The pair.
        pair: PairId,
    },
}

/// What a writer that wants `wanted` does about what it has `seen`.
///
/// Every stamp that stands counts, also beside other texts: a hand that adds a text must not lift
/// the fence.
pub fn plan(seen: &Seen, wanted: &Wanted) -> Plan {
    let stamps: Vec<Stamp> = seen.companion.stamps().collect();
    if let Some(other) = stamps.iter().find(|stamp| stamp.pair != wanted.pair) {
        return Plan::OfAnother { pair: other.pair.clone() };
    }
    if let Some(newest) = stamps.iter().map(|stamp| stamp.epoch).max()
        && newest > wanted.epoch
    {
        return Plan::Refused { newest };
    }
    let rival = stamps
        .iter()
        .find(|stamp| stamp.epoch == wanted.epoch && stamp.holder.as_ref() != Some(&wanted.holder));
    if let Some(rival) = rival {
        return Plan::Contradicted { holder: rival.holder.clone() };
    }
    let stamp = wanted.stamp();
    if seen.companion == Companion::of(&stamp) && seen.records == wanted.records {
        return Plan::Nothing;
    }
    let change = Change {
        name: wanted.name.clone(),
        expected: seen.companion.clone(),
        stamp,
        records: wanted.records.clone(),
    };
    Plan::Change { change: Box::new(change), foreign: foreign(seen) }
}

/// What of `seen` no writer of ours left so.
pub fn foreign(seen: &Seen) -> Option<ForeignWrite> {
    if seen.companion.is_absent() {
        let records = &seen.records;
        return (!records.is_empty()).then(|| ForeignWrite::Unstamped(records.clone()));
    }
    match seen.companion.stamp() {
        None => Some(ForeignWrite::Companion(seen.companion.clone())),
        Some(stamp) if stamp.sum.as_deref() != Some(&seen.records.sum()) => {
            Some(ForeignWrite::Records { stamp, found: seen.records.clone() })
        }
        Some(_) => None,
    }
}

/// For the log: what was found.
impl std::fmt::Display for ForeignWrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unstamped(found) => {
                write!(f, "records without a companion: {}", found.lines().join(", "))
            }
            Self::Records { stamp, found } => {
                let lines = found.lines().join(", ");
                write!(f, "records under ttl {} that {stamp} did not write: {lines}", found.ttl)
            }
            Self::Companion(found) => write!(f, "a companion that is not one stamp: {found}"),
        }
    }
}
