//! What the switches of this agent should be like: one task per pair that feeds the pure machine, and
//! what is told of it to the core.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use continuum_control_api::link::{
    Directive, Fact, MemberRole, Order, PeerAnswer, PeerAsk, SwitchReport,
};
use continuum_domain::operation::{Step, StepOutcome};
use continuum_domain::spec::PairSpec;
use continuum_domain::traffic::{Gate, TrafficEvent, TrafficMachine, Wanted};
use continuum_domain::{Epoch, OperationId, PairId, RegionId, Tick};
use continuum_runtime::{SharedClock, seed};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::keeper::{Keeper, State};
use super::{Driven, Pointing};
use crate::core_link::{Pairs, find};
use crate::driver::PairHandle;
use crate::journal::Journal;
use crate::peers::Peers;
use crate::report::{millis, role};

/// Orders waiting for a pair's task at most.
const ORDERS_MAX: usize = 16;
/// How often a pair is looked for that does not run yet.
const START_INTERVAL: Duration = Duration::from_millis(100);
/// How long the holder's agent may wait with its answer until writes are accepted.
const WRITABLE_WAIT: Duration = Duration::from_secs(1);
/// What the way there and back may take beside.
const WRITABLE_SLACK: Duration = Duration::from_millis(500);
/// Pause before the holder is asked again: while clients wait for it, and else.
const ASK_AGAIN: Duration = Duration::from_millis(20);
const ASK_AGAIN_AT_REST: Duration = Duration::from_secs(1);

/// What is wanted of the switches of a pair.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub wanted: Wanted,
    /// The target with its address, if the spec knows one.
    pub pointing: Option<Pointing>,
}

/// A drain under way at this agent's switches of a pair.
struct Drain {
    pair: PairId,
    epoch: Epoch,
    began: Tick,
    until: Tick,
    /// Switches that are not drained yet, with what was last seen of them.
    waiting: BTreeMap<String, String>,
    /// Switches that are, and how long that took.
    done: BTreeMap<String, Duration>,
}

/// What is always so of a switch.
struct About {
    pair: PairId,
    kind: &'static str,
    can_hold: bool,
    sees_sessions: bool,
}

struct Inner {
    journal: Journal,
    clock: SharedClock,
    switches: BTreeMap<String, About>,
    states: Mutex<BTreeMap<String, State>>,
    drains: Mutex<BTreeMap<OperationId, Drain>>,
}

/// Where the keepers tell how it went.
#[derive(Clone)]
pub(super) struct Desk(Arc<Inner>);

impl Desk {
    pub fn new(driven: &[Driven], journal: &Journal, clock: &SharedClock) -> Self {
        let about = |driven: &Driven| {
            let about = About {
                pair: driven.pair.clone(),
                kind: driven.kind,
                can_hold: driven.switch.can_hold(),
                sees_sessions: driven.switch.sees_sessions(),
            };
            (driven.name.clone(), about)
        };
        Self(Arc::new(Inner {
            journal: journal.clone(),
            clock: clock.clone(),
            switches: driven.iter().map(about).collect(),
            states: Mutex::default(),
            drains: Mutex::default(),
        }))
    }

    /// Changes what is known of a switch.
    pub fn note(&self, name: &str, change: impl FnOnce(&mut State)) {
        change(locked(&self.0.states).entry(name.to_owned()).or_default());
    }

    /// A switch was drained for an operation, or why it is not yet. The agent's one word is said when all
    /// of the pair are drained, or the time for it is over.
    pub fn drained(&self, operation: &OperationId, name: &str, drained: Result<(), String>) {
        let now = self.0.clock.now();
        let mut drains = locked(&self.0.drains);
        let Some(drain) = drains.get_mut(operation) else { return };
        match drained {
            Ok(()) => {
                if drain.waiting.remove(name).is_some() {
                    drain.done.insert(name.to_owned(), now.since(drain.began));
                }
            }
            Err(why) => {
                if let Some(last) = drain.waiting.get_mut(name) {
                    *last = why;
                }
            }
        }
        if drain.waiting.is_empty() || now >= drain.until {
            let drain = drains.remove(operation);
            drop(drains);
            drain.into_iter().for_each(|drain| self.say(operation, &drain, now));
        }
    }

