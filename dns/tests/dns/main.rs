//! The tests over this crate's public surface, linked once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers included")]

mod authority;
mod common;
mod convergence;
mod health_names;
mod hidden_primary;
mod kinds;
mod lua_records;
mod packets;
mod pdm;
mod places;
mod powerdns_api;
mod rfc2136;
mod route53;
mod signed;
mod transfer_keys;
mod verify;
