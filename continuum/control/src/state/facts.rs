//! Facts from the regions' journals.
//!
//! Each region numbers its entries; an entry is taken once, whatever is sent again. A move that
//! happened while the core was away gets its operation here, from the facts alone, so that the
//! history comes out complete.

use std::fmt::Write as _;

use continuum_control_api::link::{Fact, JournalEntry};
use continuum_domain::mutation::{Bug, planted};
use continuum_domain::operation::{
    Method, Operation, OperationKind, OperationState, Step, StepOutcome, StepRecord,
};
use continuum_domain::pair::{BY_HOT, BY_LEDGER, RESUMED};
use continuum_domain::sequence;
use continuum_domain::{Epoch, OperationId, PairId, RegionId};
use sha2::{Digest, Sha256};

use super::{
    AddedLine, CoreState, EPOCHS_MAX, EpochRecord, LOOSE_MAX, Line, LooseStep, PairState, Reply,
};

impl CoreState {
    pub(super) fn take_facts(
        &mut self,
        now_ms: i64,
        actor: &str,
        region: &RegionId,
        entries: Vec<JournalEntry>,
    ) -> Reply {
        let by = (now_ms, actor);
        let mut seq = self.journal_seq(region);
        let mut added = Vec::new();
        for entry in entries {
            if entry.seq <= seq {
                continue;
            }
            if entry.seq > seq + 1 {
                let line = Line {
                    action: "journal.gap".into(),
                    reason: format!("{region} sent entry {} after {seq}", entry.seq),
                    ..Line::default()
                };
                self.audit.append(now_ms, actor, line);
            }
            seq = entry.seq;
            added.extend(self.take_fact(by, region, entry));
        }
        self.journal_seq.insert(region.clone(), seq);
        Reply::Journalled { seq, added }
    }

    pub(super) fn reset_journal(&mut self, now_ms: i64, actor: &str, region: RegionId) -> Reply {
        let before = self.journal_seq(&region);
        if before > 0 {
            self.journal_seq.insert(region.clone(), 0);
            let line = Line {
                action: "journal.reset".into(),
                reason: format!(
                    "the agent of {region} counts its journal from the beginning again"
                ),
                before: format!("entry {before}"),
                after: "entry 0".into(),
                ..Line::default()
            };
            self.audit.append(now_ms, actor, line);
        }
        Reply::Journalled { seq: 0, added: Vec::new() }
    }

    fn take_fact(
        &mut self,
        by: (i64, &str),
        region: &RegionId,
        entry: JournalEntry,
    ) -> Option<AddedLine> {
        match entry.fact.clone() {
            Fact::Step { step, outcome, took_us, detail } => {
                let line = StepRecord {
                    step,
                    outcome,
                    region: Some(region.clone()),
                    at_ms: entry.at_ms,
                    took_us,
                    detail,
                };
                self.take_step(by, &entry, line)
            }
            Fact::Acquired { by: why, from, autonomous } => {
                self.acquired(by, region, &entry, &Acquisition { why, from, autonomous })
            }
            Fact::Rejoined { fork, end, commits, .. } => {
                self.audit_fact(by, &entry);
                if let (Some(fork), Some(end)) = (fork, end) {
                    self.left_behind(region, &entry, (end.bytes_since(fork), commits));
                }
                let mut detail = fact_text(&entry.fact).1;
                if matches!(&entry.fact, Fact::Rejoined { commits: Some(1..), .. }) {
                    detail.push_str(self.meaning_of_tail(region, &entry));
                }
                let line = StepRecord {
                    step: Step::Rejoin,
                    outcome: StepOutcome::Started,
                    region: Some(region.clone()),
                    at_ms: entry.at_ms,
                    took_us: None,
                    detail,
                };
                let operation = self.operation_of(&entry)?;
                self.add_line(by, &operation, line)
            }
            Fact::Released { .. }
            | Fact::Premise { .. }
            | Fact::Fenced { .. }
            | Fact::Ledger { .. }
            | Fact::Blocked { .. }
            | Fact::NotUnderstood { .. } => {
                self.audit_fact(by, &entry);
                None
            }
        }
    }

