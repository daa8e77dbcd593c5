//! Who leads, as a value that can be waited for.

use std::future::Future;
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
    /// The leader.
    pub leader: Option<Member>,
    /// Whether it is this node, it has applied everything its predecessors committed, and a quorum
    /// has answered it within the longest election timeout.
    ///
    /// It is advice: another leader may exist by the time it is read. Only a committed proposal
    /// proves leadership.
    pub i_lead: bool,
    /// The term this node is in.
    pub term: u64,
}

type Metrics = WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>;

/// Derives leadership from openraft's metrics until those end. The clock counts suspend: a leader
/// that slept does not wake up believing that it still leads.
pub(super) fn follow(
    id: u64,
    mut metrics: Metrics,
    timings: &Timings,
    clock: SharedClock,
) -> (impl Future<Output = ()> + Send + use<>, watch::Receiver<Leadership>) {
    let (sender, receiver) = watch::channel(Leadership::default());
    let (look_again, lease) = (timings.heartbeat, timings.election_max);
    let work = async move {
        let mut quorum = QuorumAnswers::default();
        loop {
            let now = {
                let metrics = metrics.borrow_watched();
                quorum.note(&metrics, clock.now());
                leadership(id, &metrics, quorum.are_recent(clock.now(), lease))
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

fn leadership(id: u64, metrics: &RaftMetrics<TypeConfig>, quorum_answers: bool) -> Leadership {
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
    Leadership { leader, i_lead, term }
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
