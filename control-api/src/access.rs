//! REST resources of access: who asks, grants, tokens, broken glass.

use continuum_domain::AccessName;
use continuum_domain::access::{Grant, Selector, Subject, Tier};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A tier and its scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holding {
    /// The tier.
    pub tier: Tier,
    /// Over which pairs; empty is everything.
    pub selector: Selector,
}

/// `GET /whoami`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhoAmI {
    /// The caller, as the audit chain names it.
    pub caller: String,
    /// Who stands behind it: a token's is the one who made it.
    pub person: String,
    /// The groups that the identity provider tells.
    pub groups: Vec<String>,
    /// What the caller may do, and where.
    pub holds: Vec<Holding>,
    /// Whether it may break the glass.
    pub may_break_glass: bool,
    /// Until when its glass is broken, milliseconds since 1970; absent when it is not.
    pub break_glass_until_ms: Option<i64>,
}

/// A grant in force, with who made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantView {
    /// The grant.
    #[serde(flatten)]
    pub grant: Grant,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
}

/// `PUT /access/grants/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantBody {
    /// For whom: `user:NAME`, `group:NAME`, `certificate:NAME`, `region:NAME`.
    pub subjects: Vec<Subject>,
    /// How much.
    pub tier: Tier,
    /// Over which pairs; empty is everything, also what belongs to no pair.
    #[serde(default)]
    pub selector: Selector,
    /// Whether its subjects may break the glass.
    #[serde(default)]
    pub break_glass: bool,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// Its identifier, the part of the token that is no secret.
    pub id: AccessName,
    /// Its name.
    pub name: AccessName,
    /// What it may do.
    pub tier: Tier,
    /// Over which pairs; empty is everything.
    pub selector: Selector,
    /// Who made it, as the audit chain names it.
    pub created_by: String,
    /// The person behind it.
    pub person: String,
    /// Why.
    pub reason: String,
    /// When it was made, milliseconds since 1970.
    pub created_ms: i64,
    /// When it ends, milliseconds since 1970.
    pub expires_ms: i64,
}

/// `POST /access/tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenBody {
    /// Its name.
    pub name: AccessName,
    /// What it may do; at most what the caller may.
    pub tier: Tier,
    /// Over which pairs; empty is everything. At most what the caller has.
    #[serde(default)]
    pub selector: Selector,
    /// For how long, milliseconds, at most a year.
    pub for_ms: u64,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// What comes of `POST /access/tokens`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewToken {
    /// The token.
    pub token: TokenView,
    /// What to send as `Authorization: Bearer`. It is told this once and kept nowhere.
    pub secret: String,
}

impl std::fmt::Debug for NewToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewToken").field("token", &self.token).finish_non_exhaustive()
    }
}

/// `POST /break-glass`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GlassBody {
    /// Why; must not be empty.
    pub reason: String,
    /// For how long, milliseconds, at most an hour.
    pub for_ms: u64,
}

/// Broken glass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GlassView {
    /// Whose.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Since when, milliseconds since 1970.
    pub opened_ms: i64,
    /// Until when.
    pub until_ms: i64,
}