    /// Whether the commits that a former holder left behind may have been acknowledged. Who took over
    /// from it by the ledger had every acknowledged one, as long as commits wait for it; of older
    /// tenures nothing is said.
    fn meaning_of_tail(&self, region: &RegionId, entry: &JournalEntry) -> &'static str {
        let Some(pair) = self.pairs.get(&entry.pair) else { return "" };
        let before = Epoch(entry.epoch.0.saturating_sub(1));
        if pair.epochs.get(&before).is_none_or(|record| record.holder != *region) {
            return "";
        }
        let waited =
            self.spec(&entry.pair).is_some_and(|(_, spec)| spec.durability.is_synchronous());
        match pair.epochs.get(&entry.epoch).map(|record| record.by.as_str()) {
            Some(BY_LEDGER | BY_HOT | "handover" | "expired") if waited => {
                "; they were flushed there and never acknowledged, but to sessions that had lowered \
                 synchronous_commit"
            }
            Some("approved") => "; they may have been acknowledged: that loss was approved",
            _ => "",
        }
    }

    /// The operation an entry belongs to: the one it names, else the one that made its epoch.
    fn operation_of(&self, entry: &JournalEntry) -> Option<OperationId> {
        let named = entry.operation.as_ref().filter(|id| {
            self.operations.get(id).is_some_and(|operation| operation.pair == entry.pair)
        });
        named.cloned().or_else(|| {
            let record = self.pairs.get(&entry.pair)?.epochs.get(&entry.epoch)?;
            record.operation.clone()
        })
    }

    fn take_step(
        &mut self,
        by: (i64, &str),
        entry: &JournalEntry,
        line: StepRecord,
    ) -> Option<AddedLine> {
        if let Some(operation) = self.operation_of(entry) {
            if self.measured_commit(&operation, &line) {
                return None;
            }
            return self.add_line(by, &operation, line);
        }
        self.audit_fact(by, entry);
        if line.step == Step::Traffic {
            // It comes after the epoch was won. Where no operation won it, it belongs to no later one.
            return None;
        }
        let pair = self.pairs.get_mut(&entry.pair)?;
        if pair.loose.len() >= LOOSE_MAX {
            pair.loose.remove(0);
        }
        pair.loose.push(LooseStep { epoch: entry.epoch, line });
        None
    }

    /// Whether `line` is the agent's measured commit, where the acquisition already left a line
    /// without a measurement; that one takes the measurement over.
    fn measured_commit(&mut self, id: &OperationId, line: &StepRecord) -> bool {
        let Some(operation) = self.operations.get_mut(id) else { return false };
        if operation.state.is_final() || line.took_us.is_none() {
            return false;
        }
        let bare = operation.steps.iter_mut().find(|old| {
            old.region == line.region
                && (old.step, line.step) == (Step::Commit, Step::Commit)
                && old.outcome == StepOutcome::Done
                && line.outcome == StepOutcome::Done
                && old.took_us.is_none()
        });
        match bare {
            Some(old) => {
                old.took_us = line.took_us;
                old.detail.clone_from(&line.detail);
                true
            }
            None => false,
        }
    }

    fn acquired(
        &mut self,
        by: (i64, &str),
        region: &RegionId,
        entry: &JournalEntry,
        acquisition: &Acquisition,
    ) -> Option<AddedLine> {
        if !planted(Bug::AcquiredUnaudited) {
            self.audit_fact(by, entry);
        }
        let planned = matches!(acquisition.why.as_str(), "handover" | BY_HOT | RESUMED);
        let moves = planned || !matches!(acquisition.why.as_str(), "returned" | "created");
        let mut operation = None;
        let mut added = None;
        if moves && self.pairs.contains_key(&entry.pair) {
            let id = match self.live_operation_for(region, entry, planned) {
                Some(id) => id,
                None => self.create_from_facts(by, region, entry, acquisition),
            };
            added = self.commit_line(by, region, entry, &acquisition.why, &id);
            operation = Some(id);
        }
        let pair = self.pairs.get_mut(&entry.pair)?;
        let record = EpochRecord {
            holder: region.clone(),
            from: acquisition.from.clone(),
            by: acquisition.why.clone(),
            operation,
            at_ms: entry.at_ms,
        };
        // An epoch is won once; the register forbids a second winner.
        pair.epochs.entry(entry.epoch).or_insert(record);
        while pair.epochs.len() > EPOCHS_MAX {
            pair.epochs.pop_first();
        }
        if moves && !planned {
            let at_ms = entry.at_ms.min(by.0);
            pair.last_failover_ms = Some(pair.last_failover_ms.map_or(at_ms, |old| old.max(at_ms)));
        }
        added
    }

    /// The operation that this acquisition carries out: the one it names, unless that one ended
    /// without a move; else a running one of the same kind with the same target.
    fn live_operation_for(
        &self,
        region: &RegionId,
        entry: &JournalEntry,
        planned: bool,
    ) -> Option<OperationId> {
        let fits = |operation: &Operation| {
            operation.pair == entry.pair
                && sequence::target(operation) == region
                && operation.at_epoch < entry.epoch
                && !matches!(operation.kind, OperationKind::Rejoin { .. })
                && (!operation.state.is_final() || sequence::was_moved(operation))
        };
        let named = entry.operation.as_ref().filter(|id| self.operations.get(id).is_some_and(fits));
        named.cloned().or_else(|| {
            let kind = |operation: &Operation| {
                let kind = match operation.kind {
                    OperationKind::Switchover { .. } | OperationKind::Resume { .. } => true,
                    OperationKind::Failover { .. } => false,
                    // Nobody becomes holder by it.
                    OperationKind::Pause { .. } | OperationKind::Rejoin { .. } => return false,
                };
                kind == planned
            };
            self.unfinished()
                .find(|operation| fits(operation) && kind(operation))
                .map(|operation| operation.id.clone())
        })
    }

    /// The target's word that it won the epoch; the agent's own measured line, if it came first or
    /// comes later, stands for it.
    fn commit_line(
        &mut self,
        by: (i64, &str),
        region: &RegionId,
        entry: &JournalEntry,
        why: &str,
        id: &OperationId,
    ) -> Option<AddedLine> {
        let operation = self.operations.get(id)?;
        let known = operation.steps.iter().any(|line| {
            line.region.as_ref() == Some(region)
                && line.step == Step::Commit
                && line.outcome == StepOutcome::Done
        });
        if known {
            return None;
        }
        let line = StepRecord {
            step: Step::Commit,
            outcome: StepOutcome::Done,
            region: Some(region.clone()),
            at_ms: entry.at_ms,
            took_us: None,
            detail: format!("epoch {} by {why}", entry.epoch),
        };
        self.add_line(by, id, line)
    }

    /// A move that no operation announced: the agent went alone because the core was away, or a
    /// hand-over landed after its operation had ended.
    fn create_from_facts(
        &mut self,
        (now_ms, actor): (i64, &str),
        region: &RegionId,
        entry: &JournalEntry,
        acquisition: &Acquisition,
    ) -> OperationId {
        let at_epoch = Epoch(entry.epoch.0.saturating_sub(1));
        let kind = match (&acquisition.from, acquisition.why.as_str()) {
            (Some(from), "handover") => OperationKind::Switchover {
                from: from.clone(),
                to: region.clone(),
                method: Method::Clean,
            },
            (Some(from), BY_HOT) => OperationKind::Switchover {
                from: from.clone(),
                to: region.clone(),
                method: Method::Hot,
            },
            (_, RESUMED) => OperationKind::Resume { to: region.clone() },
            (from, why) => OperationKind::Failover {
                from: from.clone(),
                to: region.clone(),
                trigger: why.to_owned(),
                autonomous: acquisition.autonomous,
                allow_data_loss: why == "approved",
            },
        };
        let steps = self
            .pairs
            .get_mut(&entry.pair)
            .map(|pair| claim_loose(pair, region, entry.epoch, at_epoch))
            .unwrap_or_default();
        let created_ms = steps.first().map_or(entry.at_ms, |line| line.at_ms).min(now_ms);
        let mut steps = steps;
        steps.push(StepRecord {
            step: Step::Preflight,
            outcome: StepOutcome::Done,
            region: None,
            at_ms: now_ms,
            took_us: None,
            detail: "decided by the agent; recorded from its journal".into(),
        });
        let operation = Operation {
            id: retroactive_id(&entry.pair, entry.epoch),
            pair: entry.pair.clone(),
            kind,
            at_epoch,
            actor: actor.to_owned(),
            reason: format!("recorded from the journal of {region}"),
            created_ms,
            ended_ms: None,
            state: OperationState::Running,
            cancel_requested: false,
            steps,
        };
        let id = operation.id.clone();
        self.create((now_ms, actor), operation);
        id
    }

    fn audit_fact(&mut self, (now_ms, actor): (i64, &str), entry: &JournalEntry) {
        let (action, after) = fact_text(&entry.fact);
        let line = Line {
            action: format!("fact.{action}"),
            pair: Some(entry.pair.clone()),
            epoch: Some(entry.epoch),
            operation: entry.operation.clone(),
            reason: format!("reported at {}", entry.at_ms),
            before: match &entry.fact {
                Fact::Acquired { from, .. } => superseded(entry.epoch, from.as_ref()),
                Fact::Ledger { before, .. } => regions(before),
                _ => String::new(),
            },
            after,
        };
        self.audit.append(now_ms, actor, line);
    }
}

