//! The routes of `/api/v1`: what is accepted at which path. What it means is behind [`Api`].
//!
//! Every error answer is a [`Problem`] with a stable code. JSON with a field nobody knows is
//! refused and the field is named, so that a misspelt option never passes for its default.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use continuum_domain::operation::Operation;
use continuum_domain::{OperationId, PairId};
use continuum_runtime::Identity;
use http::request::Parts;
use http::{StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::rest::{
    AddCoreNode, ApplyPair, AuditQuery, AuditRecord, AuditVerdict, AutomationPause, CoreView,
    FailoverRequest, OperationsQuery, PairView, PauseQuery, PauseRequest, Problem, ReasonBody,
    SpecVersion, Started, Status, SwitchoverRequest,
};

/// Largest request body.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// An error answer with its HTTP status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {}", problem.code, problem.message)]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub problem: Problem,
}

impl ApiError {
    /// An error that repeating will not cure.
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        let problem = Problem {
            code: code.into(),
            message: message.into(),
            reasons: Vec::new(),
            retryable: false,
        };
        Self { status, problem }
    }

    /// An error that the same request may not meet later.
    pub fn retryable(status: u16, code: &str, message: impl Into<String>) -> Self {
        let mut error = Self::new(status, code, message);
        error.problem.retryable = true;
        error
    }

    /// The same with one line per reason.
    #[must_use]
    pub fn with_reasons(mut self, reasons: Vec<String>) -> Self {
        self.problem.reasons = reasons;
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        json_response(status, &self.problem)
    }
}

/// The authenticated caller of a request. The server puts it into the request's extensions; a
/// request without one is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal(pub Identity);

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Principal>().cloned().ok_or_else(|| {
            ApiError::new(403, "forbidden", "the caller's certificate carries no name of ours")
        })
    }
}

/// What the API does. Implemented by the control core's leader.
#[async_trait]
pub trait Api: Send + Sync + 'static {
    /// All pairs.
    async fn pairs(&self) -> Result<Vec<PairView>, ApiError>;
    /// One pair.
    async fn pair(&self, pair: PairId) -> Result<PairView, ApiError>;
    /// Creates or changes a pair.
    async fn apply_pair(
        &self,
        who: Principal,
        pair: PairId,
        body: ApplyPair,
    ) -> Result<SpecVersion, ApiError>;
    /// Removes a pair's spec; its members and data are left alone.
    async fn remove_pair(
        &self,
        who: Principal,
        pair: PairId,
        body: ReasonBody,
    ) -> Result<SpecVersion, ApiError>;
    /// All versions of a pair's spec.
    async fn history(&self, pair: PairId) -> Result<Vec<SpecVersion>, ApiError>;
    /// Starts or plans a switchover.
    async fn switchover(
        &self,
        who: Principal,
        pair: PairId,
        body: SwitchoverRequest,
    ) -> Result<Started, ApiError>;
    /// Starts a failover that a person orders.
    async fn failover(
        &self,
        who: Principal,
        pair: PairId,
        body: FailoverRequest,
    ) -> Result<Started, ApiError>;
    /// Operations, newest first.
    async fn operations(&self, query: OperationsQuery) -> Result<Vec<Operation>, ApiError>;
    /// One operation.
    async fn operation(&self, operation: OperationId) -> Result<Operation, ApiError>;
    /// Asks for an operation to be cancelled.
    async fn cancel(
        &self,
        who: Principal,
        operation: OperationId,
        body: ReasonBody,
    ) -> Result<Operation, ApiError>;
    /// Approves an operation that waits for it.
    async fn approve(
        &self,
        who: Principal,
        operation: OperationId,
        body: ReasonBody,
    ) -> Result<Operation, ApiError>;
    /// Pauses of automation in force.
    async fn pauses(&self) -> Result<Vec<AutomationPause>, ApiError>;
    /// Pauses automation.
    async fn pause(&self, who: Principal, body: PauseRequest) -> Result<AutomationPause, ApiError>;
    /// Ends a pause; the pauses still in force.
    async fn resume(
        &self,
        who: Principal,
        query: PauseQuery,
        body: ReasonBody,
    ) -> Result<Vec<AutomationPause>, ApiError>;
    /// A page of the audit chain.
    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRecord>, ApiError>;
    /// Verifies the audit chain.
    async fn verify_audit(&self) -> Result<AuditVerdict, ApiError>;
    /// Everything at a glance.
    async fn status(&self) -> Result<Status, ApiError>;
    /// The core as the answering node sees it.
    async fn core(&self) -> Result<CoreView, ApiError>;
    /// Adds a control node.
    async fn add_node(&self, who: Principal, body: AddCoreNode) -> Result<CoreView, ApiError>;
    /// Removes a control node.
    async fn remove_node(&self, who: Principal, id: u64) -> Result<CoreView, ApiError>;
}

type Handle = State<Arc<dyn Api>>;

/// The router of all routes below [`crate::rest::API`].
pub fn router(api: Arc<dyn Api>) -> Router {
    let routes = Router::new()
        .route("/pairs", get(pairs))
        .route("/pairs/{id}", get(pair).put(apply_pair).delete(remove_pair))
        .route("/pairs/{id}/history", get(history))
        .route("/pairs/{id}/switchover", post(switchover))
        .route("/pairs/{id}/failover", post(failover))
        .route("/operations", get(operations))
        .route("/operations/{id}", get(operation))
        .route("/operations/{id}/cancel", post(cancel))
        .route("/operations/{id}/approve", post(approve))
        .route("/automation/pause", get(pauses).put(pause).delete(resume))
        .route("/audit", get(audit))
        .route("/audit/verify", get(verify_audit))
        .route("/status", get(status))
        .route("/core", get(core))
        .route("/core/members", post(add_node))
        .route("/core/members/{id}", axum::routing::delete(remove_node));
    Router::new()
        .nest(crate::rest::API, routes)
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}

