use std::sync::Arc;

use continuum_cnpg_pair::kubernetes::crd::{BackupRequest, CnpgPair, CnpgPairStatus};
use continuum_runtime::{BootClock, Clock as _};
use serde_json::{Value, json};

use super::*;

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
