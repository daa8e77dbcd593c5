use continuum_domain::{Epoch, PairId};

use super::*;

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn line(step: Step, outcome: StepOutcome, at: Option<&str>, at_ms: i64) -> StepRecord {
    let (region, took_us, detail) = (at.map(region), None, "by operator/alice".to_owned());
    StepRecord { step, outcome, region, at_ms, took_us, detail }
}

fn operation(steps: Vec<StepRecord>) -> Operation {
    let (from, to) = (region("fsn"), region("hel"));
    Operation {
        id: OperationId::new("op-1").unwrap(),
        pair: PairId::new("shop").unwrap(),
        kind: OperationKind::Switchover { from, to, method: Method::Clean },
        at_epoch: Epoch(4),
        actor: "operator/alice".into(),
        reason: "because alice wants it".into(),
        created_ms: 1_000,
        ended_ms: None,
        state: OperationState::Running,
        cancel_requested: false,
        steps,
    }
}

fn place() -> Place {
    Place { trace: TraceId([1; 16]), parent: Some(SpanId([2; 8])), sampled: true }
}

fn names(operation: &Operation) -> Vec<String> {
    settled(operation, place()).into_iter().map(|span| span.name).collect()
}

fn moved() -> Operation {
    use StepOutcome::{Done, Started};
    operation(vec![
        line(Step::Preflight, Done, None, 1_010),
        line(Step::StopWrites, Started, None, 1_020),
        line(Step::StopWrites, Done, Some("fsn"), 1_120),
        line(Step::Commit, Done, Some("hel"), 1_200),
        line(Step::Promote, Done, Some("hel"), 1_300),
    ])
}

#[test]
fn a_step_is_told_when_nothing_of_it_can_change_any_more() {
    let mut operation = moved();
    assert_eq!(names(&operation), ["preflight", "stop-writes", "promote"]);
    let before = settled(&operation, place());
    // The agent's measurement comes late, and is taken over by the line that stands there.
    operation.steps[3].took_us = Some(40_000);
    let after = settled(&operation, place());
    let commit = after.iter().find(|span| span.name == "commit").unwrap();
    assert_eq!((commit.start_ns, commit.end_ns), (1_160_000_000, 1_200_000_000));
    assert!(before.iter().all(|span| after.contains(span)), "what was told has changed");
}

#[test]
fn everything_hangs_below_the_request() {
    let mut operation = moved();
    (operation.state, operation.ended_ms) = (OperationState::Done, Some(2_000));
    let spans = settled(&operation, place());
    let whole = spans.last().unwrap();
    assert_eq!((whole.name.as_str(), whole.parent), ("switchover", place().parent));
    assert_eq!((whole.start_ns, whole.end_ns), (1_000_000_000, 2_000_000_000));
    let steps = &spans[..spans.len() - 1];
    assert!(steps.iter().all(|span| span.parent == Some(whole.context.span)));
    assert!(spans.iter().all(|span| span.context.trace == place().trace));
    let order = Order::SwitchOver { to: region("hel"), deadline_ms: 1 };
    let below = directive_context(&operation, place(), (&region("fsn"), &order));
    let step = steps.iter().find(|span| span.name == "stop-writes").unwrap();
    assert_eq!(below, step.context, "the directive is below the step it asks for");
    assert_eq!((step.start_ns, step.end_ns), (1_020_000_000, 1_120_000_000));
    let ids: std::collections::BTreeSet<_> = spans.iter().map(|span| span.context.span).collect();
    assert_eq!(ids.len(), spans.len(), "a span id is there twice");
}

#[test]
fn a_step_that_nobody_answered_is_there_in_the_end() {
    let mut operation = moved();
    operation.steps.truncate(2);
    assert_eq!(names(&operation), ["preflight"]);
    let reason = "no answer to operator/alice".to_owned();
    (operation.state, operation.ended_ms) = (OperationState::Undone { reason }, Some(2_000));
    let spans = settled(&operation, place());
    let told: Vec<_> =
        spans.iter().map(|span| (span.name.as_str(), span.error.as_deref())).collect();
    let expected = [
        ("preflight", None),
        ("stop-writes", Some("step-unanswered")),
        ("switchover", Some("operation-undone")),
    ];
    assert_eq!(told, expected);
    let order = Order::SwitchOver { to: region("hel"), deadline_ms: 1 };
    let below = directive_context(&operation, place(), (&region("fsn"), &order));
    assert_eq!(below, spans[1].context);
}

#[test]
fn a_step_that_is_ended_twice_has_two_names() {
    let mut operation = moved();
    let reason = "it was slow".to_owned();
    operation.steps.push(line(Step::Promote, StepOutcome::Failed { reason }, Some("hel"), 1_400));
    let spans = settled(&operation, place());
    let promotes: Vec<_> = spans.iter().filter(|span| span.name == "promote").collect();
    assert_eq!(promotes.len(), 2);
    assert_ne!(promotes[0].context.span, promotes[1].context.span);
    assert_eq!(promotes[1].error.as_deref(), Some("step-failed"));
}

#[test]
fn no_person_and_no_words_of_one_are_told() {
    let mut operation = moved();
    let reason = "cancelled by operator/alice".to_owned();
    (operation.state, operation.ended_ms) = (OperationState::Failed { reason }, Some(2_000));
    let told = format!("{:?}", settled(&operation, place()));
    assert!(!told.contains("alice"), "{told}");
}
