//! Writes every part's configuration file and lists the parts.
//!
//! The files are text made from values rather than from the parts' own types: the lab is a user of
//! the public formats, so that a format that changes is noticed here.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use continuum_domain::RegionId;
use continuum_domain::spec::{LossApproval, MemberSpec, PairSpec};
use continuum_runtime::durable;
use continuum_runtime::net::TlsFiles;
use continuum_runtime::seed;
use serde_json::{Value, json};

use crate::args::LabOptions;
use crate::authority::{self, Authority, Make};
use crate::azurite;
use crate::clusters;
use crate::layout::{CoreNode, Layout, NAME, PAIR, Region, WitnessServer, ZONE};
use crate::manifest::{Manifest, Part};
use crate::pooler;
use crate::wan::{self, NETWORKS};
use crate::workload::CLIENT_ROLE;

/// Where the automation's anti-flap period would keep a scenario waiting.
const ANTI_FLAP: Duration = Duration::from_secs(1);
/// How long an agent asks a silent core before it goes alone.
const CORE_GRACE: Duration = Duration::from_millis(1_000);

/// The pair's spec.
pub fn spec(layout: &Layout, options: &LabOptions) -> PairSpec {
    let member = |region: &Region| {
        let host = postgres_address(region).to_string();
        (
            region.id.clone(),
            MemberSpec { priority: 100, host, port: layout.postgres_port, health_name: None },
        )
    };
    let members: BTreeMap<RegionId, MemberSpec> = layout.regions.iter().map(member).collect();
    let first = options.regions.first().cloned();
    let first = first.unwrap_or_else(|| RegionId::new("fsn").expect("a valid region name"));
    let mut spec = PairSpec::new(layout.pair(), members, first);
    spec.durability = options.durability;
    spec.takeover = options.takeover;
    spec.suspect_after = options.suspect_after;
    spec.on_witness_loss = options.on_witness_loss;
    spec.stall_timeout = options.stall_timeout;
    spec.drain = options.drain;
    spec.anti_flap = ANTI_FLAP;
    spec.core_grace = CORE_GRACE;
    spec.loss_approval = options.rpo_bytes.map(|rpo_bytes| LossApproval { rpo_bytes });
    if let Some(restarts) = options.restarts_in_place {
        spec.restarts_in_place = restarts;
    }
    spec.names = authority::names(layout, options);
    spec
}

/// Writes all files below the layout's directory and lists the parts, none of which runs yet.
/// The programs are those of the object store and the poolers, where the layout has any, and
/// `authorities` are the name servers of others.
pub fn write(
    layout: &Layout,
    options: &LabOptions,
    binary: &Path,
    (azurite, pgbouncer): (Option<&Path>, Option<&Path>),
    authorities: &[Authority],
) -> io::Result<Manifest> {
    durable::write_atomic(&password_file(layout), format!("{}\n", seed::random_id(32)).as_bytes())?;
    let spec = serde_json::to_value(spec(layout, options)).map_err(io::Error::other)?;
    write_toml(&layout.config_file(PAIR), without_nulls(spec))?;
    write_toml(&layout.config_file("client"), client(layout))?;
    let mut parts = Vec::new();
    for node in &layout.core {
        write_toml(&layout.config_file(&node.name), traced(options, server(layout, node)))?;
        parts.push(core_part(layout, node, binary));
    }
    for server in &layout.witnesses {
        write_toml(&layout.config_file(&server.name), witness(layout, server))?;
        let mut part = part(layout, &server.name, "witness", binary, &[("grpc", server.port)]);
        if let Some(pid) = server.namespace {
            part.argv.splice(0..0, wan::inside(pid));
        }
        parts.push(part);
    }
    if let (Some(port), Some(program)) = (layout.object_store, azurite) {
        durable::write_atomic(&credentials_file(layout), azurite::credentials().as_bytes())?;
        parts.push(azurite::part(layout, program, port));
    }
    parts.extend(authorities.iter().map(|authority| authority.part(layout)));
    if options.names.has_embedded() {
        write_toml(&layout.config_file("dns"), dns(layout, options))?;
        let (dns_port, update_port, _) = &layout.dns;
        let ports = [("dns", *dns_port), ("grpc", *update_port)];
        parts.push(part(layout, "dns", "dns", binary, &ports));
    }
    for region in &layout.regions {
        parts.extend(region_parts(layout, options, region, binary)?);
        if let (Some(port), Some(program)) = (region.pooler_port, pgbouncer) {
            parts.push(pooler::write(layout, region, program, port)?);
        }
    }
    Ok(Manifest {
        directory: layout.directory.clone(),
        lab_pid: std::process::id().cast_signed(),
        pair: PAIR.into(),
        name: NAME.into(),
        dns: layout.name_server().to_string(),
        postgresql: layout.postgresql(),
        operator_config: layout.config_file("client"),
        parts,
    })
}

