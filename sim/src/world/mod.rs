//! One world: all hosts, and the driver that lets time pass and faults happen.

mod faults;
mod links;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use continuum_runtime::seed;

use crate::acceptors::Acceptors;
use crate::clock::{SimClock, WorldTime};
use crate::coverage::Coverage;
use crate::hosts::{Host, Shared};
use crate::links::Links;
use crate::members::Members;
use crate::plan::{Fault, Plan, USERS};
use crate::resolvers::Resolvers;
use crate::timeline::Strikes;
use crate::trace::Trace;
use crate::users::Users;

/// Data a connection may hold on the way; more is a burst that no host of ours makes.
const TCP_CAPACITY: usize = 65_536;
/// Simulated time no run reaches.
const FOR_EVER: Duration = Duration::from_secs(86_400);

/// One world.
pub struct World<'a> {
    sim: turmoil::Sim<'a>,
    /// The plan.
    pub plan: Arc<Plan>,
    /// The trace.
    pub trace: Trace,
    /// The users.
    pub users: Users,
    /// What is shared with the hosts.
    pub shared: Shared,
    /// PostgreSQL.
    pub members: Members,
    /// How often each kind of fault happened.
    pub counters: BTreeMap<String, u64>,
    /// When processes ended, by host.
    pub ends: Vec<(Duration, String)>,
    /// Whether every fault so far was one that no primary must notice.
    pub spared: bool,
    /// The faults so far, with their ends.
    pub strikes: Strikes,
    core: Vec<String>,
    time: WorldTime,
    links: Links,
    hosts: BTreeMap<String, Host>,
    held: BTreeSet<(String, String)>,
    frozen: BTreeMap<String, u32>,
    down: BTreeSet<String>,
    powerless: BTreeSet<String>,
    agenda: BTreeMap<(Duration, u64), faults::Action>,
    agenda_seq: u64,
    panicked: bool,
}

/// The first panic of this process's run: the one that follows from it says less.
static FIRST_PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Whether a panic was told of already.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Whether panics are noted already: a process may run one world after the other.
static NOTING: AtomicBool = AtomicBool::new(false);

/// What a line of stderr begins with that tells of the first panic.
pub const PANIC: &str = "panic: ";

/// Keeps the first panic's text and place for the verdict; shows all panics only if asked to. The
/// first one is told on stderr at once: what it leaves behind may end the process before a verdict.
pub fn note_panics(show: bool) {
    if NOTING.swap(true, Ordering::Relaxed) {
        return;
    }
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let mut first = FIRST_PANIC.lock().unwrap_or_else(PoisonError::into_inner);
        if !TOLD.swap(true, Ordering::Relaxed) {
            let text = panic.to_string().replace('\n', " ");
            eprintln!("{PANIC}{text}");
            *first = Some(text);
        }
        drop(first);
        if show {
            usual(panic);
        }
    }));
}

