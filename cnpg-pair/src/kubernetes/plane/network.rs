//! A NetworkPolicy as a further gate of a fence, where the agent's file asks for it: it keeps clients away from
//! the pods of a Cluster that is fenced. It is never a proof of anything: whether it takes effect is the
//! network's business, and a fence neither waits for it nor counts it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use continuum_domain::Epoch;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::clusters::failed;
use crate::kubernetes::cnpg::keys;
use crate::kubernetes::foreign::FIELD_MANAGER;
use crate::plane::PlaneError;

/// Longest wait for one answer of the API server.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// The policy of one Cluster.
pub(super) struct Gate {
    policies: Api<NetworkPolicy>,
    cluster: String,
    /// There is none for all that is known here: one may be left from an agent of before.
    open: AtomicBool,
}

impl Gate {
    pub fn new(client: Client, namespace: &str, cluster: &str) -> Self {
        let policies = Api::namespaced(client, namespace);
        Self { policies, cluster: cluster.to_owned(), open: AtomicBool::new(false) }
    }

    fn name(&self) -> String {
        format!("{}-continuum-fence", self.cluster)
    }

    /// Keeps everybody away but the instances themselves and the operator.
    pub async fn close(&self, epoch: Epoch) -> Result<(), PlaneError> {
        let what = "closing the network of the Cluster";
        self.open.store(false, Ordering::Release);
        let name = self.name();
        let policy = Patch::Apply(policy(&name, &self.cluster, epoch));
        // It may be another's from before: the fence is ours to make.
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let applied = self.policies.patch(&name, &parameters, &policy);
        match tokio::time::timeout(ANSWER_LIMIT, applied).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failed(what, &error)),
            Err(_) => Err(failed(what, &"no answer")),
        }
    }

    /// Lets clients to it again.
    pub async fn open(&self) -> Result<(), PlaneError> {
        let what = "opening the network of the Cluster";
        if self.open.load(Ordering::Acquire) {
            return Ok(());
        }
        let (name, parameters) = (self.name(), DeleteParams::default());
        let deleted = self.policies.delete(&name, &parameters);
        match tokio::time::timeout(ANSWER_LIMIT, deleted).await {
            Ok(Ok(_)) => {}
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {}
            Ok(Err(error)) => return Err(failed(what, &error)),
            Err(_) => return Err(failed(what, &"no answer")),
        }
        self.open.store(true, Ordering::Release);
        Ok(())
    }
}

/// Who has no rule may not come in: the kubelet and this agent's commands do not come by the pod's network.
fn policy(name: &str, cluster: &str, epoch: Epoch) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "name": name, "annotations": { keys::EPOCH: epoch.to_string() } },
        "spec": {
            "podSelector": { "matchLabels": { keys::CLUSTER: cluster } },
            "policyTypes": ["Ingress"],
            "ingress": [{ "from": [
                { "podSelector": { "matchLabels": { keys::CLUSTER: cluster } } },
                {
                    "namespaceSelector": {},
                    "podSelector": { "matchLabels": { "app.kubernetes.io/name": "cloudnative-pg" } },
                },
            ] }],
        },
    })
}
