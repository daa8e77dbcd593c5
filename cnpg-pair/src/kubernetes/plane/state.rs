//! What is known of the member, and the actuator's state that follows from it. Pure.

use std::sync::Arc;
use std::time::Duration;

use continuum_domain::observation::{ActuatorStatus, ProcessState};
use continuum_domain::{Epoch, Tick};

use super::clusters::Seen;
use super::{hindrances, marks};
use crate::kubernetes::cnpg::{Cluster, TruthValue, keys};
use crate::kubernetes::gates::{self, Side};
use crate::kubernetes::reading::SqlLook;

/// How long the operator is left to start a PostgreSQL again that ended by itself. After that it counts
/// as stopped, and what is done next is decided by the lease.
pub(crate) const SELF_RESTART: Duration = Duration::from_secs(5);
/// What is not seen for longer between two looks may have been there in between.
const MISSING_GAP: Duration = Duration::from_secs(3);
/// What SQL said longer ago is not known.
const SQL_AGE_MAX: Duration = Duration::from_secs(10);

/// PostgreSQL as it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Up {
    /// `pg_is_in_recovery()`.
    pub in_recovery: bool,
    /// When its postmaster started, in its own words: which life of it this is.
    pub started: String,
}

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The Cluster as it was read last.
    pub seen: Option<Arc<Seen>>,
    /// Whether and how PostgreSQL answers.
    pub up: Option<Up>,
    /// The last life of PostgreSQL that answered.
    pub last_life: Option<String>,
    /// Since when it does not answer.
    pub down_since: Option<Tick>,
    /// That no process of it is left was seen in its container since it last answered.
    pub gone: bool,
    /// This agent has stopped it and has not started it since: the operator may have made a standby of
    /// it meanwhile, which is stopped again.
    pub held: bool,
    /// It is being stopped.
    pub stopping: bool,
    /// Stops ordered so far: what was admitted before one does not take effect after it (R4).
    pub stops: u64,
    /// The data directory is being replaced.
    pub busy: bool,
    /// Deadline that the lease gives, whether the guard has it or not.
    pub wanted: Option<Tick>,
    /// Deadline that the guard has repeated last (R5).
    pub deadline: Option<Tick>,
    /// Since when no instance of the Cluster has a pod, and when that was seen last.
    pub missing: Option<(Tick, Tick)>,
    /// Newest epoch a command carried.
    pub epoch: Epoch,
    /// Lives of PostgreSQL that ended.
    pub exits: u64,
    /// Why the last one did.
    pub last_exit: Option<String>,
    /// What SQL said of what a move asks, and when.
    pub sql: Option<(Tick, SqlLook)>,
}

impl Known {
    /// Whether all instances are fenced, by whomever; what cannot be read counts as no fence.
    pub fn is_fenced(&self) -> bool {
        let seen = self.seen.as_ref();
        seen.is_some_and(|seen| {
            seen.cluster.fenced().is_ok_and(|names| names.iter().any(|name| name == "*"))
        })
    }

    /// Why a person has fenced this member through its agent, if one has.
    pub fn break_glass(&self) -> Option<&str> {
        self.seen.as_ref()?.cluster.annotation(marks::BROKEN_GLASS)
    }

    /// A fence that the operator did not set for a demotion, nor an agent: a person's.
    pub fn foreign_fence(&self) -> Option<String> {
        let cluster = &self.seen.as_ref()?.cluster;
        let status = cluster.status.as_ref();
        let demotion = status.is_some_and(|status| {
            status.condition("ReplicaClusterFencing") == TruthValue::True
                || status.switch_in_progress() == Some(true)
        });
        let ours = cluster.annotation(keys::FENCE_EPOCH).is_some();
        (self.is_fenced() && !ours && !demotion).then(|| {
            format!("the Cluster is fenced by somebody else ({}: all instances)", keys::FENCED)
        })
    }

    /// Whether the spec asks for a replica, if that can be told.
    pub fn asks_for_replica(&self) -> Option<bool> {
        self.seen.as_ref()?.cluster.asks_for_replica()
    }

    /// Whether the spec asks for a primary.
    pub fn asks_for_primary(&self) -> bool {
        self.asks_for_replica() == Some(false)
    }

    /// Whether the operator is making a replica of the Cluster: until it is done it lets nobody make a primary
    /// of it.
    pub fn is_being_demoted(&self) -> bool {
        let cluster = self.seen.as_ref().map(|seen| &seen.cluster);
        let status = cluster.and_then(|cluster| cluster.status.as_ref());
        status.and_then(|status| status.switch_in_progress()) == Some(true)
    }

    /// Whether the Cluster sleeps.
    pub fn is_hibernated(&self) -> bool {
        let seen = self.seen.as_ref();
        seen.is_some_and(|seen| seen.cluster.annotation(keys::HIBERNATION) == Some("on"))
    }

    /// Whether the operator leaves it stopped.
    pub fn may_not_start(&self) -> bool {
        self.is_fenced() || self.is_hibernated()
    }

    /// Takes in the Cluster as a watch or the answer to a write shows it. Both are under way at the same time: an
    /// answer that arrives late is of a Cluster before changes that the watch has told of already, and will not
    /// tell of again.
    pub fn sees(&mut self, seen: Seen) {
        let late = self.seen.as_ref().is_some_and(|known| is_older(&seen.cluster, &known.cluster));
        if !late {
            self.seen = Some(Arc::new(seen));
        }
    }

