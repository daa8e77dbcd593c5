//! Time as each host sees it: the world's time, at the host's own rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use continuum_domain::Tick;
use continuum_runtime::Clock;

/// What a monotonic clock shows when the world begins; hosts have been up for different times.
const BOOTED_NS: u64 = 3_600_000_000_000;
/// Wall-clock time when the world begins: 2026-01-01.
const EPOCH_MS: i64 = 1_767_225_600_000;

/// The world's time for those who stand outside all hosts.
#[derive(Clone, Debug, Default)]
pub struct WorldTime(Arc<AtomicU64>);

impl WorldTime {
    /// Sets it; the driver does so at every step.
    pub fn set(&self, now: Duration) {
        self.0.store(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Time since the world began: the current host's inside its turn, else the driver's.
    ///
    /// While a host crashes or starts it is the current one, but no runtime runs, and its clock
    /// would be the machine's: a run that is slower than its own time would then show it.
    pub fn now(&self) -> Duration {
        let driver = Duration::from_nanos(self.0.load(Ordering::Relaxed));
        let turn = tokio::runtime::Handle::try_current().is_ok();
        turn.then(turmoil::sim_elapsed).flatten().unwrap_or(driver)
    }
}

/// A host's clocks. The monotonic one never jumps; the wall clock may be stepped.
#[derive(Clone, Debug)]
pub struct SimClock {
    world: WorldTime,
    /// Rate against the world's time, in parts per million above one.
    ppm: i64,
    /// When this host booted, against the world's beginning.
    offset_ns: u64,
    wall_ms: Arc<AtomicI64>,
}

impl SimClock {
    /// A clock with its own rate.
    pub fn new(world: &WorldTime, ppm: i64, offset: Duration) -> Self {
        let offset_ns = BOOTED_NS + u64::try_from(offset.as_nanos()).unwrap_or(0);
        Self { world: world.clone(), ppm, offset_ns, wall_ms: Arc::default() }
    }

    /// Steps the wall clock.
    pub fn step_wall(&self, by_ms: i64) {
        self.wall_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// What this clock shows at `at` of the world's time.
    pub fn at(&self, at: Duration) -> Tick {
        Tick(self.offset_ns.saturating_add(self.local(at)))
    }

    /// When this clock shows `tick`, in the world's time; zero for what was before the world.
    pub fn world_at(&self, tick: Tick) -> Duration {
        let local = i128::from(tick.0.saturating_sub(self.offset_ns));
        let rate = i128::from(1_000_000 + self.ppm);
        let world = (local * 1_000_000).div_euclid(rate);
        Duration::from_nanos(u64::try_from(world).unwrap_or(u64::MAX))
    }

    fn local(&self, at: Duration) -> u64 {
        let world = i128::try_from(at.as_nanos()).unwrap_or(i128::MAX / 2_000_000);
        u64::try_from(world * i128::from(1_000_000 + self.ppm) / 1_000_000).unwrap_or(u64::MAX)
    }
}

impl Clock for SimClock {
    fn now(&self) -> Tick {
        self.at(self.world.now())
    }

    fn wall_ms(&self) -> i64 {
        let ran = i64::try_from(self.local(self.world.now()) / 1_000_000).unwrap_or(i64::MAX);
        EPOCH_MS.saturating_add(ran).saturating_add(self.wall_ms.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    use continuum_runtime::BootClock;

    /// Reads the clock when it is dropped: in a crash of its host.
    struct ReadWhenDropped(WorldTime, Arc<Mutex<Option<Duration>>>);

    impl Drop for ReadWhenDropped {
        fn drop(&mut self) {
            *self.1.lock().unwrap() = Some(self.0.now());
        }
    }

    #[test]
    fn a_crash_is_dated_by_the_world_however_slow_the_machine() {
        let (world, read) = (WorldTime::default(), Arc::new(Mutex::new(None)));
        let mut sim = turmoil::Builder::new().tick_duration(Duration::from_millis(5)).build();
        let guard = (world.clone(), read.clone());
        sim.host("node", move || {
            let guard = ReadWhenDropped(guard.0.clone(), guard.1.clone());
            async move {
                let _guard = guard;
                std::future::pending().await
            }
        });
        sim.step().unwrap();
        world.set(sim.elapsed());
        let began = BootClock.now();
        while BootClock.now().since(began) < Duration::from_millis(50) {
            std::hint::spin_loop();
        }
        sim.crash("node");
        assert_eq!(*read.lock().unwrap(), Some(sim.elapsed()));
    }

    #[test]
    fn a_fast_clock_gains_and_the_way_back_is_known() {
        let clock = SimClock::new(&WorldTime::default(), 10_000, Duration::from_secs(7));
        let (zero, ten) = (clock.at(Duration::ZERO), clock.at(Duration::from_secs(10)));
        assert_eq!(ten.since(zero), Duration::from_millis(10_100));
        assert_eq!(clock.world_at(ten), Duration::from_secs(10));
    }
}
