//! What a run is made of: everything is in here, so that a failing run is one value.

use std::time::Duration;

use continuum_domain::Timing;
use continuum_domain::corroborate::{Corroborate, CorroborationEffect};
use continuum_domain::spec::{Durability, LossApproval, Takeover, WitnessLossPolicy};

use super::rejoins::{Rejoin, Whom};
use super::resolvers::corroborated;
use super::{Rng, ms};

/// A fault or an order, at an instant of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    AgentCrash {
        r: usize,
        down: u64,
    },
    AgentHang {
        r: usize,
        span: u64,
    },
    GuardCrash {
        r: usize,
        down: u64,
    },
    PgCrash {
        r: usize,
    },
    HostCrash {
        r: usize,
        down: u64,
    },
    HostFreeze {
        r: usize,
        span: u64,
    },
    LinkCut {
        a: usize,
        b: usize,
        span: u64,
    },
    /// One member's agents and PostgreSQL are cut from all others, not from the witness.
    PeersCut {
        r: usize,
        span: u64,
    },
    WitnessCut {
        r: usize,
        span: u64,
    },
    WitnessOut {
        span: u64,
    },
    WitnessSlow {
        r: usize,
        span: u64,
    },
    /// Requests to the witness land, answers do not come back.
    AnswersLost {
        r: usize,
        span: u64,
    },
    CoreCut {
        r: usize,
        span: u64,
    },
    CoreDenies {
        span: u64,
    },
    /// The core is there and leaves questions open.
    CoreIgnores {
        span: u64,
    },
    SlowCheckpointer {
        r: usize,
        span: u64,
    },
    /// Connections to the witness are refused at once.
    WitnessRefuses {
        r: usize,
        span: u64,
    },
    /// Flushes of the member's disk do not return.
    FlushHangs {
        r: usize,
        span: u64,
    },
    /// The WAL receiver takes nothing up, and nobody ends its connection.
    ReceiverStuck {
        r: usize,
        span: u64,
    },
    ReplayStall {
        r: usize,
        span: u64,
    },
    StartFails {
        r: usize,
        span: u64,
    },
    SlowCommands {
        r: usize,
        span: u64,
    },
    Switchover {
        to: usize,
        deadline: u64,
    },
    /// The target takes over from the living holder.
    HotSwitchover {
        to: usize,
        deadline: u64,
    },
    AbortSwitchover,
    FailOver {
        to: usize,
        lossy: bool,
    },
    Pause {
        span: u64,
    },
    AutomationPaused {
        span: u64,
    },
    /// The pair is stopped and started again after `span`.
    Rest {
        span: u64,
    },
    /// A member is told to try again, or to take a fresh clone.
    Rejoin {
        whom: Whom,
        how: Rejoin,
    },
    OperatorFence {
        r: usize,
        span: u64,
    },
    DiskLoss {
        r: usize,
    },
    /// An old copy of the member's data directory is put back.
    OldCopy {
        r: usize,
    },
    SetDurability {
        durability: Durability,
    },
    /// A resolver says nothing.
    ResolverSilent {
        index: usize,
        span: u64,
    },
    /// A resolver answers that it failed.
    ResolverFails {
        index: usize,
        span: u64,
    },
    /// A resolver says that every health name has an address.
    ResolverStale {
        index: usize,
        span: u64,
    },
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub regions: usize,
    pub durability: Durability,
    pub on_witness_loss: WitnessLossPolicy,
    pub takeover: Takeover,
    pub loss_approval: Option<LossApproval>,
    /// A second opinion that is asked for.
    pub corroborate: Option<Corroborate>,
    pub timing: Timing,
    pub rates_ppm: [i64; 3],
    /// Requests and answers lost at any time, in a thousand.
    pub loss_per_mille: u64,
    pub write_interval_ms: u64,
    /// When, in milliseconds after the pair first stood, and what.
    pub faults: Vec<(u64, Fault)>,
    pub tracing: bool,
}

/// A timing that keeps the proportions of the default and makes runs short.
pub fn short_timing() -> Timing {
    Timing {
        ttl: ms(3_000),
        renew: ms(600),
        stop_budget: ms(500),
        guard: ms(200),
        drift_ppm: 10_000,
    }
}

