//! How large a Cluster is, by plan, and field by field.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A size with a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Plan {
    /// One instance a region, to try things out.
    Hobbyist,
    /// Two instances a region.
    Starter,
    /// Three instances a region.
    #[default]
    Standard,
    /// Three large instances a region.
    Premium,
}

impl Plan {
    /// All of them, the smallest first.
    pub const ALL: [Plan; 4] = [Plan::Hobbyist, Plan::Starter, Plan::Standard, Plan::Premium];

    /// Its name.
    pub fn label(self) -> &'static str {
        match self {
            Plan::Hobbyist => "hobbyist",
            Plan::Starter => "starter",
            Plan::Standard => "standard",
            Plan::Premium => "premium",
        }
    }

    /// What it stands for.
    pub fn sizes(self) -> Sizes {
        let row = match self {
            Plan::Hobbyist => (1, "500m", ["1Gi", "10Gi", "2Gi"], 100, ["256MB", "768MB", "64MB"]),
            Plan::Starter => (2, "1", ["2Gi", "20Gi", "5Gi"], 100, ["512MB", "1536MB", "128MB"]),
            Plan::Standard => (3, "2", ["8Gi", "100Gi", "20Gi"], 200, ["2GB", "6GB", "512MB"]),
            Plan::Premium => (3, "8", ["32Gi", "500Gi", "100Gi"], 500, ["8GB", "24GB", "2GB"]),
        };
        let wal = match self {
            Plan::Hobbyist => ["512MB", "128MB", "1GB"],
            Plan::Starter => ["1GB", "256MB", "3GB"],
            Plan::Standard => ["4GB", "1GB", "12GB"],
            Plan::Premium => ["16GB", "4GB", "64GB"],
        };
        let (instances, cpu, [memory, storage, wal_storage], max_connections, buffers) = row;
        let [shared_buffers, effective_cache_size, maintenance_work_mem] = buffers;
        let [max_wal_size, wal_keep_size, max_slot_wal_keep_size] = wal;
        Sizes {
            instances,
            cpu: cpu.into(),
            memory: memory.into(),
            storage: storage.into(),
            wal_storage: wal_storage.into(),
            max_connections,
            shared_buffers: shared_buffers.into(),
            effective_cache_size: effective_cache_size.into(),
            maintenance_work_mem: maintenance_work_mem.into(),
            max_wal_size: max_wal_size.into(),
            wal_keep_size: wal_keep_size.into(),
            max_slot_wal_keep_size: max_slot_wal_keep_size.into(),
            parameters: BTreeMap::new(),
        }
    }
}

/// What is not as the plan has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Size {
    /// Instances of each Cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9))]
    pub instances: Option<u32>,
    /// Processors of each instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[1-9][0-9]{0,5}m?$"))]
    pub cpu: Option<String>,
    /// Memory of each instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[1-9][0-9]{0,5}(Mi|Gi)$"))]
    pub memory: Option<String>,
    /// Data volume of each instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[1-9][0-9]{0,5}(Mi|Gi|Ti)$"))]
    pub storage: Option<String>,
    /// WAL volume of each instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[1-9][0-9]{0,5}(Mi|Gi|Ti)$"))]
    pub wal_storage: Option<String>,
    /// Connections of each instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 20, max = 10_000))]
    pub max_connections: Option<u32>,
    /// As PostgreSQL's setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[1-9][0-9]{0,9}(kB|MB|GB)$"))]
    pub shared_buffers: Option<String>,
    /// As PostgreSQL's setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[1-9][0-9]{0,9}(kB|MB|GB)$"))]
    pub effective_cache_size: Option<String>,
    /// As PostgreSQL's setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[1-9][0-9]{0,9}(kB|MB|GB)$"))]
    pub maintenance_work_mem: Option<String>,
    /// As PostgreSQL's setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[1-9][0-9]{0,9}(MB|GB|TB)$"))]
    pub max_wal_size: Option<String>,
    /// As PostgreSQL's setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[1-9][0-9]{0,9}(MB|GB|TB)$"))]
    pub wal_keep_size: Option<String>,
    /// As PostgreSQL's setting: what a lost standby may hold back at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[1-9][0-9]{0,9}(MB|GB|TB)$"))]
    pub max_slot_wal_keep_size: Option<String>,
    /// Other settings of PostgreSQL. Those that carry the pair are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
}

/// How large each instance is; the fields are those of [`Size`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Sizes {
    pub instances: u32,
    pub cpu: String,
    pub memory: String,
    pub storage: String,
    pub wal_storage: String,
    pub max_connections: u32,
    pub shared_buffers: String,
    pub effective_cache_size: String,
    pub maintenance_work_mem: String,
    pub max_wal_size: String,
    pub wal_keep_size: String,
    pub max_slot_wal_keep_size: String,
    pub parameters: BTreeMap<String, String>,
}

impl Sizes {
    /// The same, with what is not as the plan has it.
    #[must_use]
    pub fn overridden(mut self, size: Option<&Size>) -> Self {
        let Some(size) = size else { return self };
        self.instances = size.instances.unwrap_or(self.instances);
        self.max_connections = size.max_connections.unwrap_or(self.max_connections);
        for (own, other) in [
            (&mut self.cpu, &size.cpu),
            (&mut self.memory, &size.memory),
            (&mut self.storage, &size.storage),
            (&mut self.wal_storage, &size.wal_storage),
            (&mut self.shared_buffers, &size.shared_buffers),
            (&mut self.effective_cache_size, &size.effective_cache_size),
            (&mut self.maintenance_work_mem, &size.maintenance_work_mem),
            (&mut self.max_wal_size, &size.max_wal_size),
            (&mut self.wal_keep_size, &size.wal_keep_size),
            (&mut self.max_slot_wal_keep_size, &size.max_slot_wal_keep_size),
        ] {
            if let Some(other) = other {
                own.clone_from(other);
            }
        }
        self.parameters.clone_from(&size.parameters);
        self
    }
}
