//! What agents and the core, and agents among themselves, say to each other.

use std::collections::BTreeMap;

use continuum_domain::corroborate::Corroboration;
use continuum_domain::operation::{Step, StepOutcome};
use continuum_domain::spec::PairSpec;
use continuum_domain::trace::TraceContext;
use continuum_domain::{Epoch, Lsn, OperationId, PairId, RegionId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::acceptor_report::{AcceptorReport, AcceptorStanding};
pub use crate::agent_asks::{OperatorAnswer, OperatorAsk, PeerAnswer, PeerAsk};
pub use crate::beside_report::{BackupsReport, RoleWritesReport};
pub use crate::dialect::{Dialect, pack};
use crate::heard::{Heard, by_pair, understood_by_name, understood_by_pair};
pub use crate::member_report::{Blocked, MemberReport, MemberRole, PeerLinkReport};
pub use crate::name_report::{AuthorityReport, NameReport, NameStanding, PlaceReport};
use crate::pb::LinkFrame;
pub use crate::region::{
    MoveStanding, OperationStanding, PairStanding, RegionAnswer, RegionAsk, RegionWish, Standings,
};
pub use crate::switch_report::{SwitchReport, SwitchStanding};

/// From an agent to the core.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum FromAgent {
    /// First message on every stream.
    Hello {
        /// The agent's region; must be the one in its certificate.
        region: RegionId,
        /// Version of the binary, for people.
        version: String,
        /// Newest journal entry the agent has; older ones were acknowledged or are coming.
        journal_seq: u64,
    },
    /// State of the region's members; sent on change and at least each second.
    Report {
        /// By pair.
        #[serde(deserialize_with = "understood_by_pair")]
        members: BTreeMap<PairId, MemberReport>,
        /// Pairs whose spec, as the core sent it last, this agent does not understand: it goes on by
        /// the one before it, if it has one.
        #[serde(
            default,
            deserialize_with = "understood_by_pair",
            skip_serializing_if = "BTreeMap::is_empty"
        )]
        not_understood: BTreeMap<PairId, Blocked>,
        /// The acceptors of the witness's quorum, by name, as this agent sees them; absent where the
        /// witness is one server, and where the agent does not say.
        #[serde(
            default,
            deserialize_with = "understood_by_name",
            skip_serializing_if = "Option::is_none"
        )]
        acceptors: Option<BTreeMap<String, AcceptorReport>>,
        /// The traffic switches that this agent drives, by name; absent where it drives none.
        #[serde(
            default,
            deserialize_with = "understood_by_name",
            skip_serializing_if = "Option::is_none"
        )]
        traffic: Option<BTreeMap<String, SwitchReport>>,
    },
    /// May I fail over? Asked before the window has closed, so that the answer costs no time.
    GrantRequest {
        /// Repeated in the answer.
        request: u64,
        /// The pair.
        pair: PairId,
        /// The epoch that would be superseded; the answer counts for no other.
        epoch: Epoch,
        /// What made it due.
        trigger: String,
        /// Why this member may take over, or why not (for the record).
        evidence: String,
        /// The member is in the in-sync ledger, so that nothing can be lost by it. A member that
        /// does not say so is not.
        #[serde(default)]
        listed: bool,
        /// Lag behind the lost primary in bytes, if it was measured lately enough to count.
        lag_bytes: Option<u64>,
        /// What resolvers say of the holder's health name, where the pair's spec asks for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        corroboration: Option<Heard<Corroboration>>,
    },
    /// Journal entries not acknowledged yet, oldest first.
    Journal {
        /// Entries with rising sequence numbers.
        entries: Vec<Heard<JournalEntry>>,
    },
    /// Tell from now on how the region's pairs stand: for an agent that writes it into a Kubernetes
    /// cluster.
    Follow,
    /// A request that came to the region through its Kubernetes cluster.
    Ask(RegionAsk),
}