impl World<'_> {
    /// Lets one tick pass. The error is a panic inside a host, or an error of the simulation.
    pub fn step(&mut self) -> Result<(), String> {
        self.act();
        self.restart_ended();
        let stepped = catch_unwind(AssertUnwindSafe(|| self.sim.step()));
        let now = self.sim.elapsed();
        self.time.set(now);
        self.members.advance(now);
        match stepped {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(format!("the simulation failed: {error}")),
            Err(_) => {
                self.panicked = true;
                let first = FIRST_PANIC.lock().unwrap_or_else(PoisonError::into_inner).take();
                return Err(first.unwrap_or_else(|| "panic: without a text".into()));
            }
        }
        let outside = seed::outside_scope();
        match outside.first() {
            Some(place) => Err(format!("randomness outside any scope: {place}")),
            None => Ok(()),
        }
    }

    /// Whether a host panicked: the world must not be used, nor dropped, any more.
    pub fn has_panicked(&self) -> bool {
        self.panicked
    }

    /// Time since the world began.
    pub fn now(&self) -> Duration {
        self.sim.elapsed()
    }

    /// Puts the plan's faults on the agenda, counted from now.
    pub fn schedule(&mut self) {
        let now = self.now();
        for scheduled in self.plan.clone().faults.iter() {
            let when = now + Duration::from_millis(scheduled.at);
            self.at(when, faults::Action::Begin(scheduled.fault.clone()));
        }
    }

    /// Ends every fault.
    pub fn heal_all(&mut self) {
        self.heal();
    }

    /// Lets a fault begin now.
    pub fn break_with(&mut self, fault: Fault) {
        self.begin(fault);
    }

    /// A file of a host, as its disk holds it.
    pub fn file_of(&self, host: &str, file: &str) -> Option<Vec<u8>> {
        self.hosts.get(host)?.disk.peek(file)
    }

    /// A file of every control node.
    pub fn files_of_core(&self, file: &str) -> Vec<(String, Vec<u8>)> {
        let nodes = self.plan.core().into_iter();
        nodes.filter_map(|node| Some((node.clone(), self.file_of(&node, file)?))).collect()
    }

    /// Whether the core may hear of `region` at this tick.
    pub fn is_heard(&self, region: &str) -> bool {
        self.links.is_heard(region, &self.core, !self.down.contains(region))
    }

    /// All hosts but this one.
    pub fn names_of_others(&self, name: &str) -> Vec<String> {
        self.others(name)
    }
}

/// Builds the world of `plan`.
pub fn build<'a>(plan: &Plan, trace: Trace, time: WorldTime) -> World<'a> {
    let plan = Arc::new(plan.clone());
    let (least, most) = plan.latency;
    let (least, most) = (Duration::from_millis(least), Duration::from_millis(most));
    let mut sim = turmoil::Builder::new()
        .rng_seed(plan.seed)
        .epoch(std::time::UNIX_EPOCH)
        .tick_duration(Duration::from_millis(plan.tick))
        .min_message_latency(least)
        .max_message_latency(most)
        .simulation_duration(FOR_EVER)
        .tcp_capacity(TCP_CAPACITY)
        .udp_capacity(TCP_CAPACITY)
        .enable_random_order()
        .build();
    let links = Links::new(plan.seed ^ 0x11_4B5, (least, most));
    let users = Users::default();
    let clocks: BTreeMap<String, SimClock> = (0u64..)
        .zip(plan.hosts())
        .map(|(index, name)| {
            let ppm = plan.rates_ppm.get(&name).copied().unwrap_or(0);
            let clock = SimClock::new(&time, ppm, Duration::from_millis(index * 7_919));
            (name, clock)
        })
        .collect();
    let members = Members::new(&plan, &links, |name| clocks[name].clone());
    let shared = Shared {
        plan: plan.clone(),
        trace: trace.clone(),
        history: crate::recording::History::default(),
        acceptors: Acceptors::new(plan.acceptors),
        members: members.clone(),
        links: links.clone(),
        resolvers: Resolvers::new(&links, &time),
        users: users.clone(),
        time: time.clone(),
        coverage: Coverage::default(),
        failing: Arc::default(),
    };
    let mut hosts = BTreeMap::new();
    for (index, name) in (0u64..).zip(plan.hosts()) {
        let Some(clock) = clocks.get(&name).cloned() else { continue };
        let seed = plan.seed.wrapping_mul(1_000_003).wrapping_add(index);
        let host = Host::new(&name, seed, clock, &shared);
        let booted = host.clone();
        sim.host(name.as_str(), move || booted.boot());
        hosts.insert(name, host);
    }
    debug_assert!(hosts.contains_key(USERS));
    World {
        sim,
        core: plan.core(),
        plan,
        trace,
        users,
        shared,
        members,
        counters: BTreeMap::new(),
        ends: Vec::new(),
        spared: true,
        strikes: Strikes::default(),
        time,
        links,
        hosts,
        held: BTreeSet::new(),
        frozen: BTreeMap::new(),
        down: BTreeSet::new(),
        powerless: BTreeSet::new(),
        agenda: BTreeMap::new(),
        agenda_seq: 0,
        panicked: false,
    }
}
