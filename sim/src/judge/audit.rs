//! I4, seen from outside: what the core's audit chain says, against what the register went through.

use std::collections::BTreeSet;
use std::time::Duration;

use continuum_control::state::audit::verify_records;
use continuum_control_api::rest::{AuditRecord, AuditVerdict};
use continuum_domain::record::PairRecord;
use continuum_domain::{Epoch, RegionId};
use continuum_runtime::{Identity, Role};

use crate::hosts::pair;

/// An agent writes what it did to its disk just after it did it: what a crash within this time takes
/// with it may be missing from the history. The register has it.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);
/// What stands before the first record of a chain.
const ORIGIN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The chain as an operator was shown it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// All records, oldest first.
    pub records: Vec<AuditRecord>,
    /// What the core says of the chain itself.
    pub verdict: AuditVerdict,
}

/// What is wrong with the chain, whatever it tells of.
pub fn broken(shown: &Shown) -> Option<String> {
    if let Some(problem) = &shown.verdict.problem {
        return Some(format!("I4: the core's audit chain does not verify: {problem}"));
    }
    let verdict = verify_records((0, ORIGIN.to_owned()), shown.records.iter());
    verdict
        .problem
        .map(|problem| format!("I4: the audit chain as shown does not verify: {problem}"))
}

/// A change of epoch that the pair's register went through.
struct Change<'a> {
    at: Duration,
    /// When the next one came.
    until: Duration,
    epoch: Epoch,
    /// Who made it: the new holder, or the one that let go.
    by: &'a RegionId,
    /// Whether the lease was let go.
    released: bool,
}

fn changes(registers: &[(Duration, PairRecord)]) -> Vec<Change<'_>> {
    let mut changes: Vec<Change<'_>> = Vec::new();
    let mut before: Option<&PairRecord> = None;
    for (at, record) in registers {
        let raised = before.is_none_or(|before| record.epoch > before.epoch);
        let last = before.and_then(|before| before.holder.as_ref());
        if let Some(by) = record.holder.as_ref().or(last).filter(|_| raised) {
            if let Some(last) = changes.last_mut() {
                last.until = *at;
            }
            let (released, until) = (record.holder.is_none(), Duration::MAX);
            changes.push(Change { at: *at, until, epoch: record.epoch, by, released });
        }
        before = Some(record);
    }
    changes
}

/// Whether `record` is that of `change`, by whoever made it, with a reason and what came of it.
fn tells_of(record: &AuditRecord, change: &Change<'_>) -> bool {
    let actor = Identity::new(Role::Region, change.by.as_str()).to_string();
    let (action, epochs) = if change.released {
        ("fact.released", change.epoch.0.saturating_sub(1)..=change.epoch.0)
    } else {
        ("fact.acquired", change.epoch.0..=change.epoch.0)
    };
    // A newer agent may have another word for it, which the core keeps as it came.
    let in_other_words = change.released
        && record.action == "fact.not-understood"
        && record.after.starts_with("released");
    (record.action == action || in_other_words)
        && record.pair == Some(pair())
        && record.epoch.is_some_and(|epoch| epochs.contains(&epoch.0))
        && record.actor == actor
        && !record.reason.is_empty()
        && !record.after.is_empty()
}

/// Whether `record` is that of the acquisition `next`, and says what it superseded: the epoch of
/// `change`, and who held it.
fn tells_of_superseded(record: &AuditRecord, change: &Change<'_>, next: &Change<'_>) -> bool {
    let holder = if change.released { "nobody" } else { change.by.as_str() };
    let superseded = format!("epoch {}, held by {holder}", change.epoch);
    !next.released && tells_of(record, next) && record.before == superseded
}

