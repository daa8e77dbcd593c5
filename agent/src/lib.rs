//! The region agent: drives the domain machines against PostgreSQL, the witness, DNS and the core.
//!
//! ```text
//!   witness <---- session keeper (own thread) ---- SessionView ----+
//!      ^                                                           v
//!      +---- register reads and writes <---- pair driver: PairMachine::step(now, event) -> effects
//!   guard + PostgreSQL <---- data plane <-----------+     |   |
//!   peers <---- ask, nudge, promise <---------------+     |   +--> names (DNS), health URLs
//!   traffic switches <---- keepers <---- traffic desk <----+ (status, orders of the core)
//!   Clusters, node pools <---- rest desk <-----------------+ (pairs that are paused)
//!   core <---- stream: reports, grants, journal <---------+
//! ```
//!
//! The machines decide; this crate performs their effects and feeds back events. It can fail over
//! without the core: spec, journal and promises are on its disk.

pub mod at_rest;
mod beats;
mod beside;
pub mod config;
mod core_link;
mod directives;
mod driver;
pub mod edges;
mod effects;
mod health;
mod http_client;
mod journal;
pub mod kubernetes;
mod members;
mod metrics;
mod names;
pub mod node_pool;
pub mod operator_client;
mod peer_server;
mod peers;
mod report;
mod session;
mod session_reads;
mod start;
mod store;
pub mod traffic;

pub use config::AgentConfig;
pub use edges::Edges;
pub use start::{AgentError, run, run_on};
