//! A pair, its agents and a runner of the core, as the sequencer's tests play them.

#![allow(clippy::unwrap_used, reason = "a test stops where it goes wrong")]

mod event;
pub mod rejoin;
pub mod rest;

use std::collections::{BTreeMap, BTreeSet};

use continuum_domain::operation::{
    Method, Operation, OperationKind, OperationState, Step, StepOutcome, StepRecord,
};
use continuum_domain::sequence::{self, CoreEffect, CoreOrder, MoveFacts, Recorded, decide};
use continuum_domain::traffic::DrainFailure;
use continuum_domain::{DataDirectoryId, Epoch, OperationId, PairId, PairRecord, RegionId};
use proptest::prelude::*;

pub use event::{Event, event};

pub fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

pub fn disk(name: &str) -> DataDirectoryId {
    DataDirectoryId::new(name).unwrap()
}

pub fn operation(kind: OperationKind) -> Operation {
    Operation {
        id: OperationId::new("op-1").unwrap(),
        pair: PairId::new("shop").unwrap(),
        kind,
        at_epoch: Epoch(5),
        actor: "operator/test".into(),
        reason: String::new(),
        created_ms: 0,
        ended_ms: None,
        state: OperationState::Running,
        cancel_requested: false,
        steps: Vec::new(),
    }
}

pub fn switchover(method: Method) -> Operation {
    operation(OperationKind::Switchover { from: region("fsn"), to: region("hel"), method })
}

pub fn method() -> impl Strategy<Value = Method> {
    prop_oneof![Just(Method::Clean), Just(Method::Hot)]
}

pub fn failover(trigger: &str) -> Operation {
    operation(OperationKind::Failover {
        from: Some(region("fsn")),
        to: region("hel"),
        trigger: trigger.into(),
        autonomous: false,
        allow_data_loss: false,
    })
}

pub struct World {
    pub operation: Operation,
    pub register: PairRecord,
    pub now_ms: i64,
    pub readable: bool,
    pub reports: bool,
    pub preflight_passes: bool,
    /// Stage of the old holder: 0 as before, 1 told, 2 stopped, 3 proven, 4 handed over.
    pub stage: u8,
    /// Hot: the target acts on the order, and its write is under way.
    pub ordered: bool,
    pub write_sent: bool,
    pub from_writes: bool,
    pub to_writes: bool,
    pub synchronous: bool,
    pub directives: Vec<(Epoch, CoreOrder)>,
    pub facts: Vec<StepRecord>,
    /// The runner's memory.
    pub sent_ms: Option<i64>,
    pub aborting_ms: Option<i64>,
    pub drain_sent_ms: Option<i64>,
    pub checkpoint_sent_ms: Option<i64>,
    /// Regions whose agents drive switches, and what the spec says of draining them.
    pub switches: BTreeSet<RegionId>,
    pub drain_ms: i64,
    pub drain_failure: DrainFailure,
    /// Regions that hold clients back, and until when at the latest.
    pub holding: BTreeMap<RegionId, i64>,
    /// Ghosts, for the checks.
    pub orders_sent: u32,
    pub moved_seen: bool,
    pub target_held: bool,
    pub lost_facts: bool,
}

impl World {
    pub fn new(operation: Operation, synchronous: bool) -> Self {
        Self {
            operation,
            register: Self::first_register(),
            now_ms: 0,
            readable: true,
            reports: true,
            preflight_passes: true,
            stage: 0,
            ordered: false,
            write_sent: false,
            from_writes: true,
            to_writes: false,
            synchronous,
            directives: Vec::new(),
            facts: Vec::new(),
            sent_ms: None,
            aborting_ms: None,
            drain_sent_ms: None,
            checkpoint_sent_ms: None,
            switches: BTreeSet::new(),
            drain_ms: 2_000,
            drain_failure: DrainFailure::Proceed,
            holding: BTreeMap::new(),
            orders_sent: 0,
            moved_seen: false,
            target_held: false,
            lost_facts: false,
        }
    }

    fn first_register() -> PairRecord {
        let in_sync =
            BTreeMap::from([(region("fsn"), disk("d-fsn")), (region("hel"), disk("d-hel"))]);
        PairRecord {
            epoch: Epoch(5),
            holder: Some(region("fsn")),
            in_sync,
            handover_to: None,
            paused: false,
            waits_for_all: false,
            rested_by: None,
        }
    }

