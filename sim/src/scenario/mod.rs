//! Named scenarios: each reads like an incident report.

mod expect;
mod place;
mod story;
mod tales;

use continuum_domain::spec::{Durability, Takeover, WitnessLossPolicy};

use crate::plan::Plan;
use crate::run::{Verdict, Watch};

pub use place::Place;
pub use story::{Story, millis, mins, secs};
pub use tales::all;

/// How a tale, or a part of it, ends; the error says what was expected in vain.
pub type Told = Result<(), String>;

/// What a scenario tells.
pub type Tale = fn(&mut Story<'_, '_>) -> Told;

/// A named scenario.
#[derive(Clone)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it shows, in one sentence.
    pub about: &'static str,
    /// The world it happens in; its faults come from the tale.
    pub plan: Plan,
    /// What happens, and what is expected.
    pub tale: Tale,
}

/// A scenario in a world of two regions, three control nodes and durability `available`.
fn scenario(name: &'static str, about: &'static str, tale: Tale) -> Scenario {
    Scenario { name, about, plan: Plan::quiet(1, 2, Durability::Available), tale }
}

impl Scenario {
    /// The same in a world that differs.
    fn with(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        change(&mut self.plan);
        self
    }

    fn three_regions(self) -> Self {
        self.with(|plan| plan.regions = 3)
    }

    fn strict(self) -> Self {
        self.with(|plan| plan.durability = Durability::Strict)
    }

    /// Asynchronous; automatic failover may lose up to `rpo_bytes`, or is never allowed.
    fn asynchronous(self, rpo_bytes: Option<u64>) -> Self {
        self.with(|plan| {
            plan.durability = Durability::Async;
            plan.rpo_bytes = rpo_bytes;
        })
    }

    /// The witness is a quorum of so many servers.
    fn acceptors(self, count: usize) -> Self {
        self.with(|plan| plan.acceptors = count)
    }

    fn failsafe(self) -> Self {
        self.with(|plan| plan.on_witness_loss = WitnessLossPolicy::Failsafe)
    }

    /// The same where listed standbys take over so. An `async` pair knows the ttl alone.
    pub fn taken_over_by(self, takeover: Takeover) -> Self {
        self.with(|plan| plan.take_over_by(takeover))
    }

    /// Runs it. One run at a time per process.
    pub fn run(&self, watch: Watch) -> Verdict {
        crate::run::tell(&self.plan, watch, self.tale)
    }
}

/// The scenario of this name.
pub fn find(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}
