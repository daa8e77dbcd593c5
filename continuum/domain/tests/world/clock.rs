//! Host clocks with their own rates, and the one source of choices.

use std::time::Duration;

use continuum_domain::Tick;

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A host's monotonic clock: its own start, its own rate.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub offset: u64,
    pub rate_ppm: i64,
}

impl Clock {
    pub fn local(&self, now: u64) -> Tick {
        let drift = i128::from(now) * i128::from(self.rate_ppm) / 1_000_000;
        let local = i128::from(self.offset) + i128::from(now) + drift;
        Tick(u64::try_from(local).expect("clocks start late enough"))
    }

    /// The first true instant at which this clock shows at least `tick`.
    pub fn true_time(&self, tick: Tick) -> u64 {
        let since = i128::from(tick.0.saturating_sub(self.offset));
        let time = since * 1_000_000 / (1_000_000 + i128::from(self.rate_ppm));
        let mut time = u64::try_from(time).unwrap_or(u64::MAX / 4).min(u64::MAX / 4);
        while self.local(time) < tick && time < u64::MAX / 4 {
            time += 1;
        }
        time
    }
}

/// splitmix64.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x5851_F42D_4C95_7F2D)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    pub fn between(&mut self, low: Duration, high: Duration) -> Duration {
        low + self.upto(high.saturating_sub(low))
    }

    pub fn upto(&mut self, limit: Duration) -> Duration {
        Duration::from_nanos(self.below(limit.as_nanos() as u64 + 1))
    }

    /// True `per_mille` times in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}
