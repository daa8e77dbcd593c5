//! What is noted in an object that leads clients: whom it leads to and under which epoch, why clients are
//! held back, and what has to be put back later. It is the fence: whoever writes the object compares with it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::traffic::{Pointing, SwitchError};

/// The annotation that holds it.
pub(crate) const KEY: &str = "dr.openova.io/traffic";

/// What is noted. `N` is what one kind of object needs beside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Mark<N> {
    /// Whom it was last told to lead to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Pointing>,
    /// Why an agent holds clients back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// What this kind needs.
    #[serde(flatten)]
    pub note: N,
}

/// Reads the mark; `None` where the object has none.
pub(super) fn read<N: DeserializeOwned>(object: &Value) -> Result<Option<Mark<N>>, SwitchError> {
    let Some(found) = object["metadata"]["annotations"].get(KEY) else { return Ok(None) };
    let read = serde_json::from_str(found.as_str().unwrap_or_default());
    let unreadable = |error| {
        let reason = format!(
            "the annotation {KEY} was not written by an agent ({error}); it holds the epoch that fences \
             older agents off, so that nothing is changed until a person has removed it"
        );
        SwitchError::refused("reading what is noted in it", reason)
    };
    read.map(Some).map_err(unreadable)
}

/// The first operations of every patch: the object must be the one that was read, unchanged; then the mark
/// is written.
pub(super) fn write<N: Serialize>(
    object: &Value,
    mark: &Mark<N>,
) -> Result<Vec<Value>, SwitchError> {
    let metadata = &object["metadata"];
    for key in ["uid", "resourceVersion"] {
        if !metadata[key].is_string() {
            let reason = format!("the object has no {key}: it was not read from an API server");
            return Err(SwitchError::refused("writing", reason));
        }
    }
    let mut operations = vec![
        json!({ "op": "test", "path": "/metadata/uid", "value": metadata["uid"] }),
        json!({ "op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"] }),
    ];
    if !metadata["annotations"].is_object() {
        operations.push(json!({ "op": "add", "path": "/metadata/annotations", "value": {} }));
    }
    let path = format!("/metadata/annotations/{}", KEY.replace('/', "~1"));
    operations.push(json!({ "op": "add", "path": path, "value": text(mark)? }));
    Ok(operations)
}

/// The annotation's value.
pub(super) fn text<N: Serialize>(mark: &Mark<N>) -> Result<String, SwitchError> {
    serde_json::to_string(mark).map_err(|error| SwitchError::refused("writing the mark", error))
}