/// From the core to an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum ToAgent {
    /// This node does not lead; try there. The stream ends after this.
    NotLeader {
        /// Name of the leading node, if known.
        leader: Option<String>,
    },
    /// All specs the region is a member of; complete, sent at connect and on change.
    Specs {
        /// By pair, with the spec's version.
        #[serde(deserialize_with = "by_pair")]
        specs: BTreeMap<PairId, (u64, Heard<PairSpec>)>,
        /// Pairs whose automation is paused, and for how many milliseconds from now: a pause ends
        /// by itself also where the core can not say so.
        #[serde(deserialize_with = "by_pair")]
        automation_paused: BTreeMap<PairId, u64>,
    },
    /// Answer to [`FromAgent::GrantRequest`].
    Grant {
        /// The request.
        request: u64,
        /// The pair.
        pair: PairId,
        /// The epoch that may be superseded.
        epoch: Epoch,
        /// The answer.
        answer: Heard<GrantAnswer>,
    },
    /// Do this. Repeated until the operation's journal shows it done; idempotent by operation.
    Directive(Directive),
    /// Entries up to here are in the replicated log; the agent may forget them.
    JournalAck {
        /// Newest acknowledged sequence number.
        seq: u64,
    },
    /// How pairs stand, to who asked to follow: first all of the region, then what changed.
    Standings {
        /// These are all there are.
        whole: bool,
        /// By pair; nothing where there is none any more.
        #[serde(deserialize_with = "by_pair")]
        pairs: Standings,
    },
    /// Answer to [`FromAgent::Ask`].
    Answer {
        /// The request.
        request: u64,
        /// What became of it.
        answer: Heard<RegionAnswer>,
    },
}

/// The core's answer to a grant request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "grant")]
pub enum GrantAnswer {
    /// Go, under this operation.
    Granted {
        /// The failover's operation.
        operation: OperationId,
        /// Whether a loss is approved (async only), for exactly the epoch in the request.
        allow_data_loss: bool,
        /// A person ordered or approved it, so that no second opinion holds it back.
        #[serde(default)]
        by_person: bool,
        /// Below which span it is told what comes of it; absent where nothing is.
        #[serde(
            default,
            deserialize_with = "understood_or_none",
            skip_serializing_if = "Option::is_none"
        )]
        trace: Option<TraceContext>,
    },
    /// Do not.
    Denied {
        /// Every reason.
        reasons: Vec<String>,
    },
    /// A person must approve first; ask again.
    WaitForApproval {
        /// What is waited for.
        reason: String,
    },
}

/// An order from the core. It carries the epoch it was decided at and is refused at any other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Directive {
    /// The operation it belongs to.
    pub operation: OperationId,
    /// The pair.
    pub pair: PairId,
    /// The pair's epoch when it was decided.
    pub epoch: Epoch,
    /// What to do.
    pub order: Order,
    /// Below which span it is told what comes of it; absent where nothing is.
    #[serde(
        default,
        deserialize_with = "understood_or_none",
        skip_serializing_if = "Option::is_none"
    )]
    pub trace: Option<TraceContext>,
}

