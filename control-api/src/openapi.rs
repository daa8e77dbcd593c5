//! The OpenAPI 3.1 document, made from the table of routes and the types themselves.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::approvals::Approval;
use crate::problem::{KINDS, PROBLEM_JSON, Problem};
use crate::rest::API;
use crate::routes::{Endpoint, endpoints, verb};

/// Errors that any route may answer, with their status.
const OF_ALL: &[(u16, &str)] = &[(500, "internal"), (504, "timeout")];
/// What routes that are not open to everybody may be answered too.
const OF_CLOSED: &[(u16, &str)] = &[
    (401, "unauthenticated"),
    (403, "forbidden"),
    (429, "rate-limited"),
    (503, "no-leader"),
    (503, "provider-away"),
];
/// What requests for a change may be answered too.
const OF_CHANGES: &[(u16, &str)] = &[
    (400, "condition-refused"),
    (400, "idempotency-key-refused"),
    (412, "precondition-failed"),
    (413, "body-unreadable"),
    (422, "body-refused"),
    (422, "idempotency-key-reused"),
    (503, "outcome-unknown"),
];

/// The document.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for endpoint in endpoints() {
        let item = paths.entry(format!("{API}{}", endpoint.path)).or_insert_with(|| json!({}));
        item[endpoint.method.to_lowercase()] = operation(&endpoint, &mut generator);
    }
    // Every error has this body.
    generator.subschema_for::<Problem>();
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Continuum",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Keeps PostgreSQL writable in exactly one region, and moves that role safely. Callers are known by their client certificate or by a bearer token. Any control node takes any request. A change that carries an Idempotency-Key can be repeated and takes effect once.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "certificate": [] }, { "bearer": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "certificate": {
                    "type": "mutualTLS",
                    "description": "A client certificate of the control core's authority, of the role operator.",
                },
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of ours, or one of the identity provider where one is configured. With a certificate beside it the token decides.",
                },
            },
        },
    })
}

fn operation(endpoint: &Endpoint, generator: &mut SchemaGenerator) -> Value {
    let mut operation = json!({
        "operationId": endpoint.id,
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "parameters": parameters(endpoint, generator),
        "responses": responses(endpoint, generator),
    });
    let general = endpoint.needs().first();
    match general.filter(|_| !endpoint.is_open()) {
        Some(need) => {
            operation["x-required-tier"] = need.tier.label().into();
            operation["x-required-over"] = need.place.label().into();
        }
        None => operation["security"] = json!([]),
    }
    if !endpoint.details.is_empty() {
        operation["description"] = endpoint.details.into();
    }
    if let Some((schema, required)) = endpoint.body {
        let mut content = json!({ "schema": schema(generator) });
        if let Ok(example) = serde_json::from_str::<Value>(endpoint.example) {
            content["example"] = example;
        }
        operation["requestBody"] =
            json!({ "required": required, "content": { "application/json": content } });
    }
    operation
}

fn parameters(endpoint: &Endpoint, generator: &mut SchemaGenerator) -> Vec<Value> {
    let mut all: Vec<Value> = endpoint.path_parameters().map(path_parameter).collect();
    if let Some(schema) = endpoint.query {
        all.extend(query_parameters(&schema(generator).to_value(), generator));
    }
    if endpoint.changes() {
        all.push(header(
            "Idempotency-Key",
            "Drawn by the caller: the same request under the same key takes effect once, and its repetition is answered alike for a day.",
            json!({ "type": "string", "minLength": 1, "maxLength": crate::ask::KEY_BYTES_MAX, "pattern": "^[!-~]+$" }),
        ));
        if endpoint.versioned {
            let tag = json!({ "type": "string", "pattern": r#"^(\*|"[0-9]{1,18}")$"# });
            all.push(header(
                "If-Match",
                "Only if the pair is at this version, as its ETag says.",
                tag,
            ));
        }
    }
    if endpoint.id == "streamEvents" {
        let position = json!({ "type": "string", "pattern": "^[0-9]{1,18}$" });
        all.push(header("Last-Event-ID", "The last event that was received.", position));
    }
    all
}

fn header(name: &str, description: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "header", "description": description, "schema": schema })
}

fn path_parameter(name: &str) -> Value {
    let schema = match name {
        "node" => json!({ "type": "integer", "format": "uint64", "minimum": 0 }),
        _ => json!({ "type": "string", "pattern": "^[a-z][a-z0-9-]{0,39}$" }),
    };
    json!({ "name": name, "in": "path", "required": true, "schema": schema })
}

