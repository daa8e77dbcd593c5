//! Checks an object against the structural schema of a custom resource, as an API server with strict
//! field validation does: a field that it does not know is refused here and not dropped in silence.
//!
//! CEL rules are not run; an API server does that.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

/// What an API server would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, dotted.
    pub path: String,
    /// What is wrong and what is accepted.
    pub problem: String,
}

/// The definitions of custom resources, by group, version and kind.
#[derive(Clone, Debug, Default)]
pub struct Definitions(BTreeMap<(String, String), Value>);

impl Definitions {
    /// Adds a `CustomResourceDefinition`; all its served versions. Other objects are left alone.
    pub fn add(&mut self, definition: &Value) {
        if definition["kind"] != "CustomResourceDefinition" {
            return;
        }
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (group, kind) = (text(&spec["group"]), text(&spec["names"]["kind"]));
        for version in spec["versions"].as_array().into_iter().flatten() {
            let schema = &version["schema"]["openAPIV3Schema"];
            if version["served"] != false && schema.is_object() {
                let version = format!("{group}/{}", text(&version["name"]));
                self.0.insert((version, kind.clone()), schema.clone());
            }
        }
    }

    /// The schema of an object's kind, if its definition is here.
    pub fn schema(&self, object: &Value) -> Option<&Value> {
        let text = |key: &str| object[key].as_str().map(str::to_owned);
        self.0.get(&(text("apiVersion")?, text("kind")?))
    }

    /// Whether none is here.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is wrong with an object; `None` where its definition is not here.
    pub fn problems(&self, object: &Value) -> Option<Vec<Problem>> {
        let schema = self.schema(object)?;
        let mut problems = Vec::new();
        let kept = ["apiVersion", "kind", "metadata"];
        // What every object has is checked by the API server itself, not by the definition.
        let mut bare = object.clone();
        if let Some(bare) = bare.as_object_mut() {
            bare.retain(|key, _| !kept.contains(&key.as_str()));
        }
        if object["metadata"]["name"].as_str().is_none_or(str::is_empty) {
            problems.push(Problem { path: "metadata.name".into(), problem: "is needed".into() });
        }
        look("", schema, &bare, &mut problems);
        problems.retain(|problem| !kept.contains(&problem.path.as_str()));
        Some(problems)
    }
}

fn look(path: &str, schema: &Value, value: &Value, out: &mut Vec<Problem>) {
    let mut fail = |problem: String| out.push(Problem { path: path.to_owned(), problem });
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    if let Some(wanted) = type_problem(schema, value) {
        return fail(format!("{value} is not {wanted}"));
    }
    if let Some(accepted) = schema["enum"].as_array()
        && !accepted.contains(value)
    {
        fail(format!("{value} is none of {}", Value::from(accepted.clone())));
    }
    match value {
        Value::String(text) => string(schema, text, &mut fail),
        Value::Number(_) => number(schema, value, &mut fail),
        Value::Array(items) => array(path, schema, items, out),
        Value::Object(_) => object(path, schema, value, out),
        Value::Null | Value::Bool(_) => {}
    }
    combined(path, schema, value, out);
}

fn type_problem(schema: &Value, value: &Value) -> Option<String> {
    if schema["x-kubernetes-int-or-string"] == true {
        let fits = value.is_string() || value.is_i64() || value.is_u64();
        return (!fits).then(|| "an integer or a string".into());
    }
    let wanted = schema["type"].as_str()?;
    let fits = match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    };
    (!fits).then(|| format!("of type {wanted}"))
}

fn bound(schema: &Value, key: &str) -> Option<usize> {
    usize::try_from(schema[key].as_u64()?).ok()
}

fn string(schema: &Value, text: &str, fail: &mut impl FnMut(String)) {
    if let Some(pattern) = schema["pattern"].as_str() {
        match Regex::new(pattern) {
            Ok(regex) if regex.is_match(text) => {}
            Ok(_) => fail(format!("{text:?} does not match {pattern}")),
            Err(error) => fail(format!("the pattern {pattern} cannot be used: {error}")),
        }
    }
    let length = text.chars().count();
    if bound(schema, "minLength").is_some_and(|least| length < least) {
        fail(format!("{text:?} is shorter than {}", schema["minLength"]));
    }
    if bound(schema, "maxLength").is_some_and(|most| length > most) {
        fail(format!("{text:?} is longer than {}", schema["maxLength"]));
    }
    if schema["format"] == "date-time" && text.parse::<k8s_openapi::jiff::Timestamp>().is_err() {
        fail(format!("{text:?} is no point in time"));
    }
}

