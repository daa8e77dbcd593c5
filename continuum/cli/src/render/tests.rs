//! Golden tests: what people read, to the character.

use continuum_control_api::link::{MemberRole, PeerLinkReport};
use continuum_control_api::rest::{AuditHead, AuditRecord, AuditVerdict, Plan, SpecVersion};
use continuum_domain::PairId;
use continuum_domain::operation::{Method, OperationState};
use continuum_domain::spec::{Durability, LossApproval, PairMode};

use super::fixtures::{self, NOW_MS, region};
use super::style::Style;
use super::{audit, core, operation, pair, status};

fn page(pairs: Vec<continuum_control_api::rest::PairView>) -> String {
    status::page(&fixtures::status(pairs), NOW_MS, Style::PLAIN)
}

#[test]
fn a_healthy_pair_reads_at_a_glance() {
    assert_eq!(page(vec![fixtures::pair()]), include_str!("golden/healthy.txt"));
}

#[test]
fn what_was_never_reported_is_unknown_everywhere() {
    let text = page(vec![fixtures::silent_pair()]);
    assert_eq!(text, include_str!("golden/silent.txt"));
    for guess in ["0 B", "0.0 s", "in sync  ", "standby"] {
        assert!(!text.contains(guess), "{guess:?} was made up");
    }
}

#[test]
fn a_pair_in_trouble_shows_ages_and_what_to_do() {
    let mut status = fixtures::status(vec![fixtures::troubled_pair()]);
    status.automation = vec![fixtures::pause(None)];
    status.operations = vec![fixtures::running()];
    status.core.leader = None;
    let text = status::page(&status, NOW_MS, Style::PLAIN);
    assert_eq!(text, include_str!("golden/troubled.txt"));
}

