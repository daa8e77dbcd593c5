//! Growing the in-sync ledger: the proof that commits really wait for a standby (R12).
//!
//! What `pg_stat_replication` shows proves nothing: whether *backends wait* is a flag that the
//! checkpointer sets when it gets round to the reload. So the proof is made on a commit:
//!
//! ```text
//!  Probe   names + one that nobody carries     every commit waits from when backends look
//!  Canary  a commit that must wait             seen in SyncRep: backends have taken the names up
//!  Look    still waiting, twice, after every listed member has flushed past it
//!  Unprobe names without the probe
//!  Mark    one more record (it wakes the waiters); note the position
//!  Flush   each new member has flushed past the mark
//!  Write   compare-and-swap the ledger
//! ```
//!
//! It begins only with a standby that has replayed to where the primary was when it was first seen
//! outside the ledger: client commits wait for it from the first step on, and one that stands still
//! would be dropped and grown in turns.

use std::collections::BTreeMap;
use std::time::Duration;

use super::PairMachine;
use super::register::Purpose;
use super::types::{Effect, PlaneCommand, PlaneOutcome};
use crate::ids::{DataDirectoryId, Lsn, RegionId};
use crate::mutation::{Bug, planted};
use crate::observation::SqlView;
use crate::record::PairRecord;
use crate::sync_names::SyncNames;
use crate::time::Tick;

/// A proof that takes longer is given up: client commits wait while it runs.
const PROOF_LIMIT: Duration = Duration::from_secs(3);
/// Pause after a proof that was given up; doubles.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// A canary that does not wait within this time is replaced by another.
const CANARY_PATIENCE: Duration = Duration::from_millis(50);
/// Looks at the canary after the standbys flushed past it. One more than the two that R12 asks
/// for: the first may have been taken just before the flush positions were.
const LOOKS: u32 = 3;
/// How often a member outside the ledger, and one inside it, is asked for its data directory.
const IDENTITY_OUTSIDE: Duration = Duration::from_secs(1);
const IDENTITY_INSIDE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    Probe,
    Canary,
    Look { commit: Option<Lsn>, looks: u32, looked: Tick, since: Tick },
    Unprobe,
    Mark,
    Flush(Lsn),
    Write,
}

#[derive(Clone, Debug)]
struct Proof {
    member: RegionId,
    id: DataDirectoryId,
    names: SyncNames,
    phase: Phase,
    began: Tick,
}

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    proof: Option<Proof>,
    not_before: Option<Tick>,
    retry: Option<Duration>,
    flushed: BTreeMap<RegionId, Lsn>,
    /// How far each streaming standby outside the ledger must have replayed before its proof begins.
    marks: BTreeMap<RegionId, Lsn>,
}

impl State {
    /// Whether a proof changes the names at the moment.
    pub fn busy(&self) -> bool {
        self.proof.is_some()
    }

    pub fn member(&self) -> Option<&RegionId> {
        self.proof.as_ref().map(|proof| &proof.member)
    }

    /// Gives the proof up; the names are brought back by the next look at them.
    pub fn abandon(&mut self) {
        self.proof = None;
        self.marks.clear();
    }

    fn give_up(&mut self, now: Tick) {
        let retry = self.retry.map_or(RETRY, |retry| (retry * 2).min(RETRY_MAX));
        self.retry = Some(retry);
        self.not_before = Some(now + retry);
        self.proof = None;
    }

    pub fn write_ended(&mut self, now: Tick, won: bool) {
        if self.proof.as_ref().is_none_or(|proof| proof.phase != Phase::Write) {
            return;
        }
        if won {
            self.proof = None;
            self.retry = None;
            self.not_before = None;
        } else {
            self.give_up(now);
        }
    }

    fn enter(&mut self, phase: Phase) {
        if let Some(proof) = &mut self.proof {
            proof.phase = phase;
        }
    }

    fn past(&self, region: &RegionId, lsn: Lsn) -> bool {
        self.flushed.get(region).is_some_and(|flushed| *flushed >= lsn)
    }
}

impl PairMachine {
    /// Asks the other members which data directory they run on: the ledger lists directories, not
    /// regions (R13).
    pub(super) fn ask_identities(&mut self, now: Tick, record: &PairRecord) {
        for region in self.spec.others(&self.me) {
            let inside = record.in_sync.contains_key(&region);
            let interval = if inside { IDENTITY_INSIDE } else { IDENTITY_OUTSIDE };
            if self.identity_asked.get(&region).is_none_or(|asked| now.since(*asked) >= interval) {
                self.identity_asked.insert(region.clone(), now);
                self.out.push(Effect::AskIdentity { region, epoch: record.epoch });
            }
        }
    }

    pub(super) fn decide_growth(&mut self, now: Tick, record: &PairRecord) {
        let Some(proof) = self.growth.proof.clone() else {
            return self.begin_growth(now, record);
        };
        let late = now.since(proof.began) > PROOF_LIMIT;
        let gone = self.identity_of(&proof.member) != Some(&proof.id);
        if (late || gone) && proof.phase != Phase::Write {
            return self.growth.give_up(now);
        }
        let epoch = record.epoch;
        match proof.phase {
            Phase::Probe => {
                self.command(now, epoch, PlaneCommand::SetNames(proof.names.with_probe()));
            }
            Phase::Canary => self.command(now, epoch, PlaneCommand::StartCanary),
            Phase::Look { looked, .. } => {
                if now.since(looked) >= Duration::from_millis(2) {
                    self.command(now, epoch, PlaneCommand::LookCanary);
                }
            }
            Phase::Unprobe => self.command(now, epoch, PlaneCommand::SetNames(proof.names)),
            Phase::Mark => self.command(now, epoch, PlaneCommand::WakeWaiters),
            Phase::Flush(mark) => {
                if self.growth.past(&proof.member, mark) {
                    self.growth.enter(Phase::Write);
                    self.decide_growth(now, record);
                }
            }
            Phase::Write => self.write_growth(now, record, &proof),
        }
    }

