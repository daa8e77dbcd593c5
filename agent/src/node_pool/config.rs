//! The `[[at_rest.node_pool]]` sections of an agent's configuration.

use std::path::{Path, PathBuf};

use continuum_domain::PairId;
use serde::{Deserialize, Serialize};

/// A pool of nodes that need not be there while its pairs are paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum NodePoolConfig {
    /// A `MachineDeployment` of Cluster API.
    MachineDeployment(MachineDeploymentConfig),
    /// A managed node group of Amazon EKS.
    Eks(EksConfig),
    /// Whoever answers at a URL.
    Webhook(WebhookConfig),
}

/// A `MachineDeployment` of Cluster API, in its management cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineDeploymentConfig {
    /// The pool's name among this agent's.
    pub name: String,
    /// The pairs whose members run on it: it goes when all of them rest.
    pub pairs: Vec<PairId>,
    /// How many nodes stay while they do.
    #[serde(default)]
    pub rest_size: u32,
    /// How the management cluster's API server is reached; without it as a pod of that cluster.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// Its namespace.
    pub namespace: String,
    /// Its name there.
    pub machine_deployment: String,
    /// The version of `cluster.x-k8s.io` that is served there.
    #[serde(default = "v1beta1")]
    pub version: String,
}

fn v1beta1() -> String {
    "v1beta1".to_owned()
}

/// A managed node group of Amazon EKS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EksConfig {
    /// The pool's name among this agent's.
    pub name: String,
    /// The pairs whose members run on it: it goes when all of them rest.
    pub pairs: Vec<PairId>,
    /// How many nodes stay while they do.
    #[serde(default)]
    pub rest_size: u32,
    /// The region of the API.
    pub region: String,
    /// The EKS cluster.
    pub cluster: String,
    /// The node group.
    pub nodegroup: String,
    /// File with the keys, as `~/.aws/credentials` has them, one section.
    pub key_file: PathBuf,
    /// Where the API is, where not at its usual place: a VPC endpoint.
    #[serde(default)]
    pub endpoint: Option<String>,
}

/// A URL that scales a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// The pool's name among this agent's, and for whoever answers.
    pub name: String,
    /// The pairs whose members run on it: it goes when all of them rest.
    pub pairs: Vec<PairId>,
    /// How many nodes stay while they do.
    #[serde(default)]
    pub rest_size: u32,
    /// `http://` or `https://`.
    pub url: String,
    /// File with the secret that requests are signed with, one line.
    pub secret_file: PathBuf,
}

impl NodePoolConfig {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::MachineDeployment(at) => &at.name,
            Self::Eks(at) => &at.name,
            Self::Webhook(at) => &at.name,
        }
    }

    /// The pairs whose members run on it.
    pub fn pairs(&self) -> &[PairId] {
        match self {
            Self::MachineDeployment(at) => &at.pairs,
            Self::Eks(at) => &at.pairs,
            Self::Webhook(at) => &at.pairs,
        }
    }

    /// How many nodes stay while they rest.
    pub fn rest_size(&self) -> u32 {
        match self {
            Self::MachineDeployment(at) => at.rest_size,
            Self::Eks(at) => at.rest_size,
            Self::Webhook(at) => at.rest_size,
        }
    }

    /// The files it needs to read, by key.
    pub fn files(&self) -> Vec<(&'static str, &Path)> {
        match self {
            Self::MachineDeployment(at) => {
                let file = at.kubeconfig.as_deref();
                file.map(|file| ("kubeconfig", file)).into_iter().collect()
            }
            Self::Eks(at) => vec![("key_file", &at.key_file)],
            Self::Webhook(at) => vec![("secret_file", &at.secret_file)],
        }
    }

    /// What is wrong with it beyond its types: key and problem.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if !plain(self.name()) {
            problems.push(("name", A_NAME.to_owned()));
        }
        if self.pairs().is_empty() {
            problems.push(("pairs", "names no pair".to_owned()));
        }
        match self {
            Self::MachineDeployment(at) => {
                for (key, name) in [
                    ("namespace", &at.namespace),
                    ("machine_deployment", &at.machine_deployment),
                    ("version", &at.version),
                ] {
                    if !plain(name) {
                        problems.push((key, A_NAME.to_owned()));
                    }
                }
            }
            Self::Eks(at) => {
                for (key, name) in
                    [("region", &at.region), ("cluster", &at.cluster), ("nodegroup", &at.nodegroup)]
                {
                    if !plain(&name.replace('_', "-")) {
                        problems.push((key, A_NAME.to_owned()));
                    }
                }
                if at.endpoint.as_ref().is_some_and(|url| !is_url(url)) {
                    problems.push(("endpoint", A_URL.to_owned()));
                }
            }
            Self::Webhook(at) => {
                if !is_url(&at.url) {
                    problems.push(("url", A_URL.to_owned()));
                }
            }
        }
        problems
    }
}

const A_NAME: &str = "a name of letters, digits, - and . is accepted";

const A_URL: &str = "must begin with http:// or https://";

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// Names become part of paths and headers.
fn plain(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    !name.is_empty() && name.chars().all(allowed)
}