    /// Takes in the Cluster as it was read for a watch that begins there. `before` is what was known when it was
    /// asked for: where that has not changed since, what was read counts whatever its version, as a server that
    /// was restored counts them from further back.
    pub fn sees_anew(&mut self, seen: Seen, before: Option<&Arc<Seen>>) {
        let unchanged = match (&self.seen, before) {
            (Some(known), Some(before)) => Arc::ptr_eq(known, before),
            (known, before) => known.is_none() && before.is_none(),
        };
        if unchanged {
            self.seen = Some(Arc::new(seen));
        } else {
            self.sees(seen);
        }
    }

    /// Takes in that PostgreSQL answers. Another life than before: the one before has ended.
    pub fn answers(&mut self, up: Up) {
        if self.last_life.as_ref().is_some_and(|last| *last != up.started) && !self.gone {
            self.ended("it was started again by the operator");
        }
        if self.last_life.as_ref() != Some(&up.started) {
            self.sql = None;
        }
        self.last_life = Some(up.started.clone());
        self.up = Some(up);
        self.down_since = None;
        self.gone = false;
        self.missing = None;
    }

    /// Takes in that it does not.
    pub fn silent(&mut self, now: Tick) {
        self.up = None;
        self.down_since.get_or_insert(now);
    }

    /// Whether it has been silent for at least so long, and nobody waits for it to end.
    pub fn is_calm(&self, now: Tick, after: Duration) -> bool {
        let waited_for = self.busy || (!self.gone && (self.stopping || self.may_not_start()));
        !waited_for && self.down_since.is_some_and(|since| now.since(since) >= after)
    }

    /// Takes in that there is no pod. That proves its end once it was so for `long` at every one of looks
    /// that were close to each other: in a longer time between two a pod may have come, and gone from the
    /// API alone.
    pub fn has_no_pod(&mut self, now: Tick, long: Duration) {
        let since = match self.missing {
            Some((since, last)) if now.since(last) <= MISSING_GAP => since,
            _ => now,
        };
        self.missing = Some((since, now));
        if now.since(since) >= long && self.may_not_start() {
            self.is_gone();
        }
    }

    /// Takes in that no process of it is left.
    pub fn is_gone(&mut self) {
        if !self.gone {
            self.gone = true;
            self.ended(if self.stopping { "it was stopped" } else { "it ended" });
        }
        self.up = None;
    }

    /// Takes in that the operator has made a standby of the primary: it counts as stopped until it is
    /// started.
    pub fn was_demoted(&mut self) {
        self.held = true;
        self.up = None;
        self.ended("it was demoted");
    }

    fn ended(&mut self, why: &str) {
        self.wanted = None;
        self.deadline = None;
        self.exits += 1;
        self.last_exit = Some(why.to_owned());
    }

    /// State of the process. That nothing answers is no proof that nothing runs.
    pub fn process(&self, now: Tick) -> ProcessState {
        if self.held {
            return ProcessState::Stopped;
        }
        if self.stopping {
            return if self.gone { ProcessState::Stopped } else { ProcessState::Stopping };
        }
        if self.up.is_some() {
            return ProcessState::Running;
        }
        let left_to_the_operator = !self.may_not_start()
            && !self.busy
            && self.down_since.is_none_or(|since| now.since(since) < SELF_RESTART);
        match self.gone {
            true if left_to_the_operator => ProcessState::Starting,
            true => ProcessState::Stopped,
            false if self.may_not_start() => ProcessState::Stopping,
            // It may well run, and only not let anybody in.
            false if self.last_life.is_some() => ProcessState::Running,
            false => ProcessState::Starting,
        }
    }

    /// The actuator's state.
    pub fn status(&self, now: Tick) -> ActuatorStatus {
        let process = self.process(now);
        let writable = self.up.as_ref().is_some_and(|up| !up.in_recovery);
        let may_become = self.up.is_none() && self.asks_for_primary();
        let cluster = self.seen.as_ref().map(|seen| &seen.cluster);
        ActuatorStatus {
            process,
            epoch: self.epoch,
            deadline: self.deadline,
            promoted: process != ProcessState::Stopped && (writable || may_become),
            fenced: self.break_glass().map(str::to_owned).or_else(|| self.foreign_fence()),
            data_directory: cluster.filter(|_| !self.busy).and_then(marks::directory),
            exits: self.exits,
            last_exit: self.last_exit.clone(),
            always_receives: true,
            hindrances: cluster.map(hindrances::of).unwrap_or_default(),
            told_primary: cluster.and_then(hindrances::told_primary),
            against_leaving: Vec::new(),
        }
    }

    /// The same with what stands in the way of a planned move: away from a primary, or to a standby. Of one that
    /// does not answer nothing is told, as no move begins or ends there.
    pub fn status_for_moves(&self, now: Tick, others: &[&str]) -> ActuatorStatus {
        let mut status = self.status(now);
        let (Some(seen), Some(up)) = (&self.seen, &self.up) else { return status };
        if status.process != ProcessState::Running {
            return status;
        }
        let fresh = self.sql.filter(|(at, _)| now.since(*at) <= SQL_AGE_MAX);
        let sql = fresh.map(|(_, sql)| sql).unwrap_or_default();
        let sql = SqlLook { in_recovery: Some(up.in_recovery), ..sql };
        let side = Side { cluster: &seen.cluster, sql: &sql, others };
        match up.in_recovery {
            true => status.hindrances.extend(gates::target(side)),
            false => status.against_leaving = gates::source(side),
        }
        status
    }
}

/// Whether one was read before the other. Kubernetes counts the versions of a kind upwards, as whole numbers
/// (KEP-5504); of what is none, nothing is said.
fn is_older(one: &Cluster, other: &Cluster) -> bool {
    let version = |cluster: &Cluster| {
        cluster.metadata.resource_version.as_ref().and_then(|text| text.parse::<u128>().ok())
    };
    version(one).zip(version(other)).is_some_and(|(one, other)| one < other)
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
