//! What the operator's own webhook refuses beside the schema.

use serde_json::Value;

use crate::failure::Cause;
use crate::operator::spec::{decode, is_replica};

fn cause(reason: &'static str, field: &str, message: &str) -> Cause {
    Cause { reason, message: message.to_owned(), field: format!("spec.replica.{field}") }
}

/// Everything about a `Cluster`'s topology that the webhook refuses.
#[must_use]
pub fn refusals(cluster: &Value) -> Vec<Cause> {
    let spec = &cluster["spec"];
    let replica = &spec["replica"];
    if replica.is_null() {
        return Vec::new();
    }
    let mut causes = Vec::new();
    if replica["enabled"].is_boolean() && replica["primary"].is_string() {
        let why = "Invalid value: primary and enabled are mutually exclusive";
        causes.push(cause("FieldValueInvalid", "enabled", why));
    }
    let external = spec["externalClusters"].as_array().cloned().unwrap_or_default();
    for field in ["source", "self", "primary"] {
        let Some(name) = replica[field].as_str() else { continue };
        if !external.iter().any(|one| one["name"] == name) {
            let why = format!("Invalid value: {name:?}: External cluster {name} not found");
            causes.push(cause("FieldValueInvalid", field, &why));
        }
    }
    let follows = is_replica(cluster);
    if !follows && cluster["status"]["switchReplicaClusterStatus"]["inProgress"] == true {
        let why = "cannot modify the field while there is an ongoing operation to enable the \
                   replica cluster";
        causes.push(cause("FieldValueForbidden", "enabled", why));
    }
    if follows && spec["bootstrap"].as_object().is_none_or(serde_json::Map::is_empty) {
        let why = "Invalid value: replica mode is enabled, but no bootstrap is given";
        causes.push(cause("FieldValueInvalid", "bootstrap", why));
    }
    let Some(token) = replica["promotionToken"].as_str().filter(|token| !token.is_empty()) else {
        return causes;
    };
    if follows {
        let why = "Invalid value: promotionToken is only allowed for primary clusters";
        causes.push(cause("FieldValueInvalid", "promotionToken", why));
    }
    if replica["minApplyDelay"].is_string() {
        let why = "Invalid value: minApplyDelay cannot be applied with a promotion token";
        causes.push(cause("FieldValueInvalid", "minApplyDelay", why));
    }
    if decode(token).is_none() {
        let why = "Invalid value: Invalid promotionToken format";
        causes.push(cause("FieldValueInvalid", "promotionToken", why));
    }
    causes
}
