//! All choices of one run, as plain data: printed, replayed, shrunk.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use continuum_domain::Timing;
use continuum_domain::corroborate::CorroborationEffect;
use continuum_domain::operation::{Method, RejoinMethod};
use continuum_domain::spec::{Durability, PairMode, Takeover, WitnessLossPolicy};
use serde::{Deserialize, Serialize};

pub use crate::steps::{Moment, Step};

/// A span in milliseconds, as plans write it.
pub type Ms = u64;

/// A fault or an order, and when: milliseconds after the world first stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// When.
    pub at: Ms,
    /// What.
    pub fault: Fault,
}

/// What can go wrong with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskFault {
    /// Every write fails.
    Fails,
    /// There is no room.
    Full,
    /// Every write takes 200 ms more.
    Slow,
}

/// What can go wrong with a member's PostgreSQL, its guard or its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberFault {
    /// PostgreSQL crashes.
    PostgresCrash,
    /// The guard crashes, and PostgreSQL with it.
    GuardCrash,
    /// The checkpointer takes up reloads late (R12).
    SlowCheckpointer,
    /// The standby receives and does not replay.
    ReplayStall,
    /// PostgreSQL does not start.
    StartFails,
    /// Every command takes longer.
    SlowCommands,
    /// The standby's receiver takes nothing in.
    ReceiverStuck,
    /// Flushes of the member's disk do not return.
    SyncHangs,
    /// The member's disk has no room.
    DiskFull,
    /// A backend crashes: PostgreSQL ends all sessions and goes on in the same process.
    BackendCrash,
    /// The data directory is gone. Nothing happens where it holds the last listed copy: no rule can
    /// keep what no disk holds.
    Wiped,
    /// Somebody cancels the commit that waits longest.
    WaitCancelled,
    /// Sessions lower `synchronous_commit`: what clients commit here waits for nobody.
    CommitLowered,
}

/// What can go wrong with a resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResolverFault {
    /// It says nothing.
    Silent,
    /// It answers that it failed.
    Fails,
    /// It goes on telling what was so.
    Stale,
}

/// Calls of a host to the witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Calls {
    /// All of them.
    All,
    /// Reads of the pair's register.
    ReadPair,
    /// Changes of the pair's register.
    WritePair,
    /// Reads of sessions.
    ReadSession,
    /// Changes of the own session.
    WriteSession,
}

/// Which half of a call is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Half {
    /// It reaches the witness late, also after the caller gave it up.
    Request,
    /// It is carried out in time and answered late.
    Answer,
}

