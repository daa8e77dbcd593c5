//! What a pair's owner asked of a move, and what moves were seen to cost.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration_text;
use crate::ids::Epoch;
use crate::time::Tick;

/// What a move of a pair may cost. Nothing acts on it; the history of the pair is held against it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Objectives {
    /// Longest time without writes (recovery time objective).
    #[serde(default, with = "duration_text::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub rto: Option<Duration>,
    /// Most bytes of acknowledged WAL that may be lost (recovery point objective).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo_bytes: Option<u64>,
}

/// What acknowledged writes a move lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "lost")]
pub enum Loss {
    /// Nothing: whoever took over had every acknowledged commit.
    Nothing,
    /// At most what the former holder had written beyond the fork.
    AtMost {
        /// Bytes of WAL.
        bytes: u64,
        /// Commit records among them, where they were counted.
        commits: Option<u64>,
    },
    /// Not known: nobody has looked at what the former holder left behind.
    Unknown,
}

impl Objectives {
    /// Whether an outage was within the objective; `None` where either is not known.
    pub fn rto_met(&self, outage: Option<Duration>) -> Option<bool> {
        Some(outage? <= self.rto?)
    }

    /// Whether a loss was within the objective; `None` where that is not known. A bound of the loss
    /// that is above the objective says nothing: less may have been lost.
    pub fn rpo_met(&self, loss: Loss) -> Option<bool> {
        let most = self.rpo_bytes?;
        match loss {
            Loss::Nothing => Some(true),
            Loss::AtMost { commits: Some(0), .. } => Some(true),
            Loss::AtMost { bytes, .. } if bytes <= most => Some(true),
            Loss::AtMost { .. } | Loss::Unknown => None,
        }
    }
}

/// Sees how long a pair took no writes, on one clock.
///
/// It is told each write that is known to have reached a holder's disk. Between the last one of an
/// epoch and the first one of a later epoch the pair took none, or took some that nobody told of: the
/// outage was at most so long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteGap {
    last: Option<(Epoch, Tick)>,
}

impl WriteGap {
    /// A write of the holder of `epoch` reached its disk at `at`. The longest that the outage before
    /// it can have been, for the first one of its epoch.
    pub fn written(&mut self, epoch: Epoch, at: Tick) -> Option<Duration> {
        let Some((known, before)) = self.last else {
            self.last = Some((epoch, at));
            return None;
        };
        // What is no newer than a write that is known was overtaken on its way, or is the last write of
        // an earlier tenure of the same member: no write of a later epoch.
        if epoch < known || at.0 <= before.0 {
            return None;
        }
        self.last = Some((epoch, at));
        (epoch > known).then(|| at.since(before))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Tick {
        Tick(ms * 1_000_000)
    }

    #[test]
    fn the_gap_is_from_the_last_write_to_the_first_of_the_next_epoch() {
        let mut gap = WriteGap::default();
        assert_eq!(gap.written(Epoch(3), ms(1_000)), None, "nothing is known of before");
        assert_eq!(gap.written(Epoch(3), ms(2_000)), None);
        assert_eq!(gap.written(Epoch(3), ms(1_900)), None, "overtaken");
        let stale = ms(1_500);
        assert_eq!(gap.written(Epoch(4), stale), None, "of an earlier tenure of the new holder");
        assert_eq!(gap.written(Epoch(4), ms(2_700)), Some(Duration::from_millis(700)));
        assert_eq!(gap.written(Epoch(4), ms(3_000)), None, "told once");
        assert_eq!(gap.written(Epoch(3), ms(3_100)), None, "a late word of a former holder");
        assert_eq!(gap.written(Epoch(6), ms(4_000)), Some(Duration::from_secs(1)));
    }

    #[test]
    fn what_is_not_known_meets_nothing_and_misses_nothing() {
        let none = Objectives::default();
        assert_eq!((none.rto_met(Some(Duration::ZERO)), none.rpo_met(Loss::Nothing)), (None, None));
        let asked = Objectives { rto: Some(Duration::from_secs(5)), rpo_bytes: Some(100) };
        assert_eq!(asked.rto_met(None), None);
        assert_eq!(asked.rto_met(Some(Duration::from_secs(5))), Some(true));
        assert_eq!(asked.rto_met(Some(Duration::from_millis(5_001))), Some(false));
        assert_eq!(asked.rpo_met(Loss::Nothing), Some(true));
        assert_eq!(asked.rpo_met(Loss::Unknown), None);
        let most = |bytes, commits| asked.rpo_met(Loss::AtMost { bytes, commits });
        assert_eq!(most(100, None), Some(true));
        assert_eq!((most(101, None), most(101, Some(0))), (None, Some(true)));
    }

    proptest! {
        /// Whatever arrives in whatever order: a gap is told once per epoch, and never longer than
        /// the time between the writes that were told.
        #[test]
        fn gaps_are_bounded_by_what_was_told(
            told in prop::collection::vec((1u64..6, 0u64..1_000), 1..40),
        ) {
            let mut gap = WriteGap::default();
            let mut seen = Vec::new();
            for (epoch, at) in &told {
                if let Some(outage) = gap.written(Epoch(*epoch), ms(*at)) {
                    prop_assert!(!seen.contains(epoch));
                    seen.push(*epoch);
                    prop_assert!(!outage.is_zero());
                    let span = told.iter().map(|one| one.1).max().unwrap();
                    prop_assert!(outage <= Duration::from_millis(span));
                }
            }
        }
    }
}
