//! Plans drawn from a seed.

use continuum_domain::Timing;
use continuum_domain::operation::{Method, RejoinMethod};
use continuum_domain::spec::{Durability, PairMode, Takeover, WitnessLossPolicy};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::plan::{
    DiskFault, Fault, MemberFault, Ms, NAMES, Plan, REGIONS, Scheduled, USERS, WITNESS,
};

/// Faults of a run begin within this time.
const SPAN_MS: Ms = 25_000;

/// What plans are drawn with.
pub(crate) struct Dice(SmallRng);

impl Dice {
    /// Dice of this seed.
    pub(crate) fn of(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// A number from `least` on, below `limit`.
    pub(crate) fn from(&mut self, least: u64, limit: u64) -> u64 {
        least + self.below(limit.saturating_sub(least))
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0.random_range(0..limit.max(1))
    }

    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.0.random_ratio(percent, 100)
    }

    pub(crate) fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.0.random_range(0..choices.len())].clone()
    }
}

/// The plan of `seed`.
pub fn plan(seed: u64) -> Plan {
    let mut dice = Dice::of(seed ^ 0x00C0_FFEE);
    let regions = if dice.chance(60) { 2 } else { 3 };
    let durability = dice.pick(&[
        Durability::Strict,
        Durability::Available,
        Durability::Available,
        Durability::Async,
    ]);
    let mut plan = Plan::quiet(seed, regions, durability);
    plan.acceptors = acceptors(seed);
    if dice.chance(15) {
        plan.nodes = 5;
    }
    if dice.chance(25) {
        plan.on_witness_loss = WitnessLossPolicy::Failsafe;
    }
    if durability == Durability::Async && dice.chance(60) {
        plan.rpo_bytes = Some(if seed.is_multiple_of(2) { 1 << 20 } else { 2_000 });
    }
    if dice.chance(10) {
        plan.timing = Timing::default();
    }
    plan.mode = match dice.below(100) {
        0..=4 => PairMode::SemiAutomatic,
        5..=7 => PairMode::Manual,
        8 | 9 => PairMode::ObserveOnly,
        _ => PairMode::Automatic,
    };
    plan.anti_flap = dice.pick(&[0, 1_000, 10_000]);
    plan.latency = dice.pick(&[(1, 4), (1, 10), (2, 30), (5, 50)]);
    plan.tick = dice.pick(&[5, 10, 10, 20]);
    plan.write_interval = dice.pick(&[20, 50, 150]);
    // A writer that goes from region to region sees a split that those with a session do not.
    plan.wanderers = dice.pick(&[0, 1, 2]);
    // Two clocks may differ by the drift bound, so each by half of it.
    let half = i64::from(plan.timing.drift_ppm) / 2;
    for host in plan.hosts() {
        let rate = dice.pick(&[-half, 0, 0, half]);
        plan.rates_ppm.insert(host, rate);
    }
    let count = if dice.chance(12) { 12 + dice.below(12) } else { 1 + dice.below(8) };
    // Most days are mixed; on some everything goes for the lease.
    let of_lease = dice.chance(35);
    for _ in 0..count + u64::from(of_lease) * 4 {
        let of_lease = of_lease && dice.chance(75);
        let fault = if of_lease { lease_fault(&mut dice, &plan) } else { fault(&mut dice, &plan) };
        plan.faults.push(Scheduled { at: dice.below(SPAN_MS), fault });
    }
    by_the_ledger(&mut plan);
    mixed_versions(&mut plan);
    lost_acceptor(&mut plan);
    stopped_pair(&mut plan);
    rejoins(&mut plan);
    plan.faults.sort_by_key(|scheduled| scheduled.at);
    keep_assumptions(&mut plan);
    plan
}

/// How the witness is made, with dice of its own: what is drawn here leaves days with one server as
/// they are.
fn acceptors(seed: u64) -> usize {
    let mut dice = Dice::of(seed ^ 0xACCE_9700);
    match dice.below(100) {
        0..=24 => 3,
        25..=28 => 5,
        29 => 1,
        _ => 0,
    }
}

