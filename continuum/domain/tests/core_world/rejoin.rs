//! A member that is brought back: the sequencer against a holder and a member that do what they want.

use continuum_domain::operation::{
    Operation, OperationKind, OperationState, RejoinMethod, Step, StepOutcome, StepRecord,
};
use continuum_domain::sequence::{self, CoreEffect, CoreOrder, MoveFacts, decide};
use continuum_domain::{Epoch, PairRecord};
use proptest::prelude::*;

use super::{World, disk, operation, region};

/// What may happen between two looks of the runner.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    Look,
    /// Orders in flight arrive.
    Obey,
    LoseOrders,
    /// The holder lists the member, as it does with one that streams.
    Lists,
    /// The member's copy fails.
    Fails,
    Streams(bool),
    Moves(bool),
    Readable(bool),
    Preflight(bool),
    /// The durability is changed; holder and member hear of it much later, or never.
    Synchronous(bool),
    Cancel,
    Advance(u32),
}

pub fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        10 => Just(Event::Look),
        6 => Just(Event::Obey),
        1 => Just(Event::LoseOrders),
        2 => Just(Event::Lists),
        1 => Just(Event::Fails),
        3 => any::<bool>().prop_map(Event::Streams),
        1 => any::<bool>().prop_map(Event::Moves),
        1 => any::<bool>().prop_map(Event::Readable),
        1 => any::<bool>().prop_map(Event::Preflight),
        1 => any::<bool>().prop_map(Event::Synchronous),
        1 => Just(Event::Cancel),
        3 => (0..20_000u32).prop_map(Event::Advance),
    ]
}

pub struct Rejoining {
    pub operation: Operation,
    pub register: PairRecord,
    pub now_ms: i64,
    readable: bool,
    preflight: bool,
    pub synchronous: bool,
    pub streams: bool,
    orders: Vec<CoreOrder>,
    sent_ms: Option<i64>,
    /// Whether any order was sent.
    pub touched: bool,
    /// The member takes no notice of orders, as one of an older version.
    pub old: bool,
    cloning: bool,
    pub cloned: bool,
    kept_out: bool,
}

impl Rejoining {
    pub fn new(method: RejoinMethod) -> Self {
        let mut register = World::first_register();
        if method == RejoinMethod::Retry {
            register.in_sync.remove(&region("hel"));
        }
        Self {
            operation: operation(OperationKind::Rejoin { region: region("hel"), method }),
            register,
            now_ms: 0,
            readable: true,
            preflight: true,
            synchronous: true,
            streams: method == RejoinMethod::Clone,
            orders: Vec::new(),
            sent_ms: None,
            touched: false,
            old: false,
            cloning: false,
            cloned: false,
            kept_out: false,
        }
    }

    fn listed(&self) -> bool {
        self.register.in_sync.contains_key(&region("hel"))
    }

    pub fn look(&mut self) {
        for _ in 0..20 {
            let register = self.readable.then(|| self.register.clone());
            let against = if self.preflight { Vec::new() } else { vec!["not now".to_owned()] };
            let facts = MoveFacts {
                preflight: self.readable.then_some(against),
                member_streams: Some(self.streams),
                synchronous: self.synchronous,
                directive_age_ms: self.sent_ms.map(|at| u64::try_from(self.now_ms - at).unwrap()),
                register,
                ..MoveFacts::default()
            };
            let effects = decide(&self.operation, &facts, self.now_ms);
            let again = effects.iter().any(|one| matches!(one, CoreEffect::Journal { .. }));
            effects.into_iter().for_each(|effect| self.act(effect));
            if !again {
                return;
            }
        }
        panic!("the runner does not come to rest: {:?}", self.operation);
    }

    fn act(&mut self, effect: CoreEffect) {
        match effect {
            CoreEffect::Journal { step, outcome, detail } => {
                self.line(None, step, outcome, detail);
            }
            CoreEffect::Send { to, order } => {
                let announced = |step| {
                    self.operation.steps.iter().any(|line| {
                        line.region.is_none()
                            && line.step == step
                            && line.outcome == StepOutcome::Started
                    })
                };
                match &order {
                    CoreOrder::KeepOut { region: out, .. } => {
                        assert!(announced(Step::Bar) && to == region("fsn"));
                        assert_eq!(*out, region("hel"));
                    }
                    CoreOrder::Rejoin { clone, .. } => {
                        assert!(announced(Step::Rejoin) && to == region("hel"));
                        let barred = !clone || self.kept_out;
                        assert!(barred, "R13: told to clone what the ledger was not asked about");
                    }
                    other => panic!("{other:?} is no order of a rejoin"),
                }
                self.touched = true;
                self.sent_ms = Some(self.now_ms);
                self.orders.push(order);
            }
            CoreEffect::Become { state } => self.check(&state),
            CoreEffect::SetPaused { .. } => panic!("a rejoin pauses nothing"),
        }
    }

