//! What becomes of a member's surroundings while its pair is paused: whether its Cluster may sleep, and whether
//! the nodes it runs on may go. All by level, from what the agent's own machine knows.

use crate::ids::Epoch;
use crate::record::PairRecord;

/// How a pair stands, as far as its surroundings are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It rests, and PostgreSQL of this member is seen to stand still.
    Rests(Epoch),
    /// It does not rest: everything must be there.
    Wakes(Epoch),
    /// Neither is known, or it is on its way: nothing is changed.
    Unknown,
}

/// How a pair stands by its register, `fresh` if it was read lately, and by whether this member was seen to
/// stand still for it.
pub fn rest(record: Option<&PairRecord>, fresh: bool, still: bool) -> Rest {
    match record {
        // Old news of a rest may be over; old news of no rest costs nothing but an idle node.
        Some(record) if record.resting().is_some() && fresh && still => Rest::Rests(record.epoch),
        Some(record) if record.resting().is_none() && !record.paused => Rest::Wakes(record.epoch),
        _ => Rest::Unknown,
    }
}

/// What a node pool that several pairs need should be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolWish {
    /// No pair needs it.
    Down,
    /// As large as it was.
    Up,
    /// As it is.
    Leave,
}

/// A pool goes down when every one of its pairs rests, and comes back as soon as one does not.
pub fn pool(pairs: &[Rest]) -> PoolWish {
    if pairs.iter().any(|rest| matches!(rest, Rest::Wakes(_))) {
        return PoolWish::Up;
    }
    let all = !pairs.is_empty() && pairs.iter().all(|rest| matches!(rest, Rest::Rests(_)));
    if all { PoolWish::Down } else { PoolWish::Leave }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ids::RegionId;

    fn record(paused: bool, holder: Option<&str>, rested_by: Option<&str>) -> PairRecord {
        let region = |name: &str| RegionId::new(name).unwrap();
        PairRecord {
            epoch: Epoch(7),
            holder: holder.map(region),
            in_sync: BTreeMap::new(),
            handover_to: None,
            paused,
            waits_for_all: false,
            rested_by: rested_by.map(region),
        }
    }

    #[test]
    fn only_a_rest_that_is_known_and_seen_counts_as_one() {
        let resting = record(true, None, Some("fsn"));
        assert_eq!(rest(Some(&resting), true, true), Rest::Rests(Epoch(7)));
        for (fresh, still) in [(false, true), (true, false), (false, false)] {
            assert_eq!(rest(Some(&resting), fresh, still), Rest::Unknown);
        }
        assert_eq!(rest(None, true, true), Rest::Unknown);
        // On its way to rest, or cut off half-way.
        assert_eq!(rest(Some(&record(true, Some("fsn"), None)), true, true), Rest::Unknown);
        // Held, or vacant after a rest.
        for awake in [record(false, Some("fsn"), None), record(false, None, Some("fsn"))] {
            assert_eq!(rest(Some(&awake), false, true), Rest::Wakes(Epoch(7)));
        }
    }

    #[test]
    fn a_pool_goes_with_the_last_of_its_pairs_and_comes_back_with_the_first() {
        let (rests, wakes) = (Rest::Rests(Epoch(1)), Rest::Wakes(Epoch(1)));
        for (pairs, wish) in [
            (vec![rests, rests], PoolWish::Down),
            (vec![rests, wakes], PoolWish::Up),
            (vec![Rest::Unknown, wakes], PoolWish::Up),
            (vec![rests, Rest::Unknown], PoolWish::Leave),
            (vec![], PoolWish::Leave),
        ] {
            assert_eq!(pool(&pairs), wish, "{pairs:?}");
        }
    }
}
