//! The `[[traffic]]` sections about objects of a Kubernetes cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use continuum_domain::{PairId, RegionId, duration_text};
use serde::{Deserialize, Serialize};

/// The longest time weights may take to move.
const SHIFT_MAX: Duration = Duration::from_secs(600);

/// An `HTTPRoute` whose weights follow the holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpRouteConfig {
    /// Its name among this agent's switches.
    pub name: String,
    /// The pair whose clients it leads.
    pub pair: PairId,
    /// How its API server is reached; without it as a pod of that cluster.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// The route's namespace.
    pub namespace: String,
    /// The route.
    pub route: String,
    /// How long weights take to move to another holder, in steps; 0: at once.
    #[serde(default, with = "duration_text")]
    pub shift: Duration,
    /// The backends of each region.
    pub backends: BTreeMap<RegionId, Vec<BackendConfig>>,
}

/// A backend, by what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendConfig {
    /// Its API group; empty for a Service.
    #[serde(default)]
    pub group: String,
    /// Its kind.
    #[serde(default = "service")]
    pub kind: String,
    /// Its namespace; the route's where it is missing.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its port; a backend that is no Service may have none.
    #[serde(default)]
    pub port: Option<u16>,
    /// What it weighs while its region holds the pair; what stands in the route where this is missing.
    #[serde(default)]
    pub weight: Option<u32>,
}

fn service() -> String {
    "Service".to_owned()
}

/// The `EndpointSlice` of a Service without a selector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointSliceConfig {
    /// Its name among this agent's switches.
    pub name: String,
    /// The pair whose clients it leads.
    pub pair: PairId,
    /// How its API server is reached; without it as a pod of that cluster.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// The Service's namespace.
    pub namespace: String,
    /// The Service, which has no selector.
    pub service: String,
    /// The name of the Service's port, if it has one.
    #[serde(default)]
    pub port_name: String,
    /// Where PostgreSQL of a region answers, where the spec has a name instead of an address.
    #[serde(default)]
    pub addresses: BTreeMap<RegionId, IpAddr>,
}

/// A CloudNativePG `Pooler`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolerConfig {
    /// Its name among this agent's switches.
    pub name: String,
    /// The pair whose clients it leads.
    pub pair: PairId,
    /// How its API server is reached; without it as a pod of that cluster.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// Its namespace.
    pub namespace: String,
    /// The Pooler.
    pub pooler: String,
    /// The region of the Cluster it is of.
    pub region: RegionId,
}

impl HttpRouteConfig {
    /// What is wrong with it beyond its types: key and problem.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = plain(&[("namespace", &self.namespace), ("route", &self.route)]);
        if self.shift > SHIFT_MAX {
            problems.push(("shift".into(), format!("must be {SHIFT_MAX:?} at most")));
        }
        if self.backends.is_empty() {
            problems.push(("backends".into(), "names no region".into()));
        }
        let mut seen = BTreeMap::new();
        for (region, backends) in &self.backends {
            let key = format!("backends.{region}");
            if backends.is_empty() {
                problems.push((key.clone(), "names no backend".into()));
            }
            for backend in backends {
                if backend.name.is_empty() {
                    problems.push((key.clone(), "a backend needs a name".into()));
                }
                if backend.kind == "Service" && backend.port.is_none() {
                    problems
                        .push((key.clone(), format!("{}: a Service needs a port", backend.name)));
                }
                let namespace = backend.namespace.as_deref().unwrap_or(&self.namespace);
                let is = (&backend.group, &backend.kind, namespace, &backend.name, backend.port);
                if let Some(other) = seen.insert(is, region) {
                    let problem = format!("{} is of {other} already", backend.name);
                    problems.push((key.clone(), problem));
                }
            }
        }
        problems
    }
}

impl EndpointSliceConfig {
    /// What is wrong with it beyond its types: key and problem.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = plain(&[("namespace", &self.namespace), ("service", &self.service)]);
        let mut families = self.addresses.values().map(IpAddr::is_ipv4);
        let first = families.next();
        if families.any(|family| Some(family) != first) {
            problems.push(("addresses".into(), "must all be IPv4 or all IPv6".into()));
        }
        problems
    }
}

impl PoolerConfig {
    /// What is wrong with it beyond its types: key and problem.
    pub fn problems(&self) -> Vec<(String, String)> {
        plain(&[("namespace", &self.namespace), ("pooler", &self.pooler)])
    }
}

/// Names become part of a path.
fn plain(names: &[(&str, &str)]) -> Vec<(String, String)> {
    let is_plain = |name: &str| {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        !name.is_empty() && name.chars().all(allowed)
    };
    let wrong = names.iter().filter(|(_, name)| !is_plain(name));
    wrong
        .map(|(key, _)| {
            (
                (*key).to_owned(),
                "a name of lower case letters, digits, - and . is accepted".to_owned(),
            )
        })
        .collect()
}
