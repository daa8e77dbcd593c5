//! Wire contracts (protobuf), REST types and routes, and the client of the control core.

mod acceptor_report;
pub mod access;
mod agent_asks;
pub mod approvals;
pub mod ask;
pub mod audit;
mod beside_report;
pub mod client;
mod dialect;
pub mod grpc;
pub mod heard;
pub mod link;
mod member_report;
pub mod moves;
mod name_report;
pub mod openapi;
mod posture;
pub mod problem;
mod reference;
pub mod region;
pub mod rest;
pub mod routes;
pub mod sinks;
pub mod spec_diff;
mod switch_report;

/// Generated protobuf and gRPC types.
pub mod pb {
    #![allow(missing_docs, clippy::all)]
    tonic::include_proto!("continuum.control.v1");
}
