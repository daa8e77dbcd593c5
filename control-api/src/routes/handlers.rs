//! From requests to [`Api`] and back.

use axum::body::Body;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use continuum_domain::{OperationId, PairId};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::extract::{Id, Order, Params, Sight};
use super::{Handle, sse};
use crate::ask::entity_tag;
use crate::openapi;
use crate::problem::ApiError;
use crate::reference;
use crate::rest::{
    API, AddCoreNode, Applied, ApplyPair, ApplyQuery, AuditQuery, DiffQuery, EventsQuery,
    ExportQuery, FailbackRequest, FailoverRequest, FleetQuery, HistoryQuery, OperationsQuery, Page,
    PairsQuery, PausePairRequest, PauseQuery, PauseRequest, ReasonBody, RejoinRequest,
    ResumePairRequest, RollbackRequest, SpecVersion, Started, SwitchoverRequest, VerifyQuery,
};

/// Says of an export whether people are named in it.
const PERSONAL_DATA: HeaderName = HeaderName::from_static("continuum-personal-data");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

fn json_response<T: Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let json = [(header::CONTENT_TYPE, "application/json")];
            (status, json, Body::from(bytes)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            ApiError::new(
                500,
                "internal",
                "the answer could not be written; the request may have taken effect",
            )
            .into_response()
        }
    }
}

pub(super) fn answer<T: Serialize>(result: Result<T, ApiError>) -> Response {
    match result {
        Ok(value) => json_response(StatusCode::OK, &value),
        Err(error) => error.into_response(),
    }
}

/// With the entity tag of the version.
fn tagged<T: Serialize>(result: Result<T, ApiError>, version: impl Fn(&T) -> u64) -> Response {
    let tag = result.as_ref().ok().map(|value| entity_tag(version(value)));
    let mut response = answer(result);
    if let Some(tag) = tag.and_then(|tag| HeaderValue::from_str(&tag).ok()) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// With a link to the next page, if there is one.
fn paged<T: Serialize>(result: Result<Page<T>, ApiError>, path: &str) -> Response {
    match result {
        Ok(Page { items, next }) => {
            let mut response = json_response(StatusCode::OK, &items);
            let link = next.map(|query| format!("<{API}{path}?{query}>; rel=\"next\""));
            if let Some(link) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
                response.headers_mut().insert(header::LINK, link);
            }
            response
        }
        Err(error) => error.into_response(),
    }
}

/// 202 for an operation that goes on, 200 for a plan.
fn started(result: Result<Started, ApiError>) -> Response {
    match result {
        Ok(value) => {
            let Started::Operation(operation) = &value else { return answer(Ok(value)) };
            let place = format!("{API}/operations/{}", operation.id);
            let mut response = json_response(StatusCode::ACCEPTED, &value);
            if let Ok(place) = HeaderValue::from_str(&place) {
                response.headers_mut().insert(header::LOCATION, place);
            }
            response
        }
        Err(error) => error.into_response(),
    }
}

pub async fn no_route() -> ApiError {
    let text = format!("no such route; {API}/reference lists those of {API}");
    ApiError::new(404, "no-such-route", text)
}

pub async fn no_method() -> ApiError {
    ApiError::new(405, "no-such-method", "the route does not take this method")
}

pub async fn pairs(
    State(api): Handle,
    sight: Sight,
    Params(query): Params<PairsQuery>,
) -> Response {
    paged(api.pairs(&sight, query).await, "/pairs")
}

pub async fn pair(State(api): Handle, _: Sight, Id(id): Id<PairId>) -> Response {
    tagged(api.pair(id).await, |pair| pair.version)
}

pub async fn apply_pair(
    State(api): Handle,
    Id(id): Id<PairId>,
    Params(query): Params<ApplyQuery>,
    order: Order<ApplyPair>,
) -> Response {
    match api.apply_pair(order.ask, id, query, order.body).await {
        Ok(Applied::Version(version)) => {
            tagged(Ok(*version), |version: &SpecVersion| version.version)
        }
        Ok(Applied::Diff(diff)) => answer(Ok(diff)),
        Err(error) => error.into_response(),
    }
}

pub async fn remove_pair(
    State(api): Handle,
    Id(id): Id<PairId>,
    order: Order<ReasonBody>,
) -> Response {
    answer(api.remove_pair(order.ask, id, order.body).await)
}

pub async fn versions(State(api): Handle, _: Sight, Id(id): Id<PairId>) -> Response {
    answer(api.versions(id).await)
}

pub async fn history(
    State(api): Handle,
    _: Sight,
    Id(id): Id<PairId>,
    Params(query): Params<HistoryQuery>,
) -> Response {
    answer(api.history(id, query).await)
}

pub async fn diff(
    State(api): Handle,
    _: Sight,
    Id(id): Id<PairId>,
    Params(query): Params<DiffQuery>,
) -> Response {
    answer(api.diff(id, query).await)
}

pub async fn roll_back(
    State(api): Handle,
    Id(id): Id<PairId>,
    order: Order<RollbackRequest>,
) -> Response {
    tagged(api.roll_back(order.ask, id, order.body).await, |version| version.version)
}

pub async fn switchover(
    State(api): Handle,
    Id(id): Id<PairId>,
    order: Order<SwitchoverRequest>,
) -> Response {
    started(api.switchover(order.ask, id, order.body).await)
}

pub async fn failover(
    State(api): Handle,
    Id(id): Id<PairId>,
    order: Order<FailoverRequest>,
) -> Response {
    started(api.failover(order.ask, id, order.body).await)
}