fn number(schema: &Value, value: &Value, fail: &mut impl FnMut(String)) {
    let number = value.as_f64().unwrap_or(f64::NAN);
    let outside = |key: &str, beyond: fn(f64, f64) -> bool| {
        schema[key].as_f64().is_some_and(|limit| beyond(number, limit))
    };
    if outside("minimum", |number, least| number < least) {
        fail(format!("{value} is below {}", schema["minimum"]));
    }
    if outside("maximum", |number, most| number > most) {
        fail(format!("{value} is above {}", schema["maximum"]));
    }
    let narrow = value.as_i64().is_none_or(|number| i32::try_from(number).is_err());
    if schema["format"] == "int32" && narrow {
        fail(format!("{value} does not fit in 32 bits"));
    }
}

fn array(path: &str, schema: &Value, items: &[Value], out: &mut Vec<Problem>) {
    let mut fail = |problem: String| out.push(Problem { path: path.to_owned(), problem });
    if bound(schema, "minItems").is_some_and(|least| items.len() < least) {
        fail(format!("has fewer than {} items", schema["minItems"]));
    }
    if bound(schema, "maxItems").is_some_and(|most| items.len() > most) {
        fail(format!("has more than {} items", schema["maxItems"]));
    }
    let key = |item: &Value| match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => Some(item.to_string()),
        Some("map") => {
            let keys = schema["x-kubernetes-list-map-keys"].as_array()?;
            let name = |key: &Value| key.as_str().map_or(Value::Null, |key| item[key].clone());
            Some(Value::from(keys.iter().map(name).collect::<Vec<_>>()).to_string())
        }
        _ => None,
    };
    for (index, item) in items.iter().enumerate() {
        let twice = key(item).is_some_and(|own| {
            items[..index].iter().any(|other| key(other).as_ref() == Some(&own))
        });
        if twice {
            fail(format!("item {index} is there twice"));
        }
    }
    if schema["items"].is_object() {
        for (index, item) in items.iter().enumerate() {
            look(&format!("{path}[{index}]"), &schema["items"], item, out);
        }
    }
}

fn object(path: &str, schema: &Value, value: &Value, out: &mut Vec<Problem>) {
    let Some(fields) = value.as_object() else { return };
    let below = |key: &str| if path.is_empty() { key.into() } else { format!("{path}.{key}") };
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(key) {
            out.push(Problem { path: below(key), problem: "is needed".into() });
        }
    }
    let open = schema["x-kubernetes-preserve-unknown-fields"] == true
        || schema["additionalProperties"] == true;
    for (key, field) in fields {
        if let Some(known) = schema["properties"].get(key) {
            look(&below(key), known, field, out);
        } else if schema["additionalProperties"].is_object() {
            look(&below(key), &schema["additionalProperties"], field, out);
        } else if !open {
            out.push(Problem { path: below(key), problem: "is no field of this kind".into() });
        }
    }
}

/// `allOf`, `anyOf`, `oneOf` and `not` of a structural schema hold conditions on values; the fields
/// are those of the schema around them.
fn combined(path: &str, schema: &Value, value: &Value, out: &mut Vec<Problem>) {
    let holds = |branch: &Value| {
        let mut inner = Vec::new();
        let mut branch = branch.clone();
        if let Some(branch) = branch.as_object_mut() {
            branch.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
        }
        look(path, &branch, value, &mut inner);
        inner.is_empty()
    };
    let count = |key: &str| {
        let branches = schema[key].as_array()?;
        Some((branches.iter().filter(|branch| holds(branch)).count(), branches.len()))
    };
    let mut fail = |problem: &str| {
        out.push(Problem { path: path.to_owned(), problem: problem.to_owned() });
    };
    if count("allOf").is_some_and(|(held, all)| held < all) {
        fail("does not meet all of what is asked (allOf)");
    }
    if count("anyOf").is_some_and(|(held, _)| held == 0) {
        fail("meets none of what is asked (anyOf)");
    }
    if count("oneOf").is_some_and(|(held, _)| held != 1) {
        fail("does not meet exactly one of what is asked (oneOf)");
    }
    if schema["not"].is_object() && holds(&schema["not"]) {
        fail("meets what must not be (not)");
    }
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
