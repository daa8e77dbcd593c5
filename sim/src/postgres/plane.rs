//! The data plane as an agent holds it: commands through the guard, observation by SQL, each with
//! the limits of the real one. When a limit is reached the command may still take effect.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use continuum_cnpg_pair::plane::{
    CanaryLook, DataPlane, PlaneError, Promoted, StopMode, TailArtefact, Taken, Upstream,
};
use continuum_cnpg_pair::postgres::SenderClock;
use continuum_domain::observation::{ActuatorStatus, ControlData, Lineage, Observation};
use continuum_domain::{
    DataDirectoryId, Epoch, Generation, Lsn, RegionId, SyncNames, Tick, TimelineId,
};

use super::cluster::Cluster;
use super::guard::Ticket;
use super::reply::Reply;
use super::world::World;

const QUICK: Duration = Duration::from_secs(2);
const CHANGE: Duration = Duration::from_secs(10);
const IMMEDIATE_STOP: Duration = Duration::from_secs(30);
const FAST_STOP: Duration = Duration::from_secs(300);
const START: Duration = Duration::from_secs(600);
const PROMOTE: Duration = Duration::from_secs(60);
const RECEIVER: Duration = Duration::from_secs(2);
const CHECKPOINT: Duration = Duration::from_secs(600);
const COMMIT: Duration = Duration::from_secs(30);
const HISTORY: Duration = Duration::from_secs(310);
const JOB: Duration = Duration::from_secs(24 * 3_600);
const LOOK: Duration = Duration::from_millis(500);
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// One agent's handle on one member. It keeps what the real one keeps: the generation it took,
/// what it last observed, and its canary.
pub struct ModelPlane {
    cluster: Arc<Cluster>,
    member: usize,
    /// What `take` returned; 0 before it, which every guard refuses.
    generation: AtomicU64,
    known: Mutex<Observation>,
    /// The very code that an agent of a real member dates its primary's words with.
    sender_clock: Mutex<SenderClock>,
    canary: Mutex<Option<Canary>>,
    probe: Arc<Probe>,
}

#[derive(Clone, Copy)]
struct Canary {
    number: u64,
    commit: Option<Lsn>,
}

/// The write probe beside the looks.
#[derive(Default)]
struct Probe {
    running: AtomicBool,
    begun: Mutex<Option<Tick>>,
    succeeded: Mutex<Option<Tick>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ModelPlane {
    pub(super) fn new(cluster: Arc<Cluster>, member: usize) -> Self {
        Self {
            cluster,
            member,
            generation: AtomicU64::new(0),
            known: Mutex::default(),
            sender_clock: Mutex::default(),
            canary: Mutex::default(),
            probe: Arc::default(),
        }
    }

    fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire))
    }

    fn now(&self) -> Tick {
        self.cluster.world().tick(self.member)
    }

    /// Has `work` done where guard and PostgreSQL are, and waits for the answer, at most `limit`.
    async fn ask<T: Send + 'static>(
        &self,
        what: &'static str,
        limit: Duration,
        work: impl FnOnce(&mut World, Reply<T>) + Send + 'static,
    ) -> Result<T, PlaneError> {
        let (reply, receiver) = Reply::new();
        {
            let mut world = self.cluster.world();
            let timer = reply.limit();
            world.after(limit, move |_| {
                let seconds = limit.as_secs().max(1);
                timer.send(PlaneError::Timeout { what: what.into(), seconds });
            });
            let delay = world.local_delay(self.member);
            world.after_on(self.member, delay, move |w| work(w, reply));
        }
        let gone = || PlaneError::GuardLost("the connection ended before the answer".into());
        receiver.await.unwrap_or_else(|_| Err(gone()))
    }

    /// A command that the guard admits or refuses (R4); dropped, and so lost, when there is none.
    async fn order<T: Send + 'static>(
        &self,
        what: &'static str,
        limit: Duration,
        epoch: Option<Epoch>,
        work: impl FnOnce(&mut World, usize, Ticket, Reply<T>) + Send + 'static,
    ) -> Result<T, PlaneError> {
        let (r, generation) = (self.member, self.generation());
        self.ask(what, limit, move |w, reply| {
            if !w.members[r].guard.up {
                return;
            }
            match w.admit(r, generation, epoch) {
                Ok(ticket) => work(w, r, ticket, reply),
                Err(error) => w.answer(r, reply, Err(error)),
            }
        })
        .await
    }

    /// A question to the guard that needs no authority.
    async fn ask_guard<T: Send + 'static>(
        &self,
        what: &'static str,
        limit: Duration,
        work: impl FnOnce(&mut World, usize, Reply<T>) + Send + 'static,
    ) -> Result<T, PlaneError> {
        let r = self.member;
        self.ask(what, limit, move |w, reply| {
            if w.members[r].guard.up {
                work(w, r, reply);
            }
        })
        .await
    }

    fn source(&self, upstream: &Upstream) -> Option<usize> {
        let found = self.cluster.world().index(&upstream.region);
        found.filter(|index| *index != self.member)
    }

    /// The write probe runs on its own: a disk that hangs shows as an old success.
    fn start_probe(&self) {
        let (now, r, probe) = (self.now(), self.member, self.probe.clone());
        let mut begun = locked(&probe.begun);
        let recent = begun.is_some_and(|at| now.since(at) < PROBE_INTERVAL);
        if recent || probe.running.swap(true, Ordering::AcqRel) {
            return;
        }
        *begun = Some(now);
        drop(begun);
        let mut world = self.cluster.world();
        let delay = world.local_delay(r);
        world.after_on(r, delay, move |w| w.probe(r, ProbeEnds(probe)));
    }
}

