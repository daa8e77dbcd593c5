//! How a region's pairs stand, for an agent that writes it into a Kubernetes cluster. It is told when
//! it changes; what only grows older is left out, and lag alone is told seldom.

use std::collections::BTreeMap;
use std::time::Duration;

use continuum_control_api::link::{
    MemberRole, MoveStanding, OperationStanding, PairStanding, Standings,
};
use continuum_control_api::rest::{
    AgedReport, HistoryEntry, PairView, REPORT_AGE_MS_MAX, posture, record_is_fresh,
};
use continuum_domain::objective::Loss;
use continuum_domain::operation::{Operation, OperationKind, OperationState};
use continuum_domain::sequence::failover::waits_for_approval;
use continuum_domain::{OperationId, PairId, RegionId, Tick};

use crate::core::Core;
use crate::picture::Scene;
use crate::state::CoreState;

/// How often it is looked whether something changed.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How often lag is told where nothing else changed.
const LAG_INTERVAL: Duration = Duration::from_secs(30);

/// What a region was told last.
#[derive(Default)]
pub(super) struct Told {
    looked: Option<Tick>,
    pairs: BTreeMap<PairId, (Tick, PairStanding)>,
}

impl Told {
    /// What is to be told now, and whether it is all there is; `None` where nothing is.
    pub(super) fn news(&mut self, core: &Core, region: &RegionId) -> Option<(bool, Standings)> {
        let now = core.clock.now();
        if self.looked.is_some_and(|at| now.since(at) < LOOK_INTERVAL) {
            return None;
        }
        let whole = self.looked.replace(now).is_none();
        let current = standings(core, region, now);
        let mut news = Standings::new();
        for pair in self.pairs.keys().filter(|pair| !current.contains_key(*pair)) {
            news.insert(pair.clone(), None);
        }
        self.pairs.retain(|pair, _| current.contains_key(pair));
        for (pair, standing) in current {
            if self.pairs.get(&pair).is_none_or(|last| is_news(last, &standing, now)) {
                news.insert(pair.clone(), Some(standing.clone().into()));
                self.pairs.insert(pair, (now, standing));
            }
        }
        (whole || !news.is_empty()).then_some((whole, news))
    }
}

fn is_news((at, last): &(Tick, PairStanding), standing: &PairStanding, now: Tick) -> bool {
    let without_lag = |standing: &PairStanding| PairStanding {
        lag_ms: None,
        lag_bytes: None,
        ..standing.clone()
    };
    // That lag became unknown, or known, is no small change.
    let known = |standing: &PairStanding| (standing.lag_ms.is_some(), standing.lag_bytes.is_some());
    let patient = now.since(*at) < LAG_INTERVAL && known(last) == known(standing);
    if patient { without_lag(last) != without_lag(standing) } else { last != standing }
}

fn standings(core: &Core, region: &RegionId, now: Tick) -> BTreeMap<PairId, PairStanding> {
    let now_ms = core.now_ms();
    core.node.read(|state| {
        let moves = newest_moves(state);
        let mine = state.specs().filter(|(_, _, spec)| spec.members.contains_key(region));
        let scene = Scene::of(state, &core.links, (now, now_ms));
        mine.map(|one| {
            let pair = one.0;
            (pair.clone(), standing(state, scene.view(one), moves.get(pair).copied()))
        })
        .collect()
    })
}

fn standing(state: &CoreState, view: PairView, last: Option<&Operation>) -> PairStanding {
    let under_way = state.under_way_on(&view.spec.id);
    let waits =
        under_way.is_some_and(|one| waits_for_approval(one) || state.waiting(&one.id).is_some());
    let (word, reasons) = posture(&view, waits);
    let (streaming, lag_ms, lag_bytes) = replication(&view);
    let of = |role: MemberRole| {
        let is = |aged: &AgedReport| aged.age_ms <= REPORT_AGE_MS_MAX && aged.report.role == role;
        let found = view.members.iter().filter(|(_, report)| report.as_ref().is_some_and(is));
        found.map(|(region, _)| region.clone()).collect::<Vec<_>>()
    };
    let blocked = view.members.iter().filter_map(|(region, report)| {
        let report = &report.as_ref().filter(|aged| aged.age_ms <= REPORT_AGE_MS_MAX)?.report;
        Some((region.clone(), report.blocked.clone()?))
    });
    let history = |id: &OperationId| {
        let mut all = state.pair(&view.spec.id)?.history();
        all.find(|one| one.operation.as_ref() == Some(id))
    };
    PairStanding {
        version: view.version,
        posture: word,
        reasons: reasons.iter().map(|reason| steady(reason)).collect(),
        holder: view.holder.clone(),
        epoch: view.epoch,
        fresh: record_is_fresh(&view),
        in_sync: view.in_sync.clone(),
        streaming,
        lag_ms,
        lag_bytes,
        operation: under_way.map(of_operation),
        last_move: last.and_then(|one| of_move(one, history(&one.id).as_ref())),
        blocked: blocked.collect(),
        rejoining: of(MemberRole::Rejoining),
        spec: view.spec.into(),
    }
}

