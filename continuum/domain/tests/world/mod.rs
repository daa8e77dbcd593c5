//! A deterministic world around the pair and session machines.
//!
//! ```text
//!   clients ----> PostgreSQL <--- guard <--- agent (Session + PairMachine) ---> register
//!      |              ^  |                    |        ^                           |
//!      v              |  +--- WAL, replies ---+        +---- peers, operator       |
//!    judge <----------+--------------- every acknowledgement, every change --------+
//! ```
//!
//! One list of jobs in simulated time, one seeded generator for every choice. Nothing here looks
//! into the machines to decide whether a rule was kept: the [`judge`] sees what clients, the
//! register and the disks see.

pub mod agent;
pub mod clients;
pub mod clock;
pub mod effects;
pub mod faults;
pub mod guard;
pub mod judge;
pub mod lineage;
pub mod operator;
pub mod plan;
pub mod plane;
pub mod postgres;
pub mod register;
pub mod rejoins;
pub mod resolvers;
pub mod streaming;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use continuum_domain::spec::{MemberSpec, PairSpec};
use continuum_domain::{PairId, RegionId, Tick, Timing};

pub use agent::Agent;
pub use clock::{Clock, Rng, ms};
pub use faults::{Kind, Net};
pub use guard::Guard;
pub use judge::Judge;
pub use operator::Operator;
pub use plan::{Fault, Plan};
pub use postgres::Postgres;
pub use register::Register;
pub use resolvers::Resolvers;

/// Which part of the world runs a job, so that a hang of that part holds the job up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Nobody's: the network, the witness, the world itself.
    World,
    /// The agent of this region.
    Agent(usize),
    /// PostgreSQL or the guard of this region.
    Data(usize),
}

pub type Work = Box<dyn FnOnce(&mut World)>;

struct Job {
    host: Host,
    work: Work,
}

/// One region: a host with its clock, what runs there and what is on its disks.
pub struct Region {
    pub name: RegionId,
    pub clock: Clock,
    pub agent: Option<Agent>,
    /// Rises with each start of the agent.
    pub agent_life: u64,
    pub guard: Guard,
    pub pg: Postgres,
    /// A promise on disk (R20).
    pub promise: Option<Duration>,
    pub agent_thaws: u64,
    pub host_thaws: u64,
}

pub struct World {
    /// True time in nanoseconds.
    pub now: u64,
    sequence: u64,
    jobs: BTreeMap<(u64, u64), Job>,
    pub rng: Rng,
    pub timing: Timing,
    pub spec: PairSpec,
    pub spec_version: u64,
    pub regions: Vec<Region>,
    pub register: Register,
    pub net: Net,
    pub operator: Operator,
    pub resolvers: Resolvers,
    pub judge: Judge,
    pub ids: u64,
    pub write_interval: Duration,
    pub tracing: bool,
    pub trace: VecDeque<String>,
    said: BTreeMap<String, u32>,
    pub steps: u64,
    /// Which events were fed in which states (kind of role, process, event).
    pub coverage: BTreeMap<(String, &'static str), u64>,
    /// What lowers `synchronous_commit` at each member, as a look by SQL finds it.
    pub lowered_commit: Vec<Vec<String>>,
    /// Machines to be walked with every event, if anybody wants them.
    pub specimens: Option<BTreeMap<String, (Tick, continuum_domain::pair::PairMachine)>>,
}

const NAMES: [&str; 3] = ["ash", "fsn", "hel"];
const TRACE_LINES: usize = 1_200;

impl World {
    /// A world as the plan says, with every agent about to start on empty disks.
    pub fn new(plan: &Plan) -> Self {
        let mut rng = Rng::new(plan.seed);
        let names: Vec<_> =
            NAMES.iter().take(plan.regions).map(|name| RegionId::new(*name).unwrap()).collect();
        let spec = spec_of(plan, &names);
        let regions = names.iter().enumerate().map(|(index, name)| Region {
            name: name.clone(),
            clock: Clock {
                offset: 1_000_000_000 + rng.below(1_000_000_000_000),
                rate_ppm: plan.rates_ppm[index],
            },
            agent: None,
            agent_life: 0,
            guard: Guard::default(),
            pg: Postgres::default(),
            promise: None,
            agent_thaws: 0,
            host_thaws: 0,
        });
        let regions: Vec<_> = regions.collect();
        let mut world = Self {
            now: 0,
            sequence: 0,
            jobs: BTreeMap::new(),
            net: Net::new(plan),
            timing: plan.timing,
            spec,
            spec_version: 1,
            register: Register::new(regions.len()),
            operator: Operator::default(),
            resolvers: Resolvers::default(),
            judge: Judge::new(regions.len()),
            regions,
            rng,
            ids: 0,
            write_interval: ms(plan.write_interval_ms),
            tracing: plan.tracing,
            trace: VecDeque::new(),
            said: BTreeMap::new(),
            steps: 0,
            coverage: BTreeMap::new(),
            lowered_commit: vec![Vec::new(); plan.regions],
            specimens: None,
        };
        for r in 0..world.regions.len() {
            world.start_guard(r);
            let delay = world.rng.upto(ms(300));
            world.after(delay, Host::World, move |w| w.start_agent(r));
        }
        world.start_clients();
        world
    }

