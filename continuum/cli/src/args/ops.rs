//! The ops verbs.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use continuum_agent::config::ServerAddress;
use continuum_domain::corroborate::Resolver;
use continuum_domain::operation::Method;
use continuum_domain::{OperationId, PairId, RegionId, duration_text};

use super::RoleArgs;
use super::manifests::RenderArgs;
use crate::config::client::{self, OutputFormat};

/// Flags of every ops verb.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Connection and output")]
pub struct ClientFlags {
    /// Client configuration [env: CONTINUUM_CONFIG] [default: ~/.config/continuum/client.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Control nodes, name=host:port,...
    #[arg(long, global = true, value_name = "LIST", env = client::ENDPOINTS_VARIABLE)]
    #[arg(value_delimiter = ',', value_parser = client::endpoint, hide_env_values = true)]
    pub endpoints: Option<Vec<ServerAddress>>,
    /// How to print the result [default: table, or as configured]
    #[arg(long, short, global = true, value_name = "FORMAT")]
    pub output: Option<OutputFormat>,
    /// How long the command may take, waiting included [default: 60s, or as configured]
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration_text::parse)]
    pub timeout: Option<Duration>,
}

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Only this pair
    pub pair: Option<PairId>,
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// `pair`.
#[derive(Debug, Args)]
pub struct PairArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: PairVerb,
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// What can be done with pairs.
#[derive(Debug, Subcommand)]
pub enum PairVerb {
    /// List all pairs
    List {
        /// Only pairs whose labels fit, for example env=prod,tier!=bronze
        #[arg(long, short = 'l', value_name = "LABELS")]
        selector: Option<String>,
    },
    /// Show one pair with its spec and members
    Show {
        /// The pair
        pair: PairId,
        /// Only the spec, in a form that `apply` takes
        #[arg(long)]
        spec: bool,
    },
    /// Create a pair or change its spec
    Apply {
        /// The spec: TOML, or YAML or JSON by the name's ending
        #[arg(long, short, value_name = "FILE")]
        file: PathBuf,
        /// Only check and compare: nothing is changed
        #[arg(long)]
        dry_run: bool,
        /// Why; kept in history and audit
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Show what differs between two versions of a pair's spec
    Diff {
        /// The pair
        pair: PairId,
        /// The older version
        #[arg(long, value_name = "VERSION")]
        from: u64,
        /// The newer one; the newest when left out
        #[arg(long, value_name = "VERSION")]
        to: Option<u64>,
    },
    /// List the changes of holder, what each cost, and whether the objectives were met
    Moves {
        /// The pair
        pair: PairId,
        /// Most entries
        #[arg(long, value_name = "COUNT", default_value_t = 20)]
        limit: usize,
    },
    /// Stop a pair everywhere, cleanly, until it is resumed
    Pause {
        /// The pair
        pair: PairId,
        /// Only plan: checks everything, touches nothing
        #[arg(long)]
        dry_run: bool,
        /// Print each step as it happens and wait for the end
        #[arg(long, conflicts_with = "dry_run")]
        wait: bool,
        /// Why; kept in the audit
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Start a paused pair again
    Resume {
        /// The pair
        pair: PairId,
        /// The region that is to hold it; left out: the one that did
        #[arg(long, value_name = "REGION")]
        to: Option<RegionId>,
        /// Only plan: checks everything, touches nothing
        #[arg(long)]
        dry_run: bool,
        /// Print each step as it happens and wait for the end
        #[arg(long, conflicts_with = "dry_run")]
        wait: bool,
        /// Why; kept in the audit
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Make an older version's spec the newest
    Rollback {
        /// The pair
        pair: PairId,
        /// The version whose spec is wanted
        #[arg(long, value_name = "VERSION")]
        to: u64,
        /// Why; kept in history and audit
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Print the Kubernetes manifests of a pair's two Clusters; asks nobody
    Render(RenderArgs),
    /// List the versions of a pair's spec
    History {
        /// The pair
        pair: PairId,
    },
    /// Forget a pair; its PostgreSQL members are left as they are
    Remove {
        /// The pair
        pair: PairId,
        /// Why; kept in history and audit
        #[arg(long)]
        reason: String,
    },
}

/// `fleet`.
#[derive(Debug, Args)]
pub struct FleetArgs {
    /// Only pairs whose labels fit, for example env=prod,tier!=bronze
    #[arg(long, short = 'l', value_name = "LABELS")]
    pub selector: Option<String>,
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// `top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Only pairs whose labels fit, for example env=prod,tier!=bronze
    #[arg(long, short = 'l', value_name = "LABELS")]
    pub selector: Option<String>,
    /// Begin with this pair
    #[arg(long)]
    pub pair: Option<PairId>,
    /// Begin with this operation
    #[arg(long, conflicts_with = "pair")]
    pub operation: Option<OperationId>,
    /// Pause between two questions
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration_text::parse)]
    pub interval: Duration,
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// How a planned move is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum MethodArg {
    /// The primary is stopped, its last WAL proven at the target, the lease handed over
    Clean,
    /// The target takes over from the living primary; a tenth of the write gap
    Hot,
}

impl From<MethodArg> for Method {
    fn from(method: MethodArg) -> Self {
        match method {
            MethodArg::Clean => Method::Clean,
            MethodArg::Hot => Method::Hot,
        }
    }
}

/// `switchover`.
#[derive(Debug, Args)]
pub struct SwitchoverArgs {
    /// The pair
    pub pair: PairId,
    /// The target
    #[arg(long, value_name = "REGION")]
    pub to: RegionId,
    /// How; left out: hot where the pair allows it, else clean
    #[arg(long, value_enum)]
    pub method: Option<MethodArg>,
    /// Only plan: checks everything, touches nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print each step as it happens and wait for the end
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
    /// Why; kept in the audit
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// `failback`.
#[derive(Debug, Args)]
pub struct FailbackArgs {
    /// The pair
    pub pair: PairId,
    /// How; left out: hot where the pair allows it, else clean
    #[arg(long, value_enum)]
    pub method: Option<MethodArg>,
    /// Only plan: checks everything, touches nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print each step as it happens and wait for the end
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
    /// Why; kept in the audit
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// `failover`.
#[derive(Debug, Args)]
pub struct FailoverArgs {
    /// The pair
    pub pair: PairId,
    /// The target
    #[arg(long, value_name = "REGION")]
    pub to: RegionId,
    /// Approve that acknowledged writes may be lost, for exactly the epoch given
    #[arg(long, requires = "epoch")]
    pub allow_data_loss: bool,
    /// The epoch the approval is for, as `status` shows it
    #[arg(long, requires = "allow_data_loss")]
    pub epoch: Option<u64>,
    /// Only plan: checks everything, touches nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print each step as it happens and wait for the end
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
    /// Why; kept in the audit
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// `rejoin`.
#[derive(Debug, Args)]
pub struct RejoinArgs {
    /// The pair
    pub pair: PairId,
    /// The member that does not follow as it should
    #[arg(long, value_name = "REGION")]
    pub region: RegionId,
    /// Replace its data directory by a fresh copy of the holder's
    #[arg(long)]
    pub clone: bool,
    /// Only plan: checks everything, touches nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print each step as it happens and wait for the end
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
    /// Why; kept in the audit
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// `operation`.
#[derive(Debug, Args)]
pub struct OperationArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: OperationVerb,
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// What can be done with operations.
#[derive(Debug, Subcommand)]
pub enum OperationVerb {
    /// List operations, newest first
    List {
        /// Only of this pair
        #[arg(long)]
        pair: Option<PairId>,
    },
    /// Show one operation with its journal
    Show {
        /// The operation
        operation: OperationId,
    },
    /// Print steps as they happen until the operation ends
    Watch {
        /// The operation
        operation: OperationId,
    },
    /// Ask to cancel; honoured up to the commit point
    Cancel {
        /// The operation
        operation: OperationId,
        /// Why; kept in the audit
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Approve an operation that waits for a person
    Approve {
        /// The operation
        operation: OperationId,
        /// Why; kept in the audit
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// `pause-automation`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("scope").required(true).args(["pair", "all"])))]
pub struct PauseArgs {
    /// The pair
    pub pair: Option<PairId>,
    /// All pairs
    #[arg(long)]
    pub all: bool,
    /// Why; must not be empty
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub reason: String,
    /// For how long; a pause always ends
    #[arg(long = "for", value_name = "DURATION", value_parser = duration_text::parse)]
    pub duration: Duration,
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// `resume-automation`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("scope").required(true).args(["pair", "all"])))]
pub struct ResumeArgs {
    /// The pair
    pub pair: Option<PairId>,
    /// All pairs
    #[arg(long)]
    pub all: bool,
    /// Why; kept in the audit
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// `fence` and `unfence`.
#[derive(Debug, Args)]
pub struct FenceArgs {
    /// The pair
    pub pair: PairId,
    /// The agent's own address (its `listen_peer`)
    #[arg(long, value_name = "HOST:PORT")]
    pub agent: String,
    /// The agent's region
    #[arg(long)]
    pub region: RegionId,
    /// Why; kept with the mark
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub reason: String,
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// `witness`.
#[derive(Debug, Args)]
pub struct WitnessArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: WitnessVerb,
}

/// What can be done with the witness.
#[derive(Debug, Subcommand)]
pub enum WitnessVerb {
    /// Run a witness server
    Serve(RoleArgs),
    /// Found the quorum: give each acceptor its mark, once; may be repeated
    Init(WitnessOpsArgs),
    /// Show whether each acceptor counts, its ballot, and how quickly it answers
    Status(WitnessOpsArgs),
    /// Test that each acceptor refuses a conflicting write, on a key of no meaning
    Check(WitnessOpsArgs),
    /// Replace an acceptor under way; with one name twice, take it in again after it lost its state
    Replace(WitnessReplaceArgs),
}

/// `witness replace`.
#[derive(Debug, Args)]
pub struct WitnessReplaceArgs {
    /// The acceptor that goes
    pub old: String,
    /// The one that comes: on standby in every configuration, or the same again
    pub new: String,
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// A verb on the acceptors of the client configuration.
#[derive(Debug, Args)]
pub struct WitnessOpsArgs {
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// `dns`: the role, or a verb.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct DnsArgs {
    /// What to do, if not the role.
    #[command(subcommand)]
    pub verb: Option<DnsVerb>,
    /// The role's flags.
    #[command(flatten)]
    pub role: Option<RoleArgs>,
}

/// What can be done with the names of a pair.
#[derive(Debug, Subcommand)]
pub enum DnsVerb {
    /// Print the records that are due, and how each authority differs
    Render(DnsOpsArgs),
    /// Ask every authority, and resolvers, whether they serve what is due; exit 1 unless all do
    Verify(DnsVerifyArgs),
}

/// `dns render`.
#[derive(Debug, Args)]
pub struct DnsOpsArgs {
    /// The pair
    pub pair: PairId,
    /// One more authoritative server to ask, an IP address with a port if not 53; may be repeated
    #[arg(long, value_name = "SERVER")]
    pub authority: Vec<Resolver>,
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// `dns verify`.
#[derive(Debug, Args)]
pub struct DnsVerifyArgs {
    /// What `dns render` takes.
    #[command(flatten)]
    pub of: DnsOpsArgs,
    /// A recursive resolver to ask too, an IP address with a port if not 53; may be repeated
    #[arg(long, value_name = "SERVER")]
    pub resolver: Vec<Resolver>,
}

/// `core`.
#[derive(Debug, Args)]
pub struct CoreArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: CoreVerb,
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// What can be done with the control core.
#[derive(Debug, Subcommand)]
pub enum CoreVerb {
    /// Show its members
    Show,
    /// Add a node as a voter once it has caught up
    Add {
        /// Name, as in its certificate
        name: String,
        /// Raft number, never used before
        #[arg(long)]
        id: u64,
        /// gRPC address
        #[arg(long, value_name = "HOST:PORT")]
        address: String,
        /// REST address
        #[arg(long, value_name = "HOST:PORT")]
        api_address: String,
    },
    /// Remove a node
    Remove {
        /// Name
        name: String,
    },
}
