//! The modelled PostgreSQL, held against what the real one does.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers included")]

mod postgres_bench;
mod postgres_commits;
mod postgres_contract;
mod postgres_determinism;
mod postgres_faults;
mod postgres_rules;
