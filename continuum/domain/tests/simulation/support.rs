//! Running a plan, and saying what happened when it went wrong.

use std::collections::BTreeMap;

use crate::world::{Plan, World, ms};
use std::time::Duration;

/// How long a new pair may take until it stands.
pub const STANDS: Duration = ms(20_000);
/// How long a healed pair may take until it is whole again.
pub const SETTLES: Duration = ms(60_000);

/// A pair that stands: one primary, everybody streams, the ledger is whole.
pub fn standing(plan: &Plan) -> World {
    let mut world = World::new(plan);
    let stood = world.run_until(STANDS, |w| w.unsettled().is_none());
    if !stood || !world.judge.violations.is_empty() {
        fail(&world, "the new pair does not stand");
    }
    world
}

pub fn fail(world: &World, what: &str) -> ! {
    panic!(
        "{what}: {:?} {:?}\n{}\n{}",
        world.judge.violations,
        world.unsettled(),
        world.statuses(),
        world.story()
    )
}

/// Demands that nothing was violated so far.
pub fn holds(world: &World) {
    if !world.judge.violations.is_empty() {
        fail(world, "violated");
    }
}

/// Heals everything and demands that the pair is whole in time (I5).
pub fn settles(world: &mut World) {
    world.heal();
    if !settle(world) || !world.judge.violations.is_empty() {
        fail(world, "it does not settle");
    }
}

/// Named states that ask a person to approve a loss.
const ASKS_FOR_APPROVAL: [&str; 2] = ["not-in-sync", "data-loss-approval"];

/// Whether the healed pair becomes whole in time. Where no listed directory is left anywhere (the
/// one that was got lost), it must say so by name, and a person's approval must mend it.
pub fn settle(world: &mut World) -> bool {
    world.run(ms(50));
    let stuck = |w: &World| w.primary().is_none() && w.listed().is_empty();
    for _ in 0..4 {
        if world.run_until(SETTLES / 4, |w| w.unsettled().is_none()) {
            return true;
        }
        if stuck(world) {
            let best = (0..world.regions.len()).max_by_key(|r| world.regions[*r].pg.end());
            let best = best.expect("there are regions");
            if !asks_for_approval(world, best) {
                return false;
            }
            world.order_failover(best, true);
        }
    }
    false
}

fn asks_for_approval(world: &World, r: usize) -> bool {
    let Some(agent) = &world.regions[r].agent else { return false };
    let blocked = agent.machine.status(world.local(r)).blocked;
    blocked.is_some_and(|blocked| ASKS_FOR_APPROVAL.contains(&blocked.code))
}

/// What came of a random run.
#[derive(Debug, Default)]
pub struct Outcome {
    pub violation: Option<String>,
    pub story: String,
    pub notes: BTreeMap<String, u64>,
    pub coverage: BTreeMap<(String, &'static str), u64>,
    pub acknowledgements: u64,
    pub lost_by_approval: u64,
    pub steps: u64,
}

/// Runs a whole plan: stand up, faults, heal, settle.
pub fn run(plan: &Plan) -> Outcome {
    let mut world = World::new(plan);
    world.run_until(STANDS, |w| w.unsettled().is_none());
    let mut settled = world.unsettled().is_none();
    if settled {
        for (at, fault) in plan.faults.clone() {
            world.after(ms(at), crate::world::Host::World, move |w| w.strike(fault));
        }
        world.run(plan.horizon());
        world.heal();
        settled = settle(&mut world);
    }
    finish(world, settled)
}

fn finish(world: World, settled: bool) -> Outcome {
    let mut violation = world.judge.violations.first().cloned();
    if violation.is_none() && !settled {
        violation = Some(format!("I5: {}", world.unsettled().unwrap_or_default()));
    }
    let story = if violation.is_some() && world.tracing {
        format!("{}\n{}", world.statuses(), world.story())
    } else {
        String::new()
    };
    Outcome {
        violation,
        story,
        acknowledgements: world.judge.acknowledgements,
        lost_by_approval: world.judge.lost_by_approval,
        notes: world.judge.notes,
        coverage: world.coverage,
        steps: world.steps,
    }
}

/// Runs a plan and panics with its story if something was violated.
pub fn must_hold(plan: &Plan) -> Outcome {
    let outcome = run(plan);
    if let Some(violation) = &outcome.violation {
        let traced = run(&Plan { tracing: true, ..plan.clone() });
        panic!("{violation}\n{plan:?}\n{}", traced.story);
    }
    outcome
}

pub fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
