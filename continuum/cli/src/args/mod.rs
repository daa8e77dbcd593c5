//! The command line.

pub mod access;
pub mod audit;
pub mod lab;
pub mod manifests;
pub mod ops;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use continuum_runtime::logging::LogFormat;

use crate::config::Kind;
use access::{AccessArgs, ApprovalsArgs, GlassArgs, TokenArgs, WhoamiArgs};
use audit::{AuditArgs, SinksArgs};
use lab::{JanitorArgs, LabArgs};
use ops::*;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the operation failed or was undone
  2  wrong usage or configuration; nothing was changed
  3  refused by the rules, reasons printed; nothing was changed
  4  not reachable, or the outcome is not known
  5  no such pair, operation or node

Environment:
  CONTINUUM_CONFIG         client configuration of the ops verbs
  CONTINUUM_ENDPOINTS      control nodes, name=host:port,...; wins over the file
  CONTINUUM_<ROLE>__<KEY>  one key of a configuration, for example CONTINUUM_AGENT__TIMING__TTL=12s
  CONTINUUM_LOG            log filter, for example info,continuum_agent=debug
  NO_COLOR                 no colour

Flags win over the environment, the environment wins over the file.";

/// Keeps PostgreSQL writable in exactly one region, and moves that role safely.
#[derive(Debug, Parser)]
#[command(name = "continuum", version, after_help = EXIT_CODES, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Everything the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show pairs, members, leases and running operations, for three in the morning
    Status(StatusArgs),
    /// Show how all pairs stand, the worst first
    Fleet(FleetArgs),
    /// Watch the fleet, a pair or an operation in the terminal
    Top(TopArgs),
    /// Show, apply, compare and remove pairs
    Pair(PairArgs),
    /// Move the primary on purpose; loses nothing
    Switchover(SwitchoverArgs),
    /// Move the primary back where it belongs
    Failback(FailbackArgs),
    /// Move the primary without its help
    Failover(FailoverArgs),
    /// Bring a member back that does not follow: it tries again, or takes a fresh copy
    Rejoin(RejoinArgs),
    /// List, show, watch, cancel and approve operations
    Operation(OperationArgs),
    /// Stop automatic failovers for a while
    PauseAutomation(PauseArgs),
    /// Allow automatic failovers again
    ResumeAutomation(ResumeArgs),
    /// Break-glass: stop a member and keep it stopped; works with the core down
    Fence(FenceArgs),
    /// Break-glass: take the mark of `fence` away
    Unfence(FenceArgs),
    /// Show who you are to the control core, and what you may do
    Whoami(WhoamiArgs),
    /// List, make and take away grants
    Access(AccessArgs),
    /// List, approve and reject requests that take a second person
    Approvals(ApprovalsArgs),
    /// Make, list and revoke tokens
    Token(TokenArgs),
    /// Break-glass: become owner of everything for a time, where everybody sees it
    BreakGlass(GlassArgs),
    /// Read and verify the audit chain
    Audit(AuditArgs),
    /// Show and test where audit records are sent to
    Sinks(SinksArgs),
    /// Show and change the control core's members
    Core(CoreArgs),
    /// Check configuration, print examples
    Config(ConfigArgs),
    /// Run a control node
    Server(RoleArgs),
    /// Run a region's agent
    Agent(RoleArgs),
    /// Run the guard beside one PostgreSQL
    Guard(RoleArgs),
    /// Run a witness server; found, look at and test the acceptors of the witness
    Witness(WitnessArgs),
    /// Run a name server that answers from the lease; show and verify the names of a pair
    Dns(DnsArgs),
    /// Show it all on this machine: real PostgreSQL, moved on purpose and by force
    Lab(LabArgs),
    /// Break the real core, agents and witness in simulated worlds, each drawn from a seed
    #[command(disable_help_flag = true)]
    Sim(SimArgs),
    /// Clear a lab away when it ends
    #[command(hide = true)]
    LabJanitor(JanitorArgs),
    /// Print the definitions of the Kubernetes resources Continuum and CnpgPair
    Crd,
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the version
    Version,
}

/// `sim`; the simulator reads its own command line.
#[derive(Debug, Args)]
pub struct SimArgs {
    /// What the simulator is told, for example --seed 7, --seeds 0..1000, --list or --help
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub arguments: Vec<OsString>,
}

/// A long-running role.
#[derive(Debug, Args)]
pub struct RoleArgs {
    /// Configuration file, TOML
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// How log lines look; wins over the file
    #[arg(long, value_name = "FORMAT")]
    pub log: Option<LogChoice>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogChoice {
    /// For people
    Human,
    /// One JSON object a line
    Json,
}

impl From<LogChoice> for LogFormat {
    fn from(choice: LogChoice) -> LogFormat {
        match choice {
            LogChoice::Human => LogFormat::Human,
            LogChoice::Json => LogFormat::Json,
        }
    }
}

/// `config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: ConfigVerb,
}

/// What can be done with configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Check a file; prints one line per mistake and exits 2, starts and writes nothing
    Check {
        /// The file
        file: PathBuf,
        /// What it is for
        #[arg(long)]
        role: Kind,
        /// Do not look at the files it names (certificates, specs, programs)
        #[arg(long)]
        no_files: bool,
        /// With `--role agent`: compare with this guard's configuration; may be repeated
        #[arg(long, value_name = "FILE")]
        guard: Vec<PathBuf>,
    },
    /// Print a complete example with comments
    Example {
        /// What it is for
        role: Kind,
    },
}

/// `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::failure::Exit;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_names_every_exit_code() {
        for (exit, meaning) in Exit::ALL {
            assert!(EXIT_CODES.contains(&format!("  {}  {meaning}\n", exit.code())), "{meaning}");
        }
    }
}
