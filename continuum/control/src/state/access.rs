//! Grants, tokens and broken glass, as they are replicated.
//!
//! What a caller may do is worked out here, by the state of the node that decides. The last way in
//! cannot be taken away: certificates of the role operator may always break the glass.

use std::collections::BTreeMap;
use std::fmt;

use continuum_control_api::access::{GlassView, GrantView, TokenView};
use continuum_control_api::routes::ApiError;
use continuum_domain::AccessName;
use continuum_domain::access::{Caller, Grant, LOUD, Power, Selector, Tier, Via};
use serde::{Deserialize, Serialize};

use super::{CoreState, Line, Reply};

/// Most grants.
const GRANTS_MAX: usize = 1_000;
/// Most subjects of a grant.
const SUBJECTS_MAX: usize = 200;
/// Most tokens that have not ended.
const TOKENS_MAX: usize = 1_000;
/// Longest life of a token.
pub const TOKEN_MS_MAX: u64 = 366 * 24 * 60 * 60 * 1_000;
/// Longest time for which glass is broken.
pub const GLASS_MS_MAX: u64 = 60 * 60 * 1_000;

/// SHA-256 of a token's secret, hexadecimal. Never printed: a hash too is nobody's business.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretHash(pub String);

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash")
    }
}

/// A change of access.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessChange {
    /// A grant, new or changed.
    SetGrant {
        /// The grant.
        grant: Grant,
        /// Why.
        reason: String,
    },
    /// A grant is taken away.
    RemoveGrant {
        /// Its name.
        name: AccessName,
        /// Why.
        reason: String,
    },
    /// A token is made.
    CreateToken(TokenOrder),
    /// A token is ended.
    RevokeToken {
        /// Its identifier.
        id: AccessName,
        /// Why.
        reason: String,
    },
    /// The actor's glass is broken.
    BreakGlass {
        /// Why.
        reason: String,
        /// For how long.
        for_ms: u64,
    },
    /// The actor's glass is mended.
    CloseGlass {
        /// Why.
        reason: String,
    },
}

/// A token to be made; identifier and secret were drawn by the proposer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenOrder {
    /// Its identifier.
    pub id: AccessName,
    /// What its secret hashes to.
    pub hash: SecretHash,
    /// Its name.
    pub name: AccessName,
    /// What it may do.
    pub tier: Tier,
    /// Over which pairs.
    pub selector: Selector,
    /// The person behind it.
    pub person: String,
    /// For how long.
    pub for_ms: u64,
    /// Why.
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Token {
    view: TokenView,
    hash: SecretHash,
}

/// Who may do what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AccessState {
    grants: BTreeMap<AccessName, GrantView>,
    tokens: BTreeMap<AccessName, Token>,
    glass: BTreeMap<String, GlassView>,
}

/// A caller whose token or word of the provider has ended, or was never good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

impl AccessState {
    /// Whether nothing was ever granted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// All grants, by name.
    pub fn grants(&self) -> impl Iterator<Item = &GrantView> {
        self.grants.values()
    }

    /// Tokens that have not ended at `now_ms`.
    pub fn tokens(&self, now_ms: i64) -> impl Iterator<Item = &TokenView> {
        self.tokens.values().map(|token| &token.view).filter(move |one| one.expires_ms > now_ms)
    }

    /// A token that has not ended at `now_ms`, by its identifier.
    pub fn token(&self, id: &str, now_ms: i64) -> Option<(&TokenView, &SecretHash)> {
        let found = self.tokens.iter().find(|(name, _)| name.as_str() == id)?.1;
        (found.view.expires_ms > now_ms).then_some((&found.view, &found.hash))
    }

    /// Whose glass is broken at `now_ms`.
    pub fn glass(&self, now_ms: i64) -> impl Iterator<Item = &GlassView> {
        self.glass.values().filter(move |glass| glass.until_ms > now_ms)
    }

    /// The broken glass of an actor.
    pub fn glass_of(&self, actor: &str, now_ms: i64) -> Option<&GlassView> {
        self.glass.get(actor).filter(|glass| glass.until_ms > now_ms)
    }