/// On some days the pair is stopped and started again, with dice of its own: other days stay as they
/// are.
fn stopped_pair(plan: &mut Plan) {
    let mut dice = Dice::of(plan.seed ^ 0x5709_9ED0);
    if !dice.chance(8) {
        return;
    }
    for _ in 0..1 + dice.below(2) {
        let fault = Fault::StopPair { span: dice.pick(&[500, 3_000, 10_000]) };
        plan.faults.push(Scheduled { at: dice.below(SPAN_MS), fault });
    }
}

/// On some days members are told to try again, or to take a fresh clone: mostly while something else
/// goes on, at times more than one, and not only those that could. With dice of its own: other days
/// stay as they are.
fn rejoins(plan: &mut Plan) {
    let mut dice = Dice::of(plan.seed ^ 0x00C1_0E55);
    if !dice.chance(12) {
        return;
    }
    let moments: Vec<Ms> = plan.faults.iter().map(|scheduled| scheduled.at).collect();
    for _ in 0..1 + dice.below(3) {
        let beside = dice.chance(60) && !moments.is_empty();
        let at = if beside { dice.pick(&moments) + dice.below(1_500) } else { dice.below(SPAN_MS) };
        let region = dice.pick(&plan.region_names());
        let method = dice.pick(&[RejoinMethod::Retry, RejoinMethod::Clone, RejoinMethod::Clone]);
        plan.faults.push(Scheduled { at, fault: Fault::Rejoin { region, method } });
    }
}

/// On some days one acceptor loses its state, and on most of those it is taken in again: always the
/// same one, because two are more than a quorum of three bears.
fn lost_acceptor(plan: &mut Plan) {
    let mut dice = Dice::of(plan.seed ^ 0x10_57AC);
    if plan.acceptors < 3 || !dice.chance(40) {
        return;
    }
    let at = dice.below(SPAN_MS);
    let host = WITNESS.to_owned();
    let fault = Fault::DiskLost { host: host.clone(), down: dice.pick(&[100, 1_000, 4_000]) };
    plan.faults.push(Scheduled { at, fault });
    if dice.chance(75) {
        let at = at + dice.from(50, 8_000);
        plan.faults.push(Scheduled { at, fault: Fault::ReplaceAcceptor { name: host } });
    }
}

/// Some of the witness's servers, at times all of them.
fn witnesses(dice: &mut Dice, plan: &Plan) -> Vec<String> {
    let mut servers = plan.witnesses();
    if servers.len() > 1 {
        let keep = usize::try_from(dice.from(1, servers.len() as u64 + 1)).unwrap_or(1);
        while servers.len() > keep {
            let away = dice.pick(&servers);
            servers.retain(|server| *server != away);
        }
    }
    servers
}

/// Takeover by the ledger and ways to switch over, with dice of their own: whatever is drawn here,
/// the rest of the plan stays as it is.
fn by_the_ledger(plan: &mut Plan) {
    let mut dice = Dice::of(plan.seed ^ 0x1ED6_E200);
    if !plan.durability.is_synchronous() {
        return;
    }
    if dice.chance(50) {
        plan.takeover = Takeover::Ledger;
    }
    plan.suspect_after = dice.pick(&[400, 600, 1_000]);
    for scheduled in &mut plan.faults {
        if let Fault::Switchover { method, .. } = &mut scheduled.fault {
            *method = dice.pick(&[None, None, Some(Method::Hot), Some(Method::Clean)]);
        }
    }
    let at = dice.below(SPAN_MS);
    if dice.chance(10) {
        let (region, what) = (region(&mut dice, plan), MemberFault::CommitLowered);
        let fault = Fault::Member { region, what, span: span(&mut dice) };
        plan.faults.push(Scheduled { at, fault });
    }
    // A pair that takes over by the ledger should be moved by hand now and then as well.
    let at = dice.below(SPAN_MS);
    if plan.takeover == Takeover::Ledger && dice.chance(20) {
        let (to, method) = (region(&mut dice, plan), dice.pick(&[None, Some(Method::Hot)]));
        plan.faults.push(Scheduled { at, fault: Fault::Switchover { to, method } });
    }
}

