//! Who asks for a change, and under which conditions it may be made.

use continuum_domain::access::Caller;
use continuum_domain::trace::TraceContext;
use serde::{Deserialize, Serialize};

use crate::audit::AuditOrigin;

/// Longest key of a request.
pub const KEY_BYTES_MAX: usize = 128;

/// A request that asks for a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The authenticated caller.
    pub who: Caller,
    /// The request's name, by which a repetition is known.
    pub key: Option<RequestKey>,
    /// What must be there for the change to be made.
    pub condition: Condition,
    /// From where, as far as it is known.
    pub origin: Option<AuditOrigin>,
    /// The span of the request, where requests are told as such.
    pub trace: Option<TraceContext>,
}

impl Ask {
    /// The caller as the audit chain names it.
    pub fn actor(&self) -> String {
        self.who.to_string()
    }
}

/// A name that the caller drew for a request (`Idempotency-Key`), and what was asked under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestKey {
    /// The name.
    pub key: String,
    /// SHA-256 of method, path, query and body: another request under the same name is an error.
    pub digest: String,
}

/// A condition on the version of what is changed (`If-Match`, `If-None-Match`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// None.
    #[default]
    None,
    /// It must be there.
    Exists,
    /// It must not be there.
    Absent,
    /// It must be at this version.
    Version(u64),
}

impl Condition {
    /// Whether there is one.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Whether a thing at `version` (`None`: it is not there) meets it.
    pub fn holds(self, version: Option<u64>) -> bool {
        match self {
            Self::None => true,
            Self::Exists => version.is_some(),
            Self::Absent => version.is_none(),
            Self::Version(wanted) => version == Some(wanted),
        }
    }
}

/// The entity tag of a version.
pub fn entity_tag(version: u64) -> String {
    format!("\"{version}\"")
}
