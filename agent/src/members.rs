//! The members an agent runs: PostgreSQL under a guard, and CloudNativePG Clusters.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use continuum_cnpg_pair::kubernetes::plane::{ApiClients, CnpgConfig, CnpgPlane};
use continuum_cnpg_pair::{DataPlane, PlaneConfig, PostgresPlane};
use continuum_domain::PairId;
use continuum_domain::spec::PairSpec;
use continuum_runtime::SharedClock;

use crate::config::{AgentConfig, ClusterMember};
use crate::kubernetes::client::Ways;

/// Makes the data plane of a member, if it is one of these.
type Planes = Box<dyn Fn(&PairSpec) -> Option<Arc<dyn DataPlane>> + Send + Sync>;

/// Those under a guard.
pub(crate) fn guarded(config: &AgentConfig, clock: &SharedClock) -> Planes {
    let (region, members, clock) = (config.region.clone(), config.pairs.clone(), clock.clone());
    Box::new(move |spec| {
        let member = members.iter().find(|member| member.id == spec.id)?;
        let config = PlaneConfig {
            region: region.clone(),
            members: spec.members.keys().cloned().collect(),
            guard_socket: member.guard_socket.clone(),
            socket_directory: member.postgres_socket_directory.clone(),
            port: member.postgres_port,
            replication_password_file: member.replication_password_file.clone(),
        };
        Some(Arc::new(PostgresPlane::new(config, clock.clone())))
    })
}

/// Those that are Clusters. Their API servers are connected to when they are first asked.
pub(crate) async fn clusters(config: &AgentConfig, clock: &SharedClock) -> io::Result<Planes> {
    let timing = config.timing.timing().map_err(|(_, why)| io::Error::other(why))?;
    let mut members: BTreeMap<PairId, (CnpgConfig, ApiClients)> = BTreeMap::new();
    // By API server, not by Cluster: a client has its own connections and authorities.
    let mut ways: BTreeMap<Option<PathBuf>, Ways> = BTreeMap::new();
    for member in &config.clusters {
        // Its own file first, then that of the agent's cluster.
        let agents = config.kubernetes.as_ref().and_then(|cluster| cluster.kubeconfig.clone());
        let kubeconfig = member.kubeconfig.clone().or(agents);
        let clients = match ways.entry(kubeconfig) {
            Entry::Occupied(mut known) => known.get_mut().of_one_more()?,
            Entry::Vacant(new) => {
                let to = Ways::to(new.key().as_deref()).await?;
                new.insert(to).of_one_more()?
            }
        };
        let ClusterMember { id, namespace, clusters, host, port, user, .. } = member.clone();
        let plane = CnpgConfig {
            region: config.region.clone(),
            clusters,
            namespace,
            host,
            port,
            user,
            password_file: member.password_file.clone(),
            tls: member.tls.then(|| member.authority.clone()),
            replication_role: member.replication_role.clone(),
            fence_network_policy: member.fence_network_policy,
            timing,
        };
        members.insert(id, (plane, clients));
    }
    let clock = clock.clone();
    Ok(Box::new(move |spec| {
        let (config, clients) = members.get(&spec.id)?.clone();
        Some(Arc::new(CnpgPlane::new(config, clients, clock.clone())))
    }))
}
