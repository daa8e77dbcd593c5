//! The section `[kubernetes]` of an agent.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The cluster whose `Continuum` objects this agent brings to the core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesConfig {
    /// A kubeconfig file; without it the service account of the pod this runs in is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the custom resources, of the Lease and of the state.
    pub namespace: String,
    /// Name of the Lease that says which replica of the agent acts; absent: there is one replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// Name of the ConfigMap that keeps the agent's state; absent: the state directory does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// Longest name of an object.
const NAME_MAX: usize = 253;
/// Longest name of a namespace.
const NAMESPACE_MAX: usize = 63;

impl KubernetesConfig {
    /// What is wrong with it: the key, and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let names = [
            ("namespace", Some(&self.namespace), NAMESPACE_MAX),
            ("lease", self.lease.as_ref(), NAME_MAX),
            ("state", self.state.as_ref(), NAME_MAX),
        ];
        for (key, name, longest) in names {
            if let Some(name) = name.filter(|name| !is_name(name, longest)) {
                return Err((key, format!("{name:?} is no name of a Kubernetes object")));
            }
        }
        if self.state.is_some() && self.lease.is_none() {
            let text = "needs a lease: two replicas must not keep one state".to_owned();
            return Err(("state", text));
        }
        Ok(())
    }
}

fn is_name(name: &str, longest: usize) -> bool {
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    name.len() <= longest
        && bytes.iter().copied().all(fits)
        && ends(bytes.first())
        && ends(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_object_has_and_a_state_without_election_are_refused() {
        let of = |namespace: &str, lease: Option<&str>, state: Option<&str>| KubernetesConfig {
            kubeconfig: None,
            namespace: namespace.into(),
            lease: lease.map(str::to_owned),
            state: state.map(str::to_owned),
        };
        let refused = |config: KubernetesConfig| config.check().err().map(|(key, _)| key);
        assert_eq!(refused(of("db", Some("agent"), Some("agent-state"))), None);
        assert_eq!(refused(of("db", None, None)), None);
        assert_eq!(refused(of("", None, None)), Some("namespace"));
        assert_eq!(refused(of("DB", None, None)), Some("namespace"));
        assert_eq!(refused(of("db", Some("-a"), None)), Some("lease"));
        assert_eq!(refused(of("db", None, Some("state"))), Some("state"));
    }
}