struct Acquisition {
    why: String,
    from: Option<RegionId>,
    autonomous: bool,
}

/// Takes the steps that led to an acquisition out of those without an operation; older ones of the
/// same region belong to nothing any more.
fn claim_loose(
    pair: &mut PairState,
    region: &RegionId,
    won: Epoch,
    from: Epoch,
) -> Vec<StepRecord> {
    let mut claimed = Vec::new();
    pair.loose.retain(|loose| {
        let mine = loose.line.region.as_ref() == Some(region) && loose.epoch <= won;
        if mine && loose.epoch >= from {
            claimed.push(loose.line.clone());
        }
        !mine
    });
    claimed
}

/// The same name on every node and after every repetition.
fn retroactive_id(pair: &PairId, epoch: Epoch) -> OperationId {
    let digest = Sha256::digest(format!("{pair}/{epoch}").as_bytes());
    let mut text = String::from("found-");
    for byte in digest.iter().take(6) {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    OperationId::new(text).expect("a letter, then letters, digits and '-'")
}

fn regions(list: &[RegionId]) -> String {
    let names: Vec<&str> = list.iter().map(RegionId::as_str).collect();
    format!("[{}]", names.join(", "))
}

/// The epoch that an acquisition ended, and who held it. Its maker may never have learnt that its own
/// write had landed, and then nothing but this tells of it (I4).
fn superseded(won: Epoch, from: Option<&RegionId>) -> String {
    let holder = from.map_or("nobody", RegionId::as_str);
    format!("epoch {}, held by {holder}", won.0.saturating_sub(1))
}

/// A fact's name and content, for the audit chain.
fn fact_text(fact: &Fact) -> (&'static str, String) {
    match fact {
        Fact::Step { step, outcome, detail, .. } => {
            ("step", format!("{step:?} {outcome:?} {detail}"))
        }
        Fact::Acquired { by, autonomous, .. } => {
            let alone = if *autonomous { ", without the core" } else { "" };
            ("acquired", format!("acquired by {by}{alone}"))
        }
        Fact::Released { reason } => ("released", format!("released: {reason}")),
        Fact::Premise { holds: true, .. } => {
            ("premise", "commits wait for every listed member: ledger takeover may be used".into())
        }
        Fact::Premise { reasons, .. } => {
            ("premise", format!("ledger takeover may not be used: {}", reasons.join("; ")))
        }
        Fact::Fenced { reason } => ("fenced", format!("fenced: {reason}")),
        Fact::Ledger { after, reason, .. } => ("ledger", format!("{}: {reason}", regions(after))),
        Fact::Rejoined { how, artefact, fork, end, commits } => {
            let mut text = how.clone();
            if let Some(commits) = commits {
                let _infallible = write!(text, "; left behind: {commits} commits");
            }
            if let (Some(fork), Some(end)) = (fork, end) {
                let (bytes, from) =
                    (end.bytes_since(*fork), if commits.is_some() { "" } else { ";" });
                let _infallible = write!(text, "{from} from {fork} to {end} ({bytes} bytes)");
            }
            if let Some(artefact) = artefact {
                let _infallible = write!(text, ", saved at {artefact}");
            }
            ("rejoined", text)
        }
        Fact::Blocked { state: Some(state) } => {
            ("blocked", format!("{}: {}; {}", state.code, state.meaning, state.action))
        }
        Fact::Blocked { state: None } => ("unblocked", "no longer blocked".into()),
        Fact::NotUnderstood { kind, problem, text } => {
            ("not-understood", format!("{kind}, of a newer agent: {text} ({problem})"))
        }
    }
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
