//! Resolvers on the open internet, and the health names they answer for.
//!
//! A region's name has an address while its agent can be reached from outside. A resolver keeps an
//! answer for its time to live. Nothing of this runs, and nothing is drawn for it, in a world whose
//! pair asks for no second opinion.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use continuum_dns::HealthNames;
use continuum_domain::corroborate::{
    Corroborate, CorroborationEffect, NameState, Resolver, ResolverAnswer,
};

use crate::clock::WorldTime;
use crate::links::{Links, Reach};
use crate::plan::ResolverFault;
use crate::postgres::Wire;

/// How many there are.
pub const RESOLVERS: usize = 3;
/// How long an answer is kept.
const TTL: Duration = Duration::from_secs(1);
/// How long an answer is waited for.
const DEADLINE: Duration = Duration::from_millis(500);

fn resolver(index: usize) -> Resolver {
    let last = u8::try_from(index + 1).unwrap_or(u8::MAX);
    Resolver(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 53, 0, last)), 53))
}

/// The health name of a region.
pub fn health_name(region: &str) -> String {
    format!("health.{region}.sim.test")
}

/// How a pair of these worlds asks.
pub fn corroborate(effect: CorroborationEffect) -> Corroborate {
    let resolvers = (0..RESOLVERS).map(resolver).collect();
    Corroborate { effect, resolvers, deadline: DEADLINE, ..Corroborate::default() }
}

/// An answer as it reached who asked, in the world's time.
#[derive(Clone, Debug)]
pub struct Said {
    /// When.
    pub at: Duration,
    /// To whom.
    pub to: String,
    /// By which resolver.
    pub by: usize,
    /// Of which region.
    pub of: String,
    /// What.
    pub state: NameState,
}

#[derive(Default)]
struct Inner {
    troubles: BTreeMap<usize, ResolverFault>,
    /// By resolver and region: until when an answer is kept.
    kept: BTreeMap<(usize, String), (Duration, NameState)>,
    said: Vec<Said>,
}

/// All resolvers. Clones are handles to the same ones.
#[derive(Clone)]
pub struct Resolvers {
    inner: Arc<Mutex<Inner>>,
    links: Links,
    time: WorldTime,
}

impl Resolvers {
    /// Healthy ones that know nothing yet.
    pub fn new(links: &Links, time: &WorldTime) -> Self {
        Self { inner: Arc::default(), links: links.clone(), time: time.clone() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One begins to misbehave; `None`: it is well again. What it goes on telling is what was so.
    pub fn trouble(&self, index: usize, how: Option<ResolverFault>, regions: &[String]) {
        let mut inner = self.inner();
        match how {
            None => {
                inner.troubles.remove(&index);
            }
            Some(how) => {
                inner.troubles.insert(index, how);
                for region in regions {
                    let is = (Duration::MAX, self.truth(region));
                    if how == ResolverFault::Stale {
                        inner.kept.insert((index, region.clone()), is);
                    }
                }
            }
        }
        if how.is_none() {
            inner.kept.retain(|(by, _), _| *by != index);
        }
    }

    /// All are well.
    pub fn heal(&self) {
        (0..RESOLVERS).for_each(|index| self.trouble(index, None, &[]));
    }

    fn truth(&self, region: &str) -> NameState {
        match self.links.reach("internet", region) {
            Reach::Yes => NameState::Up,
            Reach::Refused | Reach::Silence => NameState::Down,
        }
    }

    fn answer(&self, by: usize, of: &str) -> Option<NameState> {
        let now = self.time.now();
        let mut inner = self.inner();
        match inner.troubles.get(&by) {
            Some(ResolverFault::Silent) => return None,
            Some(ResolverFault::Fails) => return Some(NameState::Unknown),
            Some(ResolverFault::Stale) | None => {}
        }
        let key = (by, of.to_owned());
        if let Some((until, kept)) = inner.kept.get(&key)
            && now < *until
        {
            return Some(*kept);
        }
        let state = self.truth(of);
        inner.kept.insert(key, (now.saturating_add(TTL), state));
        Some(state)
    }

    /// What reached `to` from then on.
    pub fn said_to(&self, to: &str, since: Duration) -> Vec<Said> {
        let inner = self.inner();
        let late = inner.said.iter().rev().take_while(|said| said.at >= since);
        late.filter(|said| said.to == to).cloned().collect()
    }

    /// The resolvers as `host` reaches them.
    pub fn seen_from(&self, host: &str) -> Arc<dyn HealthNames> {
        Arc::new(Client { host: host.to_owned(), resolvers: self.clone() })
    }
}

struct Client {
    host: String,
    resolvers: Resolvers,
}

impl Client {
    /// One way through the internet.
    async fn travel(&self) {
        let way = self.resolvers.links.delay(&self.host, "internet");
        tokio::time::sleep(way.unwrap_or_default()).await;
    }
}

#[async_trait]
impl HealthNames for Client {
    async fn ask(&self, asked: Resolver, name: &str, deadline: Duration) -> ResolverAnswer {
        let known = (0..RESOLVERS).find(|index| resolver(*index) == asked);
        let region = name.strip_prefix("health.").and_then(|rest| rest.strip_suffix(".sim.test"));
        let (Some(by), Some(of)) = (known, region) else {
            return ResolverAnswer::new(NameState::Unknown, "nobody is there");
        };
        self.travel().await;
        let answer = self.resolvers.answer(by, of);
        match answer {
            Some(_) => self.travel().await,
            None => tokio::time::sleep(deadline).await,
        }
        let state = answer.unwrap_or_default();
        let (at, to, of) = (self.resolvers.time.now(), self.host.clone(), of.to_owned());
        self.resolvers.inner().said.push(Said { at, to, by, of, state });
        ResolverAnswer::new(state, if answer.is_some() { "answered" } else { "no answer" })
    }
}
