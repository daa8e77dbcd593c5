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
            Self::Webhook(at) => &at.name,
        }
    }

    /// The pairs whose members run on it.
    pub fn pairs(&self) -> &[PairId] {
        match self {
            Self::MachineDeployment(at) => &at.pairs,
            Self::Webhook(at) => &at.pairs,
        }
    }

    /// How many nodes stay while they rest.
    pub fn rest_size(&self) -> u32 {
        match self {
            Self::MachineDeployment(at) => at.rest_size,
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
            Self::Webhook(at) => {
                if !at.url.starts_with("http://") && !at.url.starts_with("https://") {
                    problems.push(("url", "must begin with http:// or https://".to_owned()));
                }
            }
        }
        problems
    }
}

const A_NAME: &str = "a name of letters, digits, - and . is accepted";

/// Names become part of paths and headers.
fn plain(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    !name.is_empty() && name.chars().all(allowed)
}
