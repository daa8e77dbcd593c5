//! Pausing a pair and resuming it.
//!
//! ```text
//! pause:  preflight -> bar (paused = true) -> stop-writes (the holder stops and lets go) -> resting
//! resume: preflight -> bar (paused = false) -> commit (who rested it acquires) -> as any move
//! ```
//!
//! `paused` is the one thing that the core writes into a register (R21). Whether the pair rests is what
//! the register says; what the members say of their PostgreSQL is waited for, not for ever.

use super::{
    CoreEffect, CoreOrder, MoveFacts, ORDER_MS_MAX, Position, RETURN_MS_MAX, core_line, due,
    failed, has, journal, preflight, texts, undone,
};
use crate::ids::RegionId;
use crate::mutation::{Bug, planted};
use crate::operation::{Operation, OperationState, Step, StepOutcome};
use crate::record::PairRecord;

/// The holder must have stopped and let go within this time; by then it goes on by itself.
pub const REST_MS_MAX: i64 = 60_000;
/// An order to rest counts for so long at the agent.
pub const REST_ORDER_MS: u64 = 20_000;
/// How long the members' word is waited for that their PostgreSQL stands still.
pub const STILL_MS_MAX: i64 = 30_000;

/// Before, during and after the stop of `from`.
pub(super) fn pause(
    operation: &Operation,
    from: &RegionId,
    facts: &MoveFacts,
    position: &Position,
    now_ms: i64,
) -> Vec<CoreEffect> {
    let Some(record) = &facts.register else { return Vec::new() };
    if record.resting().is_some() && *position != Position::Before {
        return resting(operation, record, facts, now_ms);
    }
    let Some(barred_ms) = core_line(operation, Step::Bar, &StepOutcome::Started) else {
        return match position {
            Position::Before if operation.cancel_requested => {
                undone(texts::CANCELLED_UNTOUCHED.into())
            }
            Position::Before => preflight(operation, facts, now_ms).unwrap_or_else(|| {
                let detail = "nobody takes over from here on".to_owned();
                journal(Step::Bar, StepOutcome::Started, detail)
            }),
            _ => undone(texts::moved_on_untouched(facts.register.as_ref())),
        };
    };
    let late = now_ms >= barred_ms.saturating_add(REST_MS_MAX);
    if *position != Position::Before || operation.cancel_requested || late {
        return take_back(operation, (from, record), facts, position, (now_ms, barred_ms, late));
    }
    if !record.paused {
        return set_paused(facts, true);
    }
    if core_line(operation, Step::StopWrites, &StepOutcome::Started).is_none() {
        let detail = format!("asking {from} to stop and let go of the lease");
        return journal(Step::StopWrites, StepOutcome::Started, detail);
    }
    if !due(facts) {
        return Vec::new();
    }
    let order = CoreOrder::Rest { deadline_ms: REST_ORDER_MS };
    vec![CoreEffect::Send { to: from.clone(), order }]
}

/// The pair is not to rest after all: challengers are let in again, and the holder goes on.
fn take_back(
    operation: &Operation,
    (from, record): (&RegionId, &PairRecord),
    facts: &MoveFacts,
    position: &Position,
    (now_ms, barred_ms, late): (i64, i64, bool),
) -> Vec<CoreEffect> {
    // R9: a write that bars and was not answered may land yet, unless the version it expects is used up.
    let may_be_barred_yet =
        *position == Position::Before && !facts.unbarred && !planted(Bug::BarUnresolved);
    if record.paused || may_be_barred_yet {
        return set_paused(facts, false);
    }
    match (&record.holder, position) {
        (Some(holder), Position::Before) if facts.from_writable == Some(true) => {
            undone(texts::not_rested(holder, operation.cancel_requested, late))
        }
        (Some(_), Position::Before) => {
            let end_ms = barred_ms.saturating_add(REST_MS_MAX).saturating_add(RETURN_MS_MAX);
            if now_ms < end_ms {
                return Vec::new();
            }
            failed(texts::neither_rested_nor_back(from))
        }
        (Some(holder), _) => undone(texts::held_instead(holder, record.epoch)),
        (None, _) => failed(texts::vacant(from, record.epoch)),
    }
}

