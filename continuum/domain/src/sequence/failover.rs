//! Before the commit point of an unplanned move.

use super::{
    APPROVAL_MS_MAX, CoreEffect, CoreOrder, GRANT_MS_MAX, MoveFacts, ORDER_MS_MAX, Position,
    core_line, due, journal, origin, preflight, refused, target, texts, undone,
};
use crate::operation::{Operation, OperationState, Step, StepOutcome};

pub(super) fn decide(
    operation: &Operation,
    (ordered, allow_data_loss): (bool, bool),
    facts: &MoveFacts,
    position: &Position,
    now_ms: i64,
) -> Vec<CoreEffect> {
    let to = target(operation);
    match position {
        Position::Returned(epoch) => {
            let from = origin(operation).unwrap_or(to);
            return undone(texts::holder_came_back(from, *epoch));
        }
        Position::Elsewhere(epoch, Some(third)) => {
            return undone(texts::another_took_over(third, *epoch));
        }
        // A vacant register is one more way in for the target; its deadline goes on.
        _ => {}
    }
    if waits_for_approval(operation) {
        return waiting(operation, now_ms);
    }
    if !ordered {
        let granted_ms = core_line(operation, Step::Preflight, &StepOutcome::Done)
            .unwrap_or(operation.created_ms);
        if now_ms < granted_ms.saturating_add(GRANT_MS_MAX) {
            return Vec::new();
        }
        return undone(texts::grant_unused(to));
    }
    let Some(ordered_ms) = core_line(operation, Step::Commit, &StepOutcome::Started) else {
        if operation.cancel_requested {
            return undone(texts::CANCELLED_UNTOUCHED.into());
        }
        return preflight(operation, facts, now_ms).unwrap_or_else(|| {
            journal(Step::Commit, StepOutcome::Started, format!("asking {to} to take over"))
        });
    };
    if let Some(reason) = gave_up(operation) {
        return undone(texts::did_not_take_over(to, &reason));
    }
    if now_ms >= ordered_ms.saturating_add(ORDER_MS_MAX) {
        return undone(texts::did_not_take_over(to, "it did not answer in time"));
    }
    // There is no order that takes this one back: after a cancel it is only not repeated.
    if operation.cancel_requested || !due(facts) {
        return Vec::new();
    }
    vec![CoreEffect::Send { to: to.clone(), order: CoreOrder::FailOver { allow_data_loss } }]
}

/// Whether a person must approve before the agent may go on.
pub fn waits_for_approval(operation: &Operation) -> bool {
    operation.state == OperationState::Running
        && core_line(operation, Step::Preflight, &StepOutcome::Started).is_some()
        && core_line(operation, Step::Preflight, &StepOutcome::Done).is_none()
}

fn waiting(operation: &Operation, now_ms: i64) -> Vec<CoreEffect> {
    if operation.cancel_requested {
        return undone(texts::CANCELLED_UNTOUCHED.into());
    }
    if now_ms >= operation.created_ms.saturating_add(APPROVAL_MS_MAX) {
        return refused(vec![texts::NOT_APPROVED.into()]);
    }
    Vec::new()
}

fn gave_up(operation: &Operation) -> Option<String> {
    let to = target(operation);
    operation.steps.iter().find_map(|line| match &line.outcome {
        StepOutcome::Failed { reason }
            if line.region.as_ref() == Some(to) && line.step == Step::Commit =>
        {
            Some(reason.clone())
        }
        _ => None,
    })
}
