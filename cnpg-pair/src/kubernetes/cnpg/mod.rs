//! CloudNativePG's resources as far as they are read here.
//!
//! The views are tolerant: fields that are not known are skipped, fields that are missing are
//! `None`. They are for reading; what is written goes out as a patch of the fields it is about
//! ([`super::patches`]), so that a field that is not known here is never lost.

mod backup;
mod cluster;
mod pooler;
mod status;

pub use backup::{
    Backup, BackupPhase, BackupSpec, BackupStatus, ClusterReference, PluginConfiguration,
    ScheduledBackup, ScheduledBackupSpec, ScheduledBackupStatus,
};
pub use cluster::{
    Bootstrap, BootstrapSource, Cluster, ClusterSpec, ExternalCluster, IsolationCheck, Liveness,
    Plugin, PostgresSpec, Probes, ReplicaSpec, SecretKey, Synchronous,
};
pub use pooler::{PgBouncer, Pooler, PoolerSpec, PoolerStatus};
pub use status::{
    ClusterStatus, Condition, InstanceState, PluginStatus, SwitchStatus, TruthValue, phase,
};

/// Annotations and labels, by their keys.
pub mod keys {
    /// A JSON list of fenced instances; `"*"` stands for all of them.
    pub const FENCED: &str = "cnpg.io/fencedInstances";
    /// `on` or `off`.
    pub const HIBERNATION: &str = "cnpg.io/hibernation";
    /// `disabled` takes the operator's hands off.
    pub const RECONCILIATION: &str = "cnpg.io/reconciliationLoop";
    /// The deprecated mark of a lost instance.
    pub const UNRECOVERABLE: &str = "alpha.cnpg.io/unrecoverable";
    /// Lets a promotion go on over an archive that is not empty.
    pub const SKIP_EMPTY_ARCHIVE: &str = "cnpg.io/skipEmptyWalArchiveCheck";
    /// Turns archiving off.
    pub const SKIP_ARCHIVING: &str = "cnpg.io/skipWalArchiving";
    /// The label of every pod of a Cluster.
    pub const CLUSTER: &str = "cnpg.io/cluster";
    /// The label of a pod's role in its Cluster.
    pub const INSTANCE_ROLE: &str = "cnpg.io/instanceRole";
    /// The epoch of the newest write of ours to the role fields.
    pub const EPOCH: &str = "dr.openova.io/epoch";
    /// The epoch under which all instances were fenced by us; absent, a fence is somebody else's.
    pub const FENCE_EPOCH: &str = "dr.openova.io/fence-epoch";
    /// The label of both Clusters of a pair.
    pub const PAIR: &str = "catalyst.openova.io/cnpg-pair";
    /// The label of a Cluster's role when the pair was made; it does not move.
    pub const ROLE: &str = "openova.io/cnpg-role";
}
