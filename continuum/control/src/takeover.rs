//! What losing the holder would cost now, and how a planned move would be made: by the ledger, or the
//! slow way, with every reason. Made of fresh reports and the newest register; what was not reported
//! lately is unknown, never "ledger" (I7).

use continuum_control_api::rest::{PlannedMove, TakeoverView};
use continuum_domain::candidate::REPORT_AGE_MS_MAX;
use continuum_domain::operation::Method;
use continuum_domain::spec::{PairSpec, Takeover};
use continuum_domain::{PairRecord, RegionId};

use crate::link::registry::millis;
use crate::view::Reports;

/// Every reason against the target's taking over from the living holder (R18). What was not reported
/// is one.
pub fn hot_refusals(
    spec: &PairSpec,
    register: Option<&PairRecord>,
    reports: &Reports,
    to: &RegionId,
) -> Vec<String> {
    if !spec.durability.is_synchronous() {
        return vec!["durability async: the holder acknowledges alone".into()];
    }
    let Some((record, holder)) =
        register.and_then(|record| Some((record, record.holder.as_ref()?)))
    else {
        return vec!["who holds the pair is unknown".into()];
    };
    let mut against = Vec::new();
    if !record.waits_for_all {
        against.extend(unconfirmed(reports, holder));
    }
    match reports.takeover_refusals(to) {
        None => against.push(format!("{to}: its agent did not report whether it may take over")),
        Some(reasons) => against.extend(reasons.iter().map(|reason| format!("{to}: {reason}"))),
    }
    against
}

/// Why the register does not say that the holder waits for every listed member.
fn unconfirmed(reports: &Reports, holder: &RegionId) -> Vec<String> {
    match reports.takeover_refusals(holder) {
        Some(reasons) if !reasons.is_empty() => {
            reasons.iter().map(|reason| format!("{holder}: {reason}")).collect()
        }
        _ => vec![format!("{holder} has not confirmed yet that it waits for every listed member")],
    }
}

/// The picture for people. `register` is the newest one reported and its age.
pub fn view(
    spec: &PairSpec,
    register: Option<(&PairRecord, u64)>,
    reports: &Reports,
) -> TakeoverView {
    let record = register.map(|(record, _)| record);
    let holder = record.and_then(|record| record.holder.as_ref());
    let (effective, by, reasons) = effective(spec, register, reports);
    TakeoverView {
        configured: spec.takeover,
        suspect_after_ms: millis(spec.suspect_after),
        effective,
        by,
        reasons,
        planned: spec
            .members
            .keys()
            .filter(|region| holder.is_some_and(|holder| holder != *region))
            .map(|region| {
                let hot_refusals = hot_refusals(spec, record, reports, region);
                let method = if hot_refusals.is_empty() { Method::Hot } else { Method::Clean };
                (region.clone(), PlannedMove { method, hot_refusals })
            })
            .collect(),
    }
}

type Effective = (Option<Takeover>, Vec<RegionId>, Vec<String>);

fn unknown(reason: String) -> Effective {
    (None, Vec::new(), vec![reason])
}

/// Which takeover would be used if the holder were lost now, by whom, and the reasons against the
/// ledger or why it is not known.
fn effective(
    spec: &PairSpec,
    register: Option<(&PairRecord, u64)>,
    reports: &Reports,
) -> Effective {
    let vacant = || unknown("nobody holds the pair".into());
    if register.is_some_and(|(record, _)| record.holder.is_none()) {
        return vacant();
    }
    if spec.takeover == Takeover::Ttl {
        return (Some(Takeover::Ttl), Vec::new(), Vec::new());
    }
    let Some((record, age)) = register else {
        return unknown("no agent has reported the pair's newest register".into());
    };
    if age > REPORT_AGE_MS_MAX {
        return unknown(format!("the newest register reported is {age} ms old"));
    }
    let Some(holder) = &record.holder else { return vacant() };
    if !record.waits_for_all {
        return (Some(Takeover::Ttl), Vec::new(), unconfirmed(reports, holder));
    }
    match reports.takeover_refusals(holder) {
        None => return unknown(format!("{holder}: its agent did not report lately")),
        // It takes back what the register still says.
        Some(reasons) if !reasons.is_empty() => {
            return (Some(Takeover::Ttl), Vec::new(), unconfirmed(reports, holder));
        }
        Some(_) => {}
    }
    let (mut able, mut against, mut is_known) = (Vec::new(), Vec::new(), true);
    for region in spec.members.keys().filter(|region| *region != holder) {
        // Its word counts for the tenure that it knows of.
        let current = reports.epoch_seen(region) == Some(record.epoch);
        match reports.takeover_refusals(region).filter(|_| current) {
            None => {
                is_known = false;
                against.push(format!("{region}: its agent did not report lately"));
            }
            Some([]) => able.push(region.clone()),
            Some(reasons) => {
                against.extend(reasons.iter().map(|reason| format!("{region}: {reason}")));
            }
        }
    }
    match (able.is_empty(), is_known) {
        (false, _) => (Some(Takeover::Ledger), able, Vec::new()),
        (true, true) => (Some(Takeover::Ttl), able, against),
        (true, false) => (None, able, against),
    }
}

#[cfg(test)]
#[path = "takeover_tests.rs"]
mod tests;
