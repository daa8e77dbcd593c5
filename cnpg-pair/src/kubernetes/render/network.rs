//! How the two Clusters and their clients reach each other.

use serde_json::{Value, json};

use super::Side;
use crate::kubernetes::cnpg::keys;
use crate::kubernetes::crd::PoolMode;

const POSTGRES: u16 = 5432;
/// The instance manager, which the operator and the other instances ask.
const STATUS: u16 = 8000;

/// Shared by all meshed Kubernetes clusters, and answered locally where that is possible.
fn mesh_annotations() -> Value {
    json!({"service.cilium.io/affinity": "local", "service.cilium.io/global": "true"})
}

fn mesh_labels(side: Side<'_>) -> Value {
    json!({
        "app.kubernetes.io/managed-by": "continuum",
        keys::PAIR: side.pair,
        keys::ROLE: side.role(),
    })
}

/// The Service of this Cluster's primary or designated primary, as the operator keeps it.
pub(super) fn mesh(side: Side<'_>) -> Value {
    json!({
        "selectorType": "rw",
        "updateStrategy": "patch",
        "serviceTemplate": {
            "metadata": {
                "name": side.mesh(),
                "labels": mesh_labels(side),
                "annotations": mesh_annotations(),
            },
            "spec": {"type": "ClusterIP"},
        },
    })
}

/// The other Cluster's Service here: without endpoints of its own, it leads to those over there.
pub(super) fn mirror(side: Side<'_>) -> Value {
    let other = side.other();
    let mut metadata = other.metadata(other.mesh());
    metadata.insert("annotations".into(), mesh_annotations());
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": "ClusterIP",
            "ports": [{"name": "postgres", "port": POSTGRES, "targetPort": POSTGRES,
                "protocol": "TCP"}],
        },
    })
}

/// Names that this Cluster's certificate must carry beside the operator's own.
pub(super) fn host_names(side: Side<'_>) -> Vec<String> {
    let (mesh, namespace) = (side.mesh(), side.namespace);
    let mut names =
        vec![mesh.clone(), format!("{mesh}.{namespace}"), format!("{mesh}.{namespace}.svc")];
    names.extend(side.member().host.clone());
    names
}

/// PgBouncer beside this Cluster.
pub(super) fn pooler(side: Side<'_>) -> Option<Value> {
    let options = side.spec.pooler.as_ref()?;
    let mut parameters = json!({
        "default_pool_size": options.pool_size.to_string(),
        "max_client_conn": options.max_clients.to_string(),
    });
    let mode = match options.mode {
        PoolMode::Session => "session",
        PoolMode::Transaction => {
            // Named statements of drivers would otherwise be lost between transactions.
            parameters["max_prepared_statements"] = "200".into();
            "transaction"
        }
    };
    Some(json!({
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Pooler",
        "metadata": side.metadata(format!("{}-pooler-rw", side.cluster())),
        "spec": {
            "cluster": {"name": side.cluster()},
            "instances": options.instances,
            "type": "rw",
            "pgbouncer": {"poolMode": mode, "parameters": parameters},
        },
    }))
}

/// Who reaches this Cluster's instances; only where it is known where the other region's come from,
/// as everything else would be shut out.
pub(super) fn policy(side: Side<'_>) -> Option<Value> {
    let other = &side.other().member().cidrs;
    if other.is_empty() {
        return None;
    }
    let port = |number: u16| json!({"protocol": "TCP", "port": number});
    let namespace = |name: &str| json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}});
    let blocks: Vec<Value> = other.iter().map(|cidr| json!({"ipBlock": {"cidr": cidr}})).collect();
    let own = json!({"podSelector": {"matchLabels": {keys::CLUSTER: side.cluster()}}});
    let mut clients = vec![json!({"podSelector": {}})];
    clients.extend(side.spec.client_namespaces.iter().map(|name| namespace(name)));
    Some(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": side.metadata(format!("{}-instances", side.cluster())),
        "spec": {
            "podSelector": {"matchLabels": {keys::CLUSTER: side.cluster()}},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": blocks, "ports": [port(POSTGRES)]},
                {"from": [namespace(&side.spec.operator_namespace)],
                    "ports": [port(STATUS), port(POSTGRES)]},
                {"from": [own], "ports": [port(POSTGRES), port(STATUS)]},
                {"from": clients, "ports": [port(POSTGRES)]},
            ],
        },
    }))
}
