//! The replicated state: deterministic, idempotent, audited, and complete after an absence.

use std::collections::BTreeMap;

use continuum_control::raft::Machine;
use continuum_control::state::{Change, Command, CoreState, FailoverAsk, Reply};
use continuum_control_api::ask::Condition;
use continuum_control_api::link::{Fact, GrantAnswer, JournalEntry};
use continuum_domain::corroborate::{
    Corroborate, Corroboration, CorroborationEffect, NameState, ResolverAnswer,
};
use continuum_domain::operation::{
    Method, Operation, OperationKind, OperationState, Step, StepOutcome,
};
use continuum_domain::spec::{Durability, LossApproval, MemberSpec, PairMode, PairSpec};
use continuum_domain::{Epoch, OperationId, PairId, RegionId};
use proptest::prelude::*;

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn pair(name: &str) -> PairId {
    PairId::new(name).unwrap()
}

fn spec(name: &str) -> PairSpec {
    let member =
        MemberSpec { priority: 100, host: "127.0.0.1".into(), port: 5432, health_name: None };
    let members = BTreeMap::from([(region("fsn"), member.clone()), (region("hel"), member)]);
    PairSpec::new(pair(name), members, region("fsn"))
}

struct Core {
    state: CoreState,
    index: u64,
    now_ms: i64,
}

impl Core {
    fn new() -> Self {
        let mut core = Self { state: CoreState::default(), index: 0, now_ms: 1_000_000 };
        core.apply(Change::ApplyPair {
            spec: spec("shop"),
            reason: "test".into(),
            condition: Condition::None,
        });
        core
    }

    fn apply(&mut self, change: Change) -> Reply {
        self.index += 1;
        let command = Command::new(self.now_ms, "operator/test", change);
        self.state.apply(self.index, command)
    }

    fn with_spec(change: impl FnOnce(&mut PairSpec)) -> Self {
        let mut core = Self::new();
        let mut spec = spec("shop");
        change(&mut spec);
        core.apply(Change::ApplyPair { spec, reason: "test".into(), condition: Condition::None });
        core
    }

    fn ask(&mut self, id: &str, epoch: u64) -> GrantAnswer {
        self.ask_with_lag(id, epoch, None)
    }

