//! Structural schemas: what is pruned, what is filled in, what is refused.

pub mod rules;
pub mod validate;

use serde_json::{Map, Value};

/// A schema's keyword, `None` where it is not set.
pub(crate) fn word<'a>(schema: &'a Value, keyword: &str) -> Option<&'a Value> {
    schema.get(keyword).filter(|value| !value.is_null())
}

pub(crate) fn flag(schema: &Value, keyword: &str) -> bool {
    schema.get(keyword).and_then(Value::as_bool).unwrap_or(false)
}

/// The schema of one property: its own, else that of all further ones.
pub(crate) fn property<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    word(schema, "properties")
        .and_then(|properties| properties.get(name))
        .or_else(|| word(schema, "additionalProperties").filter(|more| more.is_object()))
}

/// The names that make an item of a keyed list, with what stands for a key that is not given.
pub(crate) fn map_keys(schema: &Value) -> Option<Vec<(String, Option<Value>)>> {
    if schema.get("x-kubernetes-list-type").and_then(Value::as_str) != Some("map") {
        return None;
    }
    let items = schema.get("items");
    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array)?;
    let default = |key: &str| {
        items.and_then(|items| property(items, key)).and_then(|key| word(key, "default")).cloned()
    };
    let names = keys.iter().filter_map(Value::as_str);
    Some(names.map(|key| (key.to_owned(), default(key))).collect())
}

/// The keys of one item; `None` when one is missing that has no default.
pub(crate) fn item_key(
    keys: &[(String, Option<Value>)],
    item: &Value,
) -> Option<Map<String, Value>> {
    let found = keys.iter().map(|(key, default)| {
        let value = item.get(key).or(default.as_ref())?;
        Some((key.clone(), value.clone()))
    });
    found.collect()
}

pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Drops what the schema does not know, and returns the paths that were dropped.
pub fn prune(object: &mut Value, schema: &Value) -> Vec<String> {
    let mut dropped = Vec::new();
    prune_at(object, schema, "", true, &mut dropped);
    dropped
}

fn prune_at(
    value: &mut Value,
    schema: &Value,
    path: &str,
    resource: bool,
    dropped: &mut Vec<String>,
) {
    match value {
        Value::Object(map) => {
            let keep = flag(schema, "x-kubernetes-preserve-unknown-fields");
            map.retain(|name, inner| {
                // These are checked as every object's, not by the schema.
                if resource && ["apiVersion", "kind", "metadata"].contains(&name.as_str()) {
                    return true;
                }
                let at = join(path, name);
                match property(schema, name) {
                    Some(known) => {
                        let embedded = flag(known, "x-kubernetes-embedded-resource");
                        prune_at(inner, known, &at, embedded, dropped);
                        true
                    }
                    None if keep => true,
                    None => {
                        dropped.push(at);
                        false
                    }
                }
            });
        }
        Value::Array(items) => {
            if let Some(known) = word(schema, "items") {
                let embedded = flag(known, "x-kubernetes-embedded-resource");
                for (index, item) in items.iter_mut().enumerate() {
                    prune_at(item, known, &format!("{path}[{index}]"), embedded, dropped);
                }
            }
        }
        _ => {}
    }
}

/// Fills in what the schema has a default for, where what holds it is there.
pub fn fill_defaults(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(map) => {
            if let Some(properties) = word(schema, "properties").and_then(Value::as_object) {
                for (name, known) in properties {
                    let Some(default) = word(known, "default") else { continue };
                    let null = map.get(name).is_some_and(Value::is_null);
                    if !map.contains_key(name) || (null && !flag(known, "nullable")) {
                        map.insert(name.clone(), default.clone());
                    }
                }
            }
            for (name, inner) in map.iter_mut() {
                if let Some(known) = property(schema, name) {
                    fill_defaults(inner, known);
                }
            }
        }
        Value::Array(items) => {
            if let Some(known) = word(schema, "items") {
                items.iter_mut().for_each(|item| fill_defaults(item, known));
            }
        }
        _ => {}
    }
}