/// An epoch that the register went through and of which the chain tells nothing; `promoted` are those
/// under which a PostgreSQL was promoted, `ended` the ends of processes, by host.
///
/// A maker that did not learn that its own write had landed (R9) tells nothing of its epoch; who
/// superseded it does. Nothing at all is told of an epoch whose maker ended before it could: just after
/// the change, or before it learnt of it and so without a promotion under it; nor of an unused one that
/// was superseded by another of which its own maker tells nothing.
pub fn untold(
    records: &[AuditRecord],
    registers: &[(Duration, PairRecord)],
    promoted: &BTreeSet<Epoch>,
    ended: &[(Duration, String)],
) -> Option<String> {
    let changes = changes(registers);
    let by_maker = |change: &Change<'_>| records.iter().any(|record| tells_of(record, change));
    let told = |change: &Change<'_>, next: Option<&Change<'_>>| {
        let by_next = |next| records.iter().any(|record| tells_of_superseded(record, change, next));
        by_maker(change) || next.is_some_and(by_next)
    };
    let excused = |change: &Change<'_>, next: Option<&Change<'_>>| {
        let unused = !promoted.contains(&change.epoch) || change.released;
        let of_maker = |(_, host): &&(Duration, String)| host == change.by.as_str();
        let by_silent = unused && next.is_some_and(|next| !by_maker(next));
        by_silent
            || ended.iter().filter(of_maker).any(|(at, _)| {
                let at_once =
                    *at <= change.at + WRITTEN_WITHIN && change.at <= *at + WRITTEN_WITHIN;
                at_once || unused && change.at <= *at && *at <= change.until
            })
    };
    let mut following = changes.iter().skip(1);
    let untold = changes.iter().find(|change| {
        let next = following.next();
        !told(change, next) && !excused(change, next)
    })?;
    let how = if untold.released { "let the lease go" } else { "took the lease" };
    Some(format!(
        "I4: {} {how} with epoch {} and no audit record tells of it",
        untold.by, untold.epoch
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use continuum_control::state::audit::{AuditChain, Line};

    use super::*;

    fn register(at: u64, epoch: u64, holder: Option<&str>) -> (Duration, PairRecord) {
        let record = PairRecord {
            epoch: Epoch(epoch),
            holder: holder.map(|name| RegionId::new(name).unwrap()),
            in_sync: BTreeMap::new(),
            handover_to: None,
            paused: false,
            waits_for_all: false,
            rested_by: None,
        };
        (Duration::from_secs(at), record)
    }

    fn chain(lines: &[(&str, &str, u64)]) -> Vec<AuditRecord> {
        let mut chain = AuditChain::default();
        for (actor, action, epoch) in lines {
            let line = Line {
                action: (*action).to_owned(),
                pair: Some(pair()),
                epoch: Some(Epoch(*epoch)),
                reason: "test".into(),
                after: "so".into(),
                ..Line::default()
            };
            chain.append(1, actor, line);
        }
        chain.records().cloned().collect()
    }

    #[test]
    fn every_epoch_is_told_of_by_who_made_it() {
        let went =
            [register(1, 1, Some("fsn")), register(9, 2, None), register(10, 3, Some("hel"))];
        let fsn = Identity::new(Role::Region, "fsn").to_string();
        let hel = Identity::new(Role::Region, "hel").to_string();
        let whole =
            [(&*fsn, "fact.acquired", 1), (&*fsn, "fact.released", 2), (&*hel, "fact.acquired", 3)];
        let used = BTreeSet::from([Epoch(1), Epoch(3)]);
        let untold = |lines: &[(&str, &str, u64)], ended: &[(Duration, String)]| {
            untold(&chain(lines), &went, &used, ended)
        };
        assert_eq!(untold(&whole, &[]), None);
        for missing in 0..3 {
            let mut lines = whole.to_vec();
            lines.remove(missing);
            assert!(untold(&lines, &[]).is_some(), "{missing}");
        }
        let by_another = [whole[0], whole[1], (&*fsn, "fact.acquired", 3)];
        assert!(untold(&by_another, &[]).is_some());
        let ended = |ms| [(Duration::from_millis(ms), "hel".to_owned())];
        assert_eq!(untold(&whole[..2], &ended(10_100)), None);
        assert!(untold(&whole[..2], &ended(12_000)).is_some(), "it was promoted: it knew");
    }

    #[test]
    fn who_supersedes_an_epoch_tells_of_it() {
        let went =
            [register(1, 1, Some("fsn")), register(9, 2, None), register(10, 3, Some("hel"))];
        let fsn = Identity::new(Role::Region, "fsn").to_string();
        let hel = Identity::new(Role::Region, "hel").to_string();
        let chain = |before: &str| {
            let mut chain = AuditChain::default();
            for (actor, epoch, before) in [(&fsn, 1, ""), (&hel, 3, before)] {
                let action = "fact.acquired".to_owned();
                let (reason, after, before) = ("test".into(), "so".into(), before.into());
                let (pair, epoch) = (Some(pair()), Some(Epoch(epoch)));
                let line = Line { action, pair, epoch, reason, before, after, ..Line::default() };
                chain.append(1, actor, line);
            }
            chain.records().cloned().collect::<Vec<_>>()
        };
        let used = BTreeSet::from([Epoch(1), Epoch(3)]);
        let untold = |before| untold(&chain(before), &went, &used, &[]);
        assert_eq!(untold("epoch 2, held by nobody"), None);
        assert!(untold("epoch 2, held by fsn").is_some());
        assert!(untold("epoch 1, held by nobody").is_some());
    }

    #[test]
    fn who_ended_before_it_learnt_of_its_epoch_tells_nothing() {
        let went = [register(1, 1, Some("fsn")), register(20, 2, Some("fsn"))];
        let fsn = Identity::new(Role::Region, "fsn").to_string();
        let records = chain(&[(&*fsn, "fact.acquired", 2)]);
        let ended = |at| [(Duration::from_secs(at), "fsn".to_owned())];
        let (none, used) = (BTreeSet::new(), BTreeSet::from([Epoch(1)]));
        assert_eq!(untold(&records, &went, &none, &ended(12)), None);
        assert!(untold(&records, &went, &used, &ended(12)).is_some());
        assert!(untold(&records, &went, &none, &ended(30)).is_some());
    }

    #[test]
    fn a_chain_that_was_changed_on_its_way_is_found() {
        let records = chain(&[("a", "x", 1), ("b", "y", 2)]);
        let verdict = verify_records((0, ORIGIN.to_owned()), records.iter());
        let mut shown = Shown { records, verdict };
        assert_eq!(broken(&shown), None);
        shown.records.remove(0);
        assert!(broken(&shown).is_some());
    }
}
