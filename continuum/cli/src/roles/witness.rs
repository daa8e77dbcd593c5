//! `witness`.

use crate::args::RoleArgs;
use crate::config::{Variables, witness};
use crate::failure::{Exit, Failure};

/// Runs a witness server until it is told to end.
pub async fn run(args: RoleArgs, variables: &Variables) -> Result<Exit, Failure> {
    let role = witness::load(&args.config, super::reading(variables))?;
    super::start_log(&args, role.log);
    let network = super::network(&role.tls)?;
    continuum_witness::serve(role.config, network, super::shutdown())
        .await
        .map_err(|error| super::ended("witness", error))?;
    Ok(Exit::Done)
}