/// On some days hosts of a newer version run among the others, or come while it lasts. With dice of
/// their own: the other days stay as they are.
fn mixed_versions(plan: &mut Plan) {
    let mut dice = Dice::of(plan.seed ^ 0x0007_E2B5);
    if !dice.chance(20) {
        return;
    }
    let mut hosts = plan.core();
    hosts.extend(plan.region_names());
    for host in hosts {
        match dice.below(4) {
            0 | 1 => drop(plan.newer.insert(host)),
            2 => {
                let (at, down) = (dice.below(SPAN_MS), dice.pick(&[300, 1_500]));
                plan.faults.push(Scheduled { at, fault: Fault::Upgrade { host, down } });
            }
            _ => {}
        }
    }
}

/// R2: what a host frozen past its deadline may still acknowledge is held back by the names alone,
/// which a takeover under an approval does not have on its side.
pub fn keep_assumptions(plan: &mut Plan) {
    let frozen = |scheduled: &Scheduled| matches!(scheduled.fault, Fault::FreezeHost { .. });
    let freezes = plan.faults.iter().any(frozen);
    for scheduled in &mut plan.faults {
        if let Fault::Failover { allow_data_loss, .. } = &mut scheduled.fault {
            *allow_data_loss &= !freezes;
        }
    }
}

fn fault(dice: &mut Dice, plan: &Plan) -> Fault {
    match dice.below(20) {
        0..=6 => network(dice, plan),
        7..=11 => process(dice, plan),
        12 => Fault::Disk {
            host: host(dice, plan),
            how: dice.pick(&[DiskFault::Fails, DiskFault::Full, DiskFault::Slow]),
            span: span(dice),
        },
        13 => Fault::WallStep {
            host: host(dice, plan),
            by_ms: dice.pick(&[-3_600_000, -1_000, 1_000, 3_600_000]),
        },
        14 | 15 => Fault::Member {
            region: region(dice, plan),
            what: dice.pick(&[
                MemberFault::PostgresCrash,
                MemberFault::PostgresCrash,
                MemberFault::GuardCrash,
                MemberFault::SlowCheckpointer,
                MemberFault::ReplayStall,
                MemberFault::StartFails,
                MemberFault::SlowCommands,
                MemberFault::ReceiverStuck,
                MemberFault::SyncHangs,
                MemberFault::DiskFull,
                MemberFault::BackendCrash,
                MemberFault::Wiped,
                MemberFault::WaitCancelled,
            ]),
            span: span(dice),
        },
        _ => order(dice, plan),
    }
}

fn span(dice: &mut Dice) -> Ms {
    dice.pick(&[150, 700, 2_000, 4_000, 6_000, 9_000])
}

/// A region, mostly the one that begins as primary.
fn region(dice: &mut Dice, plan: &Plan) -> String {
    if dice.chance(40) { REGIONS[0].to_owned() } else { dice.pick(&plan.region_names()) }
}

fn host(dice: &mut Dice, plan: &Plan) -> String {
    let hosts: Vec<String> = plan.hosts().into_iter().filter(|host| host != USERS).collect();
    dice.pick(&hosts)
}

/// Two sides of a cut: a region and what it loses, one node and the rest, or any two hosts.
fn sides(dice: &mut Dice, plan: &Plan) -> (Vec<String>, Vec<String>) {
    let one = region(dice, plan);
    let peers: Vec<String> = plan.region_names().into_iter().filter(|name| *name != one).collect();
    match dice.below(8) {
        0 => (vec![one], plan.core()),
        1 | 2 => (vec![one], witnesses(dice, plan)),
        3 => (vec![one], peers),
        4 => {
            let all = plan.hosts().into_iter().filter(|host| *host != one).collect();
            (vec![one], all)
        }
        5 => {
            let node = dice.pick(&plan.core());
            let rest = plan.core().into_iter().filter(|name| *name != node).collect();
            (vec![node], rest)
        }
        6 => {
            let servers = witnesses(dice, plan);
            let rest = plan.hosts().into_iter().filter(|host| !servers.contains(host));
            (servers.clone(), rest.collect())
        }
        _ => (vec![one], vec![dice.pick(&[NAMES, USERS, WITNESS]).to_owned()]),
    }
}

