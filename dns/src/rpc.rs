//! Publishing over gRPC: from messages to the embedded service and back.

use std::sync::Arc;
use std::time::Duration;

use continuum_domain::{Epoch, PairId, RegionId};
use continuum_runtime::net::Caller;
use continuum_runtime::{Identity, Role};
use tonic::{Request, Response, Status};

use crate::embedded::EmbeddedNames;
use crate::proto;
use crate::proto::names_server::Names;
use crate::proto::publish_response::Outcome;
use crate::service::{NameChange, NameError, Published};

/// The gRPC face of the embedded service.
pub(crate) struct Service {
    pub names: Arc<EmbeddedNames>,
}

#[tonic::async_trait]
impl Names for Service {
    async fn publish(
        &self,
        request: Request<proto::PublishRequest>,
    ) -> Result<Response<proto::PublishResponse>, Status> {
        let caller =
            request.extensions().get::<Caller>().and_then(|caller| caller.identity.clone());
        let region = calling_region(caller)?;
        let change = change(request.into_inner())?;
        let outcome = match self.names.publish(&region, &change).await {
            Ok(Published { epoch, ttl }) => {
                let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
                Outcome::Published(proto::Published { epoch: epoch.0, ttl_ms })
            }
            Err(NameError::Refused { newest }) => {
                Outcome::Refused(proto::Refused { newest: newest.0 })
            }
            Err(NameError::Contradicted(why)) => {
                tracing::warn!(%region, pair = %change.pair, epoch = %change.epoch, why,
                    "publish contradicted");
                Outcome::Contradicted(proto::Contradicted { why })
            }
            Err(error) => {
                tracing::warn!(%region, pair = %change.pair, %error, "publish refused");
                return Err(status(error));
            }
        };
        Ok(Response::new(proto::PublishResponse { outcome: Some(outcome) }))
    }
}

fn calling_region(caller: Option<Identity>) -> Result<RegionId, Status> {
    match caller {
        Some(Identity { role: Role::Region, name }) => {
            RegionId::new(name).map_err(|error| Status::permission_denied(error.to_string()))
        }
        Some(other) => {
            Err(Status::permission_denied(format!("{other} is not a region and may not publish")))
        }
        None => Err(Status::permission_denied(
            "the certificate carries no name under continuum.internal",
        )),
    }
}

fn change(request: proto::PublishRequest) -> Result<NameChange, Status> {
    let invalid =
        |error: continuum_domain::ids::NameError| Status::invalid_argument(error.to_string());
    Ok(NameChange {
        pair: PairId::new(request.pair).map_err(invalid)?,
        name: request.name,
        epoch: Epoch(request.epoch),
        holder: RegionId::new(request.holder).map_err(invalid)?,
        ttl: Duration::from_millis(request.ttl_ms),
    })
}

fn status(error: NameError) -> Status {
    match error {
        NameError::Unauthorised(text) => Status::permission_denied(text),
        NameError::Misconfigured(text) => Status::failed_precondition(text),
        other => Status::unavailable(other.to_string()),
    }
}
