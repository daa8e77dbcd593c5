//! The status of an object, from what the core told and what this agent sees itself. What neither
//! knows is left out, and the conditions about it are `Unknown`.

use continuum_cnpg_pair::kubernetes::crd::{
    Admitted, CnpgPairPhase, CnpgPairStatus, ConditionStatus, ContinuumPhase, ContinuumStatus,
    LastSwitchover, RegionBackups, RequestOutcome, StatusCondition,
};
use continuum_control_api::link::{MoveStanding, PairStanding};
use continuum_control_api::rest::Posture;
use continuum_domain::{Epoch, RegionId};
use k8s_openapi::jiff::Timestamp;

/// What a condition says, before it is known when it began to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Says {
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One word of why.
    pub reason: &'static str,
    /// What happened, what it means, what to do.
    pub message: String,
}

impl Says {
    /// A condition.
    pub fn new(status: ConditionStatus, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into() }
    }
}

/// Who holds the pair, as this agent's own machine read it lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Under which epoch.
    pub epoch: Epoch,
    /// Who; nobody where it is vacant.
    pub holder: Option<RegionId>,
}

/// What a status is made of.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// The generation that was looked at.
    pub generation: Option<i64>,
    /// What became of the object at the core.
    pub admission: Says,
    /// How the pair stands by the core's word; `None` while that is not known.
    pub standing: Option<&'a PairStanding>,
    /// Who holds it by this agent's own.
    pub seen: Option<Seen>,
    /// What the core has taken over.
    pub admitted: Option<&'a Admitted>,
    /// The newest version that the core was seen to have.
    pub core_version: Option<u64>,
    /// The last request.
    pub last_request: Option<&'a RequestOutcome>,
    /// Those that were taken up.
    pub handled: &'a [String],
    /// What is known of foreign writes, where a Cluster of the pair is here.
    pub foreign: Option<Says>,
    /// The status before, for since when conditions say what they say.
    pub before: Option<&'a ContinuumStatus>,
    /// The time for people.
    pub now_ms: i64,
}

const NOT_TOLD: &str = "the core does not tell how the pair stands: the agent has no stream to its leader. \
     The pair goes on; look at the control nodes";

/// The status of a `Continuum`.
pub fn of(parts: &Parts<'_>) -> ContinuumStatus {
    let standing = parts.standing;
    let (holder, epoch, fresh) = holder(parts);
    let foreign = parts.foreign.clone().map(|says| ("ForeignWrite", says));
    let conditions = [
        ("Admitted", parts.admission.clone()),
        ("LeaseHeld", lease_held(holder.as_ref(), fresh)),
        ("Ready", ready(standing)),
        ("StandbyAvailable", standby_available(standing)),
        ("LastSwitchoverHealthy", last_healthy(standing)),
        ("RejoinRepair", rejoin(standing)),
    ];
    let before = parts.before.map(|before| before.conditions.as_slice()).unwrap_or_default();
    let stamped = |(name, says)| stamp(name, says, before, parts.generation, parts.now_ms);
    let operation = standing.and_then(|standing| standing.operation.as_ref());
    let moves = |kind: &str| matches!(kind, "switchover" | "failover");
    ContinuumStatus {
        phase: Some(phase(parts)),
        primary_region: holder.as_ref().filter(|_| fresh).map(ToString::to_string),
        lease_holder: holder.as_ref().filter(|_| fresh).map(ToString::to_string),
        epoch: epoch.filter(|_| fresh).map(|epoch| epoch.0),
        replication_lag_seconds: standing.and_then(|one| one.lag_ms).map(seconds),
        replication_lag_bytes: standing.and_then(|one| one.lag_bytes),
        standby_available: match standby_available(standing).status {
            ConditionStatus::True => Some(true),
            ConditionStatus::False => Some(false),
            ConditionStatus::Unknown => None,
        },
        operation: operation.map(|one| one.id.to_string()),
        switchover_in_progress: standing.map(|_| operation.is_some_and(|one| moves(&one.kind))),
        switchover_step: operation.and_then(|one| one.step.clone()),
        last_switchover: standing.and_then(|one| one.last_move.as_ref()).map(last_switchover),
        last_request: parts.last_request.cloned(),
        handled_requests: parts.handled.to_vec(),
        admitted: parts.admitted.cloned(),
        core_version: parts.core_version,
        observed_generation: parts.generation,
        conditions: conditions.into_iter().chain(foreign).map(stamped).collect(),
    }
}

