//! Each rule of the sequencer taken out is noticed by the same events that it otherwise stands.

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
