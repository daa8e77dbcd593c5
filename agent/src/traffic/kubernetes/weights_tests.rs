use proptest::prelude::*;
use serde_json::json;

use super::*;

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn backend(name: &str) -> BackendConfig {
    BackendConfig {
        group: String::new(),
        kind: "Service".into(),
        namespace: None,
        name: name.into(),
        port: Some(80),
        weight: None,
    }
}

fn regions() -> Regions {
    let of = |name: &str| {
        let backends = (0..3).map(|n| backend(&format!("{name}-{n}"))).collect();
        (region(name), backends)
    };
    [of("fsn"), of("hel")].into()
}

/// A route of rules, each a list of backends and weights; the names say whose a backend is.
fn route(rules: &[Vec<(String, u32)>]) -> Value {
    let rule = |(n, backends): (usize, &Vec<(String, u32)>)| {
        let refs: Vec<Value> = backends
            .iter()
            .map(|(name, weight)| json!({ "name": name, "port": 80, "weight": weight }))
            .collect();
        json!({ "matches": [{ "path": { "value": format!("/{n}") } }], "backendRefs": refs })
    };
    let rules: Vec<Value> = rules.iter().enumerate().map(rule).collect();
    json!({ "metadata": { "namespace": "shop" }, "spec": { "rules": rules } })
}

/// What an agent does to a route.
fn lead(route: &mut Value, note: &mut Note, holder: &str, moved: (u8, Option<&str>)) {
    let regions = regions();
    let known = Known::new(&regions, "shop");
    let found = slots(route);
    known.keep(&mut note.weights, &found);
    (note.moved, note.from) = (moved.0, moved.1.map(region));
    for (at, weight) in known.wanted(&found, note, &region(holder)) {
        route.pointer_mut(&found[at].pointer).unwrap()["weight"] = json!(weight);
    }
}

fn sums(route: &Value, rule: usize) -> (u64, u64) {
    let backends = route["spec"]["rules"][rule]["backendRefs"].as_array().unwrap();
    let of = |prefix: &str| {
        let ours = backends.iter().filter(|one| one["name"].as_str().unwrap().starts_with(prefix));
        ours.map(|one| one["weight"].as_u64().unwrap()).sum()
    };
    (of("fsn"), of("hel"))
}

fn backends() -> impl Strategy<Value = Vec<(String, u32)>> {
    let names = prop_oneof!["fsn-[0-2]", "hel-[0-2]", "other-[0-1]"];
    proptest::collection::vec((names, 0u32..1_000), 1..7)
}

proptest! {
    #[test]
    fn there_and_back_is_where_it_was(rules in proptest::collection::vec(backends(), 1..4)) {
        let mut note = Note::default();
        let mut one = route(&rules);
        lead(&mut one, &mut note, "fsn", (WHOLE, None));
        let at_fsn = one.clone();
        for moved in [20, 60, WHOLE] {
            lead(&mut one, &mut note, "hel", (moved, Some("fsn")));
        }
        lead(&mut one, &mut note, "fsn", (WHOLE, None));
        prop_assert_eq!(&one, &at_fsn);
        // The holder's weights are a person's, to the letter, and nobody else's are touched.
        for (n, rule) in rules.iter().enumerate() {
            let (sum, hel) = sums(&at_fsn, n);
            let set: u64 = rule.iter().filter(|(name, _)| name.starts_with("fsn"))
                .map(|(_, weight)| u64::from(*weight)).sum();
            if rule.iter().any(|(name, _)| name.starts_with("fsn")) {
                let shut = set == 0 && !rule.iter().any(|(name, _)| name.starts_with("hel"));
                prop_assert!((sum > 0 || shut) && hel == 0 && (set == 0 || sum == set));
            }
            for (at, (name, weight)) in rule.iter().enumerate() {
                let now = &at_fsn["spec"]["rules"][n]["backendRefs"][at]["weight"];
                if name.starts_with("other") || (set > 0 && name.starts_with("fsn")) {
                    prop_assert_eq!(now, *weight);
                }
            }
        }
    }

    #[test]
    fn a_share_is_what_it_says(fsn in 1u32..1_000, hel in 1u32..1_000, moved in 1u8..100) {
        let mut note = Note::default();
        let mut one = route(&[vec![("fsn-0".into(), fsn), ("hel-0".into(), hel)]]);
        lead(&mut one, &mut note, "fsn", (WHOLE, None));
        lead(&mut one, &mut note, "hel", (moved, Some("fsn")));
        let share = u64::from(moved) * SCALE;
        prop_assert_eq!(sums(&one, 0), (u64::from(WHOLE) * SCALE - share, share));
    }
}

#[test]
fn a_rule_that_a_person_shut_for_the_only_region_it_leads_to_stays_shut() {
    let mut note = Note::default();
    let mut one =
        route(&[vec![("hel-0".into(), 0)], vec![("hel-0".into(), 0), ("fsn-0".into(), 7)]]);
    for (holder, from) in [("fsn", None), ("hel", Some("fsn")), ("fsn", Some("hel"))] {
        lead(&mut one, &mut note, holder, (WHOLE, from));
        assert_eq!(sums(&one, 0), (0, 0), "{holder}");
        let (fsn, hel) = sums(&one, 1);
        assert_eq!((fsn > 0, hel > 0), (holder == "fsn", holder == "hel"));
    }
}

#[test]
fn a_backend_is_what_it_is_and_not_where_it_stands() {
    let text = |one: Value| {
        let route = json!({ "metadata": { "namespace": "shop" },
            "spec": { "rules": [{ "backendRefs": [one] }] } });
        slots(&route).remove(0).backend
    };
    let plain = text(json!({ "name": "web", "port": 80 }));
    assert_eq!(plain, "Service shop/web:80");
    let same =
        json!({ "group": "", "kind": "Service", "namespace": "shop", "name": "web", "port": 80 });
    assert_eq!(text(same), plain);
    for other in [
        json!({ "name": "web", "port": 81 }),
        json!({ "name": "web" }),
        json!({ "name": "web", "port": 80, "namespace": "blog" }),
        json!({ "name": "web", "port": 80, "kind": "Backend", "group": "example.org" }),
    ] {
        assert_ne!(text(other), plain);
    }
}
