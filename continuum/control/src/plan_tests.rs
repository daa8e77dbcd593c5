use super::*;
use crate::reported::{Reported, region};

fn planned(pair: &Reported, method: Option<Method>) -> Plan {
    let reports = pair.reports();
    let inputs = Inputs {
        spec: &pair.spec,
        register: Some(&pair.record),
        reports: &reports,
        links: &pair.links,
        under_way: None,
    };
    plan(&inputs, &region("hel"), Wish::Switchover(method))
}

#[test]
fn hot_is_chosen_where_nothing_speaks_against_it() {
    let plan = planned(&Reported::at_rest(), None);
    assert_eq!((plan.method, plan.allowed), (Some(Method::Hot), true), "{:?}", plan.refusals);
    assert!(plan.hot_refusals.is_empty());
    assert!(plan.steps.iter().any(|step| step.contains("hel stops receiving")), "{:?}", plan.steps);
    assert!(!plan.steps.iter().any(|step| step.contains("hand-over")), "{:?}", plan.steps);
    // Asked for by name it is the other one all the same.
    let plan = planned(&Reported::at_rest(), Some(Method::Clean));
    assert_eq!((plan.method, plan.allowed), (Some(Method::Clean), true));
    assert!(plan.steps.iter().any(|step| step.contains("hand-over")), "{:?}", plan.steps);
}

fn against_hot() -> Reported {
    Reported::at_rest()
        .refusing("fsn", &["role app sets synchronous_commit to off", "hel has applied nothing"])
        .refusing("hel", &["the pair is paused", "its session is not valid"])
        .with_record(|record| record.waits_for_all = false)
}

const AGAINST: [&str; 4] = [
    "fsn: role app sets synchronous_commit to off",
    "fsn: hel has applied nothing",
    "hel: the pair is paused",
    "hel: its session is not valid",
];

#[test]
fn clean_is_chosen_otherwise_and_every_reason_against_hot_is_told() {
    let plan = planned(&against_hot(), None);
    assert_eq!((plan.method, plan.allowed), (Some(Method::Clean), true), "{:?}", plan.refusals);
    assert_eq!(plan.hot_refusals, AGAINST);
    assert!(plan.refusals.is_empty(), "reasons against hot are none against the move");
}

#[test]
fn hot_asked_for_by_name_is_refused_with_every_reason() {
    let plan = planned(&against_hot(), Some(Method::Hot));
    assert_eq!((plan.method, plan.allowed), (Some(Method::Hot), false));
    let expected: Vec<String> = AGAINST.iter().map(|reason| format!("hot: {reason}")).collect();
    assert_eq!(plan.refusals, expected);
}

#[test]
fn an_async_pair_moves_clean() {
    let mut pair = Reported::at_rest();
    pair.spec.durability = continuum_domain::spec::Durability::Async;
    assert_eq!(planned(&pair, None).method, Some(Method::Clean));
    let plan = planned(&pair, Some(Method::Hot));
    assert_eq!(plan.refusals, ["hot: durability async: the holder acknowledges alone"]);
}

#[test]
fn what_was_not_reported_speaks_against_hot() {
    let plan = planned(&Reported::at_rest().silent("hel", 3_001), Some(Method::Hot));
    let told = plan.refusals.iter().filter(|reason| reason.starts_with("hot: ")).count();
    assert_eq!((plan.hot_refusals.len(), told), (1, 1), "{plan:?}");
    let unread = Inputs {
        spec: &Reported::at_rest().spec,
        register: None,
        reports: &Reported::at_rest().reports(),
        links: &Links::default(),
        under_way: None,
    };
    let plan = super::plan(&unread, &region("hel"), Wish::Switchover(None));
    assert_eq!((plan.method, plan.allowed), (Some(Method::Clean), false));
    assert_eq!(plan.hot_refusals, ["who holds the pair is unknown"]);
}

#[test]
fn a_failover_has_no_method() {
    let pair = Reported::at_rest();
    let reports = pair.reports();
    let inputs = Inputs {
        spec: &pair.spec,
        register: Some(&pair.record),
        reports: &reports,
        links: &pair.links,
        under_way: None,
    };
    let wish = Wish::Failover { allow_data_loss: false, loss_epoch: None };
    let plan = super::plan(&inputs, &region("hel"), wish);
    assert_eq!((plan.method, plan.hot_refusals.len()), (None, 0));
}

fn against(code: &str) -> continuum_control_api::link::Blocked {
    let (meaning, action) = ("9 files wait".into(), "wait".into());
    continuum_control_api::link::Blocked { code: code.into(), meaning, action }
}

#[test]
fn what_the_holders_platform_has_against_it_bars_a_planned_move_alone() {
    let mut pair = Reported::at_rest();
    pair.member("fsn").1.against_leaving = vec![against("source-archive-queue")];
    pair.member("fsn").1.hindrances = vec![against("reconciliation-off")];
    let reasons =
        ["reconciliation-off: 9 files wait; wait", "source-archive-queue: 9 files wait; wait"];
    for method in [None, Some(Method::Clean), Some(Method::Hot)] {
        let plan = planned(&pair, method);
        assert!(!plan.allowed, "{method:?}");
        assert_eq!(plan.against_leaving, reasons);
        assert_eq!(plan.refusals, reasons.map(|reason| format!("fsn: {reason}")));
        assert_eq!(plan.candidates[&region("hel")], [""; 0], "it is not hel's matter");
    }
    // The holder is gone: nobody asks what stands against its leaving, also where it was told lately.
    pair.member("fsn").1.role = continuum_control_api::link::MemberRole::Fenced;
    let reports = pair.reports();
    let inputs = Inputs {
        spec: &pair.spec,
        register: Some(&pair.record),
        reports: &reports,
        links: &pair.links,
        under_way: None,
    };
    let wish = Wish::Failover { allow_data_loss: false, loss_epoch: None };
    let plan = super::plan(&inputs, &region("hel"), wish);
    assert!(plan.allowed && plan.against_leaving.is_empty(), "{:?}", plan.refusals);
}

/// A member that may lead later has nothing of that against a move to it.
#[test]
fn what_a_standby_would_have_against_leaving_does_not_bar_a_move_to_it() {
    let mut pair = Reported::at_rest();
    pair.member("hel").1.against_leaving = vec![against("source-backup")];
    assert!(planned(&pair, None).allowed);
    pair.member("hel").1.hindrances = vec![against("target-healthy")];
    let plan = planned(&pair, None);
    assert_eq!(plan.candidates[&region("hel")], ["target-healthy: 9 files wait; wait"]);
    assert!(!plan.allowed);
}
