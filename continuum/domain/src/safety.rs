//! The core's safety rules: what bars an automatic failover, and what bars an operation.
//!
//! The rules here are about wisdom, not about invariants: a failover they let through wrongly is an
//! unneeded move, never a lost write. What keeps I1 and I2 is the register (R5 to R8, R18), which
//! the acquiring agent checks itself whatever the core answered.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::corroborate::{Corroboration, CorroborationEffect, NameState};
use crate::ids::{Epoch, OperationId, PairId};
use crate::mutation::{Bug, planted};
use crate::spec::{PairMode, PairSpec};

/// One reason, with a code that stays the same while its numbers change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// Stable code, for example `anti-flap`.
    pub code: String,
    /// For people.
    pub text: String,
}

impl Reason {
    /// A reason from its parts.
    pub fn new(code: &str, text: impl Into<String>) -> Self {
        Self { code: code.into(), text: text.into() }
    }
}

/// A pause of automation in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pause {
    /// One pair, or all when absent.
    pub pair: Option<PairId>,
    /// Why.
    pub reason: String,
    /// Who.
    pub actor: String,
    /// When it ends, milliseconds since 1970.
    pub until_ms: i64,
}

impl Pause {
    /// Whether it is in force at `now_ms`.
    pub fn in_force(&self, now_ms: i64) -> bool {
        self.until_ms > now_ms
    }

    /// Whether it bars `pair`.
    pub fn bars(&self, pair: &PairId) -> bool {
        self.pair.as_ref().is_none_or(|only| only == pair)
    }
}

/// What a request for an automatic failover is judged by.
#[derive(Clone, Debug)]
pub struct FailoverFacts<'a> {
    /// The pair's spec.
    pub spec: &'a PairSpec,
    /// The core's time, milliseconds since 1970. No lease depends on it.
    pub now_ms: i64,
    /// The epoch that would be superseded.
    pub epoch: Epoch,
    /// Newest epoch the core knows of, if any.
    pub known_epoch: Option<Epoch>,
    /// The first pause that bars the pair.
    pub pause: Option<&'a Pause>,
    /// When the pair last failed over.
    pub last_failover_ms: Option<i64>,
    /// Failovers under way on other pairs.
    pub failovers_elsewhere: usize,
    /// Most failovers at once.
    pub failovers_max: usize,
    /// Another operation under way on this pair.
    pub under_way: Option<&'a OperationId>,
    /// The candidate is in the in-sync ledger: nothing can be lost by it.
    pub listed: bool,
    /// Measured lag of the candidate behind the lost primary, if it was measured.
    pub lag_bytes: Option<u64>,
    /// What resolvers say of the holder's health name, if they were asked.
    pub corroboration: Option<&'a Corroboration>,
}

/// The answer of the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go.
    Allow {
        /// What speaks for it, for the journal.
        why: String,
    },
    /// A person must approve first.
    Wait {
        /// What is waited for.
        reason: Reason,
        /// The approval is one of a possible loss.
        data_loss: bool,
    },
    /// Not now.
    Deny {
        /// Every reason.
        reasons: Vec<Reason>,
    },
}

/// Judges an automatic failover. Every reason is given, not only the first.
pub fn automatic_failover(facts: &FailoverFacts<'_>) -> Verdict {
    let mut reasons = hard_reasons(facts);
    reasons.extend(veto(facts));
    match facts.spec.mode {
        PairMode::Manual => reasons.push(Reason::new(
            "manual-mode",
            "the pair is in mode manual: only a person moves it; use `continuum failover`",
        )),
        PairMode::ObserveOnly => reasons.push(Reason::new(
            "observe-only",
            "the pair is in mode observe-only: the failover is recorded, not carried out",
        )),
        PairMode::Automatic | PairMode::SemiAutomatic => {}
    }
    if !reasons.is_empty() {
        return Verdict::Deny { reasons };
    }
    let why = match loss_verdict(facts) {
        Ok(why) => why,
        Err(reason) => return Verdict::Wait { reason, data_loss: true },
    };
    if facts.spec.mode == PairMode::SemiAutomatic {
        let reason = Reason::new(
            "approval",
            "the pair is in mode semi-automatic: a person must approve this failover",
        );
        return Verdict::Wait { reason, data_loss: false };
    }
    Verdict::Allow { why }
}

