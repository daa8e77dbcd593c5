//! `agent`.

use std::sync::Arc;

use continuum_runtime::BootClock;

use crate::args::RoleArgs;
use crate::config::{Variables, agent};
use crate::failure::{Exit, Failure};

/// Runs a region's agent until it is told to end.
pub async fn run(args: RoleArgs, variables: &Variables) -> Result<Exit, Failure> {
    let role = agent::load(&args.config, super::reading(variables))?;
    super::start_log(&args, role.log);
    let network = super::network(&role.config.tls)?;
    continuum_agent::run(role.config, network, Arc::new(BootClock), super::shutdown())
        .await
        .map_err(|error| super::ended("agent", error))?;
    Ok(Exit::Done)
}
