//! What an operation tells a person afterwards.

use std::time::Duration;

use continuum_control_api::ask::Condition;
use continuum_control_api::rest::HistoryEntry;
use continuum_domain::Lsn;
use continuum_domain::objective::{Loss, Objectives};
use continuum_domain::spec::{Durability, MemberSpec, PairSpec};

use super::super::{Change, Command};

use super::*;
use crate::raft::Machine;

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn spec(durability: Durability) -> PairSpec {
    let member = MemberSpec { priority: 100, host: "h".into(), port: 5432, health_name: None };
    let members = [(region("fsn"), member.clone()), (region("hel"), member)].into();
    let spec = PairSpec::new(PairId::new("shop").unwrap(), members, region("fsn"));
    PairSpec { durability, anti_flap: Duration::ZERO, ..spec }
}

struct Core {
    state: CoreState,
    index: u64,
    seq: u64,
    at_ms: i64,
}

impl Core {
    /// fsn holds epoch 1.
    fn new(durability: Durability) -> Self {
        let mut core = Self { state: CoreState::default(), index: 0, seq: 0, at_ms: 900 };
        core.apply(Change::ApplyPair {
            spec: spec(durability),
            reason: "test".into(),
            condition: Condition::None,
        });
        core.tell("fsn", 1, acquired("created", None));
        core
    }

    fn apply(&mut self, change: Change) {
        self.index += 1;
        let command = Command::new(1_000, "operator/test", change);
        self.state.apply(self.index, command);
    }

    fn tell(&mut self, name: &str, epoch: u64, fact: Fact) {
        self.seq += 1;
        let entry = JournalEntry {
            seq: self.seq,
            at_ms: self.at_ms,
            pair: PairId::new("shop").unwrap(),
            epoch: Epoch(epoch),
            operation: None,
            fact,
        };
        self.apply(Change::Facts { region: region(name), entries: vec![entry] });
    }

    fn history(&self) -> Vec<HistoryEntry> {
        self.state.pair(&PairId::new("shop").unwrap()).unwrap().history().collect()
    }

    /// The lines of the newest operation that regions told, without those of promote and traffic.
    fn told(&self) -> Vec<String> {
        let operation = self.state.operations().last().unwrap();
        let told = operation.steps.iter().filter(|line| line.region.is_some());
        told.map(|line| line.detail.clone()).collect()
    }
}

fn acquired(by: &str, from: Option<&str>) -> Fact {
    Fact::Acquired { by: by.into(), from: from.map(region), autonomous: true }
}

fn step(step: Step, took_us: Option<u64>, detail: &str) -> Fact {
    Fact::Step { step, outcome: StepOutcome::Done, took_us, detail: detail.into() }
}

fn rejoined(commits: u64) -> Fact {
    Fact::Rejoined {
        how: "rewound".into(),
        artefact: Some("/var/artefacts/1".into()),
        fork: Some(Lsn(0x500_0000)),
        end: Some(Lsn(0x500_0200)),
        commits: Some(commits),
    }
}

const LEFT: &str = "rewound; left behind: 3 commits from 0/5000000 to 0/5000200 (512 bytes), saved at /var/artefacts/1";

/// By whom, why, how, how long, and what the old primary had that nobody was told of.
#[test]
fn a_takeover_by_the_ledger_is_told_in_full() {
    let mut core = Core::new(Durability::Available);
    let evidence = "its agent does not answer for 640 ms, its session has not moved for 655 ms";
    core.tell("hel", 1, step(Step::Detect, Some(655_000), evidence));
    core.tell("hel", 1, step(Step::StopWrites, Some(4_120), "no more WAL is received here"));
    core.tell("hel", 2, acquired("ledger", Some("fsn")));
    core.tell("hel", 2, step(Step::Commit, Some(1_870), "epoch 2 by ledger"));
    core.tell("fsn", 2, rejoined(3));
    let history = core.history();
    assert_eq!((history[0].from.as_ref(), history[0].loss), (Some(&region("fsn")), Loss::Nothing));
    let told = core.told();
    assert_eq!(told[..3], [evidence, "no more WAL is received here", "epoch 2 by ledger"]);
    assert!(told[3].starts_with(LEFT), "{told:?}");
    assert!(told[3].contains("flushed there and never acknowledged"), "{told:?}");
    let operation = core.state.operations().last().unwrap();
    let took: Vec<_> = operation.steps.iter().filter_map(|line| line.took_us).collect();
    assert_eq!(took, [655_000, 4_120, 1_870], "microseconds, as they were measured");
}

