//! Values under a schema: their fields, their merge, their difference.

use serde_json::{Map, Value};

use crate::apply::fieldset::{FieldSet, field, keyed, valued};
use crate::schema::{item_key, map_keys, property};

const NONE: &Value = &Value::Null;

/// How a value is taken apart.
enum Shape<'a> {
    Map(&'a Map<String, Value>),
    Keyed(&'a [Value], Vec<(String, Option<Value>)>),
    Set(&'a [Value]),
    Whole,
}

fn shape<'a>(value: &'a Value, schema: &Value) -> Shape<'a> {
    match value {
        Value::Object(map) => {
            let atomic = schema.get("x-kubernetes-map-type").and_then(Value::as_str);
            if atomic == Some("atomic") { Shape::Whole } else { Shape::Map(map) }
        }
        Value::Array(items) => match map_keys(schema) {
            Some(keys) if items.iter().all(|item| item_key(&keys, item).is_some()) => {
                Shape::Keyed(items, keys)
            }
            _ => match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
                Some("set") => Shape::Set(items),
                _ => Shape::Whole,
            },
        },
        _ => Shape::Whole,
    }
}

fn inner<'a>(schema: &'a Value, name: &str) -> &'a Value {
    property(schema, name).unwrap_or(NONE)
}

fn items_of(schema: &Value) -> &Value {
    schema.get("items").unwrap_or(NONE)
}

fn item_element(keys: &[(String, Option<Value>)], item: &Value) -> String {
    keyed(&item_key(keys, item).unwrap_or_default())
}

/// The fields of a value.
#[must_use]
pub fn fields(value: &Value, schema: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    walk(value, schema, &mut Vec::new(), &mut set);
    set
}

fn walk(value: &Value, schema: &Value, at: &mut Vec<String>, set: &mut FieldSet) {
    match shape(value, schema) {
        Shape::Map(map) if map.is_empty() => set.insert(at),
        Shape::Map(map) => {
            for (name, value) in map {
                at.push(field(name));
                walk(value, inner(schema, name), at, set);
                at.pop();
            }
        }
        Shape::Keyed(items, _) | Shape::Set(items) if items.is_empty() => set.insert(at),
        Shape::Keyed(items, keys) => {
            for item in items {
                at.push(item_element(&keys, item));
                set.insert(at);
                walk(item, items_of(schema), at, set);
                at.pop();
            }
        }
        Shape::Set(items) => {
            for item in items {
                at.push(valued(item));
                set.insert(at);
                at.pop();
            }
        }
        Shape::Whole => set.insert(at),
    }
}

/// What is different between two values.
#[derive(Debug, Default)]
pub struct Difference {
    /// Fields that only the new one has.
    pub added: FieldSet,
    /// Fields whose values differ.
    pub modified: FieldSet,
    /// Fields that only the old one has.
    pub removed: FieldSet,
}

/// Compares two values.
#[must_use]
pub fn compare(old: &Value, new: &Value, schema: &Value) -> Difference {
    let mut difference = Difference::default();
    compare_at(Some(old), Some(new), schema, &mut Vec::new(), &mut difference);
    difference
}

fn compare_at(
    old: Option<&Value>,
    new: Option<&Value>,
    schema: &Value,
    at: &mut Vec<String>,
    found: &mut Difference,
) {
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) => (old, new),
        (None, Some(new)) => return walk(new, schema, at, &mut found.added),
        (Some(old), None) => return walk(old, schema, at, &mut found.removed),
        (None, None) => return,
    };
    if old == new {
        return;
    }
    match (shape(old, schema), shape(new, schema)) {
        (Shape::Map(before), Shape::Map(after)) => {
            let names =
                before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
            for name in names {
                at.push(field(name));
                let (old, new) = (before.get(name), after.get(name));
                compare_at(old, new, inner(schema, name), at, found);
                at.pop();
            }
        }
        (Shape::Keyed(before, keys), Shape::Keyed(after, _)) => {
            let element = |item: &Value| item_element(&keys, item);
            let find = |items: &[Value], wanted: &str| {
                items.iter().find(|item| element(item) == wanted).cloned()
            };
            let mut elements: Vec<String> = before.iter().map(element).collect();
            elements.extend(after.iter().map(element));
            elements.sort();
            elements.dedup();
            for wanted in elements {
                let (old, new) = (find(before, &wanted), find(after, &wanted));
                at.push(wanted);
                match (&old, &new) {
                    (None, Some(_)) => found.added.insert(at),
                    (Some(_), None) => found.removed.insert(at),
                    _ => {}
                }
                compare_at(old.as_ref(), new.as_ref(), items_of(schema), at, found);
                at.pop();
            }
        }
        (Shape::Set(before), Shape::Set(after)) => {
            let mut only = |these: &[Value], those: &[Value], set: &mut FieldSet| {
                for item in these.iter().filter(|item| !those.contains(item)) {
                    at.push(valued(item));
                    set.insert(at);
                    at.pop();
                }
            };
            only(after, before, &mut found.added);
            only(before, after, &mut found.removed);
        }
        _ => found.modified.insert(at),
    }
}

