//! REST resources of the two-person rule.

use continuum_domain::access::{SafetyRule, Selector, Tier, Verb};
use continuum_domain::operation::Operation;
use continuum_domain::{ApprovalId, OperationId, PairId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `PUT /safety/rules/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleBody {
    /// On which pairs; empty is all.
    #[serde(default)]
    pub selector: Selector,
    /// For which requests.
    pub verbs: Vec<Verb>,
    /// The least tier of who approves.
    pub approver: Tier,
    /// From which tier on nobody else is needed; absent: everybody needs one.
    #[serde(default)]
    pub exempt: Option<Tier>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

impl RuleBody {
    /// As a rule of a name.
    pub fn named(self, name: continuum_domain::AccessName) -> SafetyRule {
        let RuleBody { selector, verbs, approver, exempt, .. } = self;
        SafetyRule { name, selector, verbs, approver, exempt }
    }
}

/// A request that is kept until another person approves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Approval {
    /// Its name.
    pub id: ApprovalId,
    /// The pair it is about, if it is about one.
    pub pair: Option<PairId>,
    /// Method of the request.
    pub method: String,
    /// Path and query of the request.
    pub path: String,
    /// Its body, as it came.
    pub body: String,
    /// Who asked, as the audit chain names it.
    pub requester: String,
    /// The person behind who asked.
    pub person: String,
    /// The rule by which it is kept.
    pub rule: continuum_domain::AccessName,
    /// The least tier of who approves.
    pub approver: Tier,
    /// When it was asked for, milliseconds since 1970.
    pub created_ms: i64,
    /// Until when it can be approved.
    pub expires_ms: i64,
    /// How it stands.
    pub state: ApprovalState,
}

/// How a kept request stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ApprovalState {
    /// Nobody has decided; after `expires_ms` nobody can any more.
    Waiting,
    /// Somebody approved it, and it is being carried out. If that was cut off, approving it again
    /// finishes it; it takes effect once.
    Approved {
        /// Who.
        by: String,
        /// When, milliseconds since 1970.
        at_ms: i64,
    },
    /// Somebody rejected it. Nothing was done.
    Rejected {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// It was carried out, or refused when it was tried.
    Done {
        /// Who approved it.
        by: String,
        /// The HTTP status that it was answered.
        status: u16,
        /// The code of the error, if it was refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// The operation that it started.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operation: Option<OperationId>,
    },
}

/// One line of `GET /approvals`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Awaiting {
    /// A request that is kept.
    Request(Box<Approval>),
    /// An operation that waits.
    Operation(Box<Operation>),
}
