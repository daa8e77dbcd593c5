//! `agent`.

use std::sync::Arc;
use std::time::Duration;

use continuum_agent::edges::Witness;
use continuum_runtime::{BootClock, Identity, Role, SharedClock};

use crate::args::RoleArgs;
use crate::config::{Variables, agent, witness_access};
use crate::failure::{Exit, Failure};

/// Runs a region's agent until it is told to end.
pub async fn run(args: RoleArgs, variables: &Variables) -> Result<Exit, Failure> {
    let role = agent::load(&args.config, super::reading(variables))?;
    super::start_log(&args, role.log);
    let network = super::network(&role.config.tls)?;
    witness_access::ready(&role.witness, &network).await?;
    let cluster = role.member_cluster.as_ref();
    let refused = role.witness.refuse_member_cluster(cluster, Duration::from_secs(2)).await;
    refused.map_err(|(name, error)| Failure::usage(format!("witness acceptor {name}: {error}")))?;
    let timing = role.config.timing.timing().map_err(|(_, why)| Failure::usage(why))?;
    let me = Identity::new(Role::Region, role.config.region.as_str());
    // Two tries fit into one renewal interval.
    let clock: SharedClock = Arc::new(BootClock);
    let acceptors = role.witness.health(&clock);
    let store = role.witness.stores(&network, &me, timing.renew / 2, acceptors.clone());
    let witness = Witness { store, acceptors };
    Box::pin(continuum_agent::run(role.config, network, witness, clock, super::shutdown()))
        .await
        .map_err(|error| super::ended("agent", error))?;
    Ok(Exit::Done)
}
