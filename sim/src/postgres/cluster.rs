//! The handle of a cluster: time, planes, connections, faults, and the judge's view.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use continuum_domain::{DataDirectoryId, Lsn, PairId, RegionId};
use continuum_runtime::SharedClock;

use super::directory::Directory;
use super::judge::{Happening, MemberView, SessionId};
use super::plane::ModelPlane;
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

    /// Does everything due up to `now`, simulated time since the start. Time never goes back. What
    /// is asked between two calls counts from the earlier one.
    pub fn advance(&self, now: Duration) {
        self.world().advance(now);
    }

    /// A new agent's plane on a region's member. Each agent process takes its own.
    ///
    /// # Panics
    /// When there is no such member, as every function here that names a region.
    pub fn plane(self: &Arc<Self>, region: &RegionId) -> Arc<ModelPlane> {
        Arc::new(ModelPlane::new(self.clone(), self.index(region)))
    }

    pub(super) fn index(&self, region: &RegionId) -> usize {
        let found = self.world().index(region);
        found.unwrap_or_else(|| panic!("{region} is no member of {}", self.pair))
    }
}

/// Faults. Those with a switch last until it is off; all of them are safe to repeat.
impl Cluster {
    /// The postmaster is killed (SIGKILL); its guard ends what is left of it.
    pub fn kill_postmaster(&self, region: &RegionId) {
        let r = self.index(region);
        self.world().kill_postmaster(r);
    }

    /// A backend crashes: PostgreSQL ends all sessions and begins anew in the same process, which
    /// its guard does not notice.
    pub fn crash_backend(&self, region: &RegionId) {
        let r = self.index(region);
        self.world().crash_backend(r);
    }

    /// The guard is killed, and PostgreSQL with it.
    pub fn kill_guard(&self, region: &RegionId) {
        let r = self.index(region);
        self.world().kill_guard(r);
    }

    /// A guard that is down starts.
    pub fn start_guard(&self, region: &RegionId) {
        let r = self.index(region);
        self.world().start_guard(r);
    }

    /// The member's host loses power: of what was not flushed, any part may be left.
    pub fn power_off(&self, region: &RegionId) {
        let r = self.index(region);
        self.world().power_off(r);
    }

    /// It is back, with its guard and without PostgreSQL.
    pub fn power_on(&self, region: &RegionId) {
        let r = self.index(region);
        self.world().power_on(r);
    }

    /// The member's host stands still, guard and PostgreSQL with it; its clock goes on. The agent
    /// there is the caller's to freeze.
    pub fn freeze(&self, region: &RegionId) {
        let r = self.index(region);
        self.world().freeze(r);
    }

    /// It goes on: all that was due is runnable at once, in any order, so that a backend may send
    /// an acknowledgement before the guard sees that its deadline has passed.
    pub fn thaw(&self, region: &RegionId) {
        let r = self.index(region);
        self.world().thaw(r);
    }

    /// Durable writes to the member's disk do not return while on.
    pub fn fsync_hang(&self, region: &RegionId, on: bool) {
        let r = self.index(region);
        self.world().fsync_hang(r, on);
    }

    /// The member's disk has no room while on.
    pub fn disk_full(&self, region: &RegionId, on: bool) {
        let r = self.index(region);
        self.world().members[r].host.full = on;
    }

    /// PostgreSQL ends while it starts, while on.
    pub fn cannot_start(&self, region: &RegionId, on: bool) {
        let r = self.index(region);
        self.world().members[r].host.cannot_start = on;
    }

    /// Replay takes this much longer; zero ends it.
    pub fn slow_replay(&self, region: &RegionId, by: Duration) {
        let r = self.index(region);
        self.world().members[r].host.replay_by = by;
    }

    /// Nothing is replayed while on; what comes in is flushed.
    pub fn replay_stall(&self, region: &RegionId, on: bool) {
        let r = self.index(region);
        self.world().replay_stall(r, on);
    }

    /// The receiver takes nothing in and says nothing while on.
    pub fn receiver_stuck(&self, region: &RegionId, on: bool) {
        let r = self.index(region);
        self.world().members[r].host.receiver_stuck = on;
    }

    /// The checkpointer does not look at reloads while on (R12).
    pub fn slow_checkpointer(&self, region: &RegionId, on: bool) {
        let r = self.index(region);
        self.world().slow_checkpointer(r, on);
    }

    /// Sessions lower `synchronous_commit` while on: what clients commit waits for nobody.
    pub fn lower_commit(&self, region: &RegionId, on: bool) {
        let r = self.index(region);
        self.world().lower_commit(r, on);
    }

    /// Messages between agent and guard take long while on, some of them.
    pub fn slow_commands(&self, region: &RegionId, on: bool) {
        let r = self.index(region);
        self.world().members[r].host.commands_slow = on;
    }

