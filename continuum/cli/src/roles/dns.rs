//! `dns`.

use continuum_runtime::{Identity, Role};

use crate::args::RoleArgs;
use crate::config::witness_access::{self, Witnessed};
use crate::config::{Variables, dns};
use crate::failure::{Exit, Failure};

/// Runs a name server until it is told to end.
pub async fn run(args: RoleArgs, variables: &Variables) -> Result<Exit, Failure> {
    let role = dns::load(&args.config, super::reading(variables))?;
    super::start_log(&args, role.log);
    let network = super::network(&role.tls)?;
    let Witnessed { own, witness } = role.config;
    witness_access::ready(&witness, &network).await?;
    let me = Identity::new(Role::Dns, &*own.name);
    let store = witness.stores(&network, &me, own.read_deadline(), None)();
    continuum_dns::serve(own, network, store, super::shutdown())
        .await
        .map_err(|error| super::ended("dns", error))?;
    Ok(Exit::Done)
}
