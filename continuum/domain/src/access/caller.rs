//! Who calls.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is written behind an actor whose glass is broken.
pub const LOUD: &str = " (break-glass)";

/// By what a caller is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// A client certificate of the role operator.
    Certificate,
    /// The certificate of a control node.
    Core,
    /// A token of ours, by its identifier.
    Token(String),
    /// The word of the identity provider.
    Provider,
    /// A region's agent, for an object in its Kubernetes cluster.
    Region,
}

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Its name: of the certificate, the token or the person.
    pub name: String,
    /// Who stands behind it, to compare people: a token's is the one who made it.
    pub person: String,
    /// By what it is known.
    pub via: Via,
    /// The groups that the provider says it is in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// When the provider's word ends, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
}

impl Caller {
    /// Who is known by a certificate of the role operator.
    pub fn certificate(name: impl Into<String>) -> Self {
        Self::plain(name.into(), Via::Certificate)
    }

    /// A control node.
    pub fn core(name: impl Into<String>) -> Self {
        Self::plain(name.into(), Via::Core)
    }

    /// A region's agent, for an object in its Kubernetes cluster.
    pub fn region(name: impl Into<String>) -> Self {
        Self::plain(name.into(), Via::Region)
    }

    fn plain(name: String, via: Via) -> Self {
        let mut caller =
            Self { name, person: String::new(), via, groups: Vec::new(), until_ms: None };
        caller.person = caller.to_string();
        caller
    }

    /// A person of the identity provider.
    pub fn user(name: impl Into<String>, groups: Vec<String>, until_ms: i64) -> Self {
        let plain = Self::plain(name.into(), Via::Provider);
        Self { groups, until_ms: Some(until_ms), ..plain }
    }

    /// A token that somebody made.
    pub fn token(
        id: impl Into<String>,
        name: impl Into<String>,
        person: impl Into<String>,
    ) -> Self {
        let plain = Self::plain(name.into(), Via::Token(id.into()));
        Self { person: person.into(), ..plain }
    }
}

/// As the audit chain names it.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.via {
            Via::Certificate => "operator",
            Via::Core => "core",
            Via::Token(_) => "token",
            Via::Provider => "user",
            Via::Region => "region",
        };
        write!(f, "{kind}/{}", self.name)
    }
}
