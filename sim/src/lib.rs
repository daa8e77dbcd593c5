//! Deterministic simulation of a whole Continuum: the real control core, agents, witness and name
//! service in one thread, on a simulated network, clock and disk, broken by one seed.
//!
//! ```text
//!   Plan (from a seed) --> World: hosts on turmoil --------------> Trace (lines, one hash)
//!                            | core x3..5   witness   names           ^
//!                            | agents x2..3 --- plane --> postgres    |
//!                            | users: operator, writers, resolver     |
//!                            +--> Judge, outside all of it -----------+--> Verdict
//! ```
//!
//! Same seed, same binary: the same trace, byte for byte, in any process. What that needs is in
//! [`align`] and in `continuum_runtime::seed`.

#[cfg(not(tokio_unstable))]
compile_error!(
    "the simulator needs --cfg tokio_unstable (see .cargo/config.toml; an exported RUSTFLAGS \
     replaces it): without it tokio's wake order is not seeded and no run can be repeated"
);

pub mod acceptors;
pub mod alarms;
mod align;
pub mod behaviour;
pub mod calls;
pub mod cli;
pub mod clock;
pub mod core_watch;
pub mod coverage;
pub mod dialect;
pub mod disk;
pub mod hosts;
pub mod hunts;
pub mod judge;
pub mod links;
pub mod members;
pub mod net;
pub mod plan;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod postgres;
pub mod random;
pub mod recording;
pub mod resolvers;
pub mod run;
pub mod scenario;
pub mod steps;
pub mod timeline;
pub mod trace;
pub mod users;
pub mod world;

pub use plan::Plan;
pub use run::{Verdict, Watch, run};
pub use trace::{Show, Trace};
