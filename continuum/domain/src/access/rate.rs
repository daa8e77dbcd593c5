//! How often somebody may ask: a bucket of tokens for each.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Tick;

/// Keys remembered at most; those whose bucket is full again are forgotten first.
const KEYS_MAX: usize = 10_000;
const NANOS: u128 = 1_000_000_000;

/// What each may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// For as long as it likes.
    pub per_second: u32,
    /// At once, after a rest.
    pub burst: u32,
}

impl Limit {
    fn capacity(self) -> u128 {
        u128::from(self.burst) * NANOS
    }
}

/// Billionths of a token, so that nothing is lost by rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    left: u128,
    at: Tick,
}

impl Bucket {
    fn at(self, now: Tick, limit: Limit) -> Self {
        let earned = now.since(self.at).as_nanos() * u128::from(limit.per_second);
        Self { left: (self.left + earned).min(limit.capacity()), at: now }
    }
}

/// A bucket for each key.
#[derive(Clone, Debug)]
pub struct Buckets {
    limit: Limit,
    buckets: BTreeMap<String, Bucket>,
}

impl Buckets {
    /// Full buckets.
    pub fn new(limit: Limit) -> Self {
        Self { limit, buckets: BTreeMap::new() }
    }

    fn bucket(&self, key: &str, now: Tick) -> Bucket {
        let full = Bucket { left: self.limit.capacity(), at: now };
        self.buckets.get(key).map_or(full, |bucket| bucket.at(now, self.limit))
    }

    /// Takes a token, or tells how long it takes until there is one.
    pub fn take(&mut self, key: &str, now: Tick) -> Result<(), Duration> {
        self.look(key, now)?;
        let mut bucket = self.bucket(key, now);
        bucket.left = bucket.left.saturating_sub(NANOS);
        self.make_room(key, now);
        self.buckets.insert(key.to_owned(), bucket);
        Ok(())
    }

    /// Whether there is a token, without taking it.
    pub fn look(&self, key: &str, now: Tick) -> Result<(), Duration> {
        let missing = NANOS.saturating_sub(self.bucket(key, now).left);
        if missing == 0 {
            return Ok(());
        }
        let wait = missing.div_ceil(u128::from(self.limit.per_second.max(1)));
        Err(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
    }

    /// Forgets who has rested; when nobody has, who asked longest ago.
    fn make_room(&mut self, key: &str, now: Tick) {
        if self.buckets.len() < KEYS_MAX || self.buckets.contains_key(key) {
            return;
        }
        let limit = self.limit;
        self.buckets.retain(|_, bucket| bucket.at(now, limit).left < limit.capacity());
        if self.buckets.len() >= KEYS_MAX
            && let Some(oldest) = self.buckets.iter().min_by_key(|(_, bucket)| bucket.at)
        {
            let oldest = oldest.0.clone();
            self.buckets.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Tick {
        Tick::default() + Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_is_served_and_then_the_rate() {
        let mut buckets = Buckets::new(Limit { per_second: 10, burst: 3 });
        for _ in 0..3 {
            assert_eq!(buckets.take("a", at(0)), Ok(()));
        }
        assert_eq!(buckets.take("a", at(0)), Err(Duration::from_millis(100)));
        assert_eq!(buckets.take("b", at(0)), Ok(()), "each has a bucket of its own");
        assert_eq!(buckets.take("a", at(99)), Err(Duration::from_millis(1)));
        assert_eq!(buckets.take("a", at(100)), Ok(()));
        assert_eq!(buckets.take("a", at(100)), Err(Duration::from_millis(100)));
        for _ in 0..3 {
            assert_eq!(
                buckets.take("a", at(10_000)),
                Ok(()),
                "a rest earns the burst, and no more"
            );
        }
        assert!(buckets.take("a", at(10_000)).is_err());
    }

    #[test]
    fn the_table_is_bounded() {
        let mut buckets = Buckets::new(Limit { per_second: 1, burst: 1 });
        for number in 0..KEYS_MAX + 50 {
            assert_eq!(buckets.take(&number.to_string(), at(0)), Ok(()));
        }
        assert_eq!(buckets.buckets.len(), KEYS_MAX);
        assert_eq!(buckets.take("late", at(5_000)), Ok(()));
        assert_eq!(buckets.buckets.len(), 1, "all others have rested");
    }
}
