//! The clock seam.

use std::fmt::Debug;
use std::sync::Arc;

use continuum_domain::Tick;
use rustix::time::{ClockId, clock_gettime};

/// Time as the program may see it.
pub trait Clock: Send + Sync + Debug {
    /// The local monotonic clock that counts suspend. The only clock decisions are made on.
    fn now(&self) -> Tick;

    /// Wall-clock milliseconds since 1970, for people and logs only.
    fn wall_ms(&self) -> i64;
}

/// A clock handed around.
pub type SharedClock = Arc<dyn Clock>;

/// `CLOCK_BOOTTIME` of this host.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Tick {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        Tick(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    fn wall_ms(&self) -> i64 {
        let time = clock_gettime(ClockId::Realtime);
        time.tv_sec.saturating_mul(1_000).saturating_add(time.tv_nsec / 1_000_000)
    }
}
