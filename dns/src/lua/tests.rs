use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use continuum_domain::{PairId, RegionId};
use proptest::prelude::*;

use super::policy::{Gate, Standby, flip, follow, health_url, read_only};
use super::*;

fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
    addresses.iter().map(|text| text.parse().unwrap()).collect()
}

fn check() -> Check {
    Check {
        selector: Selector::Closest,
        backup: Selector::Random,
        timeout_seconds: 2,
        source: None,
        fail_on_incomplete: false,
    }
}

const NEW: Features = Features { empty_backup: true, fail_on_incomplete: true };

/// A golden file has one record a line, as `name: content`.
fn golden(kept: &str, records: &[(&str, BTreeSet<LuaRecord>)]) {
    let mut written = String::new();
    for (name, records) in records {
        for record in records {
            written.push_str(&format!("{name}: {record}\n"));
        }
    }
    assert_eq!(written, kept, "the golden file says otherwise");
}

fn one(family: Family, body: &Body) -> BTreeSet<LuaRecord> {
    [LuaRecord::new(family, body).unwrap()].into()
}

#[test]
fn each_function_has_its_signature_and_options() {
    let (one_v4, two_v4) = (set(&["10.1.0.11"]), set(&["10.2.0.11", "10.1.0.11"]));
    let v6 = set(&["2001:db8::2", "2001:DB8:0::1"]);
    let mut full = check();
    (full.source, full.fail_on_incomplete) = (Some("10.9.0.1".parse().unwrap()), true);
    (full.selector, full.backup) = (Selector::Hashed, Selector::Empty);
    let url = |string_match: Option<&str>, check| UrlCheck {
        url: "http://app.db.example:9100/pairs/app/primary".into(),
        string_match: string_match.map(Into::into),
        check,
    };
    let sets = vec![two_v4.clone(), set(&["10.0.0.1"])];
    let port = NonZeroU16::new(5432).unwrap();
    let weighted = [("10.1.0.11", 15), ("10.2.0.11", 100)];
    let weighted = weighted.map(|(address, weight)| (address.parse().unwrap(), weight)).into();
    golden(
        include_str!("golden/functions.txt"),
        &[
            (
                "ifurlup",
                one(Family::V4, &Body::IfUrlUp { sets: sets.clone(), check: url(None, check()) }),
            ),
            (
                "ifurlup-full",
                one(
                    Family::V4,
                    &Body::IfUrlUp { sets, check: url(Some("it's \"OK\" \\o/ é"), full.clone()) },
                ),
            ),
            (
                "ifurlup-v6",
                one(
                    Family::V6,
                    &Body::IfUrlUp { sets: vec![v6.clone()], check: url(None, check()) },
                ),
            ),
            (
                "ifportup",
                one(
                    Family::V4,
                    &Body::IfPortUp { port, addresses: two_v4.clone(), check: check() },
                ),
            ),
            (
                "ifportup-full",
                one(Family::V4, &Body::IfPortUp { port, addresses: one_v4, check: full }),
            ),
            ("pickclosest", one(Family::V4, &Body::PickClosest(two_v4.clone()))),
            ("pickrandom", one(Family::V6, &Body::PickRandom(v6))),
            ("pickwhashed", one(Family::V4, &Body::PickWeighted(weighted))),
            ("all", one(Family::V4, &Body::All(two_v4))),
        ],
    );
}

#[test]
fn each_policy_lists_what_it_says() {
    let fsn = set(&["10.1.0.11", "2001:db8::11"]);
    let hel = set(&["10.2.0.11"]);
    let url = health_url("app.db.example.", 9100, &PairId::new("app").unwrap(), Gate::Primary);
    let reads = health_url("ro.db.example", 9100, &PairId::new("app").unwrap(), Gate::Standby);
    let members = [("fsn", fsn.clone()), ("hel", hel.clone())]
        .map(|(region, addresses)| (RegionId::new(region).unwrap(), addresses))
        .into();
    let standby = |address: &str, lag_ms: Option<u64>, distance| Standby {
        addresses: set(&[address]),
        lag: lag_ms.map(Duration::from_millis),
        distance,
    };
    let standbys = [
        standby("10.3.0.1", Some(10), 30),
        standby("10.3.0.2", Some(1_000), 5),
        standby("10.3.0.3", Some(1_001), 1),
        standby("10.3.0.4", None, 1),
        standby("10.3.0.5", Some(0), 5),
    ];
    let (old, bound) = (Features::default(), Duration::from_secs(1));
    golden(
        include_str!("golden/policies.txt"),
        &[
            ("flip", flip(&fsn, None, old).unwrap()),
            ("flip-probed", flip(&fsn, Some(&url), old).unwrap()),
            ("flip-probed-new", flip(&hel, Some(&url), NEW).unwrap()),
            ("follow", follow(&members, &url, old).unwrap()),
            ("follow-new", follow(&members, &url, NEW).unwrap()),
            ("reads", read_only(&standbys, bound, None, old).unwrap()),
            ("reads-probed", read_only(&standbys, bound, Some(&reads), old).unwrap()),
        ],
    );
    let v6_only = set(&["2001:db8::12"]);
    let apart = [("fsn", hel), ("hel", v6_only)]
        .map(|(region, addresses)| (RegionId::new(region).unwrap(), addresses));
    assert_eq!(follow(&apart.into(), &url, old), Err(LuaError::NoCommonFamily));
    let nobody = read_only(&standbys[2..4], bound, None, old).unwrap();
    assert!(nobody.is_empty(), "too far behind or unknown: {nobody:?}");
}