/// What the holder's PostgreSQL said lately of its standbys.
fn replication(view: &PairView) -> (Option<bool>, Option<u64>, Option<u64>) {
    let sql = || {
        let aged = view.members.get(view.holder.as_ref()?)?.as_ref()?;
        let (sql, age) = aged.report.sql.as_ref()?;
        (age.saturating_add(aged.age_ms) <= REPORT_AGE_MS_MAX && !sql.in_recovery).then_some(sql)
    };
    let Some(sql) = sql() else { return (None, None, None) };
    let streams = || sql.standbys.values().filter(|standby| standby.streaming);
    let behind = |at: continuum_domain::Lsn| Some(sql.wal?.bytes_since(at));
    let lag_bytes = streams().filter_map(|standby| behind(standby.replay?)).min();
    (Some(streams().next().is_some()), streams().filter_map(|one| one.lag_ms).min(), lag_bytes)
}

/// The same words while the same thing is so: how long it has been so is left out.
fn steady(reason: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    for word in reason.split(' ') {
        let number = out.last().is_some_and(|last| last.parse::<u64>().is_ok());
        if word == "ms" && number {
            out.pop();
            out.push("some");
        }
        out.push(word);
    }
    out.join(" ")
}

fn kind(operation: &Operation) -> &'static str {
    match operation.kind {
        OperationKind::Switchover { .. } => "switchover",
        OperationKind::Failover { .. } => "failover",
        OperationKind::Pause { .. } => "pause",
        OperationKind::Rejoin { .. } => "rejoin",
        OperationKind::Resume { .. } => "resume",
    }
}

fn of_operation(operation: &Operation) -> OperationStanding {
    let step = operation.steps.last().map(|line| serde_json::to_value(line.step));
    let step = step.and_then(|step| step.ok()?.as_str().map(str::to_owned));
    OperationStanding { id: operation.id.clone(), kind: kind(operation).into(), step }
}

/// The newest move of each pair that has ended.
fn newest_moves(state: &CoreState) -> BTreeMap<PairId, &Operation> {
    let mut newest: BTreeMap<PairId, &Operation> = BTreeMap::new();
    let moved = |one: &&Operation| {
        let moves = matches!(kind(one), "switchover" | "failover");
        moves && one.state.is_final() && !matches!(one.state, OperationState::Refused { .. })
    };
    for one in state.operations().filter(moved) {
        let known = newest.entry(one.pair.clone()).or_insert(one);
        if (known.created_ms, &known.id) < (one.created_ms, &one.id) {
            *known = one;
        }
    }
    newest
}

fn of_move(operation: &Operation, history: Option<&HistoryEntry>) -> Option<MoveStanding> {
    let (from, to) = match &operation.kind {
        OperationKind::Switchover { from, to, .. } => (Some(from.clone()), to),
        OperationKind::Failover { from, to, .. } => (from.clone(), to),
        OperationKind::Pause { .. }
        | OperationKind::Rejoin { .. }
        | OperationKind::Resume { .. } => return None,
    };
    let (result, why) = match &operation.state {
        OperationState::Running | OperationState::Moved => return None,
        OperationState::Done => ("done", None),
        OperationState::Undone { reason } => ("undone", Some(reason.clone())),
        OperationState::Refused { reasons } => ("refused", Some(reasons.join("; "))),
        OperationState::Failed { reason } => ("failed", Some(reason.clone())),
    };
    let lost_bytes = history.and_then(|entry| match entry.loss {
        Loss::Nothing => Some(0),
        Loss::AtMost { bytes, .. } => Some(bytes),
        Loss::Unknown => None,
    });
    Some(MoveStanding {
        id: operation.id.clone(),
        kind: kind(operation).into(),
        result: result.into(),
        from,
        to: to.clone(),
        at_ms: operation.ended_ms.unwrap_or(operation.created_ms),
        reason: why.unwrap_or_else(|| operation.reason.clone()),
        actor: operation.actor.clone(),
        outage_ms: history.and_then(|entry| entry.outage_ms),
        lost_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_something_has_been_so_is_no_news() {
        assert_eq!(
            steady("hel: its agent reported 7012 ms ago"),
            "hel: its agent reported some ms ago"
        );
        assert_eq!(
            steady("no standby is in sync: one copy only"),
            "no standby is in sync: one copy only"
        );
    }
}
