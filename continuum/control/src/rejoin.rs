//! Bringing a member back on a person's word: what speaks against it, and how it is done. The same
//! function answers a dry run, a request and the runner's preflight.

use std::collections::BTreeMap;

use continuum_control_api::rest::Plan;
use continuum_domain::operation::RejoinMethod;
use continuum_domain::spec::Durability;
use continuum_domain::{RegionId, safety};

use crate::plan::Inputs;

/// A plan to have `region` try again, or take a fresh clone.
pub fn plan(inputs: &Inputs<'_>, region: &RegionId, method: RejoinMethod) -> Plan {
    let paused = inputs.register.map(|record| record.paused);
    let mut refusals: Vec<String> =
        safety::ordered_move(inputs.under_way, paused).into_iter().map(|one| one.text).collect();
    let holder = inputs.register.and_then(|record| record.holder.as_ref());
    if inputs.register.is_none() {
        refusals.push(
            "the pair's register could not be read from the witness, or was never written".into(),
        );
    } else if holder.is_none() {
        refusals.push("nobody holds the pair, so that there is nobody to follow".into());
    }
    if !inputs.spec.members.contains_key(region) {
        refusals.push(format!("{region} is not a member of the pair"));
    } else if holder == Some(region) {
        refusals.push(format!("{region} holds the pair: it is what the others follow"));
    } else {
        refuse_member(inputs, region, method, &mut refusals);
    }
    if method == RejoinMethod::Clone {
        refuse_clone(inputs, (region, holder), &mut refusals);
    }
    Plan {
        from: holder.cloned(),
        to: region.clone(),
        allowed: refusals.is_empty(),
        candidates: BTreeMap::new(),
        against_leaving: Vec::new(),
        refusals,
        steps: steps(inputs, (region, holder), method),
        method: None,
        hot_refusals: Vec::new(),
    }
}

fn refuse_member(
    inputs: &Inputs<'_>,
    region: &RegionId,
    method: RejoinMethod,
    refusals: &mut Vec<String>,
) {
    if !inputs.links.connected(region) {
        refusals
            .push(format!("{region}: its agent is not connected to the core and cannot be asked"));
    }
    match inputs.reports.is_fenced(region) {
        None => refusals.push(format!("{region}: how it stands is unknown")),
        Some(true) => refusals.push(format!(
            "{region}: it is fenced by an operator; run `continuum unfence` when it may start again"
        )),
        Some(false) => {}
    }
    let well = inputs.reports.blocked(region) == Some(None)
        && inputs.reports.streams(region) == Some(true);
    if method == RejoinMethod::Retry && well {
        refusals.push(format!(
            "{region}: it streams and stands in no named state; there is nothing to try again"
        ));
    }
}

/// R13: nothing destructive happens to a listed member, so the ledger must be able to do without it.
fn refuse_clone(
    inputs: &Inputs<'_>,
    (region, holder): (&RegionId, Option<&RegionId>),
    refusals: &mut Vec<String>,
) {
    let listed = inputs.register.is_some_and(|record| record.in_sync.contains_key(region));
    if listed && inputs.spec.durability == Durability::Strict {
        refusals.push(format!(
            "{region}: it is in the in-sync ledger, which never shrinks in strict: a clone would leave \
             acknowledged writes on one copy fewer than promised"
        ));
    }
    let Some(holder) = holder else { return };
    if !inputs.links.connected(holder) {
        refusals.push(format!(
            "{holder}: its agent is not connected to the core and cannot be asked to do without {region}"
        ));
    }
    match inputs.reports.writable(holder) {
        Some(true) => {}
        Some(false) => refusals.push(format!(
            "{holder}: it holds the pair but does not accept writes, and cannot be copied"
        )),
        None => refusals.push(format!("{holder}: whether it accepts writes is unknown")),
    }
}

fn steps(
    inputs: &Inputs<'_>,
    (region, holder): (&RegionId, Option<&RegionId>),
    method: RejoinMethod,
) -> Vec<String> {
    let holder = holder.map_or("the holder", RegionId::as_str);
    let synchronous = inputs.spec.durability.is_synchronous();
    let mut steps = vec!["preflight: check everything the rejoin needs".into()];
    if method == RejoinMethod::Clone {
        let copies = if synchronous { "; until the end there is a copy less" } else { "" };
        steps.push(format!("bar: {holder} does without {region} in the ledger{copies}"));
    }
    steps.push(match method {
        RejoinMethod::Retry => format!("rejoin: {region} looks at its history anew, and follows"),
        RejoinMethod::Clone => format!(
            "rejoin: {region} saves what only it has, and its data directory is replaced by a copy of \
             {holder}'s"
        ),
    });
    steps.push(match synchronous {
        true => format!("verify: {region} streams, and the ledger lists it"),
        false => format!("verify: {region} streams"),
    });
    steps
}
