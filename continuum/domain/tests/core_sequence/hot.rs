//! A hot move: the target is asked, and the holder goes on until the target has it.

use super::*;

/// A hot move that was ordered, and told so.
pub(super) fn ordered_hot() -> World {
    let mut world = World::new(switchover(Method::Hot), true);
    world.look(None);
    world.happen(Event::Directive { index: 0, again: false });
    assert!(world.ordered);
    world
}

#[test]
fn a_hot_move_is_journalled_before_the_target_is_asked_and_stops_nobody() {
    let mut world = World::new(switchover(Method::Hot), true);
    world.look(None);
    let told = lines(&world.operation);
    assert_eq!(
        told,
        [
            (Step::Preflight, StepOutcome::Done),
            (Step::Drain, StepOutcome::Done),
            (Step::Commit, StepOutcome::Started),
        ]
    );
    assert_eq!(world.directives, [(Epoch(5), CoreOrder::TakeOver { deadline_ms: 15_000 })]);
    // Repeated with what is left of the time, until the target's first word.
    world.now_ms += 1_000;
    world.look(None);
    let last = world.directives.last().cloned();
    assert_eq!(last, Some((Epoch(5), CoreOrder::TakeOver { deadline_ms: 14_000 })));
    world.happen(Event::Directive { index: 0, again: false });
    world.happen(Event::Fact { index: 0, again: false });
    world.now_ms += 1_000;
    world.look(None);
    assert_eq!(world.orders_sent, 2, "the target is at work");
}

#[test]
fn a_cancelled_hot_move_aborts_at_the_target_and_ends_undone() {
    let mut world = ordered_hot();
    world.happen(Event::Cancel);
    world.now_ms += 1_500;
    world.look(None);
    assert_eq!(world.directives.last(), Some(&(Epoch(5), CoreOrder::AbortSwitchOver)));
    world.happen(Event::Directive { index: 0, again: false });
    while !world.facts.is_empty() {
        world.happen(Event::Fact { index: 0, again: false });
    }
    world.look(None);
    let state = &world.operation.state;
    assert!(matches!(state, OperationState::Undone { .. }), "{state:?}");
    assert!(world.from_writes, "the primary was never stopped");
}

#[test]
fn a_hot_move_that_the_target_gave_up_is_undone_with_its_reason() {
    let mut world = ordered_hot();
    world.happen(Event::TargetGivesUp);
    while !world.facts.is_empty() {
        world.happen(Event::Fact { index: 0, again: false });
    }
    world.look(None);
    let state = &world.operation.state;
    assert!(
        matches!(state, OperationState::Undone { reason } if reason.contains("by the deadline")),
        "{state:?}"
    );
}

#[test]
fn a_cancel_after_a_hot_commit_comes_too_late() {
    let mut world = ordered_hot();
    world.happen(Event::TargetSends);
    world.happen(Event::TargetAcquires);
    world.happen(Event::Cancel);
    world.look(None);
    world.happen(Event::TargetPromotes);
    world.happen(Event::OldHolderRejoins);
    world.run_out();
    assert_eq!(world.operation.state, OperationState::Done);
}

#[test]
fn a_target_that_is_never_heard_of_is_asked_until_the_deadline_and_no_later() {
    let mut world = World::new(switchover(Method::Hot), true);
    for _ in 0..100 {
        world.look(None);
        world.now_ms += 1_000;
    }
    let late = world.directives.iter().filter(|(_, order)| *order == CoreOrder::AbortSwitchOver);
    assert!(late.count() > 0, "taken back after the deadline");
    assert!(world.orders_sent <= 15, "{}", world.orders_sent);
    let state = &world.operation.state;
    assert!(matches!(state, OperationState::Undone { .. }), "{state:?}");
}
