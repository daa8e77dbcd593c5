//! The control core and the people behind it, as far as an agent notices them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use continuum_domain::pair::types::{Event, Grant};
use continuum_domain::{Epoch, OperationId, PairRecord, RegionId, Tick};

use super::{Fault, Host, World, ms};

#[derive(Default)]
pub struct Operator {
    pub operations: u64,
    pub last: Option<OperationId>,
    /// How often each region asked the core whether it may take over.
    pub asks: BTreeMap<usize, u64>,
    /// How often the pair was to rest, and which of these times is over.
    pub rests: u64,
    pub resumed: u64,
    /// Operations for which a holder said that the ledger does without a member.
    pub barred: BTreeSet<OperationId>,
    /// Epochs for which a person approved a loss.
    pub approved: BTreeSet<Epoch>,
    /// Promises asked for: who asked, and what.
    pub promises: BTreeMap<u64, (usize, u64, RegionId, Tick, Duration)>,
}

impl World {
    pub fn core_link_changed(&mut self, r: usize) {
        let Some(agent) = &self.regions[r].agent else { return };
        let life = agent.life;
        let up = self.net.core_reaches(r, self.now);
        let delay = self.net.far(&mut self.rng);
        self.after(delay, Host::Agent(r), move |w| w.feed_if(r, life, Event::CoreLink(up)));
    }

    pub fn next_operation(&mut self) -> OperationId {
        self.operator.operations += 1;
        let id = OperationId::new(format!("op{}", self.operator.operations)).unwrap();
        self.operator.last = Some(id.clone());
        id
    }

    /// A directive reaches the agent of `r`, if the core does.
    pub fn direct(&mut self, r: usize, event: Event) {
        if !self.net.core_reaches(r, self.now) {
            return;
        }
        let late = self.net.delayed_directive.take();
        let delay = late.unwrap_or_else(|| self.net.far(&mut self.rng));
        self.after(delay, Host::Agent(r), move |w| {
            if w.regions[r].agent.is_some() {
                w.feed(r, event);
            }
        });
    }

    pub fn order(&mut self, order: Fault) {
        match order {
            Fault::Switchover { to, deadline } => self.order_switchover(to, ms(deadline)),
            Fault::HotSwitchover { to, deadline } => self.order_hot_switchover(to, ms(deadline)),
            Fault::AbortSwitchover => {
                if let Some(operation) = self.operator.last.clone() {
                    for r in 0..self.regions.len() {
                        let operation = operation.clone();
                        self.direct(r, Event::AbortSwitchOver { operation });
                    }
                }
            }
            Fault::FailOver { to, lossy } => self.order_failover(to, lossy),
            Fault::Pause { span } => {
                self.set_paused(true);
                self.after(ms(span), Host::World, |w| w.set_paused(false));
            }
            Fault::AutomationPaused { span } => {
                self.tell_all(|_| Event::AutomationPaused(true));
                self.after(ms(span), Host::World, |w| {
                    w.tell_all(|_| Event::AutomationPaused(false));
                });
            }
            Fault::Rest { span } => self.order_rest(ms(span)),
            Fault::Rejoin { whom, how } => self.order_rejoin(whom, how),
            Fault::SetDurability { durability } => {
                self.spec.durability = durability;
                if durability.is_synchronous() {
                    self.spec.loss_approval = None;
                }
                self.spec_version += 1;
                self.judge.durability_changed = true;
                self.tell_all(|w| Event::Spec(w.spec_version, w.spec.clone()));
            }
            other => unreachable!("{other:?} is not an order"),
        }
    }

    fn tell_all(&mut self, event: impl Fn(&World) -> Event) {
        for r in 0..self.regions.len() {
            let event = event(self);
            let Some(agent) = &self.regions[r].agent else { continue };
            let life = agent.life;
            let delay = self.net.far(&mut self.rng) * 4;
            self.after(delay, Host::Agent(r), move |w| w.feed_if(r, life, event));
        }
    }

    pub fn order_switchover(&mut self, to: usize, deadline: Duration) {
        let Some(record) = self.register.record().cloned() else { return };
        let Some(holder) = record.holder.clone() else { return };
        let from = self.index(&holder);
        let operation = self.next_operation();
        let to = self.regions[to].name.clone();
        let epoch = record.epoch;
        self.direct(from, Event::SwitchOver { operation, epoch, to, deadline });
    }

    pub fn order_hot_switchover(&mut self, to: usize, deadline: Duration) {
        let Some(record) = self.register.record().cloned() else { return };
        if record.holder.is_none() || record.held_by(&self.regions[to].name) {
            return;
        }
        let (operation, epoch) = (self.next_operation(), record.epoch);
        self.direct(to, Event::TakeOver { operation, epoch, deadline });
    }

    pub fn order_failover(&mut self, to: usize, lossy: bool) {
        let Some(record) = self.register.record().cloned() else { return };
        let operation = self.next_operation();
        let epoch = record.epoch;
        if lossy {
            self.operator.approved.insert(epoch);
        }
        self.direct(to, Event::FailOver { operation, epoch, allow_data_loss: lossy });
    }

    pub fn set_paused(&mut self, paused: bool) {
        if let Some(record) = self.register.record().cloned()
            && record.paused != paused
        {
            self.write_pair(None, PairRecord { paused, ..record });
        }
    }

    /// As the core does it: challengers are barred, then the holder is asked until it has let go.
    pub fn order_rest(&mut self, span: Duration) {
        self.set_paused(true);
        self.operator.rests += 1;
        let rest = self.operator.rests;
        self.ask_to_rest(rest);
        self.after(span, Host::World, move |w| w.resume(rest));
    }

    fn ask_to_rest(&mut self, rest: u64) {
        let Some(record) = self.register.record().cloned() else { return };
        if self.operator.rests != rest || self.operator.resumed == rest || !record.paused {
            return;
        }
        if let Some(holder) = &record.holder {
            let (r, epoch) = (self.index(holder), record.epoch);
            let operation = self.next_operation();
            self.direct(r, Event::Rest { operation, epoch, deadline: ms(3_000) });
            self.after(ms(400), Host::World, move |w| w.ask_to_rest(rest));
        }
    }

    /// Takes the pause back; who put the pair to rest is asked to go first.
    fn resume(&mut self, rest: u64) {
        if self.operator.rests != rest {
            return;
        }
        self.operator.resumed = rest;
        self.set_paused(false);
        let rested_by = self.register.record().and_then(|record| record.rested_by.clone());
        if let Some(region) = rested_by {
            self.order_failover(self.index(&region), false);
        }
    }

    pub fn ask_grant(&mut self, r: usize, life: u64, epoch: Epoch) {
        *self.operator.asks.entry(r).or_default() += 1;
        if !self.net.core_reaches(r, self.now) || self.now < self.net.core_ignores {
            return;
        }
        let delay = self.net.far(&mut self.rng) * 2;
        self.after(delay, Host::Agent(r), move |w| {
            let grant = if w.now < w.net.core_denies {
                Grant::Denied(vec!["a freeze window".into()])
            } else {
                let operation = w.next_operation();
                Grant::Granted { operation, allow_data_loss: false, by_person: false }
            };
            if w.net.core_reaches(r, w.now) {
                w.feed_if(r, life, Event::Granted { epoch, grant });
            }
        });
    }

    pub fn operator_heals(&mut self) {
        self.set_paused(false);
        self.tell_all(|_| Event::AutomationPaused(false));
        self.tell_all(|w| Event::Spec(w.spec_version, w.spec.clone()));
    }
}
