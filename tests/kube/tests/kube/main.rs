//! The API server of the tests, held against a suite that a real one passes too; linked once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers included")]

mod faults;
mod kubernetes;
mod operator;
mod plane;
mod subject;
mod suite;
