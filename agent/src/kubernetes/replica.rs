//! An agent in a cluster: it waits for its turn, acts, and stops when another replica does.

use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use continuum_runtime::net::listen_plain;
use continuum_runtime::{SharedClock, SharedNetwork};

use super::disk::ClusterDisk;
use super::election::{Acting, Election};
use super::{Cluster, KubernetesConfig};
use crate::config::AgentConfig;
use crate::edges::{self, Edges, Witness};
use crate::start::{AgentError, io_error, run_on};

/// Runs the agent once it is its turn, until `shutdown` completes or another replica acts.
pub(crate) async fn run(
    config: AgentConfig,
    kubernetes: KubernetesConfig,
    (network, witness, clock): (SharedNetwork, Witness, SharedClock),
    shutdown: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    let cluster = Cluster::open(&kubernetes).await.map_err(io_error("kubernetes"))?;
    let mut shutdown = pin!(shutdown);
    let mut acting = match &kubernetes.lease {
        None => None,
        Some(lease) => {
            let election = Election::new(&cluster, lease, config.region.as_str(), clock.clone());
            tokio::select! {
                acting = election.win() => Some(acting),
                () = &mut shutdown => return Ok(()),
                result = stand_by(&config.listen_health) => {
                    result?;
                    return Ok(());
                }
            }
        }
    };
    let result = tokio::select! {
        result = act(config, &kubernetes, cluster, (network, witness, clock), shutdown) => result,
        other = kept(acting.as_mut()) => return Err(AgentError::AnotherReplica(other)),
    };
    if let Some(acting) = acting {
        acting.release().await;
    }
    result
}

async fn kept(acting: Option<&mut Acting>) -> String {
    match acting {
        Some(acting) => acting.keep().await,
        None => std::future::pending().await,
    }
}

async fn act(
    config: AgentConfig,
    kubernetes: &KubernetesConfig,
    cluster: Cluster,
    (network, witness, clock): (SharedNetwork, Witness, SharedClock),
    shutdown: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    let disk = match &kubernetes.state {
        Some(state) => Arc::new(ClusterDisk::new(&cluster, state)),
        None => edges::state_directory(&config)?,
    };
    let mut edges = Edges::open(&config, disk, witness, network, clock).await?;
    edges.cluster = Some(cluster);
    run_on(config, edges, shutdown).await
}

/// What a replica that waits answers: that it lives, and to everything else that it does not act. Each
/// connection ends with its answer, so that none asks this one when the other server is there.
async fn stand_by(listen: &str) -> Result<(), AgentError> {
    let what = || format!("listen_health {listen}");
    let listener = listen_plain(listen).await.map_err(io_error(what()))?;
    axum::serve(listener, router()).await.map_err(io_error(what()))
}

fn router() -> Router {
    const CLOSE: [(header::HeaderName, &str); 1] = [(header::CONNECTION, "close")];
    let waits = || async {
        let text = "another replica of this agent acts, or none does yet\n";
        (StatusCode::SERVICE_UNAVAILABLE, CLOSE, text).into_response()
    };
    Router::new()
        .route("/livez", get(|| async { (CLOSE, "alive, waits for its turn\n") }))
        .fallback(waits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    #[tokio::test]
    async fn a_replica_that_waits_is_alive_and_never_a_primary() {
        for (path, wanted) in [
            ("/livez", 200),
            ("/readyz", 503),
            ("/pairs/app/primary", 503),
            ("/pairs/app/standby", 503),
            ("/pairs/app/read-write", 503),
            ("/pairs/app/health", 503),
        ] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = router().oneshot(request).await.unwrap();
            assert_eq!(response.status(), wanted, "{path}");
            assert_eq!(response.headers()["connection"], "close");
        }
    }
}
