//! Takeovers before the holder's ttl is over, seen from outside (R8, R18, R19).
//!
//! Whoever asks the witness for the lease of another region is looked at in that very moment: had
//! the holder been silent for a ttl, or is the ledger all that allows it? What the rules demand of
//! the second kind is looked for in the register, in the cluster and in the times of renewals.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use continuum_domain::record::pair_key;
use continuum_domain::spec::Takeover;
use continuum_domain::{Epoch, PairRecord, RegionId, Version};

use super::Judge;
use crate::hosts::pair;
use crate::postgres::Acknowledged;
use crate::recording::Asked;

/// Clocks, and the ticks at which the judge looks.
const SLACK: Duration = Duration::from_millis(500);
/// A hot switchover that was asked for may be carried out within this.
const ORDER_LASTS: Duration = Duration::from_secs(60);
/// The holder's look that notices sessions which do not wait, and its word to the register.
const LOOK_AND_WRITE: Duration = Duration::from_secs(2);

/// What is known of takeovers.
#[derive(Default)]
pub(super) struct Takeovers {
    looked_at: usize,
    /// When each region's session changed.
    beats: BTreeMap<RegionId, Vec<Duration>>,
    /// What each host last asked for: asked again, it is the same wish.
    last: BTreeMap<String, (Version, PairRecord)>,
    /// Wishes for the lease of a holder whose ttl was not over, by version and by whom.
    early: BTreeSet<(Version, RegionId)>,
    /// Epochs that were won so.
    won: BTreeSet<Epoch>,
    /// Holders that lost the lease so, and when.
    lost: BTreeMap<RegionId, (Duration, RegionId)>,
    /// From when until when each primary's sessions were seen to wait for nobody.
    lowered: BTreeMap<RegionId, (Duration, Duration)>,
    /// Since when each of them takes writes although its time is over.
    stale: BTreeMap<RegionId, Duration>,
}

impl Takeovers {
    pub fn beat(&mut self, region: &RegionId, now: Duration) {
        self.beats.entry(region.clone()).or_default().push(now);
    }

    /// The longest time without a renewal of `region` that `since` or something later saw.
    fn silence(&self, region: &RegionId, since: Duration, now: Duration) -> Duration {
        let beats = self.beats.get(region).map(Vec::as_slice).unwrap_or_default();
        let first = beats.partition_point(|at| *at <= since).saturating_sub(1);
        let shown = &beats[first.min(beats.len())..];
        let ends = shown.iter().skip(1).copied().chain([now]);
        shown
            .iter()
            .zip(ends)
            .map(|(begin, end)| end.saturating_sub(*begin))
            .max()
            .unwrap_or_default()
    }
}

impl Judge {
    /// Looks at every new wish for the lease, and at holders that lost it. An `async` pair has the ttl
    /// alone, and what comes of another's haste there is for I1 to say.
    pub(super) fn look_at_takeovers(&mut self, now: Duration) {
        if !self.shared.plan.durability.is_synchronous() {
            return;
        }
        let asked = self.shared.history.asked(self.takeovers.looked_at);
        self.takeovers.looked_at += asked.len();
        for asked in asked {
            if asked.key == pair_key(&pair()) {
                self.look_at_wish(now, &asked);
            }
        }
        self.look_at_those_who_lost(now);
        self.look_at_sessions_that_do_not_wait(now);
    }

    fn look_at_sessions_that_do_not_wait(&mut self, now: Duration) {
        let cluster = &self.shared.members.cluster;
        for region in self.shared.members.regions().filter(|region| cluster.is_primary(region)) {
            if cluster.lowered_since(region).is_none() {
                self.takeovers.lowered.remove(region);
            } else {
                let seen = self.takeovers.lowered.entry(region.clone()).or_insert((now, now));
                // One primary is not the one before it.
                *seen = if now > seen.1 + SLACK { (now, now) } else { (seen.0, now) };
            }
        }
    }

    fn look_at_wish(&mut self, now: Duration, asked: &Asked) {
        let Ok(wished) = serde_json::from_slice::<PairRecord>(&asked.value) else { return };
        let wish = (asked.expected, wished.clone());
        if self.takeovers.last.insert(asked.who.clone(), wish.clone()) == Some(wish) {
            return;
        }
        let Ok(by) = RegionId::new(&asked.who) else { return };
        let Some((version, before)) = self.record.clone() else { return };
        let Some(holder) = before.holder.clone() else { return };
        let mine = wished.held_by(&by) && holder != by;
        let ordered = before.handover_to.as_ref() == Some(&by);
        if version != asked.expected || !mine || ordered || self.waited_out(&holder, now) {
            return;
        }
        self.saw("takeover:early");
        self.takeovers.early.insert((version, by.clone()));
        let (receives, directory) = self.shared.members.cluster.receives(&by);
        if !directory.is_some_and(|id| before.lists(&by, &id)) {
            return self.violated(format!(
                "R18: {by} asks for the lease of {holder} before its ttl is over and is not listed \
                 with its directory: {before:?}"
            ));
        }
        if !before.waits_for_all {
            return self.violated(format!(
                "R18: {by} asks for the lease of {holder} before its ttl is over, which had not said \
                 that it waits for every listed member"
            ));
        }
        if receives {
            return self.violated(format!(
                "R18: {by} asks for the lease of {holder} before its ttl is over and receives WAL"
            ));
        }
        self.judge_suspicion(now, &by, &holder);
    }

