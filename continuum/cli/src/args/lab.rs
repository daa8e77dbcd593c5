//! `lab`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use continuum_chaos::{LabNames, LabWitness};
use continuum_domain::spec::{Durability, Takeover};
use continuum_domain::{RegionId, duration_text};

/// What a lab should look like.
#[derive(Clone, Debug, Args)]
pub struct LabArgs {
    /// Lease ttl
    #[arg(long, default_value = "10s", value_parser = duration_text::parse)]
    pub ttl: Duration,
    /// Interval between lease renewals; a fifth of the ttl when left out
    #[arg(long, value_parser = duration_text::parse)]
    pub renew: Option<Duration>,
    /// Writers of the client workload
    #[arg(long, default_value_t = 4)]
    pub writers: usize,
    /// Regions, separated by commas; the first holds the lease first
    #[arg(long, value_delimiter = ',', default_value = "fsn,hel")]
    pub regions: Vec<RegionId>,
    /// What an acknowledged commit survives
    #[arg(long, value_enum, default_value_t = DurabilityChoice::Available)]
    pub durability: DurabilityChoice,
    /// When a listed standby may take over from a silent primary
    #[arg(long, value_enum, default_value_t = TakeoverChoice::Ttl)]
    pub takeover: TakeoverChoice,
    /// With --takeover ledger: how long the primary must have been silent
    #[arg(long, default_value = "600ms", value_parser = duration_text::parse)]
    pub suspect_after: Duration,
    /// What the lease is kept in
    #[arg(long, value_enum, default_value_t = WitnessChoice::Server)]
    pub witness: WitnessChoice,
    /// Where the clients' name is
    #[arg(long, value_enum, default_value_t = NamesChoice::Embedded)]
    pub names: NamesChoice,
    /// Clients write through a PgBouncer in each region, which its agent drives
    #[arg(long)]
    pub pooler: bool,
    /// Also write the report to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Keep it running after the report, and print what to try
    #[arg(long)]
    pub stay: bool,
}

/// Witness as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum WitnessChoice {
    /// One witness server
    Server,
    /// Three acceptors: the control core and two witness servers
    Servers,
    /// Three acceptors: the control core, a witness server, and an object store (Azurite, which
    /// `make npm-parts` installs)
    ObjectStore,
}

impl From<WitnessChoice> for LabWitness {
    fn from(choice: WitnessChoice) -> LabWitness {
        match choice {
            WitnessChoice::Server => LabWitness::Server,
            WitnessChoice::Servers => LabWitness::Servers,
            WitnessChoice::ObjectStore => LabWitness::ObjectStore,
        }
    }
}

/// Names as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum NamesChoice {
    /// At the embedded name server, which answers from the lease itself
    Embedded,
    /// At a PowerDNS, which the primary's agent writes to (`make powerdns` installs it)
    Powerdns,
    /// At a PowerDNS that probes every member's health URL; nothing is written when the primary moves
    PowerdnsFollow,
    /// At a BIND, which the primary's agent writes to
    Bind,
    /// At a Knot, which transfers the zone from the embedded name server
    HiddenPrimary,
    /// The same, and a name more at a BIND and another at a PowerDNS
    Everywhere,
}

impl From<NamesChoice> for LabNames {
    fn from(choice: NamesChoice) -> LabNames {
        match choice {
            NamesChoice::Embedded => LabNames::Embedded,
            NamesChoice::Powerdns => LabNames::PowerDns,
            NamesChoice::PowerdnsFollow => LabNames::PowerDnsFollow,
            NamesChoice::Bind => LabNames::Bind,
            NamesChoice::HiddenPrimary => LabNames::HiddenPrimary,
            NamesChoice::Everywhere => LabNames::Everywhere,
        }
    }
}

/// Takeover as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TakeoverChoice {
    /// When the primary's ttl has run out
    Ttl,
    /// As soon as the primary is suspected; it can acknowledge nothing without its standbys
    Ledger,
}

impl From<TakeoverChoice> for Takeover {
    fn from(choice: TakeoverChoice) -> Takeover {
        match choice {
            TakeoverChoice::Ttl => Takeover::Ttl,
            TakeoverChoice::Ledger => Takeover::Ledger,
        }
    }
}

/// Durability as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DurabilityChoice {
    /// Never fewer than two copies
    Strict,
    /// Two copies while two members are there
    Available,
    /// Commits do not wait
    Async,
}

impl From<DurabilityChoice> for Durability {
    fn from(choice: DurabilityChoice) -> Durability {
        match choice {
            DurabilityChoice::Strict => Durability::Strict,
            DurabilityChoice::Available => Durability::Available,
            DurabilityChoice::Async => Durability::Async,
        }
    }
}

impl From<LabArgs> for continuum_chaos::LabArgs {
    fn from(args: LabArgs) -> Self {
        Self {
            ttl: args.ttl,
            renew: args.renew,
            writers: args.writers,
            regions: args.regions,
            durability: args.durability.into(),
            takeover: args.takeover.into(),
            suspect_after: args.suspect_after,
            witness: args.witness.into(),
            names: args.names.into(),
            pooler: args.pooler,
            json: args.json,
            stay: args.stay,
        }
    }
}

/// `lab-janitor`: the lab starts it; nobody types it.
#[derive(Clone, Debug, Args)]
pub struct JanitorArgs {
    /// The lab's process
    #[arg(long)]
    pub parent_pid: i32,
    /// The lab's directory
    #[arg(long)]
    pub directory: PathBuf,
}
