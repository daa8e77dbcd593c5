//! Operations, their journals and plans.

use continuum_control_api::rest::Plan;
use continuum_domain::operation::{
    Method, Operation, OperationKind, OperationState, RejoinMethod, Step, StepOutcome, StepRecord,
};

use super::style::{Style, Tone};
use super::text::*;

/// What it is: `switchover fsn -> hel`.
pub fn kind(operation: &Operation) -> String {
    match &operation.kind {
        OperationKind::Switchover { from, to, method } => {
            let hot = if *method == Method::Hot { ", hot" } else { "" };
            format!("switchover {from} -> {to}{hot}")
        }
        OperationKind::Failover { from, to, .. } => {
            format!("failover {} -> {to}", or_unknown(from.as_ref()))
        }
        OperationKind::Pause { from } => format!("pause in {from}"),
        OperationKind::Resume { to } => format!("resume in {to}"),
        OperationKind::Rejoin { region, method: RejoinMethod::Retry } => {
            format!("rejoin of {region}, trying again")
        }
        OperationKind::Rejoin { region, method: RejoinMethod::Clone } => {
            format!("rejoin of {region}, by a fresh copy")
        }
    }
}

/// Where it stands, in a word.
pub fn state(state: &OperationState) -> &'static str {
    match state {
        OperationState::Running => "running",
        OperationState::Moved => "moved",
        OperationState::Done => "done",
        OperationState::Undone { .. } => "undone",
        OperationState::Refused { .. } => "refused",
        OperationState::Failed { .. } => "failed",
    }
}

/// Why it stands there, where there is a reason.
pub fn reasons(state: &OperationState) -> Vec<String> {
    match state {
        OperationState::Undone { reason } | OperationState::Failed { reason } => {
            vec![one_line(reason)]
        }
        OperationState::Refused { reasons } => reasons.iter().map(|text| one_line(text)).collect(),
        _ => Vec::new(),
    }
}

/// The word for a step.
pub fn step(step: Step) -> &'static str {
    match step {
        Step::Preflight => "preflight",
        Step::Drain => "drain",
        Step::Corroborate => "corroborate",
        Step::Detect => "detect",
        Step::StopWrites => "stop-writes",
        Step::ProveCatchUp => "prove-catch-up",
        Step::HandOver => "hand-over",
        Step::Commit => "commit",
        Step::Promote => "promote",
        Step::Traffic => "traffic",
        Step::Rejoin => "rejoin",
        Step::RestoreLedger => "restore-ledger",
        Step::Verify => "verify",
        Step::Bar => "bar",
    }
}

fn outcome(outcome: &StepOutcome) -> String {
    match outcome {
        StepOutcome::Started => "started".into(),
        StepOutcome::Done => "done".into(),
        StepOutcome::Failed { reason } => format!("failed: {}", one_line(reason)),
        StepOutcome::Undone => "undone".into(),
    }
}

fn since(operation: &Operation, now_ms: i64) -> Option<u64> {
    between(operation.created_ms, operation.ended_ms.unwrap_or(now_ms))
}

/// One line on an operation under way.
pub fn running_line(operation: &Operation, now_ms: i64) -> String {
    let at = operation.steps.last().map_or("no step yet", |record| step(record.step));
    format!(
        "operation {}: {}, {}, {at}, started {}",
        operation.id,
        kind(operation),
        state(&operation.state),
        since(operation, now_ms).map_or_else(|| UNKNOWN.into(), ago),
    )
}

/// `operation list`.
pub fn listing(operations: &[Operation], now_ms: i64, style: Style) -> String {
    if operations.is_empty() {
        return "no operations\n".into();
    }
    let header = ["OPERATION", "PAIR", "WHAT", "STATE", "EPOCH", "STARTED", "TOOK", "BY", "REASON"];
    let rows = operations.iter().map(|operation| {
        let took = match operation.ended_ms {
            Some(_) => or_unknown(since(operation, now_ms).map(duration)),
            None => NONE.into(),
        };
        [
            operation.id.to_string(),
            operation.pair.to_string(),
            kind(operation),
            state(&operation.state).into(),
            operation.at_epoch.to_string(),
            time(operation.created_ms),
            took,
            operation.actor.clone(),
            or_none(&operation.reason),
        ]
    });
    style.words(&table(header, rows))
}

