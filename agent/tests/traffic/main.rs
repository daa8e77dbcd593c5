//! Traffic switches over this crate's public surface.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers included")]

mod kubernetes;
mod pgbouncer;
mod stand;
mod webhook;
