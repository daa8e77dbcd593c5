use serde_json::{Value, json};

use super::*;

fn region(name: &str) -> RegionId {
    name.parse().expect("a region")
}

fn report(role: &str) -> Value {
    let standby =
        json!({ "streaming": true, "sync": true, "flush": null, "replay": null, "lag_ms": null });
    let sql = json!({
        "in_recovery": role != "primary", "timeline": 1, "wal": null, "replay": null,
        "receiver_streaming": false, "upstream_end": null, "upstream_age_ms": null,
        "sync_names": "", "standbys": { "hel": standby }, "waiting_commits": 0,
        "lowered_commit": null,
    });
    json!({ "age_ms": 100, "report": {
        "role": role, "record": null, "lease_remaining_ms": null, "session_remaining_ms": null,
        "data_directory": null, "sql": [sql, 50], "sql_failed": null, "write_probe_age_ms": 400,
        "fenced": null, "blocked": null, "guard_alive": true, "witness_reachable": true,
        "spec_version": 1,
    } })
}

/// A pair at rest, changed at these places.
fn pair(changes: &[(&str, Value)]) -> PairView {
    let mut view = json!({
        "spec": { "id": "shop", "first_primary": "fsn", "members": {
            "fsn": { "host": "a", "port": 1 }, "hel": { "host": "b", "port": 1 } } },
        "version": 1, "epoch": 3, "holder": "fsn", "record_age_ms": 10,
        "in_sync": ["fsn", "hel"],
        "members": { "fsn": report("primary"), "hel": report("standby") },
        "automation": null, "operation": null,
    });
    for (place, value) in changes {
        *view.pointer_mut(place).expect("a place") = value.clone();
    }
    serde_json::from_value(view).expect("a view")
}

fn of(changes: &[(&str, Value)]) -> Posture {
    posture(&pair(changes), false).0
}

#[test]
fn a_pair_at_rest_is_protected_and_gives_no_reason() {
    assert_eq!(posture(&pair(&[]), false), (Posture::Protected, vec![]));
}

#[test]
fn a_paused_pair_is_neither_protected_nor_an_alarm_and_its_unknowns_are_told() {
    let mut view = pair(&[
        ("/holder", Value::Null),
        ("/members/fsn/report/role", json!("resting")),
        ("/members/hel/report/role", json!("resting")),
    ]);
    assert_eq!(posture(&view, false).0, Posture::Blocked, "vacant, and not by a pause");
    view.resting = Some(region("fsn"));
    let (stands, reasons) = posture(&view, false);
    assert_eq!((stands, reasons.len()), (Posture::Paused, 1));
    assert_eq!(posture(&view, true).0, Posture::Blocked, "an approval is waited for all the same");
    let role = |view: &mut PairView, role| {
        let member = view.members.get_mut(&region("hel")).and_then(Option::as_mut);
        member.expect("a report").report.role = role;
    };
    role(&mut view, MemberRole::Standby);
    let (stands, reasons) = posture(&view, false);
    assert_eq!((stands, reasons[1].as_str()), (Posture::Paused, "hel: not stopped yet"));
    role(&mut view, MemberRole::Unknown);
    assert_eq!(posture(&view, false).0, Posture::Unknown);
    view.members.insert(region("hel"), None);
    let (stands, reasons) = posture(&view, false);
    assert_eq!((stands, reasons[1].as_str()), (Posture::Paused, "hel: not heard from"));
    view.record_age_ms = Some(RECORD_AGE_MS_MAX + 1);
    assert_eq!(posture(&view, false).0, Posture::Unknown, "it may have been resumed since");
}

#[test]
fn a_pause_that_was_left_half_way_puts_the_pair_at_risk() {
    let view = PairView { barred: true, ..pair(&[]) };
    assert_eq!(posture(&view, false).0, Posture::AtRisk);
}

