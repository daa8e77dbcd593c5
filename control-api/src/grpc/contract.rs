//! The protobuf contract, written from the table of routes and the types of their bodies.
//!
//! Numbers that a field was given once are read from the contract as it stands and kept; those of
//! fields that are gone are reserved. So the text can be written anew whenever a route or a type
//! changed, and nothing that somebody compiled against it changes its meaning.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use prost_reflect::DescriptorPool;
use schemars::SchemaGenerator;
use serde_json::{Map, Value};

use super::fields::{Kind, definition, fields_of, generator, kind_of};
use super::{KEPT, PACKAGE, SERVICE, Shape, rpc_name, shape};
use crate::approvals::Approval;
use crate::routes::{Endpoint, endpoints, verb};

const HEAD: &str = "\
// The API as protobuf. Written from the table of routes and the types of their bodies: change
// those, and run `make contract`. Numbers of fields never change.
//
// A call does what the route of the same name does (docs/API.md). Fields that are not set are left
// out of the request. Metadata carries what HTTP headers carry there: authorization,
// idempotency-key, if-match, if-none-match, x-request-id, traceparent.
syntax = \"proto3\";
package continuum.api.v1;

import \"google/protobuf/struct.proto\";
";

/// One field as it is to be written.
struct Field {
    name: String,
    kind: Kind,
    comment: String,
}

/// Messages by name, and what stands above each.
#[derive(Default)]
struct Messages(BTreeMap<String, (String, Vec<Field>)>);

/// The contract's text, with the numbers of `current`.
pub(super) fn text(current: &DescriptorPool) -> String {
    let mut generator = generator();
    let mut messages = Messages::default();
    let mut service = format!("service {SERVICE} {{\n");
    for endpoint in endpoints() {
        let Some(shape) = shape(&endpoint) else { continue };
        rpc(&endpoint, shape, &mut service, (&mut messages, &mut generator));
    }
    service.push_str("}\n");
    messages.add_referred(generator.definitions());
    let mut text = format!("{HEAD}\n{service}");
    for (name, (comment, fields)) in &messages.0 {
        message(&mut text, current, (name, comment, fields));
    }
    text
}

fn rpc(
    endpoint: &Endpoint,
    shape: Shape,
    service: &mut String,
    (messages, generator): (&mut Messages, &mut SchemaGenerator),
) {
    let name = rpc_name(endpoint.id);
    let request = format!("{name}Request");
    let mut fields: Vec<Field> = endpoint
        .path_parameters()
        .map(|name| {
            let kind = if name == "node" { Kind::one("uint64") } else { Kind::one("string") };
            Field { name: name.into(), kind, comment: String::new() }
        })
        .collect();
    for schema in endpoint.query.iter().chain(endpoint.body.as_ref().map(|(schema, _)| schema)) {
        let schema = schema(generator).to_value();
        let all = fields_of(&schema, generator.definitions()).expect("requests are objects");
        for (name, schema) in all {
            assert!(fields.iter().all(|field| field.name != name), "{request}: {name} twice");
            fields.push(field(name, &schema, generator.definitions()));
        }
    }
    messages.0.insert(request.clone(), (String::new(), fields));
    let schema = (endpoint.answers[0].schema)(generator).to_value();
    let answer = match shape {
        Shape::Chunks => "Chunk".to_owned(),
        Shape::Events => "AuditRecord".to_owned(),
        Shape::Items => {
            let mut fields = vec![field("items".into(), &schema, generator.definitions())];
            if endpoint.query.is_some() {
                fields.push(Field {
                    name: "next_cursor".into(),
                    kind: Kind::one("string"),
                    comment: "Where the next page begins; not set on the last one.".into(),
                });
            }
            let answer = format!("{name}Response");
            messages.0.insert(answer.clone(), (String::new(), fields));
            answer
        }
        Shape::One if verb(endpoint.id).is_some() => {
            let all = fields_of(&schema, generator.definitions()).expect("answers are objects");
            let mut fields: Vec<Field> = all
                .into_iter()
                .map(|(name, one)| field(name, &one, generator.definitions()))
                .collect();
            let approval = generator.subschema_for::<Approval>().to_value();
            let mut kept = field(KEPT.into(), &approval, generator.definitions());
            kept.comment = "Nothing was changed: the request waits for another person.".into();
            fields.push(kept);
            let answer = format!("{name}Response");
            messages.0.insert(answer.clone(), (String::new(), fields));
            answer
        }
        Shape::One => match definition(&schema) {
            Some(answer) => answer.to_owned(),
            None => panic!("{name}: the answer has no name"),
        },
    };
    if shape == Shape::Chunks {
        let data = Field { name: "data".into(), kind: Kind::one("bytes"), comment: String::new() };
        messages.0.insert("Chunk".into(), ("A piece of a document.".into(), vec![data]));
    }
    if shape == Shape::Events {
        generator.subschema_for::<crate::rest::AuditRecord>();
        messages.0.insert("AuditRecord".into(), (String::new(), Vec::new()));
    }
    let stream = if matches!(shape, Shape::Chunks | Shape::Events) { "stream " } else { "" };
    let _infallible = writeln!(
        service,
        "  // {} {}: {}.\n  rpc {name}({request}) returns ({stream}{answer});",
        endpoint.method, endpoint.path, endpoint.summary
    );
    if shape != Shape::Chunks && !messages.0.contains_key(&answer) {
        messages.0.insert(answer, (String::new(), Vec::new()));
    }
}

