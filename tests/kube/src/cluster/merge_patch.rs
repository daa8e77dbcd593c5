//! How each kind of patch changes a value.

use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::kinds::Resource;
use crate::schema::{item_key, map_keys, property};

/// RFC 7386.
pub fn merge_patch(value: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Some(map) = value.as_object_mut() else { return };
    for (name, change) in changes {
        if change.is_null() {
            map.remove(name);
        } else {
            merge_patch(map.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

/// A merge that knows by which key the items of a list are told apart.
pub fn strategic(value: &mut Value, patch: &Value, schema: &Value) {
    let none = Value::Null;
    let Value::Object(changes) = patch else {
        *value = patch.clone();
        return;
    };
    if changes.get("$patch").and_then(Value::as_str) == Some("replace") {
        let mut whole = changes.clone();
        whole.remove("$patch");
        *value = Value::Object(whole);
        return;
    }
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Some(map) = value.as_object_mut() else { return };
    for (name, change) in changes {
        let inner = property(schema, name).unwrap_or(&none);
        if change.is_null() {
            map.remove(name);
        } else if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = change.as_array().cloned().unwrap_or_default();
            if let Some(items) = map.get_mut(list).and_then(Value::as_array_mut) {
                items.retain(|item| !gone.contains(item));
            }
        } else if name.starts_with('$') {
            continue;
        } else if let Value::Array(items) = change {
            let kept = map.entry(name.clone()).or_insert_with(|| Value::Array(Vec::new()));
            strategic_list(kept, items, inner);
        } else {
            strategic(map.entry(name.clone()).or_insert(Value::Null), change, inner);
        }
    }
}

fn strategic_list(kept: &mut Value, items: &[Value], schema: &Value) {
    let set = schema.get("x-kubernetes-list-type").and_then(Value::as_str) == Some("set");
    let (Some(live), Some(keys)) = (kept.as_array_mut(), map_keys(schema)) else {
        match kept.as_array_mut() {
            Some(live) if set => {
                let new = items.iter().filter(|item| !live.contains(item)).cloned();
                let new: Vec<Value> = new.collect();
                live.extend(new);
            }
            _ => *kept = Value::Array(items.to_vec()),
        }
        return;
    };
    let inner = schema.get("items").cloned().unwrap_or_default();
    for item in items {
        let key = item_key(&keys, item);
        let at = live.iter().position(|live| key.is_some() && item_key(&keys, live) == key);
        let delete = item.get("$patch").and_then(Value::as_str) == Some("delete");
        match at {
            Some(at) if delete => {
                live.remove(at);
            }
            Some(at) => strategic(&mut live[at], item, &inner),
            None if delete => {}
            None => live.push(item.clone()),
        }
    }
}

/// RFC 6902. The whole patch counts or nothing of it.
pub fn json_patch(value: &Value, patch: &Value, resource: &Resource) -> Result<Value, Failure> {
    let Some(steps) = patch.as_array() else {
        return Err(Failure::bad_request(
            "json: cannot unmarshal object into Go value of type jsonpatch.Patch",
        ));
    };
    let mut new = value.clone();
    for step in steps {
        step_of(&mut new, step).map_err(|why| {
            Failure::new(
                422,
                "Invalid",
                format!("the server rejected our request due to an error in our request: {why}"),
            )
            .about(resource, "")
        })?;
    }
    Ok(new)
}

fn step_of(value: &mut Value, step: &Value) -> Result<(), String> {
    let text = |name: &str| step.get(name).and_then(Value::as_str);
    let path = text("path").ok_or("a step without path")?;
    let given = || step.get("value").cloned().ok_or("a step without value");
    match text("op") {
        Some("test") => {
            let is = value.pointer(path).cloned().unwrap_or(Value::Null);
            if is == given()? { Ok(()) } else { Err(format!("testing value {path} failed")) }
        }
        Some("add") => put(value, path, given()?, true),
        Some("replace") => {
            value.pointer(path).ok_or_else(|| format!("replace: missing path {path}"))?;
            put(value, path, given()?, false)
        }
        Some("remove") => take(value, path).map(|_| ()),
        Some("move") => {
            let from = text("from").ok_or("a move without from")?;
            let moved = take(value, from)?;
            put(value, path, moved, true)
        }
        Some("copy") => {
            let from = text("from").ok_or("a copy without from")?;
            let copied = value.pointer(from).cloned().ok_or("copy: missing path")?;
            put(value, path, copied, true)
        }
        other => Err(format!("unexpected kind: {other:?}")),
    }
}

fn parent<'a>(value: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), String> {
    let (above, last) = path.rsplit_once('/').ok_or_else(|| format!("no such path {path:?}"))?;
    let holder = value.pointer_mut(above).ok_or_else(|| format!("doc is missing path: {path}"))?;
    Ok((holder, last.replace("~1", "/").replace("~0", "~")))
}

fn put(value: &mut Value, path: &str, new: Value, insert: bool) -> Result<(), String> {
    if path.is_empty() {
        *value = new;
        return Ok(());
    }
    let (holder, last) = parent(value, path)?;
    match holder {
        Value::Object(map) => {
            map.insert(last, new);
            Ok(())
        }
        Value::Array(items) => {
            let at = if last == "-" { Ok(items.len()) } else { last.parse() };
            let at: usize = at.map_err(|_| format!("no index {last}"))?;
            if at > items.len() || (!insert && at == items.len()) {
                return Err(format!("index {at} out of bounds"));
            }
            if insert {
                items.insert(at, new)
            } else {
                items[at] = new
            }
            Ok(())
        }
        _ => Err(format!("doc is missing path: {path}")),
    }
}

fn take(value: &mut Value, path: &str) -> Result<Value, String> {
    let (holder, last) = parent(value, path)?;
    let missing = || format!("remove: missing path {path}");
    match holder {
        Value::Object(map) => map.remove(&last).ok_or_else(missing),
        Value::Array(items) => {
            let at: usize = last.parse().map_err(|_| missing())?;
            if at < items.len() { Ok(items.remove(at)) } else { Err(missing()) }
        }
        _ => Err(missing()),
    }
}
