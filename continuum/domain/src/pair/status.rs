//! What the machine shows to the outside.

use serde::{Deserialize, Serialize};

use super::PairMachine;
use super::types::Blocked;
use crate::ids::{DataDirectoryId, Epoch, RegionId};
use crate::mutation::{Bug, planted};
use crate::observation::{ActuatorStatus, Hindrance, Observation, ProcessState};
use crate::record::{PairRecord, Version};
use crate::time::Tick;

/// What this region's member is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoleView {
    /// Lease held, PostgreSQL accepts writes.
    Primary,
    /// Lease held, PostgreSQL on its way to accept writes.
    Promoting,
    /// A standby of the holder.
    Standby,
    /// Being made equal to the holder's history.
    Rejoining,
    /// Stopped to keep the invariant.
    Fenced,
    /// Stopped for a switchover under way.
    HandingOver,
    /// Stopped because the pair is paused.
    Resting,
    /// Not known.
    Unknown,
}

/// A picture of the machine.
#[derive(Clone, Debug)]
pub struct PairStatus {
    /// Role.
    pub role: RoleView,
    /// The register as last read, its version, and when that came back.
    pub record: Option<(Version, PairRecord, Tick)>,
    /// Until when PostgreSQL may accept writes here.
    pub lease_until: Option<Tick>,
    /// Until when the session is valid.
    pub session_until: Option<Tick>,
    /// The guard's state; `None` when it does not answer.
    pub actuator: Option<ActuatorStatus>,
    /// By SQL.
    pub observation: Observation,
    /// Named state.
    pub blocked: Option<Blocked>,
    /// Whether the last question to the witness was answered.
    pub witness_reachable: bool,
    /// Spec version acted by.
    pub spec_version: u64,
    /// Holder: when its epoch was won.
    pub acquired_at: Option<Tick>,
    /// Standby: the epoch for whose holder its WAL is proven. Only under that epoch may it be listed,
    /// or a lease be handed to it; see [`PairMachine::directory_for`].
    pub proven_at: Option<Epoch>,
    /// Holder: why it does not promise to wait for every listed member. Standby: why it may not take
    /// over by the ledger, suspicion aside.
    pub takeover_refusals: Vec<String>,
    /// What stands against its being a primary beside its database.
    pub hindrances: Vec<Hindrance>,
    /// Primary: what stands against a planned move away from it.
    pub against_leaving: Vec<Hindrance>,
}

impl PairMachine {
    /// A picture of the machine at `now`.
    pub fn status(&self, now: Tick) -> PairStatus {
        let record = self.register.known.as_ref().and_then(|known| {
            known.record.clone().map(|record| (known.version, record, known.back))
        });
        PairStatus {
            role: self.role(now),
            record,
            lease_until: self.authority_until().filter(|until| now < *until),
            session_until: self.session.valid_until.filter(|until| now < *until),
            actuator: self.actuator.clone(),
            observation: self.observation.clone(),
            blocked: self.blocked.clone(),
            witness_reachable: self.register.unreachable.is_none()
                && self.session.witness_answered.is_some(),
            spec_version: self.spec_version,
            acquired_at: self.acquired_at,
            proven_at: self.proven_at(),
            takeover_refusals: if self.is_primary() {
                self.premise_reasons(now)
            } else {
                self.takeover_refusals(now)
            },
            hindrances: self.hindrances(),
            against_leaving: self
                .actuator
                .as_ref()
                .map(|actuator| actuator.against_leaving.clone())
                .unwrap_or_default(),
        }
    }

    /// What the platform says, and where another region holds the lease that it was told to make a second
    /// primary.
    fn hindrances(&self) -> Vec<Hindrance> {
        let Some(actuator) = &self.actuator else { return Vec::new() };
        let mut found = actuator.hindrances.clone();
        if let (Some(told), Some(holder)) = (&actuator.told_primary, self.other_holder()) {
            found.push(Hindrance {
                code: "both-primary".into(),
                meaning: format!(
                    "{told}, and {holder} holds the lease: writes are accepted in {holder} alone"
                ),
                action: "find who writes the role; it is put right when this member rejoins".into(),
            });
        }
        found
    }

    /// The region that holds the lease, where that is known to be another one.
    fn other_holder(&self) -> Option<&RegionId> {
        self.record()?.holder.as_ref().filter(|holder| **holder != self.me)
    }

    /// Role as a health check may rely on it: `Primary` only while the lease is valid.
    pub fn role(&self, now: Tick) -> RoleView {
        if self.actuator.is_none() {
            return RoleView::Unknown;
        }
        if self.handing_over() {
            return RoleView::HandingOver;
        }
        let held = self.confirmed.is_some() && self.authorised(now);
        if held {
            let answers = self
                .sql()
                .is_some_and(|(at, sql)| !sql.in_recovery && now.since(*at) < self.timing.ttl);
            return if self.is_primary() && answers {
                RoleView::Primary
            } else {
                RoleView::Promoting
            };
        }
        let Some(record) = self.record() else { return RoleView::Unknown };
        if record.held_by(&self.me) {
            return RoleView::Fenced;
        }
        match self.process() {
            Some(ProcessState::Running) if !self.promoted() => RoleView::Standby,
            Some(ProcessState::Stopped) if record.resting().is_some() => RoleView::Resting,
            Some(ProcessState::Stopped) if record.holder.is_some() => RoleView::Rejoining,
            Some(_) if self.promoted() => RoleView::Fenced,
            _ => RoleView::Unknown,
        }
    }

    /// The region this machine acts for.
    pub fn region(&self) -> &RegionId {
        &self.me
    }

    /// The pair's name.
    pub fn pair_id(&self) -> &crate::ids::PairId {
        &self.pair
    }

    /// The epoch this region has confirmed as its own, if any.
    pub fn confirmed_epoch(&self) -> Option<Epoch> {
        self.confirmed.map(|confirmed| confirmed.epoch)
    }

    /// This member's data directory, as told to the holder of `epoch` that asks (R13): only what is
    /// proven the beginning of that holder's WAL may be listed. A member that has not heard of that
    /// epoch says nothing, whatever its PostgreSQL streams.
    pub fn directory_for(&self, epoch: Epoch) -> Option<&DataDirectoryId> {
        let proven = self.proven_at() == Some(epoch) || planted(Bug::ListedUnproven);
        self.my_directory().filter(|_| proven)
    }
}
