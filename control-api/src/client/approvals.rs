//! Requests that take a second person.

use continuum_domain::access::SafetyRule;
use continuum_domain::{AccessName, ApprovalId};
use http::Method;

use super::{ApiClient, ClientError, because};
use crate::approvals::{Approval, Awaiting, RuleBody};

impl ApiClient {
    /// `GET /approvals`.
    pub async fn approvals(&self) -> Result<Vec<Awaiting>, ClientError> {
        self.get("/approvals").await
    }

    /// `POST /approvals/{id}/approve`.
    pub async fn approve_request(
        &self,
        id: &ApprovalId,
        reason: &str,
    ) -> Result<Approval, ClientError> {
        self.call(Method::POST, &format!("/approvals/{id}/approve"), Some(&because(reason))).await
    }

    /// `POST /approvals/{id}/reject`.
    pub async fn reject_request(
        &self,
        id: &ApprovalId,
        reason: &str,
    ) -> Result<Approval, ClientError> {
        self.call(Method::POST, &format!("/approvals/{id}/reject"), Some(&because(reason))).await
    }

    /// `GET /safety/rules`.
    pub async fn rules(&self) -> Result<Vec<SafetyRule>, ClientError> {
        self.get("/safety/rules").await
    }

    /// `PUT /safety/rules/{name}`.
    pub async fn set_rule(
        &self,
        name: &AccessName,
        body: &RuleBody,
    ) -> Result<SafetyRule, ClientError> {
        self.call(Method::PUT, &format!("/safety/rules/{name}"), Some(body)).await
    }

    /// `DELETE /safety/rules/{name}`.
    pub async fn remove_rule(
        &self,
        name: &AccessName,
        reason: &str,
    ) -> Result<Vec<SafetyRule>, ClientError> {
        let path = format!("/safety/rules/{name}");
        self.call(Method::DELETE, &path, Some(&because(reason))).await
    }
}
