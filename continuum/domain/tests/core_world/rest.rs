//! Pauses and resumptions: the sequencer against a register, a holder and members that do what they
//! want, and the rules that hold whatever they do.

use std::collections::BTreeSet;

use continuum_domain::operation::{
    Operation, OperationKind, OperationState, Step, StepOutcome, StepRecord,
};
use continuum_domain::sequence::{self, CoreEffect, CoreOrder, MoveFacts, Recorded, decide};
use continuum_domain::{Epoch, PairRecord, RegionId};
use proptest::prelude::*;

use super::{World, operation, region};

/// What may happen between two looks of the runner.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    Look {
        crash_after: Option<u8>,
    },
    /// The order in flight arrives at whom it was sent to.
    Obey,
    LoseOrders,
    /// The next write of the core is not answered, and lands later or never.
    WriteDelayed,
    WriteLands,
    /// The holder goes away and comes back under the next epoch.
    HolderReturns,
    HolderReleases,
    AnotherAcquires,
    MemberStops(bool),
    Writes(bool),
    Readable(bool),
    Reports(bool),
    Preflight(bool),
    Cancel,
    Advance(u32),
}

pub fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        10 => prop::option::weighted(0.2, 0..3u8).prop_map(|crash_after| Event::Look { crash_after }),
        6 => Just(Event::Obey),
        1 => Just(Event::LoseOrders),
        1 => Just(Event::WriteDelayed),
        2 => Just(Event::WriteLands),
        1 => Just(Event::HolderReturns),
        1 => Just(Event::HolderReleases),
        1 => Just(Event::AnotherAcquires),
        3 => any::<bool>().prop_map(Event::MemberStops),
        2 => any::<bool>().prop_map(Event::Writes),
        1 => any::<bool>().prop_map(Event::Readable),
        1 => any::<bool>().prop_map(Event::Reports),
        1 => any::<bool>().prop_map(Event::Preflight),
        1 => Just(Event::Cancel),
        3 => (0..20_000u32).prop_map(Event::Advance),
    ]
}

pub struct Resting {
    pub operation: Operation,
    pub register: PairRecord,
    now_ms: i64,
    readable: bool,
    reports: bool,
    preflight: bool,
    writes: bool,
    /// Members whose PostgreSQL stands still.
    still: BTreeSet<RegionId>,
    orders: Vec<(RegionId, Epoch, CoreOrder)>,
    sent_ms: Option<i64>,
    barred_ms: Option<i64>,
    unbarred: bool,
    version: u64,
    delays: bool,
    /// A write that was not answered: what version it expects, and what it sets.
    late: Option<(u64, bool)>,
    /// Whether anything outside the journal was ever touched.
    pub touched: bool,
    saw_rest: bool,
    resumed: bool,
}

impl Resting {
    pub fn pause() -> Self {
        let kind = OperationKind::Pause { from: region("fsn") };
        Self::new(kind, World::first_register())
    }

    pub fn resume() -> Self {
        let mut register = World::first_register();
        (register.holder, register.paused) = (None, true);
        register.rested_by = Some(region("fsn"));
        let mut this = Self::new(OperationKind::Resume { to: region("fsn") }, register);
        (this.writes, this.still) = (false, [region("fsn"), region("hel")].into());
        this
    }

    fn new(kind: OperationKind, register: PairRecord) -> Self {
        Self {
            operation: operation(kind),
            register,
            now_ms: 0,
            readable: true,
            reports: true,
            preflight: true,
            writes: true,
            still: BTreeSet::new(),
            orders: Vec::new(),
            sent_ms: None,
            barred_ms: None,
            unbarred: false,
            version: 7,
            delays: false,
            late: None,
            touched: false,
            saw_rest: false,
            resumed: false,
        }
    }

