//! Grants: who gets which tier over which pairs.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Caller, Selector, Via};
use crate::ids::AccessName;

/// Longest name of a user or group.
pub const NAME_CHARS_MAX: usize = 200;

/// How much somebody may do. Each tier may do what those before it may.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Reads.
    Viewer,
    /// Plans: dry runs.
    Developer,
    /// Moves pairs, cancels and approves, pauses automation.
    Operator,
    /// Creates, changes and removes pairs, makes tokens, accepts a loss of data.
    Admin,
    /// Grants, core members, what concerns all pairs at once.
    Owner,
}

impl Tier {
    /// All, the least first.
    pub const ALL: [Tier; 5] =
        [Tier::Viewer, Tier::Developer, Tier::Operator, Tier::Admin, Tier::Owner];

    /// Its name.
    pub fn label(self) -> &'static str {
        match self {
            Tier::Viewer => "viewer",
            Tier::Developer => "developer",
            Tier::Operator => "operator",
            Tier::Admin => "admin",
            Tier::Owner => "owner",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl FromStr for Tier {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|tier| tier.label() == text).ok_or_else(|| {
            format!("{text:?} is no tier; there are viewer, developer, operator, admin and owner")
        })
    }
}

/// Whom a grant is for: `user:ann@example.org`, `group:dba`, `certificate:alice`, `region:hel`.
///
/// A token is no subject: what it may do was fixed when it was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Subject {
    /// A person as the identity provider names it.
    User(String),
    /// A group that the provider says a person is in.
    Group(String),
    /// The name in a client certificate of the role operator.
    Certificate(String),
    /// Whoever may write objects in the Kubernetes cluster of that region's agent.
    Region(String),
}

impl Subject {
    /// Whether a caller is meant.
    pub fn fits(&self, caller: &Caller) -> bool {
        match (self, &caller.via) {
            (Subject::User(name), Via::Provider) => *name == caller.name,
            (Subject::Group(name), Via::Provider) => caller.groups.contains(name),
            (Subject::Certificate(name), Via::Certificate) => *name == caller.name,
            (Subject::Region(name), Via::Region) => *name == caller.name,
            _ => false,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::User(name) => write!(f, "user:{name}"),
            Subject::Group(name) => write!(f, "group:{name}"),
            Subject::Certificate(name) => write!(f, "certificate:{name}"),
            Subject::Region(name) => write!(f, "region:{name}"),
        }
    }
}

impl FromStr for Subject {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no subject; write user:NAME, group:NAME, certificate:NAME or \
                     region:NAME"
            )
        };
        let (kind, name) = text.split_once(':').ok_or_else(wrong)?;
        let length = name.chars().count();
        if !(1..=NAME_CHARS_MAX).contains(&length) || name.chars().any(char::is_control) {
            return Err(wrong());
        }
        match kind {
            "user" => Ok(Subject::User(name.into())),
            "group" => Ok(Subject::Group(name.into())),
            "certificate" => Ok(Subject::Certificate(name.into())),
            "region" => Ok(Subject::Region(name.into())),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Subject {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> String {
        subject.to_string()
    }
}

/// A tier over some pairs for some callers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Grant {
    /// Its name.
    pub name: AccessName,
    /// For whom.
    pub subjects: Vec<Subject>,
    /// How much.
    pub tier: Tier,
    /// Over which pairs; empty is everything, also what belongs to no pair.
    #[serde(default, skip_serializing_if = "Selector::is_everything")]
    pub selector: Selector,
    /// Whether its subjects may break the glass: become owner for a time, loudly.
    #[serde(default)]
    pub break_glass: bool,
}

impl Grant {
    /// Whether it is for a caller.
    pub fn is_for(&self, caller: &Caller) -> bool {
        self.subjects.iter().any(|subject| subject.fits(caller))
    }
}