/// A health name that answers bars what nobody ordered or approves. That nobody knows bars nothing.
fn veto(facts: &FailoverFacts<'_>) -> Option<Reason> {
    let asked = facts.spec.corroborate.as_ref()?;
    let said = facts.corroboration.filter(|said| said.verdict == NameState::Up)?;
    let bars = asked.effect == CorroborationEffect::Veto
        && facts.spec.mode != PairMode::SemiAutomatic
        && !planted(Bug::VetoIgnored);
    bars.then(|| {
        Reason::new(
            "health-name-answers",
            format!("the holder's region may live (corroborate.effect is \"veto\"): {said}"),
        )
    })
}

fn hard_reasons(facts: &FailoverFacts<'_>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if let Some(pause) = facts.pause.filter(|pause| pause.in_force(facts.now_ms)) {
        let scope = if pause.pair.is_some() { "of this pair" } else { "of all pairs" };
        let left = seconds(pause.until_ms - facts.now_ms);
        reasons.push(Reason::new(
            "automation-paused",
            format!(
                "automation {scope} is paused by {} for {left} more: {}",
                pause.actor, pause.reason
            ),
        ));
    }
    let superseded = facts.known_epoch.filter(|known| *known > facts.epoch);
    if let Some(known) = superseded.filter(|_| !planted(Bug::StaleGrant)) {
        reasons.push(Reason::new(
            "stale-epoch",
            format!("epoch {} was superseded: the pair is at epoch {known}", facts.epoch),
        ));
    }
    if let Some(last) = facts.last_failover_ms {
        let quiet = i64::try_from(facts.spec.anti_flap.as_millis()).unwrap_or(i64::MAX);
        let until = last.saturating_add(quiet);
        if facts.now_ms < until {
            reasons.push(Reason::new(
                "anti-flap",
                format!(
                    "the pair failed over less than {:?} ago; automatic failover is allowed again in {}",
                    facts.spec.anti_flap,
                    seconds(until - facts.now_ms)
                ),
            ));
        }
    }
    if facts.failovers_elsewhere >= facts.failovers_max {
        reasons.push(Reason::new(
            "too-many-failovers",
            format!(
                "{} failovers are under way on other pairs, at most {} may run at once",
                facts.failovers_elsewhere, facts.failovers_max
            ),
        ));
    }
    if let Some(operation) = facts.under_way {
        reasons.push(Reason::new(
            "operation-under-way",
            format!("operation {operation} is under way on this pair"),
        ));
    }
    reasons
}

/// What speaks for the candidate, or the loss that somebody must approve first.
///
/// Who is listed has every acknowledged commit. R21: any other member of an `async` pair takes over
/// on a standing approval with the measured lag at or under its bound; unknown lag is over every
/// bound (I7). In the synchronous modes there is no standing approval.
fn loss_verdict(facts: &FailoverFacts<'_>) -> Result<String, Reason> {
    if facts.listed || planted(Bug::UnlistedIsGranted) {
        return Ok("the member is in the in-sync ledger".into());
    }
    let waiting = |text: String| Err(Reason::new("data-loss-approval", text));
    if facts.spec.durability.is_synchronous() {
        return waiting(
            "the member is not in the in-sync ledger: it may lack acknowledged commits".into(),
        );
    }
    match (facts.spec.loss_approval, facts.lag_bytes) {
        (None, _) => waiting("the pair is async and has no standing loss approval".into()),
        (Some(_), None) if planted(Bug::UnknownLagIsNone) => Ok(String::new()),
        (Some(_), None) => {
            waiting("the lag behind the lost primary is unknown, so it is over every bound".into())
        }
        (Some(bound), Some(lag)) if lag <= bound.rpo_bytes => Ok(format!(
            "the measured lag of {lag} bytes is within the approved {} bytes",
            bound.rpo_bytes
        )),
        (Some(bound), Some(lag)) => waiting(format!(
            "the measured lag of {lag} bytes is over the approved {} bytes",
            bound.rpo_bytes
        )),
    }
}

/// Judges an operation a person asked for. Pause, mode and anti-flap are about automation and do
/// not bar a person.
pub fn ordered_move(under_way: Option<&OperationId>, register_paused: Option<bool>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if let Some(operation) = under_way {
        reasons.push(Reason::new(
            "operation-under-way",
            format!("operation {operation} is under way on this pair; wait for it or cancel it"),
        ));
    }
    if register_paused == Some(true) {
        reasons.push(Reason::new("pair-paused", "the pair is paused; resume it first"));
    }
    reasons
}

fn seconds(ms: i64) -> String {
    let ms = u64::try_from(ms).unwrap_or(0);
    format!("{:?}", Duration::from_secs(ms.div_ceil(1_000)))
}