    /// What can be said of a drain that is done: not every switch sees transactions.
    fn drained_means(&self, drain: &Drain) -> &'static str {
        let sees =
            |name: &String| self.0.switches.get(name).is_some_and(|about| about.sees_sessions);
        match drain.done.keys().all(sees) {
            true => "clients wait, no transaction is open",
            false => {
                "clients are held back; whether transactions are open cannot be seen at each switch"
            }
        }
    }

    fn say(&self, operation: &OperationId, drain: &Drain, now: Tick) {
        let done =
            drain.done.iter().map(|(name, took)| format!("{name} in {} ms", took.as_millis()));
        let done = done.collect::<Vec<_>>().join(", ");
        let waiting = drain.waiting.iter().map(|(name, why)| format!("{name}: {why}"));
        let waiting = waiting.collect::<Vec<_>>().join("; ");
        let (outcome, detail) = match waiting.is_empty() {
            true => (StepOutcome::Done, format!("{}: {done}", self.drained_means(drain))),
            false => (StepOutcome::Failed { reason: waiting }, done),
        };
        let took_us = u64::try_from(now.since(drain.began).as_micros()).unwrap_or(u64::MAX);
        let fact = Fact::Step { step: Step::Drain, outcome, took_us: Some(took_us), detail };
        self.0.journal.append(&drain.pair, drain.epoch, Some(operation.clone()), fact);
    }

    pub fn begin(&self, pair: &PairId, operation: &OperationId, epoch: Epoch, limit: Duration) {
        let now = self.0.clock.now();
        let mut drains = locked(&self.0.drains);
        // Moves of a pair come one after the other: what an older one left is of no use.
        drains.retain(|id, drain| drain.pair != *pair || id == operation);
        let can_hold =
            self.0.switches.iter().filter(|(_, about)| about.pair == *pair && about.can_hold);
        let unseen = |(name, _): (&String, _)| (name.clone(), "it was not looked at".to_owned());
        drains.entry(operation.clone()).or_insert_with(|| Drain {
            pair: pair.clone(),
            epoch,
            began: now,
            until: now + limit,
            waiting: can_hold.map(unseen).collect(),
            done: BTreeMap::new(),
        });
    }

    fn next_end(&self, pair: &PairId) -> Option<Tick> {
        let drains = locked(&self.0.drains);
        drains.values().filter(|drain| drain.pair == *pair).map(|drain| drain.until).min()
    }

    /// Says of drains whose time is over that they failed, also where their switch hangs.
    fn end_late(&self, pair: &PairId) {
        let now = self.0.clock.now();
        let late: Vec<(OperationId, Drain)> = locked(&self.0.drains)
            .extract_if(.., |_, drain| drain.pair == *pair && now >= drain.until)
            .collect();
        late.iter().for_each(|(operation, drain)| self.say(operation, drain, now));
    }

    fn forget(&self, operation: &OperationId) {
        locked(&self.0.drains).remove(operation);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An order of the core about a pair's switches.
#[derive(Debug)]
enum TrafficOrder {
    Hold { operation: OperationId, epoch: Epoch, drain: Duration, hold: Duration },
    Release { operation: OperationId },
}

/// What is told to a pair's task.
#[derive(Clone)]
struct PairDesk {
    orders: mpsc::Sender<TrafficOrder>,
    spec: watch::Sender<Option<PairSpec>>,
}

/// The switches of an agent. Cloned handles share them.
#[derive(Clone)]
pub(crate) struct TrafficDesk {
    desk: Desk,
    pairs: Arc<BTreeMap<PairId, PairDesk>>,
    running: Pairs,
    /// The last operation of each pair for which a checkpoint was asked.
    checkpoints: Arc<Mutex<BTreeMap<PairId, OperationId>>>,
}

impl TrafficDesk {
    /// Starts a task for each pair with a switch, and one for each switch; none where there is none.
    pub fn start(
        region: &RegionId,
        driven: Vec<Driven>,
        pairs: &Pairs,
        peers: &Peers,
        journal: &Journal,
        clock: &SharedClock,
    ) -> Self {
        let desk = Desk::new(&driven, journal, clock);
        let mut by_pair: BTreeMap<PairId, Vec<Driven>> = BTreeMap::new();
        for switch in driven {
            by_pair.entry(switch.pair.clone()).or_default().push(switch);
        }
        let start = |(pair, switches): (PairId, Vec<Driven>)| {
            let (orders, inbox) = mpsc::channel(ORDERS_MAX);
            let (spec, specs) = watch::channel(None);
            let machine = TrafficMachine::default();
            let wish = Wish { wanted: machine.wanted(), pointing: None };
            let (wishes, wish) = watch::channel(wish);
            for switch in switches {
                let keeper = Keeper::new(switch, clock.clone(), desk.clone(), wish.clone());
                seed::spawn(keeper.run());
            }
            let task = PairTask {
                region: region.clone(),
                pair: pair.clone(),
                peers: peers.clone(),
                clock: clock.clone(),
                desk: desk.clone(),
                machine,
                specs,
                wishes,
                asking: None,
            };
            seed::spawn(task.run(pairs.clone(), inbox));
            (pair, PairDesk { orders, spec })
        };
        let started = Arc::new(by_pair.into_iter().map(start).collect());
        Self { desk, pairs: started, running: pairs.clone(), checkpoints: Arc::default() }
    }

    /// Tells where a pair's members are.
    pub fn spec(&self, spec: &PairSpec) {
        if let Some(pair) = self.pairs.get(&spec.id) {
            pair.spec.send_if_modified(|known| {
                let changed = known.as_ref() != Some(spec);
                if changed {
                    *known = Some(spec.clone());
                }
                changed
            });
        }
    }

    /// Takes a directive that is about switches; gives back any other.
    pub fn take(&self, directive: Directive) -> Option<Directive> {
        let operation = directive.operation.clone();
        let order = match directive.order {
            Order::HoldTraffic { drain_ms, hold_ms } => TrafficOrder::Hold {
                operation,
                epoch: directive.epoch,
                drain: Duration::from_millis(drain_ms),
                hold: Duration::from_millis(hold_ms),
            },
            Order::ReleaseTraffic => TrafficOrder::Release { operation },
            Order::Checkpoint => {
                self.checkpoint(directive.pair, directive.epoch, operation);
                return None;
            }
            _ => return Some(directive),
        };
        match self.pairs.get(&directive.pair) {
            Some(pair) => {
                // Never waited for: a full inbox is a task that hangs, and the core asks again.
                if let Err(error) = pair.orders.try_send(order) {
                    tracing::warn!(pair = %directive.pair, %error, "an order about traffic is lost");
                }
            }
            None => {
                tracing::warn!(pair = %directive.pair, "no traffic switch of this pair is here")
            }
        }
        None
    }

    /// Writes a checkpoint, once for an operation, and says so: clients are not held back yet.
    fn checkpoint(&self, pair: PairId, epoch: Epoch, operation: OperationId) {
        let known = locked(&self.checkpoints).insert(pair.clone(), operation.clone());
        let handle = find(&self.running, &pair);
        let Some(handle) = handle.filter(|_| known.as_ref() != Some(&operation)) else { return };
        let Inner { journal, clock, .. } = self.desk.0.as_ref();
        let (journal, clock) = (journal.clone(), clock.clone());
        seed::spawn(async move {
            let began = clock.now();
            let detail = match handle.plane.checkpoint().await {
                Ok(()) => "a checkpoint is written, clients are still served".to_owned(),
                Err(error) => format!("no checkpoint, the stop takes longer: {error}"),
            };
            let took_us = u64::try_from(clock.now().since(began).as_micros()).unwrap_or(u64::MAX);
            let (step, outcome, took_us) = (Step::Drain, StepOutcome::Started, Some(took_us));
            let fact = Fact::Step { step, outcome, took_us, detail };
            journal.append(&pair, epoch, Some(operation), fact);
        });
    }

    /// What the core is told; `None` where this agent drives no switch.
    pub fn report(&self, now: Tick) -> Option<BTreeMap<String, SwitchReport>> {
        let about = &self.desk.0.switches;
        if about.is_empty() {
            return None;
        }
        let states = locked(&self.desk.0.states);
        let report = |(name, about): (&String, &About)| {
            let state = states.get(name).cloned().unwrap_or_default();
            let report = SwitchReport {
                pair: about.pair.clone(),
                kind: about.kind.to_owned(),
                can_hold: about.can_hold,
                target: state.target.map(|target| (target.epoch, target.holder)),
                wanted: state.wanted,
                success_age_ms: state.success.map(|at| millis(at, now)),
                held_age_ms: state.held_since.map(|at| millis(at, now)),
                held_by_others: state.held_by_others,
                last_error: state.error.map(|(at, text)| (millis(at, now), text)),
                foreign_writes: state.aside.foreign_writes,
                last_foreign: state.aside.last_foreign,
                remarks: state.aside.remarks,
            };
            (name.clone(), report)
        };
        Some(about.iter().map(report).collect())
    }
}

/// The task of one pair.
struct PairTask {
    region: RegionId,
    pair: PairId,
    peers: Peers,
    clock: SharedClock,
    desk: Desk,
    machine: TrafficMachine,
    specs: watch::Receiver<Option<PairSpec>>,
    wishes: watch::Sender<Wish>,
    /// The holder of this epoch is being asked whether it accepts writes.
    asking: Option<(Epoch, JoinHandle<()>)>,
}

impl PairTask {
    async fn run(mut self, pairs: Pairs, mut orders: mpsc::Receiver<TrafficOrder>) {
        let handle = loop {
            match find(&pairs, &self.pair) {
                Some(handle) => break handle,
                None => tokio::time::sleep(START_INTERVAL).await,
            }
        };
        let mut status = handle.status.clone();
        let (told, mut writable) = mpsc::channel(1);
        loop {
            self.look(&handle);
            let wanted = self.step(TrafficEvent::Wake);
            self.ask(&wanted, &told);
            let now = self.clock.now();
            let ends = self.machine.next_wake().into_iter().chain(self.desk.next_end(&self.pair));
            let pause = ends.min().map_or(ASK_AGAIN_AT_REST, |end| now.until(end));
            tokio::select! {
                changed = status.changed() => if changed.is_err() { return },
                changed = self.specs.changed() => if changed.is_err() { return },
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
                Some(epoch) = writable.recv() => {
                    self.step(TrafficEvent::Writable { epoch });
                }
                () = tokio::time::sleep(pause.max(Duration::from_millis(1))) => {
                    self.desk.end_late(&self.pair);
                }
            }
        }
    }

    /// What this agent's own machine knows of the register and of its member.
    fn look(&mut self, handle: &PairHandle) {
        let (record, role) = {
            let status = handle.status.borrow();
            let record = status.record.as_ref().map(|(_, record, _)| record.clone());
            (record, role(&status, self.clock.now()))
        };
        let Some(record) = record else { return };
        let holder = record.holder.clone();
        self.step(TrafficEvent::Register { epoch: record.epoch, holder });
        if record.held_by(&self.region) && role == MemberRole::Primary {
            self.step(TrafficEvent::Writable { epoch: record.epoch });
        }
    }

    fn obey(&mut self, order: TrafficOrder) {
        match order {
            TrafficOrder::Hold { operation, epoch, drain, hold } => {
                let event = TrafficEvent::Drain { operation: operation.clone(), epoch, hold };
                let held = self.machine.step(self.clock.now(), event).gate != Gate::Open;
                if held {
                    // Before the keepers hear of it: they tell how it goes.
                    self.desk.begin(&self.pair, &operation, epoch, drain);
                }
                self.step(TrafficEvent::Wake);
            }
            TrafficOrder::Release { operation } => {
                self.desk.forget(&operation);
                self.step(TrafficEvent::Release { operation });
            }
        }
    }

    /// Hands an event to the machine, and what it wants to the keepers.
    fn step(&mut self, event: TrafficEvent) -> Wanted {
        let wanted = self.machine.step(self.clock.now(), event);
        let pointing = wanted.target.as_ref().and_then(|target| {
            let specs = self.specs.borrow();
            let member = specs.as_ref()?.members.get(&target.holder)?;
            Some(Pointing {
                pair: self.pair.clone(),
                epoch: target.epoch,
                holder: target.holder.clone(),
                host: member.host.clone(),
                port: member.port,
            })
        });
        self.wishes.send_if_modified(|wish| {
            let changed = wish.wanted != wanted || wish.pointing != pointing;
            if changed {
                *wish = Wish { wanted: wanted.clone(), pointing };
            }
            changed
        });
        wanted
    }

    /// Asks another region's agent whether it accepts writes, until it does.
    fn ask(&mut self, wanted: &Wanted, told: &mpsc::Sender<Epoch>) {
        let target = wanted.target.as_ref();
        let asked = target.filter(|target| !wanted.writable && target.holder != self.region);
        let epoch = asked.map(|target| target.epoch);
        if self.asking.as_ref().map(|(epoch, _)| *epoch) == epoch {
            return;
        }
        if let Some((_, task)) = self.asking.take() {
            task.abort();
        }
        let Some(target) = asked.cloned() else { return };
        let (peers, told, wishes) = (self.peers.clone(), told.clone(), self.wishes.subscribe());
        let wait_ms = u64::try_from(WRITABLE_WAIT.as_millis()).unwrap_or(u64::MAX);
        let ask = PeerAsk::Writable { pair: self.pair.clone(), epoch: target.epoch, wait_ms };
        let task = seed::spawn(async move {
            loop {
                let answer = peers.ask(&target.holder, &ask, WRITABLE_WAIT + WRITABLE_SLACK).await;
                if matches!(answer, Ok(PeerAnswer::Writable)) {
                    let _ended = told.send(target.epoch).await;
                    return;
                }
                let held = wishes.borrow().wanted.gate != Gate::Open;
                tokio::time::sleep(if held { ASK_AGAIN } else { ASK_AGAIN_AT_REST }).await;
            }
        });
        self.asking = Some((target.epoch, task));
    }
}

impl Drop for PairTask {
    fn drop(&mut self) {
        if let Some((_, task)) = self.asking.take() {
            task.abort();
        }
    }
}
