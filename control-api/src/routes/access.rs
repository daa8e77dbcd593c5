//! The routes of access: who asks, grants, tokens, broken glass.

use async_trait::async_trait;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get, put};
use continuum_domain::AccessName;

use super::Handle;
use super::endpoint::Endpoint;
use super::extract::{Id, Order, Sight};
use super::handlers::answer;
use crate::access::{
    GlassBody, GlassView, GrantBody, GrantView, NewToken, TokenBody, TokenView, WhoAmI,
};
use crate::ask::Ask;
use crate::problem::ApiError;
use crate::rest::ReasonBody;

/// What the API does about access.
#[async_trait]
pub trait AccessApi {
    /// Who asks, and what it may do.
    async fn who_am_i(&self, sight: &Sight) -> Result<WhoAmI, ApiError>;
    /// All grants.
    async fn grants(&self) -> Result<Vec<GrantView>, ApiError>;
    /// Makes or changes a grant.
    async fn set_grant(
        &self,
        ask: Ask,
        name: AccessName,
        body: GrantBody,
    ) -> Result<GrantView, ApiError>;
    /// Takes a grant away; those that are left.
    async fn remove_grant(
        &self,
        ask: Ask,
        name: AccessName,
        body: ReasonBody,
    ) -> Result<Vec<GrantView>, ApiError>;
    /// The tokens in the caller's scope.
    async fn tokens(&self, sight: &Sight) -> Result<Vec<TokenView>, ApiError>;
    /// Makes a token.
    async fn create_token(&self, ask: Ask, body: TokenBody) -> Result<NewToken, ApiError>;
    /// Ends a token; how it stood.
    async fn revoke_token(
        &self,
        ask: Ask,
        id: AccessName,
        body: ReasonBody,
    ) -> Result<TokenView, ApiError>;
    /// Whose glass is broken.
    async fn glass(&self) -> Result<Vec<GlassView>, ApiError>;
    /// Breaks the caller's glass.
    async fn break_glass(
        &self,
        ask: Ask,
        sight: &Sight,
        body: GlassBody,
    ) -> Result<GlassView, ApiError>;
    /// Ends that; whose glass is still broken.
    async fn close_glass(&self, ask: Ask, body: ReasonBody) -> Result<Vec<GlassView>, ApiError>;
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    let who = Endpoint::new(
        ("GET", "/whoami"),
        ("whoAmI", "Access"),
        "Who asks, and what it may do",
        get(who_am_i),
    )
    .answers::<WhoAmI>(200, "The caller as the core sees it.");
    let mut all = vec![who];
    all.extend(of_grants());
    all.extend(of_tokens());
    all.extend(of_glass());
    all
}

fn of_grants() -> Vec<Endpoint> {
    vec![
        Endpoint::new(("GET", "/access/grants"), ("listGrants", "Access"), "All grants", get(grants))
            .answers::<Vec<GrantView>>(200, "By name."),
        Endpoint::new(("PUT", "/access/grants/{name}"), ("setGrant", "Access"), "Make or change a grant", put(set_grant))
            .details("A tier over the pairs that the selector fits, for each subject. Within a grant both must hold, across grants one is enough. An empty selector is everything, also what belongs to no pair.")
            .body::<GrantBody>(r#"{"subjects": ["group:dba"], "tier": "operator", "selector": "env-type=prod", "reason": "CHG-4713"}"#)
            .answers::<GrantView>(200, "The grant in force.")
            .problems(&[(422, "grant-refused")]),
        Endpoint::new(("DELETE", "/access/grants/{name}"), ("removeGrant", "Access"), "Take a grant away", delete(remove_grant))
            .reason::<ReasonBody>()
            .answers::<Vec<GrantView>>(200, "The grants that are left.")
            .problems(&[(404, "grant-not-found")]),
    ]
}

fn of_tokens() -> Vec<Endpoint> {
    vec![
        Endpoint::new(("GET", "/access/tokens"), ("listTokens", "Access"), "Tokens, without their secrets", get(tokens))
            .answers::<Vec<TokenView>>(200, "Those in the caller's scope."),
        Endpoint::new(("POST", "/access/tokens"), ("createToken", "Access"), "Make a token", axum::routing::post(create_token))
            .details("Its secret is told in this answer and never again; only its hash is kept. A repetition under the same `Idempotency-Key` is refused, since the secret is not known any more.")
            .body::<TokenBody>(r#"{"name": "ci", "tier": "developer", "selector": "env-type=test", "for_ms": 2592000000, "reason": "dry runs"}"#)
            .answers::<NewToken>(200, "The token with its secret.")
            .problems(&[(409, "token-told-once"), (422, "token-refused")]),
        Endpoint::new(("DELETE", "/access/tokens/{token}"), ("revokeToken", "Access"), "End a token at once", delete(revoke_token))
            .reason::<ReasonBody>()
            .answers::<TokenView>(200, "How it stood.")
            .problems(&[(404, "token-not-found")]),
    ]
}

fn of_glass() -> Vec<Endpoint> {
    vec![
        Endpoint::new(("GET", "/break-glass"), ("getBreakGlass", "Access"), "Whose glass is broken", get(glass))
            .answers::<Vec<GlassView>>(200, "Those in force."),
        Endpoint::new(("POST", "/break-glass"), ("breakGlass", "Access"), "Become owner of everything for a time", axum::routing::post(break_glass))
            .details("For who holds a grant with `break_glass`, or a certificate of the role operator. Every record of the audit chain made meanwhile says so, a metric shows it, and an alert fires.")
            .body::<GlassBody>(r#"{"reason": "INC-99: nobody else is awake", "for_ms": 900000}"#)
            .answers::<GlassView>(200, "Until when.")
            .problems(&[(422, "break-glass-refused"), (422, "reason-needed")]),
        Endpoint::new(("DELETE", "/break-glass"), ("closeBreakGlass", "Access"), "Be no owner any more", delete(close_glass))
            .reason::<ReasonBody>()
            .answers::<Vec<GlassView>>(200, "Whose glass is still broken."),
    ]
}

async fn who_am_i(State(api): Handle, sight: Sight) -> Response {
    answer(api.who_am_i(&sight).await)
}

async fn grants(State(api): Handle, _: Sight) -> Response {
    answer(api.grants().await)
}

async fn set_grant(
    State(api): Handle,
    Id(name): Id<AccessName>,
    order: Order<GrantBody>,
) -> Response {
    answer(api.set_grant(order.ask, name, order.body).await)
}

async fn remove_grant(
    State(api): Handle,
    Id(name): Id<AccessName>,
    order: Order<ReasonBody>,
) -> Response {
    answer(api.remove_grant(order.ask, name, order.body).await)
}

async fn tokens(State(api): Handle, sight: Sight) -> Response {
    answer(api.tokens(&sight).await)
}

async fn create_token(State(api): Handle, order: Order<TokenBody>) -> Response {
    answer(api.create_token(order.ask, order.body).await)
}

async fn revoke_token(
    State(api): Handle,
    Id(id): Id<AccessName>,
    order: Order<ReasonBody>,
) -> Response {
    answer(api.revoke_token(order.ask, id, order.body).await)
}

async fn glass(State(api): Handle, _: Sight) -> Response {
    answer(api.glass().await)
}

async fn break_glass(State(api): Handle, sight: Sight, order: Order<GlassBody>) -> Response {
    answer(api.break_glass(order.ask, &sight, order.body).await)
}

async fn close_glass(State(api): Handle, order: Order<ReasonBody>) -> Response {
    answer(api.close_glass(order.ask, order.body).await)
}
