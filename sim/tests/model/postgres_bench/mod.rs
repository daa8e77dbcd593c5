//! A cluster under a paused runtime whose time a task moves.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use continuum_cnpg_pair::DataPlane;
use continuum_cnpg_pair::contract::Bench;
use continuum_cnpg_pair::plane::Upstream;
use continuum_domain::{Epoch, PairId, RegionId, SyncNames, Tick};
use continuum_runtime::Clock;
use continuum_sim::postgres::{Cluster, MemberConfig, ModelPlane, Settings, Wire};

/// How far time moves at once.
pub const STEP: Duration = Duration::from_millis(1);
/// Where clients sit.
pub const CLIENT: &str = "client";

pub fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

/// The clock of all members.
#[derive(Debug, Default)]
pub struct StepClock(AtomicU64);

impl Clock for StepClock {
    fn now(&self) -> Tick {
        Tick(self.0.load(Ordering::Relaxed))
    }

    fn wall_ms(&self) -> i64 {
        0
    }
}

/// A millisecond between any two places, but for links that are cut.
#[derive(Default)]
pub struct Links(Mutex<BTreeSet<(String, String)>>);

impl Links {
    pub fn cut(&self, from: &str, to: &str, on: bool) {
        let link = (from.to_owned(), to.to_owned());
        let mut cut = self.0.lock().unwrap();
        let _ = if on { cut.insert(link) } else { cut.remove(&link) };
    }
}

impl Wire for Links {
    fn delay(&self, from: &str, to: &str) -> Option<Duration> {
        let cut = self.0.lock().unwrap().contains(&(from.to_owned(), to.to_owned()));
        (!cut).then_some(ms(1))
    }
}

/// Three members, `fsn`, `hel` and `nbg`, each on a host of its region's name.
#[derive(Clone)]
pub struct World {
    pub cluster: Arc<Cluster>,
    pub links: Arc<Links>,
    pub clock: Arc<StepClock>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self::with_settings(seed, Settings::default())
    }

    pub fn with_settings(seed: u64, settings: Settings) -> Self {
        let (clock, links) = (Arc::new(StepClock::default()), Arc::new(Links::default()));
        let members = ["fsn", "hel", "nbg"].map(|name| MemberConfig {
            region: region(name),
            host: name.into(),
            clock: clock.clone(),
            stop_budget: ms(3_000),
        });
        let pair = PairId::new("shop").unwrap();
        let members = members.to_vec();
        let cluster = Cluster::with_settings(pair, members, links.clone(), seed, settings);
        Self { cluster, links, clock }
    }

    /// Runs `test` while a task moves time.
    pub fn run<F: Future>(&self, test: F) -> F::Output {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build();
        let local = tokio::task::LocalSet::new();
        let (cluster, clock) = (self.cluster.clone(), self.clock.clone());
        local.spawn_local(async move {
            loop {
                tokio::time::sleep(STEP).await;
                let step = u64::try_from(STEP.as_nanos()).unwrap();
                let now = clock.0.fetch_add(step, Ordering::Relaxed) + step;
                cluster.advance(Duration::from_nanos(now));
            }
        });
        local.block_on(&runtime.unwrap(), test)
    }

    pub async fn plane(&self, name: &str) -> Arc<ModelPlane> {
        let plane = self.cluster.plane(&region(name));
        plane.take().await.unwrap();
        plane
    }

    pub fn far(&self) -> Tick {
        self.clock.now() + Duration::from_secs(3_600)
    }

    /// A first primary under epoch 1 with `standbys` prepared for.
    pub async fn primary(&self, name: &str, standbys: &[&str]) -> Arc<ModelPlane> {
        let plane = self.plane(name).await;
        plane.initialise().await.unwrap();
        plane.start(Epoch(1), &SyncNames::default(), None).await.unwrap();
        plane.arm(Epoch(1), self.far()).await.unwrap();
        plane.promote(Epoch(1), &SyncNames::default()).await.unwrap();
        let standbys: Vec<_> = standbys.iter().map(|name| region(name)).collect();
        plane.ensure_replication(&standbys).await.unwrap();
        plane
    }

    /// A standby cloned from `primary` that streams.
    pub async fn standby(&self, name: &str, primary: &str) -> Arc<ModelPlane> {
        let plane = self.plane(name).await;
        let upstream = upstream_of(&region(primary));
        plane.reclone(Epoch(1), &upstream).await.unwrap();
        plane.start(Epoch(1), &SyncNames::default(), Some(&upstream)).await.unwrap();
        self.streams(name, primary).await;
        plane
    }

    pub async fn streams(&self, name: &str, primary: &str) {
        let (standby, primary) = (region(name), region(primary));
        let from = || self.cluster.member(&standby).streams_from;
        self.until("it streams", || from().as_ref() == Some(&primary)).await;
    }

    /// Waits for a condition, at most a minute of simulated time.
    pub async fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        for _ in 0..60_000 {
            if condition() {
                return;
            }
            tokio::time::sleep(STEP).await;
        }
        panic!("not within a minute: {what}");
    }
}

pub fn upstream_of(region: &RegionId) -> Upstream {
    Upstream { region: region.clone(), host: region.to_string(), port: 5432 }
}

#[async_trait(?Send)]
impl Bench for World {
    async fn agent(&mut self, region: &RegionId) -> Arc<dyn DataPlane> {
        self.cluster.plane(region)
    }

    fn upstream(&self, region: &RegionId) -> Upstream {
        upstream_of(region)
    }

    async fn restart_actuator(&mut self, region: &RegionId) {
        self.cluster.kill_guard(region);
        tokio::time::sleep(ms(20)).await;
        self.cluster.start_guard(region);
    }

    async fn stick_receiver(&mut self, region: &RegionId, stuck: bool) {
        self.cluster.receiver_stuck(region, stuck);
    }

    async fn move_away(&mut self, region: &RegionId) {
        self.cluster.wipe(region);
    }

    fn now(&self) -> Tick {
        self.clock.now()
    }

    async fn pause(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}
