//! The gate before the routes: whether the caller may do what it asks for, by the grants of the node
//! that answers.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use continuum_control_api::rest::API;
use continuum_control_api::routes::{
    ApiError, Asked, BODY_BYTES_MAX, Demand, Endpoint, Principal, Sight, Target, demands, endpoints,
};
use continuum_domain::access::{Caller, Over, Power, Tier, Verdict, Via, authorise};
use http::Method;

use super::approvals::{self, Approved};
use super::door::unauthenticated;
use super::forward::is_answered_by_any;
use super::pair_not_found;
use crate::core::Core;
use crate::state::{CoreState, approval_not_found};
use crate::traces::PrincipalTier;

impl Core {
    /// What a caller holds, as far as this node has applied the log.
    pub(crate) fn power(&self, caller: &Caller) -> Result<Power, ApiError> {
        let certificates = self.config.access.operator_certificates.tier();
        let now_ms = self.now_ms();
        let power = self.node.read(|state| state.access().power(caller, certificates, now_ms));
        power.map_err(|_| unauthenticated("the token is not known, or has ended"))
    }

    /// Whether a caller holds everything whatever was granted: nothing needs to be looked up.
    fn is_owner_by_configuration(&self, caller: &Caller) -> bool {
        match caller.via {
            Via::Core => true,
            Via::Certificate => {
                self.config.access.operator_certificates.tier() == Some(Tier::Owner)
            }
            Via::Token(_) | Via::Provider | Via::Region => false,
        }
    }
}

/// What of a route is asked for with each request.
struct Route {
    id: &'static str,
    is_open: bool,
}

/// The table of routes, read once: it is made anew by each call.
static ROUTES: LazyLock<BTreeMap<String, Route>> = LazyLock::new(|| {
    let one = |one: Endpoint| {
        (format!("{} {}", one.method, one.path), Route { id: one.id, is_open: one.is_open() })
    };
    endpoints().into_iter().map(one).collect()
});

/// Lets a request through to its route, with what the caller may see.
pub(super) async fn gate(
    State(core): State<Arc<Core>>,
    matched: MatchedPath,
    parameters: RawPathParams,
    request: Request,
    next: Next,
) -> Response {
    let named = parameters.iter().next().map(|(_, value)| value.to_owned());
    match decide(&core, matched.as_str(), named, request).await {
        Ok(Way::On(request)) => {
            let sight = request.extensions().get::<Sight>();
            let tiers =
                sight.and_then(|sight| sight.power.holdings().iter().map(|held| held.0).max());
            let mut response = next.run(request).await;
            if let Some(tier) = tiers {
                response.extensions_mut().insert(PrincipalTier(tier));
            }
            response
        }
        Ok(Way::Kept(response)) => response,
        Err(error) => error.into_response(),
    }
}

/// Where a request goes that may be made.
enum Way {
    /// To its route.
    On(Request),
    /// Nowhere, until another person has approved it.
    Kept(Response),
}

async fn decide(
    core: &Core,
    matched: &str,
    named: Option<String>,
    mut request: Request,
) -> Result<Way, ApiError> {
    let method = if *request.method() == Method::HEAD { &Method::GET } else { request.method() };
    let path = matched.strip_prefix(API).unwrap_or(matched);
    let Some(route) = ROUTES.get(&format!("{method} {path}")) else {
        let text = "the route does not take this method";
        return Err(ApiError::new(405, "no-such-method", text));
    };
    if route.is_open {
        return Ok(Way::On(request));
    }
    let Some(Principal(caller)) = request.extensions().get::<Principal>().cloned() else {
        return Err(unauthenticated("the caller is not known"));
    };
    // The rule that is there from the beginning keeps no owner.
    let ruled = || core.node.read(|state| state.approvals().has_rules());
    if core.is_owner_by_configuration(&caller) && !ruled() {
        let power = Power::everywhere(Tier::Owner).with_break_glass();
        request.extensions_mut().insert(Sight { caller, power });
        return Ok(Way::On(request));
    }
    if !is_answered_by_any(&request) {
        core.fresh().await?;
    }
    let power = core.power(&caller)?;
    let (mut request, body) =
        if Asked::body_counts(route.id) { read(request).await? } else { (request, Bytes::new()) };
    let query = request.uri().query().unwrap_or_default().to_owned();
    let asked = Asked { id: route.id, named: named.as_deref(), query: &query, body: &body };
    let wanted = demands(&asked);
    let approved = request.extensions().get::<Approved>().is_some();
    let rule = core.node.read(|state| {
        let (now_ms, who) = (state.now_ms(core.clock.wall_ms()), (&caller, &power));
        wanted.iter().try_for_each(|demand| hold(state, who, demand, now_ms))?;
        let rule = || approvals::rule_of(state, who, (&asked, &wanted), now_ms);
        Ok::<_, ApiError>(if approved { None } else { rule() })
    })?;
    if let Some(rule) = rule {
        let kept = approvals::keep(core, &caller, rule, (request, &wanted, body)).await?;
        return Ok(Way::Kept(kept));
    }
    request.extensions_mut().insert(Sight { caller, power });
    Ok(Way::On(request))
}

