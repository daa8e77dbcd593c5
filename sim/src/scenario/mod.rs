//! Named scenarios: each reads like an incident report.

mod story;
mod tales;

use crate::plan::Plan;
use crate::run::{Verdict, Watch};

pub use story::{Place, Story, millis, secs};
pub use tales::all;

/// What a scenario tells.
pub type Tale = fn(&mut Story<'_, '_>) -> Result<(), String>;

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

impl Scenario {
    /// Runs it. One run at a time per process.
    pub fn run(&self, watch: Watch) -> Verdict {
        crate::run::tell(&self.plan, watch, self.tale)
    }
}

/// The scenario of this name.
pub fn find(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}
