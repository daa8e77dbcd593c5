//! What must hold, seen from outside the machines: by clients, on the disks, in the register.

use std::collections::{BTreeMap, VecDeque};

use continuum_domain::pair::PairMachine;
use continuum_domain::pair::types::{CasAnswer, Event, Note};
use continuum_domain::spec::Durability;
use continuum_domain::{Epoch, Lsn, PairRecord, Tick, Timing, Version};

use super::{World, ms};

/// More fences, or requests to the witness, than these of one region within [`STORM_SPAN`] are a
/// storm.
const FENCE_STORM: usize = 20;
const REQUEST_STORM: usize = 400;
const STORM_SPAN: u64 = 4_000_000_000;
/// Beats of holders that are remembered.
const BEATS_KEPT: usize = 16;

/// When a commit was acknowledged, and where it ends.
#[derive(Clone, Copy, Debug)]
pub struct Acked {
    at: u64,
    end: Lsn,
}

#[derive(Default)]
pub struct Judge {
    pub violations: Vec<String>,
    /// Who took over by an approval without all acknowledged commits, and has not told it yet.
    lossy_taker: Option<usize>,
    /// Acknowledged and not given up by an approved loss.
    pub acked: BTreeMap<u64, Acked>,
    /// When the last renewal of whoever was the holder landed.
    holder_beat: u64,
    /// The last few of them.
    beats: VecDeque<u64>,
    /// From whom the pair was taken over while its session beat, and when.
    taken_from: Option<(usize, u64)>,
    pub acknowledgements: u64,
    pub last_ack: u64,
    pub lost_by_approval: u64,
    /// The newest epoch under which anything was acknowledged, and where.
    top: Option<(Epoch, usize)>,
    /// The epoch by which the recorded holder became it.
    tenure: Epoch,
    /// Who put the pair to rest last, and the epoch of that.
    rested: Option<(usize, Epoch)>,
    /// How often the names of a pair at rest were published.
    pub published_at_rest: u64,
    pub durability_changed: bool,
    pub disks_lost: u64,
    /// The guard of this world admits a promotion without a deadline (to show what R5 is for).
    pub unarmed_promotions_allowed: bool,
    /// The guard of this world believes that histories of equal numbers are the same up to where
    /// the numbers part (to show what the bytes are for).
    pub numbers_believed: bool,
    /// Streaming onto other WAL is only counted here (to show what comes of it).
    pub streams_apart_allowed: bool,
    pub streams_apart: u64,
    fences: Vec<VecDeque<u64>>,
    requests: Vec<VecDeque<u64>>,
    /// Notes by kind, for the coverage of a run.
    pub notes: BTreeMap<String, u64>,
}

impl Judge {
    pub fn new(regions: usize) -> Self {
        let none = || vec![VecDeque::new(); regions];
        Self { fences: none(), requests: none(), ..Self::default() }
    }

    fn violated(&mut self, what: String) {
        self.violations.push(what);
    }

    pub fn count(&self, note: &str) -> u64 {
        self.notes.get(note).copied().unwrap_or(0)
    }
}

/// The one compare-and-swap of an agent, as the world sees it (R9).
#[derive(Default)]
pub struct CasWatch {
    open: Option<(Version, PairRecord)>,
    in_flight: bool,
    /// It was given up once and is unresolved (R9).
    given_up: bool,
    /// How often the holder had beaten within `suspect_after` before it was first sent.
    beats: usize,
    /// The question to a switchover's target that is open.
    pub proof: u64,
}

impl CasWatch {
    pub fn heard(&mut self, event: &Event) {
        let Some((expected, _)) = &self.open else { return };
        let moved = |found: &Option<(Version, PairRecord)>| {
            found.as_ref().is_some_and(|(version, _)| version > expected)
        };
        match event {
            Event::PairCas(CasAnswer::Accepted(_)) => self.open = None,
            Event::PairCas(answer) => {
                self.in_flight = false;
                self.given_up = true;
                if let CasAnswer::Refused(found) = answer
                    && moved(found)
                {
                    self.open = None;
                }
            }
            Event::PairRead { answer: Ok(found), .. } if !self.in_flight && moved(found) => {
                self.open = None;
            }
            _ => {}
        }
        self.in_flight &= self.open.is_some();
    }
}

impl World {
    pub fn violated(&mut self, what: String) {
        self.log(|| format!("VIOLATION {what}"));
        self.judge.violated(what);
    }

