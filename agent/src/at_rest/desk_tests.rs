use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use continuum_domain::{Epoch, RegionId};
use continuum_runtime::Clock;

use super::*;
use crate::node_pool::NodePool;

/// A clock that a test moves.
#[derive(Debug, Default)]
struct Hand(AtomicU64);

impl Hand {
    fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_nanos()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn now(&self) -> Tick {
        Tick(self.0.load(Ordering::Relaxed))
    }

    fn wall_ms(&self) -> i64 {
        0
    }
}

/// What the sleeper and the pool are like, and what they were told.
#[derive(Debug, Default)]
struct World {
    rests: bool,
    asleep: bool,
    pool_fails: bool,
    pool: PoolSeen,
    told: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Shared(Arc<Mutex<World>>);

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    fn told(&self) -> Vec<String> {
        let mut told = self.world().told.clone();
        told.dedup();
        told
    }
}

#[async_trait]
impl Sleeper for Shared {
    async fn rested(&self, epoch: Epoch) -> Result<bool, RestError> {
        let mut world = self.world();
        world.told.push(format!("sleep {epoch}"));
        Ok(world.asleep)
    }

    async fn resuming(&self, epoch: Epoch) -> Result<(), RestError> {
        self.world().told.push(format!("wake {epoch}"));
        Ok(())
    }
}

#[async_trait]
impl NodePool for Shared {
    async fn look(&self) -> Result<PoolSeen, PoolError> {
        let world = self.world();
        match world.pool_fails {
            true => Err(PoolError::Unreachable("it is down".into())),
            false => Ok(world.pool),
        }
    }

    async fn scale_to(&self, scale: Scale) -> Result<(), PoolError> {
        let seen = self.look().await?;
        let Some(write) = node_pool::decide(seen, scale)? else { return Ok(()) };
        let mut world = self.world();
        world.told.push(format!("{scale:?}"));
        world.pool.wanted = write.size.or(world.pool.wanted);
        world.pool.former = write.former;
        Ok(())
    }
}

struct Bench {
    shared: Shared,
    hand: Arc<Hand>,
    desk: RestDesk,
}

fn pair() -> PairId {
    PairId::new("app").unwrap()
}

impl Bench {
    fn start() -> Self {
        let shared = Shared::default();
        shared.world().pool.wanted = Some(3);
        let hand = Arc::new(Hand::default());
        let toml = serde_json::json!({ "kind": "webhook", "name": "workers", "pairs": ["app"],
            "url": "http://127.0.0.1", "secret_file": "/nowhere" });
        let config: NodePoolConfig = serde_json::from_value(toml).unwrap();
        let looks = shared.clone();
        let desk = RestDesk(Arc::new(Inner {
            standing: Box::new(move |_, _| match looks.world().rests {
                true => Rest::Rests(Epoch(7)),
                false => Rest::Wakes(Epoch(7)),
            }),
            clock: hand.clone(),
            pools: vec![config.clone()],
            seen: Mutex::default(),
        }));
        desk.seen().sleepers.insert(pair(), RestSeen::default());
        desk.seen().pools.insert("workers".into(), RestSeen::default());
        seed::spawn(desk.clone().keep_sleeper(pair(), Arc::new(shared.clone())));
        let kept = Kept { config, pool: Arc::new(shared.clone()) };
        seed::spawn(desk.clone().keep_pool(kept));
        Self { shared, hand, desk }
    }

    /// Lets time pass, by the hand faster than in truth.
    async fn pass(&self) {
        self.hand.advance(Duration::from_millis(200));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    /// Lets time pass until it is so.
    async fn until(&self, what: &str, holds: impl Fn(&World) -> bool) {
        for _ in 0..2_000 {
            if holds(&self.shared.world()) {
                return;
            }
            self.pass().await;
        }
        panic!("{what} did not happen: {:?}", self.shared.world());
    }
}

fn has(world: &World, what: &str) -> bool {
    world.told.iter().any(|told| told == what)
}

#[tokio::test]
async fn nodes_go_after_the_cluster_sleeps_and_come_back_before_it_wakes() {
    let bench = Bench::start();
    bench.until("looking", |world| has(world, "wake 7")).await;
    bench.shared.world().told.clear();
    bench.shared.world().rests = true;
    bench.until("sleeping", |world| has(world, "sleep 7")).await;
    let asked = bench.shared.world().told.len();
    bench.until("asking again", |world| world.told.len() >= asked + 3).await;
    assert_eq!(bench.shared.told(), ["sleep 7"], "its pods are still there");
    bench.shared.world().asleep = true;
    bench.until("going", |world| world.pool.wanted == Some(0)).await;
    bench.shared.world().told.clear();
    bench.shared.world().rests = false;
    bench.until("waking", |world| has(world, "wake 7")).await;
    assert_eq!(bench.shared.told()[..2], ["Former", "wake 7"]);
    assert_eq!(bench.shared.world().pool.wanted, Some(3));
    assert_eq!(bench.desk.look().0[&pair()].asleep, Some(false));
}

#[tokio::test]
async fn a_pool_that_does_not_answer_keeps_no_cluster_asleep_for_ever() {
    let bench = Bench::start();
    bench.shared.world().rests = true;
    bench.shared.world().asleep = true;
    bench.until("going", |world| world.pool.wanted == Some(0)).await;
    bench.shared.world().pool_fails = true;
    bench.shared.world().told.clear();
    let began = bench.hand.now();
    bench.shared.world().rests = false;
    bench.until("waking", |world| has(world, "wake 7")).await;
    assert!(bench.hand.now().since(began) >= POOL_WAIT, "its nodes are waited for");
    let (_, pools) = bench.desk.look();
    assert!(pools["workers"].failures > 0 && pools["workers"].pool.is_none(), "{pools:?}");
    bench.shared.world().pool_fails = false;
    bench.until("coming back", |world| world.pool.wanted == Some(3)).await;
}

#[test]
fn a_pair_rests_by_its_register_and_by_what_its_member_does() {
    let mut status = crate::metrics::tests::primary();
    let now = status.record.as_ref().unwrap().2;
    assert_eq!(by_status(&status, now, false), Rest::Wakes(Epoch(7)));
    if let Some((_, record, _)) = &mut status.record {
        record.paused = true;
        record.rested_by = record.holder.take();
        assert_eq!(record.rested_by, Some(RegionId::new("fsn").unwrap()));
    }
    assert_eq!(
        by_status(&status, now, false),
        Rest::Unknown,
        "PostgreSQL is not seen to stand still"
    );
    status.role = RoleView::Resting;
    assert_eq!(by_status(&status, now, false), Rest::Rests(Epoch(7)));
    status.role = RoleView::Unknown;
    assert_eq!(by_status(&status, now, true), Rest::Rests(Epoch(7)), "it sleeps");
    let later = now + RECORD_AGE_MAX + Duration::from_millis(1);
    assert_eq!(by_status(&status, later, true), Rest::Unknown, "old news");
    status.record = None;
    assert_eq!(by_status(&status, now, true), Rest::Unknown);
}
