//! The same API for gRPC clients, beside the routes: calls, health and reflection.

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use continuum_control_api::grpc::{DESCRIPTOR, GrpcApi, PACKAGE, SERVICE};
use futures_util::{Stream, stream};
use tokio::sync::watch;
use tonic::server::NamedService;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::core::Core;
use crate::raft::Leadership;

/// `rest` with the calls of the same API, health and reflection beside it.
pub(crate) fn beside(rest: Router, core: &Arc<Core>) -> Router {
    let calls = GrpcApi::new(rest.clone());
    let health = HealthServer::new(NodeHealth { core: core.clone() });
    let router = mount(rest.route_service(&GrpcApi::path(), calls), health);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTOR)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // Generic clients of a few years ago ask by the older of the two names.
    match (reflection().build_v1(), reflection().build_v1alpha()) {
        (Ok(new), Ok(old)) => mount(mount(router, new), old),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "gRPC reflection is not served");
            router
        }
    }
}

fn mount<S>(router: Router, service: S) -> Router
where
    S: tower::Service<axum::extract::Request, Error = std::convert::Infallible>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Response: axum::response::IntoResponse,
    S::Future: Send + 'static,
{
    router.route_service(&format!("/{}/{{call}}", S::NAME), service)
}

/// Whether this node can have requests answered: the same that `/readyz` tells.
struct NodeHealth {
    core: Arc<Core>,
}

impl NodeHealth {
    fn knows(&self, service: &str) -> Result<(), Status> {
        if service.is_empty() || service == format!("{PACKAGE}.{SERVICE}") {
            return Ok(());
        }
        Err(Status::not_found(format!("there is no service {service}")))
    }
}

fn answer(core: &Core, leadership: &Leadership) -> HealthCheckResponse {
    let serves = core.node.failure().is_none() && leadership.leader_in_reach().is_some();
    let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
    HealthCheckResponse { status: status as i32 }
}

#[tonic::async_trait]
impl Health for NodeHealth {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.knows(&request.get_ref().service)?;
        Ok(Response::new(answer(&self.core, &self.core.leadership())))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.knows(&request.get_ref().service)?;
        let changes = changes(self.core.clone(), self.core.node.leadership());
        Ok(Response::new(Box::pin(changes)))
    }
}

/// The answer now, and each time that it becomes another one.
fn changes(
    core: Arc<Core>,
    leadership: watch::Receiver<Leadership>,
) -> impl Stream<Item = Result<HealthCheckResponse, Status>> + Send {
    stream::unfold((core, leadership, None), |(core, mut leadership, last)| async move {
        loop {
            let now = answer(&core, &leadership.borrow_and_update());
            if last.as_ref() != Some(&now) {
                return Some((Ok(now), (core, leadership, Some(now))));
            }
            leadership.changed().await.ok()?;
        }
    })
}
