//! What can be chosen about a lab.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use continuum_domain::spec::{Durability, Takeover, WitnessLossPolicy};
use continuum_domain::traffic::DRAIN_DEFAULT;
use continuum_domain::{RegionId, Timing};
use serde_json::Value;

use crate::authority::Make;
use crate::wan::HUB;

/// What the lease of a lab is kept in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LabWitness {
    /// One witness server.
    #[default]
    Server,
    /// Three acceptors: the control core and two witness servers.
    Servers,
    /// Three acceptors of three kinds: the control core, a witness server and an object store.
    ObjectStore,
}

impl LabWitness {
    /// Names of the witness servers.
    pub fn servers(self) -> &'static [&'static str] {
        match self {
            Self::Server | Self::ObjectStore => &["witness"],
            Self::Servers => &["witness", "witness-2"],
        }
    }

    /// Whether it is a quorum of acceptors, which must be founded.
    pub fn is_quorum(self) -> bool {
        self != Self::Server
    }
}

/// Where the clients' name is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LabNames {
    /// The embedded name server, which answers from the lease itself.
    #[default]
    Embedded,
    /// A PowerDNS, which the holder's agent writes to.
    PowerDns,
    /// A PowerDNS whose records list every member and are probed at the lease-gated health URL: nothing
    /// is written when the holder changes.
    PowerDnsFollow,
    /// Records that the holder's agent writes, as with PowerDNS, at a BIND.
    Bind,
    /// A Knot, which transfers the zone from the embedded server: that one is its hidden primary.
    HiddenPrimary,
    /// As with a hidden primary, and one more name at a BIND and one at a PowerDNS by its HTTP API.
    Everywhere,
}

impl LabNames {
    /// The name servers of others that it takes; clients ask the first one.
    pub fn makes(self) -> &'static [Make] {
        match self {
            Self::Embedded => &[],
            Self::PowerDns | Self::PowerDnsFollow => &[Make::PowerDns],
            Self::Bind => &[Make::Bind],
            Self::HiddenPrimary => &[Make::Knot],
            Self::Everywhere => &[Make::Knot, Make::Bind, Make::PowerDns],
        }
    }

    /// Whether the embedded server runs.
    pub fn has_embedded(self) -> bool {
        match self {
            Self::Embedded | Self::HiddenPrimary | Self::Everywhere => true,
            Self::PowerDns | Self::PowerDnsFollow | Self::Bind => false,
        }
    }

    /// Whether agents write to PowerDNS by its HTTP API.
    pub fn by_api(self) -> bool {
        matches!(self, Self::PowerDnsFollow | Self::Everywhere)
    }
}

/// A name server that the caller of [`crate::Lab::start`] runs, and a name of the pair there.
#[derive(Clone, Debug)]
pub struct NameElsewhere {
    /// The name; its ttl and addresses are those of the lab's own.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// What the spec calls the provider.
    pub provider: String,
    /// The `name_provider` of each region's agent, of that name.
    pub sections: BTreeMap<RegionId, Value>,
}

/// What `continuum lab` was asked for. The command line maps onto this.
#[derive(Clone, Debug)]
pub struct LabArgs {
    /// Lease ttl.
    pub ttl: Duration,
    /// Interval between renewals; [`default_renew`] of the ttl when absent.
    pub renew: Option<Duration>,
    /// Writers of the client workload.
    pub writers: usize,
    /// Regions; the first holds the lease first.
    pub regions: Vec<RegionId>,
    /// What an acknowledged commit survives.
    pub durability: Durability,
    /// When a listed standby may take over from a silent holder.
    pub takeover: Takeover,
    /// `ledger`: how long the holder must have been silent.
    pub suspect_after: Duration,
    /// What the lease is kept in.
    pub witness: LabWitness,
    /// Where the clients' name is.
    pub names: LabNames,
    /// Whether clients write through a pooler in each region.
    pub pooler: bool,
    /// Where to write the report as JSON.
    pub json: Option<PathBuf>,
    /// Keep running after the report, and print what to try.
    pub stay: bool,
}

