//! YAML, byte for byte the same for the same values.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// A value whose keys are in order, whatever order they are kept in.
#[derive(Serialize)]
#[serde(untagged)]
enum Ordered<'a> {
    Map(BTreeMap<&'a str, Ordered<'a>>),
    List(Vec<Ordered<'a>>),
    Plain(&'a Value),
}

fn ordered(value: &Value) -> Ordered<'_> {
    match value {
        Value::Object(object) => {
            Ordered::Map(object.iter().map(|(key, value)| (key.as_str(), ordered(value))).collect())
        }
        Value::Array(array) => Ordered::List(array.iter().map(ordered).collect()),
        plain => Ordered::Plain(plain),
    }
}

/// One document.
pub fn document(value: &Value) -> String {
    serde_yaml_ng::to_string(&ordered(value)).unwrap_or_default()
}

/// Documents one after the other.
pub fn stream<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    values.into_iter().map(|value| format!("---\n{}", document(value))).collect()
}
