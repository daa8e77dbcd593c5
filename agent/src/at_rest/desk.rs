//! Who tells sleepers and pools what to be like: one task for each, so that one that hangs holds up no other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use continuum_domain::at_rest::{PoolWish, Rest, pool, rest};
use continuum_domain::pair::{PairStatus, RoleView};
use continuum_domain::{PairId, Tick};
use continuum_runtime::{SharedClock, seed};

use super::config::AtRestConfig;
use super::hibernation::Hibernation;
use super::{RestError, Sleeper};
use crate::core_link::{Pairs, find};
use crate::node_pool::config::NodePoolConfig;
use crate::node_pool::{self, Kept, PoolError, PoolSeen, Scale};
use crate::traffic::kubernetes::Sites;

/// A register that was read longer ago says nothing of now.
const RECORD_AGE_MAX: Duration = Duration::from_secs(30);
/// How often this agent's own knowledge is looked at.
const GLANCE: Duration = Duration::from_millis(200);
/// How often something that is as it should be is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Pause after an error; each further one is twice as long, up to the longest.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A round that takes longer is given up.
const ROUND_DEADLINE: Duration = Duration::from_secs(15);
/// A Cluster is woken without its nodes after so long: there may be others.
const POOL_WAIT: Duration = Duration::from_secs(30);

/// What is known of a sleeper or a pool.
#[derive(Clone, Debug, Default)]
pub(crate) struct RestSeen {
    /// A sleeper: whether it sleeps; `None`: not known.
    pub asleep: Option<bool>,
    /// A pool, as it was seen last.
    pub pool: Option<PoolSeen>,
    /// Tries in a row that failed.
    pub failures: u32,
    /// Why the last one did.
    pub error: Option<String>,
}

#[derive(Default)]
struct Seen {
    sleepers: BTreeMap<PairId, RestSeen>,
    pools: BTreeMap<String, RestSeen>,
}

/// How a pair stands, given whether its Cluster is known to sleep.
type Standing = Box<dyn Fn(&PairId, bool) -> Rest + Send + Sync>;

struct Inner {
    standing: Standing,
    clock: SharedClock,
    pools: Vec<NodePoolConfig>,
    seen: Mutex<Seen>,
}

/// The desk. Cloned handles share it.
#[derive(Clone)]
pub(crate) struct RestDesk(Arc<Inner>);

