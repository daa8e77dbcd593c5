//! The command line.

mod alarms;
mod behaviour;
mod children;
mod coverage;
mod minimize;
mod single;
mod workers;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use continuum_domain::spec::Takeover;

use crate::plan::Plan;
use crate::timeline::Format;
use crate::{hunts, random};

/// All is well.
const OK: u8 = 0;
/// Something is wrong in what was simulated.
const FINDING: u8 = 1;
/// The command line is wrong, or a child process could not be run.
const USAGE: u8 = 2;

/// Runs the real core, agents, witness and name service in one thread, broken by a seed.
#[derive(Debug, Parser)]
#[command(name = "continuum-sim", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    run: RunArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Proves that runs can be repeated: seeds run twice, in two processes, with equal traces.
    Meta {
        /// How many seeds.
        #[arg(long, default_value_t = 20)]
        seeds: u64,
        /// The first one.
        #[arg(long, default_value_t = 0)]
        first: u64,
    },
    /// Counts what runs went through, and fails when something that must be reached never was.
    Coverage(coverage::CoverageArgs),
    /// Measures what each kind of partition does, as a Markdown table.
    Table(behaviour::TableArgs),
    /// Counts how often a living holder is taken for lost, as a Markdown table.
    Alarms(alarms::AlarmArgs),
}

#[derive(Debug, Args)]
#[group(required = false, multiple = true)]
struct RunArgs {
    /// One world, told as a story.
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "minimize", "list", "scenario"])]
    seed: Option<u64>,
    /// Many worlds, in child processes; stops at the first that fails. `A..B`, B left out.
    #[arg(long, value_name = "A..B", value_parser = range, conflicts_with_all = ["minimize", "list"])]
    seeds: Option<std::ops::Range<u64>>,
    /// Shrinks the faults of a failing seed to the fewest that still fail.
    #[arg(long, value_name = "SEED", conflicts_with = "list")]
    minimize: Option<u64>,
    /// Lists the named scenarios.
    #[arg(long)]
    list: bool,
    /// A named scenario, told as a story.
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// A plan from a file (`-`: standard input) instead of the seed's own.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "seeds", "minimize"])]
    plan: Option<String>,
    /// Prints the plan as JSON and runs nothing.
    #[arg(long, requires = "seed")]
    print_plan: bool,
    /// Goes on after a failing seed.
    #[arg(long, requires = "seeds")]
    keep_going: bool,
    /// Child processes at a time; by default one per core.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Only seeds whose world has so many regions and control nodes, such as `2x3`.
    #[arg(long, value_name = "RxN", requires = "seeds")]
    shape: Option<Shape>,
    /// Runs the seeds that come on standard input, one verdict a line: the other side of --seeds.
    #[arg(long, hide = true, conflicts_with_all = ["seed", "seeds", "minimize", "scenario", "plan"])]
    serve: bool,
    /// Plans of the hunt for this planted bug, instead of general ones.
    #[arg(long, value_name = "BUG")]
    hunt: Option<String>,
    /// Has listed standbys take over so, `ttl` or `ledger`, whatever the plan says.
    #[arg(long, value_name = "HOW", value_parser = takeover)]
    takeover: Option<Takeover>,
    /// Prints nothing but the verdict, as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Draws the run of --seed, --scenario or --plan as a timeline: FILE.svg or FILE.html.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seeds", "minimize", "list", "print_plan"])]
    timeline: Option<String>,
    /// Also shows what the programs log for developers.
    #[arg(long)]
    debug: bool,
    /// Counts every packet in the trace's hash.
    #[arg(long)]
    packets: bool,
    /// Takes one rule out of the machines, by name.
    #[cfg(feature = "planted-bugs")]
    #[arg(long, value_name = "BUG")]
    plant: Option<String>,
}

impl RunArgs {
    /// The plan of a seed, of the kind that was asked for.
    fn plan_of(&self, seed: u64) -> Plan {
        let hunt = self.hunt.as_deref().and_then(hunts::find);
        let mut plan = hunt.map_or_else(|| random::plan(seed), |hunt| (hunt.plan)(seed));
        if let Some(takeover) = self.takeover {
            plan.take_over_by(takeover);
        }
        plan
    }
}

fn takeover(text: &str) -> Result<Takeover, String> {
    match text {
        "ttl" => Ok(Takeover::Ttl),
        "ledger" => Ok(Takeover::Ledger),
        _ => Err("there are ttl and ledger".into()),
    }
}

/// What a world is made of: regions and control nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    regions: usize,
    nodes: usize,
}

impl Shape {
    fn is_of(self, plan: &Plan) -> bool {
        (plan.regions, plan.nodes) == (self.regions, self.nodes)
    }
}

impl std::str::FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let counts = text.split_once('x').and_then(|(regions, nodes)| {
            Some(Self { regions: regions.parse().ok()?, nodes: nodes.parse().ok()? })
        });
        counts.ok_or_else(|| format!("{text:?} is no shape; write it as 2x3"))
    }
}

fn range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let problem = || format!("{text:?} is not a range; write it as 0..1000");
    let (from, to) = text.split_once("..").ok_or_else(problem)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| problem());
    let range = number(from)?..number(to)?;
    if range.is_empty() { Err(problem()) } else { Ok(range) }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let Cli { run, command } = Cli::parse();
    let code = match command {
        Some(Command::Meta { seeds, first }) => children::meta(first..first + seeds),
        Some(Command::Table(args)) => behaviour::table(&args),
        Some(Command::Alarms(args)) => alarms::alarms(&args),
        Some(Command::Coverage(args)) => coverage::coverage(&args),
        None => dispatch(&run),
    };
    ExitCode::from(code)
}

fn dispatch(args: &RunArgs) -> u8 {
    #[cfg(feature = "planted-bugs")]
    if let Some(name) = &args.plant {
        let Some(bug) = crate::planted::find(name) else {
            eprintln!("there is no bug {name:?}; there are {:?}", crate::planted::ALL);
            return USAGE;
        };
        crate::planted::plant_here(bug);
    }
    let hunt = args.hunt.as_deref();
    if let Some(name) = hunt.filter(|name| hunts::find(name).is_none()) {
        let all: Vec<_> = hunts::all().iter().map(hunts::Hunt::name).collect();
        eprintln!("there is no hunt for {name:?}; there are {all:?}");
        return USAGE;
    }
    if let Some(file) = args.timeline.as_deref().filter(|file| Format::of(file).is_none()) {
        eprintln!("{file}: a timeline is written as .svg or as .html");
        return USAGE;
    }
    if args.list {
        return single::list();
    }
    if args.serve {
        return workers::serve(args);
    }
    if let Some(seed) = args.minimize {
        return minimize::minimize(seed, args);
    }
    if let Some(seeds) = &args.seeds {
        return children::sweep(seeds.clone(), args);
    }
    if let Some(name) = &args.scenario {
        return single::scenario(name, args);
    }
    if let Some(file) = &args.plan {
        return single::plan_file(file, args);
    }
    if let Some(seed) = args.seed {
        return single::seed(seed, args);
    }
    eprintln!("nothing to do: give --seed, --seeds, --scenario, --minimize, --list or meta");
    USAGE
}