#[test]
fn what_is_not_known_is_never_protected() {
    let silent = json!(REPORT_AGE_MS_MAX + 1);
    for (place, value) in [
        ("/holder", Value::Null),
        ("/in_sync", Value::Null),
        ("/members/fsn", Value::Null),
        ("/members/fsn/age_ms", silent.clone()),
        ("/members/fsn/report/role", json!("of-the-future")),
        ("/members/fsn/report/sql", Value::Null),
        ("/members/fsn/report/sql/1", silent.clone()),
        ("/members/fsn/report/write_probe_age_ms", Value::Null),
        ("/record_age_ms", Value::Null),
        ("/record_age_ms", json!(RECORD_AGE_MS_MAX + 1)),
    ] {
        let changes: &[(&str, Value)] = match place {
            // Who holds it is not known, and not that nobody does.
            "/holder" => &[(place, value), ("/record_age_ms", Value::Null)],
            _ => &[(place, value)],
        };
        assert_eq!(of(changes), Posture::Unknown, "{place}");
    }
    for place in ["/members/hel", "/members/hel/age_ms"] {
        let value = if place.ends_with("ms") { silent.clone() } else { Value::Null };
        assert_eq!(of(&[(place, value)]), Posture::AtRisk, "{place}");
    }
}

#[test]
fn nobody_who_can_write_is_blocked() {
    assert_eq!(of(&[("/holder", Value::Null)]), Posture::Blocked);
    for role in ["fenced", "handing-over", "promoting", "standby", "rejoining"] {
        assert_eq!(of(&[("/members/fsn/report/role", json!(role))]), Posture::Blocked, "{role}");
    }
    assert_eq!(of(&[("/members/fsn/report/fenced", json!("by hand"))]), Posture::Blocked);
    let stalled = [("/members/fsn/report/write_probe_age_ms", json!(3_600_000))];
    assert_eq!(of(&stalled), Posture::Blocked);
    // That nobody holds it is known only as long as the register was read lately.
    let old = [("/holder", Value::Null), ("/record_age_ms", json!(RECORD_AGE_MS_MAX + 1))];
    assert_eq!(of(&old), Posture::Unknown);
    let (waits, reasons) = posture(&pair(&[]), true);
    assert_eq!((waits, reasons.len()), (Posture::Blocked, 1));
}

#[test]
fn one_copy_and_a_hand_on_the_brake_are_a_risk() {
    let pause = json!({ "pair": null, "reason": "x", "actor": "operator/ann", "until_ms": 1 });
    let blocked = json!({ "code": "rewind-failed", "meaning": "x", "action": "y" });
    for (place, value) in [
        ("/in_sync", json!(["fsn"])),
        ("/members/fsn/report/sql/0/standbys/hel/streaming", json!(false)),
        ("/members/fsn/report/sql/0/standbys", json!({})),
        ("/automation", pause),
        ("/members/hel/report/blocked", blocked),
        ("/members/hel/report/guard_alive", json!(false)),
        ("/members/fsn/report/witness_reachable", json!(false)),
    ] {
        assert_eq!(of(&[(place, value)]), Posture::AtRisk, "{place}");
    }
    let mut manual = pair(&[]);
    manual.spec.mode = PairMode::Manual;
    assert_eq!(posture(&manual, false).0, Posture::AtRisk);
    manual.spec.durability = continuum_domain::spec::Durability::Async;
    assert_eq!(posture(&manual, false).1.len(), 2, "every reason is told");
}

#[test]
fn the_worst_come_first() {
    let (well, lost) = (pair(&[]), pair(&[("/holder", Value::Null)]));
    let mut other = well.clone();
    other.spec.id = "blog".parse().expect("a name");
    let fleet = Fleet::of([&well, &other, &lost].map(|view| Known::from(view).summary(false)));
    let order: Vec<_> = fleet.pairs.iter().map(|one| (one.posture, one.pair.as_str())).collect();
    let protected = Posture::Protected;
    assert_eq!(order, [(Posture::Blocked, "shop"), (protected, "blog"), (protected, "shop")]);
    assert_eq!(fleet.counts, BTreeMap::from([(Posture::Blocked, 1), (protected, 2)]));
    assert_eq!(fleet.pairs[1].holder, Some(region("fsn")));
}
