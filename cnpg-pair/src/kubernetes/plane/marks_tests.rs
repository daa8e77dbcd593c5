//! Marks, and what a patch tests.

use std::collections::BTreeMap;

use continuum_domain::RegionId;

use super::*;
use crate::kubernetes::fixtures;

fn seen(change: impl FnOnce(&mut Value)) -> Seen {
    let mut raw = fixtures::value("fsn", "fsn", "hel");
    change(&mut raw);
    Seen::read(raw).unwrap()
}

fn annotated(key: &str, value: &str) -> Seen {
    seen(|raw| raw["metadata"]["annotations"] = json!({ key: value }))
}

#[test]
fn r4_a_patch_counts_for_the_newest_generation_only() {
    let it = annotated(GENERATION, "7");
    let patch = || write(&it.cluster, BROKEN_GLASS, &"drill").unwrap();
    let made = under(patch(), &it.cluster, Generation(7)).unwrap();
    let test = json!({"op": "test", "path": "/metadata/annotations/dr.openova.io~1generation", "value": "7"});
    assert_eq!(made.operations[0], test);
    for ours in [6, 8] {
        let refused = under(patch(), &it.cluster, Generation(ours));
        assert!(matches!(refused, Err(PlaneError::Refused(_))), "{ours}");
    }
    let nobodys = seen(|_| {});
    assert!(under(patch(), &nobodys.cluster, Generation(1)).is_err());
    let unreadable = annotated(GENERATION, "x");
    assert!(generation(&unreadable.cluster).is_err(), "never taken for none");
}

#[test]
fn r13_an_identity_is_one_instances_of_one_database() {
    let system = fixtures::SYSTEM.to_string();
    let id = DataDirectoryId::new("d1").unwrap();
    let kept = |instance: &str, system: &str| {
        let value =
            Directory { id: Some(id.clone()), instance: instance.into(), system: system.into() };
        annotated(DIRECTORY, &json!(value).to_string())
    };
    assert_eq!(directory(&kept("fsn-1", &system).cluster), Some(id.clone()));
    assert_eq!(directory(&kept("fsn-2", &system).cluster), None, "another instance leads");
    assert_eq!(directory(&kept("fsn-1", "1").cluster), None, "another database");
    let mut untold = kept("fsn-1", &system).cluster;
    untold.status.as_mut().unwrap().system_id = None;
    assert_eq!(directory(&untold), Some(id.clone()));
    let pending = Directory { id: None, instance: "fsn-1".into(), system };
    let pending = annotated(DIRECTORY, &json!(pending).to_string());
    assert_eq!(directory(&pending.cluster), None, "cut short");
    assert_eq!(directory(&annotated(DIRECTORY, "{").cluster), None);
    assert_eq!(directory(&seen(|_| {}).cluster), None);
}

#[test]
fn everybody_in_the_list_is_waited_for() {
    let list = ["hel".to_owned(), "ash".to_owned()];
    let made = names(&seen(|_| {}), Epoch(2), &list).unwrap();
    let last = made.operations.last().unwrap();
    assert_eq!(last["path"], "/spec/postgresql/synchronous");
    let value = json!({"method": "first", "number": 2, "standbyNamesPre": ["hel", "ash"],
        "maxStandbyNamesFromCluster": 0, "dataDurability": "required"});
    assert_eq!(last["value"], value);
    assert!(made.operations.iter().any(|operation| operation["op"] == "test"));

    let set = seen(|raw| raw["spec"]["postgresql"] = json!({"synchronous": value}));
    assert_eq!(names(&set, Epoch(2), &list), Err(PatchError::Already));
    let none = names(&set, Epoch(2), &[]).unwrap();
    let remove = json!({"op": "remove", "path": "/spec/postgresql/synchronous"});
    assert_eq!(none.operations.last(), Some(&remove));
    assert_eq!(names(&seen(|_| {}), Epoch(2), &[]), Err(PatchError::Already));
    let newer = annotated(keys::EPOCH, "3");
    assert!(matches!(names(&newer, Epoch(2), &list), Err(PatchError::Stale { .. })));
}

#[test]
fn what_postgresql_shows_is_compared_as_a_whole() {
    let due = ["hel".to_owned(), "ash".to_owned()];
    assert!(shows(r#"FIRST 2 ("ash","hel")"#, &due));
    assert!(!shows(r#"FIRST 1 ("ash","hel")"#, &due), "one of them would do");
    assert!(!shows(r#"ANY 2 ("ash","hel")"#, &due));
    assert!(!shows(r#"FIRST 1 ("hel")"#, &due) && !shows("", &due));
    assert!(shows("", &[]) && !shows(r#"FIRST 1 ("hel")"#, &[]));
}

#[test]
fn regions_are_named_by_their_clusters() {
    let region = |name: &str| RegionId::new(name).unwrap();
    let clusters = BTreeMap::from([(region("hel"), "shop-hel".to_owned())]);
    let of = |names: SyncNames| standby_names(&names, &clusters);
    let probed = of(SyncNames::of([region("hel")]).with_probe()).unwrap();
    assert_eq!(probed, ["shop-hel", "continuum_probe"]);
    assert!(of(SyncNames::of([region("ash")])).is_err(), "nobody is left out silently");
}