/// The fields of a query's type, each as a parameter.
fn query_parameters(schema: &Value, generator: &SchemaGenerator) -> Vec<Value> {
    let name = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next());
    let Some(whole) = name.and_then(|name| generator.definitions().get(name)) else {
        return Vec::new();
    };
    let needed = |name: &str| {
        let required = whole["required"].as_array();
        required.is_some_and(|required| required.iter().any(|one| one == name))
    };
    let Some(fields) = whole["properties"].as_object() else { return Vec::new() };
    let parameter = |(name, field): (&String, &Value)| {
        let mut field = field.clone();
        let description = field.as_object_mut().and_then(|field| field.remove("description"));
        json!({
            "name": name,
            "in": "query",
            "required": needed(name),
            "description": description.unwrap_or_default(),
            "schema": without_null(field),
        })
    };
    fields.iter().map(parameter).collect()
}

/// A parameter that is left out is not there; it is never `null`.
fn without_null(mut schema: Value) -> Value {
    if let Some(types) = schema["type"].as_array() {
        let kept: Vec<Value> = types.iter().filter(|kind| *kind != "null").cloned().collect();
        if let [one] = kept.as_slice() {
            schema["type"] = one.clone();
        }
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let kept: Vec<Value> = any.iter().filter(|one| one["type"] != "null").cloned().collect();
        if let [one] = kept.as_slice() {
            return one.clone();
        }
    }
    schema.as_object_mut().map(|schema| schema.remove("default").filter(Value::is_null));
    schema
}

fn responses(endpoint: &Endpoint, generator: &mut SchemaGenerator) -> Value {
    let mut all = Map::new();
    for answer in &endpoint.answers {
        let schema = (answer.schema)(generator);
        let mut response = json!({
            "description": answer.means,
            "content": { answer.media: { "schema": schema } },
        });
        if endpoint.versioned && endpoint.method != "DELETE" {
            response["headers"] = json!({ "ETag": {
                "description": "The version of the spec.",
                "schema": { "type": "string" },
            } });
        }
        // The same status in another media type.
        match all.get_mut(&answer.status.to_string()) {
            Some(known) => {
                known["content"][answer.media] = response["content"][answer.media].take()
            }
            None => drop(all.insert(answer.status.to_string(), response)),
        }
    }
    if verb(endpoint.id).is_some() {
        keep(&mut all, generator);
    }
    for (status, codes) in problems(endpoint) {
        let text: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
        all.insert(
            status.to_string(),
            json!({
                "description": text.join(", "),
                "content": { PROBLEM_JSON: { "schema": { "$ref": "#/components/schemas/Problem" } } },
            }),
        );
    }
    Value::Object(all)
}

/// What is answered where a safety rule holds, beside what the route answers with that status.
fn keep(all: &mut Map<String, Value>, generator: &mut SchemaGenerator) {
    let approval = generator.subschema_for::<Approval>().to_value();
    let kept = "Where a safety rule holds: an approval, at `Location`; nothing was changed.";
    let mut response = json!({
        "description": kept,
        "content": { "application/json": { "schema": approval.clone() } },
    });
    if let Some(own) = all.get("202") {
        let text = own["description"].as_str().unwrap_or_default();
        response["description"] = format!("{text} {kept}").into();
        let schema = own["content"]["application/json"]["schema"].clone();
        response["content"]["application/json"]["schema"] = json!({ "anyOf": [schema, approval] });
    }
    all.insert("202".into(), response);
}

/// The errors of a route by status.
pub(crate) fn problems(endpoint: &Endpoint) -> Vec<(u16, Vec<&'static str>)> {
    let mut all: Vec<(u16, &'static str)> = OF_ALL.to_vec();
    if !endpoint.is_open() {
        all.extend(OF_CLOSED);
    }
    if endpoint.path_parameters().next().is_some() {
        all.push((400, "path-refused"));
    }
    if endpoint.query.is_some() {
        all.push((400, "query-refused"));
    }
    if endpoint.changes() {
        all.extend(OF_CHANGES);
    }
    all.extend(endpoint.problems);
    all.sort_unstable();
    all.dedup();
    let mut by_status: Vec<(u16, Vec<&'static str>)> = Vec::new();
    for (status, code) in all {
        debug_assert!(KINDS.iter().any(|kind| kind.code == code), "{code}");
        match by_status.last_mut() {
            Some((last, codes)) if *last == status => codes.push(code),
            _ => by_status.push((status, vec![code])),
        }
    }
    by_status
}

#[cfg(test)]
#[path = "openapi_tests.rs"]
mod tests;
