use std::sync::Arc;

use continuum_cnpg_pair::kubernetes::crd::{BackupRequest, CnpgPair, CnpgPairStatus};
use continuum_control_api::link::MemberReport;
use continuum_runtime::{BootClock, Clock as _};
use serde_json::{Value, json};

use super::*;
use crate::beside::Beside;
use crate::core_link::Pairs;
use crate::kubernetes::roles::RoleDesk;

fn spec(target: &str, request: &str) -> CnpgPairSpec {
    let store = json!({ "store": { "destinationPath": "s3://backups/app" } });
    let pair: CnpgPair = serde_json::from_value(json!({
        "metadata": { "name": "app" },
        "spec": {
            "primaryCluster": "app-fsn", "replicaCluster": "app-hel",
            "primaryRegion": "fsn", "replicaRegion": "hel",
            "members": { "primary": store, "replica": store },
            "backups": { "onDemand": { "requestId": request, "target": target } },
        },
    }))
    .unwrap();
    pair.spec
}

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

/// The desk of hel, which knows that there are these backups.
fn desk(backups: &[Value]) -> BackupDesk {
    let member: ClusterMember = serde_json::from_value(json!({
        "id": "app", "namespace": "db", "host": "app-hel-rw",
        "clusters": { "fsn": "app-fsn", "hel": "app-hel" },
    }))
    .unwrap();
    let clock: SharedClock = Arc::new(BootClock);
    let desk = BackupDesk::new(&region("hel"), &[member], &clock);
    let named = |value: &Value| {
        let backup: Backup = serde_json::from_value(value.clone()).unwrap();
        (backup.metadata.name.clone().unwrap(), backup)
    };
    let heard = Some(BootClock.now());
    let backups = Kind { all: Some(backups.iter().map(named).collect()), heard };
    let schedules = Kind { all: Some(BTreeMap::new()), heard };
    desk.seen().insert("app-hel".into(), Seen { backups, schedules });
    desk
}

fn led_by(holder: Option<&str>) -> Around {
    Around { holder: holder.map(region), paused: false }
}

fn outcome(asks: &Asks) -> BackupRequest {
    asks.told(|_| None).unwrap_or_default()
}

#[test]
fn a_request_is_taken_up_by_the_region_that_it_is_for_and_once() {
    let desk = desk(&[]);
    let now = BootClock.now();
    for (target, holder, mine) in [
        ("primary", "fsn", false),
        ("primary", "hel", true),
        ("standby", "fsn", true),
        ("standby", "hel", false),
    ] {
        let (mut asks, spec) = (Asks::default(), spec(target, "one"));
        let wish = asks.next(&desk, (&spec, "app"), &led_by(Some(holder)), now);
        assert_eq!(wish.is_some(), mine, "{target} of {holder}");
        if !mine {
            assert_eq!(outcome(&asks).elsewhere.as_deref(), Some("fsn"));
            // The role moves: it was for the other one, and stays so.
            for holder in ["fsn", "hel"] {
                assert_eq!(asks.next(&desk, (&spec, "app"), &led_by(Some(holder)), now), None);
            }
            continue;
        }
        assert_eq!(asks.next(&desk, (&spec, "app"), &led_by(Some(holder)), now), None, "under way");
        asks.answered(&desk, &spec, &wish.unwrap(), Done::Made, now);
        assert_eq!(outcome(&asks).backup.as_deref(), Some("app-hel-ondemand-one"));
        assert_eq!(asks.next(&desk, (&spec, "app"), &led_by(Some(holder)), now), None, "made");
        assert_eq!(asks.handled(), ["one"]);
    }
}

#[test]
fn nothing_is_asked_for_while_it_is_not_known_who_leads_or_what_there_is() {
    let now = BootClock.now();
    let (mut asks, spec) = (Asks::default(), spec("standby", "one"));
    let known = desk(&[]);
    assert_eq!(asks.next(&known, (&spec, "app"), &led_by(None), now), None);
    assert!(outcome(&asks).waits.is_some() && asks.handled().is_empty());
    known.seen().get_mut("app-hel").unwrap().backups.heard = Some(Tick(0));
    known.seen().get_mut("app-hel").unwrap().backups.all = None;
    assert_eq!(asks.next(&known, (&spec, "app"), &led_by(Some("fsn")), now), None);
    assert!(outcome(&asks).waits.is_some() && asks.handled().is_empty());
}

#[test]
fn a_paused_pair_is_not_asked() {
    let (mut asks, spec) = (Asks::default(), spec("standby", "one"));
    // Nobody holds it then.
    let paused = Around { paused: true, ..led_by(None) };
    assert_eq!(asks.next(&desk(&[]), (&spec, "app"), &paused, BootClock.now()), None);
    assert!(outcome(&asks).refused.is_some_and(|why| why.contains("paused")));
    // Also not when it is resumed: that takes another request.
    let resumed = led_by(Some("fsn"));
    assert_eq!(asks.next(&desk(&[]), (&spec, "app"), &resumed, BootClock.now()), None);
}

#[test]
fn what_was_made_or_handled_before_is_not_made_again() {
    let now = BootClock.now();
    let spec = spec("standby", "one");
    let made = continuum_cnpg_pair::kubernetes::backups::manifest("app", "app-hel", "one");
    let mut asks = Asks::default();
    assert_eq!(asks.next(&desk(&[made]), (&spec, "app"), &led_by(Some("fsn")), now), None);
    assert_eq!(outcome(&asks).backup.as_deref(), Some("app-hel-ondemand-one"));
    // The object was deleted since; the status still has it.
    let own = RegionBackups {
        region: "hel".into(),
        handled_requests: vec!["one".into()],
        ..RegionBackups::default()
    };
    let status = CnpgPairStatus { backups: vec![own], ..CnpgPairStatus::default() };
    let mut asks = Asks::default();
    asks.remember(&region("hel"), Some(&status));
    assert_eq!(asks.next(&desk(&[]), (&spec, "app"), &led_by(Some("fsn")), now), None);
    // A Backup of somebody else's that has the name is not it.
    let mut foreign = continuum_cnpg_pair::kubernetes::backups::manifest("app", "app-hel", "one");
    foreign["metadata"]["labels"] = json!({});
    let mut asks = Asks::default();
    assert!(asks.next(&desk(&[foreign]), (&spec, "app"), &led_by(Some("fsn")), now).is_some());
}

