//! What a JSON schema is in protobuf.

use std::collections::BTreeMap;
use std::fmt;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// Makes the schemas that are read here.
pub(super) fn generator() -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12();
    settings.with(|settings| settings.definitions_path = "/definitions".into()).into_generator()
}

/// Anything that JSON can say.
const ANY: &str = "google.protobuf.Value";

/// How a field is written in front of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// A scalar's or a message's name.
    of: String,
    shape: Many,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Many {
    One,
    List,
    Map,
}

impl Kind {
    pub(super) fn one(of: &str) -> Self {
        Self { of: of.into(), shape: Many::One }
    }

    /// The message of ours that it is made of.
    pub(super) fn message(&self) -> Option<&str> {
        let ours = self.of.starts_with(|first: char| first.is_ascii_uppercase());
        ours.then_some(self.of.as_str())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, shape } = self;
        match shape {
            Many::List => write!(f, "repeated {of}"),
            Many::Map => write!(f, "map<string, {of}>"),
            // A scalar that is not set is not there; it is never 0 or empty.
            Many::One if self.message().is_none() && of != ANY => write!(f, "optional {of}"),
            Many::One => f.write_str(of),
        }
    }
}

/// The name of the definition that a schema refers to.
pub(super) fn definition(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

/// What a field of this schema is. Whatever protobuf has no word for, or could only say with less
/// meaning (a list of lists, an entry of a map that is `null`), stays JSON.
pub(super) fn kind_of(schema: &Value, definitions: &Map<String, Value>) -> Kind {
    let schema = &without_null(schema);
    if let Some(name) = definition(schema) {
        let Some(of) = definitions.get(name) else { return Kind::one(ANY) };
        return match fields_of(of, definitions) {
            Some(_) => Kind::one(name),
            None => kind_of(of, definitions),
        };
    }
    let of_many = |items: &Value, shape| {
        let kind = kind_of(items, definitions);
        let plain = kind.shape == Many::One && !takes_null(items);
        Kind { of: if plain { kind.of } else { ANY.into() }, shape }
    };
    match schema["type"].as_str() {
        Some("array") => of_many(&schema["items"], Many::List),
        Some("object") => entries(schema).map_or(Kind::one(ANY), |one| of_many(one, Many::Map)),
        Some("string") => Kind::one("string"),
        Some("boolean") => Kind::one("bool"),
        Some("number") => Kind::one("double"),
        Some("integer") => Kind::one(match schema["format"].as_str() {
            Some("int64") => "int64",
            Some("int8" | "int16" | "int32") => "int32",
            Some("uint8" | "uint16" | "uint32") => "uint32",
            _ => "uint64",
        }),
        _ if is_word(schema) => Kind::one("string"),
        _ => Kind::one(ANY),
    }
}

/// What the entries of a map are; `None` where it is not one.
fn entries(schema: &Value) -> Option<&Value> {
    let by_pattern = schema["patternProperties"].as_object().and_then(|all| all.values().next());
    by_pattern.or_else(|| schema.get("additionalProperties").filter(|one| one.is_object()))
}

/// One of several words.
fn is_word(schema: &Value) -> bool {
    let word = |one: &Value| one["type"] == "string" || one["const"].is_string();
    let all = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array());
    all.is_some_and(|all| all.iter().all(word)) || schema["const"].is_string()
}

fn takes_null(schema: &Value) -> bool {
    let types = schema["type"].as_array();
    let any = schema["anyOf"].as_array();
    types.is_some_and(|types| types.iter().any(|kind| kind == "null"))
        || any.is_some_and(|any| any.iter().any(|one| one["type"] == "null"))
        || *schema == Value::Bool(true)
}

/// A field that is `null` is one that is not set.
fn without_null(schema: &Value) -> Value {
    let mut schema = schema.clone();
    for list in ["type", "anyOf"] {
        let Some(all) = schema[list].as_array() else { continue };
        let not_null = |one: &&Value| **one != "null" && one["type"] != "null";
        let kept: Vec<Value> = all.iter().filter(not_null).cloned().collect();
        match (list, kept.as_slice()) {
            ("type", [one]) => schema["type"] = one.clone(),
            ("anyOf", [one]) => return one.clone(),
            _ => {}
        }
    }
    schema
}

/// The fields of an object, by name; `None` where the schema is not one, or not always.
///
/// Several kinds of object in one place (an answer that is this or that) are one message with the
/// fields of all: JSON of either is JSON of it.
pub(super) fn fields_of(
    schema: &Value,
    definitions: &Map<String, Value>,
) -> Option<BTreeMap<String, Value>> {
    if let Some(name) = definition(schema) {
        return fields_of(definitions.get(name)?, definitions);
    }
    let mut fields = BTreeMap::new();
    let mut found = false;
    if let Some(own) = schema["properties"].as_object() {
        fields.extend(own.iter().map(|(name, one)| (name.clone(), one.clone())));
        found = true;
    } else if schema["type"] == "object" && entries(schema).is_none() {
        found = true;
    }
    for list in ["oneOf", "anyOf", "allOf"] {
        for part in schema[list].as_array().into_iter().flatten() {
            for (name, one) in fields_of(part, definitions)? {
                let merged = match fields.remove(&name) {
                    Some(old) if kind_of(&old, definitions) != kind_of(&one, definitions) => {
                        Value::Bool(true)
                    }
                    Some(old) => old,
                    None => one,
                };
                fields.insert(name, merged);
            }
            found = true;
        }
    }
    let fits = |name: &String| {
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    (found && fields.keys().all(fits)).then_some(fields)
}