    fn check(&mut self, state: &OperationState) {
        match state {
            OperationState::Done => {
                let listed = self.listed() || !self.synchronous;
                assert!(self.streams && listed, "done, and it does not follow");
                let OperationKind::Rejoin { method, .. } = &self.operation.kind else { panic!() };
                assert!(self.cloned || *method == RejoinMethod::Retry, "done, and not cloned");
            }
            OperationState::Refused { .. } => assert!(!self.touched, "refused after an order"),
            OperationState::Undone { .. } => {
                assert!(!self.cloning && !self.cloned, "undone, and a copy was begun");
            }
            OperationState::Failed { reason } => assert!(reason.len() > 80, "too short: {reason}"),
            OperationState::Running | OperationState::Moved => panic!("a rejoin moves nothing"),
        }
        assert!(sequence::transition(&mut self.operation, state.clone(), self.now_ms));
    }

    fn line(&mut self, by: Option<&str>, step: Step, outcome: StepOutcome, detail: String) {
        let (at_ms, region, took_us) = (self.now_ms, by.map(region), None);
        let line = StepRecord { step, outcome, region, at_ms, took_us, detail };
        sequence::record(&mut self.operation, line);
    }

    pub fn happen(&mut self, event: Event) {
        match event {
            Event::Look => self.look(),
            Event::Obey => {
                let orders = std::mem::take(&mut self.orders);
                orders.into_iter().for_each(|order| self.obey(&order));
            }
            Event::LoseOrders => self.orders.clear(),
            Event::Lists if self.streams && !self.kept_out => self.list(),
            Event::Fails if self.cloning => {
                self.cloning = false;
                let outcome = StepOutcome::Failed { reason: "the disk is full".into() };
                self.line(Some("hel"), Step::Rejoin, outcome, String::new());
            }
            Event::Streams(streams) if !self.cloning => self.streams = streams,
            Event::Moves(to_member) => {
                self.register.epoch = self.register.epoch.next();
                self.register.holder = Some(region(if to_member { "hel" } else { "fsn" }));
            }
            Event::Readable(readable) => self.readable = readable,
            Event::Preflight(passes) => self.preflight = passes,
            Event::Synchronous(synchronous) => self.synchronous = synchronous,
            Event::Cancel if sequence::may_cancel(&self.operation) => {
                self.operation.cancel_requested = true;
            }
            Event::Advance(ms) => self.now_ms += i64::from(ms),
            _ => {}
        }
    }

    fn list(&mut self) {
        self.register.in_sync.insert(region("hel"), disk("hel-1"));
    }

    fn obey(&mut self, order: &CoreOrder) {
        if self.register.epoch != Epoch(5) {
            return;
        }
        match order {
            CoreOrder::KeepOut { .. } if !self.cloned => {
                self.kept_out = true;
                self.register.in_sync.remove(&region("hel"));
                self.line(Some("fsn"), Step::Bar, StepOutcome::Done, String::new());
            }
            CoreOrder::Rejoin { clone, .. } if !self.old => {
                assert!(!clone || !self.listed() || self.cloned, "R13: a listed member is cloned");
                (self.cloning, self.streams) = (*clone && !self.cloned, !clone);
                self.line(Some("hel"), Step::Rejoin, StepOutcome::Started, String::new());
                if !clone {
                    self.line(Some("hel"), Step::Rejoin, StepOutcome::Done, String::new());
                }
            }
            _ => {}
        }
    }

    /// The weather is good from here on; it must end.
    pub fn run_out(&mut self) {
        self.readable = true;
        for _ in 0..400 {
            self.look();
            self.happen(Event::Obey);
            if std::mem::take(&mut self.cloning) {
                (self.cloned, self.kept_out) = (true, false);
                self.line(Some("hel"), Step::Rejoin, StepOutcome::Done, String::new());
            }
            self.streams = true;
            self.happen(Event::Lists);
            self.now_ms += 5_000;
            if self.operation.state.is_final() {
                return;
            }
        }
        panic!("it does not end: {:?} {:?}", self.operation, self.register);
    }
}
