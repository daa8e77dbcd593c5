//! What a caller asks of a pair: to move it, to stop it, to start it again; and the plan of it.

use std::collections::BTreeMap;

use continuum_domain::operation::{Method, Operation, RejoinMethod};
use continuum_domain::{Epoch, RegionId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `POST /pairs/{id}/switchover`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SwitchoverRequest {
    /// The target.
    pub to: RegionId,
    /// How; left out: hot where the pair allows it, else clean.
    #[serde(default)]
    pub method: Option<Method>,
    /// Only plan: nothing is touched.
    #[serde(default)]
    pub dry_run: bool,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `POST /pairs/{id}/failover`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailoverRequest {
    /// The target.
    pub to: RegionId,
    /// Approves that acknowledged writes may be lost, for exactly `epoch`.
    #[serde(default)]
    pub allow_data_loss: bool,
    /// The epoch the approval is for; needed with `allow_data_loss`.
    #[serde(default)]
    pub epoch: Option<Epoch>,
    /// Only plan: nothing is touched.
    #[serde(default)]
    pub dry_run: bool,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `POST /pairs/{id}/failback`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailbackRequest {
    /// How; left out: hot where the pair allows it, else clean.
    #[serde(default)]
    pub method: Option<Method>,
    /// Only plan: nothing is touched.
    #[serde(default)]
    pub dry_run: bool,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `POST /pairs/{id}/pause`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PausePairRequest {
    /// Only plan: nothing is touched.
    #[serde(default)]
    pub dry_run: bool,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `POST /pairs/{id}/resume`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumePairRequest {
    /// The region that is to hold the pair; left out: the one that did when it was paused.
    #[serde(default)]
    pub to: Option<RegionId>,
    /// Only plan: nothing is touched.
    #[serde(default)]
    pub dry_run: bool,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `POST /pairs/{id}/rejoin`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RejoinRequest {
    /// The member that does not follow as it should.
    pub region: RegionId,
    /// How; left out: it tries again.
    #[serde(default)]
    pub method: RejoinMethod,
    /// Only plan: nothing is touched.
    #[serde(default)]
    pub dry_run: bool,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// What a move would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// From which region.
    pub from: Option<RegionId>,
    /// To which.
    pub to: RegionId,
    /// A planned move: how it would be made.
    #[serde(default)]
    pub method: Option<Method>,
    /// A planned move: why it would not be made hot.
    #[serde(default)]
    pub hot_refusals: Vec<String>,
    /// Whether it would be started.
    pub allowed: bool,
    /// Every candidate with the reasons against it; none means it could take over.
    pub candidates: BTreeMap<RegionId, Vec<String>>,
    /// A planned move: what the holder's platform has against its leaving, each with what to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub against_leaving: Vec<String>,
    /// Reasons against the move as a whole.
    pub refusals: Vec<String>,
    /// The steps in order, for people.
    pub steps: Vec<String>,
}

/// Answer to a request that starts an operation (202), or to a dry run (200).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Started {
    /// It was accepted.
    Operation(Operation),
    /// It was only planned.
    Plan(Plan),
}
