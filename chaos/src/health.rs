//! Whether a pair is whole again: one primary, every other member streaming, the ledger full.

use continuum_control_api::link::{MemberReport, MemberRole};
use continuum_control_api::rest::{AgedReport, PairView};
use continuum_domain::RegionId;

/// A report older than this says nothing about now; agents report at least each second.
const FRESH_MS: u64 = 2_500;

/// Why the pair is not whole, one line per reason; empty means that it is.
pub fn problems(view: &PairView) -> Vec<String> {
    let Some(holder) = &view.holder else { return vec!["no region holds the lease".into()] };
    let mut out = Vec::new();
    for region in view.spec.members.keys() {
        match view.members.get(region).and_then(Option::as_ref) {
            None => out.push(format!("{region}: its agent never reported")),
            Some(report) if report.age_ms > FRESH_MS => {
                out.push(format!("{region}: its last report is {} ms old", report.age_ms));
            }
            Some(AgedReport { report, .. }) => {
                if let Some(problem) = member_problem(region, report, region == holder) {
                    out.push(format!("{region}: {problem}"));
                }
            }
        }
    }
    if out.is_empty() {
        out.extend(redundancy_problems(view, holder));
    }
    out
}

fn member_problem(region: &RegionId, report: &MemberReport, holds: bool) -> Option<String> {
    if let Some(blocked) = &report.blocked {
        return Some(format!("blocked ({}): {} {}", blocked.code, blocked.meaning, blocked.action));
    }
    let expected = if holds { MemberRole::Primary } else { MemberRole::Standby };
    if report.role != expected {
        return Some(format!("is {:?}, not {expected:?}", report.role));
    }
    let Some((sql, _)) = &report.sql else {
        let why = report.sql_failed.as_ref().map_or("never asked", |(_, why)| why.as_str());
        return Some(format!("PostgreSQL of {region} has not answered: {why}"));
    };
    if sql.in_recovery == holds {
        return Some(format!("in recovery: {}", sql.in_recovery));
    }
    if !holds && !sql.receiver_streaming {
        return Some("does not stream".into());
    }
    // It may serve well and yet not be moved: what looks after it has not finished with it.
    let against = report.hindrances.iter().chain(&report.against_leaving).next();
    against.map(|one| format!("not to be moved ({}): {}", one.code, one.meaning))
}

fn redundancy_problems(view: &PairView, holder: &RegionId) -> Vec<String> {
    let mut out = Vec::new();
    let standbys = view
        .members
        .get(holder)
        .and_then(Option::as_ref)
        .and_then(|report| report.report.sql.as_ref())
        .map(|(sql, _)| &sql.standbys);
    for region in view.spec.others(holder) {
        let standby = standbys.and_then(|standbys| standbys.get(&region));
        if !standby.is_some_and(|standby| standby.streaming) {
            out.push(format!("{region}: the primary does not see it stream"));
        }
        let listed = view.in_sync.as_ref().is_some_and(|ledger| ledger.contains(&region));
        if view.spec.durability.is_synchronous() {
            if !listed {
                out.push(format!("{region}: not in the in-sync ledger"));
            }
        } else if view.spec.loss_approval.is_some() && !lag_is_known(view, &region) {
            out.push(format!("{region}: how far it is behind is not known yet"));
        }
    }
    out
}

/// Whether a standby knows its lag, without which a standing approval lets it take over from nobody.
fn lag_is_known(view: &PairView, region: &RegionId) -> bool {
    let report = view.members.get(region).and_then(Option::as_ref);
    let sql = report.and_then(|report| report.report.sql.as_ref());
    sql.is_some_and(|(sql, _)| sql.upstream_end.is_some() && sql.upstream_age_ms.is_some())
}
