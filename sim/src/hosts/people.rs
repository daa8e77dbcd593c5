//! The host outside all regions: operators and clients.

use std::sync::Arc;
use std::time::Duration;

use continuum_runtime::{Identity, Role, seed};

use super::Host;
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
        };
        seed::spawn(writer.run());
    }
    seed::spawn(async move {
        loop {
            resolver.region().await;
            tokio::time::sleep(ASK).await;
        }
    });
    let (plan, users) = (shared.plan.clone(), shared.users.clone());
    operate(plan, network, users, shared.trace.clone(), shared.time.clone()).await;
    Ok(())
}