    fn measure(&self) -> MoveFacts {
        let age = |since: Option<i64>| since.map(|at| u64::try_from(self.now_ms - at).unwrap());
        let register = self.readable.then(|| self.register.clone());
        let against = if self.preflight { Vec::new() } else { vec!["not now".to_owned()] };
        let both = BTreeSet::from([region("fsn"), region("hel")]);
        MoveFacts {
            preflight: (self.reports && self.readable).then_some(against),
            from_writable: self.reports.then_some(self.writes),
            to_writable: self.reports.then_some(self.writes && self.resumed),
            standby_streams: self.reports.then_some(self.writes),
            synchronous: true,
            not_still: self.reports.then(|| both.difference(&self.still).cloned().collect()),
            directive_age_ms: age(self.sent_ms),
            bar_age_ms: age(self.barred_ms),
            unbarred: self.unbarred,
            register,
            ..MoveFacts::default()
        }
    }

    pub fn look(&mut self, crash_after: Option<u8>) {
        let mut left = crash_after.map_or(u32::MAX, u32::from);
        for _ in 0..20 {
            let facts = self.measure();
            self.saw_rest |= facts.register.as_ref().is_some_and(|one| one.resting().is_some());
            let effects = decide(&self.operation, &facts, self.now_ms);
            let again = effects
                .iter()
                .any(|one| matches!(one, CoreEffect::Journal { .. } | CoreEffect::Become { .. }));
            for effect in effects {
                if left == 0 {
                    (self.sent_ms, self.barred_ms) = (None, None);
                    self.unbarred = false;
                    return;
                }
                left -= 1;
                self.act(&facts, effect);
            }
            if !again {
                return;
            }
        }
        panic!("the runner does not come to rest: {:?}", self.operation);
    }

    fn act(&mut self, facts: &MoveFacts, effect: CoreEffect) {
        match effect {
            CoreEffect::Journal { step, outcome, detail } => {
                let (at_ms, region, took_us) = (self.now_ms, None, None);
                let line = StepRecord { step, outcome, region, at_ms, took_us, detail };
                let recorded = sequence::record(&mut self.operation, line);
                assert_eq!(recorded, Recorded::Added, "a line twice");
            }
            CoreEffect::SetPaused { paused } => {
                assert!(self.announced(Step::Bar), "the register is written before its line");
                self.touched = true;
                self.barred_ms = Some(self.now_ms);
                self.write(paused);
            }
            CoreEffect::Send { to, order } => {
                let seen = facts.register.as_ref().expect("an order on a guess");
                match order {
                    CoreOrder::Rest { .. } => {
                        assert!(self.announced(Step::StopWrites), "a stop before its line");
                        assert!(seen.paused, "asked to stop before challengers are barred");
                        assert_eq!(to, region("fsn"));
                    }
                    CoreOrder::FailOver { allow_data_loss } => {
                        assert!(!seen.paused, "asked to resume a pair whose pause stands");
                        assert!(self.announced(Step::Commit) && !allow_data_loss);
                    }
                    ref other => panic!("{other:?} is no order of a pause"),
                }
                self.sent_ms = Some(self.now_ms);
                self.orders.push((to, self.operation.at_epoch, order));
            }
            CoreEffect::Become { state } => self.check(facts, &state),
        }
    }

    fn write(&mut self, paused: bool) {
        if std::mem::take(&mut self.delays) {
            self.late = Some((self.version, paused));
            return;
        }
        self.version += 1;
        self.register.paused = paused;
        self.unbarred |= !paused;
    }

    fn late_write_lands(&mut self) {
        if let Some((_, paused)) = self.late.take_if(|(expected, _)| *expected == self.version) {
            self.version += 1;
            self.register.paused = paused;
        }
    }

    fn announced(&self, step: Step) -> bool {
        let started = |line: &StepRecord| line.step == step && line.outcome == StepOutcome::Started;
        self.operation.steps.iter().any(started)
    }

