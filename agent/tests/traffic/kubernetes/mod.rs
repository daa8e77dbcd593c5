//! Switches that are objects of a Kubernetes cluster, on an API server.

mod both;
mod endpoint_slice;
mod everywhere;
mod http_route;
mod pooler;
pub mod server;
