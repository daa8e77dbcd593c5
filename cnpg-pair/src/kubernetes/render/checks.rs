//! What a pair must be to be rendered: what its schema and its CEL rules say, for those that come
//! from a file, and what neither can.

use continuum_domain::spec::SpecError;

use super::parameters;
use crate::kubernetes::crd::{BackupStore, CnpgPair, Member};

/// Longest name of a Cluster: the operator appends to it for its Services.
const CLUSTER_NAME_MAX: usize = 50;

struct Found(Vec<SpecError>);

impl Found {
    fn fail(&mut self, path: impl Into<String>, problem: impl Into<String>) {
        self.0.push(SpecError { path: path.into(), problem: problem.into() });
    }

    fn label(&mut self, path: &str, text: &str, longest: usize) {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=longest).contains(&text.len())
            && text.bytes().all(inner)
            && text.bytes().next().is_some_and(|byte| byte != b'-')
            && !text.ends_with('-');
        if !fits {
            self.fail(path, format!("{text:?}: at most {longest} of a-z, 0-9 and - are accepted"));
        }
    }
}

/// All that is wrong with a pair.
pub(super) fn check(pair: &CnpgPair) -> Result<(), Vec<SpecError>> {
    let (spec, mut found) = (&pair.spec, Found(Vec::new()));
    found.label("metadata.name", pair.metadata.name.as_deref().unwrap_or_default(), 63);
    found.label("metadata.namespace", pair.metadata.namespace.as_deref().unwrap_or_default(), 63);
    found.label("spec.primaryCluster", &spec.primary_cluster, CLUSTER_NAME_MAX);
    found.label("spec.replicaCluster", &spec.replica_cluster, CLUSTER_NAME_MAX);
    found.label("spec.primaryRegion", &spec.primary_region, 40);
    found.label("spec.replicaRegion", &spec.replica_region, 40);
    found.label("spec.operatorNamespace", &spec.operator_namespace, 63);
    for (index, name) in spec.client_namespaces.iter().enumerate() {
        found.label(&format!("spec.clientNamespaces[{index}]"), name, 63);
    }
    if spec.primary_cluster == spec.replica_cluster {
        found.fail("spec.replicaCluster", "is primaryCluster: they share one topology");
    }
    if spec.primary_region == spec.replica_region {
        found.fail("spec.replicaRegion", "is primaryRegion");
    }
    member("spec.members.primary", &spec.members.primary, &mut found);
    member("spec.members.replica", &spec.members.replica, &mut found);
    let stores = [&spec.members.primary.store, &spec.members.replica.store];
    if spec.backups.is_some() && stores.iter().any(|store| store.is_none()) {
        found.fail("spec.backups", "need the store of both members");
    }
    let size = spec.size.as_ref();
    for (name, value) in size.map(|size| &size.parameters).into_iter().flatten() {
        if let Some(problem) = parameters::problem(name, value) {
            found.fail(format!("spec.size.parameters.{name}"), problem);
        }
    }
    if found.0.is_empty() { Ok(()) } else { Err(found.0) }
}

fn member(path: &str, member: &Member, found: &mut Found) {
    if member
        .host
        .as_deref()
        .is_some_and(|host| host.is_empty() || host.contains(char::is_whitespace))
    {
        found.fail(format!("{path}.host"), "must be a host's name or address");
    }
    if member.port == Some(0) {
        found.fail(format!("{path}.port"), "1 to 65535 is accepted");
    }
    for (index, cidr) in member.cidrs.iter().enumerate() {
        if !is_cidr(cidr) {
            found.fail(format!("{path}.cidrs[{index}]"), format!("{cidr:?} is no network"));
        }
    }
    if let Some(store) = &member.store {
        stored(&format!("{path}.store"), store, found);
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let (Ok(address), Ok(bits)) = (address.parse::<std::net::IpAddr>(), bits.parse::<u8>()) else {
        return false;
    };
    bits <= if address.is_ipv4() { 32 } else { 128 }
}

fn stored(path: &str, store: &BackupStore, found: &mut Found) {
    if store.destination_path.trim().is_empty() {
        found.fail(format!("{path}.destinationPath"), "must not be empty");
    }
    for (field, url) in [
        ("destinationPath", Some(&store.destination_path)),
        ("endpointURL", store.endpoint_url.as_ref()),
    ] {
        let authority = url.and_then(|url| url.split_once("://")).map(|(_, rest)| rest);
        let authority = authority.and_then(|rest| rest.split('/').next());
        if authority.is_some_and(|authority| authority.contains('@')) {
            found.fail(format!("{path}.{field}"), "must not carry credentials; name a Secret");
        }
    }
}
