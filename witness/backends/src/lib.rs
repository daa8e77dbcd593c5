//! Stores of others as acceptors of the witness. A crate of its own, because nothing that decides
//! (the machines, the quorum, the simulator) may come to need what these need.
//!
//! Each module implements [`continuum_witness::CellStore`] on one kind of store and passes
//! [`continuum_witness::cell_contract`] on the real one.

mod causes;
pub mod cloudflare;
pub mod config;
mod digest;
pub mod etcd;
mod http;
pub mod kubernetes;
pub mod object_store;

pub use config::{AcceptorConfig, StoreFactory, WitnessAccess};
