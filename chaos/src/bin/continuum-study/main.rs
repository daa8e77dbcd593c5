//! Measures how fast a pair moves, and whether it moves when it need not, on real processes.
//!
//! Each study starts labs, does one thing to them many times, lets the clients' ledger judge every
//! time, and prints a table. It ends with 1 when an invariant broke or something did not happen.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use continuum_chaos::lab::Error;
use continuum_chaos::wan;

mod alarms;
mod disturbance;
mod faults;
mod isolation;
mod moves;
mod stand;

/// Studies of takeover and switchover on real processes
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    study: Study,
}

#[derive(Debug, Subcommand)]
enum Study {
    /// Regions killed and hot switchovers, many times
    Moves {
        /// Regions killed with SIGKILL
        #[arg(long, default_value_t = 20)]
        kills: usize,
        /// Hot switchovers, back and forth
        #[arg(long, default_value_t = 50)]
        hot: usize,
    },
    /// Every fault a few times: kills, freezes, lines cut in both directions and in one
    Faults {
        /// How often each
        #[arg(long, default_value_t = 3)]
        runs: usize,
        /// Only faults whose name contains this
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Regions that are cut off from a majority of three acceptors
    Isolation {
        /// Only isolations whose name contains this
        #[arg(long, default_value = "")]
        only: String,
    },
    /// A living pair under load, latency and loss: how often it moves all the same
    Alarms {
        /// How long each disturbance lasts, in seconds
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// Values of suspect_after, in milliseconds
        #[arg(long, value_delimiter = ',', default_values_t = [300, 600, 1000])]
        suspect_after: Vec<u64>,
        /// Only disturbances whose name contains this
        #[arg(long, default_value = "")]
        only: String,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    if !matches!(args.study, Study::Moves { .. })
        && let Err(error) = wan::enter()
    {
        eprintln!("a network namespace cannot be made: {error}");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(args.study)) {
        Ok((table, true)) => {
            println!("{table}");
            ExitCode::SUCCESS
        }
        Ok((table, false)) => {
            println!("{table}");
            eprintln!("something broke or did not happen: see above");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("the study failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The table, and whether everything held.
async fn run(study: Study) -> Result<(String, bool), Error> {
    match study {
        Study::Moves { kills, hot } => moves::run(kills, hot).await,
        Study::Faults { runs, only } => faults::run(runs, &only).await,
        Study::Isolation { only } => isolation::run(&only).await,
        Study::Alarms { seconds, suspect_after, only } => {
            let suspect_after: Vec<Duration> =
                suspect_after.into_iter().map(Duration::from_millis).collect();
            alarms::run(Duration::from_secs(seconds), &suspect_after, &only).await
        }
    }
}
