//! Deadlines on another host's clock.
//!
//! The guard in the pod holds its deadline on the clock of the pod's host, and the agent may run on
//! another. No clock is set or compared: the agent reads the pod's clock, and what it read was true
//! at some instant before the answer came. So the time that is left until a deadline, counted from the
//! answer and made shorter by the drift, is added to what was read: the guard's deadline comes no later
//! than the agent's (R3, R5).

use std::time::Duration;

use continuum_domain::Tick;

/// Parts of a million.
const MILLION: u128 = 1_000_000;
/// Nanoseconds in the guard's unit, a hundredth of a second.
const UNIT_NANOS: u128 = 10_000_000;

/// One reading of the pod's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Hundredths of a second since the pod's host was started.
    pub uptime: u64,
    /// When the answer was here.
    pub received: Tick,
}

impl Sample {
    /// The pod's clock at which the guard must act for `deadline`, by two clocks whose rates differ by
    /// at most so many parts of a million. A deadline that has passed is the past there too.
    pub fn at_pod(&self, deadline: Tick, drift_ppm: u32) -> u64 {
        let left = self.received.until(deadline).as_nanos();
        let sure = left * (MILLION - u128::from(drift_ppm).min(MILLION)) / MILLION;
        self.uptime.saturating_add(u64::try_from(sure / UNIT_NANOS).unwrap_or(u64::MAX))
    }

    /// Whether it is so old that the drift since would eat much of a deadline.
    pub fn is_old(&self, now: Tick) -> bool {
        now.since(self.received) > Duration::from_secs(5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NANOS: u64 = 1_000_000_000;

    proptest! {
        /// Whatever the two clocks do within the bound, and however late the answer comes, the guard's
        /// deadline is no later than the agent's.
        #[test]
        fn the_guards_deadline_is_never_later(
            rate_ppm in 0_u32..100_000,
            slower in any::<bool>(),
            answer_nanos in 0_u64..5 * NANOS,
            left_nanos in 0_u64..60 * NANOS,
            boot in 0_u64..1_000_000_000,
        ) {
            // True time 0: the guard reads its clock. The answer arrives `answer_nanos` later.
            let received = Tick(7 * NANOS + answer_nanos);
            let deadline = received + Duration::from_nanos(left_nanos);
            let sample = Sample { uptime: boot, received };
            let at_pod = sample.at_pod(deadline, rate_ppm);
            let on_pod_clock = u128::from(at_pod - boot) * UNIT_NANOS;
            // The pod's clock runs by the rate faster or slower than the agent's.
            let relative = u128::from(if slower { 1_000_000 - rate_ppm } else { 1_000_000 + rate_ppm });
            let true_nanos = on_pod_clock * MILLION / relative;
            prop_assert!(true_nanos <= u128::from(answer_nanos + left_nanos));
        }
    }

    #[test]
    fn a_deadline_that_has_passed_is_the_past() {
        let sample = Sample { uptime: 500, received: Tick(9 * NANOS) };
        assert_eq!(sample.at_pod(Tick(3 * NANOS), 10_000), 500);
    }
}