#[test]
fn what_was_not_heard_of_is_not_told() {
    let done = json!({
        "metadata": { "name": "nightly" }, "spec": { "cluster": { "name": "app-hel" } },
        "status": { "phase": "completed", "stoppedAt": "2026-01-02T02:00:00Z" },
    });
    let known = desk(&[done]);
    let told = known.look();
    assert_eq!((told.len(), told[0].failures), (1, 0));
    assert!(told[0].age_ms.is_some());
    let (status, says) = known.status(&spec("standby", "one"), &Asks::default()).unwrap();
    assert_eq!(says.reason, "NotScheduled");
    assert_eq!(status.last_completed.unwrap().name, "nightly");
    let silent = Tick(BootClock.now().0.saturating_sub(61_000_000_000));
    known.seen().get_mut("app-hel").unwrap().backups.heard = Some(silent);
    let (status, says) = known.status(&spec("standby", "one"), &Asks::default()).unwrap();
    assert_eq!((says.status, says.reason), (ConditionStatus::Unknown, "NotSeen"));
    assert_eq!((status.last_completed, known.look()), (None, Vec::new()));
}

fn backup(name: &str, cluster: &str, status: Value) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": { "cluster": { "name": cluster } },
        "status": status,
    })
}

#[test]
fn a_backup_that_is_being_made_bars_leaving_and_so_does_one_that_is_not_known() {
    let app = PairId::new("app").unwrap();
    let of = |phase: &str, cluster: &str| backup("nightly", cluster, json!({ "phase": phase }));
    for (phase, cluster, bars) in [
        ("running", "app-hel", true),
        ("started", "app-hel", true),
        ("finalizing", "app-hel", true),
        ("pending", "app-hel", false),
        ("completed", "app-hel", false),
        ("failed", "app-hel", false),
        ("running", "another", false),
    ] {
        let found = desk(&[of(phase, cluster)]).bars_leaving(&app);
        assert_eq!(found.is_some(), bars, "{phase} of {cluster}");
        if let Some(found) = found {
            assert!(found.code == "source-backup" && found.meaning.contains("nightly"));
        }
    }
    let silent = desk(&[]);
    silent.learn("app-hel", |seen| seen.backups.heard = None);
    let told = silent.bars_leaving(&app).expect("what is not known bars");
    assert!(told.meaning.contains("not known"), "{told:?}");
    // Where no backups are followed nothing of them is asked.
    let unfollowed = desk(&[]);
    unfollowed.seen().clear();
    assert_eq!(unfollowed.bars_leaving(&app), None);
    assert_eq!(unfollowed.report(&app), None);
}

#[test]
fn a_report_says_how_backups_are_and_never_that_the_unknown_is_well() {
    let app = PairId::new("app").unwrap();
    let ended = |phase: &str, at: &str| json!({ "phase": phase, "stoppedAt": at, "error": "x".repeat(900) });
    let done = backup("one", "app-hel", ended("completed", "2026-01-01T00:00:00Z"));
    let failed = backup("two", "app-hel", ended("failed", "2026-01-02T00:00:00Z"));
    let told = desk(&[done, failed]).report(&app).unwrap();
    assert_eq!(
        (told.well, told.reason.as_str(), told.failures),
        (Some(false), "LastFailed", Some(1))
    );
    assert!(told.completed_age_ms.is_some() && told.text.len() <= REPORT_CHARS_MAX, "{told:?}");
    let none = desk(&[]).report(&app).unwrap();
    assert_eq!((none.well, none.reason.as_str()), (Some(false), "NotScheduled"));
    let silent = desk(&[]);
    silent.learn("app-hel", |seen| seen.backups.heard = None);
    let silent = silent.report(&app).unwrap();
    let known = (silent.well, silent.completed_age_ms, silent.failures);
    assert_eq!((known, silent.reason.as_str()), ((None, None, None), "NotSeen"));
    let half = desk(&[]);
    half.learn("app-hel", |seen| seen.schedules.heard = None);
    assert_eq!(half.report(&app).unwrap().well, None);
    let metrics = desk(&[]).look();
    assert_eq!(metrics[0].well, Some(false));
}

#[test]
fn a_backup_bars_nobody_but_a_primary_from_leaving() {
    let app = PairId::new("app").unwrap();
    let clock: SharedClock = Arc::new(BootClock);
    let roles = RoleDesk::new(&region("hel"), &Pairs::default(), &clock);
    let made = backup("nightly", "app-hel", json!({ "phase": "running" }));
    let beside = Beside { backups: desk(&[made]), roles };
    for (role, bars) in [("primary", true), ("standby", false), ("fenced", false)] {
        let mut report: MemberReport = serde_json::from_value(json!({
            "role": role, "guard_alive": true, "witness_reachable": true, "spec_version": 1,
        }))
        .unwrap();
        beside.complete(&app, &mut report);
        let codes: Vec<_> = report.against_leaving.iter().map(|one| one.code.as_str()).collect();
        assert_eq!(codes == ["source-backup"], bars, "{role}: {codes:?}");
        assert!(report.backups.is_some() && report.role_writes.is_none());
    }
}
