//! What goes on beside members that somebody else looks after: backups that are not well, and roles that others
//! have written.

use continuum_control_api::link::{BackupsReport, RoleWritesReport};
use continuum_control_api::rest::PairView;
use continuum_domain::RegionId;

use super::text::{ago, one_line};

/// Each with what to do in its text. Of what no agent follows nothing is claimed.
pub fn remarks(pair: &PairView) -> Vec<String> {
    let mut lines = Vec::new();
    for (region, aged) in &pair.members {
        let Some(aged) = aged else { continue };
        if let Some(backups) = &aged.report.backups {
            lines.extend(of_backups(region, backups, aged.age_ms));
        }
        if let Some(writes) = &aged.report.role_writes {
            lines.extend(of_role(region, writes));
        }
    }
    lines
}

fn of_backups(region: &RegionId, backups: &BackupsReport, age_ms: u64) -> Option<String> {
    let how = match backups.well {
        Some(true) => return None,
        Some(false) => "backups are not well",
        None => "whether its backups are well is unknown",
    };
    let (reason, text) = (one_line(&backups.reason), one_line(&backups.text));
    let newest = match backups.completed_age_ms {
        Some(age) => format!("; the newest complete one ended {}", ago(age.saturating_add(age_ms))),
        None => String::new(),
    };
    Some(format!("! {region}: {how}: {reason}: {text}{newest}"))
}

fn of_role(region: &RegionId, writes: &RoleWritesReport) -> Option<String> {
    let (reason, text) = (one_line(&writes.reason), one_line(&writes.text));
    (writes.stands == Some(true))
        .then(|| format!("! {region}: its role was written by others: {reason}: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixtures;

    fn told(change: impl FnOnce(&mut BackupsReport, &mut RoleWritesReport)) -> Vec<String> {
        let mut backups =
            BackupsReport { well: Some(true), reason: "Recent".into(), ..Default::default() };
        let mut writes = RoleWritesReport { stands: Some(false), ..Default::default() };
        change(&mut backups, &mut writes);
        let mut pair = fixtures::pair();
        let aged = pair.members.values_mut().flatten().next().expect("somebody reported");
        (aged.report.backups, aged.report.role_writes) = (Some(backups), Some(writes));
        remarks(&pair)
    }

    #[test]
    fn what_is_well_or_not_followed_is_not_told() {
        assert_eq!(remarks(&fixtures::pair()), [""; 0]);
        assert_eq!(told(|_, _| ()), [""; 0]);
    }

    #[test]
    fn a_backup_that_failed_and_one_that_is_not_known_are_told_apart() {
        let failed = told(|backups, _| {
            (backups.well, backups.reason) = (Some(false), "LastFailed".into());
            (backups.text, backups.completed_age_ms) = ("no space; mend it".into(), Some(90_000));
        });
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert!(
            failed[0].contains("backups are not well: LastFailed: no space; mend it; the newest")
        );
        let unknown = told(|backups, _| (backups.well, backups.reason) = (None, "NotSeen".into()));
        assert!(unknown[0].contains("whether its backups are well is unknown: NotSeen"));
        assert!(!unknown[0].contains("newest"), "{unknown:?}");
    }

    #[test]
    fn a_role_that_others_wrote_is_told_while_it_stands() {
        let stands = told(|_, writes| {
            (writes.stands, writes.reason) = (Some(true), "Reported".into());
            writes.text = "gitops wrote the role".into();
        });
        assert!(stands[0].contains("written by others: Reported: gitops wrote the role"));
        let over = |writes: &mut RoleWritesReport| (writes.stands, writes.count) = (Some(false), 3);
        assert_eq!(told(|_, writes| over(writes)), [""; 0]);
    }
}
