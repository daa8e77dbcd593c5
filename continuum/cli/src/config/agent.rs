//! Configuration of a region's agent.

use std::path::Path;

use continuum_agent::config::{AgentConfig, AgentPair, ServerAddress};
use continuum_dns::provider::config::ProviderConfig;
use continuum_runtime::Role;
use continuum_runtime::logging::LogFormat;
use continuum_witness_backends::WitnessAccess;
use continuum_witness_backends::kubernetes::MemberCluster;

use super::guard::GuardFile;
use super::loader::{Checks, Document};
use super::{Issue, Reading, at_rest, pair, traces, traffic, witness_access};

/// An agent's configuration with what all roles share.
#[derive(Clone, Debug)]
pub struct AgentFile {
    /// The agent's own.
    pub config: AgentConfig,
    /// Where the witness is.
    pub witness: WitnessAccess,
    /// The Kubernetes cluster its members run in; that of its pod by default.
    pub member_cluster: Option<MemberCluster>,
    /// How log lines look.
    pub log: LogFormat,
}

/// Reads and checks an agent's configuration.
pub fn load(file: &Path, reading: Reading<'_>) -> Result<AgentFile, Vec<Issue>> {
    load_beside(file, reading, &[])
}

/// As [`load`], and compares with the configurations of its guards.
pub fn load_beside(
    file: &Path,
    reading: Reading<'_>,
    guards: &[GuardFile],
) -> Result<AgentFile, Vec<Issue>> {
    let mut document = Document::read(file, "agent", reading.variables)?;
    let log = document.take("log").unwrap_or_default();
    let witness = witness_access::take(&mut document);
    let member_cluster: Option<MemberCluster> = document.take("member_cluster");
    let loaded = document.typed::<AgentConfig>()?;
    let mut checks = Checks::new(&loaded.places, reading.files);
    check(&loaded.value, &mut checks);
    witness_access::check(&witness, &mut checks);
    if let Some(cluster) = &member_cluster {
        checks.readable("member_cluster.kubeconfig", &cluster.kubeconfig);
    }
    for guard in guards {
        check_guard(&loaded.value, guard, &mut checks);
    }
    checks.finish()?;
    Ok(AgentFile { config: loaded.value, witness, member_cluster, log })
}

fn check(config: &AgentConfig, checks: &mut Checks<'_>) {
    if let Err((key, problem)) = config.timing.timing() {
        checks.fail(&format!("timing.{key}"), problem);
    }
    checks.listen("listen_peer", &config.listen_peer);
    checks.listen("listen_health", &config.listen_health);
    checks.absolute("state_directory", &config.state_directory);
    servers("core", &config.core, checks);
    servers("names", &config.names, checks);
    check_providers(config, checks);
    check_peers(config, checks);
    check_pairs(config, checks);
    check_clusters(config, checks);
    traffic::check(config, checks);
    at_rest::check(config, checks);
    traces::check(config.traces.as_ref(), checks);
    check_kubernetes(config, checks);
    checks.tls("tls", &config.tls, Role::Region, Some(config.region.as_str()));
}

fn check_kubernetes(config: &AgentConfig, checks: &mut Checks<'_>) {
    let Some(kubernetes) = &config.kubernetes else { return };
    if let Err((key, problem)) = kubernetes.check() {
        checks.fail(&format!("kubernetes.{key}"), problem);
    }
    if let Some(file) = &kubernetes.kubeconfig {
        checks.readable("kubernetes.kubeconfig", file);
    }
}

fn servers(list: &str, servers: &[ServerAddress], checks: &mut Checks<'_>) {
    for (index, server) in servers.iter().enumerate() {
        checks.filled(&format!("{list}.{index}.name"), &server.name);
        checks.address(&format!("{list}.{index}.address"), &server.address);
    }
    let names = servers.iter().map(|server| &server.name);
    checks.distinct("name", names, |index| format!("{list}.{index}.name"));
}

fn check_providers(config: &AgentConfig, checks: &mut Checks<'_>) {
    for (index, provider) in config.name_provider.iter().enumerate() {
        let key = |field: &str| format!("name_provider.{index}.{field}");
        if let Err(error) = provider.check() {
            checks.fail(&key(&error.path), error.problem);
        }
        if let Some(file) = provider.key_file()
            && checks.readable(&key("key_file"), file)
        {
            checks.result(&key("key_file"), provider.check_key());
        }
    }
    let names = config.name_provider.iter().map(ProviderConfig::name);
    checks.distinct("name", names, |index| format!("name_provider.{index}.name"));
}

fn check_peers(config: &AgentConfig, checks: &mut Checks<'_>) {
    for (index, peer) in config.peers.iter().enumerate() {
        checks.address(&format!("peers.{index}.address"), &peer.address);
        if peer.region == config.region {
            let problem = format!("{} is this agent's own region", peer.region);
            checks.fail(&format!("peers.{index}.region"), problem);
        }
    }
    let regions = config.peers.iter().map(|peer| &peer.region);
    checks.distinct("region", regions, |index| format!("peers.{index}.region"));
}