    pub fn measure(&mut self) -> MoveFacts {
        let age = |since: Option<i64>| since.map(|at| u64::try_from(self.now_ms - at).unwrap());
        let known = |value: bool| self.reports.then_some(value);
        let register = self.readable.then(|| self.register.clone());
        let reasons =
            if self.preflight_passes { Vec::new() } else { vec!["hel: not ready".to_owned()] };
        let facts = MoveFacts {
            preflight: register.as_ref().filter(|_| self.reports).map(|_| reasons),
            from_writable: known(self.from_writes),
            to_writable: known(self.to_writes),
            standby_streams: known(self.to_writes && self.register.in_sync.len() > 1),
            synchronous: self.synchronous,
            switchover_deadline_ms: 15_000,
            directive_age_ms: age(self.sent_ms),
            aborting_for_ms: age(self.aborting_ms),
            switches: self.switches.iter().filter(|_| self.reports).cloned().collect(),
            drain_ms: self.drain_ms,
            drain_failure: self.drain_failure,
            drain_age_ms: age(self.drain_sent_ms),
            checkpoint_age_ms: age(self.checkpoint_sent_ms),
            not_still: None,
            member_streams: None,
            bar_age_ms: None,
            unbarred: false,
            register,
        };
        if matches!(
            sequence::position(&self.operation, facts.register.as_ref()),
            sequence::Position::Moved(_)
        ) {
            self.moved_seen = true;
        }
        facts
    }

    pub fn act(&mut self, facts: &MoveFacts, effect: CoreEffect) {
        match effect {
            CoreEffect::Journal { step, outcome, detail } => {
                let line = StepRecord {
                    step,
                    outcome,
                    region: None,
                    at_ms: self.now_ms,
                    took_us: None,
                    detail,
                };
                assert_eq!(
                    sequence::record(&mut self.operation, line),
                    Recorded::Added,
                    "a line twice"
                );
            }
            CoreEffect::Send { to, order: order @ CoreOrder::HoldTraffic { .. } } => {
                assert!(!self.moved_seen, "clients are held back after the move was seen");
                let announced =
                    self.operation.steps.iter().any(|line| {
                        (line.step, &line.outcome) == (Step::Drain, &StepOutcome::Started)
                    });
                assert!(announced && self.switches.contains(&to), "a directive without its line");
                self.drain_sent_ms = Some(self.now_ms);
                self.directives.push((self.operation.at_epoch, order));
            }
            CoreEffect::Send { to, order: order @ CoreOrder::Checkpoint } => {
                assert!(!self.moved_seen && !self.is_hot() && !self.switches.is_empty());
                assert_eq!(to, region("fsn"));
                self.checkpoint_sent_ms = Some(self.now_ms);
                self.directives.push((self.operation.at_epoch, order));
            }
            CoreEffect::Send { order: order @ CoreOrder::ReleaseTraffic, .. } => {
                let asked = self.operation.steps.iter().any(|line| line.step == Step::Drain);
                assert!(asked, "released what was never held");
                self.directives.push((self.operation.at_epoch, order));
            }
            CoreEffect::Send { to, order } => {
                if let CoreOrder::SwitchOver { .. } | CoreOrder::TakeOver { .. } = order {
                    assert!(!self.moved_seen, "an order to move after the move was seen");
                    assert!(sequence::announced(&self.operation), "a directive without its line");
                    let hot = matches!(order, CoreOrder::TakeOver { .. });
                    assert_eq!(hot, self.is_hot(), "the order of the other method");
                    self.orders_sent += 1;
                }
                if !matches!(order, CoreOrder::FailOver { .. }) {
                    let asked = if self.is_hot() { "hel" } else { "fsn" };
                    assert_eq!(to, region(asked));
                }
                if order == CoreOrder::AbortSwitchOver {
                    self.aborting_ms.get_or_insert(self.now_ms);
                }
                self.sent_ms = Some(self.now_ms);
                self.directives.push((self.operation.at_epoch, order));
            }
            CoreEffect::SetPaused { .. } => panic!("a move bars nobody"),
            CoreEffect::Become { state } => self.check_become(facts, &state),
        }
    }

    fn check_become(&mut self, facts: &MoveFacts, state: &OperationState) {
        let seen = facts.register.as_ref();
        let held_by = |name: &str| seen.is_some_and(|record| record.held_by(&region(name)));
        let later = seen.is_some_and(|record| record.epoch > self.operation.at_epoch);
        match state {
            OperationState::Moved => {
                assert!(self.target_held, "moved, but the target never held the pair");
            }
            OperationState::Done => assert!(self.target_held, "done, but never moved"),
            OperationState::Undone { .. } => {
                let untouched = self.orders_sent == 0;
                assert!(untouched || held_by("fsn"), "undone, but the old holder does not hold it");
                assert!(!(held_by("hel") && later), "undone, but the target holds it");
            }
            OperationState::Refused { .. } => {
                assert_eq!(self.orders_sent, 0, "refused after something was touched");
            }
            OperationState::Failed { reason } => {
                assert!(reason.len() > 80, "too short to help: {reason}")
            }
            OperationState::Running => panic!("no way back to running"),
        }
        assert!(
            sequence::transition(&mut self.operation, state.clone(), self.now_ms),
            "{:?} -> {state:?} is not a transition",
            self.operation.state
        );
    }

