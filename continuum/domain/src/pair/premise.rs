//! The premise of a ledger takeover, kept true by the holder or taken back (R8, R18).
//!
//! The register says `waits_for_all` only while the holder sees that every commit waits for every
//! listed member. What breaks that (a role, a database or a session with a lower
//! `synchronous_commit`, other names, a standby that applies nothing) is written down at once, and
//! from then on the ttl counts. Between the change and the write lies one look.

use std::time::Duration;

use super::PairMachine;
use super::register::{Outstanding, Purpose};
use super::types::Note;
use crate::ids::RegionId;
use crate::mutation::{Bug, planted};
use crate::record::PairRecord;
use crate::sync_names;
use crate::time::Tick;

/// The premise must hold for so long before it is promised again.
const HOLDS_FOR: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Since when every look found it to hold.
    since: Option<Tick>,
    /// Why the newest write took it back.
    written: Vec<String>,
}

impl PairMachine {
    /// Why this holder does not promise to wait for every listed member; empty when it does.
    pub fn premise_reasons(&self, now: Tick) -> Vec<String> {
        if planted(Bug::PremiseUnchecked) {
            return Vec::new();
        }
        let mut reasons = Vec::new();
        if !self.spec.durability.is_synchronous() {
            reasons.push("durability async: commits do not wait".to_owned());
            return reasons;
        }
        let Some((at, sql)) = self.sql() else {
            return vec![
                "PostgreSQL was not looked at: whether commits wait is unknown".to_owned(),
            ];
        };
        if now.since(*at) > self.spec.stall_timeout {
            reasons.push(format!(
                "PostgreSQL was last looked at {} ms ago: whether commits wait is unknown",
                now.since(*at).as_millis()
            ));
        }
        match &sql.lowered_commit {
            None => reasons.push(
                "whether a role, database or session lowers synchronous_commit is unknown".into(),
            ),
            Some(lowered) => reasons.extend(lowered.iter().cloned()),
        }
        let listed: Vec<RegionId> = self
            .record()
            .map(|record| {
                record.in_sync.keys().filter(|region| **region != self.me).cloned().collect()
            })
            .unwrap_or_default();
        if !sync_names::requires_all(&sql.sync_names, &listed) {
            reasons.push(format!(
                "synchronous_standby_names is '{}', which does not require every listed member",
                sql.sync_names
            ));
        }
        for region in self.shrink.stalled(self.spec.stall_timeout) {
            if listed.contains(&region) {
                let limit = humantime::format_duration(self.spec.stall_timeout);
                reasons.push(format!("{region} has applied nothing for {limit}"));
            }
        }
        reasons
    }

    /// Whether the register may say so in a write that is due now.
    pub(super) fn waits_for_all_holds(&self, now: Tick) -> bool {
        self.premise_reasons(now).is_empty()
    }

    /// Keeps what the register says about the premise true.
    pub(super) fn decide_premise(&mut self, now: Tick, record: &PairRecord) {
        let reasons = self.premise_reasons(now);
        if reasons.is_empty() {
            self.premise.since.get_or_insert(now);
        } else {
            self.premise.since = None;
        }
        let holds = self.premise.since.is_some_and(|since| now.since(since) >= HOLDS_FOR);
        let alone = !record.in_sync.keys().any(|region| *region != self.me);
        let promise = holds && !record.waits_for_all && !alone && !self.growth.busy();
        let take_back = record.waits_for_all && !reasons.is_empty();
        if !promise && !take_back {
            return;
        }
        if !self.register.settled() || !self.session.valid(now) || record.handover_to.is_some() {
            return;
        }
        self.premise.written = reasons;
        let value = PairRecord { waits_for_all: promise, ..record.clone() };
        self.write(now, value, Purpose::Premise);
    }

    pub(super) fn premise_written(&mut self, write: &Outstanding) {
        let (holds, reasons) =
            (write.value.waits_for_all, std::mem::take(&mut self.premise.written));
        self.note(Note::Premise { holds, reasons });
    }

    /// R8: where a listed member may take over at any moment, the lease is no longer than the last
    /// read that showed it. Who cannot read the register must stop, although its session beats.
    /// Where nobody else is listed nobody may; what an own write says counts from its send.
    pub(super) fn bounded_by_the_read(&self, until: Tick) -> Tick {
        if planted(Bug::HolderNeverReads) {
            return until;
        }
        let others = |record: &PairRecord| record.in_sync.keys().any(|it| *it != self.me);
        let said = |record: &PairRecord| record.waits_for_all && others(record);
        let known = self.register.known.as_ref().map(|known| known.sent);
        let basis = match &self.register.outstanding {
            _ if self.record().is_some_and(&said) => known,
            Some(write) if said(&write.value) => known.max(Some(write.started)),
            _ => return until,
        };
        basis.map_or(until, |sent| self.timing.valid_until(sent).min(until))
    }
}