/// Says how the probe ended, whatever becomes of it.
pub(super) struct ProbeEnds(Arc<Probe>);

impl ProbeEnds {
    pub fn succeeded(self, at: Tick) {
        *locked(&self.0.succeeded) = Some(at);
    }
}

impl Drop for ProbeEnds {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Release);
    }
}

#[async_trait]
impl DataPlane for ModelPlane {
    async fn take(&self) -> Result<Taken, PlaneError> {
        let what = "taking the actuator";
        let taken: Taken = self.ask_guard(what, CHANGE, |w, r, reply| w.take(r, reply)).await?;
        self.generation.store(taken.generation.0, Ordering::Release);
        locked(&self.canary).take();
        Ok(taken)
    }

    async fn status(&self) -> Result<ActuatorStatus, PlaneError> {
        self.ask_guard("asking for the status", QUICK, |w, r, reply| w.status(r, reply)).await
    }

    async fn changed(&self, seen: &ActuatorStatus) -> Result<ActuatorStatus, PlaneError> {
        loop {
            let before = seen.clone();
            let what = "waiting for a change";
            let ask = move |w: &mut World, r, reply| w.changed(r, before, reply);
            let now: ActuatorStatus = self.ask_guard(what, CHANGE, ask).await?;
            if now.differs(seen) {
                return Ok(now);
            }
        }
    }

    async fn arm(&self, epoch: Epoch, deadline: Tick) -> Result<(), PlaneError> {
        let arm = move |w: &mut World, r, _, reply| w.arm(r, deadline, reply);
        self.order("arming", QUICK, Some(epoch), arm).await
    }

    async fn start(
        &self,
        epoch: Epoch,
        names: &SyncNames,
        upstream: Option<&Upstream>,
    ) -> Result<(), PlaneError> {
        let (names, upstream) = (names.clone(), upstream.cloned());
        let start =
            move |w: &mut World, r, ticket, reply| w.start(r, ticket, names, upstream, reply);
        self.order("starting", START, Some(epoch), start).await
    }

    async fn promote(&self, epoch: Epoch, names: &SyncNames) -> Result<Promoted, PlaneError> {
        let (names, r) = (names.clone(), self.member);
        let promote = move |w: &mut World, r, ticket, reply| w.promote(r, ticket, names, reply);
        self.order("promoting", PROMOTE, Some(epoch), promote).await?;
        self.ask("promoting", PROMOTE, move |w, reply| w.wait_promoted(r, reply)).await
    }

    async fn set_names(&self, epoch: Epoch, names: &SyncNames) -> Result<(), PlaneError> {
        let names = names.clone();
        let set = move |w: &mut World, r, ticket, reply| w.set_names(r, ticket, names, reply);
        self.order("setting the names", CHANGE, Some(epoch), set).await
    }

    async fn follow(&self, epoch: Epoch, upstream: Option<&Upstream>) -> Result<(), PlaneError> {
        let upstream = upstream.cloned();
        let follow = move |w: &mut World, r, ticket, reply| w.follow(r, ticket, upstream, reply);
        self.order("following", CHANGE, Some(epoch), follow).await
    }

    async fn stop_receiving(&self, epoch: Epoch) -> Result<Lsn, PlaneError> {
        self.follow(epoch, None).await?;
        let (what, r) = ("stopping the WAL receiver", self.member);
        self.ask(what, CHANGE, move |w, reply| {
            let until = w.now + RECEIVER;
            w.receiver_gone(r, until, reply);
        })
        .await
    }

    async fn stop(&self, epoch: Epoch, mode: StopMode) -> Result<(), PlaneError> {
        let limit = if mode == StopMode::Fast { FAST_STOP } else { IMMEDIATE_STOP };
        let stop = move |w: &mut World, r, ticket, reply| w.stop(r, ticket, mode, reply);
        self.order("stopping", limit, Some(epoch), stop).await
    }

    async fn set_fence(&self, reason: Option<&str>) -> Result<(), PlaneError> {
        let reason = reason.map(str::to_owned);
        // Break-glass: a person needs no generation.
        let fence = move |w: &mut World, r, reply| w.set_fence(r, reason, reply);
        self.ask_guard("fencing", IMMEDIATE_STOP, fence).await
    }

    async fn control_data(&self) -> Result<ControlData, PlaneError> {
        let read = |w: &mut World, r, _, reply| w.control_data(r, reply);
        self.order("reading pg_control", CHANGE, None, read).await
    }

