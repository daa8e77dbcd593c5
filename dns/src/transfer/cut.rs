//! What stood in all registers at one instant, from reads that took time.
//!
//! A read that was sent at `s` and received at `r` tells what stood at some instant between. An epoch
//! never comes back, so two reads that show the same one tell that it stood from one's `r` to the
//! other's `s`. Where those spans of all pairs share an instant, they all stood then.

use std::collections::BTreeMap;

use continuum_domain::{Epoch, PairId, RegionId, Tick};

/// What stood at one instant: each pair's epoch and its holder, if it had one.
pub type Cut = BTreeMap<PairId, (Epoch, Option<RegionId>)>;

/// One pair's newest epoch and the span over which it certainly stood; empty while `from` is later
/// than `until`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    epoch: Epoch,
    holder: Option<RegionId>,
    /// The earliest receipt of a read that showed it.
    from: Tick,
    /// The latest send of a read that showed it.
    until: Tick,
}

/// What reads have told of each pair.
#[derive(Clone, Debug, Default)]
pub struct Cuts {
    pairs: BTreeMap<PairId, Option<Standing>>,
}

impl Cuts {
    /// Nothing known of any of `pairs`.
    pub fn new(pairs: impl IntoIterator<Item = PairId>) -> Self {
        Self { pairs: pairs.into_iter().map(|pair| (pair, None)).collect() }
    }

    /// Takes a successful read of `pair`'s register; epoch 0 for one never written. A pair that is not
    /// one of ours and an epoch that is older than known change nothing. Whether the epoch is new.
    pub fn observe(
        &mut self,
        pair: &PairId,
        epoch: Epoch,
        holder: Option<&RegionId>,
        sent: Tick,
        received: Tick,
    ) -> bool {
        let Some(known) = self.pairs.get_mut(pair) else { return false };
        match known {
            Some(standing) if standing.epoch > epoch => false,
            Some(standing) if standing.epoch == epoch => {
                standing.from = standing.from.min(received);
                standing.until = standing.until.max(sent);
                false
            }
            _ => {
                let holder = holder.cloned();
                *known = Some(Standing { epoch, holder, from: received, until: sent });
                true
            }
        }
    }

    /// The newest epochs, if they all stood at one instant; `None` while that is not proven.
    pub fn cut(&self) -> Option<Cut> {
        let standing: Option<Vec<_>> =
            self.pairs.iter().map(|(pair, known)| Some((pair, known.as_ref()?))).collect();
        let standing = standing?;
        let from = standing.iter().map(|(_, known)| known.from).max()?;
        let until = standing.iter().map(|(_, known)| known.until).min()?;
        let told = |(pair, known): (&PairId, &Standing)| {
            (pair.clone(), (known.epoch, known.holder.clone()))
        };
        (from <= until).then(|| standing.into_iter().map(told).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair(index: usize) -> PairId {
        PairId::new(format!("p{index}")).unwrap()
    }

    #[test]
    fn one_read_of_each_proves_nothing_and_a_second_does() {
        let mut cuts = Cuts::new([pair(0), pair(1)]);
        let mut read = |index, epoch, sent, received| {
            cuts.observe(&pair(index), Epoch(epoch), None, Tick(sent), Tick(received));
            cuts.cut().map(|cut| cut.values().map(|(epoch, _)| epoch.0).collect::<Vec<_>>())
        };
        assert_eq!(read(0, 3, 10, 20), None, "the other is not known");
        assert_eq!(read(1, 5, 30, 40), None, "the first may have changed since");
        assert_eq!(read(0, 3, 41, 50), None, "the second is known at an instant before 40 alone");
        assert_eq!(read(1, 5, 51, 60), Some(vec![3, 5]));
        assert_eq!(read(1, 6, 61, 70), None);
        assert_eq!(read(0, 2, 71, 80), None, "a late answer takes nothing back");
        assert_eq!(read(0, 3, 81, 90), None, "the second is known at an instant before 70 alone");
        assert_eq!(read(1, 6, 71, 95), Some(vec![3, 6]), "the first stood until 81, this since 70");
    }

    /// Instants at which each pair's epoch grew by one.
    type World = [Vec<u64>; 3];

    fn epoch_at(world: &World, index: usize, at: u64) -> u64 {
        world[index].iter().filter(|grew| **grew <= at).count() as u64
    }

    /// A read: of which pair, sent, how long until the register was looked at and until the answer.
    type Read = (usize, u64, u64, u64);

    fn reads() -> impl Strategy<Value = Vec<Read>> {
        prop::collection::vec((0..3usize, 0..200u64, 0..8u64, 0..8u64), 0..80)
    }

    /// All cuts that an observer finds who receives these answers in the order of their receipt.
    fn found(world: &World, mut reads: Vec<Read>) -> Vec<Vec<u64>> {
        reads.sort_by_key(|(_, sent, there, back)| sent + there + back);
        let mut cuts = Cuts::new((0..3).map(pair));
        let mut all = Vec::new();
        for (index, sent, there, back) in reads {
            let epoch = Epoch(epoch_at(world, index, sent + there));
            cuts.observe(&pair(index), epoch, None, Tick(sent), Tick(sent + there + back));
            all.extend(cuts.cut().map(|cut| cut.values().map(|(epoch, _)| epoch.0).collect()));
        }
        all
    }

    proptest! {
        /// Two servers that know nothing of each other: whatever either finds did stand at an instant,
        /// so of any two cuts one is nowhere below the other, and equal sums are equal cuts.
        #[test]
        fn cuts_of_all_observers_lie_on_one_line(
            world in prop::array::uniform3(prop::collection::vec(0..200u64, 0..12)),
            one in reads(),
            other in reads(),
        ) {
            let mut all = found(&world, one);
            all.extend(found(&world, other));
            let stood: Vec<Vec<u64>> =
                (0..220).map(|at| (0..3).map(|index| epoch_at(&world, index, at)).collect()).collect();
            for cut in &all {
                prop_assert!(stood.contains(cut), "{cut:?} never stood");
                for with in &all {
                    let sums = (cut.iter().sum::<u64>(), with.iter().sum::<u64>());
                    let below = cut.iter().zip(with).all(|(one, two)| one <= two);
                    prop_assert_eq!(sums.0 <= sums.1, below, "{:?} {:?}", cut, with);
                }
            }
        }
    }
}
