//! A member is told to try again, or to take a fresh clone. The pair does not move.
//!
//! ```text
//! retry: preflight -> rejoin (the member tries) -> streams, listed again -> done
//! clone: preflight -> bar (the ledger does without it, R13) -> rejoin (it is cloned) -> the same
//! ```
//!
//! Both orders are repeated until the member streams: an agent that was started anew has forgotten
//! them, and one that has not takes no notice. Whoever else becomes holder meanwhile ends the operation:
//! the members rejoin behind that one by themselves.

use super::{
    CoreEffect, CoreOrder, MoveFacts, Position, core_line, failed, has, journal, preflight, texts,
    undone,
};
use crate::ids::RegionId;
use crate::mutation::{Bug, planted};
use crate::operation::{Operation, OperationState, RejoinMethod, Step, StepOutcome, StepRecord};

/// The holder must have taken the member out of the ledger within this time.
pub const KEEP_OUT_MS_MAX: i64 = 30_000;
/// So long the ledger does without the member after the holder last heard of it.
pub const KEEP_OUT_MS: u64 = 120_000;
/// The member's agent must have taken the order up within this time.
pub const REJOIN_BEGIN_MS_MAX: i64 = 60_000;
/// An order to clone that has not led to one within this time at the agent is void.
pub const REJOIN_ORDER_MS: u64 = 60_000;
/// A member that was told to try again must stream within this time.
pub const RETRY_MS_MAX: i64 = 10 * 60_000;
/// A clone must stream within this time.
pub const CLONE_MS_MAX: i64 = 24 * 60 * 60_000;
/// Orders that were taken up are repeated this often, for an agent that starts anew.
const REPEAT_MS: u64 = 5_000;

/// What to do next for the rejoin of `region`.
pub(super) fn decide(
    operation: &Operation,
    (region, method): (&RegionId, RejoinMethod),
    facts: &MoveFacts,
    position: &Position,
    now_ms: i64,
) -> Vec<CoreEffect> {
    let Some(record) = &facts.register else { return Vec::new() };
    let ordered_ms = core_line(operation, Step::Rejoin, &StepOutcome::Started);
    let holder = match (&record.holder, position) {
        (Some(holder), Position::Before) if holder != region => holder,
        _ if ordered_ms.is_none() => return undone(texts::moved_on_untouched(Some(record))),
        _ => return failed(texts::rejoin_overtaken(region, record)),
    };
    if operation.cancel_requested {
        return match ordered_ms {
            None => undone(texts::CANCELLED_UNTOUCHED.into()),
            Some(_) => failed(texts::rejoin_unwatched(region)),
        };
    }
    let Some(ordered_ms) = ordered_ms else {
        return before_the_order(operation, (region, method), (facts, holder), now_ms);
    };
    if let Some(reason) = gave_up(operation, region) {
        return failed(texts::rejoin_failed(region, &reason));
    }
    if has(operation, Step::Verify, &StepOutcome::Done) {
        return vec![CoreEffect::Become { state: OperationState::Done }];
    }
    let listed = !facts.synchronous || record.in_sync.contains_key(region);
    if said(operation, region, |outcome| *outcome == StepOutcome::Done) {
        if listed && facts.member_streams == Some(true) {
            let detail = format!("{region} streams from {holder}{}", also_listed(facts));
            return journal(Step::Verify, StepOutcome::Done, detail);
        }
    } else if let Some(late) = late(operation, (region, method), ordered_ms, now_ms) {
        return late;
    }
    let limit = if method == RejoinMethod::Clone { CLONE_MS_MAX } else { RETRY_MS_MAX };
    if now_ms >= ordered_ms.saturating_add(limit) {
        return failed(texts::not_rejoined(region));
    }
    let over = said(operation, region, |outcome| *outcome == StepOutcome::Done);
    let taken_up = said(operation, region, |_| true);
    let due = if taken_up { facts.directive_age_ms >= Some(REPEAT_MS) } else { super::due(facts) };
    if over || !(due || facts.directive_age_ms.is_none()) {
        return Vec::new();
    }
    let clone = method == RejoinMethod::Clone;
    let order = CoreOrder::Rejoin { clone, deadline_ms: REJOIN_ORDER_MS };
    let mut effects = vec![CoreEffect::Send { to: region.clone(), order }];
    if clone && !planted(Bug::OrderedCloneUnbarred) {
        effects.insert(0, keep_out(holder, region));
    }
    effects
}

/// Preflight, and the ledger without the member.
fn before_the_order(
    operation: &Operation,
    (region, method): (&RegionId, RejoinMethod),
    (facts, holder): (&MoveFacts, &RegionId),
    now_ms: i64,
) -> Vec<CoreEffect> {
    let barred = core_line(operation, Step::Bar, &StepOutcome::Started).is_some();
    if let Some(effects) = preflight(operation, facts, now_ms).filter(|_| !barred) {
        return effects;
    }
    // In `async` too: a holder that has not heard of that yet may list the member.
    if method == RejoinMethod::Clone {
        let Some(asked_ms) = core_line(operation, Step::Bar, &StepOutcome::Started) else {
            let detail = format!("asking {holder} to do without {region} in the ledger");
            return journal(Step::Bar, StepOutcome::Started, detail);
        };
        let done = |line: &StepRecord| {
            line.step == Step::Bar
                && line.outcome == StepOutcome::Done
                && line.region.as_ref() == Some(holder)
        };
        let listed = facts.register.as_ref().is_some_and(|one| one.in_sync.contains_key(region));
        let without = operation.steps.iter().any(done) && !listed;
        let unasked = planted(Bug::ClonedUnasked) || planted(Bug::OrderedCloneUnbarred);
        if !without && !unasked {
            if now_ms >= asked_ms.saturating_add(KEEP_OUT_MS_MAX) {
                return undone(texts::not_kept_out(region, holder));
            }
            return if super::due(facts) { vec![keep_out(holder, region)] } else { Vec::new() };
        }
    }
    let what = if method == RejoinMethod::Clone { "take a fresh clone" } else { "try again" };
    journal(Step::Rejoin, StepOutcome::Started, format!("asking {region} to {what}"))
}

fn keep_out(holder: &RegionId, region: &RegionId) -> CoreEffect {
    let order = CoreOrder::KeepOut { region: region.clone(), hold_ms: KEEP_OUT_MS };
    CoreEffect::Send { to: holder.clone(), order }
}

/// An agent that says nothing may be one of an older version, which takes no notice of the order.
fn late(
    operation: &Operation,
    (region, method): (&RegionId, RejoinMethod),
    ordered_ms: i64,
    now_ms: i64,
) -> Option<Vec<CoreEffect>> {
    let taken_up = said(operation, region, |_| true);
    let over = now_ms >= ordered_ms.saturating_add(REJOIN_BEGIN_MS_MAX);
    (!taken_up && over).then(|| failed(texts::rejoin_not_begun(region, method)))
}

fn said(operation: &Operation, region: &RegionId, what: impl Fn(&StepOutcome) -> bool) -> bool {
    operation.steps.iter().any(|line| {
        line.step == Step::Rejoin && line.region.as_ref() == Some(region) && what(&line.outcome)
    })
}

fn gave_up(operation: &Operation, region: &RegionId) -> Option<String> {
    operation.steps.iter().find_map(|line| match &line.outcome {
        StepOutcome::Failed { reason }
            if line.step == Step::Rejoin && line.region.as_ref() == Some(region) =>
        {
            Some(reason.clone())
        }
        _ => None,
    })
}

fn also_listed(facts: &MoveFacts) -> &'static str {
    if facts.synchronous { " and is in the ledger" } else { "" }
}
