//! The API over gRPC: each route is a call of one service, with the same meaning.
//!
//! A call is written as the request of its route, answered by the router, and its answer read back,
//! by the descriptor of the contract (`proto/continuum/api/v1/api.proto`). So authentication, rights,
//! the way to the leader, limits and errors are those of the routes, and neither can be forgotten
//! for the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, MessageDescriptor};
use schemars::SchemaGenerator;

use crate::routes::{Endpoint, endpoints};

pub mod codec;
#[cfg(test)]
mod compatible;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod contract_tests;
mod fields;
mod service;
mod status;
mod transcode;

pub use service::GrpcApi;

/// The contract as a file descriptor set, for reflection.
pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/public.binpb"));
/// The package of the contract.
pub const PACKAGE: &str = "continuum.api.v1";
/// The service that has a call for each route.
pub const SERVICE: &str = "Control";

/// The field of an answer that has the request, where a safety rule kept it.
const KEPT: &str = "kept";

/// How a route's answer is a call's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// One message.
    One,
    /// A list, as a message with items.
    Items,
    /// Records of the audit chain as they are made.
    Events,
    /// A document that is no JSON, in pieces.
    Chunks,
}

/// What a route is as a call; `None` for the documents of the REST API.
fn shape(endpoint: &Endpoint) -> Option<Shape> {
    let answer = endpoint.answers.first()?;
    match answer.media {
        _ if endpoint.tag == "Reference" => None,
        "application/json" => {
            let schema = (answer.schema)(&mut SchemaGenerator::default()).to_value();
            Some(if schema["type"] == "array" { Shape::Items } else { Shape::One })
        }
        "text/event-stream" => Some(Shape::Events),
        _ => Some(Shape::Chunks),
    }
}

/// `switchOver` of the routes is `SwitchOver` of the calls.
fn rpc_name(id: &str) -> String {
    let mut letters = id.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

/// A call, and the route that it is.
#[derive(Debug)]
struct Rpc {
    method: http::Method,
    path: &'static str,
    /// Fields that go into the query; those of the path are in `path`, others go into the body.
    query: BTreeSet<String>,
    has_body: bool,
    shape: Shape,
    input: MessageDescriptor,
    output: MessageDescriptor,
}

fn pool(descriptor: &'static [u8]) -> DescriptorPool {
    DescriptorPool::decode(descriptor).expect("the build compiled it")
}

/// All calls by their path, read from the contract once.
static RPCS: LazyLock<BTreeMap<String, Rpc>> = LazyLock::new(rpcs);

/// A route that the contract does not have yet is left out; a test holds that there is none.
fn rpcs() -> BTreeMap<String, Rpc> {
    let pool = pool(DESCRIPTOR);
    let Some(service) = pool.get_service_by_name(&format!("{PACKAGE}.{SERVICE}")) else {
        return BTreeMap::new();
    };
    let rpc = |endpoint: Endpoint| {
        let (name, shape) = (rpc_name(endpoint.id), shape(&endpoint)?);
        let method = service.methods().find(|method| method.name() == name)?;
        let mut generator = fields::generator();
        let query = endpoint.query.and_then(|schema| {
            let schema = schema(&mut generator).to_value();
            fields::fields_of(&schema, generator.definitions())
        });
        let rpc = Rpc {
            method: endpoint.method.parse().ok()?,
            path: endpoint.path,
            query: query.unwrap_or_default().into_keys().collect(),
            has_body: endpoint.body.is_some(),
            shape,
            input: method.input(),
            output: method.output(),
        };
        Some((format!("/{PACKAGE}.{SERVICE}/{name}"), rpc))
    };
    endpoints().into_iter().filter_map(rpc).collect()
}
