//! `lab`, and the hidden `lab-janitor` it starts beside itself.

use continuum_chaos::janitor;

use crate::args::lab::{JanitorArgs, LabArgs};
use crate::failure::{Exit, Failure};

/// Runs the lab; its own exit code, which is 130 when it was interrupted.
pub async fn run(args: LabArgs) -> u8 {
    continuum_runtime::logging::install(Default::default(), "warn");
    continuum_chaos::run(args.into()).await
}

/// Waits for the lab's end and leaves nothing of it behind.
pub fn run_janitor(args: JanitorArgs) -> Result<Exit, Failure> {
    let args =
        continuum_chaos::JanitorArgs { parent_pid: args.parent_pid, directory: args.directory };
    janitor::run(&args).map_err(|error| super::ended("lab-janitor", error))?;
    Ok(Exit::Done)
}
