//! What the suite runs in, and its first steps.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::observation::{ActuatorStatus, ProcessState, SqlView};
use continuum_domain::{Epoch, RegionId, SyncNames, Tick};

use crate::plane::{DataPlane, PlaneError, Upstream};

/// Longest time any condition here may take to come true.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);
/// A deadline that no step of a test reaches.
pub(super) const FAR: Duration = Duration::from_secs(600);

/// A world with members to run the suite in: two regions, `fsn` and `hel`, with nothing yet.
#[async_trait(?Send)]
pub trait Bench {
    /// A new agent for a region's member, which has not taken the actuator yet. The actuator itself
    /// is made at the first call for a region.
    async fn agent(&mut self, region: &RegionId) -> Arc<dyn DataPlane>;

    /// Where a region's PostgreSQL answers.
    fn upstream(&self, region: &RegionId) -> Upstream;

    /// Ends a region's actuator by a crash and starts it anew.
    async fn restart_actuator(&mut self, region: &RegionId);

    /// From now on, or no longer, a region's WAL receiver takes nothing up; nobody ends it.
    async fn stick_receiver(&mut self, region: &RegionId, stuck: bool);

    /// Moves a stopped member's data directory away, as a person does.
    async fn move_away(&mut self, region: &RegionId);

    /// Now, on the clock of the members.
    fn now(&self) -> Tick;

    /// Lets time pass.
    async fn pause(&self, span: Duration);

    /// Makes a primary under epoch 1 of a member that was just taken and has nothing yet.
    async fn lead(&self, plane: &dyn DataPlane) {
        plane.initialise().await.expect("initialised");
        let names = SyncNames::default();
        plane.start(Epoch(1), &names, None).await.expect("started");
        self.arm(plane, Epoch(1), self.now() + FAR).await;
        plane.promote(Epoch(1), &names).await.expect("promoted");
    }

    /// Makes a standby under epoch 1 of a member that was just taken and has nothing yet.
    async fn copy(&self, plane: &dyn DataPlane, upstream: &Upstream) {
        plane.reclone(Epoch(1), upstream).await.expect("cloned");
        plane.start(Epoch(1), &SyncNames::default(), Some(upstream)).await.expect("started");
    }

    /// Arms the actuator. Where it may be on its way into a new life of the member, again until it is there,
    /// as an agent does with each renewal.
    async fn arm(&self, plane: &dyn DataPlane, epoch: Epoch, deadline: Tick) {
        plane.arm(epoch, deadline).await.expect("armed");
    }
}

/// A region's name.
pub fn region(name: &str) -> RegionId {
    RegionId::new(name).expect("a valid name")
}

/// One member with its agent.
pub(super) struct Member {
    pub region: RegionId,
    pub plane: Arc<dyn DataPlane>,
}

/// Waits until `condition` returns something.
pub(super) async fn until<B, T, F>(bench: &B, what: &str, mut condition: F) -> T
where
    B: Bench + ?Sized,
    F: AsyncFnMut() -> Option<T>,
{
    let deadline = bench.now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(bench.now() < deadline, "not within {PATIENCE:?}: {what}");
        bench.pause(POLL).await;
    }
}

pub(super) async fn member<B: Bench + ?Sized>(bench: &mut B, name: &str) -> Member {
    let region = region(name);
    let plane = bench.agent(&region).await;
    plane.take().await.expect("the actuator is taken");
    Member { region, plane }
}

pub(super) async fn look<B: Bench + ?Sized>(bench: &B, plane: &dyn DataPlane) -> SqlView {
    let asked = bench.now();
    until(bench, "an observation", async || {
        plane.observe().await.sql.filter(|(at, _)| *at >= asked).map(|(_, view)| view)
    })
    .await
}

/// A first primary under epoch 1, with replication prepared for `standby`.
pub(super) async fn first_primary<B: Bench + ?Sized>(
    bench: &mut B,
    name: &str,
    standby: &str,
) -> Member {
    let primary = member(bench, name).await;
    bench.lead(&*primary.plane).await;
    primary.plane.ensure_replication(&[region(standby)]).await.expect("replication is prepared");
    primary
}

/// A standby cloned from `primary`, streaming.
pub(super) async fn standby_of<B: Bench + ?Sized>(
    bench: &mut B,
    name: &str,
    primary: &Member,
) -> Member {
    let standby = member(bench, name).await;
    let upstream = bench.upstream(&primary.region);
    bench.copy(&*standby.plane, &upstream).await;
    wait_streaming(bench, &standby, primary).await;
    standby
}

pub(super) async fn wait_streaming<B: Bench + ?Sized>(
    bench: &B,
    standby: &Member,
    primary: &Member,
) {
    until(bench, "the standby streams", async || {
        let seen = look(bench, &*primary.plane).await.standbys.get(&standby.region)?.streaming;
        let own = look(bench, &*standby.plane).await.receiver_streaming;
        (seen && own).then_some(())
    })
    .await;
}

pub(super) async fn wait_stopped<B: Bench + ?Sized>(
    bench: &B,
    plane: &dyn DataPlane,
) -> ActuatorStatus {
    until(bench, "PostgreSQL has ended", async || {
        plane.status().await.ok().filter(|status| status.process == ProcessState::Stopped)
    })
    .await
}

pub(super) fn refused<T: std::fmt::Debug>(result: Result<T, PlaneError>, what: &str) {
    assert!(matches!(result, Err(PlaneError::Refused(_))), "{what}: {result:?}");
}