    pub fn look(&mut self, crash_after: Option<u8>) {
        let mut effects_left = crash_after.map_or(u32::MAX, u32::from);
        for _ in 0..20 {
            let facts = self.measure();
            let effects = decide(&self.operation, &facts, self.now_ms);
            let again = effects.iter().any(|effect| !matches!(effect, CoreEffect::Send { .. }));
            for effect in effects {
                if effects_left == 0 {
                    (self.sent_ms, self.aborting_ms) = (None, None);
                    (self.drain_sent_ms, self.checkpoint_sent_ms) = (None, None);
                    return;
                }
                effects_left -= 1;
                self.act(&facts, effect);
            }
            if !again {
                return;
            }
        }
        panic!("the runner does not come to rest: {:?}", self.operation);
    }

    fn fact(&mut self, name: &str, step: Step, outcome: StepOutcome) {
        self.facts.push(StepRecord {
            step,
            outcome,
            region: Some(region(name)),
            at_ms: self.now_ms,
            took_us: Some(1),
            detail: String::new(),
        });
    }

    pub fn offer(&mut self, line: StepRecord) {
        let before = self.operation.clone();
        let recorded = sequence::record(&mut self.operation, line);
        if before.state.is_final() {
            assert_eq!(recorded, Recorded::Late);
        }
        if recorded != Recorded::Added {
            assert_eq!(before, self.operation, "a fact that was not added changed the operation");
        }
    }

    fn is_hot(&self) -> bool {
        matches!(self.operation.kind, OperationKind::Switchover { method: Method::Hot, .. })
    }

    /// The agents of a region could not empty its switches.
    pub fn not_drained(&mut self, name: &str) {
        let reason = "pooler: a transaction is open".to_owned();
        self.fact(name, Step::Drain, StepOutcome::Failed { reason });
    }

    pub fn obey(&mut self, epoch: Epoch, order: &CoreOrder) {
        // The agent refuses a directive whose epoch is not the register's.
        if epoch != self.register.epoch || !self.register.held_by(&region("fsn")) {
            return;
        }
        match order {
            CoreOrder::SwitchOver { .. } if self.stage == 0 => {
                self.stage = 1;
                self.fact("fsn", Step::StopWrites, StepOutcome::Started);
            }
            CoreOrder::Checkpoint => self.fact("fsn", Step::Drain, StepOutcome::Started),
            // All switches in one region: the order says nothing of where it goes.
            CoreOrder::HoldTraffic { hold_ms, .. } => {
                let until_ms = self.now_ms + i64::try_from(*hold_ms).unwrap();
                self.holding.entry(region("fsn")).or_insert(until_ms);
                self.fact("fsn", Step::Drain, StepOutcome::Done);
            }
            CoreOrder::ReleaseTraffic => drop(self.holding.remove(&region("fsn"))),
            CoreOrder::TakeOver { .. } if !self.ordered => {
                self.ordered = true;
                self.fact("hel", Step::StopWrites, StepOutcome::Done);
            }
            CoreOrder::AbortSwitchOver if self.is_hot() => self.target_gives_up(),
            CoreOrder::AbortSwitchOver if self.stage > 0 => self.returns(),
            _ => {}
        }
    }

    /// R15: the CAS epoch+1 with `handover_to: None`, then start.
    fn returns(&mut self) {
        if self.register.held_by(&region("fsn")) {
            self.register.epoch = self.register.epoch.next();
            self.register.handover_to = None;
            self.from_writes = true;
            self.stage = 0;
            self.fact("fsn", Step::StopWrites, StepOutcome::Undone);
        }
    }

    fn holder_step(&mut self) {
        if !self.register.held_by(&region("fsn")) {
            return;
        }
        match self.stage {
            1 => {
                self.from_writes = false;
                self.fact("fsn", Step::StopWrites, StepOutcome::Done);
            }
            2 => self.fact("fsn", Step::ProveCatchUp, StepOutcome::Done),
            3 => {
                self.register.handover_to = Some(region("hel"));
                self.fact("fsn", Step::HandOver, StepOutcome::Done);
            }
            _ => return,
        }
        self.stage += 1;
    }

    /// It follows again; nothing had changed.
    fn target_gives_up(&mut self) {
        if std::mem::take(&mut self.ordered) {
            let reason = "no commit by the deadline".to_owned();
            self.fact("hel", Step::Commit, StepOutcome::Failed { reason });
        }
    }

    /// Its write expects the version at which it was ordered.
    fn write_lands(&mut self) -> bool {
        let at = self.operation.at_epoch;
        let lands = std::mem::take(&mut self.write_sent)
            && self.register.epoch == at
            && self.register.held_by(&region("fsn"));
        if lands {
            self.ordered = false;
            self.take_over("hel");
        }
        lands
    }