fn field(name: String, schema: &Value, definitions: &Map<String, Value>) -> Field {
    let kind = kind_of(schema, definitions);
    let comment = schema["description"].as_str().unwrap_or_default().to_owned();
    Field { name, kind, comment }
}

impl Messages {
    /// Every message that another one names, and the fields of those that are definitions.
    fn add_referred(&mut self, definitions: &Map<String, Value>) {
        let mut open: Vec<String> = self.0.keys().cloned().collect();
        let mut seen: BTreeSet<String> = BTreeSet::new();
        while let Some(name) = open.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            if let Some(schema) = definitions.get(&name) {
                let all = fields_of(schema, definitions).expect("only objects are messages");
                let fields =
                    all.into_iter().map(|(name, one)| field(name, &one, definitions)).collect();
                let comment = schema["description"].as_str().unwrap_or_default().to_owned();
                self.0.insert(name.clone(), (comment, fields));
            }
            let (_, fields) = &self.0[&name];
            open.extend(fields.iter().filter_map(|field| field.kind.message()).map(str::to_owned));
        }
    }
}

/// Writes a message. A field keeps the number it has; a new one gets the next that was never used.
fn message(
    text: &mut String,
    current: &DescriptorPool,
    (name, comment, fields): (&str, &str, &[Field]),
) {
    let known = current.get_message_by_name(&format!("{PACKAGE}.{name}"));
    let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
    let mut reserved: BTreeMap<u32, String> = BTreeMap::new();
    if let Some(known) = &known {
        numbers = known.fields().map(|field| (field.name().to_owned(), field.number())).collect();
        let gone = known.reserved_ranges().flatten().map(|number| (number, String::new()));
        reserved.extend(gone);
        let dropped = numbers.iter().filter(|(name, _)| fields.iter().all(|f| f.name != **name));
        reserved.extend(dropped.map(|(name, number)| (*number, name.clone())));
    }
    let mut next = numbers.values().chain(reserved.keys()).max().map_or(1, |last| last + 1);
    text.push('\n');
    push_comment(text, "", comment);
    let _infallible = writeln!(text, "message {name} {{");
    for (number, name) in &reserved {
        let was = if name.is_empty() { String::new() } else { format!(" // {name}") };
        let _infallible = writeln!(text, "  reserved {number};{was}");
    }
    let mut lines: Vec<(u32, &Field)> = Vec::new();
    for field in fields {
        let number = numbers.get(&field.name).copied().unwrap_or_else(|| {
            next += 1;
            next - 1
        });
        lines.push((number, field));
    }
    lines.sort_by_key(|(number, _)| *number);
    for (number, field) in lines {
        push_comment(text, "  ", &field.comment);
        let _infallible = writeln!(text, "  {} {} = {number};", field.kind, field.name);
    }
    text.push_str("}\n");
}

fn push_comment(text: &mut String, indent: &str, comment: &str) {
    for line in comment.lines() {
        let line = format!("{indent}// {line}");
        let _infallible = writeln!(text, "{}", line.trim_end());
    }
}
