//! Lease-gated health URLs, for load balancers and name servers. 200 only if true at that instant.

use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use continuum_control_api::link::MemberRole;
use continuum_domain::PairId;
use continuum_domain::pair::types::SessionView;
use continuum_runtime::SharedClock;
use continuum_runtime::metrics::OPEN_METRICS;
use tokio::sync::watch;

use crate::core_link::{Pairs, find};
use crate::metrics::Scraped;
use crate::report::role;

/// A look by SQL that is older says nothing of a standby.
const LOOK_AGE_MAX: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Health {
    pairs: Pairs,
    clock: SharedClock,
    session: watch::Receiver<SessionView>,
}

/// The routes: `/pairs/{id}/primary`, `/standby`, `/read-write`, `/health`, `/livez`, `/readyz`,
/// `/metrics`.
pub(crate) fn router(scraped: Scraped) -> Router {
    let Scraped { pairs, clock, session, .. } = scraped.clone();
    let metrics = Router::new().route("/metrics", get(metrics)).with_state(scraped);
    Router::new()
        .route("/livez", get(|| async { (StatusCode::OK, "alive\n") }))
        .route("/readyz", get(ready))
        .route("/pairs/{pair}/primary", get(primary))
        .route("/pairs/{pair}/read-write", get(primary))
        .route("/pairs/{pair}/standby", get(standby))
        .route("/pairs/{pair}/health", get(health))
        .with_state(Health { pairs, clock, session })
        .merge(metrics)
}

async fn metrics(State(scraped): State<Scraped>) -> Response {
    match scraped.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

type Answer = (StatusCode, String);

fn no(reason: impl Into<String>) -> Answer {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reason.into()))
}

async fn ready(State(health): State<Health>) -> Answer {
    let now = health.clock.now();
    if health.session.borrow().valid(now) {
        (StatusCode::OK, "ready\n".into())
    } else {
        no("no session at the witness")
    }
}

fn member_role(health: &Health, pair: &str) -> Result<MemberRole, Answer> {
    let pair = PairId::new(pair).map_err(|error| (StatusCode::NOT_FOUND, error.to_string()))?;
    let handle = find(&health.pairs, &pair)
        .ok_or_else(|| (StatusCode::NOT_FOUND, format!("pair {pair} does not run here\n")))?;
    let status = handle.status.borrow();
    Ok(role(&status, health.clock.now()))
}

async fn primary(State(health): State<Health>, Path(pair): Path<String>) -> Answer {
    match member_role(&health, &pair) {
        Ok(MemberRole::Primary) => (StatusCode::OK, "primary\n".into()),
        Ok(other) => no(format!("{other:?}")),
        Err(answer) => answer,
    }
}

async fn standby(State(health): State<Health>, Path(pair): Path<String>) -> Answer {
    match member_role(&health, &pair) {
        Ok(MemberRole::Standby) => {}
        Ok(other) => return no(format!("{other:?}")),
        Err(answer) => return answer,
    }
    let streaming =
        PairId::new(pair).ok().and_then(|pair| find(&health.pairs, &pair)).is_some_and(|handle| {
            let now = health.clock.now();
            let status = handle.status.borrow();
            status
                .observation
                .sql
                .as_ref()
                .is_some_and(|(at, sql)| sql.receiver_streaming && now.since(*at) < LOOK_AGE_MAX)
        });
    if streaming { (StatusCode::OK, "standby\n".into()) } else { no("not streaming") }
}

async fn health(State(health): State<Health>, Path(pair): Path<String>) -> Answer {
    match member_role(&health, &pair) {
        Ok(MemberRole::Unknown) => no("Unknown"),
        Ok(role) => (StatusCode::OK, format!("{role:?}\n")),
        Err(answer) => answer,
    }
}
