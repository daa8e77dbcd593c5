//! The witness: its servers, and the way to them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use continuum_domain::RegionId;
use continuum_runtime::net::SharedNetwork;
use continuum_runtime::{Identity, Role};
use continuum_witness::{
    Acceptor, QuorumStore, RegisterStore, Server, ServerCells, ServerStore, WitnessConfig, quorum,
};

use super::{Host, RPC_PORT, WITNESS_DEADLINE, listen_on, pair};
use crate::plan::{Plan, WITNESS};

/// Pause between two tries to found the quorum.
const RETRY: Duration = Duration::from_millis(300);

/// The witness of a plan as `me` reaches it over `network`.
pub(super) fn reach(
    plan: &Plan,
    network: &SharedNetwork,
    me: Identity,
    deadline: Duration,
) -> Arc<dyn RegisterStore> {
    if plan.acceptors == 0 {
        let address = format!("{WITNESS}:{RPC_PORT}");
        return Arc::new(ServerStore::new(network.clone(), address, WITNESS, deadline));
    }
    Arc::new(QuorumStore::new(acceptors(plan, network, deadline), me, deadline))
}

fn acceptors(plan: &Plan, network: &SharedNetwork, deadline: Duration) -> Vec<Acceptor> {
    let acceptor = |name: String| {
        let address = format!("{name}:{RPC_PORT}");
        let store = ServerCells::new(network.clone(), address, name.as_str(), deadline);
        Acceptor { name, store: Arc::new(store) }
    };
    plan.witnesses().into_iter().map(acceptor).collect()
}

/// Founds the quorum, where there is one, as an operator does once.
pub(super) async fn found(plan: &Plan, network: &SharedNetwork) {
    if plan.acceptors == 0 {
        return;
    }
    let acceptors = acceptors(plan, network, WITNESS_DEADLINE);
    while let Err(error) = quorum::found(&acceptors).await {
        tracing::debug!(%error, "not founded yet");
        tokio::time::sleep(RETRY).await;
    }
}

/// Has an acceptor taken in again that lost its state; whether that is done.
pub(crate) async fn take_in_again(plan: Arc<Plan>, network: SharedNetwork, name: String) -> bool {
    let acceptors = acceptors(&plan, &network, WITNESS_DEADLINE);
    let me = Identity::new(Role::Operator, "alice");
    let mut silent = |_| {};
    let done =
        quorum::replace(&acceptors, (&name, &name), (&me, WITNESS_DEADLINE), &mut silent).await;
    if let Err(error) = &done {
        tracing::debug!(%error, "not taken in again yet");
    }
    done.is_ok()
}

pub(super) async fn run(host: &Host) -> Result<(), String> {
    host.publish_store(None);
    let regions = host.shared.plan.region_names();
    let members = regions.iter().map(|name| RegionId::new(name).expect("a valid name")).collect();
    let config = WitnessConfig {
        name: host.name.clone(),
        listen: listen_on(RPC_PORT),
        data_directory: PathBuf::from("/simulated"),
        pairs: BTreeMap::from([(pair(), members)]),
    };
    let disk = Arc::new(host.disk.clone());
    let server =
        Server::bind_on(config, disk, &host.network(Role::Witness), host.shared_clock()).await;
    let server = server.map_err(|error| error.to_string())?;
    host.publish_store(Some(server.store()));
    server.run(std::future::pending()).await.map_err(|error| error.to_string())
}
