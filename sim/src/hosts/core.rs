//! A control node.

use std::path::PathBuf;
use std::sync::Arc;

use continuum_control::config::{AccessConfig, CoreConfig, Peer, RaftTiming};
use continuum_control::{Edges, Listeners, serve_edges};
use continuum_runtime::Role;

use super::{API_PORT, Host, RPC_PORT, WITNESS_DEADLINE, listen_on};

pub(super) async fn run(host: &Host) -> Result<(), String> {
    let network = host.network(Role::Core);
    let listeners = Listeners::bind(&network, &listen_on(RPC_PORT), &listen_on(API_PORT))
        .await
        .map_err(|error| error.to_string())?;
    let coverage = host.shared.coverage.clone();
    let edges = Edges {
        listeners,
        disk: Arc::new(host.disk.clone()),
        archive: Arc::new(host.archive.clone()),
        register: host.witness(&network, Role::Core, WITNESS_DEADLINE),
        own_cells: None,
        network,
        clock: host.shared_clock(),
        onlooker: Some(Arc::new(move |operation, facts, effects| {
            coverage.decided(operation, facts, effects);
        })),
        dialect: host.dialect(),
    };
    let served = serve_edges(config(host), edges, std::future::pending()).await;
    served.map_err(|error| error.to_string())
}

fn config(host: &Host) -> CoreConfig {
    let peer = |(index, name): (usize, String)| Peer {
        id: index as u64 + 1,
        address: format!("{name}:{RPC_PORT}"),
        api_address: format!("{name}:{API_PORT}"),
        name,
    };
    let peers: Vec<Peer> = host.shared.plan.core().into_iter().enumerate().map(peer).collect();
    let me = peers.iter().find(|peer| peer.name == host.name);
    let me = me.expect("a control node is among its peers").clone();
    CoreConfig {
        name: me.name,
        id: me.id,
        listen_rpc: listen_on(RPC_PORT),
        listen_api: listen_on(API_PORT),
        advertise_rpc: Some(me.address),
        advertise_api: Some(me.api_address),
        data_directory: PathBuf::from("/simulated"),
        peers,
        max_failovers_at_once: 3,
        drills: false,
        raft: RaftTiming::default(),
        access: AccessConfig::default(),
        audit: Default::default(),
        sinks: Vec::new(),
        traces: None,
    }
}
