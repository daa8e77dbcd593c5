//! What a structural schema refuses, in the words of the real server.

use regex::Regex;
use serde_json::Value;

use crate::failure::Cause;
use crate::schema::{flag, item_key, join, map_keys, property, word};

/// Everything about the object that its schema refuses.
#[must_use]
pub fn validate(object: &Value, schema: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    check(object, schema, "", &mut causes);
    causes
}

fn cause(reason: &'static str, path: &str, message: String) -> Cause {
    let field = if path.is_empty() { "<nil>" } else { path };
    Cause { reason, message, field: field.to_owned() }
}

fn invalid(path: &str, value: &Value, why: &str) -> Cause {
    cause("FieldValueInvalid", path, format!("Invalid value: {value}: {path} in body {why}"))
}

/// A value as the real server shows it where its type is wrong.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn type_fits(value: &Value, wanted: &str) -> bool {
    let is = type_name(value);
    is == wanted
        || (wanted == "number" && is == "integer")
        || (wanted == "integer" && value.as_f64().is_some_and(|number| number.fract() == 0.0))
}

fn check(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    if value.is_null() && flag(schema, "nullable") {
        return;
    }
    let int_or_string = flag(schema, "x-kubernetes-int-or-string");
    let wanted = word(schema, "type").and_then(Value::as_str);
    let fits = match wanted {
        _ if int_or_string => value.is_string() || value.is_i64() || value.is_u64(),
        Some(wanted) => type_fits(value, wanted),
        None => true,
    };
    if !fits {
        let wanted = wanted.unwrap_or("integer or string");
        let is = type_name(value);
        let message =
            format!("Invalid value: \"{is}\": {path} in body must be of type {wanted}: \"{is}\"");
        causes.push(cause("FieldValueTypeInvalid", path, message));
        return;
    }
    check_enum(value, schema, path, causes);
    match value {
        Value::String(text) => check_text(text, value, schema, path, causes),
        Value::Number(_) => check_number(value, schema, path, causes),
        Value::Array(items) => check_items(items, schema, path, causes),
        Value::Object(_) => check_object(value, schema, path, causes),
        _ => {}
    }
    check_combinations(value, schema, path, causes);
}

fn check_enum(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    if let Some(allowed) = word(schema, "enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        let listed: Vec<String> = allowed.iter().map(Value::to_string).collect();
        let message =
            format!("Unsupported value: {value}: supported values: {}", listed.join(", "));
        causes.push(cause("FieldValueNotSupported", path, message));
    }
}

fn limit(schema: &Value, keyword: &str) -> Option<u64> {
    word(schema, keyword).and_then(Value::as_u64)
}

fn check_text(text: &str, value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let length = text.chars().count() as u64;
    if let Some(most) = limit(schema, "maxLength").filter(|most| length > *most) {
        let message = format!("Too long: may not be more than {most} bytes");
        causes.push(cause("FieldValueTooLong", path, message));
    }
    if let Some(least) = limit(schema, "minLength").filter(|least| length < *least) {
        causes.push(invalid(path, value, &format!("should be at least {least} chars long")));
    }
    if let Some(pattern) = word(schema, "pattern").and_then(Value::as_str)
        && !Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
    {
        causes.push(invalid(path, value, &format!("should match '{pattern}'")));
    }
    if word(schema, "format").and_then(Value::as_str) == Some("date-time")
        && text.parse::<jiff::Timestamp>().is_err()
    {
        causes.push(invalid(path, value, "must be of type date-time"));
    }
}

fn check_number(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let number = value.as_f64().unwrap_or_default();
    let bound = |keyword: &str| word(schema, keyword).and_then(Value::as_f64);
    if let Some(least) = bound("minimum") {
        let exclusive = flag(schema, "exclusiveMinimum");
        if number < least || (exclusive && number <= least) {
            let or_equal = if exclusive { "" } else { " or equal to" };
            let why = format!("should be greater than{or_equal} {least}");
            causes.push(invalid(path, value, &why));
        }
    }
    if let Some(most) = bound("maximum") {
        let exclusive = flag(schema, "exclusiveMaximum");
        if number > most || (exclusive && number >= most) {
            let or_equal = if exclusive { "" } else { " or equal to" };
            causes.push(invalid(path, value, &format!("should be less than{or_equal} {most}")));
        }
    }
    if let Some(unit) = bound("multipleOf")
        && number % unit != 0.0
    {
        causes.push(invalid(path, value, &format!("should be a multiple of {unit}")));
    }
}

fn check_items(items: &[Value], schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let length = items.len() as u64;
    if let Some(most) = limit(schema, "maxItems").filter(|most| length > *most) {
        let message = format!("Too many: {length}: must have at most {most} items");
        causes.push(cause("FieldValueTooMany", path, message));
    }
    if let Some(least) = limit(schema, "minItems").filter(|least| length < *least) {
        let message =
            format!("Invalid value: {length}: {path} in body should have at least {least} items");
        causes.push(cause("FieldValueInvalid", path, message));
    }
    if let Some(known) = word(schema, "items") {
        for (index, item) in items.iter().enumerate() {
            check(item, known, &format!("{path}[{index}]"), causes);
        }
    }
    let keys = map_keys(schema);
    let set = schema.get("x-kubernetes-list-type").and_then(Value::as_str) == Some("set");
    let mut seen: Vec<Value> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let key = match &keys {
            Some(keys) => item_key(keys, item).map(Value::Object),
            None if set => Some(item.clone()),
            None => None,
        };
        let Some(key) = key else { continue };
        if seen.contains(&key) {
            let message = format!("Duplicate value: {key}");
            causes.push(cause("FieldValueDuplicate", &format!("{path}[{index}]"), message));
        }
        seen.push(key);
    }
}

fn check_object(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(map) = value.as_object() else { return };
    for name in word(schema, "required").and_then(Value::as_array).into_iter().flatten() {
        let Some(name) = name.as_str() else { continue };
        if !map.contains_key(name) {
            causes.push(cause("FieldValueRequired", &join(path, name), "Required value".into()));
        }
    }
    let count = map.len() as u64;
    if let Some(most) = limit(schema, "maxProperties").filter(|most| count > *most) {
        let message = format!("Too many: {count}: must have at most {most} items");
        causes.push(cause("FieldValueTooMany", path, message));
    }
    if limit(schema, "minProperties").is_some_and(|least| count < least) {
        causes.push(invalid(path, value, "should have more properties"));
    }
    for (name, inner) in map {
        // Metadata is checked as every object's.
        if path.is_empty() && name == "metadata" {
            continue;
        }
        if let Some(known) = property(schema, name) {
            check(inner, known, &join(path, name), causes);
        }
    }
}

fn check_combinations(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let fits = |schema: &Value| {
        let mut found = Vec::new();
        check(value, schema, path, &mut found);
        found.is_empty()
    };
    let parts = |keyword: &str| word(schema, keyword).and_then(Value::as_array);
    if let Some(all) = parts("allOf") {
        all.iter().for_each(|schema| check(value, schema, path, causes));
    }
    if parts("anyOf").is_some_and(|any| !any.iter().any(fits)) {
        causes.push(invalid(path, value, "must validate at least one schema (anyOf)"));
    }
    if parts("oneOf").is_some_and(|one| one.iter().filter(|schema| fits(schema)).count() != 1) {
        causes.push(invalid(path, value, "must validate one and only one schema (oneOf)"));
    }
    if word(schema, "not").is_some_and(fits) {
        causes.push(invalid(path, value, "must not validate the schema (not)"));
    }
}