impl RestDesk {
    /// Starts a task for each sleeper and each pool; none where none is configured.
    pub fn start(
        config: &AtRestConfig,
        pairs: &Pairs,
        clock: &SharedClock,
    ) -> std::io::Result<Self> {
        let mut sites = Sites::default();
        let pools = node_pool::open(&config.node_pool, &mut sites, clock)?;
        let desk = Self(Arc::new(Inner {
            standing: standing(pairs.clone(), clock.clone()),
            clock: clock.clone(),
            pools: config.node_pool.clone(),
            seen: Mutex::default(),
        }));
        for config in &config.hibernate {
            let sleeper: Arc<dyn Sleeper> = Arc::new(Hibernation::open_at(config, &mut sites));
            desk.seen().sleepers.insert(config.pair.clone(), RestSeen::default());
            seed::spawn(desk.clone().keep_sleeper(config.pair.clone(), sleeper));
        }
        for kept in pools {
            desk.seen().pools.insert(kept.config.name().to_owned(), RestSeen::default());
            seed::spawn(desk.clone().keep_pool(kept));
        }
        Ok(desk)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the sleepers, by pair, and of the pools, by name.
    pub fn look(&self) -> (BTreeMap<PairId, RestSeen>, BTreeMap<String, RestSeen>) {
        let seen = self.seen();
        (seen.sleepers.clone(), seen.pools.clone())
    }

    fn rest(&self, pair: &PairId) -> Rest {
        let asleep = self.seen().sleepers.get(pair).and_then(|seen| seen.asleep) == Some(true);
        (self.0.standing)(pair, asleep)
    }

    /// What a pool should be like: it goes after the Clusters on it sleep.
    fn pool_wish(&self, config: &NodePoolConfig) -> PoolWish {
        let rests: Vec<Rest> = config.pairs().iter().map(|pair| self.rest(pair)).collect();
        let seen = self.seen();
        let sleepers = config.pairs().iter().filter_map(|pair| seen.sleepers.get(pair));
        match pool(&rests) {
            PoolWish::Down if sleepers.into_iter().any(|seen| seen.asleep != Some(true)) => {
                PoolWish::Leave
            }
            wish => wish,
        }
    }

    /// Whether the nodes a pair needs are ordered back, as far as is known.
    fn has_nodes(&self, pair: &PairId) -> bool {
        let seen = self.seen();
        let mut pools = self.0.pools.iter().filter(|config| config.pairs().contains(pair));
        pools.all(|config| {
            let pool = seen.pools.get(config.name()).and_then(|seen| seen.pool);
            pool.is_some_and(|pool| pool.former.is_none())
        })
    }

    async fn keep_sleeper(self, pair: PairId, sleeper: Arc<dyn Sleeper>) {
        let mut failures = 0;
        let mut waits_since: Option<Tick> = None;
        loop {
            let wish = self.rest(&pair);
            let now = self.0.clock.now();
            let wakes = matches!(wish, Rest::Wakes(_));
            let waited = wakes.then(|| now.since(*waits_since.get_or_insert(now)));
            if !wakes {
                waits_since = None;
            }
            if waited.is_some_and(|waited| waited < POOL_WAIT) && !self.has_nodes(&pair) {
                tokio::time::sleep(GLANCE).await;
                continue;
            }
            let round = tokio::time::timeout(ROUND_DEADLINE, tell(sleeper.as_ref(), wish)).await;
            let round = round.unwrap_or_else(|_| Err(RestError(late())));
            failures = if round.is_ok() { 0 } else { failures + 1 };
            if let (Err(error), 1) = (&round, failures) {
                tracing::warn!(%pair, %error, "a Cluster is not told to sleep or to wake");
            }
            let mut settled = true;
            if let Some(seen) = self.seen().sleepers.get_mut(&pair) {
                seen.failures = failures;
                seen.error = round.as_ref().err().map(ToString::to_string);
                match round {
                    Ok(Some(asleep)) => {
                        settled = asleep == matches!(wish, Rest::Rests(_));
                        seen.asleep = Some(asleep);
                    }
                    Ok(None) => {}
                    Err(_) => seen.asleep = seen.asleep.filter(|_| matches!(wish, Rest::Rests(_))),
                }
            }
            self.until_changed(pause(failures, settled), || self.rest(&pair) != wish).await;
        }
    }

    async fn keep_pool(self, kept: Kept) {
        let mut failures = 0;
        loop {
            let wish = self.pool_wish(&kept.config);
            let round = tokio::time::timeout(ROUND_DEADLINE, scale(&kept, wish)).await;
            let round = round.unwrap_or_else(|_| Err(PoolError::Unreachable(late())));
            failures = if round.is_ok() { 0 } else { failures + 1 };
            if let (Err(error), 1) = (&round, failures) {
                tracing::warn!(pool = kept.config.name(), %error, "a node pool is not scaled");
            }
            if let Some(seen) = self.seen().pools.get_mut(kept.config.name()) {
                seen.failures = failures;
                seen.error = round.as_ref().err().map(ToString::to_string);
                seen.pool = round.ok();
            }
            self.until_changed(pause(failures, true), || self.pool_wish(&kept.config) != wish)
                .await;
        }
    }

    /// Waits until something else is wanted, at most so long.
    async fn until_changed(&self, limit: Duration, changed: impl Fn() -> bool) {
        let end = self.0.clock.now() + limit;
        while !changed() && self.0.clock.now() < end {
            tokio::time::sleep(GLANCE).await;
        }
    }
}

/// By the pairs that run here.
fn standing(pairs: Pairs, clock: SharedClock) -> Standing {
    Box::new(move |pair, asleep| {
        let handle = find(&pairs, pair);
        handle
            .map_or(Rest::Unknown, |handle| by_status(&handle.status.borrow(), clock.now(), asleep))
    })
}

/// A Cluster that sleeps stands still, whatever else is known of it.
fn by_status(status: &PairStatus, now: Tick, asleep: bool) -> Rest {
    let Some((_, record, at)) = &status.record else { return Rest::Unknown };
    let still = asleep || status.role == RoleView::Resting;
    rest(Some(record), now.since(*at) <= RECORD_AGE_MAX, still)
}

fn late() -> String {
    format!("not done in {ROUND_DEADLINE:?}")
}

fn pause(failures: u32, settled: bool) -> Duration {
    match failures {
        0 if settled => LOOK_INTERVAL,
        0 => RETRY,
        failures => (RETRY * 2u32.saturating_pow((failures - 1).min(10))).min(RETRY_MAX),
    }
}

/// Tells a sleeper; whether it sleeps, where that is known afterwards.
async fn tell(sleeper: &dyn Sleeper, wish: Rest) -> Result<Option<bool>, RestError> {
    match wish {
        Rest::Rests(epoch) => sleeper.rested(epoch).await.map(Some),
        Rest::Wakes(epoch) => sleeper.resuming(epoch).await.map(|()| Some(false)),
        Rest::Unknown => Ok(None),
    }
}

/// Scales a pool, and looks at it.
async fn scale(kept: &Kept, wish: PoolWish) -> Result<PoolSeen, PoolError> {
    match wish {
        PoolWish::Down => kept.pool.scale_to(Scale::Rest(kept.config.rest_size())).await?,
        PoolWish::Up => kept.pool.scale_to(Scale::Former).await?,
        PoolWish::Leave => {}
    }
    kept.pool.look().await
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
