//! What operators want of a pair: the spec, versioned by the control core.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::corroborate::{self, Corroborate};
use crate::duration_text;
use crate::ids::{PairId, RegionId};
use crate::name_spec::absolute;
use crate::objective::Objectives;

pub use crate::name_kind::{NameKind, Routing, Service};
pub use crate::name_spec::{LuaFeature, NamePolicy, NameRole, NameSpec};
use crate::traffic::{DRAIN_DEFAULT, DRAIN_MAX, DrainFailure};

/// What a commit acknowledged to a client survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Never fewer than two copies: writes wait, after a takeover too (R22).
    Strict,
    /// Two copies while two members are there; shrinks to one after `stall_timeout`.
    #[default]
    Available,
    /// Commits do not wait; a failover may lose up to the approved bound (R21).
    Async,
}

impl Durability {
    /// Whether commits wait for the in-sync standbys.
    pub fn is_synchronous(self) -> bool {
        self != Durability::Async
    }
}

/// How far automation goes on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PairMode {
    /// Fails over by itself.
    #[default]
    Automatic,
    /// Proposes; a person approves.
    SemiAutomatic,
    /// Only on a person's order.
    Manual,
    /// Decides and records what it would have done.
    ObserveOnly,
}

/// What the holder does when it cannot renew its session because the witness is out of reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WitnessLossPolicy {
    /// Stop PostgreSQL by the deadline.
    #[default]
    Fence,
    /// Continue while every other member's agent promises not to acquire (R20).
    Failsafe,
}

/// When a listed standby may take over from a holder that is silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Takeover {
    /// When the holder's ttl has run out.
    #[default]
    Ttl,
    /// As soon as the holder is suspected: it can acknowledge nothing without every listed member
    /// (R18). Needs a synchronous durability; where its premise does not hold, the ttl counts.
    Ledger,
}

/// One member of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemberSpec {
    /// Higher is preferred when several standbys could take over.
    #[serde(default = "default_priority")]
    pub priority: u32,
    /// Where PostgreSQL of this member answers: IP address or host name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// A name that has an address while this region is well, and none when it is not: what
    /// `corroborate` asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_name: Option<String>,
}

fn default_priority() -> u32 {
    100
}

/// A standing approval for an `async` pair (R21): automatic failover is allowed while the measured
/// lag is at or under the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LossApproval {
    /// Most bytes of WAL that may be lost.
    pub rpo_bytes: u64,
}

/// Most labels of a pair.
const LABELS_MAX: usize = 32;