/// By the newer of two words: the core's, and what this agent read in the register itself.
fn holder(parts: &Parts<'_>) -> (Option<RegionId>, Option<Epoch>, bool) {
    let told = parts.standing.filter(|standing| standing.fresh);
    match (&parts.seen, told.and_then(|standing| Some((standing, standing.epoch?)))) {
        (Some(seen), Some((_, epoch))) if seen.epoch >= epoch => {
            (seen.holder.clone(), Some(seen.epoch), true)
        }
        (_, Some((standing, epoch))) => (standing.holder.clone(), Some(epoch), true),
        (Some(seen), None) => (seen.holder.clone(), Some(seen.epoch), true),
        (None, None) => (None, None, false),
    }
}

fn phase(parts: &Parts<'_>) -> ContinuumPhase {
    let Some(standing) = parts.standing else {
        let pending = parts.admitted.is_none() && parts.admission.status == ConditionStatus::False;
        return if pending { ContinuumPhase::Pending } else { ContinuumPhase::Unknown };
    };
    let moving = standing.operation.as_ref();
    if moving.is_some_and(|one| matches!(one.kind.as_str(), "switchover" | "failover")) {
        return ContinuumPhase::SwitchingOver;
    }
    let failed_over = standing.last_move.as_ref().is_some_and(|last| last.kind == "failover");
    match standing.posture {
        Posture::Blocked => ContinuumPhase::Failed,
        Posture::Unknown => ContinuumPhase::Unknown,
        Posture::AtRisk if failed_over && standing.streaming != Some(true) => {
            ContinuumPhase::FailedOver
        }
        Posture::AtRisk => ContinuumPhase::Degraded,
        Posture::Protected => ContinuumPhase::Healthy,
        Posture::Paused => ContinuumPhase::Paused,
    }
}

/// To a tenth: what is below it changes with every look.
fn seconds(lag_ms: u64) -> f64 {
    let tenths = u32::try_from(lag_ms / 100).unwrap_or(u32::MAX);
    f64::from(tenths) / 10.0
}

fn lease_held(holder: Option<&RegionId>, fresh: bool) -> Says {
    match (fresh, holder) {
        (false, _) => Says::new(
            ConditionStatus::Unknown,
            "NotRead",
            "neither the core nor this agent read the register lately: who may write is not known here. \
             Look at the witness",
        ),
        (true, Some(holder)) => {
            Says::new(ConditionStatus::True, "Held", format!("{holder} holds the lease"))
        }
        (true, None) => Says::new(
            ConditionStatus::False,
            "Vacant",
            "nobody holds the lease: writes are refused. Look at what blocks the members",
        ),
    }
}

fn ready(standing: Option<&PairStanding>) -> Says {
    let Some(standing) = standing else {
        return Says::new(ConditionStatus::Unknown, "CoreSilent", NOT_TOLD);
    };
    let why = || match standing.reasons.is_empty() {
        true => "losing the primary would lose nothing and need nobody".to_owned(),
        false => standing.reasons.join("; "),
    };
    let (status, reason) = match standing.posture {
        Posture::Protected => (ConditionStatus::True, "Protected"),
        Posture::AtRisk => (ConditionStatus::True, "AtRisk"),
        Posture::Blocked => (ConditionStatus::False, "Blocked"),
        Posture::Paused => (ConditionStatus::False, "Paused"),
        Posture::Unknown => (ConditionStatus::Unknown, "NotKnown"),
    };
    Says::new(status, reason, why())
}

fn standby_available(standing: Option<&PairStanding>) -> Says {
    let Some(standing) = standing else {
        return Says::new(ConditionStatus::Unknown, "CoreSilent", NOT_TOLD);
    };
    let synchronous = standing.spec.understood().map(|spec| spec.durability.is_synchronous());
    let listed = standing.in_sync.as_ref().filter(|_| standing.fresh).map(|all| all.len() > 1);
    match (standing.streaming, synchronous, listed) {
        (Some(false), _, _) => Says::new(
            ConditionStatus::False,
            "NotStreaming",
            "no standby streams from the primary: there is one copy. Look at the standby's agent",
        ),
        (Some(true), Some(false), _) => Says::new(
            ConditionStatus::True,
            "Streaming",
            "a standby streams; the durability is async, so a failover may lose what it lacks",
        ),
        (_, Some(true), Some(false)) => Says::new(
            ConditionStatus::False,
            "NotInSync",
            "no standby is in the ledger: none may take over by itself. It is listed again once it has \
             caught up",
        ),
        (Some(true), Some(true), Some(true)) => {
            Says::new(ConditionStatus::True, "InSync", "a standby has every acknowledged commit")
        }
        _ => Says::new(
            ConditionStatus::Unknown,
            "NotKnown",
            "PostgreSQL or the register was not read lately: whether a standby could take over is not known",
        ),
    }
}

