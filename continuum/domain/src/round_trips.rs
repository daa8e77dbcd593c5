//! Round trips to another region's agent, as a histogram that forgets, and what they suggest.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Tick;

/// Upper bounds of the buckets grow by a quarter, from here.
const FIRST: Duration = Duration::from_micros(50);
const BUCKETS: usize = 64;
/// What is older than this to twice this is forgotten.
const SPAN: Duration = Duration::from_secs(600);
/// Fewer than these suggest nothing.
const SUGGESTS_FROM: u64 = 100;
/// Nothing below this is suggested: a busy host may not run a process for so long.
const SUGGEST_LEAST: Duration = Duration::from_millis(400);
const SUGGEST_STEP: Duration = Duration::from_millis(50);

/// The histogram: two spans, the older of which is dropped when the newer one is full.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoundTrips {
    newer: Counts,
    older: Counts,
    began: Option<Tick>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Counts {
    buckets: [u64; BUCKETS],
    unanswered: u64,
    longest: Duration,
}

impl Default for Counts {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], unanswered: 0, longest: Duration::ZERO }
    }
}

/// What it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoundTripsView {
    /// Answered questions that it is made of, of the last ten to twenty minutes.
    pub count: u64,
    /// Questions without an answer in time.
    pub unanswered: u64,
    /// Half took no longer, in microseconds (rounded up by at most a quarter).
    pub p50_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
    /// A `suspect_after` that this link has room for, in milliseconds; `None` with too few answers.
    pub suggested_suspect_after_ms: Option<u64>,
}

fn bound(bucket: usize) -> Duration {
    FIRST.mul_f64(1.25f64.powi(i32::try_from(bucket).unwrap_or(i32::MAX)))
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl RoundTrips {
    fn turn(&mut self, now: Tick) {
        let began = *self.began.get_or_insert(now);
        if now.since(began) >= SPAN {
            self.older = std::mem::take(&mut self.newer);
            self.began = Some(now);
        }
    }

    /// An answer came after `took`.
    pub fn answered(&mut self, now: Tick, took: Duration) {
        self.turn(now);
        let bucket = (0..BUCKETS).find(|bucket| took <= bound(*bucket)).unwrap_or(BUCKETS - 1);
        self.newer.buckets[bucket] += 1;
        self.newer.longest = self.newer.longest.max(took);
    }

    /// None came in time.
    pub fn unanswered(&mut self, now: Tick) {
        self.turn(now);
        self.newer.unanswered += 1;
    }

    fn quantile(&self, per_mille: u64, count: u64) -> Duration {
        let rank = (count * per_mille).div_ceil(1_000).max(1);
        let mut seen = 0;
        for bucket in 0..BUCKETS {
            seen += self.newer.buckets[bucket] + self.older.buckets[bucket];
            if seen >= rank {
                return bound(bucket).min(self.longest());
            }
        }
        self.longest()
    }

    fn longest(&self) -> Duration {
        self.newer.longest.max(self.older.longest)
    }

    /// What it shows; `None` when nothing was ever answered (I7).
    pub fn view(&self) -> Option<RoundTripsView> {
        let count: u64 = self.newer.buckets.iter().chain(&self.older.buckets).sum();
        if count == 0 {
            return None;
        }
        Some(RoundTripsView {
            count,
            unanswered: self.newer.unanswered + self.older.unanswered,
            p50_us: micros(self.quantile(500, count)),
            p99_us: micros(self.quantile(990, count)),
            max_us: micros(self.longest()),
            suggested_suspect_after_ms: (count >= SUGGESTS_FROM).then(|| self.suggest(count)),
        })
    }

    /// Three questions, each a fifth of the time apart, must be able to go unanswered by a link at its
    /// slowest: the time is four slow round trips, and at least what a busy host needs.
    fn suggest(&self, count: u64) -> u64 {
        let slow = self.quantile(999, count);
        let least = (slow * 4).max(SUGGEST_LEAST);
        let steps = least.as_millis().div_ceil(SUGGEST_STEP.as_millis());
        u64::try_from(steps * SUGGEST_STEP.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Tick {
        Tick(s * 1_000_000_000)
    }

    #[test]
    fn nothing_measured_shows_nothing() {
        let mut trips = RoundTrips::default();
        assert_eq!(trips.view(), None);
        trips.unanswered(at(1));
        assert_eq!(trips.view(), None);
    }

    #[test]
    fn quantiles_are_a_quarter_too_long_at_most() {
        let mut trips = RoundTrips::default();
        for ms in 1..=1_000 {
            trips.answered(at(1), Duration::from_millis(ms));
        }
        let view = trips.view().expect("measured");
        assert!((500_000..=625_000).contains(&view.p50_us), "{view:?}");
        assert!((990_000..=1_000_000).contains(&view.p99_us), "{view:?}");
        assert_eq!((view.count, view.max_us), (1_000, 1_000_000));
        assert_eq!(view.suggested_suspect_after_ms, Some(4_000));
    }

    #[test]
    fn a_quick_link_suggests_what_a_busy_host_needs_and_a_few_answers_suggest_nothing() {
        let mut trips = RoundTrips::default();
        trips.answered(at(1), Duration::from_micros(300));
        assert_eq!(trips.view().expect("measured").suggested_suspect_after_ms, None);
        for _ in 0..200 {
            trips.answered(at(1), Duration::from_micros(300));
        }
        let view = trips.view().expect("measured");
        assert_eq!(view.suggested_suspect_after_ms, Some(400));
    }

    #[test]
    fn it_forgets() {
        let mut trips = RoundTrips::default();
        trips.answered(at(1), Duration::from_secs(1));
        trips.answered(at(700), Duration::from_millis(1));
        assert_eq!(trips.view().expect("measured").max_us, 1_000_000);
        trips.answered(at(1_400), Duration::from_millis(1));
        assert_eq!(trips.view().expect("measured").max_us, 1_000);
    }
}
