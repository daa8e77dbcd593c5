use proptest::prelude::*;

use super::*;

fn label() -> impl Strategy<Value = (String, String)> {
    ("[ab]", "[xy]")
}

fn labels() -> impl Strategy<Value = Labels> {
    proptest::collection::btree_map("[ab]", "[xy]", 0..3)
}

fn term() -> impl Strategy<Value = String> {
    prop_oneof![
        label().prop_map(|(key, value)| format!("{key}={value}")),
        label().prop_map(|(key, value)| format!("{key}!={value}")),
        "[ab]",
        "![ab]",
    ]
}

fn selector() -> impl Strategy<Value = Selector> {
    proptest::collection::vec(term(), 0..4)
        .prop_map(|terms| Selector::try_from(terms.join(",")).expect("terms"))
}

fn tier() -> impl Strategy<Value = Tier> {
    proptest::sample::select(Tier::ALL.to_vec())
}

fn subject() -> impl Strategy<Value = Subject> {
    prop_oneof![
        "[uv]".prop_map(Subject::User),
        "[gh]".prop_map(Subject::Group),
        "[uv]".prop_map(Subject::Certificate),
        "[uv]".prop_map(Subject::Region),
    ]
}

fn grant() -> impl Strategy<Value = Grant> {
    let subjects = proptest::collection::vec(subject(), 0..3);
    (subjects, tier(), selector(), any::<bool>()).prop_map(
        |(subjects, tier, selector, break_glass)| Grant {
            name: "g".parse().expect("a name"),
            subjects,
            tier,
            selector,
            break_glass,
        },
    )
}

fn caller() -> impl Strategy<Value = Caller> {
    prop_oneof![
        "[uv]".prop_map(Caller::certificate),
        ("[uv]", proptest::collection::vec("[gh]", 0..2))
            .prop_map(|(name, groups)| Caller::user(name, groups, 0)),
        "[uv]".prop_map(|name| Caller::token("t", name, "user/u")),
    ]
}

fn grants() -> impl Strategy<Value = Vec<Grant>> {
    proptest::collection::vec(grant(), 0..4)
}

/// Everything that can be asked about.
fn overs<'a>(labels: &'a Labels, scope: &'a Selector) -> [Over<'a>; 5] {
    [Over::Pair(Some(labels)), Over::Pair(None), Over::AnyPair, Over::Scope(scope), Over::All]
}

proptest! {
    #[test]
    fn another_grant_never_takes_power_away(
        caller in caller(), grants in grants(), more in grant(), labels in labels(), scope in selector(),
    ) {
        let before = Power::of_grants(&caller, &grants);
        let after = Power::of_grants(&caller, grants.iter().chain([&more]));
        for over in overs(&labels, &scope) {
            prop_assert!(before.tier(over) <= after.tier(over), "{over:?}");
        }
        prop_assert!(!before.may_break_glass() || after.may_break_glass());
    }

    #[test]
    fn a_narrower_selector_never_adds_power(
        tier in tier(), wide in selector(), more in term(), labels in labels(), scope in selector(),
    ) {
        let text = wide.to_string();
        let text = if text.is_empty() { more } else { format!("{text},{more}") };
        let narrow: Selector = text.parse().expect("a selector");
        prop_assert!(narrow.is_within(&wide));
        let (narrow, wide) = (Power::over(tier, narrow), Power::over(tier, wide));
        for over in overs(&labels, &scope) {
            prop_assert!(narrow.tier(over) <= wide.tier(over), "{over:?}");
        }
    }

    #[test]
    fn who_has_no_grant_can_do_nothing(
        caller in caller(), grants in grants(), tier in tier(), labels in labels(), scope in selector(),
    ) {
        let others = grants.into_iter().filter(|grant| !grant.is_for(&caller)).collect::<Vec<_>>();
        let power = Power::of_grants(&caller, &others);
        for over in overs(&labels, &scope) {
            prop_assert_ne!(authorise(&power, tier, over), Verdict::Allowed);
        }
        prop_assert!(!power.may_break_glass());
    }

    #[test]
    fn within_means_that_whatever_fits_one_fits_the_other(
        narrow in selector(), wide in selector(), labels in labels(),
    ) {
        if narrow.is_within(&wide) && narrow.fits(&labels) {
            prop_assert!(wide.fits(&labels), "{narrow} {wide} {labels:?}");
        }
    }

    #[test]
    fn power_over_a_scope_is_power_over_each_pair_in_it(
        caller in caller(), grants in grants(), scope in selector(), labels in labels(),
    ) {
        let power = Power::of_grants(&caller, &grants);
        if scope.fits(&labels) {
            prop_assert!(power.tier(Over::Scope(&scope)) <= power.tier(Over::Pair(Some(&labels))));
        }
    }

    #[test]
    fn grants_read_back_as_written(grant in grant()) {
        let text = serde_json::to_string(&grant).expect("plain data");
        prop_assert_eq!(serde_json::from_str::<Grant>(&text).expect("the same"), grant);
    }
}