fn region_parts(
    layout: &Layout,
    options: &LabOptions,
    region: &Region,
    binary: &Path,
) -> io::Result<Vec<Part>> {
    let name = |role: &str| format!("{}-{role}", region.id);
    write_toml(
        &layout.config_file(&name("agent")),
        traced(options, agent(layout, options, region)),
    )?;
    let mut parts = Vec::new();
    if !options.clusters.contains_key(&region.id) {
        write_toml(&layout.config_file(&name("guard")), guard(layout, options, region))?;
        let postgres = [("postgresql", layout.postgres_port)];
        let mut guard = part(layout, &name("guard"), "guard", binary, &postgres);
        guard.data_directory = layout.data_directory(&region.id);
        parts.push(guard);
    }
    let ports = [("peer", region.peer_port), ("health", region.health_port)];
    let mut agent = part(layout, &name("agent"), "agent", binary, &ports);
    agent.data_directory = agent_state(layout, region);
    parts.push(agent);
    for part in &mut parts {
        part.region = Some(region.id.to_string());
        if let Some(pid) = region.namespace {
            part.argv.splice(0..0, wan::inside(pid));
        }
    }
    Ok(parts)
}

fn core_part(layout: &Layout, node: &CoreNode, binary: &Path) -> Part {
    part(layout, &node.name, "server", binary, &[("grpc", node.port), ("api", node.api_port)])
}

fn part(layout: &Layout, name: &str, role: &str, binary: &Path, ports: &[(&str, u16)]) -> Part {
    Part {
        name: name.into(),
        role: role.into(),
        region: None,
        pid: None,
        started: None,
        argv: command(binary, role, &layout.config_file(name)),
        ports: ports.iter().map(|(purpose, port)| ((*purpose).to_owned(), *port)).collect(),
        data_directory: layout.directory.join(name),
        log: layout.log_file(name),
    }
}

/// The command line of a part.
fn command(binary: &Path, role: &str, config: &Path) -> Vec<String> {
    let text = |path: &Path| path.display().to_string();
    let verb = match role {
        "witness" => vec!["witness".to_owned(), "serve".to_owned()],
        role => vec![role.to_owned()],
    };
    [vec![text(binary)], verb, vec!["--config".into(), text(config)]].concat()
}

fn write_toml(path: &Path, value: Value) -> io::Result<()> {
    let text = toml::to_string(&value).map_err(io::Error::other)?;
    fs::write(path, text)
}

/// TOML has no null: what is absent is left out.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// A part that belongs to no region.
fn at_hub(layout: &Layout, port: u16) -> String {
    format!("{}:{port}", layout.hub)
}

/// A part of a region, as others reach it.
fn in_region(region: &Region, port: u16) -> String {
    format!("{}:{port}", region.peer_address)
}

/// A region's health URLs: where clients reach PostgreSQL when a name server probes them.
fn health(layout: &Layout, region: &Region) -> String {
    match layout.probed {
        Some(port) => format!("{}:{port}", region.address),
        None => in_region(region, region.health_port),
    }
}

/// Where other members reach a region's PostgreSQL: apart from the clients in a network that can be
/// disturbed, and else where everybody does.
fn postgres_address(region: &Region) -> Ipv4Addr {
    region.namespace.map_or(region.address, |_| region.peer_address)
}

/// Networks that role `postgres` is let in from.
fn trusted(layout: &Layout) -> Vec<&'static str> {
    match layout.regions.iter().any(|region| region.namespace.is_some()) {
        true => NETWORKS.to_vec(),
        false => vec!["127.0.0.0/8"],
    }
}

fn tls(files: &TlsFiles) -> Value {
    json!({ "authority": files.authority, "certificate": files.certificate, "key": files.key })
}

fn named(name: &str, address: String) -> Value {
    json!({ "name": name, "address": address })
}

fn duration(value: Duration) -> String {
    format!("{}ms", value.as_millis())
}

fn password_file(layout: &Layout) -> PathBuf {
    layout.directory.join("config/replication.password")
}

