//! Pausing and resuming pairs: what speaks against it, and how it is done. The same function answers a
//! dry run, a request and the runner's preflight.

use std::collections::{BTreeMap, BTreeSet};

use continuum_control_api::link::MemberRole;
use continuum_control_api::rest::Plan;
use continuum_domain::spec::PairSpec;
use continuum_domain::{RegionId, safety};

use crate::plan::Inputs;
use crate::view::Reports;

/// A plan to stop the pair whose holder is `from`.
pub fn pause(inputs: &Inputs<'_>, from: Option<&RegionId>) -> Plan {
    let mut refusals: Vec<String> =
        safety::ordered_move(inputs.under_way, None).into_iter().map(|one| one.text).collect();
    match inputs.register {
        None => refusals.push(UNREAD.into()),
        Some(record) if record.resting().is_some() => {
            refusals.push("the pair is paused already; there is nothing to stop".into());
        }
        Some(record) if record.holder.is_none() => refusals.push(
            "nobody holds the pair, so that nothing is there to be stopped cleanly; fail over first"
                .into(),
        ),
        Some(record) if record.holder.as_ref() != from => {
            refusals.push("the pair has another holder by now; ask again".into());
        }
        Some(_) => {}
    }
    if let Some(from) = from {
        if !inputs.links.connected(from) {
            refusals.push(format!(
                "{from}: its agent is not connected to the core and cannot be asked to stop"
            ));
        }
        match inputs.reports.writable(from) {
            Some(true) => {}
            Some(false) => {
                refusals.push(format!("{from}: it holds the pair but does not accept writes"));
            }
            None => refusals.push(format!("{from}: whether it accepts writes is unknown")),
        }
    }
    let name = from.map_or("the holder", RegionId::as_str);
    let steps = vec![
        "preflight: check everything the pause needs".into(),
        "bar: nobody takes over from here on".into(),
        format!("stop-writes: PostgreSQL in {name} is stopped cleanly, and the lease let go"),
        "verify: PostgreSQL is stopped in every region".into(),
    ];
    plan(inputs, (from, from), refusals, steps)
}

/// A plan to resume a pair at rest in `to`, or where it was.
pub fn resume(inputs: &Inputs<'_>, to: Option<&RegionId>) -> Plan {
    let mut refusals: Vec<String> =
        safety::ordered_move(inputs.under_way, None).into_iter().map(|one| one.text).collect();
    // A register that is paused and held is what a pause leaves that never came to its end.
    let last = inputs.register.and_then(|record| {
        let barred = record.holder.as_ref().filter(|_| record.paused);
        record.resting().or(barred)
    });
    match (inputs.register, last) {
        (None, _) => refusals.push(UNREAD.into()),
        (Some(_), None) => refusals.push("the pair is not paused".into()),
        _ => {}
    }
    let to = to.or(last);
    if let Some(to) = to {
        if !inputs.spec.members.contains_key(to) {
            refusals.push(format!("{to} is not a member of the pair"));
        } else if !inputs.links.connected(to) {
            refusals.push(format!(
                "{to}: its agent is not connected to the core and cannot be asked to start"
            ));
        } else if !inputs.reports.is_fresh(to) {
            refusals.push(format!("{to}: how it stands is unknown"));
        }
        let listed = inputs.register.is_some_and(|record| record.in_sync.contains_key(to));
        if inputs.register.is_some() && !listed {
            refusals.push(format!("{to}: it is not known to hold every acknowledged commit"));
        }
    }
    let name = to.map_or("the region that stopped it", RegionId::as_str);
    let steps = vec![
        "preflight: check everything the resumption needs".into(),
        "bar: the pause is taken back".into(),
        format!("commit: {name} wins the next epoch"),
        format!("promote: PostgreSQL in {name} accepts writes"),
        format!("traffic: names and health URLs point at {name}"),
        "restore-ledger: the ledger lists a standby again".into(),
        "verify: outcome checked and measured".into(),
    ];
    plan(inputs, (None, to), refusals, steps)
}

const UNREAD: &str = "the pair's register could not be read from the witness, or was never written";

fn plan(
    inputs: &Inputs<'_>,
    (from, to): (Option<&RegionId>, Option<&RegionId>),
    refusals: Vec<String>,
    steps: Vec<String>,
) -> Plan {
    Plan {
        from: from.cloned(),
        // Refused in any case where nobody is known to be meant.
        to: to.unwrap_or(&inputs.spec.first_primary).clone(),
        allowed: refusals.is_empty(),
        candidates: BTreeMap::new(),
        against_leaving: Vec::new(),
        refusals,
        steps,
        method: None,
        hot_refusals: Vec::new(),
    }
}

/// Members whose agents have not said lately that their PostgreSQL is stopped for the pause; `None`
/// where no agent said anything lately.
pub fn not_still(reports: &Reports, spec: &PairSpec) -> Option<BTreeSet<RegionId>> {
    let known = spec.members.keys().any(|region| reports.is_fresh(region));
    let moves = |region: &&RegionId| reports.role(region) != Some(MemberRole::Resting);
    known.then(|| spec.members.keys().filter(moves).cloned().collect())
}