fn prod() -> Labels {
    Labels::from([("env-type".into(), "prod".into())])
}

#[test]
fn tier_and_selector_of_one_grant_must_hold_together() {
    let of = |text: &str| text.parse::<Selector>().expect("a selector");
    let power = Power::over(Tier::Viewer, of("env-type=prod"))
        .and(Power::over(Tier::Owner, of("env-type=test")));
    let (prod, none) = (prod(), Labels::new());
    let asks = |tier, over| authorise(&power, tier, over);
    assert_eq!(asks(Tier::Viewer, Over::Pair(Some(&prod))), Verdict::Allowed);
    let needed = Tier::Operator;
    assert_eq!(asks(needed, Over::Pair(Some(&prod))), Verdict::Denied { needed });
    assert_eq!(asks(Tier::Viewer, Over::Pair(Some(&none))), Verdict::Hidden);
    assert_eq!(asks(Tier::Viewer, Over::Pair(None)), Verdict::Hidden);
    assert_eq!(asks(Tier::Viewer, Over::All), Verdict::Denied { needed: Tier::Viewer });
    assert_eq!(asks(Tier::Owner, Over::AnyPair), Verdict::Allowed);
}

#[test]
fn a_negative_selector_does_not_reach_what_belongs_to_no_pair() {
    let power = Power::over(Tier::Owner, "env-type!=prod".parse().expect("a selector"));
    assert!(power.sees(&Labels::new()) && !power.sees(&prod()));
    assert!(!power.sees_all());
    assert_eq!(authorise(&power, Tier::Viewer, Over::Pair(None)), Verdict::Hidden);
}

#[test]
fn who_is_meant_is_said_by_kind_and_name() {
    let user = Caller::user("ann", vec!["dba".into()], 0);
    let fits = |text: &str, caller: &Caller| text.parse::<Subject>().expect("one").fits(caller);
    assert!(fits("user:ann", &user) && fits("group:dba", &user));
    assert!(!fits("certificate:ann", &user) && !fits("user:dba", &user));
    let certificate = Caller::certificate("ann");
    assert!(fits("certificate:ann", &certificate) && !fits("user:ann", &certificate));
    let token = Caller::token("t1", "ann", "user/bob");
    for subject in ["user:ann", "group:ann", "certificate:ann", "user:user/bob"] {
        assert!(!fits(subject, &token), "{subject}");
    }
    for bad in ["ann", "user:", "king:ann", "token:ann", "user:a\nb"] {
        assert!(bad.parse::<Subject>().is_err(), "{bad:?}");
    }
    let names: Vec<String> = [user, certificate, token].iter().map(Caller::to_string).collect();
    assert_eq!(names, ["user/ann", "operator/ann", "token/ann"]);
}