impl Default for LabArgs {
    fn default() -> Self {
        let options = LabOptions::default();
        Self {
            ttl: options.ttl,
            renew: None,
            writers: 4,
            regions: options.regions,
            durability: options.durability,
            takeover: options.takeover,
            suspect_after: options.suspect_after,
            witness: options.witness,
            names: options.names,
            pooler: options.pooler,
            json: None,
            stay: false,
        }
    }
}

/// How a lab is built: everything [`crate::Lab::start`] needs to know.
#[derive(Clone, Debug)]
pub struct LabOptions {
    /// Lease ttl of every region.
    pub ttl: Duration,
    /// Interval between renewals; [`default_renew`] of the ttl when absent.
    pub renew: Option<Duration>,
    /// Regions; the first holds the lease first.
    pub regions: Vec<RegionId>,
    /// What an acknowledged commit survives.
    pub durability: Durability,
    /// When a listed standby may take over from a silent holder.
    pub takeover: Takeover,
    /// `ledger`: how long the holder must have been silent.
    pub suspect_after: Duration,
    /// What the holder does without a witness.
    pub on_witness_loss: WitnessLossPolicy,
    /// What the lease is kept in.
    pub witness: LabWitness,
    /// Where the clients' name is.
    pub names: LabNames,
    /// Whether clients write through a PgBouncer in each region, which its agent drives.
    pub pooler: bool,
    /// How long a planned move waits for open transactions at the poolers.
    pub drain: Duration,
    /// `async`: the standing approval of a loss, in bytes of WAL.
    pub rpo_bytes: Option<u64>,
    /// Restarts of a crashed PostgreSQL in place before the lease is released.
    pub restarts_in_place: Option<u32>,
    /// `available`: how long commits may wait for a standby before the ledger shrinks.
    pub stall_timeout: Duration,
    /// Time to live of the DNS records.
    pub name_ttl: Duration,
    /// Whether regions and witness servers get network namespaces of their own, so that lines between
    /// them can be cut; the process must have gone through [`crate::wan::enter`].
    pub own_network: bool,
    /// A collector that control nodes and agents send spans to, `http://host:port`.
    pub collector: Option<String>,
    /// More environment for the control nodes, such as `CONTINUUM_CRASH_AFTER`.
    pub server_env: BTreeMap<String, String>,
    /// Regions whose member is a CloudNativePG Cluster, by the file that says where its API server is.
    /// The caller runs that server and what makes PostgreSQL of the Cluster.
    pub clusters: BTreeMap<RegionId, PathBuf>,
    /// More names of the pair, at name servers that the caller runs.
    pub names_elsewhere: Vec<NameElsewhere>,
    /// The `continuum` binary; found by itself when absent.
    pub binary: Option<PathBuf>,
}

impl Default for LabOptions {
    fn default() -> Self {
        let region = |name: &str| RegionId::new(name).expect("a valid region name");
        Self {
            ttl: Duration::from_secs(10),
            renew: None,
            regions: vec![region("fsn"), region("hel")],
            durability: Durability::default(),
            takeover: Takeover::default(),
            suspect_after: Duration::from_millis(600),
            on_witness_loss: WitnessLossPolicy::default(),
            witness: LabWitness::default(),
            names: LabNames::default(),
            pooler: false,
            drain: DRAIN_DEFAULT,
            rpo_bytes: None,
            restarts_in_place: None,
            stall_timeout: Duration::from_secs(2),
            name_ttl: Duration::from_secs(1),
            own_network: false,
            collector: None,
            server_env: BTreeMap::new(),
            clusters: BTreeMap::new(),
            names_elsewhere: Vec::new(),
            binary: None,
        }
    }
}

/// A fifth of the ttl, in whole half seconds where that leaves anything: 2 s of 10 s, 500 ms of 3 s.
pub fn default_renew(ttl: Duration) -> Duration {
    let fifth = ttl / 5;
    let half_seconds = fifth.as_millis() / 500;
    match u64::try_from(half_seconds) {
        Ok(count) if count > 0 => Duration::from_millis(count * 500),
        _ => fifth,
    }
}

