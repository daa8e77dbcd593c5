//! What the API does about access.

use async_trait::async_trait;
use continuum_control_api::access::{
    GlassBody, GlassView, GrantBody, GrantView, Holding, NewToken, TokenBody, TokenView, WhoAmI,
};
use continuum_control_api::ask::Ask;
use continuum_control_api::rest::ReasonBody;
use continuum_control_api::routes::{AccessApi, ApiError, Sight};
use continuum_domain::AccessName;
use continuum_domain::access::{Grant, Over, Tier};
use continuum_runtime::seed;

use super::door::{TOKEN_MARK, hashed};
use super::{Service, unexpected};
use crate::state::{AccessChange, Change, Reply, TokenOrder};

/// Characters of a token's identifier.
const ID_CHARS: usize = 12;

impl Service {
    async fn change_access(&self, ask: &Ask, change: AccessChange) -> Result<Reply, ApiError> {
        self.core.change(ask, Change::Access(change)).await
    }

    fn all_grants(&self) -> Vec<GrantView> {
        self.core.node.read(|state| state.access().grants().cloned().collect())
    }

    pub(super) fn all_glass(&self) -> Vec<GlassView> {
        let now_ms = self.core.now_ms();
        self.core.node.read(|state| state.access().glass(now_ms).cloned().collect())
    }
}

#[async_trait]
impl AccessApi for Service {
    async fn who_am_i(&self, sight: &Sight) -> Result<WhoAmI, ApiError> {
        self.core.fresh().await?;
        let (caller, now_ms) = (&sight.caller, self.core.now_ms());
        let power = self.core.power(caller)?;
        let until = self.core.node.read(|state| {
            state.access().glass_of(&caller.to_string(), now_ms).map(|glass| glass.until_ms)
        });
        let holding = |(tier, selector): &(Tier, _)| Holding {
            tier: *tier,
            selector: Clone::clone(selector),
        };
        Ok(WhoAmI {
            caller: caller.to_string(),
            person: caller.person.clone(),
            groups: caller.groups.clone(),
            holds: power.holdings().iter().map(holding).collect(),
            may_break_glass: power.may_break_glass(),
            break_glass_until_ms: until,
        })
    }

    async fn grants(&self) -> Result<Vec<GrantView>, ApiError> {
        self.core.fresh().await?;
        Ok(self.all_grants())
    }

    async fn set_grant(
        &self,
        ask: Ask,
        name: AccessName,
        body: GrantBody,
    ) -> Result<GrantView, ApiError> {
        let GrantBody { subjects, tier, selector, break_glass, reason } = body;
        let grant = Grant { name, subjects, tier, selector, break_glass };
        match self.change_access(&ask, AccessChange::SetGrant { grant, reason }).await? {
            Reply::AccessGrant(view) => Ok(view),
            other => Err(unexpected(&other)),
        }
    }

    async fn remove_grant(
        &self,
        ask: Ask,
        name: AccessName,
        body: ReasonBody,
    ) -> Result<Vec<GrantView>, ApiError> {
        let change = AccessChange::RemoveGrant { name, reason: body.reason };
        self.change_access(&ask, change).await?;
        Ok(self.all_grants())
    }

    async fn tokens(&self, sight: &Sight) -> Result<Vec<TokenView>, ApiError> {
        self.core.fresh().await?;
        let now_ms = self.core.now_ms();
        let seen = |token: &&TokenView| {
            sight.power.tier(Over::Scope(&token.selector)) >= Some(Tier::Admin)
        };
        let all = |state: &crate::state::CoreState| {
            state.access().tokens(now_ms).filter(seen).cloned().collect()
        };
        Ok(self.core.node.read(all))
    }

    async fn create_token(&self, ask: Ask, body: TokenBody) -> Result<NewToken, ApiError> {
        let drawn = AccessName::new(seed::random_id(ID_CHARS));
        let id = drawn.map_err(|error| ApiError::new(500, "internal", error.to_string()))?;
        let secret = seed::secret();
        let TokenBody { name, tier, selector, for_ms, reason } = body;
        let (hash, person) = (hashed(&secret), ask.who.person.clone());
        let order =
            TokenOrder { id: id.clone(), hash, name, tier, selector, person, for_ms, reason };
        match self.change_access(&ask, AccessChange::CreateToken(order)).await? {
            Reply::AccessToken(token) if token.id == id => {
                let secret = format!("{TOKEN_MARK}{id}_{secret}");
                Ok(NewToken { token, secret })
            }
            Reply::AccessToken(token) => {
                let text = format!(
                    "token {} ({}) was made when this was asked for first, and its secret told then; \
                     if that answer was lost, revoke the token and make another one",
                    token.name, token.id
                );
                Err(ApiError::new(409, "token-told-once", text))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn revoke_token(
        &self,
        ask: Ask,
        id: AccessName,
        body: ReasonBody,
    ) -> Result<TokenView, ApiError> {
        let change = AccessChange::RevokeToken { id, reason: body.reason };
        match self.change_access(&ask, change).await? {
            Reply::AccessToken(token) => Ok(token),
            other => Err(unexpected(&other)),
        }
    }

    async fn glass(&self) -> Result<Vec<GlassView>, ApiError> {
        self.core.fresh().await?;
        Ok(self.all_glass())
    }

    async fn break_glass(
        &self,
        ask: Ask,
        sight: &Sight,
        body: GlassBody,
    ) -> Result<GlassView, ApiError> {
        if !sight.power.may_break_glass() {
            let text = format!(
                "{} may not break the glass: it takes a grant with break_glass, or a certificate of \
                 the role operator; nothing was changed",
                sight.caller
            );
            return Err(ApiError::new(403, "forbidden", text));
        }
        let change = AccessChange::BreakGlass { reason: body.reason, for_ms: body.for_ms };
        match self.change_access(&ask, change).await? {
            Reply::AccessGlass(view) => {
                tracing::warn!(actor = view.actor, reason = view.reason, "the glass is broken");
                Ok(view)
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn close_glass(&self, ask: Ask, body: ReasonBody) -> Result<Vec<GlassView>, ApiError> {
        self.change_access(&ask, AccessChange::CloseGlass { reason: body.reason }).await?;
        Ok(self.all_glass())
    }
}