    /// Whether `holder` was silent at the witness for its ttl, and yet when the register got this
    /// version: the verdict counts as long as it has it (R7).
    fn waited_out(&self, holder: &RegionId, now: Duration) -> bool {
        let ttl = self.shared.plan.timing.ttl;
        let since = self.registers.last().map_or(Duration::ZERO, |(at, _)| *at);
        self.takeovers.silence(holder, since, now) >= ttl - ttl / 50
    }

    /// Without an order, the session of the holder stood still for a while. It was read a moment
    /// ago, so what it did since then is not held against anybody.
    fn judge_suspicion(&mut self, now: Duration, by: &RegionId, holder: &RegionId) {
        let asked = self.shared.users.learnt().switchover_asked;
        if asked.is_some_and(|at| now < at + ORDER_LASTS) {
            return;
        }
        if self.shared.plan.takeover != Takeover::Ledger {
            return self.violated(format!(
                "R18: {by} asks for the lease of {holder} before its ttl is over, by nobody's order"
            ));
        }
        let suspect_after = Duration::from_millis(self.shared.plan.suspect_after);
        let since = now.saturating_sub(suspect_after * 3 / 2);
        let still = self.takeovers.silence(holder, since, now);
        if still < suspect_after * 2 / 5 {
            self.violated(format!(
                "suspicion: {by} asks for the lease of {holder}, whose session was still for no more \
                 than {still:?} lately"
            ));
        }
    }

    /// The register has a new value: was the lease won early?
    pub(super) fn judge_takeover(
        &mut self,
        now: Duration,
        version: Version,
        before: &PairRecord,
        after: &PairRecord,
    ) {
        let Some(by) = &after.holder else { return };
        self.takeovers.lost.remove(by);
        let Some(from) = &before.holder else { return };
        if from == by || !self.takeovers.early.contains(&(version, by.clone())) {
            return;
        }
        self.saw("takeover:won-early");
        self.takeovers.won.insert(after.epoch);
        self.takeovers.lost.insert(from.clone(), (now, by.clone()));
        let lasted = self.shared.plan.timing.ttl + LOOK_AND_WRITE + SLACK;
        let seen = self.takeovers.lowered.get(from).copied();
        let for_so_long = seen.map(|(since, until)| until.saturating_sub(since));
        if let Some(for_so_long) = for_so_long.filter(|it| *it > lasted) {
            self.violated(format!(
                "R18: {by} took over from {from} before its ttl was over, where sessions had not \
                 waited for anybody for {for_so_long:?}"
            ));
        }
    }

    /// R8: who lost the lease before its ttl was over notices within it.
    fn look_at_those_who_lost(&mut self, now: Duration) {
        let ttl = self.shared.plan.timing.ttl;
        let mut late = Vec::new();
        for (region, (since, by)) in &self.takeovers.lost {
            let over = now > *since + ttl + ttl / 50;
            if !over || !self.shared.members.cluster.accepts_writes(region) {
                self.takeovers.stale.remove(region);
            } else if now > *self.takeovers.stale.entry(region.clone()).or_insert(now) + SLACK {
                late.push((region.clone(), now.saturating_sub(*since), by.clone()));
            }
        }
        for (region, after, by) in late {
            self.takeovers.lost.remove(&region);
            self.violated(format!("R8: {region} takes writes {after:?} after {by} took over"));
        }
    }

    /// R19: from its change of the register on, a holder receives nothing from a lower epoch.
    pub(super) fn judge_receiving(&mut self, member: &RegionId, epoch: Epoch) {
        if self.takeovers.won.contains(&epoch) {
            self.violated(format!(
                "R19: {member} received WAL when its promotion under epoch {epoch} began"
            ));
        }
    }

    /// Who lowers `synchronous_commit` chose to wait for nobody, and may lose what it commits.
    pub(super) fn is_the_clients_choice(&self, acknowledged: &Acknowledged) -> bool {
        acknowledged.lowered_since.is_some() && self.shared.plan.durability.is_synchronous()
    }

    /// Such a commit may be made while another leads already, as long as the holder had no time to
    /// say that it does not wait: from then on its ttl is waited for, and I1 holds for it as well.
    pub(super) fn may_be_behind(&self, acknowledged: &Acknowledged) -> bool {
        let lasts = self.shared.plan.timing.ttl + LOOK_AND_WRITE + SLACK;
        self.is_the_clients_choice(acknowledged)
            && acknowledged.lowered_since.is_some_and(|at| acknowledged.released < at + lasts)
    }
}