    /// What a caller holds at `now_ms`, where `certificates` is the tier that the configuration gives
    /// to certificates of the role operator.
    pub fn power(
        &self,
        caller: &Caller,
        certificates: Option<Tier>,
        now_ms: i64,
    ) -> Result<Power, Ended> {
        let granted = || Power::of_grants(caller, self.grants().map(|view| &view.grant));
        let power = match &caller.via {
            Via::Core => Power::everywhere(Tier::Owner),
            Via::Certificate => {
                let configured = certificates.map(Power::everywhere).unwrap_or_default();
                granted().and(configured).with_break_glass()
            }
            Via::Provider => {
                caller.until_ms.filter(|until_ms| now_ms < *until_ms).ok_or(Ended)?;
                granted()
            }
            Via::Token(id) => {
                let (token, _) = self.token(id, now_ms).ok_or(Ended)?;
                Power::over(token.tier, token.selector.clone())
            }
            // Glass is broken by people.
            Via::Region => granted().without_break_glass(),
        };
        let broken =
            power.may_break_glass() && self.glass_of(&caller.to_string(), now_ms).is_some();
        Ok(if broken { power.and(Power::everywhere(Tier::Owner)) } else { power })
    }

    /// An actor as the audit chain names it at `now_ms`: broken glass is told with every record.
    pub fn shown(&self, actor: &str, now_ms: i64) -> String {
        match self.glass_of(actor, now_ms) {
            Some(_) => format!("{actor}{LOUD}"),
            None => actor.to_owned(),
        }
    }
}

fn refused(status: u16, code: &str, text: String) -> Reply {
    Reply::Refused(ApiError::new(status, code, format!("{text}; nothing was changed")))
}

fn grant_text(view: &GrantView) -> String {
    serde_json::to_string(&view.grant).expect("grants are plain data")
}

fn token_text(token: &TokenView) -> String {
    let scope = match token.selector.to_string() {
        scope if scope.is_empty() => "everything".to_owned(),
        scope => scope,
    };
    format!(
        "token {} ({}): {} over {scope}, until {}",
        token.name, token.id, token.tier, token.expires_ms
    )
}

fn line(action: &str, reason: &str, before: String, after: String) -> Line {
    Line { action: action.into(), reason: reason.into(), before, after, ..Line::default() }
}

const NONE: &str = "none";

impl CoreState {
    /// Who may do what.
    pub fn access(&self) -> &AccessState {
        &self.access
    }

    pub(super) fn change_access(
        &mut self,
        (now_ms, actor, shown): (i64, &str, &str),
        change: AccessChange,
    ) -> Reply {
        let by = (now_ms, shown);
        match change {
            AccessChange::SetGrant { grant, reason } => self.set_grant(by, grant, reason),
            AccessChange::RemoveGrant { name, reason } => self.remove_grant(by, &name, &reason),
            AccessChange::CreateToken(order) => self.create_token(by, order),
            AccessChange::RevokeToken { id, reason } => self.revoke_token(by, &id, &reason),
            AccessChange::BreakGlass { reason, for_ms } => {
                self.break_glass((now_ms, actor, shown), reason, for_ms)
            }
            AccessChange::CloseGlass { reason } => {
                self.close_glass((now_ms, actor, shown), &reason)
            }
        }
    }

    fn set_grant(&mut self, (now_ms, actor): (i64, &str), grant: Grant, reason: String) -> Reply {
        let known = self.access.grants.get(&grant.name);
        if known.is_none() && self.access.grants.len() >= GRANTS_MAX {
            return refused(
                422,
                "grant-refused",
                format!("there are {GRANTS_MAX} grants, and no more are kept"),
            );
        }
        if !(1..=SUBJECTS_MAX).contains(&grant.subjects.len()) {
            let text = format!("subjects: 1 to {SUBJECTS_MAX} are accepted");
            return refused(422, "grant-refused", text);
        }
        if let Some(known) = known.filter(|known| known.grant == grant) {
            return Reply::AccessGrant(known.clone());
        }
        let before = known.map_or_else(|| NONE.into(), grant_text);
        let view = GrantView { grant, actor: actor.to_owned(), reason, at_ms: now_ms };
        let after = grant_text(&view);
        self.audit.append(now_ms, actor, line("grant.set", &view.reason, before, after));
        self.access.grants.insert(view.grant.name.clone(), view.clone());
        Reply::AccessGrant(view)
    }