    /// Runs `work` after `delay`, on `host`.
    pub fn after(&mut self, delay: Duration, host: Host, work: impl FnOnce(&mut World) + 'static) {
        self.at(self.now + delay.as_nanos() as u64, host, Box::new(work));
    }

    pub fn at(&mut self, time: u64, host: Host, work: Work) {
        self.sequence += 1;
        self.jobs.insert((time.max(self.now), self.sequence), Job { host, work });
    }

    /// Lets `span` of true time pass, or less if the judge finds something.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span.as_nanos() as u64;
        while self.judge.violations.is_empty() {
            match self.jobs.first_key_value() {
                Some(((time, _), _)) if *time <= end => {}
                _ => break,
            }
            let Some(((time, _), job)) = self.jobs.pop_first() else { break };
            self.now = time;
            let thaws = self.held_until(job.host);
            if thaws > time {
                let jitter = self.rng.below(3_000_000);
                self.at(thaws + jitter, job.host, job.work);
                continue;
            }
            (job.work)(self);
        }
        if self.judge.violations.is_empty() {
            self.now = end;
        }
    }

    /// Runs until `met`, for at most `limit`; whether it was.
    pub fn run_until(&mut self, limit: Duration, met: impl Fn(&World) -> bool) -> bool {
        let end = self.now + limit.as_nanos() as u64;
        while self.judge.violations.is_empty() {
            if met(self) {
                return true;
            }
            if self.now >= end {
                return false;
            }
            self.run(ms(5));
        }
        false
    }

    fn held_until(&self, host: Host) -> u64 {
        match host {
            Host::World => 0,
            Host::Agent(r) => self.regions[r].agent_thaws.max(self.regions[r].host_thaws),
            Host::Data(r) => self.regions[r].host_thaws,
        }
    }

    /// The clock of region `r`.
    pub fn local(&self, r: usize) -> Tick {
        self.regions[r].clock.local(self.now)
    }

    pub fn true_time(&self, r: usize, tick: Tick) -> u64 {
        self.regions[r].clock.true_time(tick)
    }

    pub fn index(&self, name: &RegionId) -> usize {
        self.regions.iter().position(|region| region.name == *name).expect("a region of this world")
    }

    pub fn fresh_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    pub fn log(&mut self, line: impl FnOnce() -> String) {
        if !self.tracing {
            return;
        }
        let line = line();
        // A question that is repeated without end says no more the third time.
        let said = self.said.entry(line.clone()).or_insert(0);
        *said += 1;
        if *said > 3 && !line.contains("===") {
            return;
        }
        let line = format!("{:>10.4} {line}", self.now as f64 / 1e9);
        if self.trace.len() == TRACE_LINES {
            self.trace.pop_front();
        }
        self.trace.push_back(line);
    }

    /// The end of the trace, for a failure's text.
    pub fn story(&self) -> String {
        let lines: Vec<_> = self.trace.iter().map(String::as_str).collect();
        lines.join("\n")
    }
}

fn spec_of(plan: &Plan, names: &[RegionId]) -> PairSpec {
    let member = |index: usize| MemberSpec {
        priority: 100,
        host: format!("10.0.0.{index}"),
        port: 5432,
        health_name: None,
    };
    let members =
        names.iter().enumerate().map(|(index, name)| (name.clone(), member(index))).collect();
    let mut spec = PairSpec::new(PairId::new("orders").unwrap(), members, names[0].clone());
    spec.durability = plan.durability;
    spec.on_witness_loss = plan.on_witness_loss;
    spec.loss_approval = plan.loss_approval;
    spec.takeover = plan.takeover;
    spec.corroborate = plan.corroborate.clone();
    resolvers::name_members(&mut spec);
    spec.suspect_after = ms(400);
    spec.stall_timeout = ms(1_000);
    spec.core_grace = ms(500);
    spec.restart_budget = ms(4_000);
    spec.write_stall_timeout = ms(5_000);
    spec.check().expect("a valid spec");
    spec
}
