//! The Raft-replicated control core: durable log, replicated state, operation runner, audit chain.
//!
//! ```text
//!  operators (REST)      agents (gRPC, dial in)        other control nodes (gRPC)
//!        |                        |                             |
//!       api ---- forward ----> [leader]                         |
//!        |                      link ----- reports, facts       |
//!        v                        v                             v
//!      plan <---- view ----> registry        runner -------> raft -----> state (pairs, operations,
//!        |                                     |  ^                       pauses, audit chain)
//!        +------ propose ----------------------+  +--- sequence (domain) <-- witness
//! ```
//!
//! The core owns intent: specs, operations, approvals, pauses, audit. Of a pair
//! register it writes `paused` and nothing else (R14), and no healthy primary depends on it (I6): agents go on without it, and tell it
//! afterwards what happened.

mod api;
pub mod archive;
mod calendar;
mod cells;
pub mod config;
mod core;
pub mod crash;
mod link;
mod metrics;
pub mod outbox;
mod picture;
mod plan;
pub mod raft;
mod rejoin;
#[cfg(test)]
mod reported;
mod rest;
mod runner;
pub mod server;
pub mod state;
mod takeover;
mod traces;
mod view;

pub use cells::OwnCells;
pub use config::CoreConfig;
pub use server::{Edges, Listeners, Onlooker, ServeError, serve, serve_edges, serve_on};
