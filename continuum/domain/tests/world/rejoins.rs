//! Orders to rejoin, as the core gives them, and days on which they come at bad moments.

use continuum_domain::mutation::{Bug, planted};
use continuum_domain::operation::{Step, StepOutcome};
use continuum_domain::pair::types::{Event, Note};
use continuum_domain::{DataDirectoryId, Epoch, OperationId};

use super::{Fault, Host, Plan, Rng, World, ms};

/// The member that an order is for, found out when it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    Member(usize),
    Holder,
    /// A standby that the ledger lists: in `strict`, and with two regions, the only one.
    Listed,
}

/// What it is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejoin {
    Retry,
    Clone,
}

impl Plan {
    /// A plan in which members are told to rejoin again and again: while the pair moves, while somebody
    /// is cut off, and more than one at once.
    pub fn of_rejoins(seed: u64) -> Self {
        let mut plan = Self::from_seed(seed);
        let mut rng = Rng::new(seed ^ 0x0C10_4ED5);
        for _ in 0..1 + rng.below(5) {
            let at = rng.below(25_000);
            plan.faults.push((at, Fault::of_rejoin(&mut rng, plan.regions)));
            if rng.chance(700) {
                let near = (at + rng.below(1_600)).saturating_sub(500);
                plan.faults.push((near, Fault::beside_a_rejoin(&mut rng, plan.regions)));
            }
        }
        plan.faults.sort_by_key(|(at, _)| *at);
        plan.keep_assumptions();
        plan
    }
}

impl Fault {
    /// A member is told to rejoin.
    pub fn of_rejoin(rng: &mut Rng, regions: usize) -> Self {
        let whom = match rng.below(6) {
            0 => Whom::Holder,
            1 | 2 => Whom::Listed,
            _ => Whom::Member(rng.below(regions as u64) as usize),
        };
        let how = rng.pick(&[Rejoin::Retry, Rejoin::Clone, Rejoin::Clone]);
        Fault::Rejoin { whom, how }
    }

    /// What makes it a bad moment.
    fn beside_a_rejoin(rng: &mut Rng, regions: usize) -> Self {
        let r = rng.below(regions as u64) as usize;
        let span = rng.pick(&[300, 1_500, 4_000, 9_000]);
        match rng.below(12) {
            0 | 1 => Fault::of_rejoin(rng, regions),
            2 => Fault::Switchover { to: r, deadline: 1_500 },
            3 => Fault::HotSwitchover { to: r, deadline: 1_500 },
            4 => Fault::FailOver { to: r, lossy: false },
            5 => Fault::HostCrash { r, down: span },
            6 => Fault::AgentCrash { r, down: span },
            7 => Fault::PeersCut { r, span },
            8 => Fault::WitnessCut { r, span },
            9 => Fault::CoreCut { r, span },
            10 => Fault::Rest { span },
            _ => Fault::OperatorFence { r, span },
        }
    }
}

/// The clone that the core has ordered.
struct Ordered {
    operation: OperationId,
    epoch: Epoch,
    before: Option<DataDirectoryId>,
    failures: u64,
}

impl World {
    pub fn order_rejoin(&mut self, whom: Whom, how: Rejoin) {
        let Some(record) = self.register.record().cloned() else { return };
        let holder = record.holder.as_ref().map(|holder| self.index(holder));
        let r = match whom {
            Whom::Member(r) => Some(r),
            Whom::Holder => holder,
            Whom::Listed => self.listed().into_iter().find(|r| Some(*r) != holder),
        };
        let Some(r) = r else { return };
        match how {
            Rejoin::Clone => self.order_clone(r),
            Rejoin::Retry => {
                let (operation, deadline) = (self.next_operation(), ms(5_000));
                let order =
                    Event::Rejoin { operation, epoch: record.epoch, clone: false, deadline };
                self.direct(r, order);
            }
        }
    }

    /// As the core does it: the holder is asked to do without `r` and, once it says that it does, `r` is
    /// told to take a fresh copy; both again and again until it has one.
    pub fn order_clone(&mut self, r: usize) {
        let operation = self.next_operation();
        let before = self.regions[r].pg.directory.clone();
        let Some(record) = self.register.record().cloned() else { return };
        let failures = self.failed_rejoins();
        self.ask_to_clone(r, Ordered { operation, epoch: record.epoch, before, failures }, 60);
    }

    /// The core hears that the ledger does without a member.
    pub fn hear_of_bar(&mut self, operation: Option<OperationId>, note: &Note) {
        let done = matches!(note, Note::Step { step: Step::Bar, outcome: StepOutcome::Done, .. });
        self.operator.barred.extend(operation.filter(|_| done));
    }

    /// How often a member said that it gave up what it was ordered.
    fn failed_rejoins(&self) -> u64 {
        let told = self.judge.notes.iter();
        let failed = told.filter(|(note, _)| note.starts_with("step:Rejoin:Failed"));
        failed.map(|(_, count)| count).sum()
    }

    fn ask_to_clone(&mut self, r: usize, ordered: Ordered, left: u32) {
        let Some(record) = self.register.record().cloned() else { return };
        let gave_up = self.failed_rejoins() > ordered.failures;
        let over = record.epoch != ordered.epoch || self.regions[r].pg.directory != ordered.before;
        if left == 0 || over || gave_up {
            return;
        }
        let (Some(holder), region) = (&record.holder, self.regions[r].name.clone()) else { return };
        let without = self.operator.barred.contains(&ordered.operation)
            && !record.in_sync.contains_key(&region);
        let (operation, epoch, hold) = (ordered.operation.clone(), ordered.epoch, ms(8_000));
        let unbarred = planted(Bug::OrderedCloneUnbarred);
        if !unbarred {
            self.direct(self.index(holder), Event::KeepOut { operation, epoch, region, hold });
        }
        if without || unbarred {
            let (operation, deadline) = (ordered.operation.clone(), ms(5_000));
            self.direct(r, Event::Rejoin { operation, epoch, clone: true, deadline });
        }
        self.after(ms(400), Host::World, move |w| w.ask_to_clone(r, ordered, left - 1));
    }
}
