//! A region asks for its Kubernetes cluster. The request goes through the routes of the API, as the
//! caller `region/NAME`: grants, safety rules, approvals, conditions and keys count as for anybody.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use continuum_control_api::approvals::Approval;
use continuum_control_api::ask::entity_tag;
use continuum_control_api::audit::AuditOrigin;
use continuum_control_api::heard::{Heard, NOT_UNDERSTOOD};
use continuum_control_api::link::{RegionAnswer, RegionAsk, RegionWish};
use continuum_control_api::problem::Problem;
use continuum_control_api::rest::{API, ApplyPair, SpecVersion, Started, SwitchoverRequest};
use continuum_control_api::routes::{BODY_BYTES_MAX, IDEMPOTENCY_KEY, Principal, request_key};
use continuum_domain::access::Caller;
use continuum_domain::{PairId, RegionId};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tower::ServiceExt;

use crate::api::forward;
use crate::core::Core;
use crate::state::Reply;

/// How long a request may take, as one of anybody's.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Answers a request of a region.
pub(super) async fn answer(core: &Arc<Core>, region: &RegionId, ask: RegionAsk) -> RegionAnswer {
    let wish = match &ask.wish {
        Heard::Understood(wish) => wish.clone(),
        Heard::Other(other) => {
            let text = format!("{}; nothing was changed; upgrade the control nodes", other.problem);
            return refused(NOT_UNDERSTOOD, text, false);
        }
    };
    if let Err(error) = core.fresh().await {
        return refused(&error.problem.code, error.problem.detail, true);
    }
    if let Some(why) = not_a_member(core, region, &ask.pair, &wish) {
        return refused("forbidden", why, false);
    }
    let Some(order) = Order::of(&ask, wish) else {
        let text = "the request's key or its body does not fit; nothing was changed".into();
        return refused("idempotency-key-refused", text, false);
    };
    if let Some(answer) = answered_elsewhere(core, region, &ask.pair, &order) {
        return answer;
    }
    let request = match order.request(region, &ask.key) {
        Ok(request) => request,
        Err(error) => return refused("internal", error.to_string(), false),
    };
    match tokio::time::timeout(TIMEOUT, forward::answering(core).oneshot(request)).await {
        Ok(Ok(response)) => {
            let status = response.status();
            let body = to_bytes(response.into_body(), BODY_BYTES_MAX).await.unwrap_or_default();
            plainly(core, region, &ask, understood(status, &body))
        }
        Ok(Err(never)) => match never {},
        Err(_) => refused("timeout", "the core did not answer itself in time".into(), true),
    }
}

fn refused(code: &str, text: String, again: bool) -> RegionAnswer {
    RegionAnswer::Refused { code: code.into(), text, again }
}

/// The answer to one request too many.
pub(super) fn too_many(region: &RegionId) -> RegionAnswer {
    let text = format!("region {region} asks for too much at once; nothing was changed");
    refused("rate-limited", text, true)
}

/// A region has a word about the pairs that it runs a member of, and no other.
fn not_a_member(
    core: &Core,
    region: &RegionId,
    pair: &PairId,
    wish: &RegionWish,
) -> Option<String> {
    let known =
        core.node.read(|state| state.spec(pair).map(|(_, spec)| spec.members.contains_key(region)));
    let wanted = match wish {
        RegionWish::Apply { spec, .. } => spec.id == *pair && spec.members.contains_key(region),
        RegionWish::Switchover { .. } => true,
    };
    let is_member = known.unwrap_or(wanted) && wanted;
    (!is_member).then(|| {
        format!(
            "region {region} is no member of pair {pair}, and may not ask for it; nothing was changed; \
             ask where it is one, or through the API"
        )
    })
}

/// The request of a route.
struct Order {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    moves: bool,
}