/// A fault or an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// No message gets from any of `a` to any of `b`; with `both`, nor back.
    Cut {
        /// Senders.
        a: Vec<String>,
        /// Receivers.
        b: Vec<String>,
        /// Whether the other direction is cut too.
        both: bool,
        /// For how long.
        span: Ms,
    },
    /// The link is cut and mended again and again.
    Flap {
        /// One side.
        a: Vec<String>,
        /// The other.
        b: Vec<String>,
        /// Time cut, and time whole, in turn.
        period: Ms,
        /// For how long.
        span: Ms,
    },
    /// Messages wait, and come all at once at the end.
    Hold {
        /// One side.
        a: Vec<String>,
        /// The other.
        b: Vec<String>,
        /// For how long.
        span: Ms,
    },
    /// Messages take up to `most`.
    Slow {
        /// One side.
        a: Vec<String>,
        /// The other.
        b: Vec<String>,
        /// Longest latency.
        most: Ms,
        /// For how long.
        span: Ms,
    },
    /// Some of a host's calls to the witness are late, and others are not: they went another way.
    Late {
        /// The caller.
        host: String,
        /// Which calls.
        calls: Calls,
        /// Which half of them.
        half: Half,
        /// By how much.
        by: Ms,
        /// Calls made within this time.
        span: Ms,
    },
    /// The process is killed, and started again after `down`. A region's is its agent.
    Kill {
        /// Host.
        host: String,
        /// Time until it is started again.
        down: Ms,
    },
    /// The host loses power; a region's with guard and PostgreSQL.
    PowerOff {
        /// Host.
        host: String,
        /// Time until it is back.
        down: Ms,
    },
    /// The process is stopped (SIGSTOP) and continued. A region's is its agent.
    Freeze {
        /// Host.
        host: String,
        /// For how long.
        span: Ms,
    },
    /// The whole host stands still; a region's with guard and PostgreSQL.
    FreezeHost {
        /// Host.
        host: String,
        /// For how long.
        span: Ms,
    },
    /// The disk of a host's own state misbehaves.
    Disk {
        /// Host.
        host: String,
        /// How.
        how: DiskFault,
        /// For how long.
        span: Ms,
    },
    /// The wall clock is stepped.
    WallStep {
        /// Host.
        host: String,
        /// By how much.
        by_ms: i64,
    },
    /// A member's PostgreSQL or guard.
    Member {
        /// Its region.
        region: String,
        /// What.
        what: MemberFault,
        /// For how long, where it lasts.
        span: Ms,
    },
    /// A host's process is killed, and comes back as a newer version.
    Upgrade {
        /// The host.
        host: String,
        /// For how long it is away.
        down: Ms,
    },
    /// An operator asks for a switchover.
    Switchover {
        /// Target.
        to: String,
        /// How; by default as the core finds best.
        #[serde(default)]
        method: Option<Method>,
    },
    /// An operator asks for a failover.
    Failover {
        /// Target.
        to: String,
        /// Whether acknowledged writes may be lost.
        allow_data_loss: bool,
    },
    /// An operator tells a member to try again, or to take a fresh clone.
    Rejoin {
        /// The member's region.
        region: String,
        /// How.
        method: RejoinMethod,
    },
    /// An operator pauses automation.
    PauseAutomation {
        /// For how long.
        span: Ms,
    },
    /// An operator cancels the operation under way.
    CancelOperation,
    /// An operator approves the operation that waits for it.
    ApproveOperation,
    /// An operator changes the durability.
    SetDurability {
        /// To what.
        durability: Durability,
    },
    /// An operator changes how far automation goes.
    SetMode {
        /// How far.
        mode: PairMode,
    },
    /// The pair's register is paused (R21) for `span`, as the control core may write it.
    PausePair {
        /// For how long.
        span: Ms,
    },
    /// An operator stops the pair everywhere, and starts it again after `span`.
    StopPair {
        /// For how long.
        span: Ms,
    },
    /// An assertion in a region's agent fails. Never drawn: it shows that the run notices.
    Assertion {
        /// Its region.
        region: String,
    },
    /// A resolver on the internet misbehaves.
    Resolver {
        /// Which.
        index: usize,
        /// How.
        how: ResolverFault,
        /// For how long.
        span: Ms,
    },
    /// An operator fences a member by hand, and lets it go after `span`.
    Fence {
        /// Its region.
        region: String,
        /// For how long.
        span: Ms,
    },
    /// A witness server loses power and comes back with an empty disk.
    DiskLost {
        /// Its host.
        host: String,
        /// Time until it is back.
        down: Ms,
    },
    /// An operator has an acceptor taken in again that lost its state.
    ReplaceAcceptor {
        /// Its name.
        name: String,
    },
}

impl Fault {
    /// How long it lasts.
    pub fn span(&self) -> Ms {
        match self {
            Fault::Cut { span, .. }
            | Fault::Flap { span, .. }
            | Fault::Hold { span, .. }
            | Fault::Slow { span, .. }
            | Fault::Late { span, .. }
            | Fault::Freeze { span, .. }
            | Fault::FreezeHost { span, .. }
            | Fault::Disk { span, .. }
            | Fault::Member { span, .. }
            | Fault::PauseAutomation { span }
            | Fault::PausePair { span }
            | Fault::StopPair { span }
            | Fault::Resolver { span, .. }
            | Fault::Fence { span, .. } => *span,
            Fault::Kill { down, .. }
            | Fault::PowerOff { down, .. }
            | Fault::DiskLost { down, .. }
            | Fault::Upgrade { down, .. } => *down,
            _ => 0,
        }
    }
}

