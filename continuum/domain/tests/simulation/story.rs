//! A story: a plan, and what happens in its world once the pair stands.

use crate::support::{STANDS, settle};
use crate::world::{Plan, World};

pub struct Story {
    pub name: &'static str,
    pub plan: fn(u64) -> Plan,
    pub tell: fn(&mut World),
}

impl Story {
    /// Tells it and heals everything; what was violated, if anything.
    pub fn told(&self, seed: u64, tracing: bool) -> (World, Option<String>) {
        let plan = Plan { tracing, ..(self.plan)(seed) };
        let mut world = World::new(&plan);
        let mut whole = world.run_until(STANDS, |w| w.unsettled().is_none());
        if whole {
            (self.tell)(&mut world);
            world.heal();
            whole = settle(&mut world);
        }
        let mut violation = world.judge.violations.first().cloned();
        if violation.is_none() && !whole {
            violation = Some(format!("I5: {}", world.unsettled().unwrap_or_default()));
        }
        (world, violation)
    }
}
