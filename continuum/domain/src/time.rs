//! Local monotonic time.

use std::ops::{Add, Sub};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An instant of one host's monotonic clock that counts suspend (`CLOCK_BOOTTIME`), in nanoseconds
/// since that host's boot. Ticks of two hosts must never be compared.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Tick(pub u64);

impl Tick {
    /// Time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Tick) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Time left until `deadline`; zero when it has passed.
    pub fn until(self, deadline: Tick) -> Duration {
        deadline.since(self)
    }
}

impl Add<Duration> for Tick {
    type Output = Tick;
    fn add(self, span: Duration) -> Tick {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Tick(self.0.saturating_add(nanos))
    }
}

impl Sub<Duration> for Tick {
    type Output = Tick;
    fn sub(self, span: Duration) -> Tick {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Tick(self.0.saturating_sub(nanos))
    }
}