/// A JSON body whose every field is known; absent is the default where the type has one.
struct Checked<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Checked<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state).await.map_err(|error| {
            ApiError::new(
                error.status().as_u16(),
                "body-unreadable",
                format!(
                    "{error}; at most {BODY_BYTES_MAX} bytes are accepted; nothing was changed"
                ),
            )
        })?;
        let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(bytes).map(Checked).map_err(|error| {
            ApiError::new(
                422,
                "body-refused",
                format!("the JSON body is refused: {error}; nothing was changed"),
            )
        })
    }
}

/// Query parameters, every one known.
struct Params<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Params(value)),
            Err(error) => Err(ApiError::new(
                400,
                "query-refused",
                format!("the query is refused: {}", error.body_text()),
            )),
        }
    }
}

/// The path's identifier.
struct Id<T>(T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Id<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Id(value)),
            Err(error) => Err(ApiError::new(
                400,
                "path-refused",
                format!("the path is refused: {}", error.body_text()),
            )),
        }
    }
}

fn json_response<T: Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let json = [(header::CONTENT_TYPE, "application/json")];
            (status, json, Body::from(bytes)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn answer<T: Serialize>(result: Result<T, ApiError>) -> Response {
    match result {
        Ok(value) => json_response(StatusCode::OK, &value),
        Err(error) => error.into_response(),
    }
}

/// 202 for an operation that goes on, 200 for a plan.
fn started(result: Result<Started, ApiError>) -> Response {
    match result {
        Ok(value @ Started::Operation(_)) => json_response(StatusCode::ACCEPTED, &value),
        other => answer(other),
    }
}

async fn no_route() -> ApiError {
    ApiError::new(
        404,
        "no-such-route",
        "no such route; see the reference for the routes of /api/v1",
    )
}
async fn no_method() -> ApiError {
    ApiError::new(405, "no-such-method", "the route does not take this method")
}
async fn pairs(State(api): Handle, _: Principal) -> Response {
    answer(api.pairs().await)
}
async fn pair(State(api): Handle, _: Principal, Id(id): Id<PairId>) -> Response {
    answer(api.pair(id).await)
}
async fn apply_pair(
    State(api): Handle,
    who: Principal,
    Id(id): Id<PairId>,
    Checked(body): Checked<ApplyPair>,
) -> Response {
    answer(api.apply_pair(who, id, body).await)
}
async fn remove_pair(
    State(api): Handle,
    who: Principal,
    Id(id): Id<PairId>,
    Checked(body): Checked<ReasonBody>,
) -> Response {
    answer(api.remove_pair(who, id, body).await)
}
async fn history(State(api): Handle, _: Principal, Id(id): Id<PairId>) -> Response {
    answer(api.history(id).await)
}
async fn switchover(
    State(api): Handle,
    who: Principal,
    Id(id): Id<PairId>,
    Checked(body): Checked<SwitchoverRequest>,
) -> Response {
    started(api.switchover(who, id, body).await)
}
async fn failover(
    State(api): Handle,
    who: Principal,
    Id(id): Id<PairId>,
    Checked(body): Checked<FailoverRequest>,
) -> Response {
    started(api.failover(who, id, body).await)
}
async fn operations(
    State(api): Handle,
    _: Principal,
    Params(query): Params<OperationsQuery>,
) -> Response {
    answer(api.operations(query).await)
}
async fn operation(State(api): Handle, _: Principal, Id(id): Id<OperationId>) -> Response {
    answer(api.operation(id).await)
}
async fn cancel(
    State(api): Handle,
    who: Principal,
    Id(id): Id<OperationId>,
    Checked(body): Checked<ReasonBody>,
) -> Response {
    answer(api.cancel(who, id, body).await)
}
async fn approve(
    State(api): Handle,
    who: Principal,
    Id(id): Id<OperationId>,
    Checked(body): Checked<ReasonBody>,
) -> Response {
    answer(api.approve(who, id, body).await)
}
async fn pauses(State(api): Handle, _: Principal) -> Response {
    answer(api.pauses().await)
}
async fn pause(
    State(api): Handle,
    who: Principal,
    Checked(body): Checked<PauseRequest>,
) -> Response {
    answer(api.pause(who, body).await)
}
async fn resume(
    State(api): Handle,
    who: Principal,
    Params(query): Params<PauseQuery>,
    Checked(body): Checked<ReasonBody>,
) -> Response {
    answer(api.resume(who, query, body).await)
}
async fn audit(State(api): Handle, _: Principal, Params(query): Params<AuditQuery>) -> Response {
    answer(api.audit(query).await)
}
async fn verify_audit(State(api): Handle, _: Principal) -> Response {
    answer(api.verify_audit().await)
}
async fn status(State(api): Handle, _: Principal) -> Response {
    answer(api.status().await)
}
async fn core(State(api): Handle, _: Principal) -> Response {
    answer(api.core().await)
}
async fn add_node(
    State(api): Handle,
    who: Principal,
    Checked(body): Checked<AddCoreNode>,
) -> Response {
    answer(api.add_node(who, body).await)
}
async fn remove_node(State(api): Handle, who: Principal, Id(id): Id<u64>) -> Response {
    answer(api.remove_node(who, id).await)
}