/// The request with its body, which says what it takes.
async fn read(request: Request) -> Result<(Request, Bytes), ApiError> {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| {
        let text =
            format!("{error}; at most {BODY_BYTES_MAX} bytes are accepted; nothing was changed");
        ApiError::new(413, "body-unreadable", text)
    })?;
    Ok((Request::from_parts(parts, Body::from(bytes.clone())), bytes))
}

/// Whether what a request takes is held.
fn hold(
    state: &CoreState,
    (caller, power): (&Caller, &Power),
    demand: &Demand,
    now_ms: i64,
) -> Result<(), ApiError> {
    let labels = |pair| state.spec(pair).map(|(_, spec)| &spec.labels);
    let mut tier = demand.tier;
    let over = match &demand.target {
        // Who holds nothing anywhere may still learn that, and break the glass if it may.
        Target::Own => return Ok(()),
        Target::AnyPair => Over::AnyPair,
        Target::All => Over::All,
        Target::Pair(pair) => Over::Pair(pair.as_ref().and_then(labels)),
        Target::Labels(labels) => Over::Pair(Some(labels)),
        Target::Version(pair, version) => {
            match state.spec_of_version(pair, *version) {
                Some(spec) => Over::Pair(Some(&spec.labels)),
                // There is nothing to go back to, as the route will say.
                None => return Ok(()),
            }
        }
        Target::Operation(id) => {
            let operation = id.as_ref().and_then(|id| state.operation(id));
            let waiting = id.as_ref().and_then(|id| state.waiting(id));
            if waiting.is_some_and(|waiting| waiting.data_loss) {
                tier = demand.with_loss.unwrap_or(tier);
            }
            Over::Pair(operation.and_then(|operation| labels(&operation.pair)))
        }
        Target::Scope(selector) => Over::Scope(selector),
        Target::Approval(id) => {
            let kept = id.as_ref().and_then(|id| state.approvals().kept(id));
            match kept.map(|kept| &kept.view) {
                Some(view) => {
                    let decides = tier > Tier::Viewer;
                    tier = if decides { tier.max(view.approver) } else { tier };
                    view.pair.as_ref().map_or(Over::All, |pair| Over::Pair(labels(pair)))
                }
                None => Over::Pair(None),
            }
        }
        Target::Token(id) => {
            let token = id.as_ref().and_then(|id| state.access().token(id.as_str(), now_ms));
            match token {
                Some((token, _)) => Over::Scope(&token.selector),
                None => Over::All,
            }
        }
    };
    match authorise(power, tier, over) {
        Verdict::Allowed => Ok(()),
        Verdict::Denied { needed } => Err(denied(caller, needed, &demand.target)),
        Verdict::Hidden => Err(hidden(caller, tier, &demand.target)),
    }
}

fn denied(caller: &Caller, needed: Tier, target: &Target) -> ApiError {
    let over = match target {
        Target::Own | Target::AnyPair => "a pair".to_owned(),
        Target::All => "everything, by a grant without a selector".to_owned(),
        Target::Pair(Some(pair)) | Target::Version(pair, _) => format!("pair {pair}"),
        Target::Pair(None) | Target::Labels(_) => "pairs of these labels".to_owned(),
        Target::Operation(_) => "the operation's pair".to_owned(),
        Target::Approval(_) => "the request's pair".to_owned(),
        Target::Scope(scope) if !scope.is_everything() => format!("all that {scope} fits"),
        Target::Scope(_) => "everything".to_owned(),
        Target::Token(_) => "all that the token may reach".to_owned(),
    };
    let text = format!(
        "{caller} may not do this: it takes the tier {needed} over {over}; nothing was changed; \
         `continuum whoami` tells what is held"
    );
    ApiError::new(403, "forbidden", text)
}

/// As if what is asked about were not there.
fn hidden(caller: &Caller, needed: Tier, target: &Target) -> ApiError {
    match target {
        Target::Pair(Some(pair)) => pair_not_found(pair),
        Target::Operation(Some(id)) => super::operation_not_found(id),
        Target::Approval(Some(id)) => approval_not_found(id),
        _ => denied(caller, needed, target),
    }
}