fn together(hosts: &[String]) -> String {
    hosts.join("+")
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Cut { a, b, both: true, span } => {
                write!(f, "{} and {} are cut apart for {span} ms", together(a), together(b))
            }
            Fault::Cut { a, b, both: false, span } => {
                write!(f, "{} does not reach {} for {span} ms", together(a), together(b))
            }
            Fault::Flap { a, b, period, span } => {
                let (a, b) = (together(a), together(b));
                write!(f, "{a} and {b} flap every {period} ms for {span} ms")
            }
            Fault::Hold { a, b, span } => {
                write!(f, "messages between {} and {} wait {span} ms", together(a), together(b))
            }
            Fault::Slow { a, b, most, span } => {
                let (a, b) = (together(a), together(b));
                write!(f, "{a} and {b} are up to {most} ms apart for {span} ms")
            }
            Fault::Late { host, calls, half, by, span } => {
                write!(f, "{host}, {calls:?}: every {half:?} is {by} ms late for {span} ms")
            }
            Fault::Kill { host, down } => write!(f, "{host} is killed, back in {down} ms"),
            Fault::Upgrade { host, down } => {
                write!(f, "{host} is upgraded, back in {down} ms")
            }
            Fault::PowerOff { host, down } => write!(f, "{host} loses power for {down} ms"),
            Fault::Freeze { host, span } => write!(f, "{host} is stopped for {span} ms"),
            Fault::FreezeHost { host, span } => write!(f, "the host {host} freezes for {span} ms"),
            Fault::Disk { host, how, span } => write!(f, "disk of {host}: {how:?} for {span} ms"),
            Fault::WallStep { host, by_ms } => {
                write!(f, "the wall clock of {host} steps by {by_ms} ms")
            }
            Fault::Member { region, what, span } => {
                write!(f, "PostgreSQL in {region}: {what:?} ({span} ms)")
            }
            Fault::Switchover { to, method: None } => write!(f, "operator: switch over to {to}"),
            Fault::Switchover { to, method: Some(Method::Hot) } => {
                write!(f, "operator: switch over to {to}, hot")
            }
            Fault::Switchover { to, method: Some(Method::Clean) } => {
                write!(f, "operator: switch over to {to}, clean")
            }
            Fault::Failover { to, allow_data_loss: false } => {
                write!(f, "operator: fail over to {to}")
            }
            Fault::Failover { to, allow_data_loss: true } => {
                write!(f, "operator: fail over to {to}, data loss allowed")
            }
            Fault::Rejoin { region, method: RejoinMethod::Retry } => {
                write!(f, "operator: {region} tries again")
            }
            Fault::Rejoin { region, method: RejoinMethod::Clone } => {
                write!(f, "operator: {region} is cloned anew")
            }
            Fault::PauseAutomation { span } => {
                write!(f, "operator: automation is paused for {span} ms")
            }
            Fault::CancelOperation => f.write_str("operator: cancel the operation"),
            Fault::ApproveOperation => f.write_str("operator: approve the operation"),
            Fault::SetDurability { durability } => {
                write!(f, "operator: durability {durability:?}")
            }
            Fault::DiskLost { host, down } => {
                write!(f, "{host} loses power for {down} ms, and its disk for good")
            }
            Fault::ReplaceAcceptor { name } => {
                write!(f, "operator: acceptor {name} is taken in again")
            }
            Fault::SetMode { mode } => write!(f, "operator: mode {mode:?}"),
            Fault::PausePair { span } => write!(f, "the pair is paused for {span} ms"),
            Fault::StopPair { span } => write!(f, "operator: the pair is stopped for {span} ms"),
            Fault::Assertion { region } => write!(f, "an assertion fails in the agent of {region}"),
            Fault::Resolver { index, how, span } => {
                write!(f, "resolver {index}: {how:?} for {span} ms")
            }
            Fault::Fence { region, span } => {
                write!(f, "operator: {region} is fenced by hand for {span} ms")
            }
        }
    }
}

