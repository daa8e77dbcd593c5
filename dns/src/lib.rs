//! Names follow the lease: the embedded authoritative server and the name-service trait.
//!
//! ```text
//!  agent of the holder ── NameService ──┬── memory::MemoryNames    (tests, simulator)
//!                                       └── client::RpcNameService ══mTLS══╗
//!                                                                          ║ publish (nudge, vouch)
//!  clients ── UDP, TCP ──> server ──> zone (pure) <── evidence <── embedded ╝
//!  secondaries ── TCP ──> tcp ── transfer ─┘                          └── polls pair registers
//! ```
//!
//! The embedded server has no records of its own that could drift: it answers from the pair's
//! register as last read. When that is too old to trust, it says so (SERVFAIL), unless the holder
//! itself vouches for the epoch.

pub mod client;
pub mod config;
pub mod contract;
pub mod embedded;
pub mod evidence;
pub mod health_name;
pub mod lookup;
pub mod lua;
pub mod memory;
pub mod provider;
pub mod records;
mod rpc;
pub mod server;
pub mod service;
mod tcp;
pub mod transfer;
pub mod verify;
pub mod zone;

pub use client::RpcNameService;
pub use config::DnsConfig;
pub use embedded::EmbeddedNames;
pub use health_name::{HealthNames, ResolverClient};
pub use server::{ServeError, Server, serve};
pub use service::{NameChange, NameError, NameService, Published};

/// The messages and services of `proto/names.proto`.
#[allow(missing_docs, clippy::all, clippy::disallowed_methods)]
pub mod proto {
    tonic::include_proto!("continuum.dns.v1");
}
