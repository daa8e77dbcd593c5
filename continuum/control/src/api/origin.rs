//! From where a request came, for the audit chain.
//!
//! The node that was asked saw the caller's address; it tells it to the leader beside the headers it
//! carries, under a name that is taken from no request of a client.

use axum::extract::{ConnectInfo, Request};
use continuum_control_api::audit::AuditOrigin;
use continuum_control_api::pb::ForwardHeader;
use continuum_runtime::net::Caller;

use super::forward::REQUEST_ID;

/// The address among the headers that one node carries to another.
const ADDRESS: &str = "continuum-caller-address";
/// Longest address that is taken over.
const ADDRESS_BYTES_MAX: usize = 64;

/// What another node said of the caller.
#[derive(Clone, Debug)]
pub(super) struct Carried(Option<String>);

impl Carried {
    /// Reads it from what was carried.
    pub(super) fn of(headers: &[ForwardHeader]) -> Self {
        let header = headers.iter().find(|header| header.name == ADDRESS);
        let text = header.and_then(|header| std::str::from_utf8(&header.value).ok());
        Self(text.filter(|text| text.len() <= ADDRESS_BYTES_MAX).map(str::to_owned))
    }
}

/// Puts the origin into the request, for who makes a record of it.
pub(super) fn note(request: &mut Request) {
    let extensions = request.extensions();
    let address = match extensions.get::<Carried>() {
        Some(Carried(address)) => address.clone(),
        None => extensions
            .get::<ConnectInfo<Caller>>()
            .map(|ConnectInfo(caller)| caller.remote.to_string()),
    };
    let name = request.headers().get(&REQUEST_ID).and_then(|name| name.to_str().ok());
    let origin = AuditOrigin { address, request: name.map(str::to_owned) };
    if origin.address.is_some() || origin.request.is_some() {
        request.extensions_mut().insert(origin);
    }
}

/// The address, to be carried to the leader.
pub(super) fn carried(request: &Request) -> Option<ForwardHeader> {
    let address = request.extensions().get::<AuditOrigin>()?.address.clone()?;
    Some(ForwardHeader { name: ADDRESS.into(), value: address.into_bytes() })
}