/// What is only told of must not keep an order from being understood.
fn understood_or_none<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<TraceContext>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// Kinds of orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "order")]
pub enum Order {
    /// To the holder: stop, prove, hand over. After `deadline_ms` from receipt without a commit the
    /// holder returns by itself (R17).
    SwitchOver {
        /// The target.
        to: RegionId,
        /// Milliseconds from receipt.
        deadline_ms: u64,
    },
    /// To the holder of a switchover not yet committed: return now (R15).
    AbortSwitchOver,
    /// To a standby of a living holder: stop receiving, acquire, promote. After `deadline_ms` from
    /// receipt without a commit it follows again by itself.
    TakeOver {
        /// Milliseconds from receipt.
        deadline_ms: u64,
    },
    /// To a standby: acquire as soon as the rules allow it.
    FailOver {
        /// A person approved a loss for exactly this epoch.
        allow_data_loss: bool,
    },
    /// To the holder of a pair whose challengers are barred: stop PostgreSQL cleanly and let go of the
    /// lease for a pause. After `deadline_ms` from receipt it goes on by itself.
    Rest {
        /// Milliseconds from receipt.
        deadline_ms: u64,
    },
    /// To the holder: do without a member in the ledger, because it is to be cloned (R13). After
    /// `hold_ms` from receipt the member may be listed again.
    KeepOut {
        /// The member.
        region: RegionId,
        /// Milliseconds from receipt.
        hold_ms: u64,
    },
    /// To a member that is not the holder: rejoin at once. A copy that has not begun after `deadline_ms`
    /// from receipt is not begun.
    Rejoin {
        /// By a fresh copy of the holder, whatever stands there.
        clone: bool,
        /// Milliseconds from receipt.
        deadline_ms: u64,
    },
    /// To the holder: write a checkpoint while clients are still served, and say in the journal that it
    /// is written. Changes nothing of the pair.
    Checkpoint,
    /// To an agent that drives traffic switches: hold the pair's clients back, and say in the journal
    /// when no transaction is open any more.
    HoldTraffic {
        /// Milliseconds from receipt that open transactions may take to end.
        drain_ms: u64,
        /// Milliseconds from receipt after which clients are let through, whatever became of the move.
        hold_ms: u64,
    },
    /// To the same: let them through, there is no move.
    ReleaseTraffic,
}

/// A fact an agent must not lose: kept on its disk until the core has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Rises by one per entry and agent.
    pub seq: u64,
    /// Wall clock, milliseconds since 1970, for people.
    pub at_ms: i64,
    /// The pair.
    pub pair: PairId,
    /// The epoch it happened under.
    pub epoch: Epoch,
    /// The operation it belongs to, if any.
    pub operation: Option<OperationId>,
    /// What happened.
    pub fact: Fact,
}

/// What can happen in a region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "fact")]
pub enum Fact {
    /// A step of a move.
    Step {
        /// Which.
        step: Step,
        /// How it ended.
        outcome: StepOutcome,
        /// Measured duration.
        took_us: Option<u64>,
        /// For people.
        detail: String,
    },
    /// This region became holder (the entry's epoch is the new one).
    Acquired {
        /// Why it was allowed: `handover`, `hot`, `ledger`, `expired`, `vacant`, `returned`,
        /// `approved`, `created`.
        by: String,
        /// The holder before.
        from: Option<RegionId>,
        /// Decided without the core.
        autonomous: bool,
    },
    /// This region gave the lease up after a proven stop.
    Released {
        /// Why.
        reason: String,
    },
    /// PostgreSQL was stopped to keep the invariant.
    Fenced {
        /// Why.
        reason: String,
    },
    /// The in-sync ledger changed.
    Ledger {
        /// Members before.
        before: Vec<RegionId>,
        /// Members after.
        after: Vec<RegionId>,
        /// Why.
        reason: String,
    },
    /// The holder waits for every listed member from now on, so that one may take over without its
    /// ttl; or it does not, and why.
    Premise {
        /// Whether it does.
        holds: bool,
        /// Why not.
        reasons: Vec<String>,
    },
    /// A divergent tail was saved and the directory rewound or re-cloned.
    Rejoined {
        /// `followed`, `rewound` or `re-cloned`.
        how: String,
        /// Where the tail was saved.
        artefact: Option<String>,
        /// Fork position.
        fork: Option<Lsn>,
        /// End of the divergent tail.
        end: Option<Lsn>,
        /// Commit records in the tail.
        commits: Option<u64>,
    },
    /// The member entered or left a named blocked state.
    Blocked {
        /// `None` when it was left.
        state: Option<Blocked>,
    },
    /// A fact of another version, as the core records it. No agent writes this.
    NotUnderstood {
        /// Its kind.
        kind: String,
        /// What of it is not understood.
        problem: String,
        /// All of it, as JSON.
        text: String,
    },
}

/// Unpacks a message.
pub fn unpack<T: for<'a> Deserialize<'a>>(frame: &LinkFrame) -> Result<T, serde_json::Error> {
    serde_json::from_slice(&frame.json)
}
