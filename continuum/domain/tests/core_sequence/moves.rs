//! Clean moves and failovers, step by step: what is said before it is done, and where a cancel ends.

use super::hot::ordered_hot;
use super::*;

#[test]
fn the_stop_is_journalled_before_it_is_asked_for() {
    let mut world = World::new(switchover(Method::Clean), true);
    let mut order = Vec::new();
    for _ in 0..6 {
        let facts = world.measure();
        for effect in decide(&world.operation, &facts, 0) {
            order.push(match &effect {
                CoreEffect::Journal { step, outcome, .. } => format!("{step:?} {outcome:?}"),
                CoreEffect::Send { to, order } => format!("to {to}: {order:?}"),
                CoreEffect::SetPaused { paused } => format!("paused = {paused}"),
                CoreEffect::Become { state } => format!("{state:?}"),
            });
            world.act(&facts, effect);
        }
    }
    assert_eq!(
        order,
        [
            "Preflight Done",
            "Drain Done",
            "StopWrites Started",
            "to fsn: SwitchOver { to: RegionId(\"hel\"), deadline_ms: 15000 }",
        ]
    );
}

#[test]
fn cancel_before_the_stop_touches_nothing() {
    let mut world = World::new(switchover(Method::Clean), true);
    world.happen(Event::Cancel);
    world.look(None);
    assert!(matches!(world.operation.state, OperationState::Undone { .. }));
    assert!(world.directives.is_empty());
    assert!(lines(&world.operation).is_empty());
}

#[test]
fn cancel_after_the_stop_aborts_and_ends_undone() {
    let mut world = World::new(switchover(Method::Clean), true);
    world.look(None);
    world.happen(Event::Directive { index: 0, again: false });
    world.happen(Event::HolderStep);
    world.happen(Event::Cancel);
    world.now_ms += 1_500;
    world.look(None);
    assert_eq!(world.directives.last(), Some(&(Epoch(5), CoreOrder::AbortSwitchOver)));
    world.happen(Event::Directive { index: 0, again: false });
    world.look(None);
    assert!(
        matches!(world.operation.state, OperationState::Undone { .. }),
        "{:?}",
        world.operation
    );
}

#[test]
fn cancel_after_the_commit_point_comes_too_late() {
    let mut world = World::new(switchover(Method::Clean), true);
    world.look(None);
    world.happen(Event::Directive { index: 0, again: false });
    for _ in 0..3 {
        world.happen(Event::HolderStep);
    }
    world.happen(Event::TargetAcquires);
    world.happen(Event::Cancel);
    world.look(None);
    world.happen(Event::TargetPromotes);
    world.happen(Event::OldHolderRejoins);
    world.run_out();
    assert_eq!(world.operation.state, OperationState::Done);
}

#[test]
fn an_unapproved_failover_is_refused_in_the_end_and_asks_nobody() {
    let mut operation = failover("session-expired");
    operation.steps.push(StepRecord {
        step: Step::Preflight,
        outcome: StepOutcome::Started,
        region: None,
        at_ms: 0,
        took_us: None,
        detail: "waiting".into(),
    });
    assert!(sequence::failover::waits_for_approval(&operation));
    let mut world = World::new(operation, true);
    world.run_out();
    assert!(matches!(world.operation.state, OperationState::Refused { .. }));
    assert!(world.directives.is_empty());
}

#[test]
fn a_register_that_went_back_stops_the_operation() {
    let mut world = World::new(switchover(Method::Clean), true);
    world.register.epoch = Epoch(3);
    world.look(None);
    assert!(matches!(world.operation.state, OperationState::Failed { .. }));
    assert!(world.directives.is_empty());
}

/// The old holder tells what only it had; its link may come back after its stream.
#[test]
fn the_old_holders_word_is_waited_for_but_not_for_long() {
    for told in [true, false] {
        let mut world = ordered_hot();
        world.happen(Event::TargetSends);
        world.happen(Event::TargetAcquires);
        world.happen(Event::TargetPromotes);
        world.happen(Event::OldHolderRejoins);
        let (word, others): (Vec<_>, Vec<_>) = std::mem::take(&mut world.facts)
            .into_iter()
            .partition(|line| line.step == Step::Rejoin);
        others.into_iter().for_each(|line| world.offer(line));
        world.look(None);
        assert_eq!(world.operation.state, OperationState::Moved, "the word of fsn is missing");
        if told {
            word.into_iter().for_each(|line| world.offer(line));
        } else {
            world.now_ms += sequence::TELL_MS_MAX;
        }
        world.look(None);
        assert_eq!(world.operation.state, OperationState::Done);
    }
}
