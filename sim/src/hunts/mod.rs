//! Hunts: for each planted bug, plans that aim at the place where its rule alone holds.
//!
//! A plan is drawn from a seed, as those of [`crate::random`] are, but its faults wait for their
//! moment ([`crate::steps`]). With the rule in force nothing may be found on the same plans: that
//! is what makes a find with the bug planted a proof.

mod corroboration;
mod draft;
mod lease;
mod ledger;
mod moves;
mod outside;
mod takeover;

use continuum_domain::mutation::Bug;

use crate::plan::Plan;

/// One planted bug, and where to look for it.
#[derive(Clone, Copy)]
pub struct Hunt {
    /// The bug.
    pub bug: Bug,
    /// Tells hunts for one bug apart.
    pub variant: &'static str,
    /// The rule or invariant it breaks.
    pub rule: &'static str,
    /// How a finding that is its doing begins.
    pub says: &'static str,
    /// It is found within this many seeds, counted from 0.
    pub seeds: u64,
    /// The plan of a seed.
    pub plan: fn(u64) -> Plan,
}

impl Hunt {
    /// Its name: the bug's, and what tells it apart.
    pub fn name(&self) -> String {
        format!("{:?}{}", self.bug, self.variant)
    }
}

/// All hunts.
pub fn all() -> Vec<Hunt> {
    [
        lease::HUNTS,
        ledger::HUNTS,
        moves::HUNTS,
        outside::HUNTS,
        takeover::HUNTS,
        corroboration::HUNTS,
    ]
    .concat()
}

/// The hunt of this name.
pub fn find(name: &str) -> Option<Hunt> {
    all().into_iter().find(|hunt| hunt.name() == name)
}
