//! A Kubernetes API server in memory, and a stand-in for the CloudNativePG operator that drives real
//! PostgreSQL. For tests only: no product crate depends on it but as a dev-dependency.
//!
//! The server answers as the real one does wherever client code depends on it; one suite of tests says so of
//! both. What it leaves out: protobuf, tables for people, OpenAPI documents, garbage
//! collection by owner references, evaluation of roles (a test says who may not do what, see
//! [`control::Control::forbid`]) and conversion between versions of a kind.

pub mod apply;
pub mod cluster;
pub mod control;
pub mod discovery;
pub mod failure;
pub mod kinds;
pub mod operator;
pub mod path;
pub mod real;
pub mod schema;
pub mod selector;
pub mod server;
pub mod store;

pub use cluster::Options;
pub use control::{Call, Control, Cut, Effect, Logged, Side};
pub use operator::{Misbehaviour, Operator, Site};
pub use real::Real;
pub use server::ApiServer;
