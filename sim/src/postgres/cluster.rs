//! The handle of a cluster: time, planes, connections, faults, and the judge's view.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use continuum_domain::{PairId, RegionId};
use continuum_runtime::SharedClock;

use super::judge::{Happening, MemberView, SessionId};
use super::plane::ModelPlane;
use super::sessions::{ConnectError, Session};
use super::settings::Settings;
use super::world::World;

/// One member.
#[derive(Clone, Debug)]
pub struct MemberConfig {
    /// Its region, which is also its name as a standby.
    pub region: RegionId,
    /// The host its PostgreSQL and its guard run on, as the [`Wire`] knows it.
    pub host: String,
    /// The clock of that host. It counts suspend, so a frozen host's clock goes on.
    pub clock: SharedClock,
    /// Longest time PostgreSQL may take to stop.
    pub stop_budget: Duration,
}

/// The network between places: hosts of members and places of clients.
pub trait Wire: Send + Sync {
    /// How long a message that leaves now takes from one place to another; `None`: it is lost.
    fn delay(&self, from: &str, to: &str) -> Option<Duration>;
}

/// All members of one pair. Cheap to share; meant for one thread, as all waits are ended by
/// [`Cluster::advance`].
pub struct Cluster {
    pair: PairId,
    world: Mutex<World>,
}

impl Cluster {
    /// Members with guards that run and nothing on their disks, with usual settings.
    pub fn new(
        pair: PairId,
        members: Vec<MemberConfig>,
        wire: Arc<dyn Wire>,
        seed: u64,
    ) -> Arc<Self> {
        Self::with_settings(pair, members, wire, seed, Settings::default())
    }

    /// The same with other settings.
    pub fn with_settings(
        pair: PairId,
        members: Vec<MemberConfig>,
        wire: Arc<dyn Wire>,
        seed: u64,
        settings: Settings,
    ) -> Arc<Self> {
        Arc::new(Self { pair, world: Mutex::new(World::new(members, wire, seed, settings)) })
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pair.
    pub fn pair(&self) -> &PairId {
        &self.pair
    }

    /// Does everything due up to `now`, simulated time since the start. Time never goes back.
    pub fn advance(&self, now: Duration) {
        self.world().advance(now);
    }

    /// A new agent's plane on a region's member. Each agent process takes its own.
    ///
    /// # Panics
    /// When there is no such member.
    pub fn plane(self: &Arc<Self>, region: &RegionId) -> Arc<ModelPlane> {
        Arc::new(ModelPlane::new(self.clone(), self.index(region)))
    }

    /// A client's connection from `from` to a member.
    pub async fn connect(
        self: &Arc<Self>,
        _from: &str,
        to: &RegionId,
    ) -> Result<Session, ConnectError> {
        self.index(to);
        let _ = Session::new(self.clone(), SessionId(0));
        Err(ConnectError::Unreachable)
    }

    fn index(&self, region: &RegionId) -> usize {
        let world = self.world();
        let found = world.configs.iter().position(|config| config.region == *region);
        found.unwrap_or_else(|| panic!("{region} is no member of {}", self.pair))
    }
}

/// Faults. Those with a switch last until it is off; all of them are safe to repeat.
impl Cluster {
    /// The postmaster is killed (SIGKILL); its guard ends what is left of it.
    pub fn kill_postmaster(&self, _region: &RegionId) {}
    /// The guard is killed, and PostgreSQL with it.
    pub fn kill_guard(&self, _region: &RegionId) {}
    /// A guard that is down starts.
    pub fn start_guard(&self, _region: &RegionId) {}
    /// The member's host loses power: what was not flushed may be gone.
    pub fn power_off(&self, _region: &RegionId) {}
    /// It is back, with its guard and without PostgreSQL.
    pub fn power_on(&self, _region: &RegionId) {}
    /// Guard and PostgreSQL stand still; their clock goes on.
    pub fn freeze(&self, _region: &RegionId) {}
    /// They go on.
    pub fn thaw(&self, _region: &RegionId) {}
    /// Flushes of the member's disk do not return while on.
    pub fn fsync_hang(&self, _region: &RegionId, _on: bool) {}
    /// The member's disk has no room while on.
    pub fn disk_full(&self, _region: &RegionId, _on: bool) {}
    /// PostgreSQL ends while it starts, while on.
    pub fn cannot_start(&self, _region: &RegionId, _on: bool) {}
    /// Replay takes this much longer; `None` ends it.
    pub fn slow_replay(&self, _region: &RegionId, _by: Option<Duration>) {}
    /// Nothing is replayed while on.
    pub fn replay_stall(&self, _region: &RegionId, _on: bool) {}
    /// The receiver takes nothing in and says nothing while on.
    pub fn receiver_stuck(&self, _region: &RegionId, _on: bool) {}
    /// The checkpointer does not look at reloads while on (R12).
    pub fn slow_checkpointer(&self, _region: &RegionId, _on: bool) {}
    /// Commands of the agent take long to reach the guard while on.
    pub fn slow_commands(&self, _region: &RegionId, _on: bool) {}
    /// The data directory is gone.
    pub fn wipe(&self, _region: &RegionId) {}
    /// Somebody cancels the wait of the client's commit that waits longest. `None`: none waits.
    pub fn cancel_wait(&self, _region: &RegionId) -> Option<SessionId> {
        None
    }
    /// Somebody sets the names to none behind the guard's back (`ALTER SYSTEM` and a reload).
    pub fn tamper_names(&self, _region: &RegionId) {}
    /// Ends all faults: switches off, guards started, power on, all thawed.
    pub fn heal(&self) {}
}

/// The judge's eyes.
impl Cluster {
    /// One member as it is now.
    ///
    /// # Panics
    /// When there is no such member.
    pub fn member(&self, region: &RegionId) -> MemberView {
        panic!("{} is not there yet", self.index(region))
    }

    /// What happened from the `from`-th event on, oldest first.
    pub fn happened(&self, from: usize) -> Vec<Happening> {
        self.world().happened.get(from..).unwrap_or_default().to_vec()
    }
}
