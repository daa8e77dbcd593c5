//! The sequencer at the core: whatever happens to facts, directives and the runner itself, an
//! operation ends, and ends as the register says.

mod core_world;

use continuum_domain::Epoch;
use continuum_domain::operation::{
    Method, Operation, OperationState, RejoinMethod, Step, StepOutcome, StepRecord,
};
use continuum_domain::sequence::{self, CoreEffect, CoreOrder, TRIGGER_ORDERED, decide};
use continuum_domain::traffic::DrainFailure;
use core_world::{Event, World, event, failover, method, region, rejoin, rest, switchover};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_switchover_ends_as_the_register_says(
        method in method(),
        synchronous in any::<bool>(),
        (pooled, undo) in any::<(bool, bool)>(),
        events in prop::collection::vec(event(), 0..80),
    ) {
        let mut world = World::new(switchover(method), synchronous);
        world.switches.extend(pooled.then(|| region("fsn")));
        if undo {
            world.drain_failure = DrainFailure::Undo;
        }
        for event in events {
            world.happen(event);
        }
        world.run_out();
    }

    #[test]
    fn a_failover_ends_as_the_register_says(
        ordered in any::<bool>(),
        events in prop::collection::vec(event(), 0..80),
    ) {
        let trigger = if ordered { TRIGGER_ORDERED } else { "session-expired" };
        let mut world = World::new(failover(trigger), true);
        for event in events {
            world.happen(event);
        }
        world.run_out();
        prop_assert_eq!(world.orders_sent, 0, "a failover stops nobody by directive");
    }

    /// A rejoin ends with the member following, or with a reason; a listed one is never cloned.
    #[test]
    fn a_rejoin_ends_as_the_member_does(
        clone in any::<bool>(),
        events in prop::collection::vec(rejoin::event(), 0..80),
    ) {
        let method = if clone { RejoinMethod::Clone } else { RejoinMethod::Retry };
        let mut world = rejoin::Rejoining::new(method);
        events.into_iter().for_each(|event| world.happen(event));
        world.run_out();
    }

    /// A pause ends with the pair at rest, or with whoever holds it and challengers let in again.
    #[test]
    fn a_pause_ends_as_the_register_says(events in prop::collection::vec(rest::event(), 0..80)) {
        let mut world = rest::Resting::pause();
        events.into_iter().for_each(|event| world.happen(event));
        world.run_out();
    }

    #[test]
    fn a_resumption_ends_as_the_register_says(
        events in prop::collection::vec(rest::event(), 0..80),
    ) {
        let mut world = rest::Resting::resume();
        events.into_iter().for_each(|event| world.happen(event));
        world.run_out();
    }

    /// In good weather both are done, however often the runner dies on the way.
    #[test]
    fn a_pause_and_a_resumption_in_good_weather_are_done(
        crashes in prop::collection::vec(prop::option::of(0..3u8), 40),
    ) {
        for mut world in [rest::Resting::pause(), rest::Resting::resume()] {
            for crash_after in &crashes {
                world.happen(rest::Event::Look { crash_after: *crash_after });
                world.happen(rest::Event::Obey);
                world.happen(rest::Event::MemberStops(true));
                world.happen(rest::Event::MemberStops(false));
                world.happen(rest::Event::Advance(300));
            }
            world.run_out();
            prop_assert_eq!(world.operation.state, OperationState::Done);
        }
    }

    /// When the agents live, facts arrive and the witness answers, a switchover that was not
    /// cancelled is done, however often the runner dies on the way.
    #[test]
    fn a_switchover_in_good_weather_is_done(
        method in method(),
        pooled in any::<bool>(),
        crashes in prop::collection::vec(prop::option::of(0..3u8), 60),
    ) {
        let mut world = World::new(switchover(method), true);
        world.switches.extend(pooled.then(|| region("fsn")));
        for crash_after in crashes {
            world.look(crash_after);
            for (epoch, order) in std::mem::take(&mut world.directives) {
                world.obey(epoch, &order);
            }
            for event in [Event::HolderStep, Event::TargetSends, Event::TargetAcquires, Event::TargetPromotes, Event::OldHolderRejoins] {
                world.happen(event);
            }
            for line in std::mem::take(&mut world.facts) {
                world.offer(line);
            }
            world.now_ms += 300;
        }
        world.run_out();
        prop_assert_eq!(world.operation.state, OperationState::Done);
    }
}

fn lines(operation: &Operation) -> Vec<(Step, StepOutcome)> {
    operation.steps.iter().map(|line| (line.step, line.outcome.clone())).collect()
}

#[test]
fn a_member_is_brought_back_in_good_weather() {
    let methods = [RejoinMethod::Retry, RejoinMethod::Clone];
    for (method, synchronous) in methods.into_iter().flat_map(|one| [(one, true), (one, false)]) {
        let mut world = rejoin::Rejoining::new(method);
        world.synchronous = synchronous;
        world.run_out();
        assert_eq!(world.operation.state, OperationState::Done, "{:?}", world.operation);
        assert_eq!(world.cloned, method == RejoinMethod::Clone);
    }
}

