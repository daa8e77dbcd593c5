//! The witness.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use continuum_domain::RegionId;
use continuum_runtime::Role;
use continuum_witness::{Server, WitnessConfig};

use super::{Host, RPC_PORT, listen_on, pair};

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
