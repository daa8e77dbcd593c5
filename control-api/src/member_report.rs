//! What an agent says of its members. What may be missing is then not known.

use std::collections::BTreeMap;

use continuum_domain::observation::SqlView;
use continuum_domain::round_trips::RoundTripsView;
use continuum_domain::{DataDirectoryId, PairRecord, RegionId, Version};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::beside_report::{BackupsReport, RoleWritesReport};
use crate::heard::understood_by_name;
use crate::name_report::NameReport;

/// A named state that a person should know of, with what to do (I5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Blocked {
    /// Stable code, for example `data-loss-approval`.
    pub code: String,
    /// What happened and what it means for the data.
    pub meaning: String,
    /// What to do next.
    pub action: String,
}

/// What a member is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MemberRole {
    /// Lease held, PostgreSQL accepts writes.
    Primary,
    /// Lease held, PostgreSQL on its way to accept writes.
    Promoting,
    /// Streaming from the primary, or ready to.
    Standby,
    /// Being made equal to the primary's history.
    Rejoining,
    /// PostgreSQL stopped by us to keep the invariant.
    Fenced,
    /// PostgreSQL stopped for a switchover under way.
    HandingOver,
    /// PostgreSQL stopped because the pair is paused.
    Resting,
    /// Not known, or one that this version does not know.
    #[serde(other)]
    Unknown,
}

impl MemberRole {
    /// Its name, for people and for labels of metrics; `None` where it is not known.
    pub fn label(self) -> Option<&'static str> {
        Some(match self {
            MemberRole::Primary => "primary",
            MemberRole::Promoting => "promoting",
            MemberRole::Standby => "standby",
            MemberRole::Rejoining => "rejoining",
            MemberRole::Fenced => "fenced",
            MemberRole::HandingOver => "handing-over",
            MemberRole::Resting => "resting",
            MemberRole::Unknown => return None,
        })
    }
}

/// One member's state as its agent knows it. Ages are in milliseconds at the time of sending; what
/// was never measured is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemberReport {
    /// Role.
    pub role: MemberRole,
    /// Register as last read, its version and age.
    pub record: Option<(Version, PairRecord, u64)>,
    /// Milliseconds until the lease (for the holder) must have been renewed.
    pub lease_remaining_ms: Option<u64>,
    /// Milliseconds until this region's session lapses.
    pub session_remaining_ms: Option<u64>,
    /// Identity of the data directory.
    pub data_directory: Option<DataDirectoryId>,
    /// Last answer of PostgreSQL and its age.
    pub sql: Option<(SqlView, u64)>,
    /// Age of the last attempt to ask PostgreSQL that failed, and why.
    pub sql_failed: Option<(u64, String)>,
    /// Age of the last successful WAL-flush probe.
    pub write_probe_age_ms: Option<u64>,
    /// Durable break-glass mark.
    pub fenced: Option<String>,
    /// Named blocked state.
    pub blocked: Option<Blocked>,
    /// Whether the guard answers.
    pub guard_alive: bool,
    /// Whether the witness answered the last request.
    pub witness_reachable: bool,
    /// Spec version the agent acts by.
    pub spec_version: u64,
    /// Holder: why a listed standby must wait for the ttl before it takes over. Standby: why this one
    /// must. Empty: it need not, where the pair's `takeover` is `ledger` or a move is ordered. Absent:
    /// the agent does not say.
    #[serde(default)]
    pub takeover_refusals: Option<Vec<String>>,
    /// The other regions' agents, as this one hears them.
    #[serde(default)]
    pub peers: BTreeMap<RegionId, PeerLinkReport>,
    /// The pair's names at providers, as seen from here. Absent: there are none, or the agent does not
    /// say.
    #[serde(
        default,
        deserialize_with = "understood_by_name",
        skip_serializing_if = "Option::is_none"
    )]
    pub names: Option<BTreeMap<String, NameReport>>,
    /// What the member's platform holds against its being a primary; none where nothing looks after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hindrances: Vec<Blocked>,
    /// Primary: what stands against a planned move away from it; it bars no failover. None where nothing
    /// looks after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub against_leaving: Vec<Blocked>,
    /// How its backups are. Absent: nobody follows them here, or the agent does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups: Option<BackupsReport>,
    /// Who else writes its role. Absent: nobody else can, or the agent does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_writes: Option<RoleWritesReport>,
}

/// The link to another region's agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerLinkReport {
    /// Since it last answered; absent when it never did.
    pub heard_age_ms: Option<u64>,
    /// Since its host last refused a connection, if not answered since.
    pub refused_age_ms: Option<u64>,
    /// How long answers took, and what that suggests.
    pub round_trips: Option<RoundTripsView>,
}