fn network(dice: &mut Dice, plan: &Plan) -> Fault {
    let (mut a, mut b) = sides(dice, plan);
    let span = span(dice);
    match dice.below(10) {
        0..=3 => Fault::Cut { a, b, both: true, span },
        4..=6 => {
            if dice.chance(50) {
                std::mem::swap(&mut a, &mut b);
            }
            Fault::Cut { a, b, both: false, span }
        }
        7 => Fault::Flap { a, b, period: dice.pick(&[100, 700, 1_500, 3_000]), span: span * 2 },
        8 => Fault::Hold { a, b, span },
        _ => Fault::Slow { a, b, most: dice.pick(&[100, 300, 900]), span: span * 2 },
    }
}

/// What makes renewals late or lost, for about as long as a lease lasts.
fn lease_fault(dice: &mut Dice, plan: &Plan) -> Fault {
    let host = region(dice, plan);
    let (a, b) = (vec![host.clone()], witnesses(dice, plan));
    let ttl = u64::try_from(plan.timing.ttl.as_millis()).unwrap_or(3_000);
    let span = dice.pick(&[ttl / 2, ttl * 9 / 10, ttl * 5 / 4, ttl * 2, ttl * 3]);
    match dice.below(9) {
        0 | 1 => Fault::Cut { a, b, both: true, span },
        2 | 3 => Fault::Cut { a: b, b: a, both: false, span },
        4 | 5 => Fault::Hold { a, b, span },
        6 => Fault::Slow { a, b, most: dice.pick(&[200, 500, ttl / 3]), span: span * 2 },
        7 => Fault::Freeze { host, span },
        _ => Fault::Kill { host, down: dice.pick(&[20, 300, ttl]) },
    }
}

fn process(dice: &mut Dice, plan: &Plan) -> Fault {
    let down = dice.pick(&[20, 300, 1_500, 4_500, 8_000]);
    let host = if dice.chance(60) { region(dice, plan) } else { host(dice, plan) };
    let of_region = plan.region_names().contains(&host);
    match dice.below(10) {
        0..=3 => Fault::Kill { host, down },
        4..=6 => Fault::PowerOff { host, down },
        // A frozen host needs a watchdog in `async` (R2), which is not modelled.
        7 if of_region && plan.durability.is_synchronous() => {
            Fault::FreezeHost { host, span: span(dice) }
        }
        _ => Fault::Freeze { host, span: span(dice) },
    }
}

fn order(dice: &mut Dice, plan: &Plan) -> Fault {
    let to = region(dice, plan);
    match dice.below(16) {
        0..=4 => Fault::Switchover { to, method: None },
        5 | 6 => Fault::Failover { to, allow_data_loss: dice.chance(30) },
        7 => Fault::PauseAutomation { span: span(dice) },
        8 => Fault::CancelOperation,
        9 | 11 => Fault::ApproveOperation,
        10 => Fault::Fence { region: to, span: span(dice) },
        12 => Fault::PausePair { span: span(dice) },
        13 => Fault::SetMode {
            mode: dice.pick(&[
                PairMode::Automatic,
                PairMode::SemiAutomatic,
                PairMode::Manual,
                PairMode::ObserveOnly,
            ]),
        },
        _ => {
            let durability = dice.pick(&[Durability::Strict, Durability::Available]);
            let sync = plan.durability.is_synchronous();
            // A pair that began `async` stays so: its losses are judged by another measure.
            Fault::SetDurability { durability: if sync { durability } else { plan.durability } }
        }
    }
}