#[test]
fn what_a_server_would_refuse_is_refused_here() {
    let v4 = set(&["10.1.0.11"]);
    let new = |body: Body| LuaRecord::new(Family::V4, &body);
    assert_eq!(new(Body::All(BTreeSet::new())), Err(LuaError::NoAddress));
    let sets = vec![v4.clone(), BTreeSet::new()];
    let url = UrlCheck { url: "http://x".into(), string_match: None, check: check() };
    assert_eq!(new(Body::IfUrlUp { sets, check: url }), Err(LuaError::NoAddress));
    let mixed = new(Body::All(set(&["10.1.0.11", "::1"])));
    assert!(matches!(mixed, Err(LuaError::Family { .. })), "{mixed:?}");
    let weightless = new(Body::PickWeighted([("10.1.0.11".parse().unwrap(), 0)].into()));
    assert!(matches!(weightless, Err(LuaError::Weight { .. })), "{weightless:?}");
    let port = NonZeroU16::new(1).unwrap();
    let mut wrong = check();
    wrong.timeout_seconds = 0;
    let body = Body::IfPortUp { port, addresses: v4.clone(), check: wrong };
    assert_eq!(new(body), Err(LuaError::Timeout));
    let mut wrong = check();
    wrong.selector = Selector::Empty;
    let body = Body::IfPortUp { port, addresses: v4, check: wrong };
    assert_eq!(new(body), Err(LuaError::EmptySelector));
    let many: BTreeSet<IpAddr> =
        (0..4000u32).map(|number| IpAddr::V4(Ipv4Addr::from(number))).collect();
    assert!(matches!(new(Body::All(many)), Err(LuaError::TooLong { .. })));
}

/// What a server reads: the segments joined with `between`.
fn joined(record: &LuaRecord, between: &str) -> String {
    let content = record.to_string();
    let (_, quoted) = content.split_once(' ').unwrap();
    let segments: Vec<&str> = quoted.trim_matches('"').split("\" \"").collect();
    for segment in &segments {
        assert!(!segment.trim().is_empty(), "a segment of white space is dropped: {content}");
        assert!(segment.len() <= 255, "{} bytes: {content}", segment.len());
        assert!(!segment.contains(['"', '\\']), "{segment}");
    }
    segments.join(between)
}

/// The values of the string expressions in Lua source, in order.
fn strings(source: &str) -> Vec<Vec<u8>> {
    let (mut values, mut rest) = (Vec::<Vec<u8>>::new(), source);
    let mut continued = false;
    while !rest.is_empty() {
        let part = if let Some(after) = rest.strip_prefix('\'') {
            let (literal, after) = after.split_once('\'').expect("an open literal");
            rest = after;
            literal.as_bytes().to_vec()
        } else if let Some(after) = rest.strip_prefix("string.char(") {
            let (number, after) = after.split_once(')').unwrap();
            rest = after;
            vec![number.trim().parse().unwrap()]
        } else {
            rest = &rest[1..];
            continue;
        };
        match values.last_mut() {
            Some(last) if continued => last.extend(part),
            _ => values.push(part),
        }
        let after = rest.trim_start();
        continued = after.starts_with("..");
        if continued {
            rest = &after[2..];
        }
    }
    values
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~]{0,400}",
        "['\"\\\\{}()\\[\\];,. =-]{0,60}",
        Just("']], {}) os.exit() --".to_owned()),
    ]
}

proptest! {
    #[test]
    fn any_text_and_any_address_come_out_as_they_went_in(
        url in text(),
        wanted in text(),
        sets in prop::collection::vec(
            prop::collection::btree_set(any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from(bits))), 1..12),
            1..4,
        ),
    ) {
        let check = UrlCheck { url: url.clone(), string_match: Some(wanted.clone()), check: check() };
        let body = Body::IfUrlUp { sets: sets.clone(), check };
        let record = LuaRecord::new(Family::V6, &body).unwrap();
        prop_assert_eq!(&record, &LuaRecord::new(Family::V6, &body).unwrap());
        let mut due = vec![url];
        due.extend(sets.iter().flatten().map(IpAddr::to_string));
        due.extend(["pickclosest".into(), "random".into(), wanted]);
        let due: Vec<Vec<u8>> = due.into_iter().map(String::into_bytes).collect();
        for between in ["", " "] {
            prop_assert_eq!(&strings(&joined(&record, between)), &due);
        }
    }

    #[test]
    fn flip_names_nobody_but_the_holder(
        holder in prop::collection::btree_set(any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from(bits))), 1..20),
        url in prop::option::of(text()),
        features in (any::<bool>(), any::<bool>()),
    ) {
        let features = Features { empty_backup: features.0, fail_on_incomplete: features.1 };
        for record in flip(&holder, url.as_deref(), features).unwrap() {
            let values = strings(&joined(&record, " "));
            let skip = usize::from(url.is_some());
            let listed: BTreeSet<IpAddr> = values.iter().skip(skip)
                .filter_map(|value| std::str::from_utf8(value).ok()?.parse().ok()).collect();
            prop_assert_eq!(&listed, &holder);
        }
    }
}
