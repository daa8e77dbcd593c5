//! The routes of the two-person rule.

use async_trait::async_trait;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get, post, put};
use continuum_domain::access::SafetyRule;
use continuum_domain::{AccessName, ApprovalId};

use super::Handle;
use super::endpoint::Endpoint;
use super::extract::{Id, Order, Sight};
use super::handlers::answer;
use crate::approvals::{Approval, RuleBody};
use crate::ask::Ask;
use crate::problem::ApiError;
use crate::rest::ReasonBody;

/// What the API does about requests that take a second person.
#[async_trait]
pub trait ApprovalApi {
    /// The rules in force.
    async fn rules(&self) -> Result<Vec<SafetyRule>, ApiError>;
    /// Makes or changes a rule.
    async fn set_rule(
        &self,
        ask: Ask,
        name: AccessName,
        body: RuleBody,
    ) -> Result<SafetyRule, ApiError>;
    /// Takes a rule away; those in force then.
    async fn remove_rule(
        &self,
        ask: Ask,
        name: AccessName,
        body: ReasonBody,
    ) -> Result<Vec<SafetyRule>, ApiError>;
    /// A request that was kept.
    async fn kept(&self, id: ApprovalId) -> Result<Approval, ApiError>;
    /// Approves a request and carries it out as who asked.
    async fn approve_kept(
        &self,
        ask: Ask,
        id: ApprovalId,
        body: ReasonBody,
    ) -> Result<Approval, ApiError>;
    /// Rejects a request.
    async fn reject_kept(
        &self,
        ask: Ask,
        id: ApprovalId,
        body: ReasonBody,
    ) -> Result<Approval, ApiError>;
}

const NO_APPROVAL: (u16, &str) = (404, "approval-not-found");
const SETTLED: (u16, &str) = (409, "approval-settled");

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(("GET", "/approvals/{approval}"), ("getApproval", "Approvals"), "A request that was kept", get(kept))
            .answers::<Approval>(200, "The request, and how it stands.")
            .problems(&[NO_APPROVAL]),
        Endpoint::new(("POST", "/approvals/{approval}/approve"), ("approveRequest", "Approvals"), "Approve a request that another person made", post(approve))
            .details("It is then carried out as who asked, whose authority is looked at again, and takes effect once. Approving it again finishes what a crash left.")
            .reason::<ReasonBody>()
            .answers::<Approval>(200, "The request, and how it was answered.")
            .problems(&[NO_APPROVAL, SETTLED, (403, "same-person")]),
        Endpoint::new(("POST", "/approvals/{approval}/reject"), ("rejectRequest", "Approvals"), "Reject a request", post(reject))
            .reason::<ReasonBody>()
            .answers::<Approval>(200, "The request.")
            .problems(&[NO_APPROVAL, SETTLED]),
        Endpoint::new(("GET", "/safety/rules"), ("listRules", "Approvals"), "Which requests take a second person", get(rules))
            .answers::<Vec<SafetyRule>>(200, "The rules in force."),
        Endpoint::new(("PUT", "/safety/rules/{name}"), ("setRule", "Approvals"), "Make or change a rule", put(set_rule))
            .details("A request that a rule holds for is answered 202 with an approval, and carried out once another person has approved it.")
            .body::<RuleBody>(r#"{"selector": "env-type=prod", "verbs": ["failover", "remove"], "approver": "admin", "reason": "CHG-4714"}"#)
            .answers::<SafetyRule>(200, "The rule in force.")
            .problems(&[(422, "rule-refused")]),
        Endpoint::new(("DELETE", "/safety/rules/{name}"), ("removeRule", "Approvals"), "Take a rule away", delete(remove_rule))
            .details("The one that is there from the beginning, `production`, comes back as it was.")
            .reason::<ReasonBody>()
            .answers::<Vec<SafetyRule>>(200, "The rules in force.")
            .problems(&[(404, "rule-not-found")]),
    ]
}

async fn rules(State(api): Handle, _: Sight) -> Response {
    answer(api.rules().await)
}

async fn set_rule(
    State(api): Handle,
    Id(name): Id<AccessName>,
    order: Order<RuleBody>,
) -> Response {
    answer(api.set_rule(order.ask, name, order.body).await)
}

async fn remove_rule(
    State(api): Handle,
    Id(name): Id<AccessName>,
    order: Order<ReasonBody>,
) -> Response {
    answer(api.remove_rule(order.ask, name, order.body).await)
}

async fn kept(State(api): Handle, _: Sight, Id(id): Id<ApprovalId>) -> Response {
    answer(api.kept(id).await)
}

async fn approve(State(api): Handle, Id(id): Id<ApprovalId>, order: Order<ReasonBody>) -> Response {
    answer(api.approve_kept(order.ask, id, order.body).await)
}

async fn reject(State(api): Handle, Id(id): Id<ApprovalId>, order: Order<ReasonBody>) -> Response {
    answer(api.reject_kept(order.ask, id, order.body).await)
}
