//! The control core over its public surface, linked once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers included")]

mod access;
mod access_approvals;
mod access_people;
mod access_provider;
mod access_state;
mod access_support;
mod access_table;
mod audit;
mod core_cells;
mod core_cluster;
mod grpc;
mod raft_crash;
mod raft_storage;
mod region_asks;
mod rest;
mod sinks;
mod state;
mod support;
mod traces;
