//! An operation and its steps as spans, made from its journal.
//!
//! Pure: the ids are derived from the operation's name, and a span is told only when nothing of it can
//! change any more. So whichever node leads, and however often it tells, the same span is the same.

use continuum_control_api::link::Order;
use continuum_domain::operation::{
    Method, Operation, OperationKind, OperationState, RejoinMethod, Step, StepOutcome, StepRecord,
};
use continuum_domain::sequence::{kind_label, origin, target};
use continuum_domain::trace::{SpanId, TraceContext, TraceId};
use continuum_domain::{OperationId, RegionId};
use continuum_runtime::traces::{Span, SpanKind, Traces, Value, nanoseconds};
use sha2::{Digest, Sha256};

/// In which trace an operation is told, and below what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    trace: TraceId,
    parent: Option<SpanId>,
    sampled: bool,
}

impl Place {
    /// Below the request that asked for it; in a trace of its own where none did. `None` where nothing
    /// is told.
    pub(crate) fn of(
        traces: &Traces,
        id: &OperationId,
        request: Option<TraceContext>,
    ) -> Option<Self> {
        let trace = TraceId(derived(&["trace", id.as_str()]));
        let sampled = traces.keeps(trace)?;
        Some(match request {
            Some(TraceContext { trace, span, sampled }) => {
                Self { trace, parent: Some(span), sampled }
            }
            None => Self { trace, parent: None, sampled },
        })
    }

    pub(super) fn at(&self, span: SpanId) -> TraceContext {
        TraceContext { trace: self.trace, span, sampled: self.sampled }
    }
}

/// A name that everybody finds who knows the parts.
pub(super) fn derived<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    let digest = hasher.finalize();
    std::array::from_fn(|index| digest[index])
}

pub(super) fn root(id: &OperationId) -> SpanId {
    SpanId(derived(&["operation", id.as_str()]))
}

/// The span of the `ordinal`-th time that a region ended a step.
fn of_step(id: &OperationId, step: Step, region: Option<&RegionId>, ordinal: usize) -> SpanId {
    let region = region.map_or("", RegionId::as_str);
    SpanId(derived(&["step", id.as_str(), &word(step), region, &ordinal.to_string()]))
}

fn word(step: Step) -> String {
    let text = serde_json::to_string(&step).expect("a step is a word");
    text.trim_matches('"').to_owned()
}

/// Below which span an agent carries a directive out: the step that it is to make, which the agent
/// itself ends; the operation, where there is no such step.
pub(crate) fn directive_context(
    operation: &Operation,
    place: Place,
    (to, order): (&RegionId, &Order),
) -> TraceContext {
    let step = match order {
        Order::SwitchOver { .. } | Order::Rest { .. } => Some(Step::StopWrites),
        Order::TakeOver { .. } | Order::FailOver { .. } => Some(Step::Commit),
        Order::KeepOut { .. } => Some(Step::Bar),
        Order::Rejoin { .. } => Some(Step::Rejoin),
        Order::AbortSwitchOver
        | Order::Checkpoint
        | Order::HoldTraffic { .. }
        | Order::ReleaseTraffic => None,
    };
    let step = step.map(|step| of_step(&operation.id, step, Some(to), 0));
    place.at(step.unwrap_or_else(|| root(&operation.id)))
}

/// Every span of an operation of which nothing can change any more.
pub(crate) fn settled(operation: &Operation, place: Place) -> Vec<Span> {
    let lines = operation.steps.iter().enumerate();
    let mut spans: Vec<Span> = lines
        .filter(|(_, line)| ends(line) && (operation.state.is_final() || !may_change(line)))
        .map(|(index, line)| ended_step(operation, place, (index, line)))
        .collect();
    if let Some(ended_ms) = operation.ended_ms.filter(|_| operation.state.is_final()) {
        spans.extend(unanswered(operation, place, ended_ms));
        spans.push(whole(operation, place, ended_ms));
    }
    spans
}

fn ends(line: &StepRecord) -> bool {
    line.outcome != StepOutcome::Started
}

/// The acquisition leaves a line that takes over the agent's measurement when that comes.
fn may_change(line: &StepRecord) -> bool {
    line.step == Step::Commit && line.outcome == StepOutcome::Done && line.took_us.is_none()
}

