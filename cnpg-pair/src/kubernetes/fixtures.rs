//! A pair of Clusters that are well, to plant mistakes in.

use serde_json::{Value, json};

use super::cnpg::Cluster;
use super::reading::SqlLook;

pub const SYSTEM: u64 = 7_432_651_119_204_741_151;

/// A Cluster named `own`, streaming from `source` if it is not `primary` itself.
pub fn value(own: &str, primary: &str, source: &str) -> Value {
    let external = |name: &str| {
        json!({"name": name, "plugin": {"name": "barman-cloud.cloudnative-pg.io",
            "parameters": {"barmanObjectName": name, "serverName": name}}})
    };
    json!({
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "metadata": {"name": own, "namespace": "db", "uid": format!("uid-{own}"),
            "resourceVersion": "41", "generation": 3},
        "spec": {
            "instances": 3,
            "replica": {"self": own, "primary": primary, "source": source},
            "externalClusters": [external("fsn"), external("hel")],
            "plugins": [{"name": "barman-cloud.cloudnative-pg.io", "isWALArchiver": true,
                "parameters": {"barmanObjectName": own, "serverName": own}}],
            "switchoverDelay": 10,
            "smartShutdownTimeout": 0,
        },
        "status": {
            "phase": "Cluster in healthy state",
            "instances": 3, "readyInstances": 3,
            "currentPrimary": format!("{own}-1"), "targetPrimary": format!("{own}-1"),
            "timelineID": 3, "systemID": SYSTEM.to_string(),
            "switchReplicaClusterStatus": {},
            "conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "ConsistentSystemID", "status": "True"},
                {"type": "ContinuousArchiving", "status": "True"},
            ],
        },
    })
}

pub fn parsed(value: Value) -> Cluster {
    serde_json::from_value(value).expect("a Cluster")
}

/// `fsn` is the primary.
pub fn fsn() -> Value {
    value("fsn", "fsn", "hel")
}

/// `hel` follows it.
pub fn hel() -> Value {
    value("hel", "fsn", "fsn")
}

pub fn primary_sql() -> SqlLook {
    SqlLook {
        in_recovery: Some(false),
        system_id: Some(SYSTEM),
        ready_wal_files: Some(0),
        archiving_fails: Some(false),
    }
}

pub fn standby_sql() -> SqlLook {
    SqlLook { in_recovery: Some(true), ..primary_sql() }
}

/// The same with one place of the tree put to `planted`, or taken away. Objects on the way are made.
pub fn with(mut value: Value, pointer: &str, planted: Option<Value>) -> Cluster {
    let mut keys: Vec<String> =
        pointer.split('/').skip(1).map(|key| key.replace("~1", "/")).collect();
    let last = keys.pop().expect("a pointer");
    let mut slot = &mut value;
    for key in keys {
        let object = slot.as_object_mut().expect("an object");
        slot = object.entry(key).or_insert_with(|| json!({}));
    }
    let slot = slot.as_object_mut().expect("an object");
    match planted {
        Some(planted) => slot.insert(last, planted),
        None => slot.remove(&last),
    };
    parsed(value)
}
