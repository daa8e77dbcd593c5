//! What agents and the core, and agents among themselves, say to each other.

use std::collections::BTreeMap;

use continuum_domain::corroborate::Corroboration;
use continuum_domain::observation::SqlView;
use continuum_domain::operation::{Step, StepOutcome};
use continuum_domain::round_trips::RoundTripsView;
use continuum_domain::spec::PairSpec;
use continuum_domain::trace::TraceContext;
use continuum_domain::{
    DataDirectoryId, Epoch, Lsn, OperationId, PairId, PairRecord, RegionId, TimelineId, Version,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::beside_report::{BackupsReport, RoleWritesReport};
pub use crate::dialect::{Dialect, pack};
use crate::heard::{Heard, by_pair, understood_by_name, understood_by_pair};
pub use crate::name_report::{AuthorityReport, NameReport, NameStanding, PlaceReport};
use crate::pb::LinkFrame;
pub use crate::region::{
    MoveStanding, OperationStanding, PairStanding, RegionAnswer, RegionAsk, RegionWish, Standings,
};

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

/// An acceptor of the witness's quorum as one agent sees it. Ages are in milliseconds at the time of
/// sending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AcceptorReport {
    /// Since it last answered as an acceptor of this quorum; absent when it never did.
    pub answered_age_ms: Option<u64>,
    /// Requests in a row, since then, that came to nothing.
    pub failures: u64,
    /// Age and kind of the last of them: `unanswered`, `not-sent`, `unauthorised`, `misconfigured`.
    pub last_error: Option<(u64, String)>,
    /// Half of the answers of the last ten to twenty minutes took no longer, in microseconds
    /// (rounded up by at most a quarter); absent without any.
    pub p50_us: Option<u64>,
    /// 99 of 100 took no longer.
    pub p99_us: Option<u64>,
}

/// Whether an acceptor can be counted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptorStanding {
    /// It answers.
    Answers,
    /// It does not.
    Silent,
    /// It was not asked, or not lately.
    Unknown,
}

/// An agent renews its session more often; an acceptor that did not answer for so long was not asked.
const ANSWER_AGE_MS_MAX: u64 = 60_000;
/// A single request may be lost on the way.
const FAILURES_MIN: u64 = 2;

impl AcceptorReport {
    /// How it stands, by a report that is `report_age_ms` old.
    pub fn standing(&self, report_age_ms: u64) -> AcceptorStanding {
        let age = self.answered_age_ms.map(|age| age.saturating_add(report_age_ms));
        match age {
            _ if self.failures >= FAILURES_MIN => AcceptorStanding::Silent,
            Some(age) if age <= ANSWER_AGE_MS_MAX => AcceptorStanding::Answers,
            _ => AcceptorStanding::Unknown,
        }
    }
}

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

/// One agent asks another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "ask")]
pub enum PeerAsk {
    /// Has your PostgreSQL replayed to `lsn` on `timeline`? Waits up to `wait_ms`.
    Replayed {
        /// The pair.
        pair: PairId,
        /// Epoch of the asking holder.
        epoch: Epoch,
        /// Timeline of the shutdown checkpoint.
        timeline: TimelineId,
        /// End of the shutdown checkpoint.
        lsn: Lsn,
        /// How long to wait for it.
        wait_ms: u64,
        /// What the asking holder's member was given when it was stopped, for the next promotion of the
        /// one that is asked: a CloudNativePG Cluster's demotion token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<String>,
    },
    /// Do you live?
    Beat {
        /// Repeated in the answer.
        sequence: u64,
    },
    /// The pair's register changed: read it now.
    Nudge {
        /// The pair.
        pair: PairId,
    },
    /// Which data directory does your member run on? Told only to a holder whose WAL the member's
    /// is proven to be the beginning of (R13).
    Identify {
        /// The pair.
        pair: PairId,
        /// Epoch of the asking holder.
        epoch: Epoch,
    },
    /// Do you hold this epoch, and accept writes under it? Waits up to `wait_ms` for it.
    Writable {
        /// The pair.
        pair: PairId,
        /// The epoch.
        epoch: Epoch,
        /// How long to wait for it.
        wait_ms: u64,
    },
    /// Promise not to acquire, promote or accept an approval for `hold_ms` from now (R20).
    Promise {
        /// The pair.
        pair: PairId,
        /// Epoch of the asking holder.
        epoch: Epoch,
        /// Duration of the promise.
        hold_ms: u64,
    },
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum PeerAnswer {
    /// Yes, with this member's data directory.
    Replayed {
        /// The member's data directory, to be written into the ledger.
        data_directory: DataDirectoryId,
        /// Where it has replayed to.
        replay: Lsn,
    },
    /// It lives.
    Beat {
        /// The question's.
        sequence: u64,
    },
    /// Understood.
    Noted,
    /// The member's data directory; `None` when it has none that is whole.
    Identity {
        /// Its identity.
        data_directory: Option<DataDirectoryId>,
    },
    /// Yes.
    Writable,
    /// The promise is on disk.
    Promised,
    /// No, and why.
    Refused {
        /// The reason.
        reason: String,
    },
}

/// An operator asks an agent directly, without the core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "ask")]
pub enum OperatorAsk {
    /// Stop PostgreSQL here and keep it stopped until unfenced.
    Fence {
        /// The pair.
        pair: PairId,
        /// Why; kept with the mark.
        reason: String,
    },
    /// Take the mark away.
    Unfence {
        /// The pair.
        pair: PairId,
        /// Why, for the journal.
        reason: String,
    },
    /// What is the member doing?
    Show {
        /// The pair.
        pair: PairId,
    },
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum OperatorAnswer {
    /// Done; the mark is on disk and, for a fence, no process of PostgreSQL is left.
    Done,
    /// The member.
    Member {
        /// Its state.
        report: Box<MemberReport>,
    },
    /// Not done, and why.
    Failed {
        /// The reason.
        reason: String,
    },
}

/// Unpacks a message.
pub fn unpack<T: for<'a> Deserialize<'a>>(frame: &LinkFrame) -> Result<T, serde_json::Error> {
    serde_json::from_slice(&frame.json)
}
