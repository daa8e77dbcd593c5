//! The two-person rule: keeping requests, and carrying them out once another person has approved.

use async_trait::async_trait;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use continuum_control_api::approvals::{Approval, ApprovalState, Awaiting, RuleBody};
use continuum_control_api::ask::Ask;
use continuum_control_api::audit::AuditOrigin;
use continuum_control_api::problem::Problem;
use continuum_control_api::rest::{API, ReasonBody, Started};
use continuum_control_api::routes::{
    ApiError, ApprovalApi, Asked, BODY_BYTES_MAX, Demand, IDEMPOTENCY_KEY, Principal, Target,
    request_key,
};
use continuum_domain::access::{Caller, Labels, Over, Power, SafetyRule, Tier, strictest};
use continuum_domain::{AccessName, ApprovalId, OperationId, PairId};
use continuum_runtime::seed;
use http::{HeaderValue, StatusCode, header};
use tower::ServiceExt;

use super::{Service, forward, look, unexpected};
use crate::core::Core;
use crate::state::{ApprovalChange, Change, CoreState, Kept, Reply, approval_not_found};

/// Characters of a request's name after its mark.
const ID_CHARS: usize = 10;
/// Largest body that is kept.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Marks a request that another person has approved: no rule keeps it again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Approved;

/// The rule that keeps a request, if one does. Broken glass passes all of them.
pub(super) fn rule_of(
    state: &CoreState,
    (caller, power): (&Caller, &Power),
    (asked, wanted): (&Asked<'_>, &[Demand]),
    now_ms: i64,
) -> Option<SafetyRule> {
    let verb = asked.verb()?;
    if state.access().glass_of(&caller.to_string(), now_ms).is_some() {
        return None;
    }
    let of = |labels: &Labels| (labels.clone(), power.tier(Over::Pair(Some(labels))));
    let about: Vec<(Labels, Option<Tier>)> = wanted
        .iter()
        .map(|demand| match &demand.target {
            Target::Pair(Some(pair)) => match state.spec(pair) {
                Some((_, spec)) => of(&spec.labels),
                None => (Labels::new(), power.tier(Over::All)),
            },
            Target::Labels(labels) => of(labels),
            Target::Version(pair, version) => {
                let spec = state.spec_of_version(pair, *version);
                spec.map_or_else(|| (Labels::new(), power.tier(Over::All)), |spec| of(&spec.labels))
            }
            _ => (Labels::new(), power.tier(Over::All)),
        })
        .collect();
    strictest(&state.approvals().rules(), verb, &about).cloned()
}

/// Keeps a request, and answers with what is to be approved.
pub(super) async fn keep(
    core: &Core,
    caller: &Caller,
    rule: SafetyRule,
    (request, wanted, body): (Request, &[Demand], Bytes),
) -> Result<Response, ApiError> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let path = path.strip_prefix(API).unwrap_or(path).to_owned();
    let text = String::from_utf8(body.to_vec()).ok().filter(|text| text.len() <= KEPT_BYTES_MAX);
    let Some(text) = text else {
        let text = format!(
            "the request would be kept for an approval, which takes a text of {KEPT_BYTES_MAX} bytes at \
             most; nothing was changed"
        );
        return Err(ApiError::new(413, "body-unreadable", text));
    };
    let key = request_key(request.headers(), request.method(), &path, &body)?;
    let condition = |name: &http::HeaderName| {
        let value = request.headers().get(name)?.to_str().ok()?;
        Some((name.to_string(), value.to_owned()))
    };
    let id = ApprovalId::new(format!("apr-{}", seed::random_id(ID_CHARS)));
    let view = Approval {
        id: id.map_err(|error| ApiError::new(500, "internal", error.to_string()))?,
        pair: wanted.iter().find_map(pair_of),
        method: request.method().to_string(),
        path,
        body: text,
        requester: caller.to_string(),
        person: caller.person.clone(),
        rule: rule.name,
        approver: rule.approver,
        created_ms: 0,
        expires_ms: 0,
        state: ApprovalState::Waiting,
    };
    let conditions = [header::IF_MATCH, header::IF_NONE_MATCH].iter().filter_map(condition);
    let kept = Kept { view, caller: caller.clone(), conditions: conditions.collect() };
    let origin = request.extensions().get::<AuditOrigin>().cloned();
    let condition = Default::default();
    let ask = Ask { who: caller.clone(), key, condition, origin, trace: None };
    let change = Change::Approval(ApprovalChange::Keep(Box::new(kept)));
    match core.change(&ask, change).await? {
        Reply::Approval(view) => {
            let now = core.node.read(|state| Some(state.approvals().kept(&view.id)?.view.clone()));
            Ok(accepted(&now.unwrap_or(view)))
        }
        other => Err(unexpected(&other)),
    }
}

fn pair_of(demand: &Demand) -> Option<PairId> {
    match &demand.target {
        Target::Pair(pair) => pair.clone(),
        _ => None,
    }
}