fn credentials_file(layout: &Layout) -> PathBuf {
    layout.directory.join("config/object-store.credentials")
}

fn agent_state(layout: &Layout, region: &Region) -> PathBuf {
    layout.region_directory(&region.id).join("agent")
}

/// A part that tells of what it does, where there is somebody to tell.
fn traced(options: &LabOptions, mut part: Value) -> Value {
    if let Some(endpoint) = &options.collector {
        part["traces"] = json!({ "endpoint": endpoint });
    }
    part
}

fn server(layout: &Layout, node: &CoreNode) -> Value {
    let peer = |node: &CoreNode| {
        json!({
            "name": node.name,
            "id": node.id,
            "address": at_hub(layout, node.port),
            "api_address": at_hub(layout, node.api_port),
        })
    };
    json!({
        "name": node.name,
        "id": node.id,
        "listen_rpc": at_hub(layout, node.port),
        "listen_api": at_hub(layout, node.api_port),
        "data_directory": layout.directory.join(&node.name),
        "peers": layout.core.iter().map(peer).collect::<Vec<_>>(),
        "witness": access(layout),
        // A scenario may crash a node on purpose.
        "drills": true,
        "tls": tls(&node.tls),
    })
}

/// The way to the witness, for everybody who has one.
fn access(layout: &Layout) -> Value {
    let address = |server: &WitnessServer| format!("{}:{}", server.address, server.port);
    if let ([one], false) = (layout.witnesses.as_slice(), layout.is_quorum) {
        return named(&one.name, address(one));
    }
    let nodes = layout.core.iter().map(|node| named(&node.name, at_hub(layout, node.port)));
    let core = json!({ "kind": "core", "name": "core", "nodes": nodes.collect::<Vec<_>>() });
    let server = |server: &WitnessServer| json!({ "kind": "server", "name": server.name, "address": address(server) });
    let store = |port| {
        json!({
            "kind": "object-store",
            "name": azurite::PART,
            "store": azurite::store(port, &credentials_file(layout)),
        })
    };
    let others = layout.witnesses.iter().map(server).chain(layout.object_store.map(store));
    json!({ "acceptor": std::iter::once(core).chain(others).collect::<Vec<_>>() })
}

fn witness(layout: &Layout, server: &WitnessServer) -> Value {
    let regions: Vec<&RegionId> = layout.regions.iter().map(|region| &region.id).collect();
    json!({
        "name": server.name,
        "listen": format!("{}:{}", server.address, server.port),
        "data_directory": layout.directory.join(&server.name),
        "pairs": { PAIR: regions },
        "tls": tls(&server.tls),
    })
}

fn dns(layout: &Layout, options: &LabOptions) -> Value {
    let addresses = |region: &Region| (region.id.to_string(), json!([region.address]));
    let addresses: BTreeMap<String, Value> = layout.regions.iter().map(addresses).collect();
    let mut config = json!({
        "name": "dns",
        "listen_dns": layout.embedded().to_string(),
        "listen_rpc": at_hub(layout, layout.dns.1),
        "zone": ZONE,
        "names": [{
            "name": NAME,
            "pair": PAIR,
            "ttl": duration(options.name_ttl),
            "addresses": addresses,
        }],
        "witness": access(layout),
        "tls": tls(&layout.dns.2),
    });
    if let Some(secondary) = layout.authority(Make::Knot) {
        let server = json!({ "name": format!("ns1.{ZONE}"), "addresses": [secondary.ip()] });
        config["name_servers"] = json!([server]);
        let key_file = layout.transfer_key_file();
        config["secondaries"] = json!([{ "address": secondary.to_string(), "key_file": key_file }]);
    }
    config
}

fn client(layout: &Layout) -> Value {
    let endpoint = |node: &CoreNode| named(&node.name, at_hub(layout, node.api_port));
    json!({
        "endpoints": layout.core.iter().map(endpoint).collect::<Vec<_>>(),
        "witness": access(layout),
        "tls": tls(&layout.operator),
    })
}

