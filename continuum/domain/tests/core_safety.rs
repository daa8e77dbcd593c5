//! The core's safety rules and the choice of candidates.

#![allow(clippy::unwrap_used, reason = "a test stops where it goes wrong")]

use std::collections::BTreeMap;
use std::time::Duration;

use continuum_domain::candidate::{CandidateFacts, Purpose, choose, refusals};
use continuum_domain::safety::{FailoverFacts, Pause, Verdict, automatic_failover, ordered_move};
use continuum_domain::spec::{Durability, LossApproval, MemberSpec, PairMode, PairSpec};
use continuum_domain::{DataDirectoryId, Epoch, Lsn, OperationId, PairId, PairRecord, RegionId};

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn spec() -> PairSpec {
    let member =
        MemberSpec { priority: 100, host: "127.0.0.1".into(), port: 5432, health_name: None };
    let members = BTreeMap::from([(region("fsn"), member.clone()), (region("hel"), member)]);
    PairSpec::new(PairId::new("shop").unwrap(), members, region("fsn"))
}

fn facts(spec: &PairSpec) -> FailoverFacts<'_> {
    FailoverFacts {
        spec,
        now_ms: 1_000_000,
        epoch: Epoch(3),
        known_epoch: Some(Epoch(3)),
        pause: None,
        last_failover_ms: None,
        failovers_elsewhere: 0,
        failovers_max: 1,
        under_way: None,
        listed: true,
        lag_bytes: None,
        corroboration: None,
    }
}

fn codes(verdict: Verdict) -> Vec<String> {
    match verdict {
        Verdict::Allow { .. } => vec!["allow".into()],
        Verdict::Wait { reason, .. } => vec![format!("wait:{}", reason.code)],
        Verdict::Deny { reasons } => reasons.into_iter().map(|reason| reason.code).collect(),
    }
}

#[test]
fn each_rule_bars_alone_and_all_are_named_together() {
    let spec = spec();
    assert_eq!(codes(automatic_failover(&facts(&spec))), ["allow"]);
    let pause = Pause {
        pair: None,
        reason: "drill".into(),
        actor: "operator/a".into(),
        until_ms: 1_000_001,
    };
    let operation = OperationId::new("op-x").unwrap();
    let all = FailoverFacts {
        pause: Some(&pause),
        known_epoch: Some(Epoch(4)),
        last_failover_ms: Some(1_000_000 - 59_999),
        failovers_elsewhere: 1,
        under_way: Some(&operation),
        ..facts(&spec)
    };
    assert_eq!(
        codes(automatic_failover(&all)),
        [
            "automation-paused",
            "stale-epoch",
            "anti-flap",
            "too-many-failovers",
            "operation-under-way",
        ]
    );
}

#[test]
fn a_pause_ends_by_itself_and_so_does_the_anti_flap_period() {
    let spec = spec();
    let pause = Pause {
        pair: None,
        reason: "drill".into(),
        actor: "operator/a".into(),
        until_ms: 1_000_000,
    };
    let past = FailoverFacts {
        pause: Some(&pause),
        last_failover_ms: Some(1_000_000 - 60_000),
        ..facts(&spec)
    };
    assert_eq!(codes(automatic_failover(&past)), ["allow"]);
    assert!(pause.bars(&spec.id));
}

#[test]
fn modes_are_kept() {
    for (mode, expected) in [
        (PairMode::Automatic, "allow"),
        (PairMode::SemiAutomatic, "wait:approval"),
        (PairMode::Manual, "manual-mode"),
        (PairMode::ObserveOnly, "observe-only"),
    ] {
        let spec = PairSpec { mode, ..spec() };
        assert_eq!(codes(automatic_failover(&facts(&spec))), [expected]);
    }
}

/// R21.
#[test]
fn an_async_pair_needs_its_standing_approval_and_a_measured_lag() {
    let bound = Some(LossApproval { rpo_bytes: 1_000 });
    for (loss_approval, lag_bytes, expected) in [
        (None, Some(0), "wait:data-loss-approval"),
        (bound, None, "wait:data-loss-approval"),
        (bound, Some(1_001), "wait:data-loss-approval"),
        (bound, Some(1_000), "allow"),
    ] {
        let spec = PairSpec { durability: Durability::Async, loss_approval, ..spec() };
        let facts = FailoverFacts { listed: false, lag_bytes, ..facts(&spec) };
        assert_eq!(codes(automatic_failover(&facts)), [expected]);
    }
}

