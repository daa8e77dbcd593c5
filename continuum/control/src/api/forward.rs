//! In front of the routes: who may call, and where the request is answered.
//!
//! Any node takes any request. The leader answers; others carry the request to it over gRPC with the
//! caller's identity, once: a node that is asked by another and does not lead says so.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use continuum_control_api::pb::core_node_client::CoreNodeClient;
use continuum_control_api::pb::{ForwardHeader, ForwardReply, ForwardRequest};
use continuum_control_api::rest::API;
use continuum_control_api::routes::{self, ApiError, BODY_BYTES_MAX, IDEMPOTENCY_KEY, Principal};
use continuum_domain::access::Caller;
use continuum_runtime::net::{Caller as Connection, channel};
use continuum_runtime::{Identity, Role, seed};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tower::ServiceExt;

use super::{Service, door, gate, origin};
use crate::core::{Core, no_leader};
use crate::metrics::{self, OPEN_METRICS};
use crate::traces;

/// How long a request may take in all; adding a node waits until it has caught up.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const MEMBERSHIP_TIMEOUT: Duration = Duration::from_secs(40);
/// Largest answer a node carries for another.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Names a request in logs and answers.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
/// What is carried to the leader with a request, and back with an answer.
const CARRIED: [HeaderName; 5] =
    [header::IF_MATCH, header::IF_NONE_MATCH, IDEMPOTENCY_KEY, REQUEST_ID, TRACE_PARENT];
const CARRIED_BACK: [HeaderName; 4] =
    [header::CONTENT_TYPE, header::ETAG, header::LINK, header::LOCATION];

/// The whole REST service of a node.
pub(crate) fn service(core: &Arc<Core>) -> Router {
    let routed = answering(core)
        .layer(middleware::from_fn_with_state(core.clone(), to_leader))
        .route_layer(middleware::from_fn(tell_route))
        .layer(middleware::from_fn_with_state(core.clone(), door::identify));
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/startupz", get(started))
        .route("/metrics", get(metrics))
        .with_state(core.clone())
        .merge(routed)
        .layer(middleware::from_fn(bound_time))
        .layer(middleware::from_fn_with_state(core.clone(), name_request))
}

/// The routes as this node answers them itself, each behind the gate.
pub(crate) fn answering(core: &Arc<Core>) -> Router {
    routes::router(Arc::new(Service { core: core.clone() }))
        .route_layer(middleware::from_fn_with_state(core.clone(), gate::gate))
}

/// Leaves the pattern of the route with the answer, for who counts it.
async fn tell_route(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}

async fn ready(State(core): State<Arc<Core>>) -> Response {
    if let Some(failure) = core.node.failure() {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("stopped: {failure}\n")).into_response();
    }
    match core.leadership().leader_in_reach() {
        Some(leader) => format!("ready, {} leads\n", leader.name).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "no leader is in reach\n").into_response(),
    }
}

/// Whether the node has come to know its core: it has a leader, or had one.
async fn started(State(core): State<Arc<Core>>) -> Response {
    match core.leadership().term {
        0 => (StatusCode::SERVICE_UNAVAILABLE, "not part of a core yet\n").into_response(),
        _ => "started\n".into_response(),
    }
}