/// The spec of one pair. Every field that is left out takes the documented default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PairSpec {
    /// Name of the pair.
    pub id: PairId,
    /// What people sort pairs by, for example `env = "prod"`; nothing here acts on it. Left out of
    /// what is sent where there is none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Members by region.
    pub members: BTreeMap<RegionId, MemberSpec>,
    /// The region whose data directory is created as the first primary.
    pub first_primary: RegionId,
    /// What an acknowledged commit survives.
    #[serde(default)]
    pub durability: Durability,
    /// How far automation goes.
    #[serde(default)]
    pub mode: PairMode,
    /// Whether an agent may fail over alone when the core has no quorum.
    #[serde(default = "default_true")]
    pub autonomous: bool,
    /// How long an agent asks for the core's answer before it goes alone.
    #[serde(default = "default_core_grace", with = "duration_text")]
    #[schemars(with = "String")]
    pub core_grace: Duration,
    /// `available`: how long commits may wait for a standby before the ledger shrinks.
    #[serde(default = "default_stall_timeout", with = "duration_text")]
    #[schemars(with = "String")]
    pub stall_timeout: Duration,
    /// Automatic failovers closer together than this are refused.
    #[serde(default = "default_anti_flap", with = "duration_text")]
    #[schemars(with = "String")]
    pub anti_flap: Duration,
    /// How long a switchover may keep the old primary stopped before it returns by itself (R17).
    #[serde(default = "default_switchover_deadline", with = "duration_text")]
    #[schemars(with = "String")]
    pub switchover_deadline: Duration,
    /// Preflight refuses a target further behind than this.
    #[serde(default = "default_max_lag")]
    pub max_lag_bytes: u64,
    /// Restarts of a crashed PostgreSQL in place before the lease is released.
    #[serde(default = "default_restarts")]
    pub restarts_in_place: u32,
    /// Longest time one restart in place may take.
    #[serde(default = "default_restart_budget", with = "duration_text")]
    #[schemars(with = "String")]
    pub restart_budget: Duration,
    /// A holder whose writes have not reached its disk for so long lets go of the lease, if another
    /// member is in sync.
    #[serde(default = "default_write_stall", with = "duration_text")]
    #[schemars(with = "String")]
    pub write_stall_timeout: Duration,
    /// When a listed standby may take over from a silent holder.
    #[serde(default)]
    pub takeover: Takeover,
    /// `takeover = "ledger"`: for how long the holder must have been silent, at the witness and to
    /// the standby's agent, before it is suspected. Longer where the link is slower.
    #[serde(default = "default_suspect_after", with = "duration_text")]
    #[schemars(with = "String")]
    pub suspect_after: Duration,
    /// A second opinion before an automatic failover. Left out of what is sent when it is not asked
    /// for, so that agents which do not know it understand the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corroborate: Option<Corroborate>,
    /// What the holder does without a witness.
    #[serde(default)]
    pub on_witness_loss: WitnessLossPolicy,
    /// `async`: standing approval of a bounded loss.
    #[serde(default)]
    pub loss_approval: Option<LossApproval>,
    /// What a move may cost. Left out of what is sent where it is not said, as agents do not need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objectives: Option<Objectives>,
    /// Names that follow the lease.
    #[serde(default)]
    pub names: Vec<NameSpec>,
    /// How long a planned move waits until the traffic switches have emptied their pools; 0: it does
    /// not ask them. Left out of what is sent where it is the default, as is the next one.
    #[serde(
        default = "default_drain",
        skip_serializing_if = "is_default_drain",
        with = "duration_text"
    )]
    #[schemars(with = "String")]
    pub drain: Duration,
    /// What becomes of the move when one has not by then.
    #[serde(default, skip_serializing_if = "is_default_drain_failure")]
    pub drain_failure: DrainFailure,
}

fn default_true() -> bool {
    true
}
fn default_core_grace() -> Duration {
    Duration::from_secs(2)
}
fn default_stall_timeout() -> Duration {
    Duration::from_secs(5)
}
fn default_anti_flap() -> Duration {
    Duration::from_secs(60)
}
fn default_switchover_deadline() -> Duration {
    Duration::from_secs(15)
}
fn default_max_lag() -> u64 {
    16 * 1024 * 1024
}
fn default_restarts() -> u32 {
    3
}
fn default_suspect_after() -> Duration {
    Duration::from_millis(600)
}
fn default_write_stall() -> Duration {
    Duration::from_secs(20)
}
fn default_restart_budget() -> Duration {
    Duration::from_secs(10)
}
fn default_drain() -> Duration {
    DRAIN_DEFAULT
}
fn is_default_drain(drain: &Duration) -> bool {
    *drain == DRAIN_DEFAULT
}
fn is_default_drain_failure(failure: &DrainFailure) -> bool {
    *failure == DrainFailure::default()
}

/// Bounds of `suspect_after`: below, ordinary scheduling noise is suspect; above, the ttl is there.
const SUSPECT_MIN: Duration = Duration::from_millis(200);
const SUSPECT_MAX: Duration = Duration::from_secs(60);

/// Why a spec is refused, with the path of the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize, JsonSchema)]
#[error("{path}: {problem}")]
pub struct SpecError {
    /// Path of the field, dotted.
    pub path: String,
    /// What is wrong and what is accepted.
    pub problem: String,
}

impl PairSpec {
    /// A spec with defaults for everything but the members.
    pub fn new(
        id: PairId,
        members: BTreeMap<RegionId, MemberSpec>,
        first_primary: RegionId,
    ) -> Self {
        Self {
            id,
            labels: BTreeMap::new(),
            members,
            first_primary,
            durability: Durability::default(),
            mode: PairMode::default(),
            autonomous: true,
            core_grace: default_core_grace(),
            stall_timeout: default_stall_timeout(),
            anti_flap: default_anti_flap(),
            switchover_deadline: default_switchover_deadline(),
            max_lag_bytes: default_max_lag(),
            restarts_in_place: default_restarts(),
            restart_budget: default_restart_budget(),
            write_stall_timeout: default_write_stall(),
            takeover: Takeover::default(),
            suspect_after: default_suspect_after(),
            corroborate: None,
            on_witness_loss: WitnessLossPolicy::default(),
            loss_approval: None,
            objectives: None,
            names: Vec::new(),
            drain: default_drain(),
            drain_failure: DrainFailure::default(),
        }
    }

