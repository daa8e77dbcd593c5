//! Who asks, grants, tokens, broken glass.

use continuum_domain::AccessName;
use http::Method;

use super::{ApiClient, ClientError, because};
use crate::access::{
    GlassBody, GlassView, GrantBody, GrantView, NewToken, TokenBody, TokenView, WhoAmI,
};

impl ApiClient {
    /// `GET /whoami`.
    pub async fn who_am_i(&self) -> Result<WhoAmI, ClientError> {
        self.get("/whoami").await
    }

    /// `GET /access/grants`.
    pub async fn grants(&self) -> Result<Vec<GrantView>, ClientError> {
        self.get("/access/grants").await
    }

    /// `PUT /access/grants/{name}`.
    pub async fn set_grant(
        &self,
        name: &AccessName,
        body: &GrantBody,
    ) -> Result<GrantView, ClientError> {
        self.call(Method::PUT, &format!("/access/grants/{name}"), Some(body)).await
    }

    /// `DELETE /access/grants/{name}`.
    pub async fn remove_grant(
        &self,
        name: &AccessName,
        reason: &str,
    ) -> Result<Vec<GrantView>, ClientError> {
        let path = format!("/access/grants/{name}");
        self.call(Method::DELETE, &path, Some(&because(reason))).await
    }

    /// `GET /access/tokens`.
    pub async fn tokens(&self) -> Result<Vec<TokenView>, ClientError> {
        self.get("/access/tokens").await
    }

    /// `POST /access/tokens`.
    pub async fn create_token(&self, body: &TokenBody) -> Result<NewToken, ClientError> {
        self.call(Method::POST, "/access/tokens", Some(body)).await
    }

    /// `DELETE /access/tokens/{id}`.
    pub async fn revoke_token(
        &self,
        id: &AccessName,
        reason: &str,
    ) -> Result<TokenView, ClientError> {
        let path = format!("/access/tokens/{id}");
        self.call(Method::DELETE, &path, Some(&because(reason))).await
    }

    /// `GET /break-glass`.
    pub async fn glass(&self) -> Result<Vec<GlassView>, ClientError> {
        self.get("/break-glass").await
    }

    /// `POST /break-glass`.
    pub async fn break_glass(&self, body: &GlassBody) -> Result<GlassView, ClientError> {
        self.call(Method::POST, "/break-glass", Some(body)).await
    }

    /// `DELETE /break-glass`.
    pub async fn close_glass(&self, reason: &str) -> Result<Vec<GlassView>, ClientError> {
        self.call(Method::DELETE, "/break-glass", Some(&because(reason))).await
    }
}
