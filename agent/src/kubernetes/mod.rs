//! The agent in a Kubernetes cluster: what is asked for there goes to the core, how it stands comes
//! back, one replica acts, and the small durable state may be kept there.
//!
//! ```text
//!   API server --watch--> watch --> controller --RegionAsk--> core (owner of intent)
//!       ^                               |  ^------Standings------+
//!       +--- status (server-side apply)-+
//!       +--- Lease: election (which replica acts)
//!       +--- ConfigMap: disk (specs, journal, promises)
//! ```
//!
//! Nothing in here keeps the pair safe: that is the session at the witness and the guard. An API server
//! that is away stops none of them.

pub mod admission;
mod alone;
pub(crate) mod backups;
pub mod client;
pub mod config;
pub(crate) mod controller;
pub(crate) mod desk;
pub mod disk;
pub mod election;
mod object;
pub(crate) mod replica;
pub mod request;
pub(crate) mod roles;
pub mod status;
mod watch;
mod write;

pub use client::Cluster;
pub use config::KubernetesConfig;
