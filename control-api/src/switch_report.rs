//! What an agent says of the traffic switches that it drives.

use continuum_domain::{Epoch, PairId, RegionId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A traffic switch as the agent that drives it sees it. Ages are in milliseconds at the time of
/// sending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SwitchReport {
    /// Whose clients it leads.
    pub pair: PairId,
    /// `pgbouncer`, `webhook`, `http-route`, `endpoint-slice`, `pooler`.
    pub kind: String,
    /// Whether it can hold clients back while a pair moves.
    pub can_hold: bool,
    /// The epoch it was last seen to lead to, and its holder; absent when that is not known.
    pub target: Option<(Epoch, RegionId)>,
    /// The newest epoch whose holder this agent knows, which it is to lead to.
    pub wanted: Option<Epoch>,
    /// Since it was last seen to be as it should be; absent when it never was.
    pub success_age_ms: Option<u64>,
    /// Since clients are held back here, if they are.
    pub held_age_ms: Option<u64>,
    /// Somebody else holds them back, whom the agent does not overrule.
    #[serde(default)]
    pub held_by_others: bool,
    /// Age and text of the last thing that went wrong since it was as it should be.
    pub last_error: Option<(u64, String)>,
    /// So often somebody else had changed what this agent wrote, and it was undone, since its start.
    #[serde(default)]
    pub foreign_writes: u64,
    /// What was undone last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_foreign: Option<String>,
    /// What a person should know of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// Whether a traffic switch is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchStanding {
    /// It leads to the newest known holder.
    Follows,
    /// It does not, or does not answer.
    Fails,
    /// Nobody could look lately, or it is not known whom it should lead to.
    Unknown,
}

/// An agent looks at its switches more often than this.
const SWITCH_AGE_MS_MAX: u64 = 10_000;

impl SwitchReport {
    /// How it stands, by a report that is `report_age_ms` old.
    pub fn standing(&self, report_age_ms: u64) -> SwitchStanding {
        let age = self.success_age_ms.map(|age| age.saturating_add(report_age_ms));
        let epoch = self.target.as_ref().map(|(epoch, _)| *epoch);
        match age {
            _ if self.last_error.is_some() => SwitchStanding::Fails,
            Some(age) if age > SWITCH_AGE_MS_MAX => SwitchStanding::Unknown,
            None => SwitchStanding::Unknown,
            Some(_) if self.wanted.is_none() => SwitchStanding::Unknown,
            Some(_) if epoch < self.wanted => SwitchStanding::Fails,
            Some(_) => SwitchStanding::Follows,
        }
    }
}