fn last_healthy(standing: Option<&PairStanding>) -> Says {
    let Some(standing) = standing else {
        return Says::new(ConditionStatus::Unknown, "CoreSilent", NOT_TOLD);
    };
    match &standing.last_move {
        None => Says::new(ConditionStatus::Unknown, "NoneYet", "the pair has not moved yet"),
        Some(last) if last.result == "done" => {
            let text = format!("the {} to {} is done", last.kind, last.to);
            Says::new(ConditionStatus::True, "Done", text)
        }
        Some(last) => Says::new(
            ConditionStatus::False,
            if last.result == "undone" { "Undone" } else { "Failed" },
            format!("the {} to {} came to nothing: {}", last.kind, last.to, last.reason),
        ),
    }
}

fn rejoin(standing: Option<&PairStanding>) -> Says {
    let Some(standing) = standing else {
        return Says::new(ConditionStatus::Unknown, "CoreSilent", NOT_TOLD);
    };
    if let Some((region, blocked)) = standing.blocked.iter().next() {
        let text = format!("{region}: {}; {}", blocked.meaning, blocked.action);
        return Says::new(ConditionStatus::True, "NeedsAPerson", text);
    }
    if standing.rejoining.is_empty() {
        return Says::new(ConditionStatus::False, "NothingToRepair", "no member is being repaired");
    }
    let names: Vec<_> = standing.rejoining.iter().map(ToString::to_string).collect();
    let text = format!("being made equal to the primary: {}", names.join(", "));
    Says::new(ConditionStatus::True, "Rejoining", text)
}

fn last_switchover(last: &MoveStanding) -> LastSwitchover {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    LastSwitchover {
        result: last.result.clone(),
        from: last.from.as_ref().map(ToString::to_string),
        to: Some(last.to.to_string()),
        at: Some(time(last.at_ms)),
        reason: some(&last.reason),
        initiated_by: some(&last.actor),
        rto_observed: last.outage_ms.map(|ms| format!("{ms}ms")),
        rpo_observed_bytes: last.lost_bytes,
    }
}

/// Whole seconds, as Kubernetes has them.
fn time(ms: i64) -> String {
    Timestamp::from_second(ms.div_euclid(1000)).unwrap_or_default().to_string()
}

fn stamp(
    name: &str,
    says: Says,
    before: &[StatusCondition],
    generation: Option<i64>,
    now_ms: i64,
) -> StatusCondition {
    let old = before.iter().find(|one| one.name == name && one.status == says.status);
    StatusCondition {
        name: name.into(),
        status: says.status,
        observed_generation: generation,
        last_transition_time: old
            .map_or_else(|| time(now_ms), |one| one.last_transition_time.clone()),
        reason: says.reason.into(),
        message: says.message,
    }
}

/// The status of the `CnpgPair` of a pair, with what is told of its backups here.
pub fn of_pair(
    (generation, now_ms): (Option<i64>, i64),
    standing: Option<&PairStanding>,
    backups: Option<(RegionBackups, Says)>,
    before: Option<&CnpgPairStatus>,
) -> CnpgPairStatus {
    let streaming = standing.and_then(|one| one.streaming);
    let phase = match standing.map(|one| (one.posture, one.streaming)) {
        None | Some((Posture::Unknown, _)) => CnpgPairPhase::Unknown,
        Some((Posture::Blocked, _)) => CnpgPairPhase::Failed,
        Some((_, Some(true))) => CnpgPairPhase::Streaming,
        Some((_, Some(false))) => CnpgPairPhase::Degraded,
        Some((_, None)) => CnpgPairPhase::Unknown,
    };
    let old = before.map(|before| before.conditions.as_slice()).unwrap_or_default();
    let mut says =
        vec![("Ready", ready(standing)), ("StandbyAvailable", standby_available(standing))];
    let mut told = Vec::new();
    if let Some((backups, health)) = backups {
        told.push(backups);
        says.push(("BackupHealthy", health));
    }
    let fresh = standing.filter(|one| one.fresh);
    CnpgPairStatus {
        phase: Some(phase),
        streaming,
        current_primary_region: fresh.and_then(|one| one.holder.as_ref()).map(ToString::to_string),
        wal_lag_seconds: standing.and_then(|one| one.lag_ms).map(seconds),
        wal_lag_bytes: standing.and_then(|one| one.lag_bytes),
        backups: told,
        observed_generation: generation,
        conditions: says
            .into_iter()
            .map(|(name, says)| stamp(name, says, old, generation, now_ms))
            .collect(),
    }
}
