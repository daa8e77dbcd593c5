//! This crate on real PostgreSQL, linked once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers included")]

mod contract_postgres;
mod guard_process;
mod lowered_commit;
mod support;
