//! The two kinds of register the witness holds.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{DataDirectoryId, Epoch, PairId, RegionId};

/// Version of a register: 0 means absent, and each accepted change raises it.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    /// The version of a register that was never written.
    pub const ABSENT: Version = Version(0);
}

/// `session/<region>`: proof that the region's agent is alive, one per region whatever the number
/// of pairs. Only that region's agent writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionRecord {
    /// Raised at each start of the agent and after each lapse.
    pub incarnation: u64,
    /// Raised at each renewal.
    pub beat: u64,
    /// The holder's ttl, by which a challenger waits.
    pub ttl_ms: u64,
    /// How often the holder means to renew; 0: not said. Silence for less than a few of these says
    /// nothing.
    #[serde(default)]
    pub renew_ms: u64,
}

impl SessionRecord {
    /// The ttl as a duration.
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }

    /// The interval between renewals, if it was said.
    pub fn renew(&self) -> Option<Duration> {
        (self.renew_ms > 0).then(|| Duration::from_millis(self.renew_ms))
    }
}

/// `pair/<id>`: who may write, and who has every acknowledged commit. Written only on change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PairRecord {
    /// Fencing token; rises with each change of holder.
    pub epoch: Epoch,
    /// The region whose primary may accept writes; `None` only after a proven stop (R16).
    pub holder: Option<RegionId>,
    /// The in-sync ledger: members, by data directory, that have every acknowledged commit (R13).
    pub in_sync: BTreeMap<RegionId, DataDirectoryId>,
    /// Set only by the stopped holder, for a planned move (R14).
    pub handover_to: Option<RegionId>,
    /// Bars challengers, not the return of the recorded holder (R21).
    pub paused: bool,
    /// The holder has checked that it acknowledges nothing without every listed member, and reads
    /// this register in every round (R8). Only then may a listed member take over without waiting
    /// for the holder's ttl (R18). A holder that finds it otherwise takes this back.
    #[serde(default)]
    pub waits_for_all: bool,
    /// The region that stopped the pair for a pause and let go of it. Set only together with no
    /// holder, by the stopped holder; an acquisition clears it. While `paused` stands besides, all
    /// members stay stopped; afterwards this region has the first word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rested_by: Option<RegionId>,
}

impl PairRecord {
    /// Whether `region`'s data directory `id` is listed as having every acknowledged commit.
    pub fn lists(&self, region: &RegionId, id: &DataDirectoryId) -> bool {
        self.in_sync.get(region) == Some(id)
    }

    /// The region that put the pair to rest, while it rests: paused, and nobody holds it.
    pub fn resting(&self) -> Option<&RegionId> {
        self.rested_by.as_ref().filter(|_| self.paused && self.holder.is_none())
    }

    /// Whether `region` is the recorded holder.
    pub fn held_by(&self, region: &RegionId) -> bool {
        self.holder.as_ref() == Some(region)
    }
}

/// Register key of a region's session.
pub fn session_key(region: &RegionId) -> String {
    format!("session/{region}")
}

/// Register key of a pair.
pub fn pair_key(pair: &PairId) -> String {
    format!("pair/{pair}")
}
