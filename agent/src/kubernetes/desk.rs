//! What the core told of this region's pairs, and the requests that wait for its answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use continuum_control_api::heard::Heard;
use continuum_control_api::link::{
    FromAgent, PairStanding, RegionAnswer, RegionAsk, RegionWish, Standings,
};
use continuum_domain::PairId;
use tokio::sync::{oneshot, watch};

use crate::core_link::CoreHandle;

/// How long a request waits for its answer: longer than the core takes for one.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is known of a pair that the core has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AtCore {
    /// How it stands.
    Stands(Box<PairStanding>),
    /// A newer core says more than this agent knows.
    NotUnderstood(String),
}

/// What the core told last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// The stream stands, and all pairs were told on it.
    pub current: bool,
    /// By pair.
    pub pairs: BTreeMap<PairId, Arc<AtCore>>,
}

struct Inner {
    core: CoreHandle,
    told: watch::Sender<Told>,
    waiting: Mutex<(u64, Waiting)>,
}

type Waiting = BTreeMap<u64, oneshot::Sender<RegionAnswer>>;

/// The desk. Clones share it.
#[derive(Clone)]
pub(crate) struct CoreDesk(Arc<Inner>);

impl CoreDesk {
    /// A desk that speaks to this core.
    pub fn new(core: CoreHandle) -> Self {
        let waiting = Mutex::default();
        Self(Arc::new(Inner { core, told: watch::channel(Told::default()).0, waiting }))
    }

    fn waiting(&self) -> MutexGuard<'_, (u64, Waiting)> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was told, as it changes.
    pub fn watch(&self) -> watch::Receiver<Told> {
        self.0.told.subscribe()
    }

    /// The core told how pairs stand.
    pub fn told(&self, whole: bool, pairs: Standings) {
        self.0.told.send_modify(|told| {
            if whole {
                told.pairs.clear();
                told.current = true;
            }
            for (pair, standing) in pairs {
                match standing {
                    None => drop(told.pairs.remove(&pair)),
                    Some(Heard::Understood(standing)) => {
                        told.pairs.insert(pair, Arc::new(AtCore::Stands(Box::new(standing))));
                    }
                    Some(Heard::Other(other)) => {
                        told.pairs.insert(pair, Arc::new(AtCore::NotUnderstood(other.problem)));
                    }
                }
            }
        });
    }

    /// The stream ended. Who waits for an answer hears that there is none.
    pub fn lost(&self) {
        self.0.told.send_if_modified(|told| std::mem::take(&mut told.current));
        self.waiting().1.clear();
    }

    /// An answer came.
    pub fn answered(&self, request: u64, answer: Heard<RegionAnswer>) {
        let Some(waits) = self.waiting().1.remove(&request) else { return };
        let answer = match answer {
            Heard::Understood(answer) => answer,
            Heard::Other(other) => RegionAnswer::Refused {
                code: "not-understood".into(),
                text: format!("the core's answer is not understood: {}; look there", other.problem),
                again: false,
            },
        };
        if waits.send(answer).is_err() {
            tracing::debug!(request, "nobody waits for this answer any more");
        }
    }

    /// Asks the core. `None`: there was no answer, and whether it took effect is not known; the same
    /// key may be asked again.
    pub async fn ask(
        &self,
        pair: PairId,
        key: String,
        reason: String,
        wish: RegionWish,
    ) -> Option<RegionAnswer> {
        let (request, answer) = {
            let (sender, receiver) = oneshot::channel();
            let mut waiting = self.waiting();
            waiting.0 += 1;
            let request = waiting.0;
            waiting.1.insert(request, sender);
            (request, receiver)
        };
        let ask = RegionAsk { request, key, pair, reason, wish: wish.into() };
        let answer = match self.0.core.say(FromAgent::Ask(ask)) {
            true => tokio::time::timeout(PATIENCE, answer).await.ok().and_then(Result::ok),
            false => None,
        };
        self.waiting().1.remove(&request);
        answer
    }
}
