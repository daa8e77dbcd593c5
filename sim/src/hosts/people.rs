//! The host outside all regions: operators and clients.

use std::sync::Arc;
use std::time::Duration;

use continuum_runtime::net::SharedNetwork;
use continuum_runtime::{Identity, Role, seed};

use super::{Host, WITNESS_DEADLINE};
use crate::net::SimNetwork;
use crate::users::{Resolver, Way, Writer, operate};

/// Where the resolver of this host listens for answers.
const RESOLVER_PORT: u16 = 5300;
/// Time between two questions that are asked for the judge's sake.
const ASK: Duration = Duration::from_millis(150);

pub(super) async fn run(host: &Host) -> Result<(), String> {
    let shared = &host.shared;
    let alice = Identity::new(Role::Operator, "alice");
    let network = Arc::new(SimNetwork::new(alice, &host.name, &shared.links));
    let resolver = Resolver::open(&shared.users, &shared.time, RESOLVER_PORT)
        .await
        .map_err(|error| error.to_string())?;
    let wanderers = (0..shared.plan.wanderers).map(|_| Way::Wandering);
    for way in [Way::Names(resolver.clone()), Way::Direct].into_iter().chain(wanderers) {
        let writer = Writer {
            plan: shared.plan.clone(),
            cluster: shared.members.cluster.clone(),
            users: shared.users.clone(),
            way,
            time: shared.time.clone(),
        };
        seed::spawn(writer.run());
    }
    seed::spawn(async move {
        loop {
            resolver.region().await;
            tokio::time::sleep(ASK).await;
        }
    });
    // The one change of a pair's register that the core may make: `paused` (R21).
    let core = Identity::new(Role::Core, "c1");
    let as_core: SharedNetwork = Arc::new(SimNetwork::new(core, &host.name, &shared.links));
    let register = host.witness(&as_core, Role::Core, WITNESS_DEADLINE);
    let as_operator: SharedNetwork = network.clone();
    super::witness::found(&shared.plan, &as_operator).await;
    operate(shared, network, register).await;
    Ok(())
}
