//! Before the commit point of a planned move.

use super::{
    ABORT_SETTLE_MS, CoreEffect, CoreOrder, MoveFacts, Position, RETURN_MS_MAX, core_line, drain,
    due, failed, journal, preflight, texts, undone,
};
use crate::ids::RegionId;
use crate::mutation::{Bug, planted};
use crate::operation::{Method, Operation, Step, StepOutcome};

/// From where to where, and how.
#[derive(Clone, Copy)]
pub(super) struct Route<'a> {
    pub from: &'a RegionId,
    pub to: &'a RegionId,
    pub method: Method,
}

impl Route<'_> {
    /// Whose agent is asked: the holder's, which stops and hands over, or the target's, which takes.
    fn asked(&self) -> &RegionId {
        match self.method {
            Method::Clean => self.from,
            Method::Hot => self.to,
        }
    }

    fn order(&self, deadline_ms: u64) -> CoreOrder {
        match self.method {
            Method::Clean => CoreOrder::SwitchOver { to: self.to.clone(), deadline_ms },
            Method::Hot => CoreOrder::TakeOver { deadline_ms },
        }
    }

    /// The line from which on something may be touched.
    fn announcement(&self) -> (Step, String) {
        let Route { from, to, method } = self;
        match method {
            Method::Clean => (Step::StopWrites, format!("asking {from} to stop and hand over")),
            Method::Hot => (Step::Commit, format!("asking {to} to take over from {from}")),
        }
    }
}

pub(super) fn decide(
    operation: &Operation,
    route: Route<'_>,
    facts: &MoveFacts,
    position: &Position,
    now_ms: i64,
) -> Vec<CoreEffect> {
    let from = route.from;
    let (announcement, _) = route.announcement();
    let Some(announced_ms) = core_line(operation, announcement, &StepOutcome::Started) else {
        return match position {
            Position::Before => prepare(operation, route, facts, now_ms),
            _ => undone(texts::moved_on_untouched(facts.register.as_ref())),
        };
    };
    let returns_ms = announced_ms.saturating_add(facts.switchover_deadline_ms);
    let out_of_time = now_ms >= returns_ms.saturating_add(RETURN_MS_MAX);
    match position {
        Position::Returned(_) if facts.from_writable == Some(true) => {
            undone(why_undone(operation, from, now_ms >= returns_ms))
        }
        Position::Returned(epoch) if out_of_time => failed(texts::not_writable(from, *epoch)),
        Position::Elsewhere(_, None) if planted(Bug::VacantIsReturned) => {
            undone(why_undone(operation, from, now_ms >= returns_ms))
        }
        Position::Elsewhere(epoch, None) if out_of_time => failed(texts::vacant(from, *epoch)),
        Position::Elsewhere(epoch, Some(third)) => failed(texts::third(third, *epoch)),
        Position::Before => {
            let times = Times { now_ms, returns_ms, out_of_time };
            asked(operation, route, facts, &times)
        }
        _ => Vec::new(),
    }
}

struct Times {
    now_ms: i64,
    returns_ms: i64,
    out_of_time: bool,
}

/// Nothing was touched yet.
fn prepare(
    operation: &Operation,
    route: Route<'_>,
    facts: &MoveFacts,
    now_ms: i64,
) -> Vec<CoreEffect> {
    if operation.cancel_requested {
        return undone(texts::CANCELLED_UNTOUCHED.into());
    }
    if let Some(effects) = preflight(operation, facts, now_ms) {
        return effects;
    }
    if let Some(effects) = drain::decide(operation, route, facts, now_ms) {
        return effects;
    }
    if planted(Bug::StopUnannounced) && facts.directive_age_ms.is_none() {
        let deadline_ms = u64::try_from(facts.switchover_deadline_ms).unwrap_or(0);
        return send_if_due(facts, route.asked(), route.order(deadline_ms));
    }
    // From this line on the old holder may be stopped, or taken over from, at any time.
    let (step, detail) = route.announcement();
    journal(step, StepOutcome::Started, detail)
}

/// The directive is announced; the register still shows the old epoch.
fn asked(
    operation: &Operation,
    route: Route<'_>,
    facts: &MoveFacts,
    times: &Times,
) -> Vec<CoreEffect> {
    let (from, asked) = (route.from, route.asked());
    let gave_up = agent_gave_up(operation, asked);
    let settled = facts.aborting_for_ms.is_some_and(|age| age >= ABORT_SETTLE_MS);
    let intact = facts.from_writable == Some(true)
        && facts.register.as_ref().is_some_and(|record| record.handover_to.is_none());
    if intact && (gave_up || settled) {
        return undone(why_undone(operation, from, times.now_ms >= times.returns_ms));
    }
    if times.out_of_time {
        return failed(match route.method {
            Method::Clean => texts::neither_moved_nor_returned(from),
            Method::Hot => texts::not_taken_over(from, route.to),
        });
    }
    if operation.cancel_requested || times.now_ms >= times.returns_ms {
        // Cancel is honoured up to the commit point. An abort that comes after it finds another
        // epoch in the register and is refused by the agent.
        return send_if_due(facts, asked, CoreOrder::AbortSwitchOver);
    }
    if gave_up || agent_works(operation, asked) {
        return Vec::new();
    }
    let deadline_ms = u64::try_from(times.returns_ms - times.now_ms).unwrap_or(0);
    send_if_due(facts, asked, route.order(deadline_ms))
}

fn send_if_due(facts: &MoveFacts, to: &RegionId, order: CoreOrder) -> Vec<CoreEffect> {
    if due(facts) { vec![CoreEffect::Send { to: to.clone(), order }] } else { Vec::new() }
}

/// Steps the asked agent reports on its way to the commit point.
fn is_asked_step(step: Step) -> bool {
    matches!(step, Step::StopWrites | Step::ProveCatchUp | Step::HandOver | Step::Commit)
}

fn agent_works(operation: &Operation, asked: &RegionId) -> bool {
    operation
        .steps
        .iter()
        .any(|line| line.region.as_ref() == Some(asked) && is_asked_step(line.step))
}

fn agent_gave_up(operation: &Operation, asked: &RegionId) -> bool {
    operation.steps.iter().any(|line| {
        line.region.as_ref() == Some(asked)
            && is_asked_step(line.step)
            && matches!(line.outcome, StepOutcome::Failed { .. } | StepOutcome::Undone)
    })
}

fn why_undone(operation: &Operation, from: &RegionId, past_deadline: bool) -> String {
    // That a switch was not drained is told where it happened, and undoes nothing by itself.
    let mut lines = operation.steps.iter().rev().filter(|line| line.step != Step::Drain);
    let told = lines.find_map(|line| match &line.outcome {
        StepOutcome::Failed { reason } => Some(reason.clone()),
        StepOutcome::Undone if !line.detail.is_empty() => Some(line.detail.clone()),
        _ => None,
    });
    // A person's own cancel needs no agent's word for it.
    let told = told.filter(|_| !operation.cancel_requested);
    texts::undone(from, operation.cancel_requested, told, past_deadline)
}