/// I2: who is not in the ledger may lack something; who is, lacks nothing and asks nobody.
#[test]
fn the_ledger_decides_in_every_durability_whether_a_loss_must_be_approved() {
    for durability in [Durability::Strict, Durability::Available, Durability::Async] {
        let spec = PairSpec { durability, ..spec() };
        for (listed, expected) in [(true, "allow"), (false, "wait:data-loss-approval")] {
            let facts = FailoverFacts { listed, lag_bytes: Some(0), ..facts(&spec) };
            assert_eq!(codes(automatic_failover(&facts)), [expected], "{durability:?}");
        }
    }
}

#[test]
fn a_persons_order_is_barred_only_by_another_operation_or_a_paused_pair() {
    let operation = OperationId::new("op-x").unwrap();
    assert!(ordered_move(None, Some(false)).is_empty());
    assert_eq!(ordered_move(Some(&operation), Some(true)).len(), 2);
}

fn record() -> PairRecord {
    let disk = |name: &str| DataDirectoryId::new(name).unwrap();
    PairRecord {
        epoch: Epoch(3),
        holder: Some(region("fsn")),
        in_sync: BTreeMap::from([
            (region("fsn"), disk("d-fsn")),
            (region("hel"), disk("d-hel")),
            (region("ash"), disk("d-ash")),
        ]),
        handover_to: None,
        paused: false,
        waits_for_all: false,
        rested_by: None,
    }
}

fn able(name: &str) -> CandidateFacts {
    CandidateFacts {
        priority: 100,
        report_age_ms: Some(100),
        data_directory: Some(DataDirectoryId::new(format!("d-{name}")).unwrap()),
        flush: Some(Lsn(1_000)),
        lag_bytes: Some(0),
        streaming: Some(true),
        is_standby: Some(true),
        guard_alive: Some(true),
        witness_reachable: Some(true),
        session_remaining_ms: Some(5_000),
        fenced: None,
        blocked: None,
    }
}

const SWITCHOVER: Purpose = Purpose::Switchover { needs_ledger: true, max_lag_bytes: 10 };
const FAILOVER: Purpose = Purpose::Failover { allow_data_loss: false };

#[test]
fn an_able_member_has_no_refusal_and_an_unknown_one_has_one_per_unknown() {
    let record = record();
    for purpose in [SWITCHOVER, FAILOVER] {
        assert_eq!(refusals(&region("hel"), &able("hel"), Some(&record), purpose), [""; 0]);
    }
    let unknown = refusals(&region("hel"), &CandidateFacts::default(), Some(&record), SWITCHOVER);
    assert!(unknown.len() >= 7, "{unknown:?}");
    assert!(unknown.iter().all(|reason| reason.contains("unknown")), "{unknown:?}");
    let no_register = refusals(&region("hel"), &able("hel"), None, FAILOVER);
    assert_eq!(no_register.len(), 1);
}

/// R13.
#[test]
fn a_replaced_disk_is_not_the_listed_one() {
    let replaced = CandidateFacts {
        data_directory: Some(DataDirectoryId::new("d-new").unwrap()),
        ..able("hel")
    };
    let against = refusals(&region("hel"), &replaced, Some(&record()), FAILOVER);
    assert!(against.iter().any(|reason| reason.contains("d-new")), "{against:?}");
    let loss = Purpose::Failover { allow_data_loss: true };
    assert_eq!(refusals(&region("hel"), &replaced, Some(&record()), loss), [""; 0]);
}

#[test]
fn each_defect_is_a_refusal() {
    let defects: [fn(&mut CandidateFacts); 10] = [
        |facts| facts.report_age_ms = Some(60_000),
        |facts| facts.is_standby = Some(false),
        |facts| facts.guard_alive = Some(false),
        |facts| facts.witness_reachable = Some(false),
        |facts| facts.session_remaining_ms = Some(0),
        |facts| facts.fenced = Some("by hand".into()),
        |facts| facts.blocked = Some("rejoin-failed".into()),
        |facts| facts.streaming = Some(false),
        |facts| facts.lag_bytes = Some(11),
        |facts| facts.hindrances = vec!["hibernated: it sleeps".into()],
    ];
    for (number, defect) in defects.iter().enumerate() {
        let mut facts = able("hel");
        defect(&mut facts);
        let against = refusals(&region("hel"), &facts, Some(&record()), SWITCHOVER);
        assert_eq!(against.len(), 1, "defect {number}: {against:?}");
    }
}

