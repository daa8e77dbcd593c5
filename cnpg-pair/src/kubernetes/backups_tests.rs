use super::*;
use crate::kubernetes::fixtures::{fsn, parsed, with};

const HOUR: i64 = 3_600_000;
/// 2026-01-02T02:00:00Z.
const TWO: i64 = 1_767_319_200_000;

fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap().to_string()
}

fn backup(name: &str, phase: &str, ended: i64) -> Backup {
    serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": { "cluster": { "name": "fsn" }, "method": "plugin" },
        "status": { "phase": phase, "startedAt": time(ended - 60_000), "stoppedAt": time(ended),
            "error": if phase == "failed" { "no space" } else { "" }, "beginLSN": "0/2000028" },
    }))
    .unwrap()
}

fn schedule(last: Option<i64>, next: Option<i64>) -> ScheduledBackup {
    serde_json::from_value(json!({
        "metadata": { "name": "fsn-scheduled" },
        "spec": { "cluster": { "name": "fsn" }, "schedule": "0 0 2 * * *" },
        "status": { "lastScheduleTime": last.map(time), "nextScheduleTime": next.map(time) },
    }))
    .unwrap()
}

fn judged(
    backups: &[Backup],
    schedules: &[ScheduledBackup],
    now: i64,
) -> (ConditionStatus, &'static str) {
    let standing = standing("fsn", backups.iter());
    let (status, reason, _) = health("fsn", &standing, schedules.iter(), now);
    (status, reason)
}

#[test]
fn the_newest_of_each_kind_is_told() {
    let mut other = backup("of-another", "completed", TWO + 9 * HOUR);
    other.spec.cluster =
        Some(crate::kubernetes::cnpg::ClusterReference { name: Some("hel".into()) });
    let all = [
        backup("b", "completed", TWO),
        backup("a", "completed", TWO - 24 * HOUR),
        backup("c", "failed", TWO + HOUR),
        backup("d", "failed", TWO - HOUR),
        backup("e", "running", TWO + 2 * HOUR),
        other,
    ];
    let found = standing("fsn", all.iter());
    let name = |record: &Option<BackupRecord>| record.as_ref().unwrap().name.clone();
    assert_eq!(
        (name(&found.completed), name(&found.failed), name(&found.running)),
        ("b".into(), "c".into(), "e".into())
    );
    assert_eq!((found.failures, found.completed_ms), (1, Some(TWO)), "one failed since");
    assert_eq!(found.failed.unwrap().error.as_deref(), Some("no space"));
    assert_eq!(found.completed.unwrap().error, None);
    assert_eq!(standing("nbg", all.iter()), Standing::default());
}

#[test]
fn one_that_nobody_speaks_of_has_not_ended() {
    let mut silent = backup("new", "", TWO);
    silent.status = None;
    let found = standing("fsn", [silent].iter());
    assert_eq!(found.running.unwrap().name, "new");
    assert_eq!((found.completed, found.failures), (None, 0));
}

#[test]
fn a_backup_is_as_old_as_its_schedule_allows() {
    use ConditionStatus::{False, True, Unknown};
    let day = 24 * HOUR;
    let well = [schedule(Some(TWO), Some(TWO + day))];
    let done = [backup("b", "completed", TWO + 120_000)];
    assert_eq!(judged(&done, &well, TWO + 23 * HOUR), (True, "Recent"));
    // An hour after the next time the operator may still be at it; not longer.
    assert_eq!(judged(&done, &well, TWO + day + HOUR), (True, "Recent"));
    assert_eq!(judged(&done, &well, TWO + day + HOUR + 1), (False, "Overdue"));
    // One that is being made has a day.
    let running = [done[0].clone(), backup("c", "running", TWO + day + 60_000)];
    assert_eq!(judged(&running, &well, TWO + day + 5 * HOUR), (True, "Recent"));
    assert_eq!(judged(&running, &well, TWO + 2 * day + 1), (False, "Overdue"));
    // One that began before the time does not count for it.
    let early = [backup("b", "completed", TWO - 1)];
    assert_eq!(judged(&early, &well, TWO + 2 * HOUR), (False, "Overdue"));
    assert_eq!(judged(&[], &well, TWO + 2 * HOUR), (False, "Overdue"));
    assert_eq!(judged(&[], &well, TWO + HOUR), (Unknown, "NoneYet"));
}

#[test]
fn what_makes_no_backups_is_not_well() {
    use ConditionStatus::False;
    let done = [backup("b", "completed", TWO)];
    assert_eq!(judged(&done, &[], TWO), (False, "NotScheduled"));
    let mut off = schedule(Some(TWO), None);
    off.spec.suspend = Some(true);
    assert_eq!(judged(&done, &[off], TWO), (False, "Suspended"));
    let failed = [done[0].clone(), backup("c", "failed", TWO + HOUR)];
    assert_eq!(judged(&failed, &[schedule(Some(TWO), None)], TWO), (False, "LastFailed"));
    let mended = [failed[1].clone(), backup("d", "completed", TWO + 2 * HOUR)];
    assert_eq!(judged(&mended, &[schedule(Some(TWO), None)], TWO).1, "Recent");
}

#[test]
fn none_is_asked_of_what_stands_still() {
    assert_eq!(refusal(&parsed(fsn())), None);
    let marked = |key: &str, value: &str| {
        let pointer = "/metadata/annotations";
        refusal(&with(fsn(), pointer, Some(json!({ key: value }))))
    };
    for (key, value) in [
        (keys::FENCED, r#"["*"]"#),
        (keys::FENCED, r#"["fsn-1"]"#),
        (keys::FENCED, "not a list"),
        (keys::HIBERNATION, "on"),
        (keys::RECONCILIATION, "disabled"),
    ] {
        assert!(marked(key, value).is_some(), "{key} {value}");
    }
    assert_eq!(marked(keys::HIBERNATION, "off"), None);
}

#[test]
fn a_request_has_one_name_and_a_name_of_somebody_else_is_not_it() {
    let made: Backup = serde_json::from_value(manifest("app", "fsn", "before-upgrade")).unwrap();
    assert_eq!(made.metadata.name, Some(name_of("fsn", "before-upgrade")));
    assert!(is_of(&made, "fsn", "before-upgrade"));
    assert!(!is_of(&made, "fsn", "another") && !is_of(&made, "hel", "before-upgrade"));
    assert!(!is_of(&backup("b", "completed", TWO), "fsn", "before-upgrade"));
}