impl Plan {
    pub fn quiet(seed: u64, regions: usize, durability: Durability) -> Self {
        Self {
            seed,
            regions,
            durability,
            on_witness_loss: WitnessLossPolicy::Fence,
            takeover: Takeover::Ttl,
            loss_approval: None,
            corroborate: None,
            timing: short_timing(),
            rates_ppm: [0, 0, 0],
            loss_per_mille: 0,
            write_interval_ms: 40,
            faults: Vec::new(),
            tracing: false,
        }
    }

    /// A random plan, all of it from `seed`.
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x00C0_FFEE);
        let regions = if rng.chance(600) { 2 } else { 3 };
        let durability = rng.pick(&[Durability::Strict, Durability::Available, Durability::Async]);
        let mut plan = Self::quiet(seed, regions, durability);
        if rng.chance(300) {
            plan.on_witness_loss = WitnessLossPolicy::Failsafe;
        }
        if durability == Durability::Async && rng.chance(600) {
            let rpo_bytes = if seed.is_multiple_of(2) { 1 << 20 } else { 4_000 };
            plan.loss_approval = Some(LossApproval { rpo_bytes });
        }
        // From a generator of its own, so that the rest of a plan stays as it was.
        if durability.is_synchronous() && Rng::new(seed ^ 0x01ED_6E42).chance(500) {
            plan.takeover = Takeover::Ledger;
        }
        let half = i64::from(plan.timing.drift_ppm) / 2;
        plan.rates_ppm = std::array::from_fn(|_| rng.pick(&[-half, 0, half]));
        plan.loss_per_mille = rng.pick(&[0, 0, 5, 30]);
        plan.write_interval_ms = rng.pick(&[10, 40, 120]);
        if rng.chance(100) {
            plan.timing = Timing::default();
        }
        // Mostly a bad day, sometimes a very bad quarter of a minute.
        let count = if rng.chance(150) { 25 + rng.below(20) } else { 3 + rng.below(12) };
        plan.faults = (0..count)
            .map(|_| (rng.below(25_000), Fault::random(&mut rng, regions, durability)))
            .collect();
        plan.faults.sort_by_key(|(at, _)| *at);
        plan.keep_assumptions();
        plan
    }

    /// A plan of a pair that asks for a second opinion, of resolvers that are not always well.
    pub fn corroborated(seed: u64) -> Self {
        let mut plan = Self::from_seed(seed);
        let mut rng = Rng::new(seed ^ 0x0D15_0D15);
        let effect = rng.pick(&[
            CorroborationEffect::Veto,
            CorroborationEffect::Veto,
            CorroborationEffect::Annotate,
        ]);
        plan.corroborate = Some(corroborated(effect));
        for _ in 0..rng.below(8) {
            let (index, at) = (rng.below(3) as usize, rng.below(25_000));
            let span = rng.pick(&[300, 1_500, 6_000, 12_000]);
            let fault = match rng.below(3) {
                0 => Fault::ResolverSilent { index, span },
                1 => Fault::ResolverFails { index, span },
                _ => Fault::ResolverStale { index, span },
            };
            plan.faults.push((at, fault));
        }
        plan.faults.sort_by_key(|(at, _)| *at);
        plan
    }

    /// A plan in which members are often promoted apart: cut off from each other, restarted in
    /// place, and given the lease by hand.
    pub fn of_forks(seed: u64) -> Self {
        let mut plan = Self::from_seed(seed);
        let mut rng = Rng::new(seed ^ 0x0F0C_4B1E);
        plan.timing = short_timing();
        let count = 8 + rng.below(16);
        plan.faults = (0..count)
            .map(|_| (rng.below(25_000), Fault::that_forks(&mut rng, plan.regions)))
            .collect();
        plan.faults.sort_by_key(|(at, _)| *at);
        plan
    }

    /// A plan in which the pair is put to rest again and again, whatever else happens.
    pub fn of_rests(seed: u64) -> Self {
        let mut plan = Self::from_seed(seed);
        let mut rng = Rng::new(seed ^ 0x0000_9E57);
        for _ in 0..1 + rng.below(4) {
            let span = rng.pick(&[300, 1_500, 4_000, 9_000]);
            plan.faults.push((rng.below(25_000), Fault::Rest { span }));
        }
        plan.faults.sort_by_key(|(at, _)| *at);
        plan
    }

    /// R2: what a host frozen past its deadline may still acknowledge is held back by the names
    /// alone, which a takeover outside the ledger does not have on its side.
    pub fn keep_assumptions(&mut self) {
        let freezes = self.faults.iter().any(|(_, f)| matches!(f, Fault::HostFreeze { .. }));
        for (_, fault) in &mut self.faults {
            if let Fault::FailOver { lossy, .. } = fault {
                *lossy &= !freezes;
            }
        }
    }

    /// When everything is healed: the last fault has had its time.
    pub fn horizon(&self) -> Duration {
        ms(self.faults.iter().map(|(at, _)| *at).max().unwrap_or(0) + 6_000)
    }
}

