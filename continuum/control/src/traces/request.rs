//! One span for each request of the API, at each node that it passes.

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use continuum_control_api::routes::ErrorCode;
use continuum_domain::access::Tier;
use continuum_domain::trace::TraceContext;
use continuum_runtime::clock::SharedClock;
use continuum_runtime::traces::{Began, Span, SpanKind, Traces, Value};
use http::{HeaderName, HeaderValue};

/// The highest tier of who asked, where this node decided about it; found with the answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrincipalTier(pub Tier);

/// A request under way.
pub(crate) struct Asked {
    context: TraceContext,
    parent: Option<TraceContext>,
    method: String,
    forwarded: bool,
    began: Began,
}

/// Begins the span of a request. What is done for the request, here or at the leader, is under it: the
/// header says so from now on, and the request's extensions.
pub(crate) fn asked(
    traces: &Traces,
    clock: &SharedClock,
    (header, forwarded): (&HeaderName, bool),
    request: &mut Request,
) -> Option<Asked> {
    let given = request.headers().get(header).and_then(|value| value.to_str().ok());
    let parent = given.and_then(|text| text.parse().ok());
    let context = traces.begin(parent)?;
    let value = HeaderValue::from_str(&context.to_string()).expect("digits and dashes");
    request.headers_mut().insert(header, value);
    request.extensions_mut().insert(context);
    let method = request.method().to_string();
    Some(Asked { context, parent, method, forwarded, began: Began::now(clock) })
}

/// What is known of a request that was answered.
pub(crate) struct Answered<'a> {
    /// The node that answers.
    pub node: &'a str,
    /// The request's name.
    pub request: &'a str,
    /// The answer.
    pub response: &'a Response,
}

impl Asked {
    /// The whole span. It names routes, not paths, and tiers, not callers.
    pub(crate) fn span(self, clock: &SharedClock, answered: &Answered<'_>) -> Span {
        let Self { context, parent, method, forwarded, began } = self;
        let extensions = answered.response.extensions();
        let status = answered.response.status();
        let route = extensions.get::<MatchedPath>().map(MatchedPath::as_str);
        let mut attributes = vec![
            ("http.request.method", Value::from(method.as_str())),
            ("http.response.status_code", Value::Number(status.as_u16().into())),
            ("continuum.node", answered.node.into()),
            ("continuum.request.id", answered.request.into()),
            ("continuum.forwarded", Value::Truth(forwarded)),
        ];
        if let Some(route) = route {
            attributes.push(("http.route", route.into()));
        }
        if let Some(PrincipalTier(tier)) = extensions.get() {
            attributes.push(("continuum.principal.tier", tier.label().into()));
        }
        let code = extensions.get::<ErrorCode>().map(|ErrorCode(code)| code.clone());
        let code = code.unwrap_or_else(|| status.as_u16().to_string());
        // A caller's own mistake is no error of the server, by the conventions for HTTP.
        let error = status.is_server_error().then(|| code.clone());
        if status.is_client_error() {
            attributes.push(("error.type", code.as_str().into()));
        }
        let name = route.map_or_else(|| method.clone(), |route| format!("{method} {route}"));
        let parent = parent.map(|parent| parent.span);
        let (start_ns, end_ns) = began.until_now(clock);
        let kind = SpanKind::Server;
        Span { context, parent, name, kind, start_ns, end_ns, attributes, error }
    }
}
