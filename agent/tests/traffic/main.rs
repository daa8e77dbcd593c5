//! Traffic switches, node pools and hibernation over this crate's public surface.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers included")]

mod at_rest;
mod kubernetes;
mod pgbouncer;
mod stand;
mod webhook;
