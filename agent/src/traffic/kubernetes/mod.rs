//! Switches that are objects of a Kubernetes cluster: the weights of an `HTTPRoute`, the `EndpointSlice` of
//! a Service, a CloudNativePG `Pooler`.
//!
//! ```text
//!   Board: read, decide, patch -----> Shape: what this object should be like (pure)
//!     |                                  HttpRoute, EndpointSlice, Pooler
//!     +--> Mark: the fence, in an annotation of the object itself
//!     +--> Site: the API server
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use continuum_runtime::SharedClock;

mod board;
pub mod config;
mod endpoint_slice;
mod http_route;
mod mark;
mod pooler;
pub(crate) mod site;
mod weights;

use super::TrafficSwitch;
use board::Board;
use site::Site;

/// API servers, one client each.
#[derive(Debug, Default)]
pub(crate) struct Sites(BTreeMap<Option<PathBuf>, Arc<Site>>);

impl Sites {
    /// The one that a file tells of, or the one of the cluster this agent runs in.
    pub fn site(&mut self, kubeconfig: Option<&Path>) -> Arc<Site> {
        let new = || Arc::new(Site::new(kubeconfig));
        self.0.entry(kubeconfig.map(Path::to_owned)).or_insert_with(new).clone()
    }
}

/// Opens an `HTTPRoute`.
pub(super) fn http_route(
    config: &config::HttpRouteConfig,
    sites: &mut Sites,
    clock: &SharedClock,
) -> Arc<dyn TrafficSwitch> {
    let site = sites.site(config.kubeconfig.as_deref());
    Arc::new(Board::new(site, http_route::HttpRoute::new(config), clock.clone()))
}

/// Opens an `EndpointSlice`.
pub(super) fn endpoint_slice(
    config: &config::EndpointSliceConfig,
    sites: &mut Sites,
    clock: &SharedClock,
) -> Arc<dyn TrafficSwitch> {
    let site = sites.site(config.kubeconfig.as_deref());
    Arc::new(Board::new(site, endpoint_slice::EndpointSlice::new(config), clock.clone()))
}

/// Opens a `Pooler`.
pub(super) fn pooler(
    config: &config::PoolerConfig,
    sites: &mut Sites,
    clock: &SharedClock,
) -> Arc<dyn TrafficSwitch> {
    let site = sites.site(config.kubeconfig.as_deref());
    Arc::new(Board::new(site, pooler::Pooler::new(config), clock.clone()))
}