    /// The data directory is gone.
    pub fn wipe(&self, region: &RegionId) {
        let r = self.index(region);
        self.world().wipe(r);
    }

    /// Somebody put another database system's files into the data directory of a stopped member.
    pub fn swap_system(&self, region: &RegionId) {
        let r = self.index(region);
        let mut world = self.world();
        if let Some(directory) = world.members[r].directory.as_mut() {
            directory.system ^= 1;
        }
    }

    /// From now on slots hold back only so little WAL that a standby that is away for seconds falls
    /// off their cap at the next checkpoint. It lasts.
    pub fn keep_little_wal(&self) {
        let mut world = self.world();
        world.settings.segment_bytes = 1 << 10;
        world.settings.slot_cap_bytes = 4 << 10;
    }

    /// A primary writes a checkpoint, as the volume of its WAL makes one due.
    pub fn checkpoint(&self, region: &RegionId) {
        let r = self.index(region);
        let mut world = self.world();
        if world.members[r].writes() {
            world.checkpoint_record(r, false);
        }
    }

    /// Somebody cancels the wait of the client's commit that waits longest. `None`: none waits.
    pub fn cancel_wait(&self, region: &RegionId) -> Option<SessionId> {
        let r = self.index(region);
        self.world().cancel(r)
    }

    /// Somebody sets the names to none behind the guard's back (`ALTER SYSTEM` and a reload). It
    /// lasts until the guard next writes the settings.
    pub fn tamper_names(&self, region: &RegionId) {
        let r = self.index(region);
        self.world().tamper_names(r);
    }

    /// Ends all faults: switches off, guards started, power on, all thawed. PostgreSQL is for the
    /// agents to start.
    pub fn heal(&self) {
        self.world().heal();
    }
}

/// The judge's eyes.
impl Cluster {
    /// One member as it is now.
    pub fn member(&self, region: &RegionId) -> MemberView {
        let r = self.index(region);
        let world = self.world();
        let member = &world.members[r];
        let (pg, directory) = (member.pg.as_ref(), member.directory.as_ref());
        let receiver = pg.and_then(|pg| pg.receiver.as_ref());
        MemberView {
            region: region.clone(),
            guard_up: member.guard.up,
            directory: member.guard.identity.clone(),
            wal: directory.map_or_else(Vec::new, |directory| directory.wal.clone()),
            flushed: directory.map_or(0, |directory| directory.flushed),
            applied: directory.map_or(0, |directory| directory.applied),
            process: member.state(),
            primary: pg.is_some_and(|pg| pg.primary),
            accepts_writes: world.accepts_writes(r),
            names: pg.map_or_else(|| member.names_on_file(), |pg| pg.names.clone()),
            backends_wait: pg.is_some_and(|pg| pg.backends_wait),
            streams_from: receiver.map(|receiver| world.region(receiver.from)),
            waiting: pg.map_or(0, |pg| pg.waiting.len()),
        }
    }

    /// Whether PostgreSQL runs and is out of recovery.
    pub fn is_primary(&self, region: &RegionId) -> bool {
        let r = self.index(region);
        self.world().members[r].pg.as_ref().is_some_and(|pg| pg.primary)
    }

    /// Whether PostgreSQL receives WAL, and the identity of its data
    /// directory as the guard knows it.
    pub fn receives(&self, region: &RegionId) -> (bool, Option<DataDirectoryId>) {
        let r = self.index(region);
        let world = self.world();
        let member = &world.members[r];
        let receives = member.pg.as_ref().is_some_and(|pg| pg.receiver.is_some());
        (receives, member.guard.identity.clone())
    }

    /// Since when sessions of a member lower `synchronous_commit`, if they do.
    pub fn lowered_since(&self, region: &RegionId) -> Option<Duration> {
        let r = self.index(region);
        self.world().members[r].lowered_since
    }

    /// [`MemberView::accepts_writes`] without the view, which copies all WAL.
    pub fn accepts_writes(&self, region: &RegionId) -> bool {
        let r = self.index(region);
        self.world().accepts_writes(r)
    }

    /// End of a member's WAL, on disk or not.
    pub fn end_of_wal(&self, region: &RegionId) -> Lsn {
        let r = self.index(region);
        self.world().members[r].directory.as_ref().map_or(Lsn(0), Directory::end)
    }

    /// A member's slot for a standby: up to where it holds WAL back, and whether it was lost.
    pub fn slot(&self, region: &RegionId, standby: &RegionId) -> Option<(Lsn, bool)> {
        let (r, standby) = (self.index(region), self.index(standby));
        self.world().slot(r, standby)
    }

    /// What happened from the `from`-th event on, oldest first.
    pub fn happened(&self, from: usize) -> Vec<Happening> {
        self.world().happened.get(from..).unwrap_or_default().to_vec()
    }
}
