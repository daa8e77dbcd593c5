//! Who leads, as a value that can be waited for.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use continuum_domain::Tick;
use continuum_runtime::clock::SharedClock;
use openraft::RaftMetrics;
use openraft::alias::{SerdeInstantOf, WatchReceiverOf};
use openraft::async_runtime::WatchReceiver;
use tokio::sync::watch;

use super::node::Timings;
use super::types::{Member, TypeConfig};

/// Who leads, as far as this node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The leader that this node follows, or itself. It may be gone since: see `in_reach`.
    pub leader: Option<Member>,
    /// Whether the leader was heard lately; for a leader, whether a quorum answered it.
    pub in_reach: bool,
    /// Whether it is this node, it has applied everything its predecessors committed, and a quorum
    /// has answered it within the longest election timeout.
    ///
    /// It is advice: another leader may exist by the time it is read. Only a committed proposal
    /// proves leadership.
    pub i_lead: bool,
    /// The term this node is in.
    pub term: u64,
}

impl Leadership {
    /// The leader, if there is one and it is in reach.
    pub fn leader_in_reach(&self) -> Option<&Member> {
        self.leader.as_ref().filter(|_| self.in_reach)
    }
}

/// When this node last took something from a leader. A node that nobody leads any more goes on
/// naming its last leader, so that its name alone says nothing of now.
#[derive(Clone)]
pub(super) struct Heard {
    clock: SharedClock,
    at: Arc<Mutex<Option<Tick>>>,
}

impl Heard {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { clock, at: Arc::default() }
    }

    /// A leader was heard now.
    pub(super) fn now(&self) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.now());
    }

    fn within(&self, bound: Duration) -> bool {
        let at = *self.at.lock().unwrap_or_else(PoisonError::into_inner);
        at.is_some_and(|at| self.clock.now().since(at) < bound)
    }
}

type Metrics = WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>;

/// Derives leadership from openraft's metrics until those end. The clock counts suspend: a leader
/// that slept does not wake up believing that it still leads.
pub(super) fn follow(
    id: u64,
    mut metrics: Metrics,
    timings: &Timings,
    heard: Heard,
) -> (impl Future<Output = ()> + Send + use<>, watch::Receiver<Leadership>) {
    let (sender, receiver) = watch::channel(Leadership::default());
    let (look_again, lease) = (timings.heartbeat, timings.election_max);
    let clock = heard.clock.clone();
    let work = async move {
        let mut quorum = QuorumAnswers::default();
        loop {
            let now = {
                let metrics = metrics.borrow_watched();
                quorum.note(&metrics, clock.now());
                // A follower's leader may be late by a round; it is not gone for that.
                let hears = heard.within(lease * 2);
                leadership(id, &metrics, (quorum.are_recent(clock.now(), lease), hears))
            };
            sender.send_if_modified(|before| {
                let changed = *before != now;
                *before = now;
                changed
            });
            tokio::select! {
                biased;
                changed = metrics.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(look_again) => {}
            }
        }
        sender.send_replace(Leadership::default());
    };
    (work, receiver)
}

fn leadership(
    id: u64,
    metrics: &RaftMetrics<TypeConfig>,
    (quorum_answers, hears_leader): (bool, bool),
) -> Leadership {
    let term = metrics.current_term;
    if metrics.running_state.is_err() {
        return Leadership { term, ..Leadership::default() };
    }
    let membership = metrics.membership_config.membership();
    let leader = metrics.current_leader.and_then(|leader| membership.get_node(&leader).cloned());
    let alone = membership.voter_ids().eq([id]);
    let has_applied_own_entry = metrics
        .last_applied
        .is_some_and(|last| last.leader_id.term == term && last.leader_id.node_id == id);
    let i_lead = metrics.state.is_leader() && has_applied_own_entry && (alone || quorum_answers);
    let leads = metrics.current_leader == Some(id);
    let in_reach = if leads { alone || quorum_answers } else { leader.is_some() && hears_leader };
    Leadership { leader, in_reach, i_lead, term }
}

/// When a quorum last answered this leader, on our own clock.
#[derive(Default)]
struct QuorumAnswers {
    newest: Option<SerdeInstantOf<TypeConfig>>,
    noticed: Option<Tick>,
}

impl QuorumAnswers {
    fn note(&mut self, metrics: &RaftMetrics<TypeConfig>, now: Tick) {
        if self.newest != metrics.last_quorum_acked {
            self.newest = metrics.last_quorum_acked;
            self.noticed = self.newest.map(|_| now);
        }
    }

    fn are_recent(&self, now: Tick, lease: Duration) -> bool {
        self.noticed.is_some_and(|noticed| now.since(noticed) < lease)
    }
}