/// Who let go may never have learnt that it did: who comes after tells of that epoch too (I4).
#[test]
fn an_acquisition_tells_of_the_epoch_that_it_ends() {
    let mut core = Core::new(Durability::Available);
    core.tell("hel", 3, acquired("vacant", None));
    core.tell("fsn", 4, acquired("expired", Some("hel")));
    let told = core.state.audit().filter(|line| line.action == "fact.acquired");
    let before: Vec<&str> = told.map(|line| line.before.as_str()).collect();
    assert_eq!(before[before.len() - 2..], ["epoch 2, held by nobody", "epoch 3, held by hel"]);
}

/// What is not known to have waited for the new holder is not said to be unacknowledged.
#[test]
fn what_a_former_holder_left_behind_is_called_lost_only_where_that_is_known() {
    let meaning = |durability, by: &str| {
        let mut core = Core::new(durability);
        core.tell("hel", 2, acquired(by, Some("fsn")));
        core.tell("fsn", 2, rejoined(3));
        core.told().last().unwrap().clone()
    };
    for by in ["ledger", "hot", "handover", "expired"] {
        let told = meaning(Durability::Strict, by);
        assert!(told.contains("never acknowledged"), "{by}: {told}");
    }
    let told = meaning(Durability::Async, "approved");
    assert!(told.contains("may have been acknowledged: that loss was approved"), "{told}");
    assert_eq!(meaning(Durability::Async, "expired"), LEFT);
    assert_eq!(meaning(Durability::Available, "vacant"), LEFT);
}

#[test]
fn what_moves_cost_is_held_against_the_objectives_of_then() {
    let mut core = Core::new(Durability::Async);
    let asked = Objectives { rto: Some(Duration::from_secs(2)), rpo_bytes: Some(600) };
    let spec = PairSpec { objectives: Some(asked), ..spec(Durability::Async) };
    // As of 1,000: what the scripted regions tell is of 900, and still under the first spec.
    let (reason, condition) = (String::new(), Condition::None);
    core.apply(Change::ApplyPair { spec, reason, condition });
    core.tell("hel", 2, acquired("approved", Some("fsn")));
    let pair = PairId::new("shop").unwrap();
    let resumed = |epoch, outage_ms| Change::WritesResumed {
        pair: pair.clone(),
        epoch: Epoch(epoch),
        outage_ms,
    };
    // Told before the acquisition is; and a second measurement changes nothing.
    core.apply(resumed(3, 2_500));
    core.apply(resumed(3, 9_000));
    core.at_ms = 1_500;
    core.tell("fsn", 3, acquired("approved", Some("hel")));
    let history = core.history();
    assert_eq!(history.iter().map(|one| one.epoch.0).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!((history[0].outage_ms, history[0].rto_met), (Some(2_500), Some(false)));
    assert_eq!((history[0].loss, history[0].rpo_met), (Loss::Unknown, None));
    assert_eq!((history[1].objectives, history[1].rto_met), (Objectives::default(), None));
    // Who held the epoch before comes back, and shows what it had.
    core.tell("ash", 3, rejoined(9));
    core.tell("hel", 3, rejoined(2));
    let loss = Loss::AtMost { bytes: 512, commits: Some(2) };
    assert_eq!((core.history()[0].loss, core.history()[0].rpo_met), (loss, Some(true)));
}

#[test]
fn who_was_not_the_holder_before_is_not_judged_and_no_commit_needs_no_judgement() {
    let mut core = Core::new(Durability::Available);
    core.tell("hel", 2, acquired("ledger", Some("fsn")));
    core.tell("ash", 2, rejoined(3));
    assert_eq!(core.told().last().unwrap(), LEFT);
    core.tell("fsn", 2, rejoined(0));
    assert!(core.told().last().unwrap().ends_with("saved at /var/artefacts/1"));
}