fn guard(layout: &Layout, options: &LabOptions, region: &Region) -> Value {
    let directory = layout.region_directory(&region.id);
    let members: Vec<&RegionId> = layout.regions.iter().map(|region| &region.id).collect();
    let listen_host = match region.namespace {
        Some(_) => format!("{},{}", region.peer_address, region.address),
        None => region.address.to_string(),
    };
    let networks = trusted(layout);
    let client = |network| format!("host postgres {CLIENT_ROLE} {network} trust");
    json!({
        "pair": PAIR,
        "region": region.id,
        "members": members,
        "socket": directory.join("guard.sock"),
        "data_directory": layout.data_directory(&region.id),
        "state_directory": layout.guard_state(&region.id),
        "listen_host": listen_host,
        "port": layout.postgres_port,
        "socket_directory": directory.join("postgresql/run"),
        "replication_password_file": password_file(layout),
        "durability": options.durability,
        "max_slot_wal_keep_size": "256MB",
        "trusted_networks": networks,
        "hba": networks.iter().map(client).collect::<Vec<_>>(),
        "stop_budget": duration(options.timing().stop_budget),
        // Little memory and little WAL: a rewind copies all of it.
        "settings": {
            "shared_buffers": "32MB",
            "min_wal_size": "32MB",
            "max_wal_size": "128MB",
            "wal_recycle": "off",
        },
    })
}

fn agent(layout: &Layout, options: &LabOptions, region: &Region) -> Value {
    let timing = options.timing();
    let core = layout.core.iter().map(|node| named(&node.name, at_hub(layout, node.port)));
    let peers = layout.regions.iter().filter(|other| other.id != region.id);
    let peers =
        peers.map(|peer| json!({ "region": peer.id, "address": in_region(peer, peer.peer_port) }));
    let directory = layout.region_directory(&region.id);
    let embedded = options.names.has_embedded().then(|| named("dns", at_hub(layout, layout.dns.1)));
    let guarded = json!({
        "id": PAIR,
        "guard_socket": directory.join("guard.sock"),
        "postgres_port": layout.postgres_port,
        "postgres_socket_directory": directory.join("postgresql/run"),
        "replication_password_file": password_file(layout),
    });
    let (guarded, clusters, asleep) = match options.clusters.get(&region.id) {
        None => (vec![guarded], Vec::new(), Vec::new()),
        Some(kubeconfig) => (
            Vec::new(),
            vec![clusters::member(layout, region, kubeconfig)],
            vec![clusters::hibernated(region, kubeconfig)],
        ),
    };
    let mut config = json!({
        "region": region.id,
        "listen_peer": in_region(region, region.peer_port),
        "listen_health": health(layout, region),
        "state_directory": agent_state(layout, region),
        "tls": tls(&region.tls),
        "timing": {
            "ttl": duration(timing.ttl),
            "renew": duration(timing.renew),
            "stop_budget": duration(timing.stop_budget),
            "guard": duration(timing.guard),
        },
        "witness": access(layout),
        "core": core.collect::<Vec<_>>(),
        "peers": peers.collect::<Vec<_>>(),
        "pairs": guarded,
        "clusters": clusters,
        "at_rest": { "hibernate": asleep },
        "names": embedded.into_iter().collect::<Vec<_>>(),
        "name_provider": authority::providers(layout, options, region),
        "traffic": pooler::section(layout, region),
    });
    if let Some(kubeconfig) = options.clusters.get(&region.id) {
        config["kubernetes"] = clusters::watched(kubeconfig);
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_gets_a_file_that_is_toml_and_an_entry_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let options = LabOptions { rpo_bytes: None, ..LabOptions::default() };
        let layout = Layout::create(directory.path().to_owned(), &options, None).unwrap();
        let manifest =
            write(&layout, &options, Path::new("/bin/continuum"), (None, None), &[]).unwrap();
        let names: Vec<&str> = manifest.parts.iter().map(|part| part.name.as_str()).collect();
        let expected = [
            "core-1",
            "core-2",
            "core-3",
            "witness",
            "dns",
            "fsn-guard",
            "fsn-agent",
            "hel-guard",
            "hel-agent",
        ];
        assert_eq!(names, expected);
        for part in &manifest.parts {
            let text = fs::read_to_string(part.argv.last().unwrap()).unwrap();
            let table: toml::Table = text.parse().unwrap();
            assert!(!table.is_empty(), "{}", part.name);
        }
        let text = fs::read_to_string(layout.config_file(PAIR)).unwrap();
        let read: PairSpec = toml::from_str(&text).unwrap();
        assert_eq!(read, spec(&layout, &options));
        assert_eq!(read.check(), Ok(()));
        let agent: toml::Table =
            fs::read_to_string(layout.config_file("fsn-agent")).unwrap().parse().unwrap();
        assert_eq!(agent["timing"]["ttl"].as_str(), Some("10000ms"));
        assert_eq!(agent["peers"][0]["region"].as_str(), Some("hel"));
    }
}
