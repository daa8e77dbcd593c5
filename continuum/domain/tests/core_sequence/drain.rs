//! Clients are held back at poolers while a pair moves, and let through whatever comes of it.

use super::*;

/// A switchover whose old holder's agent drives a pooler, asked to hold clients back.
fn draining(method: Method) -> World {
    let mut world = World::new(switchover(method), true);
    world.switches.insert(region("fsn"));
    world.look(None);
    if method == Method::Clean {
        assert_eq!(orders(&world), [CoreOrder::Checkpoint], "while clients are still served");
        world.happen(Event::Directive { index: 0, again: false });
        world.happen(Event::Fact { index: 0, again: false });
        world.look(None);
    }
    world
}

fn orders(world: &World) -> Vec<CoreOrder> {
    world.directives.iter().map(|(_, order)| order.clone()).collect()
}

#[test]
fn clients_are_held_back_before_writes_stop_and_the_order_is_repeated_until_an_answer() {
    for method in [Method::Clean, Method::Hot] {
        let mut world = draining(method);
        let hold = |drain_ms| CoreOrder::HoldTraffic { drain_ms, hold_ms: drain_ms + 15_000 };
        assert_eq!(orders(&world), [hold(2_000)]);
        let (step, outcome) = lines(&world.operation).pop().expect("lines");
        assert_eq!((step, outcome), (Step::Drain, StepOutcome::Started));
        world.now_ms += 400;
        world.look(None);
        assert_eq!(orders(&world), [hold(2_000)], "not asked twice a moment apart");
        world.now_ms += 600;
        world.look(None);
        assert_eq!(orders(&world), [hold(2_000), hold(1_000)]);
        world.happen(Event::Directive { index: 0, again: false });
        world.happen(Event::Fact { index: 0, again: false });
        world.look(None);
        let last = world.operation.steps.last().expect("lines");
        assert_eq!(last.outcome, StepOutcome::Started, "{last:?}");
        assert!(sequence::announced(&world.operation), "and then the move begins at once");
        assert_eq!(world.orders_sent, 1);
    }
}

#[test]
fn a_pooler_that_is_not_drained_blocks_a_move_only_where_the_spec_says_so() {
    for (failure, heard) in [
        (DrainFailure::Proceed, true),
        (DrainFailure::Proceed, false),
        (DrainFailure::Undo, true),
        (DrainFailure::Undo, false),
    ] {
        let mut world = draining(Method::Clean);
        world.drain_failure = failure;
        if heard {
            world.not_drained("fsn");
            world.happen(Event::Fact { index: 0, again: false });
        } else {
            world.now_ms += 2_500;
        }
        world.look(None);
        let why = if heard { "a transaction is open" } else { "fsn: its agent did not say" };
        if failure == DrainFailure::Proceed {
            assert!(sequence::announced(&world.operation), "{:?}", world.operation);
            assert!(world.operation.steps.iter().any(|line| line.detail.contains(why)));
        } else {
            let state = &world.operation.state;
            assert!(
                matches!(state, OperationState::Undone { reason } if reason.contains(why)),
                "{state:?}"
            );
            assert_eq!(world.orders_sent, 0, "nothing was touched");
            assert_eq!(orders(&world).last(), Some(&CoreOrder::ReleaseTraffic));
        }
    }
}

/// A new leader has heard of no switch yet, and an agent may fall silent: who was asked and has not
/// said is no less unknown for it.
#[test]
fn who_was_asked_to_hold_clients_and_is_not_heard_of_any_more_does_not_count_as_drained() {
    let mut world = draining(Method::Clean);
    world.switches.clear();
    world.look(None);
    let says = |world: &World, text: &str| {
        world.operation.steps.iter().any(|line| line.detail.contains(text))
    };
    assert!(!sequence::announced(&world.operation), "{:?}", world.operation);
    world.now_ms += 2_500;
    world.look(None);
    assert!(says(&world, "fsn: its agent did not say"), "{:?}", world.operation);
    assert!(!says(&world, "clients wait, and no transaction is open"), "{:?}", world.operation);
}

#[test]
fn a_move_called_off_lets_clients_through_before_and_after_writes_stopped() {
    let mut early = draining(Method::Clean);
    early.happen(Event::Directive { index: 0, again: false });
    early.happen(Event::Cancel);
    early.look(None);
    assert_eq!(orders(&early), [CoreOrder::ReleaseTraffic]);
    assert!(matches!(early.operation.state, OperationState::Undone { .. }));

    let mut late = draining(Method::Clean);
    for _ in 0..2 {
        late.happen(Event::Directive { index: 0, again: false });
        late.happen(Event::Fact { index: 0, again: false });
        late.look(None);
    }
    assert!(late.orders_sent > 0);
    late.happen(Event::HolderReturns);
    late.look(None);
    assert!(matches!(late.operation.state, OperationState::Undone { .. }), "{:?}", late.operation);
    assert_eq!(orders(&late).last(), Some(&CoreOrder::ReleaseTraffic));
}

#[test]
fn a_checkpoint_that_is_never_told_of_holds_nobody_up_for_ever() {
    let mut world = World::new(switchover(Method::Clean), true);
    world.switches.insert(region("fsn"));
    for _ in 0..61 {
        world.look(None);
        world.now_ms += 1_000;
    }
    assert!(matches!(orders(&world).last(), Some(CoreOrder::HoldTraffic { .. })));
}

#[test]
fn no_switch_is_asked_where_there_is_none_or_the_spec_says_so() {
    let mut world = World::new(switchover(Method::Clean), true);
    world.switches.insert(region("fsn"));
    world.drain_ms = 0;
    world.look(None);
    assert!(matches!(orders(&world)[..], [CoreOrder::SwitchOver { .. }]), "{:?}", orders(&world));
}