impl Fault {
    fn that_forks(rng: &mut Rng, regions: usize) -> Self {
        let r = rng.below(regions as u64) as usize;
        let span = rng.pick(&[700, 2_000, 4_000, 8_000]);
        let down = rng.pick(&[300, 1_500, 4_500, 7_000]);
        match rng.below(20) {
            0..=4 => Fault::PeersCut { r, span },
            5..=7 => Fault::PgCrash { r },
            8..=10 => Fault::HostCrash { r, down },
            11..=14 => Fault::FailOver { to: r, lossy: true },
            15 => Fault::WitnessCut { r, span },
            16 => Fault::OperatorFence { r, span },
            17 => Fault::Switchover { to: r, deadline: 1_500 },
            18 if rng.chance(500) => Fault::OldCopy { r },
            18 => Fault::DiskLoss { r },
            _ => Fault::AgentCrash { r, down },
        }
    }

    pub fn random(rng: &mut Rng, regions: usize, durability: Durability) -> Self {
        let r = rng.below(regions as u64) as usize;
        let other = (r + 1 + rng.below(regions as u64 - 1) as usize) % regions;
        let span = rng.pick(&[150, 700, 2_000, 4_000, 8_000]);
        let down = rng.pick(&[20, 300, 1_500, 4_500]);
        // A frozen host needs a watchdog in `async` (R2), which is not modelled.
        let freezes = durability.is_synchronous();
        match rng.below(39) {
            0..=3 => Fault::AgentCrash { r, down },
            4 => Fault::AgentHang { r, span },
            5 => Fault::GuardCrash { r, down },
            6 | 7 => Fault::PgCrash { r },
            8 | 9 => Fault::HostCrash { r, down },
            10 if freezes => Fault::HostFreeze { r, span },
            10 | 11 => Fault::AgentHang { r, span },
            12 | 13 => Fault::LinkCut { a: r, b: other, span },
            14 => Fault::PeersCut { r, span },
            15..=17 => Fault::WitnessCut { r, span },
            18 => Fault::WitnessOut { span },
            19 | 20 => Fault::WitnessSlow { r, span },
            21 => Fault::CoreCut { r, span },
            22 if rng.chance(500) => Fault::CoreDenies { span },
            22 => Fault::CoreIgnores { span },
            23 => Fault::SlowCheckpointer { r, span },
            24 if span.is_multiple_of(2) => Fault::ReceiverStuck { r, span },
            24 => Fault::ReplayStall { r, span },
            25 => Fault::StartFails { r, span },
            26 => Fault::SlowCommands { r, span },
            27 | 28 => Fault::Switchover { to: r, deadline: rng.pick(&[300, 1_500, 4_000]) },
            29 | 30 => Fault::HotSwitchover { to: r, deadline: rng.pick(&[300, 1_500, 4_000]) },
            31 => Fault::AbortSwitchover,
            32 => Fault::FailOver { to: r, lossy: rng.chance(300) },
            33 => match rng.below(3) {
                0 => Fault::Pause { span },
                1 => Fault::AutomationPaused { span },
                _ => Fault::OperatorFence { r, span },
            },
            34 => Fault::DiskLoss { r },
            35 => Fault::OldCopy { r },
            36 | 37 => Fault::AnswersLost { r, span },
            _ => Fault::SetDurability {
                durability: rng.pick(&[
                    Durability::Strict,
                    Durability::Available,
                    Durability::Async,
                ]),
            },
        }
    }
}