    pub fn judge_acknowledged(&mut self, r: usize, commit: u64) {
        let epoch = self.regions[r].pg.epoch;
        let end = self.regions[r].pg.end_of(commit);
        self.judge.acked.insert(commit, Acked { at: self.now, end });
        self.judge.acknowledgements += 1;
        self.judge.last_ack = self.now;
        match self.judge.top {
            Some((top, at)) if epoch == top && at != r => {
                self.violated(format!("I1: {at} and {r} both acknowledged under epoch {epoch}"));
            }
            Some((top, at)) if epoch < top => {
                if !self.regions[at].pg.holds(commit) {
                    self.violated(format!(
                        "I1: {r} acknowledged {commit} under epoch {epoch} after {at} acknowledged \
                         under {top}, which does not hold it"
                    ));
                }
            }
            _ => self.judge.top = Some((epoch, r)),
        }
        self.judge_copies(r, commit);
    }

    /// I2: every listed member has it. R22: in `strict` it has two copies at least.
    fn judge_copies(&mut self, r: usize, commit: u64) {
        for member in self.listed() {
            if !self.regions[member].pg.holds(commit) {
                self.violated(format!(
                    "I2: {r} acknowledged {commit}, which listed member {member} does not hold"
                ));
            }
        }
        let strict = self.spec.durability == Durability::Strict && !self.judge.durability_changed;
        if strict && self.judge.disks_lost == 0 {
            let copies = self.regions.iter().filter(|region| region.pg.holds(commit)).count();
            if copies < 2 {
                self.violated(format!("R22: strict, but {commit} has one copy, at {r}"));
            }
        }
    }

    /// Members listed with the directory they really have (R13).
    pub fn listed(&self) -> Vec<usize> {
        let Some(record) = self.register.record() else { return Vec::new() };
        (0..self.regions.len())
            .filter(|r| {
                let region = &self.regions[*r];
                region.pg.directory.as_ref().is_some_and(|id| record.lists(&region.name, id))
            })
            .collect()
    }

    pub fn judge_register(
        &mut self,
        writer: Option<usize>,
        before: Option<PairRecord>,
        value: &PairRecord,
    ) {
        if before.as_ref().is_none_or(|before| before.holder != value.holder) {
            self.judge.tenure = value.epoch;
        }
        if let Some(by) = &value.rested_by {
            self.judge.rested = Some((self.index(by), value.epoch));
        }
        if let Some(before) = &before {
            self.judge_premise(writer, before, value);
            self.judge_succession(writer, before, value);
            self.judge_new_holder(before, value);
        }
        let acked = self.judge.acked.clone();
        for member in self.listed() {
            let held = self.regions[member].pg.commits();
            if let Some(missing) = acked.keys().find(|commit| !held.contains(commit)) {
                self.violated(format!(
                    "I2: the register lists {member}, which does not hold acknowledged {missing}"
                ));
            }
        }
    }

    /// R18: who takes over while the holder may still hold receives nothing any more, is listed, and
    /// the holder had said that it waits for every listed member.
    fn judge_premise(&mut self, writer: Option<usize>, before: &PairRecord, value: &PairRecord) {
        let (Some(writer), Some(old), Some(new)) = (writer, &before.holder, &value.holder) else {
            return;
        };
        if old == new || before.handover_to.as_ref() == Some(new) {
            return;
        }
        let beat_age = self.now.saturating_sub(self.judge.holder_beat);
        if beat_age >= self.timing.ttl.as_nanos() as u64 {
            return;
        }
        self.judge.taken_from = Some((self.index(old), self.now));
        let (name, pg) = (&self.regions[writer].name, &self.regions[writer].pg);
        let listed = pg.directory.as_ref().is_some_and(|id| before.lists(name, id));
        // R19: with its write given up and unresolved it may follow again: what it acknowledges, it keeps.
        let agent = self.regions[writer].agent.as_ref();
        let resolved = agent.is_some_and(|agent| !agent.watch.given_up);
        let receives = pg.receiver.is_some() && resolved;
        if !listed || !before.waits_for_all {
            self.violated(format!(
                "R18: {writer} took over {beat_age} ns after the holder's last beat; listed {listed}, \
                 {before:?}"
            ));
        } else if receives {
            self.violated(format!("R18: {writer} took over and receives from the old holder"));
        }
    }

    /// Suspicion needs both signals: the holder's session had stood still.
    fn judge_takeover(&mut self, r: usize) {
        let Some(agent) = &self.regions[r].agent else { return };
        if agent.watch.beats > 2 {
            self.violated(format!("{r} took over from a holder whose session was beating"));
        }
    }

