use continuum_domain::access::{Tier, Verb};

use super::needs::{Asked, Place, Target, demands, needs};
use super::table::endpoints;

fn asked<'a>(id: &'a str, named: Option<&'a str>, query: &'a str, body: &'a str) -> Asked<'a> {
    Asked { id, named, query, body: body.as_bytes() }
}

/// The tier and the target of the first demand.
fn first(id: &str, named: Option<&str>, query: &str, body: &str) -> (Tier, Target) {
    let first = demands(&asked(id, named, query, body)).remove(0);
    (first.tier, first.target)
}

fn shop() -> Target {
    Target::Pair(Some("shop".parse().expect("a name")))
}

#[test]
fn a_route_that_nobody_thought_of_is_the_owners() {
    assert_eq!(first("somethingNew", None, "", ""), (Tier::Owner, Target::All));
    let owners: Vec<&str> = endpoints()
        .iter()
        .filter(|endpoint| endpoint.needs()[0].tier == Tier::Owner)
        .map(|endpoint| endpoint.id)
        .collect();
    assert_eq!(
        owners,
        ["setRule", "removeRule", "addCoreNode", "removeCoreNode", "setGrant", "removeGrant"]
    );
}

#[test]
fn only_the_documents_are_open_and_reads_need_no_more_than_an_admin() {
    for endpoint in endpoints() {
        let general = endpoint.needs()[0];
        assert_eq!(general.when, "", "{endpoint:?}");
        let is_document = matches!(endpoint.id, "getDocument" | "getReference");
        assert_eq!(endpoint.is_open(), is_document, "{endpoint:?}");
        let names_pair = endpoint.path.contains("{pair}");
        assert_eq!(
            general.place == Place::Pair
                && !needs(endpoint.id).iter().any(|need| need.when == "all pairs"),
            names_pair,
            "{endpoint:?}"
        );
        if endpoint.changes() && general.place != Place::Own {
            assert!(general.tier >= Tier::Operator, "{endpoint:?}");
        }
    }
}

#[test]
fn a_dry_run_takes_less_and_only_when_it_surely_is_one() {
    let switch = |body| first("switchOver", Some("shop"), "", body);
    assert_eq!(switch(r#"{"to":"hel","dry_run":true}"#), (Tier::Developer, shop()));
    for body in [
        r#"{"to":"hel"}"#,
        r#"{"to":"hel","dry_run":false}"#,
        r#"{"to":"hel","dry_run":true,"dry_run":false}"#,
        r#"{"to":"hel","dry_run":false,"dry_run":true}"#,
        r#"{"to":"hel","dry_run":true,"more":1}"#,
        "",
    ] {
        assert_eq!(switch(body), (Tier::Operator, shop()), "{body}");
    }
    let apply = |query| first("applyPair", Some("shop"), query, "").0;
    assert_eq!(apply("dry_run=true"), Tier::Developer);
    for query in ["", "dry_run=false", "dry_run=true&dry_run=false", "dry_run=true&x=1"] {
        assert_eq!(apply(query), Tier::Admin, "{query}");
    }
}

#[test]
fn a_loss_takes_an_admin() {
    let fail = |body| first("failOver", Some("shop"), "", body).0;
    assert_eq!(fail(r#"{"to":"hel"}"#), Tier::Operator);
    assert_eq!(fail(r#"{"to":"hel","allow_data_loss":true,"epoch":3}"#), Tier::Admin);
    assert_eq!(fail(r#"{"to":"hel","allow_data_loss":true,"dry_run":true}"#), Tier::Developer);
    assert_eq!(fail("nonsense"), Tier::Admin, "what cannot be read may be anything");
    let approve = demands(&asked("approveOperation", Some("op-a"), "", ""));
    assert_eq!(approve[0].with_loss, Some(Tier::Admin));
}

#[test]
fn what_concerns_all_pairs_is_the_owners() {
    let pause = |body| first("pauseAutomation", None, "", body);
    assert_eq!(pause(r#"{"pair":"shop","reason":"x","for_ms":1}"#), (Tier::Operator, shop()));
    assert_eq!(pause(r#"{"reason":"x","for_ms":1}"#), (Tier::Owner, Target::All));
    assert_eq!(pause("nonsense"), (Tier::Owner, Target::All));
    assert_eq!(first("resumeAutomation", None, "pair=shop", ""), (Tier::Operator, shop()));
    assert_eq!(first("resumeAutomation", None, "", ""), (Tier::Owner, Target::All));
    assert_eq!(first("resumeAutomation", None, "pair=a&pair=b", "").0, Tier::Owner);
}

#[test]
fn a_pair_is_moved_into_a_scope_only_by_who_holds_it() {
    let spec = r#"{"spec":{"id":"shop","labels":{"env-type":"prod"},"members":{"fsn":{"host":"a","port":1},"hel":{"host":"b","port":1}},"first_primary":"fsn"}}"#;
    let all = demands(&asked("applyPair", Some("shop"), "", spec));
    let labels = [("env-type".to_owned(), "prod".to_owned())].into();
    let targets: Vec<_> = all.iter().map(|demand| demand.target.clone()).collect();
    assert_eq!(targets, [shop(), Target::Labels(labels)]);
    let all = demands(&asked("rollBackPair", Some("shop"), "", r#"{"version":2}"#));
    assert_eq!(all[1].target, Target::Version("shop".parse().expect("a name"), 2));
}

#[test]
fn a_token_takes_the_tier_and_scope_that_it_gives() {
    let make =
        |tier| format!(r#"{{"name":"ci","tier":"{tier}","selector":"env-type=test","for_ms":1}}"#);
    let scope = Target::Scope("env-type=test".parse().expect("a selector"));
    assert_eq!(first("createToken", None, "", &make("viewer")), (Tier::Admin, scope.clone()));
    assert_eq!(first("createToken", None, "", &make("owner")), (Tier::Owner, scope));
    let bad = first("createToken", None, "", "nonsense");
    assert_eq!(bad, (Tier::Admin, Target::Scope(Default::default())));
}

#[test]
fn what_a_rule_may_keep_is_never_a_dry_run() {
    let verb = |id, query, body| asked(id, Some("shop"), query, body).verb();
    assert_eq!(verb("switchOver", "", r#"{"to":"hel"}"#), Some(Verb::Switchover));
    assert_eq!(verb("switchOver", "", "nonsense"), Some(Verb::Switchover));
    assert_eq!(verb("switchOver", "", r#"{"to":"hel","dry_run":true}"#), None);
    assert_eq!(verb("applyPair", "", "{}"), Some(Verb::Change));
    assert_eq!(verb("applyPair", "dry_run=true", "{}"), None);
    assert_eq!(verb("rollBackPair", "", "{}"), Some(Verb::Change));
    assert_eq!(verb("removePair", "", ""), Some(Verb::Remove));
    assert_eq!(verb("pauseAutomation", "", ""), Some(Verb::Pause));
    assert_eq!(verb("cancelOperation", "", ""), None);
}
