//! What an agent says of what goes on beside a member that somebody else looks after: its backups, and who
//! else writes its role. What may be missing is then not known.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the backups of a member are, as its agent sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupsReport {
    /// Whether they are well: as recent as their schedule wants, and the newest did not fail. Absent while that
    /// is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub well: Option<bool>,
    /// Why, in one word: `Recent`, `LastFailed`, `Overdue`, `NotScheduled`, `Suspended`, `NoneYet`, `NotSeen`.
    #[serde(default)]
    pub reason: String,
    /// What that means, and what to do.
    #[serde(default)]
    pub text: String,
    /// Since the newest complete one ended, in milliseconds at the time of sending; absent where there is none or
    /// that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_age_ms: Option<u64>,
    /// How many failed since then; absent while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
}

/// Who else writes the role of a member, as its agent sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleWritesReport {
    /// Whether a role stands that the agent has not written; absent while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands: Option<bool>,
    /// Why, in one word: `NoneSeen`, `Over`, `Reported`, `Restoring`, `HandingOver`, `Fenced`, `Hindered`,
    /// `NotCompared`.
    #[serde(default)]
    pub reason: String,
    /// Who wrote what, what is done about it, and what to do.
    #[serde(default)]
    pub text: String,
    /// How many there were since the agent began.
    #[serde(default)]
    pub count: u64,
}
