//! `dns`.

use crate::args::RoleArgs;
use crate::config::{Variables, dns};
use crate::failure::{Exit, Failure};

/// Runs a name server until it is told to end.
pub async fn run(args: RoleArgs, variables: &Variables) -> Result<Exit, Failure> {
    let role = dns::load(&args.config, super::reading(variables))?;
    super::start_log(&args, role.log);
    let network = super::network(&role.tls)?;
    continuum_dns::serve(role.config, network, super::shutdown())
        .await
        .map_err(|error| super::ended("dns", error))?;
    Ok(Exit::Done)
}
