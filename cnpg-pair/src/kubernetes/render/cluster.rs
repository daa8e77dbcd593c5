//! The `Cluster` of one region.

use serde_json::{Map, Value, json};

use super::{Side, backup, network, parameters};

/// Seconds of a fast shutdown, after which PostgreSQL is killed. A hand-over waits for no longer.
const SWITCHOVER_DELAY: u32 = 10;
/// Seconds of any other stop.
const STOP_DELAY: u32 = 30;

pub(super) fn cluster(side: Side<'_>) -> Value {
    let other = side.other();
    let mut spec = Map::new();
    let mut set = |key: &str, value: Value| spec.insert(key.to_owned(), value);
    set("instances", side.sizes.instances.into());
    if let Some(image) = &side.spec.image_name {
        set("imageName", image.as_str().into());
    }
    // One topology, named the same way on both sides; `source` is always the other one.
    let first = if side.first { side } else { other };
    set(
        "replica",
        json!({"self": side.cluster(), "primary": first.cluster(), "source": other.cluster()}),
    );
    set("externalClusters", json!([external(first, side), external(first.other(), side)]));
    set("bootstrap", bootstrap(side));
    set("postgresql", postgresql(side));
    set("switchoverDelay", SWITCHOVER_DELAY.into());
    set("stopDelay", STOP_DELAY.into());
    // A smart shutdown lets open sessions go on committing.
    set("smartShutdownTimeout", 0.into());
    set("failoverDelay", 0.into());
    set("probes", probes());
    set("enableSuperuserAccess", false.into());
    set("enablePDB", (side.sizes.instances > 1).into());
    set(
        "affinity",
        json!({
            "enablePodAntiAffinity": true,
            "podAntiAffinityType": "preferred",
            "topologyKey": "kubernetes.io/hostname",
        }),
    );
    set("resources", resources(side));
    set("storage", volume(side, &side.sizes.storage));
    set("walStorage", volume(side, &side.sizes.wal_storage));
    set("certificates", json!({"serverAltDNSNames": network::host_names(side)}));
    set("managed", json!({"services": {"additional": [network::mesh(side)]}}));
    if let Some(plugin) = backup::archiver(side) {
        set("plugins", json!([plugin]));
    }
    json!({
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "metadata": side.metadata(side.cluster()),
        "spec": spec,
    })
}

/// How `from` reaches `to`. Its Secrets are copies of those of `to`, by the names the operator gave
/// them there.
fn external(to: Side<'_>, from: Side<'_>) -> Value {
    let cluster = to.cluster();
    let own = to.first == from.first;
    let (host, port) = if own {
        (format!("{cluster}-rw.{}.svc", to.namespace), 5432)
    } else {
        (to.host(), to.member().port.unwrap_or(5432))
    };
    let mut external = json!({
        "name": cluster,
        "connectionParameters": {
            "host": host,
            "port": port.to_string(),
            "user": "streaming_replica",
            "dbname": "postgres",
            "sslmode": "verify-full",
            // The name by which the other side waits for this one.
            "application_name": from.cluster(),
            "connect_timeout": "5",
            "keepalives_idle": "5",
            "keepalives_interval": "2",
            "keepalives_count": "3",
            "tcp_user_timeout": "10000",
        },
        "sslKey": {"name": format!("{cluster}-replication"), "key": "tls.key"},
        "sslCert": {"name": format!("{cluster}-replication"), "key": "tls.crt"},
        "sslRootCert": {"name": format!("{cluster}-ca"), "key": "ca.crt"},
    });
    if let Some(plugin) = backup::reader(to) {
        external["plugin"] = plugin;
    }
    external
}

fn bootstrap(side: Side<'_>) -> Value {
    let (database, owner) = (&side.spec.database, &side.spec.owner);
    if side.first {
        return json!({"initdb": {"database": database, "owner": owner, "dataChecksums": true}});
    }
    let source = side.other().cluster();
    json!({"pg_basebackup": {"source": source, "database": database, "owner": owner}})
}

fn postgresql(side: Side<'_>) -> Value {
    let mut postgresql = json!({"parameters": parameters::parameters(side)});
    if side.durability.is_synchronous() {
        // The other Cluster alone is waited for: an instance of the same region does not survive the
        // region. It is listed by its name, which no member of it takes along when it moves.
        postgresql["synchronous"] = json!({
            "method": "first",
            "number": 1,
            "maxStandbyNamesFromCluster": 0,
            "standbyNamesPre": [side.other().cluster()],
            "dataDurability": "required",
        });
    }
    postgresql
}

fn probes() -> Value {
    json!({
        "liveness": {
            "periodSeconds": 5,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
            "isolationCheck": {"enabled": true, "requestTimeout": 1000, "connectionTimeout": 1000},
        },
        // Not by streaming: a designated primary whose link is down must stay promotable.
        "readiness": {
            "type": "pg_isready",
            "periodSeconds": 5,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
    })
}

fn resources(side: Side<'_>) -> Value {
    // The same for both: who asks for less than it may use is the first to be evicted.
    let one = json!({"cpu": side.sizes.cpu, "memory": side.sizes.memory});
    json!({"requests": one, "limits": one})
}

fn volume(side: Side<'_>, size: &str) -> Value {
    let mut volume = json!({"size": size, "resizeInUseVolumes": true});
    if let Some(class) = &side.member().storage_class {
        volume["storageClass"] = class.as_str().into();
    }
    volume
}
