//! Plans of moves: what speaks against them, candidate by candidate. The same function answers a
//! dry run, a request and the runner's preflight.

use std::collections::BTreeMap;

use continuum_control_api::rest::Plan;
use continuum_domain::candidate::{self, CandidateFacts, Purpose};
use continuum_domain::operation::Method;
use continuum_domain::safety;
use continuum_domain::spec::PairSpec;
use continuum_domain::{Epoch, OperationId, PairRecord, RegionId};

use crate::link::registry::Links;
use crate::takeover::hot_refusals;
use crate::view::Reports;

/// A move that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Planned, in this way or in the best that the pair allows.
    Switchover(Option<Method>),
    /// Unplanned, ordered by a person.
    Failover {
        /// The person approves that acknowledged writes may be lost ...
        allow_data_loss: bool,
        /// ... for exactly this epoch.
        loss_epoch: Option<Epoch>,
    },
}

/// What a plan is made from.
pub struct Inputs<'a> {
    /// The pair's spec.
    pub spec: &'a PairSpec,
    /// The register as just read; `None` when it could not be.
    pub register: Option<&'a PairRecord>,
    /// The agents' reports.
    pub reports: &'a Reports,
    /// The agents' links.
    pub links: &'a Links,
    /// Another operation that runs on the pair.
    pub under_way: Option<&'a OperationId>,
}

/// Plans a move to `to`.
pub fn plan(inputs: &Inputs<'_>, to: &RegionId, wish: Wish) -> Plan {
    let holder = inputs.register.and_then(|record| record.holder.clone());
    let purpose = purpose(inputs.spec, wish);
    let candidates: BTreeMap<RegionId, CandidateFacts> = inputs
        .spec
        .members
        .keys()
        .filter(|region| Some(*region) != holder.as_ref())
        .map(|region| {
            let facts = inputs.reports.candidate(inputs.spec, region, holder.as_ref());
            (region.clone(), facts)
        })
        .collect();
    let choice = candidate::choose(&candidates, inputs.register, purpose);
    let mut refusals: Vec<String> =
        safety::ordered_move(inputs.under_way, inputs.register.map(|record| record.paused))
            .into_iter()
            .map(|reason| reason.text)
            .collect();
    refuse_target(inputs, to, holder.as_ref(), &choice, &mut refusals);
    let hot_refusals = hot_refusals(inputs.spec, inputs.register, inputs.reports, to);
    let method = method(wish, &hot_refusals);
    let mut against_leaving = Vec::new();
    match wish {
        Wish::Switchover(_) => {
            against_leaving = refuse_switchover(inputs, holder.as_ref(), &mut refusals);
            if method == Some(Method::Hot) {
                refusals.extend(hot_refusals.iter().map(|reason| format!("hot: {reason}")));
            }
        }
        Wish::Failover { allow_data_loss, loss_epoch } => {
            refuse_failover(inputs, holder.as_ref(), (allow_data_loss, loss_epoch), &mut refusals);
        }
    }
    Plan {
        from: holder.clone(),
        to: to.clone(),
        allowed: refusals.is_empty(),
        candidates: choice.refusals,
        against_leaving,
        refusals,
        steps: steps(holder.as_ref(), to, method),
        method,
        hot_refusals: if method.is_some() { hot_refusals } else { Vec::new() },
    }
}

fn purpose(spec: &PairSpec, wish: Wish) -> Purpose {
    match wish {
        Wish::Switchover(_) => Purpose::Switchover {
            needs_ledger: spec.durability.is_synchronous(),
            max_lag_bytes: spec.max_lag_bytes,
        },
        Wish::Failover { allow_data_loss, .. } => Purpose::Failover { allow_data_loss },
    }
}

/// How a planned move is made: as asked, else hot where nothing speaks against it.
fn method(wish: Wish, hot_refusals: &[String]) -> Option<Method> {
    match wish {
        Wish::Switchover(Some(method)) => Some(method),
        Wish::Switchover(None) if hot_refusals.is_empty() => Some(Method::Hot),
        Wish::Switchover(None) => Some(Method::Clean),
        Wish::Failover { .. } => None,
    }
}

fn refuse_target(
    inputs: &Inputs<'_>,
    to: &RegionId,
    holder: Option<&RegionId>,
    choice: &candidate::Choice,
    refusals: &mut Vec<String>,
) {
    if inputs.register.is_none() {
        refusals.push(
            "the pair's register could not be read from the witness, or was never written".into(),
        );
    }
    if !inputs.spec.members.contains_key(to) {
        refusals.push(format!("{to} is not a member of the pair"));
    } else if holder == Some(to) {
        refusals.push(format!("{to} holds the pair already"));
    }
    if let Some(against) = choice.refusals.get(to).filter(|against| !against.is_empty()) {
        refusals.extend(against.iter().map(|reason| format!("{to}: {reason}")));
        if let Some(best) = &choice.best {
            refusals.push(format!("{best} could take over instead"));
        }
    }
}

