//! A region: its agent. PostgreSQL and the guard are the model's.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use continuum_agent::config::{AgentConfig, AgentPair, PeerAddress, ServerAddress, TimingConfig};
use continuum_agent::edges::{Edges, Onlooker, SessionHome, Witness, name_services};
use continuum_domain::RegionId;
use continuum_runtime::Role;
use continuum_runtime::net::TlsFiles;

use super::{API_PORT, Host, RPC_PORT, listen_on, pair};
use crate::plan::NAMES;

pub(super) async fn run(host: &Host) -> Result<(), String> {
    let network = host.network(Role::Region);
    let config = config(host);
    let listen = |port| {
        let network = network.clone();
        async move { network.listen(&listen_on(port)).await.map_err(|error| error.to_string()) }
    };
    let (peer, health) = (listen(RPC_PORT).await?, listen(API_PORT).await?);
    let region = config.region.clone();
    let cluster = host.shared.members.cluster.clone();
    let (store_host, store_network) = (host.clone(), network.clone());
    let deadline = host.shared.plan.timing.renew / 2;
    let edges = Edges {
        names: name_services(&config, &network),
        name_providers: Default::default(),
        witness: Witness {
            store: Arc::new(move || store_host.witness(&store_network, Role::Region, deadline)),
            acceptors: None,
        },
        resolvers: host.shared.resolvers.seen_from(&host.name),
        traffic: Vec::new(),
        plane: Arc::new(move |_| Some(cluster.plane(&region))),
        clock: host.shared_clock(),
        disk: Arc::new(host.disk.clone()),
        specs: Vec::new(),
        session: SessionHome::Task,
        network,
        peer,
        health,
        onlooker: Some(onlooker(host)),
        cluster: None,
        dialect: host.dialect(),
    };
    let ran = continuum_agent::run_on(config, edges, std::future::pending()).await;
    ran.map_err(|error| error.to_string())
}

/// Counts what the machine goes through; a planted assertion fails here, inside the agent.
fn onlooker(host: &Host) -> Onlooker {
    let (shared, name) = (host.shared.clone(), host.name.clone());
    Arc::new(move |machine, now, event| {
        shared.coverage.step(machine, now, event);
        let failing = shared.failing.lock().unwrap_or_else(PoisonError::into_inner).take();
        assert!(failing.as_deref() != Some(&*name), "planted: an assertion in the agent of {name}");
        *shared.failing.lock().unwrap_or_else(PoisonError::into_inner) = failing;
    })
}

fn config(host: &Host) -> AgentConfig {
    let plan = &host.shared.plan;
    let server =
        |name: &str| ServerAddress { name: name.to_owned(), address: format!("{name}:{RPC_PORT}") };
    let region = |name: &str| RegionId::new(name).expect("a valid name");
    let others = plan.region_names().into_iter().filter(|name| *name != host.name);
    let nowhere = || PathBuf::from("/simulated");
    let timing = plan.timing;
    AgentConfig {
        region: region(&host.name),
        listen_peer: listen_on(RPC_PORT),
        listen_health: listen_on(API_PORT),
        state_directory: nowhere(),
        tls: TlsFiles { authority: nowhere(), certificate: nowhere(), key: nowhere() },
        timing: TimingConfig {
            ttl: timing.ttl,
            renew: timing.renew,
            stop_budget: timing.stop_budget,
            guard: timing.guard,
            drift_percent: f64::from(timing.drift_ppm) / 10_000.0,
        },
        core: plan.core().iter().map(|name| server(name)).collect(),
        peers: others
            .map(|name| PeerAddress {
                region: region(&name),
                address: format!("{name}:{RPC_PORT}"),
            })
            .collect(),
        pairs: vec![AgentPair {
            id: pair(),
            guard_socket: nowhere(),
            postgres_port: 5432,
            postgres_socket_directory: nowhere(),
            replication_password_file: nowhere(),
            spec_file: None,
        }],
        clusters: Vec::new(),
        at_rest: Default::default(),
        names: vec![server(NAMES)],
        name_provider: Vec::new(),
        traffic: Vec::new(),
        traces: None,
        kubernetes: None,
    }
}
