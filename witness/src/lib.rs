//! The lease witness: a linearizable register store, its contract suite, and its backends.
//!
//! ```text
//!  agent, core, dns ── RegisterStore ──┬── memory::MemoryStore        (tests, simulator)
//!                                      ├── faulty::FaultyStore        (any store, with faults)
//!                                      └── client::ServerStore ══mTLS══╗
//!                                                                      ║
//!                    server ── rules (who, what shape) ── store ── log ╝ one file, fdatasync
//! ```
//!
//! Beside its registers a server keeps *cells* ([`cells`]), in the same log: what one acceptor of a
//! quorum is asked for. [`ServerCells`] is the client of a server's, [`CoreCells`] of the control
//! core's, which keeps cells in its replicated state.
//!
//! What every backend promises is written down as code in [`contract`]. What the server adds:
//! a change is on disk before it is answered, a read shows only what is on disk, a log that is
//! damaged is refused, never repaired by guessing, and a caller changes only what is its own.

pub mod cell_contract;
pub mod cell_registers;
pub mod cell_rules;
pub mod cell_service;
mod cell_table;
pub mod cells;
pub mod cells_client;
pub mod client;
pub mod contract;
pub mod core_cells;
pub mod faulty;
pub mod faulty_cells;
pub mod history;
mod line;
mod log;
pub mod memory;
pub mod memory_cells;
pub mod probe;
pub mod quorum;
pub mod recorded;
pub mod register;
pub mod rules;
pub mod selftest;
pub mod server;
pub mod store;
pub mod table;
mod writer;

pub use cells::{Cell, CellStore, Put, Tag};
pub use cells_client::ServerCells;
pub use client::ServerStore;
pub use core_cells::CoreCells;
pub use quorum::{Acceptor, QuorumStore};
pub use register::{Answer, RegisterStore, StoreError, Versioned};
pub use server::{ServeError, Server, WitnessConfig, serve};

/// The messages and services of `proto/witness.proto`.
#[allow(missing_docs, clippy::all, clippy::disallowed_methods)]
pub mod proto {
    tonic::include_proto!("continuum.witness.v1");
}
