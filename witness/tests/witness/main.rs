//! The witness over its public surface, linked once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers included")]

mod cells;
mod common;
mod contract;
mod histories;
mod server;