fn check_pairs(config: &AgentConfig, checks: &mut Checks<'_>) {
    if config.pairs.is_empty() && config.clusters.is_empty() {
        checks.fail("pairs", "names no pair, and clusters none; there is nothing to do");
    }
    for (index, pair) in config.pairs.iter().enumerate() {
        let key = |field: &str| format!("pairs.{index}.{field}");
        checks.absolute(&key("guard_socket"), &pair.guard_socket);
        checks.absolute(&key("postgres_socket_directory"), &pair.postgres_socket_directory);
        if pair.postgres_port == 0 {
            checks.fail(&key("postgres_port"), "must not be 0");
        }
        checks.readable(&key("replication_password_file"), &pair.replication_password_file);
        if let Some(file) = &pair.spec_file {
            check_spec_file(&key("spec_file"), file, config, pair, checks);
        }
    }
    let pairs = || config.pairs.iter();
    let sockets = pairs().map(|pair| pair.guard_socket.display().to_string());
    checks.distinct("socket", sockets, |index| format!("pairs.{index}.guard_socket"));
}

fn check_clusters(config: &AgentConfig, checks: &mut Checks<'_>) {
    for (index, member) in config.clusters.iter().enumerate() {
        let key = |field: &str| format!("clusters.{index}.{field}");
        if !member.clusters.contains_key(&config.region) {
            let problem = format!("does not name the Cluster of {}, this region", config.region);
            checks.fail(&key("clusters"), problem);
        }
        if member.clusters.len() < 2 {
            checks.fail(&key("clusters"), "names no other region's Cluster; a pair has two");
        }
        checks.distinct("Cluster", member.clusters.values(), |_| key("clusters"));
        if member.port == 0 {
            checks.fail(&key("port"), "must not be 0");
        }
        for (field, file) in [
            ("password_file", &member.password_file),
            ("authority", &member.authority),
            ("kubeconfig", &member.kubeconfig),
            ("spec_file", &member.spec_file),
        ] {
            if let Some(file) = file {
                checks.readable(&key(field), file);
            }
        }
        if member.authority.is_some() && !member.tls {
            checks.fail(&key("authority"), "says whom to believe, but tls is off");
        }
    }
    let guarded = config.pairs.iter().map(|pair| &pair.id);
    let ids: Vec<_> = guarded.chain(config.clusters.iter().map(|member| &member.id)).collect();
    let before = config.pairs.len();
    checks.distinct("pair", ids, |index| match index.checked_sub(before) {
        Some(index) => format!("clusters.{index}.id"),
        None => format!("pairs.{index}.id"),
    });
}

/// The initial spec must be of this pair and must list this region at the address that is run.
fn check_spec_file(
    key: &str,
    file: &Path,
    config: &AgentConfig,
    pair: &AgentPair,
    checks: &mut Checks<'_>,
) {
    if !checks.readable(key, file) {
        return;
    }
    let spec = match pair::load_json(file) {
        Ok(spec) => spec,
        Err(issues) => {
            let first = issues.first().map(ToString::to_string).unwrap_or_default();
            return checks.fail(key, first);
        }
    };
    if spec.id != pair.id {
        return checks.fail(key, format!("is the spec of pair {}, not of {}", spec.id, pair.id));
    }
    match spec.members.get(&config.region) {
        None => checks.fail(key, format!("does not list region {} as a member", config.region)),
        Some(member) if member.port != pair.postgres_port => {
            let (said, run) = (member.port, pair.postgres_port);
            let region = &config.region;
            checks.fail(key, format!("says port {said} for {region}, but postgres_port is {run}"));
        }
        Some(_) => {}
    }
    for wanted in spec.names.iter().filter_map(|name| name.provider.as_deref()) {
        if !config.name_provider.iter().any(|provider| provider.name() == wanted) {
            let problem = format!("keeps a name at provider {wanted}, which no name_provider is");
            checks.fail(key, problem);
        }
    }
    for region in spec.others(&config.region) {
        if !config.peers.iter().any(|peer| peer.region == region) {
            checks.fail("peers", format!("does not list {region}, a member of pair {}", pair.id));
        }
    }
}

/// Agent and guard must agree on the socket, the member, its port and the stop budget.
fn check_guard(config: &AgentConfig, guard: &GuardFile, checks: &mut Checks<'_>) {
    let (at, guard) = (guard.file.display(), &guard.config);
    let Some(index) = config.pairs.iter().position(|pair| pair.id == guard.pair) else {
        return checks
            .fail("pairs", format!("does not list pair {}, which {at} guards", guard.pair));
    };
    let pair = &config.pairs[index];
    let mut differs = |key: String, ours: String, theirs: String| {
        if ours != theirs {
            checks.fail(&key, format!("is {ours}, but {at} says {theirs}"));
        }
    };
    let ours = |path: &Path| path.display().to_string();
    differs("region".into(), config.region.to_string(), guard.region.to_string());
    differs(format!("pairs.{index}.guard_socket"), ours(&pair.guard_socket), ours(&guard.socket));
    differs(
        format!("pairs.{index}.postgres_port"),
        pair.postgres_port.to_string(),
        guard.port.to_string(),
    );
    differs(
        format!("pairs.{index}.postgres_socket_directory"),
        ours(&pair.postgres_socket_directory),
        ours(&guard.socket_directory),
    );
    differs(
        format!("pairs.{index}.replication_password_file"),
        ours(&pair.replication_password_file),
        ours(&guard.replication_password_file),
    );
    differs(
        "timing.stop_budget".into(),
        format!("{:?}", config.timing.stop_budget),
        format!("{:?}", guard.stop_budget),
    );
}