/// An agent of an older version takes no notice: the operation ends by its deadline, and says so.
#[test]
fn an_agent_that_does_not_know_the_order_is_waited_for_no_longer_than_a_minute() {
    let mut world = rejoin::Rejoining::new(RejoinMethod::Clone);
    world.old = true;
    for _ in 0..62 {
        world.look();
        world.happen(rejoin::Event::Obey);
        world.now_ms += 1_000;
    }
    let OperationState::Failed { reason } = &world.operation.state else {
        panic!("{:?}", world.operation)
    };
    assert!(reason.contains("older version"), "{reason}");
}

#[test]
fn a_rejoin_called_off_after_its_order_says_that_the_member_goes_on() {
    let mut world = rejoin::Rejoining::new(RejoinMethod::Clone);
    world.look();
    world.happen(rejoin::Event::Obey);
    world.look();
    world.happen(rejoin::Event::Obey);
    world.happen(rejoin::Event::Cancel);
    world.look();
    let OperationState::Failed { reason } = &world.operation.state else {
        panic!("{:?}", world.operation)
    };
    assert!(reason.contains("no longer waited for"), "{reason}");
}

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

/// A hot move that was ordered, and told so.
fn ordered_hot() -> World {
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

/// Each rule of the sequencer taken out is noticed by the same events that it otherwise stands.
#[cfg(feature = "planted-bugs")]
mod planted {
    use continuum_domain::mutation::{Bug, plant};
    use proptest::test_runner::{Config, TestRunner};

    use super::*;

    /// `by`: what may be said of it; which, depends on the events that are left of those that showed it.
    fn caught(bug: Bug, by: &[&str]) {
        for method in [Method::Clean, Method::Hot] {
            caught_in(method, bug, by);
        }
    }

    fn caught_in(method: Method, bug: Bug, by: &[&str]) {
        let config = Config { cases: 20_000, failure_persistence: None, ..Config::default() };
        let ran = std::cell::Cell::new(0u32);
        let events = prop::collection::vec(event(), 0..80);
        let result = TestRunner::new(config).run(&events, |events| {
            ran.set(ran.get() + 1);
            plant(Some(bug));
            let run = std::panic::catch_unwind(|| {
                let mut world = World::new(switchover(method), true);
                events.into_iter().for_each(|event| world.happen(event));
                world.run_out();
            });
            plant(None);
            run.map_err(|panic| {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                TestCaseError::fail(text.unwrap_or_default())
            })
        });
        let noticed = result.expect_err("unnoticed").to_string();
        println!("{bug:?}, {method:?}: {} runs, shrinking among them: {noticed}", ran.get());
        assert!(by.iter().any(|text| noticed.contains(text)), "{noticed}");
    }

    #[test]
    fn cloned_unasked() {
        plant(Some(Bug::ClonedUnasked));
        let run = std::panic::catch_unwind(|| {
            super::rejoin::Rejoining::new(super::RejoinMethod::Clone).run_out();
        });
        plant(None);
        let panic = run.expect_err("unnoticed");
        let text = panic.downcast_ref::<&str>().copied().unwrap_or_default();
        assert!(text.contains("R13"), "{text}");
    }

    #[test]
    fn bar_unresolved() {
        plant(Some(Bug::BarUnresolved));
        let run = std::panic::catch_unwind(|| {
            let mut world = rest::Resting::pause();
            world.happen(rest::Event::WriteDelayed);
            world.happen(rest::Event::Look { crash_after: None });
            world.happen(rest::Event::Cancel);
            world.run_out();
        });
        plant(None);
        let panic = run.expect_err("unnoticed");
        let text = panic.downcast_ref::<&str>().copied().unwrap_or_default();
        assert!(text.contains("late write"), "{text}");
    }

    #[test]
    fn resumed_paused() {
        plant(Some(Bug::ResumedPaused));
        let run = std::panic::catch_unwind(|| rest::Resting::resume().run_out());
        plant(None);
        let panic = run.expect_err("unnoticed");
        let text = panic.downcast_ref::<&str>().copied().unwrap_or_default();
        assert!(text.contains("whose pause stands"), "{text}");
    }

    macro_rules! planted {
        ($($test:ident: $bug:ident by $($by:literal)|+;)*) => {
            $(
                #[test]
                fn $test() {
                    caught(Bug::$bug, &[$($by),+]);
                }
            )*
        };
    }

    planted! {
        stop_unannounced: StopUnannounced by "a directive without its line";
        undone_after_move: UndoneAfterMove by "undone, but the";
        moved_twice: MovedTwice by "after the move was seen" | "Moved -> ";
        vacant_is_returned: VacantIsReturned by "undone, but the old holder does not hold it";
    }
}
