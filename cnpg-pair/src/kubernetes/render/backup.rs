//! Archives and backups, by the barman-cloud plugin.

use serde_json::{Value, json};

use super::Side;
use crate::kubernetes::crd::BackupStore;

/// The plugin that archives and makes backups.
pub(crate) const PLUGIN: &str = "barman-cloud.cloudnative-pg.io";

fn name(side: Side<'_>) -> String {
    format!("{}-store", side.cluster())
}

/// Each Cluster writes under a name of its own: a promotion needs an archive that is empty.
fn parameters(side: Side<'_>) -> Value {
    json!({"barmanObjectName": name(side), "serverName": side.cluster()})
}

/// The plugin that archives this Cluster's WAL.
pub(super) fn archiver(side: Side<'_>) -> Option<Value> {
    side.member().store.as_ref()?;
    Some(json!({"name": PLUGIN, "isWALArchiver": true, "parameters": parameters(side)}))
}

/// The plugin that reads a Cluster's archive.
pub(super) fn reader(side: Side<'_>) -> Option<Value> {
    side.member().store.as_ref()?;
    Some(json!({"name": PLUGIN, "parameters": parameters(side)}))
}

/// Both stores: each region reads what the other has archived.
pub(super) fn stores(side: Side<'_>) -> Vec<Value> {
    let one = |side: Side<'_>| Some(store(side, side.member().store.as_ref()?));
    [one(side), one(side.other())].into_iter().flatten().collect()
}

fn store(side: Side<'_>, store: &BackupStore) -> Value {
    let mut configuration = json!({
        "destinationPath": store.destination_path,
        "wal": {"compression": "gzip", "maxParallel": 4},
        "data": {"compression": "gzip"},
    });
    if let Some(url) = &store.endpoint_url {
        configuration["endpointURL"] = url.as_str().into();
    }
    configuration["s3Credentials"] = match &store.s3_credentials {
        Some(keys) => json!({
            "accessKeyId": keys.access_key_id,
            "secretAccessKey": keys.secret_access_key,
        }),
        None => json!({"inheritFromIAMRole": true}),
    };
    let mut spec = json!({"configuration": configuration});
    if let Some(backups) = &side.spec.backups {
        spec["retentionPolicy"] = backups.retention_policy.as_str().into();
    }
    json!({
        "apiVersion": "barmancloud.cnpg.io/v1",
        "kind": "ObjectStore",
        "metadata": side.metadata(name(side)),
        "spec": spec,
    })
}

/// The schedule of this Cluster's backups.
pub(super) fn schedule(side: Side<'_>) -> Option<Value> {
    let backups = side.spec.backups.as_ref()?;
    Some(json!({
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "ScheduledBackup",
        "metadata": side.metadata(format!("{}-scheduled", side.cluster())),
        "spec": {
            "cluster": {"name": side.cluster()},
            "schedule": backups.schedule,
            "backupOwnerReference": "self",
            "method": "plugin",
            "pluginConfiguration": {"name": PLUGIN},
            "target": "prefer-standby",
        },
    }))
}