/// Lays an applied configuration over an object.
#[must_use]
pub fn merge(live: &Value, applied: &Value, schema: &Value) -> Value {
    match (shape(live, schema), shape(applied, schema)) {
        (Shape::Map(before), Shape::Map(over)) => {
            let mut merged = before.clone();
            for (name, value) in over {
                let value = match before.get(name) {
                    Some(live) => merge(live, value, inner(schema, name)),
                    None => value.clone(),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Shape::Keyed(before, keys), Shape::Keyed(over, _)) => {
            let mut merged = before.to_vec();
            for item in over {
                let wanted = item_element(&keys, item);
                match merged.iter_mut().find(|live| item_element(&keys, live) == wanted) {
                    Some(live) => *live = merge(live, item, items_of(schema)),
                    None => merged.push(item.clone()),
                }
            }
            Value::Array(merged)
        }
        (Shape::Set(before), Shape::Set(over)) => {
            let mut merged = before.to_vec();
            merged.extend(over.iter().filter(|item| !before.contains(item)).cloned());
            Value::Array(merged)
        }
        _ => applied.clone(),
    }
}

/// Takes fields out of a value, and whatever only held them. `kept` are fields that stay: an item
/// of a list stays while anything in it does.
pub fn remove(value: &mut Value, gone: &FieldSet, kept: &FieldSet, schema: &Value) {
    let stays = |element: &str| kept.below(element).is_some();
    let empty = FieldSet::default();
    let keys = map_keys(schema);
    match value {
        Value::Object(map) => map.retain(|name, value| {
            let element = field(name);
            let Some((member, below)) = gone.below(&element) else { return true };
            if member && below.is_empty() {
                return stays(&element);
            }
            let kept = kept.below(&element).map_or(&empty, |(_, below)| below);
            remove(value, below, kept, inner(schema, name));
            let hollow = match value {
                Value::Object(map) => map.is_empty(),
                Value::Array(items) => items.is_empty(),
                _ => false,
            };
            !hollow || stays(&element)
        }),
        Value::Array(items) => items.retain_mut(|item| {
            let element = match &keys {
                Some(keys) => item_element(keys, item),
                None => valued(item),
            };
            let Some((member, below)) = gone.below(&element) else { return true };
            if member && !stays(&element) {
                return false;
            }
            let kept = kept.below(&element).map_or(&empty, |(_, below)| below);
            remove(item, below, kept, items_of(schema));
            true
        }),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{compare, fields, merge, remove};
    use crate::apply::fieldset::FieldSet;
    use serde_json::{Value, json};

    fn schema() -> Value {
        json!({ "properties": {
            "ports": {
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["port"],
                "items": { "properties": {} },
            },
            "names": { "x-kubernetes-list-type": "set" },
            "args": { "type": "array" },
        } })
    }

    #[test]
    fn lists_merge_by_key_or_value_or_not_at_all() {
        let live = json!({ "ports": [{"port": 1, "a": 1}], "names": ["x"], "args": ["1"] });
        let over =
            json!({ "ports": [{"port": 1, "b": 2}, {"port": 2}], "names": ["y"], "args": [] });
        let merged = merge(&live, &over, &schema());
        let due = json!({
            "ports": [{"port": 1, "a": 1, "b": 2}, {"port": 2}], "names": ["x", "y"], "args": []
        });
        assert_eq!(merged, due);
        let difference = compare(&live, &merged, &schema());
        assert_eq!(
            difference.added.encode(),
            json!({
                "f:names": { "v:\"y\"": {} },
                "f:ports": {
                    "k:{\"port\":1}": { "f:b": {} },
                    "k:{\"port\":2}": { ".": {}, "f:port": {} },
                },
            })
        );
        assert_eq!(difference.modified.encode(), json!({ "f:args": {} }));
        assert!(difference.removed.is_empty());
    }

    #[test]
    fn what_is_taken_out_takes_its_holder_along() {
        let mut value = json!({ "a": { "b": { "c": 1 } }, "ports": [{"port": 1, "x": 1}] });
        let gone = fields(&value, &schema());
        let kept = fields(&json!({ "ports": [{"port": 1}] }), &schema());
        let lost = gone.difference(&kept);
        remove(&mut value, &lost, &kept, &schema());
        assert_eq!(value, json!({ "ports": [{"port": 1}] }));
        remove(&mut value, &kept, &FieldSet::default(), &schema());
        assert_eq!(value, json!({}));
    }
}
