//! The data plane of one member: plain PostgreSQL under a guard process, or CloudNativePG.
//!
//! ```text
//!   agent (PostgresPlane) --unix socket, JSON lines--> guard --direct child--> postgres
//!        |                                               |  owns: config, deadline, generation,
//!        +----------SQL, observation only----------------+-------> epoch, identity, jobs
//! ```
//!
//! The guard is the one actuator (R4): nothing that gives or takes authority travels as SQL, so no
//! statement of a dead agent can land late. PostgreSQL is the guard's direct child with
//! kill-on-parent-death and is stopped by the guard at an armed deadline, whoever else is alive
//! (R5). [`plane::DataPlane`] is the trait the agent drives; [`contract`] is the suite that every
//! implementation of it runs. [`kubernetes`] holds what CloudNativePG needs.

pub mod contract;
pub mod guard;
pub mod kubernetes;
pub mod plane;
pub mod postgres;
mod wal;
mod wire;

pub use guard::GuardConfig;
pub use plane::{DataPlane, PlaneError};
pub use postgres::{PlaneConfig, PostgresPlane};
