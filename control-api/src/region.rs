//! What a region's agent asks of the core for its Kubernetes cluster, and what it is told of its pairs.
//!
//! An agent has no say of its own: what it asks for goes through the same rules as any request, as the
//! caller `region/NAME`, who holds nothing until it is granted.

use std::collections::BTreeMap;

use continuum_domain::spec::PairSpec;
use continuum_domain::{ApprovalId, Epoch, OperationId, PairId, RegionId};
use serde::{Deserialize, Serialize};

use crate::heard::Heard;
use crate::link::Blocked;
use crate::posture::Posture;

/// A request of a region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegionAsk {
    /// Repeated in the answer.
    pub request: u64,
    /// By which a repetition is known, also one of another agent of this pair's regions.
    pub key: String,
    /// The pair.
    pub pair: PairId,
    /// Which object asks, who wrote it, and why, for people.
    pub reason: String,
    /// What is wanted.
    pub wish: Heard<RegionWish>,
}

/// What a region may ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "wish")]
pub enum RegionWish {
    /// A spec.
    Apply {
        /// The whole of it.
        spec: Box<PairSpec>,
        /// The version that it is to follow; absent: there is no such pair yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected: Option<u64>,
    },
    /// A planned move.
    Switchover {
        /// To where.
        to: RegionId,
    },
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum RegionAnswer {
    /// The spec is in force.
    Applied {
        /// As this version.
        version: u64,
    },
    /// It became an operation.
    Started {
        /// Which.
        operation: OperationId,
    },
    /// It is kept until a person has approved it.
    Kept {
        /// Under this name.
        approval: ApprovalId,
    },
    /// Nothing was changed.
    Refused {
        /// Stable code, as the API has it.
        code: String,
        /// Why, and what to do.
        text: String,
        /// Whether the same request may be answered otherwise later without anybody doing anything.
        again: bool,
    },
}

/// How a pair stands as the core sees it. It changes when something happens, not with the time alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairStanding {
    /// The version of the spec in force.
    pub version: u64,
    /// The spec, whole.
    pub spec: Heard<PairSpec>,
    /// In one word.
    pub posture: Posture,
    /// Every reason that it is not protected.
    pub reasons: Vec<String>,
    /// Who holds it; absent when unknown or vacant.
    pub holder: Option<RegionId>,
    /// Newest known epoch.
    pub epoch: Option<Epoch>,
    /// Whether holder, epoch and ledger are of now.
    pub fresh: bool,
    /// The in-sync ledger, if it is known.
    pub in_sync: Option<Vec<RegionId>>,
    /// Whether a standby streams from the holder, if PostgreSQL said so lately.
    pub streaming: Option<bool>,
    /// Replay lag of the least lagging standby, if PostgreSQL measured it lately.
    pub lag_ms: Option<u64>,
    /// The same in bytes of WAL.
    pub lag_bytes: Option<u64>,
    /// What is under way.
    pub operation: Option<OperationStanding>,
    /// The last switchover or failover that has ended.
    pub last_move: Option<MoveStanding>,
    /// Members in a named state that a person should know of.
    pub blocked: BTreeMap<RegionId, Blocked>,
    /// Members that are being made equal to the holder's history.
    pub rejoining: Vec<RegionId>,
}

/// An operation under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationStanding {
    /// Its name.
    pub id: OperationId,
    /// `switchover`, `failover`, `pause`, `resume`.
    pub kind: String,
    /// Its newest step.
    pub step: Option<String>,
}

/// A move that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveStanding {
    /// Its name.
    pub id: OperationId,
    /// `switchover`, `failover`.
    pub kind: String,
    /// `done`, `undone`, `refused`, `failed`.
    pub result: String,
    /// Who held the pair before, if that is known.
    pub from: Option<RegionId>,
    /// To where.
    pub to: RegionId,
    /// When it ended, milliseconds since 1970.
    pub at_ms: i64,
    /// Why it was asked for, or why it came to nothing.
    pub reason: String,
    /// Who asked.
    pub actor: String,
    /// For at most so long no write was seen, if it was measured.
    pub outage_ms: Option<u64>,
    /// Most bytes of acknowledged WAL that were lost; absent when that is not known.
    pub lost_bytes: Option<u64>,
}

/// A standing by pair; `None`: the core has no such pair any more.
pub type Standings = BTreeMap<PairId, Option<Heard<PairStanding>>>;