fn ended_step(operation: &Operation, place: Place, (index, line): (usize, &StepRecord)) -> Span {
    let before = &operation.steps[..index];
    let same = |old: &&StepRecord| old.step == line.step && old.region == line.region && ends(old);
    let ordinal = before.iter().filter(same).count();
    let end_ns = nanoseconds(line.at_ms);
    let announced = before.iter().rev().filter(|old| old.step == line.step);
    let announced = announced.take_while(|old| !ends(old)).last();
    let start_ns = match (line.took_us, announced) {
        (Some(took_us), _) => end_ns.saturating_sub(took_us.saturating_mul(1_000)),
        (None, Some(announced)) => nanoseconds(announced.at_ms).min(end_ns),
        (None, None) if line.step == Step::Preflight => {
            nanoseconds(operation.created_ms).min(end_ns)
        }
        (None, None) => end_ns,
    };
    let error = match line.outcome {
        StepOutcome::Started | StepOutcome::Done => None,
        StepOutcome::Failed { .. } => Some("step-failed"),
        StepOutcome::Undone => Some("step-undone"),
    };
    let id = of_step(&operation.id, line.step, line.region.as_ref(), ordinal);
    step_span(operation, place.at(id), (line.step, line.region.as_ref()), (start_ns, end_ns), error)
}

/// The step that a directive asked for and nobody ended, so that what an agent told is not below nothing.
fn unanswered(operation: &Operation, place: Place, ended_ms: i64) -> Option<Span> {
    let (step, asked) = match &operation.kind {
        OperationKind::Switchover { from, method: Method::Clean, .. }
        | OperationKind::Pause { from } => (Step::StopWrites, from),
        OperationKind::Switchover { to, method: Method::Hot, .. }
        | OperationKind::Failover { to, .. }
        | OperationKind::Resume { to } => (Step::Commit, to),
        OperationKind::Rejoin { region, .. } => (Step::Rejoin, region),
    };
    let announced = |line: &&StepRecord| line.step == step && line.region.is_none();
    let announced = operation.steps.iter().find(announced)?;
    let answered =
        |line: &StepRecord| line.step == step && line.region.as_ref() == Some(asked) && ends(line);
    if operation.steps.iter().any(answered) {
        return None;
    }
    let error = (operation.state != OperationState::Done).then_some("step-unanswered");
    let id = of_step(&operation.id, step, Some(asked), 0);
    let times = (nanoseconds(announced.at_ms), nanoseconds(ended_ms));
    Some(step_span(operation, place.at(id), (step, Some(asked)), times, error))
}

fn step_span(
    operation: &Operation,
    context: TraceContext,
    (step, region): (Step, Option<&RegionId>),
    (start_ns, end_ns): (u64, u64),
    error: Option<&str>,
) -> Span {
    let step = word(step);
    let mut attributes = about(operation);
    attributes.push(("continuum.step", step.as_str().into()));
    if let Some(region) = region {
        attributes.push(("continuum.region", region.as_str().into()));
    }
    Span {
        context,
        parent: Some(root(&operation.id)),
        name: step,
        kind: SpanKind::Internal,
        start_ns,
        end_ns,
        attributes,
        error: error.map(str::to_owned),
    }
}

fn whole(operation: &Operation, place: Place, ended_ms: i64) -> Span {
    let mut attributes = about(operation);
    attributes.push(("continuum.to", target(operation).as_str().into()));
    if let Some(from) = origin(operation) {
        attributes.push(("continuum.from", from.as_str().into()));
    }
    match &operation.kind {
        OperationKind::Switchover { method, .. } => {
            let method = match method {
                Method::Clean => "clean",
                Method::Hot => "hot",
            };
            attributes.push(("continuum.method", method.into()));
        }
        OperationKind::Failover { trigger, autonomous, .. } => {
            attributes.push(("continuum.trigger", trigger.as_str().into()));
            attributes.push(("continuum.autonomous", Value::Truth(*autonomous)));
        }
        OperationKind::Rejoin { method, .. } => {
            let method = match method {
                RejoinMethod::Retry => "retry",
                RejoinMethod::Clone => "clone",
            };
            attributes.push(("continuum.method", method.into()));
        }
        OperationKind::Pause { .. } | OperationKind::Resume { .. } => {}
    }
    let error = match operation.state {
        OperationState::Running | OperationState::Moved | OperationState::Done => None,
        OperationState::Undone { .. } => Some("operation-undone"),
        OperationState::Refused { .. } => Some("operation-refused"),
        OperationState::Failed { .. } => Some("operation-failed"),
    };
    Span {
        context: place.at(root(&operation.id)),
        parent: place.parent,
        name: kind_label(&operation.kind).to_owned(),
        kind: SpanKind::Internal,
        start_ns: nanoseconds(operation.created_ms),
        end_ns: nanoseconds(ended_ms),
        attributes,
        error: error.map(str::to_owned),
    }
}

/// What every span of an operation says. Who asked, and the words of people, are not among it.
fn about(operation: &Operation) -> Vec<(&'static str, Value)> {
    let epoch = i64::try_from(operation.at_epoch.0).unwrap_or(i64::MAX);
    vec![
        ("continuum.pair", operation.pair.as_str().into()),
        ("continuum.operation", operation.id.as_str().into()),
        ("continuum.epoch", Value::Number(epoch)),
        ("db.system.name", "postgresql".into()),
    ]
}

#[cfg(test)]
#[path = "operation_tests.rs"]
mod tests;