/// At three in the morning: does losing the primary now cost suspect_after, or the ttl?
#[test]
fn what_losing_the_primary_costs_stands_on_the_page() {
    let told = |pair| {
        let text = page(vec![pair]);
        text.lines()
            .filter(|line| line.contains(" lost now"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let ledger = "  if fsn is lost now: hel takes over by the ledger after 600 ms (suspect_after)";
    assert_eq!(told(fixtures::ledger_pair()), [ledger]);
    let ttl = "  if fsn is lost now: takeover waits for its ttl (takeover: ttl)";
    assert_eq!(told(fixtures::pair()), [ttl]);
    let mut manual = fixtures::ledger_pair();
    manual.spec.mode = PairMode::Manual;
    assert_eq!(told(manual), [format!("{ledger}; not by itself: mode manual")]);
    let mut paused = fixtures::pair();
    paused.automation = Some(fixtures::pause(None));
    assert_eq!(told(paused), [format!("{ttl}; not by itself: automation is paused")]);
    let mut alone = fixtures::ledger_pair();
    alone.in_sync = Some(vec![region("fsn")]);
    let nobody = "  ! if fsn is lost now: nobody takes over by itself: no standby is in sync";
    assert_eq!(told(alone), [nobody]);
    let mut lossy = fixtures::pair();
    lossy.spec.durability = Durability::Async;
    assert!(told(lossy.clone())[0].contains("no loss is approved"));
    lossy.spec.loss_approval = Some(LossApproval { rpo_bytes: 1 });
    assert!(told(lossy)[0].contains("its ttl, and for a lag within the approved loss"));
    let mut vacant = fixtures::ledger_pair();
    (vacant.holder, vacant.takeover.effective) = (None, None);
    assert!(told(vacant).is_empty(), "nobody to be lost");
    assert_eq!(page(vec![fixtures::downgraded_pair()]), include_str!("golden/downgraded.txt"));
}

#[test]
fn a_pair_shows_its_takeover_its_planned_moves_and_its_links() {
    let text = pair::page(&fixtures::downgraded_pair(), Style::PLAIN);
    let (text, _) = text.split_once("\nspec, version").unwrap();
    assert_eq!(text, include_str!("golden/takeover.txt"));
    let text = pair::page(&fixtures::silent_pair(), Style::PLAIN);
    assert!(text.contains("takeover: ledger, now unknown; suspect_after 600 ms"), "{text}");
    assert!(text.contains("switchover: the holder is not known"), "{text}");
}

#[test]
fn a_link_that_is_amiss_stands_on_the_page_and_a_good_one_does_not() {
    let with = |change: fn(&mut PeerLinkReport)| {
        let mut pair = fixtures::pair();
        let member = pair.members.get_mut(&region("hel")).unwrap().as_mut().unwrap();
        change(member.report.peers.get_mut(&region("fsn")).unwrap());
        let text = page(vec![pair]);
        text.lines().filter(|line| line.contains("->")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(with(|_| {}), [""; 0]);
    assert_eq!(
        with(|link| link.heard_age_ms = Some(5_000)),
        ["  ! hel -> fsn: the agent there last answered 5.1 s ago"]
    );
    assert_eq!(
        with(|link| link.heard_age_ms = None),
        ["  ! hel -> fsn: the agent there never answered"]
    );
    assert_eq!(
        with(|link| link.refused_age_ms = Some(40)),
        ["  ! hel -> fsn: the agent there refuses connections"]
    );
    assert_eq!(
        with(|link| link.round_trips.as_mut().unwrap().unanswered = 600),
        ["  ! hel -> fsn: 600 of 5600 questions had no answer"]
    );
    let slow = |link: &mut PeerLinkReport| {
        link.round_trips.as_mut().unwrap().suggested_suspect_after_ms = Some(850);
    };
    assert_eq!(with(slow), [""; 0], "suspect_after does not count with takeover ttl");
}

#[test]
fn a_pause_of_one_pair_stands_with_the_pair() {
    let mut pair = fixtures::pair();
    pair.automation = Some(fixtures::pause(Some(PairId::new("app").unwrap())));
    let text = page(vec![pair]);
    let line =
        "  automation paused for app until 1970-01-01 02:00:00Z by operator/anna: storage work\n";
    assert_eq!(text.lines().nth(1).map(|l| format!("{l}\n")), Some(line.to_owned()));
}

#[test]
fn a_vacant_lease_is_not_an_unknown_one() {
    let mut pair = fixtures::pair();
    pair.holder = None;
    assert!(page(vec![pair]).starts_with("app  held by nobody, epoch 7;"));
}

#[test]
fn a_fenced_member_says_what_to_do() {
    let mut pair = fixtures::pair();
    let member = pair.members.get_mut(&region("hel")).unwrap().as_mut().unwrap();
    member.report.role = MemberRole::Fenced;
    member.report.fenced = Some("disk swap".into());
    let text = page(vec![pair]);
    assert!(text.contains("! hel: fenced by a person: disk swap\n"), "{text}");
    assert!(text.contains("do: when the cause is gone, continuum unfence"), "{text}");
}

#[test]
fn operations_list_show_and_sum_up() {
    let operations = [fixtures::operation(), fixtures::running()];
    let text = operation::listing(&operations, NOW_MS, Style::PLAIN);
    assert_eq!(text.trim_end(), include_str!("golden/operations.txt").trim_end());
    let text = operation::page(&operations[0], NOW_MS, Style::PLAIN);
    assert_eq!(text, include_str!("golden/operation.txt"));
    let text = operation::page(&fixtures::by_ledger(), NOW_MS, Style::PLAIN);
    assert_eq!(text, include_str!("golden/ledger_operation.txt"));
    let mut undone = fixtures::operation();
    undone.state = OperationState::Undone { reason: "hel did not catch up in 15 s".into() };
    assert_eq!(
        operation::summary(&undone, NOW_MS, Style::PLAIN),
        "switchover fsn -> hel of app: undone after 912 ms: hel did not catch up in 15 s\n"
    );
}

#[test]
fn a_plan_lists_every_reason() {
    let plan = Plan {
        from: Some(region("fsn")),
        to: region("hel"),
        method: Some(Method::Clean),
        hot_refusals: vec!["durability async: the holder acknowledges alone".into()],
        allowed: false,
        candidates: [
            (region("ash"), vec!["lags 20 MB".into(), "no session".into()]),
            (region("hel"), vec!["lags 3 MB".into(), "not in the ledger".into()]),
            (region("nbg"), Vec::new()),
        ]
        .into(),
        against_leaving: Vec::new(),
        refusals: vec!["hel: lags 3 MB".into(), "hel: not in the ledger".into()],
        steps: vec!["stop fsn".into(), "promote hel".into()],
    };
    let text = operation::plan(&plan, Style::PLAIN);
    assert_eq!(text, include_str!("golden/plan.txt"));
}

#[test]
fn pairs_history_audit_and_core() {
    let pairs = [fixtures::pair(), fixtures::silent_pair()];
    let mut text = pair::listing(&pairs, Style::PLAIN);
    text.push_str("\n\n");
    let version = SpecVersion {
        version: 4,
        spec: None,
        actor: "operator/anna".into(),
        reason: String::new(),
        at_ms: 0,
    };
    text.push_str(&pair::history(&[version]));
    text.push_str("\n\n");
    let record = AuditRecord {
        index: 12,
        at_ms: 0,
        actor: "operator/anna".into(),
        action: "switchover.start".into(),
        pair: None,
        epoch: None,
        operation: None,
        reason: "kernel update".into(),
        before: "fsn".into(),
        after: "hel".into(),
        origin: None,
        previous_hash: String::new(),
        hash: String::new(),
    };
    text.push_str(&audit::listing(&[record]));
    text.push_str("\n\n");
    text.push_str(&core::page(&fixtures::status(Vec::new()).core, Style::PLAIN));
    assert_eq!(text, include_str!("golden/lists.txt"));
}

#[test]
fn a_broken_audit_chain_is_not_intact() {
    let mut verdict = AuditVerdict {
        intact: true,
        records: 40,
        first: Some(1),
        head: Some(AuditHead { index: 40, hash: "ab12".into() }),
        ..AuditVerdict::default()
    };
    let intact = audit::verdict(&verdict, Style::PLAIN);
    assert_eq!(intact, "intact: 40 records; newest record 40, hash ab12\n");
    verdict.intact = false;
    verdict.problem = Some("record 7 does not hash to what it says".into());
    let broken = audit::verdict(&verdict, Style::PLAIN);
    assert!(broken.starts_with("NOT intact: record 7"), "{broken}");
}

#[test]
fn colour_adds_nothing_but_colour() {
    let status = fixtures::status(vec![fixtures::troubled_pair(), fixtures::silent_pair()]);
    let coloured = status::page(&status, NOW_MS, Style::COLOURED);
    assert!(coloured.contains("\u{1b}[33munknown\u{1b}[0m"), "{coloured}");
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain.push_str(rest);
    assert_eq!(plain, status::page(&status, NOW_MS, Style::PLAIN));
}