pub async fn failback(
    State(api): Handle,
    Id(id): Id<PairId>,
    order: Order<FailbackRequest>,
) -> Response {
    started(api.failback(order.ask, id, order.body).await)
}

pub async fn pause_pair(
    State(api): Handle,
    Id(id): Id<PairId>,
    order: Order<PausePairRequest>,
) -> Response {
    started(api.pause_pair(order.ask, id, order.body).await)
}

pub async fn resume_pair(
    State(api): Handle,
    Id(id): Id<PairId>,
    order: Order<ResumePairRequest>,
) -> Response {
    started(api.resume_pair(order.ask, id, order.body).await)
}

pub async fn rejoin(
    State(api): Handle,
    Id(id): Id<PairId>,
    order: Order<RejoinRequest>,
) -> Response {
    started(api.rejoin(order.ask, id, order.body).await)
}

pub async fn operations(
    State(api): Handle,
    sight: Sight,
    Params(query): Params<OperationsQuery>,
) -> Response {
    paged(api.operations(&sight, query).await, "/operations")
}

pub async fn operation(State(api): Handle, _: Sight, Id(id): Id<OperationId>) -> Response {
    answer(api.operation(id).await)
}

pub async fn cancel(
    State(api): Handle,
    Id(id): Id<OperationId>,
    order: Order<ReasonBody>,
) -> Response {
    answer(api.cancel(order.ask, id, order.body).await)
}

pub async fn approve(
    State(api): Handle,
    Id(id): Id<OperationId>,
    order: Order<ReasonBody>,
) -> Response {
    answer(api.approve(order.ask, id, order.body).await)
}

pub async fn approvals(State(api): Handle, sight: Sight) -> Response {
    answer(api.approvals(&sight).await)
}

pub async fn pauses(State(api): Handle, sight: Sight) -> Response {
    answer(api.pauses(&sight).await)
}

pub async fn pause(State(api): Handle, order: Order<PauseRequest>) -> Response {
    answer(api.pause(order.ask, order.body).await)
}

pub async fn resume(
    State(api): Handle,
    Params(query): Params<PauseQuery>,
    order: Order<ReasonBody>,
) -> Response {
    answer(api.resume(order.ask, query, order.body).await)
}

pub async fn audit(
    State(api): Handle,
    sight: Sight,
    Params(query): Params<AuditQuery>,
) -> Response {
    answer(api.audit(&sight, query).await)
}

pub async fn verify_audit(
    State(api): Handle,
    _: Sight,
    Params(query): Params<VerifyQuery>,
) -> Response {
    answer(api.verify_audit(query).await)
}

pub async fn export_audit(
    State(api): Handle,
    _: Sight,
    Params(query): Params<ExportQuery>,
) -> Response {
    let hashed = query.hash_personal;
    match api.export_audit(query).await {
        Ok(export) => {
            let headers = [
                (header::CONTENT_TYPE, export.media),
                (PERSONAL_DATA, if hashed { "hashed" } else { "plain" }),
            ];
            (headers, Body::from_stream(export.text)).into_response()
        }
        Err(error) => error.into_response(),
    }
}

pub async fn events(
    State(api): Handle,
    sight: Sight,
    Params(query): Params<EventsQuery>,
    headers: HeaderMap,
) -> Response {
    // A client that reconnects names what it had last; that counts more than what it once asked for.
    let resumed = match headers.get(LAST_EVENT_ID) {
        None => None,
        Some(value) => match value.to_str().ok().and_then(|text| text.parse().ok()) {
            Some(index) => Some(index),
            None => {
                let text = "Last-Event-ID: is no position of the audit chain";
                return ApiError::new(400, "query-refused", text).into_response();
            }
        },
    };
    match api.events(sight, query.pair, resumed.or(query.after)).await {
        Ok(events) => sse::answer(events),
        Err(error) => error.into_response(),
    }
}

pub async fn sinks(State(api): Handle, _: Sight) -> Response {
    answer(api.sinks().await)
}

pub async fn dead_letters(State(api): Handle, _: Sight, Id(sink): Id<String>) -> Response {
    answer(api.dead_letters(sink).await)
}

pub async fn retry_dead_letters(
    State(api): Handle,
    Id(sink): Id<String>,
    order: Order<ReasonBody>,
) -> Response {
    answer(api.retry_dead_letters(order.ask, sink).await)
}

pub async fn test_sink(
    State(api): Handle,
    Id(sink): Id<String>,
    order: Order<ReasonBody>,
) -> Response {
    answer(api.test_sink(order.ask, sink).await)
}

pub async fn status(State(api): Handle, sight: Sight) -> Response {
    answer(api.status(&sight).await)
}

pub async fn fleet(
    State(api): Handle,
    sight: Sight,
    Params(query): Params<FleetQuery>,
) -> Response {
    answer(api.fleet(&sight, query).await)
}

pub async fn leases(State(api): Handle, sight: Sight) -> Response {
    answer(api.leases(&sight).await)
}

pub async fn regions(State(api): Handle, sight: Sight) -> Response {
    answer(api.regions(&sight).await)
}

pub async fn core(State(api): Handle, _: Sight) -> Response {
    answer(api.core().await)
}

pub async fn add_node(State(api): Handle, order: Order<AddCoreNode>) -> Response {
    answer(api.add_node(order.ask, order.body).await)
}

pub async fn remove_node(
    State(api): Handle,
    Id(id): Id<u64>,
    order: Order<ReasonBody>,
) -> Response {
    answer(api.remove_node(order.ask, id).await)
}

pub async fn document() -> Response {
    answer(Ok(openapi::document()))
}

pub async fn reference() -> Html<String> {
    Html(reference::page())
}
