//! Before writes stop: the agents hold clients back at the traffic switches they drive.
//!
//! What an agent says of it comes by its journal, one line for all its switches of the pair. A hold
//! ends by itself, so that neither a lost answer nor a lost core leaves clients waiting.

use std::collections::BTreeSet;

use super::switchover::Route;
use super::{CoreEffect, CoreOrder, MoveFacts, RESEND_MS, core_line, journal, undone, was_moved};
use crate::ids::RegionId;
use crate::operation::{Method, Operation, OperationState, Step, StepOutcome, StepRecord};
use crate::traffic::DrainFailure;

/// An agent that has not said by so long after the time for draining how it went says nothing.
pub const DRAIN_WORD_MS: i64 = 500;
/// The old holder's checkpoint, which makes its stop short, is waited for no longer than this; clients
/// are served meanwhile.
pub const CHECKPOINT_MS_MAX: i64 = 60_000;

/// What is to be done before anything of the pair is touched; `None` when it is done.
pub(super) fn decide(
    operation: &Operation,
    route: Route<'_>,
    facts: &MoveFacts,
    now_ms: i64,
) -> Option<Vec<CoreEffect>> {
    if core_line(operation, Step::Drain, &StepOutcome::Done).is_some() {
        return None;
    }
    let Some(began_ms) = core_line(operation, Step::Drain, &StepOutcome::Started) else {
        return Some(if facts.switches.is_empty() {
            let detail = "no traffic switches are configured".to_owned();
            journal(Step::Drain, StepOutcome::Done, detail)
        } else if facts.drain_ms == 0 {
            let detail = "the spec says drain = 0: no switch is asked".to_owned();
            journal(Step::Drain, StepOutcome::Done, detail)
        } else if let Some(effects) = checkpoint(operation, route, facts, now_ms) {
            effects
        } else {
            journal(Step::Drain, StepOutcome::Started, asking(&facts.switches))
        });
    };
    let asked = asked(operation, facts);
    let silent: Vec<&RegionId> =
        asked.iter().filter(|region| word(operation, region).is_none()).collect();
    let end_ms = began_ms.saturating_add(facts.drain_ms).saturating_add(DRAIN_WORD_MS);
    if !silent.is_empty() && now_ms < end_ms {
        return Some(ask(facts, &silent, began_ms, now_ms));
    }
    let told = asked.iter().filter_map(|region| match word(operation, region)? {
        StepOutcome::Failed { reason } => Some(format!("{region}: {reason}")),
        _ => None,
    });
    let unheard = silent.iter().map(|region| format!("{region}: its agent did not say"));
    let problems: Vec<String> = told.chain(unheard).collect();
    if problems.is_empty() {
        let detail = "clients wait, and no transaction is open".to_owned();
        return Some(journal(Step::Drain, StepOutcome::Done, detail));
    }
    let problems = problems.join("; ");
    Some(match facts.drain_failure {
        DrainFailure::Proceed => {
            let detail = format!("not drained, and the move goes on: {problems}");
            journal(Step::Drain, StepOutcome::Done, detail)
        }
        DrainFailure::Undo => undone(format!(
            "not drained in time, and the spec says drain_failure = \"undo\": {problems}; nothing \
             was touched; end what is open there, or raise drain, and ask again"
        )),
    })
}

/// A checkpoint while clients are still served: the stop that follows writes little, and they wait the
/// less. A hot move stops nobody before it is done.
fn checkpoint(
    operation: &Operation,
    route: Route<'_>,
    facts: &MoveFacts,
    now_ms: i64,
) -> Option<Vec<CoreEffect>> {
    let taken = operation.steps.iter().any(|line| {
        line.step == Step::Drain
            && line.outcome == StepOutcome::Started
            && line.region.as_ref() == Some(route.from)
    });
    let since_ms = core_line(operation, Step::Preflight, &StepOutcome::Done).unwrap_or(now_ms);
    let late = now_ms >= since_ms.saturating_add(CHECKPOINT_MS_MAX);
    if route.method != Method::Clean || taken || late {
        return None;
    }
    if facts.checkpoint_age_ms.is_some_and(|age| age < RESEND_MS) {
        return Some(Vec::new());
    }
    let order = CoreOrder::Checkpoint;
    Some(vec![CoreEffect::Send { to: route.from.clone(), order }])
}

/// Asks those who have not said anything yet. They hold no longer than a move takes that ends by the
/// deadline of its holder.
fn ask(facts: &MoveFacts, silent: &[&RegionId], began_ms: i64, now_ms: i64) -> Vec<CoreEffect> {
    if facts.drain_age_ms.is_some_and(|age| age < RESEND_MS) {
        return Vec::new();
    }
    let drain_ms = began_ms.saturating_add(facts.drain_ms).saturating_sub(now_ms);
    let drain_ms = u64::try_from(drain_ms).unwrap_or(0);
    let deadline_ms = u64::try_from(facts.switchover_deadline_ms).unwrap_or(0);
    let hold_ms = drain_ms.saturating_add(deadline_ms);
    let order = CoreOrder::HoldTraffic { drain_ms, hold_ms };
    let send =
        |region: &&RegionId| CoreEffect::Send { to: (*region).clone(), order: order.clone() };
    silent.iter().map(send).collect()
}

/// An operation that ends without a move has the switches let clients through again, before it ends.
pub(super) fn let_go(
    operation: &Operation,
    facts: &MoveFacts,
    effects: Vec<CoreEffect>,
) -> Vec<CoreEffect> {
    let ends = |effect: &CoreEffect| {
        matches!(
            effect,
            CoreEffect::Become {
                state: OperationState::Undone { .. }
                    | OperationState::Refused { .. }
                    | OperationState::Failed { .. },
            }
        )
    };
    let held = core_line(operation, Step::Drain, &StepOutcome::Started).is_some();
    if !held || was_moved(operation) || !effects.iter().any(ends) {
        return effects;
    }
    let release = |region: &RegionId| CoreEffect::Send {
        to: region.clone(),
        order: CoreOrder::ReleaseTraffic,
    };
    asked(operation, facts).iter().map(release).chain(effects).collect()
}

/// The line that announces the hold. It is read again ([`asked`]), by later leaders too.
const ASKING: (&str, &str) = ("asking ", " to hold clients back");

fn asking(regions: &BTreeSet<RegionId>) -> String {
    let regions = regions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("{}{regions}{}", ASKING.0, ASKING.1)
}

/// Whose switches hold clients, or may: those that the journal says were asked, and those that are known
/// now. A new leader has heard of none yet, and an agent that fell silent has not let go of its clients.
fn asked(operation: &Operation, facts: &MoveFacts) -> BTreeSet<RegionId> {
    let ours = |line: &&StepRecord| line.region.is_none() && line.step == Step::Drain;
    let line = operation
        .steps
        .iter()
        .filter(ours)
        .find_map(|line| line.detail.strip_prefix(ASKING.0)?.strip_suffix(ASKING.1));
    let names = line.into_iter().flat_map(|names| names.split(", "));
    let named = names.filter_map(|name| RegionId::new(name).ok());
    named.chain(facts.switches.iter().cloned()).collect()
}

/// What a region's agent said last of how it went.
fn word<'a>(operation: &'a Operation, region: &RegionId) -> Option<&'a StepOutcome> {
    let lines = operation.steps.iter().rev();
    let mut said =
        lines.filter(|line| line.step == Step::Drain && line.region.as_ref() == Some(region));
    let line = said.find(|line| line.outcome != StepOutcome::Started)?;
    Some(&line.outcome)
}
