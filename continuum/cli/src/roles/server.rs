//! `server`.

use std::sync::Arc;
use std::time::Duration;

use continuum_runtime::{BootClock, Identity, Role};

use crate::args::RoleArgs;
use crate::config::witness_access::{self, Witnessed};
use crate::config::{Variables, server};
use crate::failure::{Exit, Failure};

/// Deadline of one read of a pair's register; the core decides nothing on a late one.
const WITNESS_DEADLINE: Duration = Duration::from_secs(1);

/// Runs a control node until it is told to end.
pub async fn run(args: RoleArgs, variables: &Variables) -> Result<Exit, Failure> {
    let role = server::load(&args.config, super::reading(variables))?;
    super::start_log(&args, role.log);
    let network = super::network(&role.tls)?;
    let Witnessed { own, witness } = role.config;
    witness_access::ready(&witness, &network).await?;
    let me = Identity::new(Role::Core, &*own.name);
    let register = witness.stores(&network, &me, WITNESS_DEADLINE, None)();
    let clock = Arc::new(BootClock);
    continuum_control::serve(own, network, clock, register, super::shutdown())
        .await
        .map_err(|error| super::ended("server", error))?;
    Ok(Exit::Done)
}