    fn remove_grant(
        &mut self,
        (now_ms, actor): (i64, &str),
        name: &AccessName,
        reason: &str,
    ) -> Reply {
        let Some(view) = self.access.grants.remove(name) else {
            return refused(404, "grant-not-found", format!("there is no grant {name}"));
        };
        let line = line("grant.remove", reason, grant_text(&view), NONE.into());
        self.audit.append(now_ms, actor, line);
        Reply::AccessGrant(view)
    }

    fn create_token(&mut self, (now_ms, actor): (i64, &str), order: TokenOrder) -> Reply {
        let refused = |text: String| refused(422, "token-refused", text);
        if !(1..=TOKEN_MS_MAX).contains(&order.for_ms) {
            return refused(format!(
                "for_ms: 1 to {TOKEN_MS_MAX} is accepted, a token always ends"
            ));
        }
        self.access.tokens.retain(|_, token| token.view.expires_ms > now_ms);
        if self.access.tokens.len() >= TOKENS_MAX {
            return refused(format!("there are {TOKENS_MAX} tokens, and no more are kept"));
        }
        if self.access.tokens.values().any(|token| token.view.name == order.name) {
            return refused(format!("name: there is a token {} already", order.name));
        }
        if self.access.tokens.contains_key(&order.id) {
            return refused("the identifier that was drawn is taken; ask again".into());
        }
        let life_ms = i64::try_from(order.for_ms).unwrap_or(i64::MAX);
        let view = TokenView {
            id: order.id,
            name: order.name,
            tier: order.tier,
            selector: order.selector,
            created_by: actor.to_owned(),
            person: order.person,
            reason: order.reason,
            created_ms: now_ms,
            expires_ms: now_ms.saturating_add(life_ms),
        };
        let line = line("token.create", &view.reason, NONE.into(), token_text(&view));
        self.audit.append(now_ms, actor, line);
        let token = Token { view: view.clone(), hash: order.hash };
        self.access.tokens.insert(view.id.clone(), token);
        Reply::AccessToken(view)
    }

    fn revoke_token(
        &mut self,
        (now_ms, actor): (i64, &str),
        id: &AccessName,
        reason: &str,
    ) -> Reply {
        let Some(token) = self.access.tokens.remove(id) else {
            return refused(404, "token-not-found", format!("there is no token {id}"));
        };
        let line = line("token.revoke", reason, token_text(&token.view), NONE.into());
        self.audit.append(now_ms, actor, line);
        Reply::AccessToken(token.view)
    }

    fn break_glass(
        &mut self,
        (now_ms, actor, shown): (i64, &str, &str),
        reason: String,
        for_ms: u64,
    ) -> Reply {
        if reason.trim().is_empty() {
            return refused(422, "reason-needed", "reason: must not be empty".into());
        }
        if !(1..=GLASS_MS_MAX).contains(&for_ms) {
            let text = format!("for_ms: 1 to {GLASS_MS_MAX} is accepted, it always ends");
            return refused(422, "break-glass-refused", text);
        }
        self.access.glass.retain(|_, glass| glass.until_ms > now_ms);
        let until_ms = now_ms.saturating_add(i64::try_from(for_ms).unwrap_or(i64::MAX));
        let before = self.access.glass_of(actor, now_ms);
        let before =
            before.map_or_else(|| NONE.into(), |glass| format!("owner until {}", glass.until_ms));
        let view = GlassView { actor: actor.to_owned(), reason, opened_ms: now_ms, until_ms };
        let after = format!("owner until {until_ms}");
        self.audit.append(now_ms, shown, line("break-glass.open", &view.reason, before, after));
        self.access.glass.insert(actor.to_owned(), view.clone());
        Reply::AccessGlass(view)
    }

    fn close_glass(&mut self, (now_ms, actor, shown): (i64, &str, &str), reason: &str) -> Reply {
        // Mending what is whole changes nothing, and a repeated request is no error.
        if let Some(glass) = self.access.glass.remove(actor).filter(|glass| glass.until_ms > now_ms)
        {
            let before = format!("owner until {}", glass.until_ms);
            self.audit.append(
                now_ms,
                shown,
                line("break-glass.close", reason, before, NONE.into()),
            );
        }
        Reply::Done
    }
}
