//! The scenarios, by theme.

mod clients;
mod clocks;
mod core;
mod corroboration;
mod forks;
mod network;
mod operators;
mod processes;
mod quorum;
mod redundancy;
mod rejoin;
mod storage;
mod takeover;
mod versions;
mod witness;

use super::Scenario;

/// All scenarios.
pub fn all() -> Vec<Scenario> {
    [
        processes::all(),
        storage::all(),
        network::all(),
        witness::all(),
        quorum::all(),
        clocks::all(),
        redundancy::all(),
        forks::all(),
        clients::all(),
        operators::all(),
        rejoin::all(),
        core::all(),
        takeover::all(),
        corroboration::all(),
        versions::all(),
    ]
    .concat()
}