fn accepted(view: &Approval) -> Response {
    let body = serde_json::to_vec(view).expect("a request that is kept is plain data");
    let json = [(header::CONTENT_TYPE, "application/json")];
    let mut response = (StatusCode::ACCEPTED, json, Body::from(body)).into_response();
    let place = format!("{API}/approvals/{}", view.id);
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

impl Service {
    /// What waits for an approval: requests, then operations.
    pub(super) fn awaiting(&self, power: &Power) -> Vec<Awaiting> {
        let now_ms = self.core.now_ms();
        let mut requests: Vec<Approval> = self.core.node.read(|state| {
            let seen = |view: &&Approval| match &view.pair {
                Some(pair) => look::sees(state, power, pair),
                None => power.sees_all(),
            };
            state.approvals().waiting(now_ms).filter(seen).cloned().collect()
        });
        requests.sort_by(|a, b| (b.created_ms, &b.id).cmp(&(a.created_ms, &a.id)));
        let requests = requests.into_iter().map(|one| Awaiting::Request(Box::new(one)));
        let operations = look::approvals(&self.core, power).into_iter();
        requests.chain(operations.map(|one| Awaiting::Operation(Box::new(one)))).collect()
    }

    async fn change_approval(&self, ask: &Ask, change: ApprovalChange) -> Result<Reply, ApiError> {
        self.core.change(ask, Change::Approval(change)).await
    }

    fn all_rules(&self) -> Vec<SafetyRule> {
        self.core.node.read(|state| state.approvals().rules())
    }

    /// Carries out a request that was approved, as who asked; under its own name as the key, so that it
    /// takes effect once, however often this is cut off.
    async fn carry_out(&self, ask: &Ask, id: &ApprovalId) -> Result<Approval, ApiError> {
        let kept = self.core.node.read(|state| state.approvals().kept(id).cloned());
        let kept = kept.ok_or_else(|| approval_not_found(id))?;
        let Kept { view, mut caller, conditions } = kept;
        // The provider's word was good when it was given; grants are looked at as they are now.
        caller.until_ms = caller.until_ms.map(|_| i64::MAX);
        let mut request = Request::builder()
            .method(view.method.as_str())
            .uri(format!("{API}{}", view.path))
            .header(IDEMPOTENCY_KEY, id.as_str())
            .extension(Principal(caller))
            .extension(Approved);
        // Whoever approved it made it happen now, from there.
        if let Some(origin) = ask.origin.clone() {
            request = request.extension(origin);
        }
        if let Some(trace) = ask.trace {
            request = request.extension(trace);
        }
        for (name, value) in conditions {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(view.body));
        let request = request.map_err(|error| ApiError::new(500, "internal", error.to_string()))?;
        let response = match forward::answering(&self.core).oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status = response.status();
        let body = to_bytes(response.into_body(), BODY_BYTES_MAX * 64).await.unwrap_or_default();
        if status.is_server_error() {
            let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
            let text = format!(
                "{id} is approved, and was answered {}: {}; approve it again to finish it",
                status, problem.detail
            );
            return Err(ApiError::retryable(503, "outcome-unknown", text));
        }
        let (code, operation) = outcome(status, &body);
        let change =
            ApprovalChange::Finish { id: id.clone(), status: status.as_u16(), code, operation };
        // A key of the approver's names the approval, not its end.
        let unnamed = Ask { key: None, ..ask.clone() };
        approval_of(self.change_approval(&unnamed, change).await?)
    }
}

/// The code of an error, or the operation that was started.
fn outcome(status: StatusCode, body: &[u8]) -> (Option<String>, Option<OperationId>) {
    if !status.is_success() {
        let problem: Option<Problem> = serde_json::from_slice(body).ok();
        return (problem.map(|problem| problem.code), None);
    }
    match serde_json::from_slice(body) {
        Ok(Started::Operation(operation)) => (None, Some(operation.id)),
        _ => (None, None),
    }
}

fn approval_of(reply: Reply) -> Result<Approval, ApiError> {
    match reply {
        Reply::Approval(view) => Ok(view),
        other => Err(unexpected(&other)),
    }
}

#[async_trait]
impl ApprovalApi for Service {
    async fn rules(&self) -> Result<Vec<SafetyRule>, ApiError> {
        self.core.fresh().await?;
        Ok(self.all_rules())
    }

    async fn set_rule(
        &self,
        ask: Ask,
        name: AccessName,
        body: RuleBody,
    ) -> Result<SafetyRule, ApiError> {
        let reason = body.reason.clone();
        let change = ApprovalChange::SetRule { rule: body.named(name), reason };
        match self.change_approval(&ask, change).await? {
            Reply::Rule(rule) => Ok(rule),
            other => Err(unexpected(&other)),
        }
    }

    async fn remove_rule(
        &self,
        ask: Ask,
        name: AccessName,
        body: ReasonBody,
    ) -> Result<Vec<SafetyRule>, ApiError> {
        let change = ApprovalChange::RemoveRule { name, reason: body.reason };
        self.change_approval(&ask, change).await?;
        Ok(self.all_rules())
    }

    async fn kept(&self, id: ApprovalId) -> Result<Approval, ApiError> {
        self.core.fresh().await?;
        let found = self.core.node.read(|state| Some(state.approvals().kept(&id)?.view.clone()));
        found.ok_or_else(|| approval_not_found(&id))
    }

    async fn approve_kept(
        &self,
        ask: Ask,
        id: ApprovalId,
        body: ReasonBody,
    ) -> Result<Approval, ApiError> {
        let person = ask.who.person.clone();
        let change = ApprovalChange::Approve { id: id.clone(), person, reason: body.reason };
        self.change_approval(&ask, change).await?;
        let now = self.core.node.read(|state| Some(state.approvals().kept(&id)?.view.clone()));
        match now {
            Some(view) if matches!(view.state, ApprovalState::Done { .. }) => Ok(view),
            _ => self.carry_out(&ask, &id).await,
        }
    }

    async fn reject_kept(
        &self,
        ask: Ask,
        id: ApprovalId,
        body: ReasonBody,
    ) -> Result<Approval, ApiError> {
        approval_of(
            self.change_approval(&ask, ApprovalChange::Reject { id, reason: body.reason }).await?,
        )
    }
}