    fn judge_succession(&mut self, writer: Option<usize>, before: &PairRecord, value: &PairRecord) {
        if value.epoch < before.epoch
            || (value.epoch == before.epoch && value.holder != before.holder)
        {
            self.violated(format!("the epoch does not tell holders apart: {before:?} {value:?}"));
        }
        let Some(writer) = writer else { return };
        let name = &self.regions[writer].name;
        let (was, is) = (before.held_by(name), value.held_by(name));
        let released = was && value.holder.is_none();
        if !is && !released {
            self.violated(format!("R14: {writer} wrote another region as holder"));
        }
        if value.handover_to.is_some() && value.handover_to != before.handover_to {
            let stopped = self.regions[writer].pg.process.is_none();
            if !was || !stopped {
                self.violated(format!("R14: {writer} wrote handover_to before its stop"));
            }
        }
        if released && self.regions[writer].pg.process.is_some() {
            self.violated(format!("R16: {writer} let the lease go before its stop"));
        }
        if value.rested_by.is_some()
            && (!released || !before.paused)
            && value.rested_by != before.rested_by
        {
            self.violated(format!("rest: {writer} put a pair to rest that nobody had paused"));
        }
        if value.rested_by.is_some() && value.holder.is_some() {
            self.violated(format!("rest: {writer} holds a pair that rests"));
        }
        if value.epoch > before.epoch && value.handover_to.is_some() {
            self.violated("R15: handover_to was kept through a change of epoch".into());
        }
        if before.paused && value.holder != before.holder && value.holder.is_some() {
            let handover = before.handover_to == value.holder;
            if !handover {
                self.violated(format!("R21: {writer} took over a paused pair"));
            }
        }
    }

    /// Who takes over has every acknowledged commit, unless a loss was approved.
    fn judge_new_holder(&mut self, before: &PairRecord, value: &PairRecord) {
        let Some(holder) = value.holder.as_ref().filter(|h| before.holder.as_ref() != Some(*h))
        else {
            return;
        };
        let holder = self.index(holder);
        let (name, directory) = (&self.regions[holder].name, &self.regions[holder].pg.directory);
        if !directory.as_ref().is_some_and(|id| value.lists(name, id)) {
            // Its directory was replaced while this write was under way: it can not promote.
            return;
        }
        let held = self.regions[holder].pg.commits();
        let missing: Vec<u64> =
            self.judge.acked.keys().copied().filter(|commit| !held.contains(commit)).collect();
        if missing.is_empty() {
            return;
        }
        let planned = before.handover_to.as_ref() == Some(&self.regions[holder].name);
        let standing = self.within_bound(holder, &missing);
        let approved = standing || self.operator.approved.contains(&before.epoch);
        if planned || !approved {
            let kind = if planned { "by a switchover" } else { "without an approval" };
            self.violated(format!(
                "I2: {holder} took over {kind} without {} acknowledged commits",
                missing.len()
            ));
        }
        self.judge.lossy_taker = (!standing).then_some(holder);
        self.judge.lost_by_approval += missing.len() as u64;
        for commit in missing {
            self.judge.acked.remove(&commit);
        }
    }

    /// R21: the standing bound is for the lag as it was measured at most a ttl before the holder fell
    /// silent. What it acknowledged later nobody could measure.
    fn within_bound(&self, holder: usize, missing: &[u64]) -> bool {
        let bound = match self.spec.loss_approval {
            Some(approval) if self.spec.durability == Durability::Async => approval.rpo_bytes,
            _ => return false,
        };
        let ttl = ms(self.timing.ttl.as_millis() as u64 * 11 / 10 + 100).as_nanos() as u64;
        let measured = self.judge.holder_beat.saturating_sub(ttl);
        let known = missing
            .iter()
            .filter_map(|commit| self.judge.acked.get(commit))
            .filter(|acked| acked.at < measured);
        let end = self.regions[holder].pg.end();
        known.map(|acked| acked.end.bytes_since(end)).max().is_none_or(|lost| lost <= bound)
    }

    pub fn judge_beat(&mut self, r: usize) {
        let holds = |record: &PairRecord| record.held_by(&self.regions[r].name);
        // A holder that comes back beats before it has returned; nothing is written meanwhile.
        if self.regions[r].pg.primary && self.register.record().is_some_and(holds) {
            self.judge.holder_beat = self.now;
            self.judge.beats.push_back(self.now);
            if self.judge.beats.len() > BEATS_KEPT {
                self.judge.beats.pop_front();
            }
        }
    }