/// Returns what the holder's platform has against its leaving. A failover does not ask that: its holder is gone.
fn refuse_switchover(
    inputs: &Inputs<'_>,
    holder: Option<&RegionId>,
    refusals: &mut Vec<String>,
) -> Vec<String> {
    let Some(holder) = holder else {
        if inputs.register.is_some() {
            refusals.push(
                "nobody holds the pair: there is nothing to switch over; use failover".into(),
            );
        }
        return Vec::new();
    };
    if !inputs.links.connected(holder) {
        refusals.push(format!(
            "{holder}: its agent is not connected to the core and cannot be asked to hand over"
        ));
    }
    match inputs.reports.writable(holder) {
        Some(true) => {}
        Some(false) => {
            refusals.push(format!("{holder}: it holds the pair but does not accept writes"))
        }
        None => refusals.push(format!("{holder}: whether it accepts writes is unknown")),
    }
    let against = inputs.reports.against_leaving(holder);
    refusals.extend(against.iter().map(|reason| format!("{holder}: {reason}")));
    against
}

fn refuse_failover(
    inputs: &Inputs<'_>,
    holder: Option<&RegionId>,
    (allow_data_loss, loss_epoch): (bool, Option<Epoch>),
    refusals: &mut Vec<String>,
) {
    let epoch = inputs.register.map(|record| record.epoch);
    match (allow_data_loss, loss_epoch) {
        (true, None) => refusals
            .push("an approval of a loss counts for one epoch only: name it (`--epoch`)".into()),
        // R21: an approval counts for exactly the epoch it names.
        (true, Some(named)) if epoch.is_some_and(|epoch| epoch != named) => refusals.push(format!(
            "the approval is for epoch {named}, but the pair is at epoch {}",
            epoch.unwrap_or_default()
        )),
        (false, _) if !inputs.spec.durability.is_synchronous() => refusals.push(
            "the pair is async: a failover may lose acknowledged writes; approve that for the \
             epoch at hand (`--allow-data-loss --epoch N`)"
                .into(),
        ),
        _ => {}
    }
    if let Some(holder) = holder
        && inputs.reports.writable(holder) == Some(true)
    {
        refusals.push(format!(
            "{holder}: it holds the pair and accepts writes, so nobody may take over; use \
             switchover, or fence it first (`continuum fence` on its agent)"
        ));
    }
}

fn steps(from: Option<&RegionId>, to: &RegionId, method: Option<Method>) -> Vec<String> {
    let from = from.map_or_else(|| "the old holder".to_owned(), ToString::to_string);
    match method {
        Some(Method::Hot) => vec![
            "preflight: check everything the move needs".into(),
            "drain: no traffic switches are configured".into(),
            format!("stop-writes: {to} stops receiving, so that {from} can acknowledge nothing"),
            format!("commit: {to} wins the next epoch; from here only forward"),
            format!("promote: PostgreSQL in {to} accepts writes"),
            format!("traffic: names and health URLs point at {to}"),
            format!("rejoin: {from} is stopped, rewound where it must be, and streams from {to}"),
            format!("restore-ledger: the ledger lists {from} again"),
            "verify: outcome checked and measured".into(),
        ],
        Some(Method::Clean) => vec![
            "preflight: check everything the move needs".into(),
            "drain: no traffic switches are configured".into(),
            format!("stop-writes: stop PostgreSQL in {from} cleanly"),
            format!("prove-catch-up: {to} has replayed to the shutdown checkpoint"),
            format!("hand-over: {from} writes handover_to = {to} into the register"),
            format!("commit: {to} wins the next epoch; from here only forward"),
            format!("promote: PostgreSQL in {to} accepts writes"),
            format!("traffic: names and health URLs point at {to}"),
            format!("rejoin: {from} streams from {to}"),
            format!("restore-ledger: the ledger lists {from} again"),
            "verify: outcome checked and measured".into(),
        ],
        None => vec![
            "preflight: check everything the move needs".into(),
            format!("commit: {to} wins the next epoch once {from}'s session has run out"),
            format!("promote: PostgreSQL in {to} accepts writes"),
            format!("traffic: names and health URLs point at {to}"),
            format!("rejoin: {from} streams from {to} when it is back"),
            "restore-ledger: the ledger lists a standby again".into(),
            "verify: outcome checked and measured".into(),
        ],
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
