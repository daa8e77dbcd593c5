//! The custom resources of the group `dr.openova.io`.
//!
//! Their schemas are generated from the types here and kept in `continuum/chart/crds/`. Nothing
//! unknown is preserved: an API server with strict field validation refuses it, and an older one
//! drops it. What the schema cannot say is said by CEL rules, and what CEL cannot say, or an older
//! API server does not run, by [`convert`].

mod backups;
mod cnpg_pair;
mod continuum;
pub mod convert;
mod convert_back;
mod durations;

pub use backups::{
    BackupRecord, BackupRequest, BackupTarget, Backups, OnDemandBackup, RegionBackups,
};
pub use cnpg_pair::{
    BackupStore, CnpgPair, CnpgPairPhase, CnpgPairSpec, CnpgPairStatus, Member, Members,
    PairTopology, PoolMode, PoolerOptions, S3Credentials, SecretKeyReference,
};
pub use continuum::{
    Admitted, CnpgPairReference, Continuum, ContinuumPhase, ContinuumSpec, ContinuumStatus,
    LastSwitchover, LeaseClient, LeaseConfig, LossApproval, LuaRecord, Mechanism, NamedRecord,
    Region, RequestOutcome, Switchover,
};

use kube::CustomResourceExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::render::yaml;

/// What a condition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Not known; never a kind of well.
    Unknown,
}

/// One condition of a status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusCondition {
    /// Its name.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub name: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// The generation of the spec it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When it last changed.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// One word of why.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// What happened, what it means for the data, and what to do.
    #[schemars(length(max = 32768))]
    pub message: String,
}

/// Both definitions, each with the name of the file it is kept in.
pub fn definitions() -> [(&'static str, Value); 2] {
    let value = |definition| {
        let mut value = serde_json::to_value(definition).unwrap_or_default();
        tidy(&mut value);
        value
    };
    [
        ("dr.openova.io_continuums.yaml", value(Continuum::crd())),
        ("dr.openova.io_cnpgpairs.yaml", value(CnpgPair::crd())),
    ]
}

/// API servers warn of formats they do not know; the bounds beside these say the same. A field that
/// is not wanted is left out: a null would be there and say nothing, to CEL rules as well.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let unsigned =
                |format: &Value| format.as_str().is_some_and(|format| format.starts_with("uint"));
            object.retain(|key, value| match key.as_str() {
                "format" => !unsigned(value),
                "nullable" => !value.is_boolean(),
                _ => true,
            });
            object.values_mut().for_each(tidy);
        }
        Value::Array(array) => array.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// Both definitions as one YAML stream.
pub fn stream() -> String {
    yaml::stream(definitions().iter().map(|(_, definition)| definition))
}

#[cfg(test)]
#[path = "crd_tests.rs"]
mod tests;