    fn take_over(&mut self, name: &str) {
        self.register.epoch = self.register.epoch.next();
        self.register.holder = Some(region(name));
        self.register.handover_to = None;
        self.register.in_sync = BTreeMap::from([(region(name), disk("d-x"))]);
        self.from_writes = false;
        self.to_writes = false;
        if name == "hel" {
            self.target_held = true;
            self.fact("hel", Step::Commit, StepOutcome::Done);
        }
    }

    pub fn happen(&mut self, event: Event) {
        let pick = |index: u8, length: usize| usize::from(index).checked_rem(length);
        match event {
            Event::Look { crash_after } => self.look(crash_after),
            Event::StaleLook => {
                let facts = self.measure();
                self.holder_step();
                if self.register.handover_to.is_some() {
                    self.take_over("hel");
                } else {
                    self.write_lands();
                }
                for effect in decide(&self.operation, &facts, self.now_ms) {
                    self.act(&facts, effect);
                }
            }
            Event::Directive { index, again } => {
                if let Some(index) = pick(index, self.directives.len()) {
                    let (epoch, order) = self.directives[index].clone();
                    if !again {
                        self.directives.remove(index);
                    }
                    self.obey(epoch, &order);
                }
            }
            Event::LoseDirective { index } => {
                if let Some(index) = pick(index, self.directives.len()) {
                    self.directives.remove(index);
                }
            }
            Event::Fact { index, again } => {
                if let Some(index) = pick(index, self.facts.len()) {
                    let line = self.facts[index].clone();
                    if !again {
                        self.facts.remove(index);
                    }
                    self.offer(line);
                }
            }
            Event::LoseFact { index } => {
                if let Some(index) = pick(index, self.facts.len()) {
                    self.facts.remove(index);
                    self.lost_facts = true;
                }
            }
            Event::HolderStep => self.holder_step(),
            Event::HolderGivesUp if self.stage > 0 => {
                let reason = "the target did not catch up".to_owned();
                self.fact("fsn", Step::ProveCatchUp, StepOutcome::Failed { reason });
                self.returns();
            }
            Event::HolderReturns => self.returns(),
            Event::HolderReleases if self.register.held_by(&region("fsn")) => {
                self.register.epoch = self.register.epoch.next();
                self.register.holder = None;
                self.from_writes = false;
            }
            Event::TargetSends => self.write_sent |= self.ordered,
            Event::TargetGivesUp => self.target_gives_up(),
            Event::TargetAcquires if self.write_lands() => {}
            Event::TargetAcquires => {
                let may = self.register.handover_to == Some(region("hel"))
                    || self.register.holder.is_none();
                if may {
                    self.take_over("hel");
                }
            }
            Event::TargetPromotes if self.register.held_by(&region("hel")) => {
                self.to_writes = true;
                self.fact("hel", Step::Promote, StepOutcome::Done);
            }
            Event::TargetFails if self.register.held_by(&region("hel")) => {
                self.register.epoch = self.register.epoch.next();
                self.register.holder = None;
                self.to_writes = false;
            }
            Event::TargetRelapses if self.register.held_by(&region("hel")) => {
                self.register.epoch = self.register.epoch.next();
            }
            Event::ThirdTakesOver => {
                let may = self.register.holder.is_none() || self.register.held_by(&region("hel"));
                if may {
                    self.take_over("ash");
                }
            }
            Event::OldHolderRejoins if self.to_writes => {
                self.register.in_sync.insert(region("fsn"), disk("d-fsn2"));
                self.fact("fsn", Step::Rejoin, StepOutcome::Done);
                self.fact("hel", Step::RestoreLedger, StepOutcome::Done);
            }
            Event::RegisterRestored => {
                self.register = Self::first_register();
                // What a leader saw and died with, nobody knows any more.
                self.moved_seen &= sequence::was_moved(&self.operation);
            }
            Event::Readable(readable) => self.readable = readable,
            Event::Reports(reports) => self.reports = reports,
            Event::Preflight(passes) => self.preflight_passes = passes,
            Event::Cancel if self.operation.state == OperationState::Running => {
                self.operation.cancel_requested = true;
            }
            Event::Advance(ms) => self.now_ms += i64::from(ms),
            _ => {}
        }
    }

    /// Nothing happens any more but time: the operation must end all the same.
    pub fn run_out(&mut self) {
        let mut step_ms = 500;
        while step_ms < 10 * 3_600_000 {
            self.look(None);
            if self.operation.state.is_final() {
                return;
            }
            self.now_ms += step_ms;
            step_ms += step_ms / 8;
        }
        panic!("hangs: {:?} with {:?}", self.operation, self.register);
    }
}