    /// Checks what the types cannot: member count, first primary, durations, approvals.
    pub fn check(&self) -> Result<(), SpecError> {
        let fail = |path: &str, problem: &str| {
            Err(SpecError { path: path.into(), problem: problem.into() })
        };
        if !(2..=7).contains(&self.members.len()) {
            return fail("members", "2 to 7 members are accepted");
        }
        if !self.members.contains_key(&self.first_primary) {
            return fail("first_primary", "is not one of the members");
        }
        for (region, member) in &self.members {
            if member.host.is_empty() || member.port == 0 {
                return fail(&format!("members.{region}"), "host and port are needed");
            }
            if region.as_str().contains("continuum") {
                return fail(&format!("members.{region}"), "names with 'continuum' are reserved");
            }
        }
        for (path, value) in [
            ("stall_timeout", self.stall_timeout),
            ("switchover_deadline", self.switchover_deadline),
            ("restart_budget", self.restart_budget),
            ("write_stall_timeout", self.write_stall_timeout),
        ] {
            if value.is_zero() {
                return fail(path, "must be longer than zero");
            }
        }
        if self.drain > DRAIN_MAX {
            return fail("drain", "0 to 10s is accepted");
        }
        if !(SUSPECT_MIN..=SUSPECT_MAX).contains(&self.suspect_after) {
            return fail("suspect_after", "200ms to 60s is accepted");
        }
        if self.takeover == Takeover::Ledger && !self.durability.is_synchronous() {
            return fail(
                "takeover",
                "\"ledger\" needs durability strict or available: in async the holder acknowledges \
                 alone",
            );
        }
        if self.durability.is_synchronous() && self.loss_approval.is_some() {
            return fail("loss_approval", "is only for durability async");
        }
        self.check_labels()?;
        self.check_names()?;
        self.check_corroboration()
    }

    fn check_labels(&self) -> Result<(), SpecError> {
        let fits = |text: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
            (1..=63).contains(&text.len()) && text.bytes().all(allowed)
        };
        if self.labels.len() > LABELS_MAX {
            return Err(SpecError {
                path: "labels".into(),
                problem: format!("at most {LABELS_MAX} are accepted"),
            });
        }
        let odd = self.labels.iter().find(|(key, value)| !fits(key) || !fits(value));
        odd.map_or(Ok(()), |(key, _)| {
            let problem = "key and value have 1 to 63 letters, digits and -_./";
            Err(SpecError { path: format!("labels.{key}"), problem: problem.into() })
        })
    }

    fn check_names(&self) -> Result<(), SpecError> {
        for (index, name) in self.names.iter().enumerate() {
            let at =
                |(field, problem)| SpecError { path: format!("names[{index}].{field}"), problem };
            name.check(self.members.keys()).map_err(at)?;
            let same = |other: &NameSpec| absolute(&other.name) == absolute(&name.name);
            if name.provider.is_some() && self.names[..index].iter().any(same) {
                return Err(at(("name".into(), "is listed twice".into())));
            }
        }
        Ok(())
    }

    fn check_corroboration(&self) -> Result<(), SpecError> {
        for (region, member) in &self.members {
            let problem = match &member.health_name {
                Some(name) => corroborate::name_problem(name),
                None if self.corroborate.is_some() => Some(
                    "is needed: corroborate = \"dns\" asks whether it still has an address".into(),
                ),
                None => None,
            };
            if let Some(problem) = problem {
                return Err(SpecError { path: format!("members.{region}.health_name"), problem });
            }
        }
        let checked = self.corroborate.as_ref().map_or(Ok(()), Corroborate::check);
        checked
            .map_err(|(field, problem)| SpecError { path: format!("corroborate.{field}"), problem })
    }

    /// How often a member renews its session and asks its peers whether they live, for this pair's
    /// sake: several times within `suspect_after`. `None`: no sooner than otherwise.
    pub fn beat_interval(&self) -> Option<Duration> {
        (self.takeover == Takeover::Ledger).then(|| self.suspect_after / 5)
    }

    /// All members but `me`.
    pub fn others(&self, me: &RegionId) -> BTreeSet<RegionId> {
        self.members.keys().filter(|region| *region != me).cloned().collect()
    }
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