/// The lab's lease timing. Its margins are narrower than production's defaults because its
/// processes share one host and one clock, and PostgreSQL holds next to nothing.
pub fn lab_timing(ttl: Duration, renew: Option<Duration>) -> Timing {
    Timing {
        ttl,
        renew: renew.unwrap_or_else(|| default_renew(ttl)),
        stop_budget: (ttl / 4).min(Duration::from_secs(3)),
        guard: (ttl / 40).max(Duration::from_millis(100)),
        ..Timing::default()
    }
}

impl LabOptions {
    /// The options a command line stands for.
    pub fn from_args(args: &LabArgs) -> Self {
        Self {
            ttl: args.ttl,
            renew: args.renew,
            regions: args.regions.clone(),
            durability: args.durability,
            takeover: args.takeover,
            suspect_after: args.suspect_after,
            witness: args.witness,
            names: args.names,
            pooler: args.pooler,
            // An async pair only fails over by itself under a standing approval (R21).
            rpo_bytes: (!args.durability.is_synchronous()).then_some(16 * 1024 * 1024),
            ..Self::default()
        }
    }

    /// The lease timing of every region.
    pub fn timing(&self) -> Timing {
        lab_timing(self.ttl, self.renew)
    }

    /// What has a network namespace of its own, where lines can be cut: regions and witness servers.
    pub fn sites(&self) -> Vec<&str> {
        let servers = self.witness.servers().iter().copied();
        self.regions.iter().map(RegionId::as_str).chain(servers).collect()
    }

    /// Refuses what cannot be run: timing, too few regions, a region named twice.
    pub fn check(&self) -> Result<(), String> {
        self.timing().check().map_err(|error| format!("--ttl/--renew: {error}"))?;
        if self.takeover == Takeover::Ledger && !self.durability.is_synchronous() {
            return Err("--takeover ledger: needs durability strict or available".into());
        }
        if self.own_network && self.witness == LabWitness::ObjectStore {
            return Err(
                "--witness object-store: is reached on loopback only, in no network whose \
                        lines can be cut"
                    .into(),
            );
        }
        if self.own_network && self.pooler {
            return Err("--pooler: clients reach it on loopback only".into());
        }
        if !(2..=7).contains(&self.regions.len()) {
            return Err("--regions: 2 to 7 regions are accepted".into());
        }
        for (index, region) in self.regions.iter().enumerate() {
            if self.regions[..index].contains(region) {
                return Err(format!("--regions: {region} is named twice"));
            }
            if region.as_str() == HUB || self.witness.servers().contains(&region.as_str()) {
                return Err(format!("--regions: {region} is the name of another part of the lab"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lab_profile_keeps_the_timing_inequality_at_every_advertised_ttl() {
        for seconds in [2, 3, 5, 10, 30] {
            let timing = lab_timing(Duration::from_secs(seconds), None);
            assert_eq!(timing.check(), Ok(()), "ttl {seconds} s");
        }
        assert_eq!(default_renew(Duration::from_secs(10)), Duration::from_secs(2));
        assert_eq!(default_renew(Duration::from_secs(3)), Duration::from_millis(500));
        assert_eq!(default_renew(Duration::from_secs(2)), Duration::from_millis(400));
    }

    #[test]
    fn a_lab_that_cannot_run_is_refused_before_anything_starts() {
        let fsn = RegionId::new("fsn").unwrap();
        let twice = LabOptions { regions: vec![fsn.clone(), fsn.clone()], ..LabOptions::default() };
        assert!(twice.check().unwrap_err().contains("twice"));
        let alone = LabOptions { regions: vec![fsn], ..LabOptions::default() };
        assert!(alone.check().is_err());
        let slow = LabOptions { renew: Some(Duration::from_secs(4)), ..LabOptions::default() };
        assert!(slow.check().unwrap_err().contains("3 * renew"));
        let witness = LabWitness::ObjectStore;
        let far = LabOptions { own_network: true, witness, ..LabOptions::default() };
        assert!(far.check().unwrap_err().contains("loopback"));
        assert_eq!(LabOptions { own_network: false, ..far }.check(), Ok(()));
    }
}
