//! PostgreSQL of all regions, as the world deals with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use continuum_domain::RegionId;

use crate::clock::SimClock;
use crate::hosts::pair;
use crate::links::Links;
use crate::plan::{MemberFault, Plan};
use crate::postgres::{Cluster, MemberConfig, Settings};

/// The members.
#[derive(Clone)]
pub struct Members {
    /// The model.
    pub cluster: Arc<Cluster>,
    regions: BTreeMap<String, RegionId>,
}

impl Members {
    /// The members of a plan's pair, on the clocks of their hosts.
    pub fn new(plan: &Plan, links: &Links, clock: impl Fn(&str) -> SimClock) -> Self {
        let regions: BTreeMap<String, RegionId> = plan
            .region_names()
            .into_iter()
            .map(|name| (name.clone(), RegionId::new(name).expect("a valid name")))
            .collect();
        let member = |(name, region): (&String, &RegionId)| MemberConfig {
            region: region.clone(),
            host: name.clone(),
            clock: Arc::new(clock(name)),
            stop_budget: plan.timing.stop_budget,
        };
        let configs = regions.iter().map(member).collect();
        let settings =
            Settings { remote_apply: plan.durability.is_synchronous(), ..Settings::default() };
        let (wire, seed) = (Arc::new(links.clone()), plan.seed ^ 0x9057_64E5);
        let cluster = Cluster::with_settings(pair(), configs, wire, seed, settings);
        Self { cluster, regions }
    }

    /// A fault begins; false when there is no such member.
    pub fn begin(&self, region: &str, what: MemberFault) -> bool {
        let Some(region) = self.regions.get(region) else { return false };
        match what {
            MemberFault::PostgresCrash => self.cluster.kill_postmaster(region),
            MemberFault::GuardCrash => self.cluster.kill_guard(region),
            MemberFault::BackendCrash => self.cluster.crash_backend(region),
            MemberFault::Wiped => self.cluster.wipe(region),
            MemberFault::WaitCancelled => return self.cluster.cancel_wait(region).is_some(),
            _ => self.switch(region, what, true),
        }
        true
    }

    /// It is over.
    pub fn end(&self, region: &str, what: MemberFault) {
        let Some(region) = self.regions.get(region) else { return };
        match what {
            MemberFault::GuardCrash => self.cluster.start_guard(region),
            _ => self.switch(region, what, false),
        }
    }

    fn switch(&self, region: &RegionId, what: MemberFault, on: bool) {
        match what {
            MemberFault::SlowCheckpointer => self.cluster.slow_checkpointer(region, on),
            MemberFault::ReplayStall => self.cluster.replay_stall(region, on),
            MemberFault::ReceiverStuck => self.cluster.receiver_stuck(region, on),
            MemberFault::StartFails => self.cluster.cannot_start(region, on),
            MemberFault::SlowCommands => self.cluster.slow_commands(region, on),
            MemberFault::SyncHangs => self.cluster.fsync_hang(region, on),
            MemberFault::DiskFull => self.cluster.disk_full(region, on),
            MemberFault::CommitLowered => self.cluster.lower_commit(region, on),
            MemberFault::PostgresCrash
            | MemberFault::GuardCrash
            | MemberFault::BackendCrash
            | MemberFault::Wiped
            | MemberFault::WaitCancelled => {}
        }
    }

    /// The host of a member stands still, or goes on.
    pub fn freeze(&self, region: &str, on: bool) {
        match self.regions.get(region) {
            Some(region) if on => self.cluster.freeze(region),
            Some(region) => self.cluster.thaw(region),
            None => {}
        }
    }

    /// A member's host loses power, or gets it back.
    pub fn power(&self, region: &str, on: bool) {
        match self.regions.get(region) {
            Some(region) if on => self.cluster.power_on(region),
            Some(region) => self.cluster.power_off(region),
            None => {}
        }
    }

    /// Lets time pass.
    pub fn advance(&self, now: Duration) {
        self.cluster.advance(now);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.cluster.heal();
    }

    /// All regions.
    pub fn regions(&self) -> impl Iterator<Item = &RegionId> {
        self.regions.values()
    }
}