async fn metrics(State(core): State<Arc<Core>>, request: Request) -> Response {
    if let Err(refusal) = door::may_scrape(&core, door::Shown::of(&request)).await {
        return *refusal;
    }
    match metrics::text(&core) {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Gives a request a name, or takes the caller's, and tells it with the answer.
async fn name_request(State(core): State<Arc<Core>>, mut request: Request, next: Next) -> Response {
    let given = request.headers().get(&REQUEST_ID).filter(|name| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (1..=64).contains(&name.len()) && name.as_bytes().iter().copied().all(fits)
    });
    let forwarded = request.extensions().get::<Forwarded>().is_some();
    let name = match given {
        Some(name) => name.clone(),
        None => HeaderValue::from_str(&seed::random_id(16)).expect("letters and digits"),
    };
    request.headers_mut().insert(REQUEST_ID, name.clone());
    let text = name.to_str().unwrap_or_default().to_owned();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let since = core.clock.now();
    // Probes and scrapes are no requests of the API.
    let told = path.starts_with(API).then(|| {
        let carried = (&TRACE_PARENT, forwarded);
        traces::asked(&core.traces, &core.clock, carried, &mut request)
    });
    let mut response = next.run(request).await;
    let (status, took) = (response.status().as_u16(), core.clock.now().since(since));
    let route = response.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    core.requests.answered(method.as_str(), route, status, took);
    tracing::debug!(request = text, %method, path, status, ?took, "answered");
    if let Some(told) = told.flatten() {
        let (node, response) = (core.config.name.as_str(), &response);
        let answered = traces::Answered { node, request: &text, response };
        core.traces.tell(told.span(&core.clock, &answered));
    }
    response.headers_mut().insert(REQUEST_ID, name);
    response
}

async fn bound_time(request: Request, next: Next) -> Response {
    let members = format!("{API}/core/members");
    let changes_members = request.uri().path().starts_with(&members);
    let limit = if changes_members { MEMBERSHIP_TIMEOUT } else { REQUEST_TIMEOUT };
    tokio::time::timeout(limit, next.run(request)).await.unwrap_or_else(|_| {
        let text = format!(
            "no answer within {limit:?}; whether the request took effect is not known; look before \
             repeating it"
        );
        ApiError::retryable(504, "timeout", text).into_response()
    })
}

/// Marks a request that another node forwarded.
#[derive(Clone, Copy, Debug)]
struct Forwarded;

/// Answers here when this node leads, and carries the request to the leader otherwise.
async fn to_leader(State(core): State<Arc<Core>>, request: Request, next: Next) -> Response {
    let leadership = core.leadership();
    if leadership.i_lead || is_answered_by_any(&request) {
        return next.run(request).await;
    }
    let leader = match leadership.leader {
        Some(leader) if leader.id != core.node.id() => leader,
        _ => return no_leader("none is known").into_response(),
    };
    if request.extensions().get::<Forwarded>().is_some() {
        return no_leader(&format!("{} leads by now", leader.name)).into_response();
    }
    match carry(&core, &leader, request).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

/// Each node tells its own view of the core, which with no leader is the view to look at, and what it
/// has applied itself; the documents are the same everywhere.
pub(super) fn is_answered_by_any(request: &Request) -> bool {
    let path = request.uri().path().strip_prefix(API).unwrap_or_default();
    let own = matches!(
        path,
        "/audit/export" | "/audit/verify" | "/core" | "/events" | "/openapi.json" | "/reference"
    );
    own && request.method() == Method::GET
}

fn carried(headers: &HeaderMap, names: &[HeaderName]) -> Vec<ForwardHeader> {
    let one = |name: &HeaderName| {
        let value = headers.get(name)?.as_bytes().to_vec();
        Some(ForwardHeader { name: name.to_string(), value })
    };
    names.iter().filter_map(one).collect()
}

/// Headers of ours among those that were carried.
fn uncarried(headers: Vec<ForwardHeader>, names: &[HeaderName]) -> HeaderMap {
    let one = |header: ForwardHeader| {
        let name = names.iter().find(|name| name.as_str() == header.name)?;
        Some((name.clone(), HeaderValue::from_bytes(&header.value).ok()?))
    };
    headers.into_iter().filter_map(one).collect()
}

async fn carry(
    core: &Core,
    leader: &crate::raft::Member,
    request: Request,
) -> Result<Response, ApiError> {
    let Some(Principal(caller)) = request.extensions().get::<Principal>().cloned() else {
        return Err(door::unauthenticated("the caller is not known"));
    };
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let method = request.method().to_string();
    let is_read = request.method() == Method::GET;
    let mut headers = carried(request.headers(), &CARRIED);
    headers.extend(origin::carried(&request));
    let body = to_bytes(request.into_body(), BODY_BYTES_MAX).await.map_err(|error| {
        let text = format!("{error}; at most {BODY_BYTES_MAX} bytes are accepted");
        ApiError::new(413, "body-unreadable", text)
    })?;
    let peer = Identity::new(Role::Core, leader.name.clone());
    let mut client = CoreNodeClient::new(channel(&core.network, &leader.address, &peer))
        .max_decoding_message_size(ANSWER_BYTES_MAX);
    // A node of an older version reads the principal alone, and refuses all but certificates.
    let principal = caller.to_string();
    let caller = serde_json::to_string(&caller).expect("a caller is plain data");
    let forward = ForwardRequest { method, path, body: body.to_vec(), principal, headers, caller };
    match client.forward(forward).await {
        Ok(reply) => Ok(answer(reply.into_inner())),
        Err(status) if is_read => Err(no_leader(&format!("{}: {}", leader.name, status.message()))),
        Err(status) => Err(ApiError::retryable(
            503,
            "outcome-unknown",
            format!(
                "the leader {} gave no answer ({}); whether the request took effect is not known; \
                 writes to PostgreSQL go on; look before repeating it",
                leader.name,
                status.message()
            ),
        )),
    }
}

fn answer(reply: ForwardReply) -> Response {
    let status = u16::try_from(reply.status).ok().and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.unwrap_or(StatusCode::BAD_GATEWAY);
    let mut headers = uncarried(reply.headers, &CARRIED_BACK);
    // A node of an older version says nothing of it.
    headers
        .entry(header::CONTENT_TYPE)
        .or_insert_with(|| HeaderValue::from_static("application/json"));
    (status, headers, Body::from(reply.body)).into_response()
}

/// Who asked the node that carried the request here; one of an older version names certificates only.
#[allow(clippy::result_large_err, reason = "tonic's own type of error")]
fn principal(forward: &ForwardRequest) -> Result<Caller, tonic::Status> {
    if !forward.caller.is_empty() {
        let caller = serde_json::from_str(&forward.caller);
        return caller.map_err(|error| tonic::Status::invalid_argument(error.to_string()));
    }
    let identity: Identity = forward.principal.parse().map_err(tonic::Status::invalid_argument)?;
    door::caller_of(&identity)
        .ok_or_else(|| tonic::Status::permission_denied(format!("{identity} may not call the API")))
}

/// Serves a request that another control node carried here.
pub(crate) async fn serve_forwarded(
    router: Router,
    caller: Option<&Connection>,
    forward: ForwardRequest,
) -> Result<ForwardReply, tonic::Status> {
    let from = caller.and_then(|caller| caller.identity.as_ref());
    if from.is_none_or(|identity| identity.role != Role::Core) {
        return Err(tonic::Status::permission_denied("only control nodes forward requests"));
    }
    let principal = principal(&forward)?;
    let mut request = Request::builder()
        .method(forward.method.as_str())
        .uri(forward.path)
        .extension(Principal(principal))
        .extension(Forwarded)
        .extension(origin::Carried::of(&forward.headers))
        .body(Body::from(Bytes::from(forward.body)))
        .map_err(|error| tonic::Status::invalid_argument(error.to_string()))?;
    *request.headers_mut() = uncarried(forward.headers, &CARRIED);
    let response = match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let status = u32::from(response.status().as_u16());
    let headers = carried(response.headers(), &CARRIED_BACK);
    let body = to_bytes(response.into_body(), ANSWER_BYTES_MAX)
        .await
        .map_err(|error| tonic::Status::internal(error.to_string()))?;
    Ok(ForwardReply { status, body: body.to_vec(), headers })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried_by(principal: &str, caller: &str) -> Result<Caller, tonic::Code> {
        let (principal, caller) = (principal.to_owned(), caller.to_owned());
        let forward = ForwardRequest { principal, caller, ..ForwardRequest::default() };
        super::principal(&forward).map_err(|status| status.code())
    }

    #[test]
    fn a_node_of_an_older_version_carries_certificates_and_is_understood() {
        let alice = Caller::certificate("alice");
        assert_eq!(carried_by("operator/alice", ""), Ok(alice));
        assert_eq!(carried_by("region/fsn", ""), Err(tonic::Code::PermissionDenied));
    }

    #[test]
    fn what_an_older_node_reads_of_a_bearer_is_refused_there() {
        let limited = [
            Caller::user("ann", vec!["dba".into()], 7),
            Caller::user("operator/alice", Vec::new(), 7),
            Caller::token("t1", "ci", "operator/alice"),
        ];
        for caller in limited {
            let principal = caller.to_string();
            assert!(principal.parse::<Identity>().is_err(), "{principal}");
            let json = serde_json::to_string(&caller).expect("plain data");
            assert_eq!(carried_by(&principal, &json), Ok(caller));
        }
    }

    #[test]
    fn what_is_not_understood_gives_no_power() {
        for caller in ["{", "{}", r#"{"name":"a","person":"a","via":"king"}"#] {
            assert_eq!(carried_by("operator/alice", caller), Err(tonic::Code::InvalidArgument));
        }
    }
}
