//! The lease timing of a region and the inequality that makes it safe.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Tick;

/// Lease timing. Equal in all regions of a deployment is usual but not needed: a challenger uses
/// the `ttl` written in the holder's own session record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timing {
    /// How long a session renewal counts, from the instant it was sent.
    pub ttl: Duration,
    /// Interval between renewals.
    pub renew: Duration,
    /// Longest time PostgreSQL may take to stop once told to.
    pub stop_budget: Duration,
    /// Safety margin on top, for scheduling noise.
    pub guard: Duration,
    /// Bound of the *relative* rate of two hosts' clocks, in parts per million (R3).
    pub drift_ppm: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(10),
            renew: Duration::from_secs(2),
            stop_budget: Duration::from_secs(3),
            guard: Duration::from_secs(1),
            drift_ppm: 10_000,
        }
    }
}

/// A timing that cannot be run safely, with the numbers put in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// `ttl - stop_budget - guard >= 3 * renew` does not hold.
    #[error(
        "ttl - stop_budget - guard >= 3 * renew does not hold: {ttl:?} - {stop_budget:?} - {guard:?} < 3 * {renew:?}"
    )]
    Inequality {
        /// As configured.
        ttl: Duration,
        /// As configured.
        stop_budget: Duration,
        /// As configured.
        guard: Duration,
        /// As configured.
        renew: Duration,
    },
    /// A duration that must be above zero is zero.
    #[error("{0} must be longer than zero")]
    Zero(&'static str),
    /// The drift bound leaves no window.
    #[error("drift of {0} ppm is not plausible: 0 to 200000 is accepted")]
    Drift(u32),
}

impl Timing {
    /// Refuses a timing that could not stop PostgreSQL before a challenger may act.
    pub fn check(&self) -> Result<(), TimingError> {
        for (name, value) in [
            ("ttl", self.ttl),
            ("renew", self.renew),
            ("stop_budget", self.stop_budget),
            ("guard", self.guard),
        ] {
            if value.is_zero() {
                return Err(TimingError::Zero(name));
            }
        }
        if self.drift_ppm > 200_000 {
            return Err(TimingError::Drift(self.drift_ppm));
        }
        let Timing { ttl, renew, stop_budget, guard, .. } = *self;
        if ttl < stop_budget + guard + renew * 3 {
            return Err(TimingError::Inequality { ttl, stop_budget, guard, renew });
        }
        Ok(())
    }

    /// Until when a renewal sent at `sent` lets PostgreSQL accept writes (R3): at this instant the
    /// stop must begin, so that it has ended `guard` before `sent + ttl`.
    pub fn valid_until(&self, sent: Tick) -> Tick {
        sent + self.ttl.saturating_sub(self.stop_budget + self.guard)
    }

    /// How long a challenger must see a session of `holder_ttl` unchanged, on its own clock (R6).
    pub fn window(&self, holder_ttl: Duration) -> Duration {
        let drift = holder_ttl.as_nanos() * u128::from(self.drift_ppm) / 1_000_000;
        let drift = u64::try_from(drift).unwrap_or(u64::MAX);
        holder_ttl + Duration::from_nanos(drift) + self.guard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_holds_and_a_tight_one_is_refused_with_its_numbers() {
        assert_eq!(Timing::default().check(), Ok(()));
        let tight = Timing { renew: Duration::from_millis(2_001), ..Timing::default() };
        let text = tight.check().expect_err("refused").to_string();
        assert!(text.contains("10s - 3s - 1s < 3 * 2.001s"), "{text}");
    }

    #[test]
    fn the_stop_ends_before_any_window_closes() {
        let timing = Timing::default();
        let sent = Tick(5_000_000_000);
        let stopped = timing.valid_until(sent) + timing.stop_budget;
        assert!(stopped + timing.guard <= sent + timing.ttl);
        assert!(timing.window(timing.ttl) > timing.ttl + timing.guard);
    }
}