    fn ask_with_lag(&mut self, id: &str, epoch: u64, lag_bytes: Option<u64>) -> GrantAnswer {
        let ask = ask("shop", id, epoch, lag_bytes);
        match self.apply(Change::RequestFailover(ask)) {
            Reply::Grant(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn facts(&mut self, name: &str, entries: Vec<JournalEntry>) -> Reply {
        self.apply(Change::Facts { region: region(name), entries })
    }

    fn only_operation(&self) -> Operation {
        let all: Vec<_> = self.state.operations().collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].clone()
    }

    fn actions(&self) -> Vec<String> {
        self.state.audit().map(|record| record.action.clone()).collect()
    }
}

fn ask(pair_name: &str, id: &str, epoch: u64, lag_bytes: Option<u64>) -> FailoverAsk {
    FailoverAsk {
        id: OperationId::new(id).unwrap(),
        region: region("hel"),
        pair: pair(pair_name),
        epoch: Epoch(epoch),
        from: Some(region("fsn")),
        trigger: "session-expired".into(),
        evidence: "unchanged for 11 s".into(),
        // Who tells of a lag in these tests is not in the ledger.
        listed: lag_bytes.is_none(),
        lag_bytes,
        corroboration: None,
        preferred: false,
        failovers_max: 1,
        objections: Vec::new(),
    }
}

fn entry(seq: u64, epoch: u64, fact: Fact) -> JournalEntry {
    JournalEntry {
        seq,
        at_ms: 900_000,
        pair: pair("shop"),
        epoch: Epoch(epoch),
        operation: None,
        fact,
    }
}

fn step(step: Step, outcome: StepOutcome) -> Fact {
    Fact::Step { step, outcome, took_us: Some(1_000), detail: String::new() }
}

fn acquired(by: &str, from: &str, autonomous: bool) -> Fact {
    Fact::Acquired { by: by.into(), from: Some(region(from)), autonomous }
}

#[test]
fn specs_keep_their_versions_and_an_unchanged_one_makes_none() {
    let mut core = Core::new();
    core.apply(Change::ApplyPair {
        spec: spec("shop"),
        reason: "again".into(),
        condition: Condition::None,
    });
    let mut changed = spec("shop");
    changed.max_lag_bytes = 1;
    core.apply(Change::ApplyPair {
        spec: changed,
        reason: "tighter".into(),
        condition: Condition::None,
    });
    core.apply(Change::RemovePair {
        pair: pair("shop"),
        reason: "gone".into(),
        condition: Condition::None,
    });
    let versions = &core.state.pair(&pair("shop")).unwrap().versions;
    assert_eq!(versions.iter().map(|v| v.version).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(core.state.spec(&pair("shop")).is_none());
    assert_eq!(core.actions(), ["pair.apply", "pair.apply", "pair.remove"]);
    assert!(core.state.verify_audit().intact);
}

#[test]
fn a_spec_that_would_strand_the_holder_is_refused() {
    let mut core = Core::new();
    core.facts("fsn", vec![entry(1, 1, acquired("created", "fsn", false))]);
    let mut other = spec("shop");
    let member = other.members.remove(&region("hel")).unwrap();
    other.members.insert(region("ash"), member.clone());
    other.first_primary = region("fsn");
    assert!(matches!(
        core.apply(Change::ApplyPair {
            spec: other,
            reason: String::new(),
            condition: Condition::None
        }),
        Reply::Pair(_)
    ));
    let mut stranded = spec("shop");
    stranded.members.remove(&region("fsn"));
    stranded.members.insert(region("ash"), member);
    stranded.first_primary = region("ash");
    let reply = core.apply(Change::ApplyPair {
        spec: stranded,
        reason: String::new(),
        condition: Condition::None,
    });
    assert!(
        matches!(reply, Reply::Refused(error) if error.problem.detail.contains("first_primary"))
    );
}

#[test]
fn a_grant_is_one_operation_however_often_it_is_asked_for() {
    let mut core = Core::new();
    let first = core.ask("op-one", 1);
    let again = core.ask("op-two", 1);
    assert_eq!(first, again);
    assert!(
        matches!(&first, GrantAnswer::Granted { operation, allow_data_loss: false, by_person: false, .. } if operation.as_str() == "op-one")
    );
    assert_eq!(core.only_operation().at_epoch, Epoch(1));
}

#[test]
fn pause_anti_flap_and_the_limit_deny_with_reasons_and_one_audit_line() {
    let mut core = Core::new();
    core.apply(Change::ApplyPair {
        spec: spec("blog"),
        reason: String::new(),
        condition: Condition::None,
    });
    core.apply(Change::Pause { pair: Some(pair("shop")), reason: "work".into(), for_ms: 10_000 });
    for _ in 0..5 {
        let answer = core.ask("op-one", 1);
        assert!(
            matches!(&answer, GrantAnswer::Denied { reasons } if reasons[0].starts_with("automation-paused")),
            "{answer:?}"
        );
    }
    assert_eq!(core.actions().iter().filter(|action| *action == "failover.denied").count(), 1);
    core.now_ms += 10_000;
    assert!(matches!(core.ask("op-one", 1), GrantAnswer::Granted { .. }), "the pause has ended");

    let reply = core.apply(Change::RequestFailover(ask("blog", "op-two", 1, None)));
    let Reply::Grant(GrantAnswer::Denied { reasons }) = reply else { panic!("{reply:?}") };
    assert!(reasons[0].starts_with("too-many-failovers"), "{reasons:?}");

    let mut won = entry(1, 2, acquired("expired", "fsn", false));
    won.at_ms = core.now_ms;
    core.facts("hel", vec![won, entry(2, 2, step(Step::Promote, StepOutcome::Done))]);
    let id = OperationId::new("op-one").unwrap();
    core.apply(Change::Become { operation: id, state: OperationState::Moved });
    core.now_ms += 59_000;
    let mut flapping = ask("shop", "op-three", 2, None);
    flapping.region = region("fsn");
    let reply = core.apply(Change::RequestFailover(flapping));
    let Reply::Grant(GrantAnswer::Denied { reasons }) = reply else { panic!("{reply:?}") };
    assert!(reasons[0].starts_with("anti-flap"), "{reasons:?}");
}

#[test]
fn semi_automatic_waits_and_an_approval_lets_it_go() {
    let mut core = Core::with_spec(|spec| spec.mode = PairMode::SemiAutomatic);
    assert!(matches!(core.ask("op-one", 1), GrantAnswer::WaitForApproval { .. }));
    assert!(matches!(core.ask("op-two", 1), GrantAnswer::WaitForApproval { .. }));
    let operation = OperationId::new("op-one").unwrap();
    let change = Change::Approve { operation: operation.clone(), reason: "seen".into() };
    assert!(matches!(core.apply(change.clone()), Reply::Operation(_)));
    assert_eq!(
        core.ask("op-three", 1),
        GrantAnswer::Granted { operation, allow_data_loss: false, by_person: true, trace: None }
    );
    assert!(
        matches!(core.apply(change), Reply::Refused(error) if error.problem.code == "nothing-to-approve")
    );
}

fn said(verdict: NameState) -> Corroboration {
    let resolvers = Corroborate::default().resolvers.into_iter();
    let answers = resolvers.map(|it| (it, ResolverAnswer::new(verdict, "said"))).collect();
    Corroboration { name: "health.fsn.example.net".into(), verdict, answers, age_ms: 40 }
}

fn corroborated(effect: CorroborationEffect, mode: PairMode) -> Core {
    Core::with_spec(|spec| {
        spec.mode = mode;
        spec.corroborate = Some(Corroborate { effect, ..Corroborate::default() });
        for (region, member) in &mut spec.members {
            member.health_name = Some(format!("health.{region}.example.net"));
        }
    })
}

fn ask_with(core: &mut Core, verdict: NameState) -> GrantAnswer {
    let corroboration = Some(said(verdict));
    let ask = FailoverAsk { corroboration, ..ask("shop", "op-one", 1, None) };
    let Reply::Grant(answer) = core.apply(Change::RequestFailover(ask)) else { panic!("no grant") };
    answer
}

#[test]
fn a_health_name_that_answers_bars_automation_where_the_spec_says_so_and_is_recorded() {
    let mut core = corroborated(CorroborationEffect::Veto, PairMode::Automatic);
    let answer = ask_with(&mut core, NameState::Up);
    let GrantAnswer::Denied { reasons } = &answer else { panic!("{answer:?}") };
    assert!(reasons[0].starts_with("health-name-answers"), "{reasons:?}");
    assert!(reasons[0].contains("health.fsn.example.net: up, asked 40 ms ago"), "{reasons:?}");
    // Unknown and down are recorded as what they are, and bar nobody.
    for verdict in [NameState::Unknown, NameState::Down] {
        let mut core = corroborated(CorroborationEffect::Veto, PairMode::Automatic);
        let answer = ask_with(&mut core, verdict);
        assert!(matches!(answer, GrantAnswer::Granted { by_person: false, .. }), "{answer:?}");
        let operation = core.only_operation();
        let line = operation.steps.iter().find(|line| line.step == Step::Corroborate).unwrap();
        assert_eq!(line.region, Some(region("hel")));
        assert!(line.detail.contains(&format!(": {},", verdict.word())), "{line:?}");
    }
    let mut core = corroborated(CorroborationEffect::Annotate, PairMode::Automatic);
    let answer = ask_with(&mut core, NameState::Up);
    assert!(matches!(answer, GrantAnswer::Granted { .. }), "{answer:?}");
}

#[test]
fn a_health_name_that_answers_bars_no_person() {
    let mut core = corroborated(CorroborationEffect::Veto, PairMode::SemiAutomatic);
    let answer = ask_with(&mut core, NameState::Up);
    assert!(matches!(answer, GrantAnswer::WaitForApproval { .. }), "{answer:?}");
    let operation = OperationId::new("op-one").unwrap();
    core.apply(Change::Approve { operation, reason: "the region is lost".into() });
    let answer = ask_with(&mut core, NameState::Up);
    assert!(matches!(answer, GrantAnswer::Granted { by_person: true, .. }), "{answer:?}");
}

/// R21: approval of a loss counts for one operation, hence one epoch.
#[test]
fn an_async_pair_over_its_bound_waits_for_an_approval_of_the_loss() {
    let mut core = Core::with_spec(|spec| {
        spec.durability = Durability::Async;
        spec.loss_approval = Some(LossApproval { rpo_bytes: 100 });
    });
    let answer = core.ask_with_lag("op-one", 1, Some(101));
    assert!(
        matches!(&answer, GrantAnswer::WaitForApproval { reason } if reason.contains("data-loss-approval")),
        "{answer:?}"
    );
    let operation = OperationId::new("op-one").unwrap();
    core.apply(Change::Approve { operation: operation.clone(), reason: "ok".into() });
    assert_eq!(
        core.ask_with_lag("op-two", 1, Some(101)),
        GrantAnswer::Granted { operation, allow_data_loss: true, by_person: true, trace: None }
    );
}

/// The new holder died before it took writes. Its failover still runs, and must not bar the next one,
/// which is from a later epoch; from its own it does.
#[test]
fn an_operation_bars_nobody_once_its_epoch_is_over() {
    let mut core = Core::with_spec(|spec| {
        spec.anti_flap = std::time::Duration::ZERO;
        let third = spec.members[&region("hel")].clone();
        spec.members.insert(region("ash"), third);
    });
    assert!(matches!(core.ask("op-one", 1), GrantAnswer::Granted { .. }));
    let mut other = ask("shop", "op-two", 1, None);
    other.region = region("ash");
    let reply = core.apply(Change::RequestFailover(other.clone()));
    let Reply::Grant(GrantAnswer::Denied { reasons }) = reply else { panic!("{reply:?}") };
    assert!(reasons[0].starts_with("operation-under-way"), "{reasons:?}");

    other.epoch = Epoch(2);
    let reply = core.apply(Change::RequestFailover(other));
    assert!(matches!(reply, Reply::Grant(GrantAnswer::Granted { .. })), "{reply:?}");
    let state =
        |id: &str| core.state.operation(&OperationId::new(id).unwrap()).unwrap().state.clone();
    assert!(
        matches!(state("op-one"), OperationState::Failed { reason } if reason.contains("op-two"))
    );
    assert_eq!(state("op-two"), OperationState::Running);

    // And an order takes the place of that one, from the epoch that it won.
    let order = |id: &str, at_epoch| Change::Start {
        id: OperationId::new(id).unwrap(),
        pair: pair("shop"),
        kind: OperationKind::Failover {
            from: Some(region("ash")),
            to: region("hel"),
            trigger: continuum_domain::sequence::TRIGGER_ORDERED.into(),
            autonomous: false,
            allow_data_loss: false,
        },
        at_epoch: Epoch(at_epoch),
        reason: "it is dead too".into(),
    };
    let reply = core.apply(order("op-three", 2));
    assert!(
        matches!(&reply, Reply::Refused(error) if error.problem.code == "operation-under-way"),
        "{reply:?}"
    );
    assert!(matches!(core.apply(order("op-four", 3)), Reply::Operation(_)));
}

/// Two members of an `async` pair: one may lose something and waits for a person, the other has
/// everything and needs nobody.
#[test]
fn a_listed_member_takes_the_place_of_a_failover_that_nobody_approved() {
    let mut core = Core::with_spec(|spec| {
        spec.durability = Durability::Async;
        let third = spec.members[&region("hel")].clone();
        spec.members.insert(region("ash"), third);
    });
    let mut unlisted = ask("shop", "op-one", 1, Some(101));
    unlisted.region = region("ash");
    let reply = core.apply(Change::RequestFailover(unlisted.clone()));
    assert!(matches!(reply, Reply::Grant(GrantAnswer::WaitForApproval { .. })), "{reply:?}");
    let answer = core.ask("op-two", 1);
    assert!(
        matches!(&answer, GrantAnswer::Granted { operation, allow_data_loss: false, .. } if operation.as_str() == "op-two"),
        "{answer:?}"
    );
    let state = |core: &Core, id: &str| {
        core.state.operation(&OperationId::new(id).unwrap()).unwrap().state.clone()
    };
    assert!(matches!(state(&core, "op-one"), OperationState::Undone { .. }));
    assert_eq!(state(&core, "op-two"), OperationState::Running);
    // The other one asks on: it must not take it back.
    unlisted.id = OperationId::new("op-three").unwrap();
    let reply = core.apply(Change::RequestFailover(unlisted));
    assert!(matches!(reply, Reply::Grant(GrantAnswer::Denied { .. })), "{reply:?}");
    assert_eq!(state(&core, "op-two"), OperationState::Running);
}

/// A far region suspects a holder that lives, is allowed to take over and cannot; then the holder dies.
#[test]
fn a_grant_that_is_not_used_does_not_bar_the_better_candidate() {
    let with_three = || {
        Core::with_spec(|spec| {
            let third = spec.members[&region("hel")].clone();
            spec.members.insert(region("ash"), third);
        })
    };
    let of_ash = || FailoverAsk { region: region("ash"), ..ask("shop", "op-far", 1, None) };
    let best = || FailoverAsk { preferred: true, ..ask("shop", "op-best", 1, None) };
    let state = |core: &Core, id: &str| {
        core.state.operation(&OperationId::new(id).unwrap()).unwrap().state.clone()
    };
    let granted = |reply: &Reply| matches!(reply, Reply::Grant(GrantAnswer::Granted { .. }));

    let mut core = with_three();
    assert!(granted(&core.apply(Change::RequestFailover(of_ash()))));
    // One that is not the best waits for it, and one that is not listed too.
    let other = FailoverAsk { preferred: false, ..best() };
    assert!(!granted(&core.apply(Change::RequestFailover(other))));
    let unlisted = FailoverAsk { listed: false, ..best() };
    assert!(!granted(&core.apply(Change::RequestFailover(unlisted))));
    assert!(granted(&core.apply(Change::RequestFailover(best()))));
    assert!(matches!(state(&core, "op-far"), OperationState::Undone { .. }));
    assert_eq!(state(&core, "op-best"), OperationState::Running);
    // It asks on, and takes nothing back.
    let again = FailoverAsk { id: OperationId::new("op-far-2").unwrap(), ..of_ash() };
    assert!(!granted(&core.apply(Change::RequestFailover(again))));
    assert_eq!(state(&core, "op-best"), OperationState::Running);

    // Who has won the epoch by its grant is not undone.
    let mut core = with_three();
    assert!(granted(&core.apply(Change::RequestFailover(of_ash()))));
    let won = Fact::Acquired { by: "expired".into(), from: Some(region("fsn")), autonomous: false };
    core.facts("ash", vec![entry(1, 2, won)]);
    assert!(!granted(&core.apply(Change::RequestFailover(best()))));
    assert!(!matches!(state(&core, "op-far"), OperationState::Undone { .. }));

    // Nor who says that it has, before the word of its epoch is here.
    let mut core = with_three();
    assert!(granted(&core.apply(Change::RequestFailover(of_ash()))));
    let operation = Some(OperationId::new("op-far").unwrap());
    let (outcome, detail) = (StepOutcome::Done, "epoch 2 by expired".into());
    let commit = Fact::Step { step: Step::Commit, outcome, took_us: Some(1), detail };
    core.facts("ash", vec![JournalEntry { operation, ..entry(1, 2, commit) }]);
    assert!(!granted(&core.apply(Change::RequestFailover(best()))));
    assert!(!matches!(state(&core, "op-far"), OperationState::Undone { .. }));

    // What a person ordered stands.
    let mut core = with_three();
    let order = Change::Start {
        id: OperationId::new("op-far").unwrap(),
        pair: pair("shop"),
        kind: OperationKind::Failover {
            from: Some(region("fsn")),
            to: region("ash"),
            trigger: "ordered".into(),
            autonomous: false,
            allow_data_loss: false,
        },
        at_epoch: Epoch(1),
        reason: "test".into(),
    };
    core.apply(order);
    assert!(!granted(&core.apply(Change::RequestFailover(best()))));
    assert_eq!(state(&core, "op-far"), OperationState::Running);
}

/// The member itself came into the ledger, or its lag was measured, while it waited.
#[test]
fn a_member_waits_no_longer_once_it_needs_no_approval() {
    let mut core = Core::with_spec(|spec| spec.durability = Durability::Async);
    let answer = core.ask_with_lag("op-one", 1, Some(101));
    assert!(matches!(answer, GrantAnswer::WaitForApproval { .. }), "{answer:?}");
    let answer = core.ask("op-two", 1);
    assert!(matches!(answer, GrantAnswer::Granted { allow_data_loss: false, .. }), "{answer:?}");
}

/// Where every failover waits for a person, he is not asked for a loss while a member can take over
/// that loses nothing.
#[test]
fn a_question_without_a_loss_takes_the_place_of_one_with_a_loss() {
    let mut core = Core::with_spec(|spec| {
        spec.mode = PairMode::SemiAutomatic;
        let third = spec.members[&region("hel")].clone();
        spec.members.insert(region("ash"), third);
    });
    let waits = |core: &mut Core, id: &str, name: &str, lag_bytes| {
        let mut ask = ask("shop", id, 1, lag_bytes);
        ask.region = region(name);
        let reply = core.apply(Change::RequestFailover(ask));
        matches!(reply, Reply::Grant(GrantAnswer::WaitForApproval { .. }))
    };
    let waiting = |core: &Core, id: &str| {
        let id = OperationId::new(id).unwrap();
        let running = core.state.operation(&id).unwrap().state == OperationState::Running;
        running.then(|| core.state.waiting(&id).unwrap().data_loss)
    };
    assert!(waits(&mut core, "op-one", "ash", Some(5)));
    assert_eq!(waiting(&core, "op-one"), Some(true));
    // Of two members that lose something, the first one's question stands.
    assert!(!waits(&mut core, "op-two", "hel", Some(4)));
    // Another member is listed; and then the same one is.
    assert!(waits(&mut core, "op-three", "hel", None));
    assert_eq!((waiting(&core, "op-one"), waiting(&core, "op-three")), (None, Some(false)));
    assert!(!waits(&mut core, "op-four", "ash", Some(5)), "it must not take it back");
    assert!(!waits(&mut core, "op-five", "ash", None), "one question at a time");
    assert_eq!(waiting(&core, "op-three"), Some(false));

    let mut core = Core::with_spec(|spec| spec.mode = PairMode::SemiAutomatic);
    assert!(waits(&mut core, "op-one", "hel", Some(5)));
    assert!(waits(&mut core, "op-two", "hel", None));
    assert_eq!((waiting(&core, "op-one"), waiting(&core, "op-two")), (None, Some(false)));
}

/// In the synchronous modes too nobody takes over without the ledger or a person, and two members
/// that wait do not take each other's place.
#[test]
fn an_unlisted_member_of_a_synchronous_pair_waits_and_an_order_takes_its_place() {
    let mut core = Core::with_spec(|spec| {
        let third = spec.members[&region("hel")].clone();
        spec.members.insert(region("ash"), third);
    });
    let answer = core.ask_with_lag("op-one", 1, Some(0));
    assert!(matches!(answer, GrantAnswer::WaitForApproval { .. }), "{answer:?}");
    let mut second = ask("shop", "op-two", 1, Some(0));
    second.region = region("ash");
    let reply = core.apply(Change::RequestFailover(second));
    let Reply::Grant(GrantAnswer::Denied { reasons }) = reply else { panic!("{reply:?}") };
    assert!(reasons[0].starts_with("operation-under-way"), "{reasons:?}");

    let order = Change::Start {
        id: OperationId::new("op-three").unwrap(),
        pair: pair("shop"),
        kind: OperationKind::Failover {
            from: Some(region("fsn")),
            to: region("ash"),
            trigger: continuum_domain::sequence::TRIGGER_ORDERED.into(),
            autonomous: false,
            allow_data_loss: true,
        },
        at_epoch: Epoch(1),
        reason: "it is the one I trust".into(),
    };
    assert!(matches!(core.apply(order), Reply::Operation(_)));
    let ended = core.state.operation(&OperationId::new("op-one").unwrap()).unwrap();
    assert!(
        matches!(&ended.state, OperationState::Undone { reason } if reason.contains("op-three")),
        "{ended:?}"
    );
}

#[test]
fn observe_only_denies_and_records_what_it_would_have_done() {
    let mut core = Core::with_spec(|spec| spec.mode = PairMode::ObserveOnly);
    for id in ["op-one", "op-two"] {
        assert!(matches!(core.ask(id, 1), GrantAnswer::Denied { .. }));
    }
    assert!(matches!(core.only_operation().state, OperationState::Refused { .. }));
}

#[test]
fn a_failover_while_the_core_was_away_comes_out_complete() {
    let mut core = Core::new();
    let entries = vec![
        entry(1, 1, step(Step::Detect, StepOutcome::Done)),
        entry(2, 2, acquired("expired", "fsn", true)),
        entry(3, 2, step(Step::Commit, StepOutcome::Done)),
        entry(4, 2, step(Step::Promote, StepOutcome::Done)),
        entry(5, 2, step(Step::Traffic, StepOutcome::Done)),
    ];
    core.facts("hel", entries.clone());
    core.facts("fsn", vec![entry(1, 2, step(Step::Rejoin, StepOutcome::Done))]);
    let operation = core.only_operation();
    assert_eq!(operation.at_epoch, Epoch(1));
    assert!(
        matches!(&operation.kind, OperationKind::Failover { autonomous: true, to, .. } if *to == region("hel"))
    );
    let told: Vec<_> = operation
        .steps
        .iter()
        .filter(|line| line.region.is_some())
        .map(|line| (line.step, line.took_us.is_some()))
        .collect();
    assert_eq!(
        told,
        [
            (Step::Detect, true),
            (Step::Commit, true),
            (Step::Promote, true),
            (Step::Traffic, true),
            (Step::Rejoin, true),
        ]
    );
    assert_eq!(core.state.pair(&pair("shop")).unwrap().last_failover_ms, Some(900_000));
    // The same entries again, and in other portions, change nothing.
    let before = core.state.clone();
    for portion in [entries.clone(), entries[2..].to_vec(), entries[..1].to_vec()] {
        core.facts("hel", portion);
    }
    assert_eq!(core.state, before);
}

#[test]
fn a_hand_over_belongs_to_its_switchover_and_a_late_one_gets_its_own_record() {
    let mut core = Core::new();
    let id = OperationId::new("op-move").unwrap();
    core.apply(Change::Start {
        id: id.clone(),
        pair: pair("shop"),
        kind: OperationKind::Switchover {
            from: region("fsn"),
            to: region("hel"),
            method: Method::Clean,
        },
        at_epoch: Epoch(1),
        reason: String::new(),
    });
    let mut late = core.state.clone();
    core.facts("hel", vec![entry(1, 2, acquired("handover", "fsn", false))]);
    assert_eq!(core.only_operation().id, id);
    assert_eq!(
        core.state.pair(&pair("shop")).unwrap().epochs[&Epoch(2)].operation,
        Some(id.clone())
    );
    assert_eq!(core.state.pair(&pair("shop")).unwrap().last_failover_ms, None, "planned");

    std::mem::swap(&mut core.state, &mut late);
    let state = OperationState::Undone { reason: "cancelled".into() };
    core.apply(Change::Become { operation: id.clone(), state });
    core.facts("hel", vec![entry(1, 2, acquired("handover", "fsn", false))]);
    assert_eq!(core.state.operations().count(), 2);
    assert!(matches!(core.state.operation(&id).unwrap().state, OperationState::Undone { .. }));
}

#[test]
fn late_lines_change_nothing_but_are_audited() {
    let mut core = Core::new();
    core.ask("op-one", 1);
    let id = OperationId::new("op-one").unwrap();
    let state = OperationState::Undone { reason: "not used".into() };
    core.apply(Change::Become { operation: id.clone(), state });
    let before = core.only_operation();
    let mut late = entry(1, 1, step(Step::Commit, StepOutcome::Started));
    late.operation = Some(id.clone());
    core.facts("hel", vec![late]);
    core.apply(Change::Become { operation: id.clone(), state: OperationState::Moved });
    assert!(matches!(
        core.apply(Change::Cancel { operation: id, reason: String::new() }),
        Reply::Refused(_)
    ));
    assert_eq!(core.only_operation(), before);
    assert_eq!(core.actions().last().map(String::as_str), Some("failover.late-step"));
}

/// Servers of names may be slower than all else of a move.
#[test]
fn how_long_names_took_is_kept_with_a_move_that_has_ended_and_with_no_other() {
    let mut core = Core::new();
    core.facts("hel", vec![entry(1, 2, acquired("expired", "fsn", true))]);
    let id = core.only_operation().id;
    for state in [OperationState::Moved, OperationState::Done] {
        core.apply(Change::Become { operation: id.clone(), state });
    }
    let before = core.only_operation();
    let served = entry(2, 2, step(Step::Traffic, StepOutcome::Done));
    core.facts("hel", vec![served.clone(), entry(3, 2, step(Step::Promote, StepOutcome::Done))]);
    let mut after = core.only_operation();
    let line = after.steps.pop().unwrap();
    assert_eq!(
        (line.step, line.took_us, line.region),
        (Step::Traffic, Some(1_000), Some(region("hel")))
    );
    assert_eq!(after, before, "nothing else is changed");

    // One that moved nothing is told nothing.
    let mut core = Core::new();
    core.ask("op-one", 1);
    let id = OperationId::new("op-one").unwrap();
    let state = OperationState::Undone { reason: "no use".into() };
    core.apply(Change::Become { operation: id.clone(), state });
    let before = core.only_operation();
    core.facts("hel", vec![JournalEntry { operation: Some(id), ..served }]);
    assert_eq!(core.only_operation(), before);

    // An epoch that was won without an operation: the time is of no later move.
    let mut core = Core::new();
    core.facts(
        "hel",
        vec![
            entry(1, 2, acquired("returned", "hel", false)),
            entry(2, 2, step(Step::Traffic, StepOutcome::Done)),
            entry(3, 3, acquired("expired", "hel", true)),
        ],
    );
    let steps = core.only_operation().steps;
    assert!(steps.iter().all(|line| line.step != Step::Traffic), "{steps:?}");
    assert_eq!(core.actions().iter().filter(|action| *action == "fact.step").count(), 1);
}

#[test]
fn a_journal_that_begins_again_is_taken_again() {
    let mut core = Core::new();
    core.facts("hel", vec![entry(7, 1, Fact::Fenced { reason: "lapse".into() })]);
    assert_eq!(core.state.journal_seq(&region("hel")), 7);
    core.apply(Change::JournalReset { region: region("hel") });
    core.facts("hel", vec![entry(1, 2, acquired("expired", "fsn", true))]);
    assert_eq!(core.state.journal_seq(&region("hel")), 1);
    assert_eq!(core.state.operations().count(), 1);
}

#[test]
fn time_never_goes_back() {
    let mut core = Core::new();
    core.apply(Change::Pause { pair: None, reason: "work".into(), for_ms: 1_000 });
    core.now_ms -= 500_000;
    core.apply(Change::Resume { pair: None, reason: "done".into() });
    let stamps: Vec<_> = core.state.audit().map(|record| record.at_ms).collect();
    assert!(stamps.is_sorted(), "{stamps:?}");
    assert!(core.state.pauses(0).is_empty());
}

fn change() -> impl Strategy<Value = Change> {
    let name = prop_oneof![Just("shop"), Just("blog")];
    let place = prop_oneof![Just("fsn"), Just("hel")];
    let id = prop_oneof![Just("op-one"), Just("op-two"), Just("op-three")];
    let fact = prop_oneof![
        Just(acquired("expired", "fsn", true)),
        Just(acquired("handover", "fsn", false)),
        Just(acquired("returned", "hel", false)),
        Just(step(Step::Promote, StepOutcome::Done)),
        Just(step(Step::Detect, StepOutcome::Done)),
        Just(Fact::Released { reason: "stop".into() }),
    ];
    prop_oneof![
        (name.clone(), 0..3u64).prop_map(|(name, lag)| {
            let spec = PairSpec { max_lag_bytes: lag, ..spec(name) };
            Change::ApplyPair { spec, reason: String::new(), condition: Condition::None }
        }),
        name.clone().prop_map(|name| Change::RemovePair {
            pair: pair(name),
            reason: String::new(),
            condition: Condition::None
        }),
        (name.clone(), id.clone(), 1..4u64)
            .prop_map(|(name, id, epoch)| { Change::RequestFailover(ask(name, id, epoch, None)) }),
        (name.clone(), id.clone(), 1..4u64).prop_map(|(name, id, epoch)| Change::Start {
            id: OperationId::new(id).unwrap(),
            pair: pair(name),
            kind: OperationKind::Switchover {
                from: region("fsn"),
                to: region("hel"),
                method: Method::Clean,
            },
            at_epoch: Epoch(epoch),
            reason: String::new(),
        }),
        id.clone().prop_map(|id| Change::Cancel {
            operation: OperationId::new(id).unwrap(),
            reason: String::new()
        }),
        id.clone().prop_map(|id| Change::Approve {
            operation: OperationId::new(id).unwrap(),
            reason: String::new()
        }),
        id.prop_map(|id| Change::Become {
            operation: OperationId::new(id).unwrap(),
            state: OperationState::Failed { reason: "test".into() },
        }),
        (1..100u64).prop_map(|for_ms| Change::Pause { pair: None, reason: "w".into(), for_ms }),
        (place, 1..12u64, 1..4u64, fact).prop_map(|(place, seq, epoch, fact)| Change::Facts {
            region: region(place),
            entries: vec![entry(seq, epoch, fact)],
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The same commands give the same state, whether applied at once, through JSON, or on top of a
    /// snapshot taken half-way; and the audit chain is intact throughout.
    #[test]
    fn the_state_is_a_function_of_its_commands(
        commands in prop::collection::vec((change(), -50..200i64), 0..60),
        snapshot_at in 0..60usize,
    ) {
        let (mut one, mut other) = (CoreState::default(), CoreState::default());
        let mut at_ms = 1_000;
        for (index, (change, step_ms)) in commands.into_iter().enumerate() {
            at_ms += step_ms;
            let command = Command::new(at_ms, "operator/test", change);
            let text = serde_json::to_string(&command).unwrap();
            let reply = one.apply(index as u64, command);
            let same = other.apply(index as u64, serde_json::from_str(&text).unwrap());
            prop_assert_eq!(&reply, &same);
            let text = serde_json::to_string(&reply).unwrap();
            prop_assert_eq!(reply, serde_json::from_str::<Reply>(&text).unwrap());
            if index == snapshot_at {
                let snapshot = serde_json::to_vec(&other).unwrap();
                other = serde_json::from_slice(&snapshot).unwrap();
            }
        }
        prop_assert_eq!(serde_json::to_vec(&one).unwrap(), serde_json::to_vec(&other).unwrap());
        let verdict = one.verify_audit();
        prop_assert!(verdict.intact, "{:?}", verdict);
    }
}
