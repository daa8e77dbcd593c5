//! The control core over its public surface, linked once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers included")]

mod audit;
mod core_cells;
mod core_cluster;
mod raft_crash;
mod raft_storage;
mod rest;
mod sinks;
mod state;
mod support;
