//! The words scenarios are written in: what is done.

use std::time::Duration;

use continuum_domain::RegionId;
use continuum_domain::operation::{Method, RejoinMethod};
use continuum_domain::spec::{Durability, PairMode};

use super::place::Place;
use crate::plan::{Fault, ResolverFault, WITNESS};
use crate::run::Run;

/// Seconds.
pub fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Minutes.
pub fn mins(count: u64) -> Duration {
    secs(count * 60)
}

/// Milliseconds.
pub fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A span as plans write it.
pub(super) fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A region's name.
pub(super) fn id(region: &str) -> RegionId {
    RegionId::new(region).expect("a valid name")
}

/// A story under way.
pub struct Story<'r, 'w> {
    pub(super) run: &'r mut Run<'w>,
}

impl<'r, 'w> Story<'r, 'w> {
    /// A story in this run.
    pub(crate) fn new(run: &'r mut Run<'w>) -> Self {
        Self { run }
    }

    /// A region.
    pub fn region(&mut self, name: &str) -> Place<'_, 'r, 'w> {
        Place { story: self, name: name.to_owned() }
    }

    /// A control node.
    pub fn node(&mut self, name: &str) -> Place<'_, 'r, 'w> {
        self.region(name)
    }

    /// The witness.
    pub fn witness(&mut self) -> Place<'_, 'r, 'w> {
        self.region(WITNESS)
    }

    /// An operator has this acceptor taken in again.
    pub fn take_in_again(&mut self, acceptor: &str) {
        self.begin(Fault::ReplaceAcceptor { name: acceptor.to_owned() });
    }

    /// The name server.
    pub fn names(&mut self) -> Place<'_, 'r, 'w> {
        self.region(crate::plan::NAMES)
    }

    /// The control nodes.
    pub fn core(&self) -> Vec<String> {
        self.run.world.plan.core()
    }

    /// Every control node is killed, and back after `down`.
    pub fn core_killed_for(&mut self, down: Duration) {
        for node in self.core() {
            self.node(&node).killed_for(down);
        }
    }

    /// All hosts but the users'.
    pub fn hosts(&self) -> Vec<String> {
        let users = crate::plan::USERS;
        self.run.world.plan.hosts().into_iter().filter(|host| host != users).collect()
    }

    pub(super) fn begin(&mut self, fault: Fault) {
        self.run.world.break_with(fault);
    }

    /// An operator asks for a switchover.
    pub fn switch_over_to(&mut self, to: &str) {
        self.begin(Fault::Switchover { to: to.to_owned(), method: None });
    }

    /// The same, in this way.
    pub fn switch_over_by(&mut self, method: Method, to: &str) {
        self.begin(Fault::Switchover { to: to.to_owned(), method: Some(method) });
    }

    /// An operator asks for a failover that loses nothing.
    pub fn fail_over_to(&mut self, to: &str) {
        self.begin(Fault::Failover { to: to.to_owned(), allow_data_loss: false });
    }

    /// An operator orders a failover and approves what is lost by it, for the epoch that is shown.
    pub fn fail_over_accepting_loss_to(&mut self, to: &str) {
        self.begin(Fault::Failover { to: to.to_owned(), allow_data_loss: true });
    }

    /// An operator has a member try again.
    pub fn try_again(&mut self, region: &str) {
        self.begin(Fault::Rejoin { region: region.to_owned(), method: RejoinMethod::Retry });
    }

    /// An operator has a member take a fresh clone.
    pub fn clone_anew(&mut self, region: &str) {
        self.begin(Fault::Rejoin { region: region.to_owned(), method: RejoinMethod::Clone });
    }

    /// A resolver misbehaves in this way.
    pub fn resolver_misbehaves(&mut self, index: usize, how: ResolverFault) {
        self.begin(Fault::Resolver { index, how, span: 3_600_000 });
    }

    /// An operator pauses automation.
    pub fn pause_automation_for(&mut self, span: Duration) {
        self.begin(Fault::PauseAutomation { span: ms(span) });
    }

    /// The pair's register is paused (R21).
    pub fn pause_pair_for(&mut self, span: Duration) {
        self.begin(Fault::PausePair { span: ms(span) });
    }

    /// An operator stops the pair everywhere.
    pub fn stop_pair_for(&mut self, span: Duration) {
        self.begin(Fault::StopPair { span: ms(span) });
    }

    /// An operator starts the pair again.
    pub fn start_pair(&mut self) {
        self.run.world.users.order(crate::users::Order::StartPair);
    }

    /// An operator starts the pair again, in this region.
    pub fn start_pair_in(&mut self, region: &str) {
        self.run.world.users.order(crate::users::Order::StartPairIn { region: region.to_owned() });
    }

    /// An operator changes how far automation goes.
    pub fn set_mode(&mut self, mode: PairMode) {
        self.begin(Fault::SetMode { mode });
    }

    /// An operator ends the pause.
    pub fn resume_automation(&mut self) {
        self.run.world.users.order(crate::users::Order::Heal);
    }

    /// An operator cancels the operation under way.
    pub fn cancel_operation(&mut self) {
        self.begin(Fault::CancelOperation);
    }

    /// An operator approves the operation that waits for it, and what is lost by it.
    pub fn approve_operation(&mut self) {
        self.begin(Fault::ApproveOperation);
    }

    /// An operator changes the durability.
    pub fn set_durability(&mut self, durability: Durability) {
        self.begin(Fault::SetDurability { durability });
    }

    /// Slots hold back little WAL from now on: who is away for long falls off their cap.
    pub fn slots_hold_little(&mut self) {
        self.run.world.members.cluster.keep_little_wal();
    }

    /// Time passes.
    pub fn advance(&mut self, span: Duration) -> Result<(), String> {
        let until = self.run.world.now() + span;
        self.run.until(until)?;
        self.sound()
    }

    /// Everything is mended.
    pub fn heal(&mut self) {
        self.run.world.heal_all();
    }
}
