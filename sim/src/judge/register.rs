//! The registers as the witness holds them, version by version.

use std::cmp::Ordering;
use std::time::Duration;

use continuum_domain::record::{pair_key, session_key};
use continuum_domain::{PairRecord, RegionId, SessionRecord};
use continuum_witness::Versioned;

use super::Judge;
use crate::hosts::pair;

impl Judge {
    pub(super) fn look_at_register(&mut self, now: Duration) {
        let known = &self.known;
        let changed = self.shared.registers(|all| {
            let other = |(key, held): &(&String, &Versioned)| known.get(*key) != Some(*held);
            let changed = all.iter().filter(other);
            changed.map(|(key, held)| (key.clone(), held.clone())).collect::<Vec<_>>()
        });
        let changed = changed.unwrap_or_default();
        // Beats first: a takeover in this very tick is judged by them.
        for (key, held) in &changed {
            self.look_at_session(key, held, now);
        }
        for (key, held) in changed {
            if key == pair_key(&pair()) {
                self.look_at_pair(&held, now);
            }
            self.known.insert(key, held);
        }
    }

    fn look_at_pair(&mut self, held: &Versioned, now: Duration) {
        if self.record.as_ref().is_some_and(|(version, _)| *version == held.version) {
            return;
        }
        let record: PairRecord = match serde_json::from_slice(&held.value) {
            Ok(record) => record,
            Err(error) => return self.violated(format!("the pair register: {error}")),
        };
        let in_sync: Vec<_> = record.in_sync.keys().map(RegionId::as_str).collect();
        let holder = record.holder.as_ref().map(|holder| holder.as_str().to_owned());
        let text = format!(
            "version {} epoch {} holder {} in-sync {}{}{}",
            held.version.0,
            record.epoch,
            holder.as_deref().unwrap_or("none"),
            in_sync.join("+"),
            record.handover_to.as_ref().map_or(String::new(), |to| format!(" handover to {to}")),
            match (record.paused, record.waits_for_all) {
                (true, _) => " paused",
                (false, true) => " waits-for-all",
                (false, false) => "",
            },
        );
        self.shared.trace.note("pair", &text);
        self.registers.push((now, record.clone()));
        let before = self.record.replace((held.version, record.clone()));
        if let Some((version, before)) = before {
            if held.version < version {
                let (was, is) = (version.0, held.version.0);
                self.violated(format!(
                    "the witness forgot version {was} of the pair: it is at {is}"
                ));
            }
            self.judge_succession(&before, &record);
            self.judge_veto(now, &before, &record);
            self.judge_takeover(now, version, &before, &record);
        }
        if self.holders.last().is_none_or(|(_, last)| *last != holder) {
            self.holders.push((now, holder));
        }
    }

    fn look_at_session(&mut self, key: &str, held: &Versioned, now: Duration) {
        let of = |region: &&RegionId| session_key(region) == key;
        let Some(region) = self.shared.members.regions().find(of) else { return };
        let Ok(session) = serde_json::from_slice::<SessionRecord>(&held.value) else { return };
        if self.beats.get(region).is_some_and(|(seen, _)| *seen == session) {
            return;
        }
        let now = self.shared.acceptors.began(key).unwrap_or(now);
        self.beats.insert(region.clone(), (session, now));
        self.takeovers.beat(region, now);
        // A holder that comes back beats before it has returned; nothing is written meanwhile.
        if self.shared.members.cluster.is_primary(region) {
            self.beats_of_primaries.insert(region.clone(), now);
        }
    }

    fn judge_succession(&mut self, before: &PairRecord, now: &PairRecord) {
        let moved = now.holder != before.holder;
        if now.epoch < before.epoch || (moved && now.epoch == before.epoch) {
            self.violated(format!("the epoch does not tell holders apart: {before:?} {now:?}"));
        }
        let listed = now.in_sync.len().cmp(&before.in_sync.len());
        match (listed, now.epoch > before.epoch) {
            (Ordering::Greater, _) => self.saw("ledger:grown"),
            (Ordering::Less, true) => self.saw("ledger:taken-over"),
            (Ordering::Less, false) => self.saw("ledger:shrunk"),
            (Ordering::Equal, _) => {}
        }
        if now.epoch > before.epoch && now.handover_to.is_some() {
            self.violated("R15: handover_to was kept through a change of epoch".into());
        }
        let (named, let_go) = (now.handover_to.is_some(), now.holder.is_none());
        if let Some(from) = before.holder.as_ref().filter(|_| named || let_go)
            && before.handover_to.is_none()
            && self.shared.members.cluster.member(from).primary
        {
            let rule = if named { "R14" } else { "R16" };
            self.violated(format!("{rule}: {from} let the lease go and is a primary yet: {now:?}"));
        }
    }
}
