use continuum_domain::{DataDirectoryId, Epoch};

use super::*;

fn rules() -> Rules {
    let region = |name| RegionId::new(name).unwrap();
    Rules::new(BTreeMap::from([
        (PairId::new("app").unwrap(), BTreeSet::from([region("fsn"), region("hel")])),
        (PairId::new("other").unwrap(), BTreeSet::from([region("hel"), region("nbg")])),
    ]))
}

fn pair(epoch: u64, holder: Option<&str>, paused: bool) -> Vec<u8> {
    let record = PairRecord {
        epoch: Epoch(epoch),
        holder: holder.map(|name| RegionId::new(name).unwrap()),
        in_sync: BTreeMap::from([(
            RegionId::new("fsn").unwrap(),
            DataDirectoryId::new("d1").unwrap(),
        )]),
        handover_to: None,
        paused,
        waits_for_all: false,
        rested_by: None,
    };
    serde_json::to_vec(&record).unwrap()
}

fn session(incarnation: u64, beat: u64) -> Vec<u8> {
    serde_json::to_vec(&SessionRecord { incarnation, beat, ttl_ms: 10_000, renew_ms: 0 }).unwrap()
}

/// The whole verdict on a change, as the server reaches it.
fn verdict(caller: &str, key: &str, old: Option<&[u8]>, new: &[u8]) -> Result<(), StoreError> {
    let caller: Identity = caller.parse().unwrap();
    let guard = rules().check_write(Some(&caller), key, new)?;
    guard.map_or(Ok(()), |guard| guard(old, new))
}

#[derive(Debug, PartialEq)]
enum Is {
    Allowed,
    Denied,
    Invalid,
}

fn kind(verdict: Result<(), StoreError>) -> Is {
    match verdict {
        Ok(()) => Is::Allowed,
        Err(StoreError::Unauthorised(_)) => Is::Denied,
        Err(StoreError::Misconfigured(_)) => Is::Invalid,
        Err(other) => panic!("{other:?} is no verdict"),
    }
}

#[test]
fn who_may_write_what() {
    let mine = pair(1, Some("fsn"), false);
    let beat = session(1, 1);
    let table: &[(&str, &str, &[u8], Is)] = &[
        ("region/fsn", "session/fsn", &beat, Is::Allowed),
        ("region/hel", "session/fsn", &beat, Is::Denied),
        ("core/c1", "session/fsn", &beat, Is::Denied),
        ("operator/ann", "session/fsn", &beat, Is::Denied),
        ("region/fsn", "pair/app", &mine, Is::Allowed),
        ("region/hel", "pair/app", &mine, Is::Denied),
        ("region/nbg", "pair/app", &mine, Is::Denied),
        ("region/fsn", "pair/other", &mine, Is::Denied),
        ("region/fsn", "pair/unknown", &mine, Is::Denied),
        ("region/hel", "pair/other", &mine, Is::Invalid),
        ("operator/ann", "pair/app", &mine, Is::Denied),
        ("dns/ns1", "pair/app", &mine, Is::Denied),
        ("witness/w1", "pair/app", &mine, Is::Denied),
        ("core/c1", "pair/app", &mine, Is::Denied),
        ("operator/ann", "probe/x", b"any", Is::Allowed),
        ("dns/ns1", "probe/x", b"any", Is::Denied),
        ("region/fsn", "secret/x", b"any", Is::Invalid),
        ("region/fsn", "probe/", b"any", Is::Invalid),
        ("region/fsn", "session/fsn", b"no record", Is::Invalid),
        ("region/fsn", "pair/app", b"{}", Is::Invalid),
    ];
    for (caller, key, value, due) in table {
        let seen = kind(verdict(caller, key, None, value));
        assert_eq!(&seen, due, "{caller} writes {key}");
    }
}

#[test]
fn who_may_read_what() {
    for (caller, allowed) in [
        ("region/fsn", true),
        ("core/c1", true),
        ("dns/ns1", true),
        ("operator/ann", true),
        ("witness/w1", false),
    ] {
        let caller: Identity = caller.parse().unwrap();
        for key in ["session/hel", "pair/app", "pair/unknown", "probe/x"] {
            assert_eq!(rules().check_read(Some(&caller), key).is_ok(), allowed, "{caller} {key}");
        }
        assert!(rules().check_read(Some(&caller), "other").is_err());
    }
    assert!(matches!(rules().check_read(None, "pair/app"), Err(StoreError::Unauthorised(_))));
    let anonymous = rules().check_write(None, "probe/x", b"");
    assert!(matches!(anonymous, Err(StoreError::Unauthorised(_))));
}

#[test]
fn what_a_register_may_become() {
    let held = pair(5, Some("fsn"), false);
    let table: &[(&str, Vec<u8>, Is)] = &[
        ("region/fsn", pair(5, Some("fsn"), true), Is::Allowed),
        ("region/fsn", pair(6, Some("fsn"), false), Is::Allowed),
        ("region/fsn", pair(6, None, false), Is::Allowed),
        ("region/fsn", pair(5, None, false), Is::Invalid),
        ("region/fsn", pair(4, Some("fsn"), false), Is::Invalid),
        ("region/fsn", pair(6, Some("hel"), false), Is::Denied),
        ("region/hel", pair(6, Some("hel"), false), Is::Allowed),
        ("region/hel", pair(5, Some("hel"), false), Is::Invalid),
        ("region/hel", pair(6, None, false), Is::Denied),
        ("region/hel", pair(5, Some("fsn"), true), Is::Denied),
        ("core/c1", pair(5, Some("fsn"), true), Is::Allowed),
        ("core/c1", pair(6, Some("fsn"), true), Is::Denied),
        ("core/c1", pair(5, None, true), Is::Denied),
    ];
    for (caller, new, due) in table {
        let seen = kind(verdict(caller, "pair/app", Some(&held), new));
        assert_eq!(&seen, due, "{caller} writes {}", String::from_utf8_lossy(new));
    }
    let held = session(3, 7);
    for (incarnation, beat, due) in [
        (3, 8, Is::Allowed),
        (3, 7, Is::Allowed),
        (4, 0, Is::Allowed),
        (3, 6, Is::Invalid),
        (2, 9, Is::Invalid),
    ] {
        let new = session(incarnation, beat);
        assert_eq!(kind(verdict("region/fsn", "session/fsn", Some(&held), &new)), due);
    }
}