/// Everything a run is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Seeds what happens inside the programs; the plan itself is all below.
    pub seed: u64,
    /// Control nodes.
    pub nodes: usize,
    /// Regions, 2 or 3.
    pub regions: usize,
    /// Acceptors of the witness's quorum: 1, 3 or 5; 0 for one server that holds the registers itself.
    #[serde(default)]
    pub acceptors: usize,
    /// What commits survive.
    pub durability: Durability,
    /// What a holder does without a witness.
    pub on_witness_loss: WitnessLossPolicy,
    /// How far automation goes.
    #[serde(default)]
    pub mode: PairMode,
    /// When a listed standby may take over from a silent holder.
    #[serde(default)]
    pub takeover: Takeover,
    /// For how long it must have been silent, where the ledger decides.
    #[serde(default = "suspect_after")]
    pub suspect_after: Ms,
    /// What comes of a second opinion that resolvers give before an automatic failover, if one is
    /// asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corroborate: Option<CorroborationEffect>,
    /// Standing approval of a loss (`async`).
    pub rpo_bytes: Option<u64>,
    /// Lease timing.
    pub timing: Timing,
    /// Longest time a planned move may hold up writes; by default the product's.
    #[serde(default)]
    pub switchover_deadline: Option<Ms>,
    /// Least time between two automatic failovers.
    pub anti_flap: Ms,
    /// Clock rates by host, parts per million above one.
    pub rates_ppm: BTreeMap<String, i64>,
    /// Least and most latency between hosts.
    pub latency: (Ms, Ms),
    /// Resolution of the simulated network.
    pub tick: Ms,
    /// Time between two writes of one writer.
    pub write_interval: Ms,
    /// Writers that go from region to region, on top of the two that stay while they can.
    #[serde(default)]
    pub wanderers: usize,
    /// Hosts that are of a newer version from the beginning.
    #[serde(default)]
    pub newer: BTreeSet<String>,
    /// Newer control nodes send specs that agents do not understand, once they were changed.
    #[serde(default)]
    pub newer_specs: bool,
    /// Faults and orders.
    pub faults: Vec<Scheduled>,
    /// Faults and orders that wait for their moment, one after the other.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Time that passes after the last fault before everything is healed.
    pub rest: Ms,
}

fn suspect_after() -> Ms {
    600
}

/// The names of regions, in order; the first one begins as primary.
pub const REGIONS: [&str; 3] = ["fsn", "hel", "nbg"];
/// The witness, or its first acceptor.
pub const WITNESS: &str = "w1";
/// The name server.
pub const NAMES: &str = "ns1";
/// Where clients and operators sit.
pub const USERS: &str = "users";

impl Plan {
    /// A day without faults.
    pub fn quiet(seed: u64, regions: usize, durability: Durability) -> Self {
        Self {
            seed,
            nodes: 3,
            regions,
            acceptors: 0,
            durability,
            on_witness_loss: WitnessLossPolicy::Fence,
            mode: PairMode::Automatic,
            takeover: Takeover::Ttl,
            suspect_after: suspect_after(),
            corroborate: None,
            rpo_bytes: None,
            timing: short_timing(),
            switchover_deadline: None,
            anti_flap: 1_000,
            rates_ppm: BTreeMap::new(),
            latency: (1, 10),
            tick: 5,
            write_interval: 50,
            wanderers: 0,
            newer: BTreeSet::new(),
            newer_specs: false,
            faults: Vec::new(),
            steps: Vec::new(),
            rest: 5_000,
        }
    }

    /// Has listed standbys take over so, where the durability allows it.
    pub fn take_over_by(&mut self, takeover: Takeover) {
        if self.durability.is_synchronous() {
            self.takeover = takeover;
        }
    }

    /// The control nodes' names.
    pub fn core(&self) -> Vec<String> {
        (1..=self.nodes).map(|id| format!("c{id}")).collect()
    }

    /// The witness servers' names.
    pub fn witnesses(&self) -> Vec<String> {
        (1..=self.acceptors.max(1)).map(|number| format!("w{number}")).collect()
    }

    /// The regions' names.
    pub fn region_names(&self) -> Vec<String> {
        REGIONS.iter().take(self.regions).map(|name| (*name).to_owned()).collect()
    }

    /// All hosts.
    pub fn hosts(&self) -> Vec<String> {
        let mut hosts = self.core();
        hosts.extend(self.region_names());
        hosts.extend([WITNESS, NAMES, USERS].map(str::to_owned));
        hosts.extend(self.witnesses().into_iter().skip(1));
        hosts
    }

    /// When everything is healed, after the world first stood.
    pub fn horizon(&self) -> Duration {
        let last = self.faults.iter().map(|scheduled| scheduled.at).max().unwrap_or(0);
        Duration::from_millis(last + self.rest)
    }
}

/// A timing that keeps the proportions of the default and makes runs short.
pub fn short_timing() -> Timing {
    Timing {
        ttl: Duration::from_millis(3_000),
        renew: Duration::from_millis(600),
        stop_budget: Duration::from_millis(500),
        guard: Duration::from_millis(200),
        drift_ppm: 10_000,
    }
}