/// `operation show`.
pub fn page(operation: &Operation, now_ms: i64, style: Style) -> String {
    let mut out = format!(
        "{}  {} of {}, {}, from epoch {}, asked by {}, {}\n",
        style.paint(Tone::Strong, operation.id.as_str()),
        kind(operation),
        operation.pair,
        style.words(state(&operation.state)),
        operation.at_epoch,
        one_line(&operation.actor),
        time(operation.created_ms),
    );
    if let OperationKind::Failover { trigger, autonomous, allow_data_loss, .. } = &operation.kind {
        let alone = if *autonomous { ", decided by the agent alone" } else { "" };
        let loss = if *allow_data_loss { ", a loss was approved" } else { "" };
        out.push_str(&format!("  trigger: {}{alone}{loss}\n", one_line(trigger)));
    }
    if !operation.reason.is_empty() {
        out.push_str(&format!("  reason: {}\n", one_line(&operation.reason)));
    }
    if operation.cancel_requested {
        out.push_str("  cancel was asked for\n");
    }
    let rows = operation.steps.iter().map(|record| {
        [
            at(operation, record),
            step(record.step).into(),
            record.region.as_ref().map_or_else(|| "core".into(), ToString::to_string),
            outcome(&record.outcome),
            record.took_us.map_or_else(|| NONE.into(), took),
            or_none(&record.detail),
        ]
    });
    let steps = table(["AT", "STEP", "WHERE", "OUTCOME", "TOOK", "DETAIL"], rows);
    out.push_str(&indent(&style.words(&steps)));
    out.push_str(&summary(operation, now_ms, style));
    out
}

fn at(operation: &Operation, record: &StepRecord) -> String {
    between(operation.created_ms, record.at_ms)
        .map_or_else(|| UNKNOWN.into(), |ms| format!("+{ms} ms"))
}

/// One line of progress, as `--wait` and `watch` print it.
pub fn progress(operation: &Operation, record: &StepRecord, style: Style) -> String {
    let region = record.region.as_ref().map_or_else(|| "core".into(), ToString::to_string);
    let took = record.took_us.map(took).unwrap_or_default();
    let line = format!(
        "{:>10}  {:<14}  {region:<8}  {:<8}  {took:>8}  {}",
        at(operation, record),
        step(record.step),
        outcome(&record.outcome),
        one_line(&record.detail)
    );
    style.words(line.trim_end())
}

/// The last line: how it ended and how long it took, or that it goes on.
pub fn summary(operation: &Operation, now_ms: i64, style: Style) -> String {
    let took = or_unknown(since(operation, now_ms).map(|ms| format!("{ms} ms")));
    let (what, pair) = (kind(operation), &operation.pair);
    let reasons = reasons(&operation.state).join("; ");
    let text = match &operation.state {
        OperationState::Running => format!("{what} of {pair} is running, {took} so far"),
        OperationState::Moved => {
            format!("{what} of {pair}: moved; redundancy is being restored, {took} so far")
        }
        OperationState::Done => format!("{what} of {pair}: done in {took}"),
        OperationState::Undone { .. } => {
            format!("{what} of {pair}: undone after {took}: {reasons}")
        }
        OperationState::Refused { .. } => format!("{what} of {pair}: refused: {reasons}"),
        OperationState::Failed { .. } => {
            format!("{what} of {pair}: failed after {took}: {reasons}")
        }
    };
    let tone = match &operation.state {
        OperationState::Done => Tone::Good,
        OperationState::Running | OperationState::Moved => Tone::Warn,
        _ => Tone::Bad,
    };
    format!("{}\n", style.paint(tone, &text))
}

/// A dry run.
pub fn plan(plan: &Plan, style: Style) -> String {
    let route = match &plan.from {
        // A pause leads nowhere.
        Some(from) if *from == plan.to => from.to_string(),
        from => format!("{} -> {}", or_unknown(from.as_ref()), plan.to),
    };
    let verdict = if plan.allowed {
        style.paint(Tone::Good, "would be started")
    } else {
        style.paint(Tone::Bad, "would be refused")
    };
    let how = match plan.method {
        Some(Method::Hot) => ", hot",
        Some(Method::Clean) => ", clean",
        None => "",
    };
    let mut out = format!("{route}{how}: {verdict}; nothing was touched\n");
    for reason in &plan.hot_refusals {
        out.push_str(&format!("  not hot: {reason}\n"));
    }
    for refusal in &plan.refusals {
        out.push_str(&format!("  - {}\n", one_line(refusal)));
    }
    if !plan.candidates.is_empty() {
        out.push_str("candidates:\n");
    }
    for (region, against) in &plan.candidates {
        // Reasons against the target stand among the refusals of the move already.
        let is_told = |reason: &String| plan.refusals.iter().any(|told| told.contains(reason));
        let verdict = match against.as_slice() {
            [] => "could take over".into(),
            told if told.iter().all(is_told) => "refused, for the reasons above".into(),
            [reason] => one_line(reason),
            several => format!("{} reasons against it", several.len()),
        };
        out.push_str(&format!("  {region}: {verdict}\n"));
        if against.len() > 1 && !against.iter().all(is_told) {
            for reason in against {
                out.push_str(&format!("    - {}\n", one_line(reason)));
            }
        }
    }
    out.push_str("steps:\n");
    for (number, step) in plan.steps.iter().enumerate() {
        out.push_str(&format!("  {}. {}\n", number + 1, one_line(step)));
    }
    out
}
