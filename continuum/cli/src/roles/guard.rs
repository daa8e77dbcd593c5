//! `guard`.

use crate::args::RoleArgs;
use crate::config::{Variables, guard};
use crate::failure::{Exit, Failure};

/// Runs the guard beside one PostgreSQL. It sees to its own signals, because its end must also be
/// PostgreSQL's.
pub async fn run(args: RoleArgs, variables: &Variables) -> Result<Exit, Failure> {
    let role = guard::load(&args.config, super::reading(variables))?;
    super::start_log(&args, role.log);
    continuum_cnpg_pair::guard::run(role.config)
        .await
        .map_err(|error| super::ended("guard", error))?;
    Ok(Exit::Done)
}