/// Where the primary is lost, what its platform says bars nobody who could try; it says why one could not.
#[test]
fn a_hindrance_explains_why_a_member_cannot_take_over() {
    let hindered =
        CandidateFacts { hindrances: vec!["hibernated: it sleeps".into()], ..able("hel") };
    assert_eq!(refusals(&region("hel"), &hindered, Some(&record()), FAILOVER), [""; 0]);
    let silent = CandidateFacts { is_standby: None, ..hindered };
    let against = refusals(&region("hel"), &silent, Some(&record()), FAILOVER);
    assert_eq!(against.last().map(String::as_str), Some("hibernated: it sleeps"), "{against:?}");
}

/// A state that only waits for the very word that the order is does not bar the order.
#[test]
fn a_member_that_waits_for_this_word_may_be_ordered_to_take_over() {
    let against = |code: &str, purpose| {
        let facts = CandidateFacts { blocked: Some(code.into()), ..able("hel") };
        refusals(&region("hel"), &facts, Some(&record()), purpose).len()
    };
    let loss = Purpose::Failover { allow_data_loss: true };
    for (code, switchover, failover, with_loss) in [
        ("not-in-sync", 1, 1, 0),
        ("data-loss-approval", 1, 1, 0),
        ("denied-by-core", 1, 0, 0),
        ("core-unreachable", 1, 0, 0),
        ("health-name-answers", 1, 0, 0),
        ("promised", 1, 1, 1),
    ] {
        assert_eq!(against(code, SWITCHOVER), switchover, "{code}");
        assert_eq!(against(code, FAILOVER), failover, "{code}");
        assert_eq!(against(code, loss), with_loss, "{code}");
    }
}

#[test]
fn the_choice_is_by_position_then_priority_then_name() {
    let record = record();
    let mut candidates =
        BTreeMap::from([(region("ash"), able("ash")), (region("hel"), able("hel"))]);
    let best = |candidates: &BTreeMap<_, _>| choose(candidates, Some(&record), FAILOVER).best;
    assert_eq!(best(&candidates), Some(region("ash")), "equal: by name");
    candidates.get_mut(&region("hel")).unwrap().priority = 200;
    assert_eq!(best(&candidates), Some(region("hel")), "by priority");
    candidates.get_mut(&region("ash")).unwrap().flush = Some(Lsn(1_001));
    assert_eq!(best(&candidates), Some(region("ash")), "position before priority");
    candidates.get_mut(&region("ash")).unwrap().guard_alive = None;
    let choice = choose(&candidates, Some(&record), FAILOVER);
    assert_eq!(choice.best, Some(region("hel")), "unable ones do not count");
    assert_eq!(choice.refusals[&region("ash")].len(), 1);
    assert_eq!(spec().anti_flap, Duration::from_secs(60));
}

/// Each rule taken out is noticed by the test that names it.
#[cfg(feature = "planted-bugs")]
#[test]
fn a_rule_that_is_taken_out_is_noticed() {
    use continuum_domain::mutation::{Bug, plant};
    let tests: [(Bug, fn()); 4] = [
        (Bug::StaleGrant, each_rule_bars_alone_and_all_are_named_together),
        (
            Bug::UnlistedIsGranted,
            the_ledger_decides_in_every_durability_whether_a_loss_must_be_approved,
        ),
        (Bug::UnknownLagIsNone, an_async_pair_needs_its_standing_approval_and_a_measured_lag),
        (Bug::CandidateByName, a_replaced_disk_is_not_the_listed_one),
    ];
    for (bug, test) in tests {
        plant(Some(bug));
        let run = std::panic::catch_unwind(test);
        plant(None);
        assert!(run.is_err(), "{bug:?} went unnoticed");
    }
}