impl Order {
    fn of(ask: &RegionAsk, wish: RegionWish) -> Option<Self> {
        let reason = ask.reason.clone();
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_str(&ask.key).ok()?);
        let moves = matches!(wish, RegionWish::Switchover { .. });
        let (method, path, body) = match wish {
            RegionWish::Apply { spec, expected } => {
                let (name, value) = match expected {
                    Some(version) => (header::IF_MATCH, entity_tag(version)),
                    None => (header::IF_NONE_MATCH, "*".to_owned()),
                };
                headers.insert(name, HeaderValue::from_str(&value).ok()?);
                let body = serde_json::to_vec(&ApplyPair { spec: *spec, reason });
                (Method::PUT, format!("/pairs/{}", ask.pair), body)
            }
            RegionWish::Switchover { to } => {
                let body = SwitchoverRequest { to, method: None, dry_run: false, reason };
                let body = serde_json::to_vec(&body);
                (Method::POST, format!("/pairs/{}/switchover", ask.pair), body)
            }
        };
        Some(Self { method, path, headers, body: body.ok()?.into(), moves })
    }

    fn request(self, region: &RegionId, key: &str) -> Result<Request, http::Error> {
        let mut request = Request::builder()
            .method(self.method)
            .uri(format!("{API}{}", self.path))
            .header(header::CONTENT_TYPE, "application/json")
            .extension(Principal(Caller::region(region.as_str())))
            .extension(AuditOrigin { address: None, request: Some(format!("kubernetes {key}")) })
            .body(Body::from(self.body))?;
        request.headers_mut().extend(self.headers);
        Ok(request)
    }
}

/// A move that another region of the pair asked for under the same key is the same request: the
/// object was applied to several clusters. It happens once.
fn answered_elsewhere(
    core: &Core,
    region: &RegionId,
    pair: &PairId,
    order: &Order,
) -> Option<RegionAnswer> {
    if !order.moves {
        return None;
    }
    let key = request_key(&order.headers, &order.method, &order.path, &order.body).ok()??;
    core.node.read(|state| {
        let (_, spec) = state.spec(pair)?;
        spec.others(region).into_iter().find_map(|other| {
            let actor = Caller::region(other.as_str()).to_string();
            Some(match state.remembered(&actor, &key)? {
                Ok(Reply::Operation(operation)) => {
                    RegionAnswer::Started { operation: operation.id.clone() }
                }
                Ok(Reply::Approval(view)) => RegionAnswer::Kept { approval: view.id.clone() },
                Ok(_) => return None,
                Err(_) => {
                    let text = format!(
                        "{other} asked for another move under this requestId; nothing was changed; \
                         choose a new requestId"
                    );
                    refused("idempotency-key-reused", text, false)
                }
            })
        })
    })
}

/// Who is hidden a pair that it runs a member of holds nothing over it; that is no secret from it.
fn plainly(core: &Core, region: &RegionId, ask: &RegionAsk, answer: RegionAnswer) -> RegionAnswer {
    let there = || core.node.read(|state| state.spec(&ask.pair).is_some());
    let makes = matches!(ask.wish.understood(), Some(RegionWish::Apply { .. }));
    match &answer {
        RegionAnswer::Refused { code, .. } if code == "pair-not-found" && (makes || there()) => {
            let text = format!(
                "region {region} holds no tier over pair {}; nothing was changed",
                ask.pair
            );
            refused("forbidden", text, false)
        }
        _ => answer,
    }
}

/// What an answer of a route says.
fn understood(status: StatusCode, body: &[u8]) -> RegionAnswer {
    if status.is_success() {
        if let Ok(Started::Operation(operation)) = serde_json::from_slice(body) {
            return RegionAnswer::Started { operation: operation.id };
        }
        if let Ok(approval) = serde_json::from_slice::<Approval>(body) {
            return RegionAnswer::Kept { approval: approval.id };
        }
        if let Ok(applied) = serde_json::from_slice::<SpecVersion>(body) {
            return RegionAnswer::Applied { version: applied.version };
        }
        let text = "the answer is not understood; look at the pair before asking again".into();
        return refused("internal", text, false);
    }
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    // What a person asked for once is not done hours later, when what spoke against it is gone.
    let again = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
    let reasons = problem.reasons.iter().map(|reason| format!("; {reason}"));
    let text = problem.detail.clone() + &reasons.collect::<String>();
    refused(&problem.code, text, again)
}
