//! The sequencer at the core: whatever happens to facts, directives and the runner itself, an
//! operation ends, and ends as the register says.

#[path = "../core_world/mod.rs"]
mod core_world;

mod drain;
mod hot;
mod moves;
#[cfg(feature = "planted-bugs")]
mod planted;
mod rejoins;

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