    fn check(&mut self, facts: &MoveFacts, state: &OperationState) {
        let pausing = matches!(self.operation.kind, OperationKind::Pause { .. });
        let seen = facts.register.as_ref();
        match state {
            OperationState::Done if pausing => assert!(self.saw_rest, "done, and never at rest"),
            OperationState::Done | OperationState::Moved => {
                assert!(self.resumed, "done, and nobody resumed it")
            }
            OperationState::Undone { .. } if self.touched => {
                let goes_on = seen.is_some_and(|one| !one.paused && one.holder.is_some());
                assert!(goes_on, "undone, and challengers are barred or nobody holds it: {seen:?}");
            }
            OperationState::Undone { .. } | OperationState::Refused { .. } => {
                assert!(!self.touched, "refused after something was touched");
            }
            OperationState::Failed { reason } => assert!(reason.len() > 80, "too short: {reason}"),
            OperationState::Running => panic!("no way back to running"),
        }
        assert!(sequence::transition(&mut self.operation, state.clone(), self.now_ms));
    }

    pub fn happen(&mut self, event: Event) {
        match event {
            Event::Look { crash_after } => self.look(crash_after),
            Event::Obey => {
                for (to, epoch, order) in std::mem::take(&mut self.orders) {
                    self.obey(to, epoch, &order);
                }
            }
            Event::LoseOrders => self.orders.clear(),
            Event::WriteDelayed => self.delays = true,
            Event::WriteLands => self.late_write_lands(),
            Event::HolderReturns if self.register.holder.is_some() => self.acquired("fsn"),
            Event::HolderReleases if self.register.holder.is_some() => self.vacated(None),
            Event::AnotherAcquires if !self.register.paused => self.acquired("hel"),
            Event::MemberStops(stops) => {
                let member = region(if stops { "hel" } else { "fsn" });
                self.still.insert(member);
            }
            Event::Writes(writes) => self.writes = writes && self.register.holder.is_some(),
            Event::Readable(readable) => self.readable = readable,
            Event::Reports(reports) => self.reports = reports,
            Event::Preflight(passes) => self.preflight = passes,
            Event::Cancel if sequence::may_cancel(&self.operation) => {
                self.operation.cancel_requested = true;
            }
            Event::Advance(ms) => self.now_ms += i64::from(ms),
            _ => {}
        }
    }

    fn obey(&mut self, to: RegionId, epoch: Epoch, order: &CoreOrder) {
        if epoch != self.register.epoch {
            return;
        }
        match order {
            CoreOrder::Rest { .. } if self.register.held_by(&to) && self.register.paused => {
                self.vacated(Some(to));
            }
            CoreOrder::FailOver { .. }
                if self.register.holder.is_none() && !self.register.paused =>
            {
                self.acquired(to.as_str());
            }
            _ => {}
        }
    }

    fn vacated(&mut self, rested_by: Option<RegionId>) {
        self.version += 1;
        self.register.epoch = self.register.epoch.next();
        (self.register.holder, self.register.rested_by) = (None, rested_by);
        self.writes = false;
    }

    fn acquired(&mut self, name: &str) {
        self.version += 1;
        self.register.epoch = self.register.epoch.next();
        (self.register.holder, self.register.rested_by) = (Some(region(name)), None);
        (self.resumed, self.writes) = (true, true);
        self.still.clear();
    }

    /// The weather is good from here on; it must end.
    pub fn run_out(&mut self) {
        (self.readable, self.reports) = (true, true);
        for _ in 0..800 {
            self.look(None);
            self.happen(Event::Obey);
            if self.register.resting().is_some() {
                self.still = [region("fsn"), region("hel")].into();
            }
            if self.register.holder.is_some() {
                self.writes = true;
            }
            self.now_ms += 5_000;
            if self.operation.state.is_final() {
                self.late_write_lands();
                let undone = matches!(self.operation.state, OperationState::Undone { .. });
                let barred = undone && self.touched && self.register.paused;
                assert!(!barred, "undone, and a late write bars challengers for ever");
                return;
            }
        }
        panic!("it does not end: {:?} {:?}", self.operation, self.register);
    }
}
