//! Pairs of CloudNativePG Clusters: two API servers that know nothing of each other, an operator's
//! stand-in over real PostgreSQL in each, and the real agents, core and witness.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers included")]

mod field;
mod footprint;
mod foreign_move;
mod interference;
mod moves;
mod outages;