    /// R13: nothing destructive happens to a listed directory.
    pub fn judge_destroyed(&mut self, r: usize) {
        if self.listed().contains(&r) {
            self.violated(format!("R13: the listed directory of {r} was rewound or replaced"));
        }
    }

    /// The standby `r` takes WAL of `upstream` that was not written behind what it has.
    pub fn judge_streams_apart(&mut self, r: usize, upstream: usize) {
        self.judge.streams_apart += 1;
        if self.unwatched(r) {
            self.judge.notes.entry("streams-unwatched".into()).and_modify(|n| *n += 1).or_insert(1);
        } else if !self.judge.streams_apart_allowed {
            self.violated(format!(
                "lineage: {r} streams from {upstream}, whose WAL does not go on from its own"
            ));
        }
    }

    /// Whether the agent of `r` is gone, hangs, or has not heard from the register lately. Its
    /// PostgreSQL then goes on asking where it was pointed, which nobody can help from here.
    fn unwatched(&self, r: usize) -> bool {
        let region = &self.regions[r];
        let Some(agent) = region.agent.as_ref() else { return true };
        let now = self.local(r);
        let heard = agent.machine.status(now).record.map(|(_, _, back)| back);
        region.agent_thaws.max(region.host_thaws) > self.now
            || heard.is_none_or(|back| now.since(back) > self.timing.renew)
    }

    /// Who is promoted stands on WAL that was written in one go.
    pub fn judge_promoted(&mut self, r: usize) {
        if !self.regions[r].pg.is_one_history() {
            self.violated(format!("lineage: {r} is promoted on WAL of two histories"));
        }
    }

    /// A copy holds what its source holds and nothing else.
    pub fn judge_copied(&mut self, r: usize, upstream: usize) {
        if !self.regions[r].pg.begins(&self.regions[upstream].pg) {
            self.violated(format!("lineage: {r} was rewound and is not {upstream}'s beginning"));
        }
    }

    pub fn judge_cas_sent(&mut self, r: usize, expected: Version, value: &PairRecord) {
        let since = self.now.saturating_sub(self.spec.suspect_after.as_nanos() as u64);
        let beats = self.judge.beats.iter().filter(|at| **at >= since).count();
        let Some(agent) = &mut self.regions[r].agent else { return };
        let watch = &mut agent.watch;
        let this = (expected, value.clone());
        if watch.open.as_ref() != Some(&this) {
            (watch.given_up, watch.beats) = (false, beats);
        }
        let other = watch.open.as_ref().is_some_and(|open| *open != this);
        let doubled = watch.in_flight;
        watch.open = Some(this);
        watch.in_flight = true;
        if other || doubled {
            self.violated(format!("R9: {r} wrote again while a write of its own was unresolved"));
        }
    }

    pub fn judge_published(&mut self, r: usize, epoch: Epoch) {
        let holds = self.register.record().is_some_and(|record| {
            // Its own epoch + 1 may have landed already without an answer.
            let tenure = self.judge.tenure..=record.epoch;
            record.held_by(&self.regions[r].name) && tenure.contains(&epoch)
        });
        // Who put the pair to rest speaks for it, by an epoch that any later one overrules.
        let rested = self.judge.rested == Some((r, epoch));
        self.judge.published_at_rest += u64::from(rested && !holds);
        if !holds && !rested && !self.may_not_know(r) {
            self.violated(format!(
                "I3: {r} published names under epoch {epoch} without holding it"
            ));
        }
    }

    /// R8: who was taken over from while its session beat learns of it at its next look, and is bounded
    /// by its last one. Until then the older epoch of what it publishes is what names refuse it by.
    fn may_not_know(&self, r: usize) -> bool {
        let Timing { ttl, stop_budget, guard, .. } = self.timing;
        let bound = (ttl - stop_budget - guard).as_nanos() as u64 * 11 / 10;
        self.judge.taken_from.is_some_and(|(from, at)| from == r && self.now - at < bound)
    }

    pub fn judge_fenced(&mut self, r: usize) {
        if storms(&mut self.judge.fences[r], self.now) > FENCE_STORM {
            self.violated(format!("{r} fences again and again"));
        }
    }

    pub fn judge_requested(&mut self, r: usize) {
        if storms(&mut self.judge.requests[r], self.now) > REQUEST_STORM {
            self.violated(format!("{r} asks the witness again and again"));
        }
    }