    async fn observe(&self) -> Observation {
        let (asked, r) = (self.now(), self.member);
        let look = self.ask("observing PostgreSQL", LOOK, move |w, reply| w.look(r, reply)).await;
        let result = look.map(|look| look.dated(&mut locked(&self.sender_clock)));
        let primary = result.as_ref().is_ok_and(|view| !view.in_recovery);
        if primary {
            self.start_probe();
        }
        let mut known = locked(&self.known);
        match result {
            // The instant it was asked, not answered: what is shown is at least that old.
            Ok(view) => known.sql = Some((asked, view)),
            Err(error) => known.failed = Some((asked, error.to_string())),
        }
        let was_primary = known.sql.as_ref().is_some_and(|(_, view)| !view.in_recovery);
        let mut succeeded = locked(&self.probe.succeeded);
        if !was_primary {
            *succeeded = None;
        }
        known.write_probe = *succeeded;
        known.clone()
    }

    async fn checkpoint(&self) -> Result<(), PlaneError> {
        let r = self.member;
        self.ask("writing a checkpoint", CHECKPOINT, move |w, reply| w.checkpoint_now(r, reply))
            .await
    }

    async fn ensure_replication(&self, standbys: &[RegionId]) -> Result<(), PlaneError> {
        let (standbys, r) = (standbys.to_vec(), self.member);
        let ensure = move |w: &mut World, reply| w.ensure_replication(r, &standbys, reply);
        self.ask("making replication roles and slots", CHANGE, ensure).await
    }

    async fn start_canary(&self) -> Result<(), PlaneError> {
        let (r, generation) = (self.member, self.generation());
        let start = move |w: &mut World, reply| w.start_canary(r, generation, reply);
        let number = self.ask("starting the canary", QUICK, start).await?;
        *locked(&self.canary) = Some(Canary { number, commit: None });
        Ok(())
    }

    async fn look_canary(&self) -> Result<CanaryLook, PlaneError> {
        let what = "looking at the canary";
        let none = || PlaneError::Failed { what: what.into(), reason: "none was started".into() };
        let number = locked(&self.canary).ok_or_else(none)?.number;
        let r = self.member;
        let look: CanaryLook =
            self.ask(what, QUICK, move |w, reply| w.look_canary(r, number, reply)).await?;
        let mut canary = locked(&self.canary);
        let current = canary.as_mut().filter(|current| current.number == number);
        let commit_lsn = current.and_then(|current| {
            // It waits, so its commit record lies before the position of the first such look.
            current.commit = current.commit.or(look.commit_lsn);
            current.commit
        });
        Ok(CanaryLook { waiting: look.waiting, commit_lsn })
    }

    async fn wake(&self) -> Result<Lsn, PlaneError> {
        let (r, what) = (self.member, "waking waiting commits");
        self.ask(what, CHANGE, move |w, reply| w.wake(r, what, reply)).await
    }

    async fn commit_probe(&self) -> Result<(), PlaneError> {
        let r = self.member;
        self.ask("committing a probe", COMMIT, move |w, reply| w.commit_probe(r, reply)).await
    }

    async fn end_sessions(&self) -> Result<u32, PlaneError> {
        let r = self.member;
        self.ask("ending client sessions", CHANGE, move |w, reply| w.end_sessions(r, reply)).await
    }

    async fn initialise(&self) -> Result<DataDirectoryId, PlaneError> {
        let initialise = |w: &mut World, r, ticket, reply| w.initialise(r, ticket, reply);
        self.order("initialising", JOB, None, initialise).await
    }

    async fn lineage(&self, primary: &Upstream) -> Result<Lineage, PlaneError> {
        let to = self.source(primary);
        let compare = move |w: &mut World, r, ticket, reply| w.lineage(r, ticket, to, reply);
        self.order("comparing histories", HISTORY, None, compare).await
    }

    async fn save_tail(&self, fork: Lsn, _: TimelineId) -> Result<TailArtefact, PlaneError> {
        let save = move |w: &mut World, r, ticket, reply| w.save_tail(r, ticket, fork, reply);
        self.order("saving the tail", JOB, None, save).await
    }

    async fn rewind(
        &self,
        epoch: Epoch,
        primary: &Upstream,
    ) -> Result<DataDirectoryId, PlaneError> {
        let (r, to) = (self.member, self.source(primary));
        let what = "writing a checkpoint on the primary";
        self.ask(what, CHECKPOINT, move |w, reply| w.checkpoint_elsewhere(r, to, reply)).await?;
        let rewind = move |w: &mut World, r, ticket, reply| w.rewind(r, ticket, to, reply);
        self.order("rewinding", JOB, Some(epoch), rewind).await
    }

    async fn reclone(
        &self,
        epoch: Epoch,
        primary: &Upstream,
    ) -> Result<DataDirectoryId, PlaneError> {
        let to = self.source(primary);
        let clone = move |w: &mut World, r, ticket, reply| w.reclone(r, ticket, to, reply);
        self.order("cloning", JOB, Some(epoch), clone).await
    }
}