fn resting(
    operation: &Operation,
    record: &PairRecord,
    facts: &MoveFacts,
    now_ms: i64,
) -> Vec<CoreEffect> {
    let Some(seen_ms) = core_line(operation, Step::Verify, &StepOutcome::Started) else {
        let detail = format!("the register says under epoch {} that the pair rests", record.epoch);
        return journal(Step::Verify, StepOutcome::Started, detail);
    };
    if has(operation, Step::Verify, &StepOutcome::Done) {
        return vec![CoreEffect::Become { state: OperationState::Done }];
    }
    let unheard = match &facts.not_still {
        Some(regions) if regions.is_empty() => {
            let detail = "PostgreSQL is stopped in every region".to_owned();
            return journal(Step::Verify, StepOutcome::Done, detail);
        }
        Some(regions) => regions.iter().map(RegionId::as_str).collect::<Vec<_>>().join(", "),
        None => "any region".to_owned(),
    };
    if now_ms < seen_ms.saturating_add(STILL_MS_MAX) {
        return Vec::new();
    }
    let detail =
        format!("nobody can write; that PostgreSQL is stopped was not heard from {unheard}");
    journal(Step::Verify, StepOutcome::Done, detail)
}

/// The register still shows that nobody holds the pair.
pub(super) fn resume(
    operation: &Operation,
    to: &RegionId,
    facts: &MoveFacts,
    position: &Position,
    now_ms: i64,
) -> Vec<CoreEffect> {
    let Some(record) = &facts.register else { return Vec::new() };
    if core_line(operation, Step::Bar, &StepOutcome::Started).is_none() {
        return match position {
            Position::Before if operation.cancel_requested => {
                undone(texts::CANCELLED_UNTOUCHED.into())
            }
            Position::Before => preflight(operation, facts, now_ms).unwrap_or_else(|| {
                let detail = "the pause is taken back".to_owned();
                journal(Step::Bar, StepOutcome::Started, detail)
            }),
            _ => undone(texts::moved_on_untouched(facts.register.as_ref())),
        };
    }
    if let Position::Elsewhere(epoch, Some(third)) = position {
        let detail = format!("{third} resumed the pair instead, under epoch {epoch}");
        return finished(operation, detail);
    }
    if record.paused && !planted(Bug::ResumedPaused) {
        return set_paused(facts, false);
    }
    if let (Some(holder), Position::Before) = (&record.holder, position) {
        // A pause that never came to its end, or was written by hand.
        return finished(operation, format!("{holder} holds the pair; others may take over again"));
    }
    let Some(asked_ms) = core_line(operation, Step::Commit, &StepOutcome::Started) else {
        return journal(Step::Commit, StepOutcome::Started, format!("asking {to} to resume"));
    };
    if now_ms >= asked_ms.saturating_add(ORDER_MS_MAX) {
        return failed(texts::not_resumed(to));
    }
    if !due(facts) {
        return Vec::new();
    }
    let order = CoreOrder::FailOver { allow_data_loss: false };
    vec![CoreEffect::Send { to: to.clone(), order }]
}

/// The pair is back, which is what was asked for.
fn finished(operation: &Operation, detail: String) -> Vec<CoreEffect> {
    if has(operation, Step::Verify, &StepOutcome::Done) {
        return vec![CoreEffect::Become { state: OperationState::Done }];
    }
    journal(Step::Verify, StepOutcome::Done, detail)
}

fn set_paused(facts: &MoveFacts, paused: bool) -> Vec<CoreEffect> {
    let due = facts.bar_age_ms.is_none_or(|age| age >= super::RESEND_MS);
    if due { vec![CoreEffect::SetPaused { paused }] } else { Vec::new() }
}