    pub fn judge_note(&mut self, r: usize, note: &Note) {
        if let Note::Acquired { by: "ledger", .. } = note {
            self.judge_takeover(r);
        }
        // A takeover that loses acknowledged commits says by what it was allowed, whatever else was
        // true of it: history, and who reads it, have nothing else to tell it by.
        if let Note::Acquired { by, .. } = note
            && self.judge.lossy_taker.take_if(|taker| *taker == r).is_some()
            && ["vacant", "resumed", "expired", "ledger", "hot", "handover"].contains(by)
        {
            self.violated(format!("{r} lost commits by an approval, and tells that it is {by}"));
        }
        self.judge_corroboration(note);
        let key = match note {
            Note::Acquired { by, .. } => format!("acquired:{by}"),
            Note::Step { step, outcome, .. } => format!("step:{step:?}:{outcome:?}"),
            Note::Released(why) if why == "the pair is paused" => "rested".into(),
            Note::Released(_) => "released".into(),
            Note::Fenced(_) => "fenced".into(),
            Note::Ledger { before, after, .. } if after.len() < before.len() => "shrunk".into(),
            Note::Ledger { .. } => "grown".into(),
            Note::Rejoined { how, .. } => format!("rejoined:{how}"),
            Note::Premise { holds, .. } => format!("premise:{holds}"),
            Note::Blocked(Some(blocked)) => format!("blocked:{}", blocked.code),
            Note::Blocked(None) => return,
        };
        *self.judge.notes.entry(key).or_default() += 1;
    }

    /// The one region that is primary, confirmed, and named by the register.
    pub fn primary(&self) -> Option<usize> {
        let record = self.register.record()?;
        let holder = self.index(record.holder.as_ref()?);
        let region = &self.regions[holder];
        let confirmed = region.agent.as_ref()?.machine.confirmed_epoch() == Some(record.epoch);
        (confirmed && region.pg.running() && region.pg.primary).then_some(holder)
    }

    /// I5: one primary, every other member streams from it, the ledger is whole.
    pub fn unsettled(&self) -> Option<String> {
        let Some(primary) = self.primary() else { return Some("there is no primary".into()) };
        for (r, region) in self.regions.iter().enumerate().filter(|(r, _)| *r != primary) {
            let from = region.pg.receiver.as_ref().map(|receiver| receiver.from);
            if from != Some(primary) {
                return Some(format!("{r} does not stream from {primary}"));
            }
        }
        let synchronous = self.spec.durability.is_synchronous();
        if synchronous && self.listed().len() < self.regions.len() {
            return Some("the ledger does not list every member".into());
        }
        let quiet = self.now.saturating_sub(self.judge.last_ack) > 1_000_000_000;
        quiet.then(|| "nothing is acknowledged".into())
    }

    /// What every agent says of itself, for a failure's text.
    pub fn statuses(&self) -> String {
        let mut text = format!("register: {:?}\n", self.register.pair);
        for (r, region) in self.regions.iter().enumerate() {
            let Some(agent) = &region.agent else {
                text += &format!("{r}: no agent\n");
                continue;
            };
            let status = agent.machine.status(self.local(r));
            text += &format!(
                "{r}: {:?} confirmed {:?} blocked {:?} guard {:?} wal {} of {:?} upstream {:?} names {}\n",
                status.role,
                agent.machine.confirmed_epoch(),
                status.blocked,
                status.actuator,
                region.pg.end(),
                region.pg.directory,
                region.pg.upstream,
                region.pg.names,
            );
        }
        text
    }

    /// Which events came in which states.
    pub fn cover(&mut self, r: usize, now: Tick, event: &Event) {
        let Some(agent) = &self.regions[r].agent else { return };
        let state = state_of(&agent.machine, now);
        if let Some(specimens) = &mut self.specimens
            && !specimens.contains_key(&state)
        {
            specimens.insert(state.clone(), (now, agent.machine.clone()));
        }
        *self.coverage.entry((state, event.label())).or_default() += 1;
    }
}

/// How often it happened lately, this time counted.
fn storms(times: &mut VecDeque<u64>, now: u64) -> usize {
    times.push_back(now);
    while times.front().is_some_and(|at| now - *at > STORM_SPAN) {
        times.pop_front();
    }
    times.len()
}

/// A machine's state as coverage counts it.
pub fn state_of(machine: &PairMachine, now: Tick) -> String {
    let status = machine.status(now);
    let process = status.actuator.as_ref().map(|actuator| (actuator.process, actuator.promoted));
    let blocked = status.blocked.map_or("-", |blocked| blocked.code);
    format!(
        "{:?}/{process:?}/{}/{blocked}",
        status.role,
        if machine.eager() { "eager" } else { "calm" }
    )
}