    fn identity_of(&self, region: &RegionId) -> Option<&DataDirectoryId> {
        self.identities.get(region).and_then(|(_, id)| id.as_ref())
    }

    fn begin_growth(&mut self, now: Tick, record: &PairRecord) {
        if self.growth.not_before.is_some_and(|at| now < at)
            || !self.register.settled()
            || !self.replication_ready
            || self.names.is_none()
        {
            return;
        }
        let Some((_, sql)) = self.sql() else { return };
        let candidate = sql.standbys.iter().find_map(|(region, standby)| {
            let id = self.identity_of(region)?;
            let new = record.in_sync.get(region) != Some(id);
            let keeps_up = self.growth.marks.get(region).is_some_and(|mark| {
                standby.replay.is_some_and(|replay| replay >= *mark) || planted(Bug::GrowUnreplayed)
            });
            let wanted = self.spec.members.contains_key(region) && !self.ordered.keeps_out(region);
            (new && standby.streaming && keeps_up && wanted).then(|| (region.clone(), id.clone()))
        });
        let Some((member, id)) = candidate else { return };
        // The next try has to show it anew.
        self.growth.marks.remove(&member);
        let mut names = self.needed_names();
        names.members.insert(member.clone());
        let phase = if planted(Bug::GrowWithoutCanary) { Phase::Write } else { Phase::Probe };
        self.growth.proof = Some(Proof { member, id, names, phase, began: now });
        self.decide_growth(now, record);
    }

    pub(super) fn growth_names_set(&mut self, now: Tick, names: &SyncNames, done: bool) {
        let Some(proof) = &self.growth.proof else { return };
        match proof.phase {
            Phase::Probe if names.probe => {
                if done {
                    self.growth.enter(Phase::Canary);
                } else {
                    self.growth.give_up(now);
                }
            }
            Phase::Unprobe if !names.probe && done => self.growth.enter(Phase::Mark),
            _ => {}
        }
    }

    pub(super) fn canary_started(&mut self, now: Tick, done: bool) {
        if done {
            self.growth.enter(Phase::Look { commit: None, looks: 0, looked: now, since: now });
        } else {
            self.growth.give_up(now);
        }
    }

    pub(super) fn canary_looked(&mut self, now: Tick, outcome: &PlaneOutcome) {
        let Some(proof) = &self.growth.proof else { return };
        let Phase::Look { commit: seen, looks, since, .. } = proof.phase else { return };
        let names = proof.names.clone();
        let PlaneOutcome::Canary { waiting, commit_lsn } = outcome else {
            return self.growth.give_up(now);
        };
        if !waiting {
            // Not yet waiting, or it went through: before the backends had looked, or let go by a
            // walsender that had not. Another one, until the proof has taken too long.
            let stale = seen.is_some() || now.since(since) >= CANARY_PATIENCE;
            let look = Phase::Look { commit: None, looks: 0, looked: now, since };
            return self.growth.enter(if stale { Phase::Canary } else { look });
        }
        // Flush positions seen *before* this look decide whether it counts.
        let passed = seen
            .is_some_and(|lsn| names.members.iter().all(|region| self.growth.past(region, lsn)));
        let looks = looks + u32::from(passed);
        let commit = seen.or(*commit_lsn);
        let look = Phase::Look { commit, looks, looked: now, since };
        self.growth.enter(if looks >= LOOKS { Phase::Unprobe } else { look });
    }

    pub(super) fn woken(&mut self, now: Tick, outcome: &PlaneOutcome) {
        let marking = self.growth.proof.as_ref().is_some_and(|proof| proof.phase == Phase::Mark);
        match outcome {
            PlaneOutcome::Woken(lsn) => {
                self.wake_waiters = false;
                if marking {
                    self.growth.enter(Phase::Flush(*lsn));
                }
            }
            _ if marking => self.growth.give_up(now),
            _ => {}
        }
    }

    pub(super) fn growth_observed(&mut self, sql: &SqlView) {
        self.growth.flushed = sql
            .standbys
            .iter()
            .filter(|(_, standby)| standby.streaming)
            .filter_map(|(region, standby)| Some((region.clone(), standby.flush?)))
            .collect();
        let outside = |region: &RegionId| {
            let id = self.identity_of(region);
            self.record().is_some_and(|record| record.in_sync.get(region) != id)
        };
        let marks = sql.standbys.iter().filter(|(region, seen)| seen.streaming && outside(region));
        let marks = marks.filter_map(|(region, _)| {
            let known = self.growth.marks.get(region).copied();
            Some((region.clone(), known.or(sql.wal)?))
        });
        self.growth.marks = marks.collect();
    }

    fn write_growth(&mut self, now: Tick, record: &PairRecord, proof: &Proof) {
        if !self.register.settled() || !self.session.valid(now) || record.handover_to.is_some() {
            return;
        }
        let mut value = record.clone();
        value.in_sync.insert(proof.member.clone(), proof.id.clone());
        value.waits_for_all = self.waits_for_all_holds(now);
        self.write(now, value, Purpose::Grow);
    }
}
