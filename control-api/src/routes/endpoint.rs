//! One route: what it takes and answers, and who answers it.

use std::sync::Arc;

use axum::routing::MethodRouter;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{Api, Need, Place, needs};

/// Makes a type's schema.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// An answer that is no error.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// What it means.
    pub means: &'static str,
    /// Media type.
    pub media: &'static str,
    /// What is in it.
    pub schema: SchemaOf,
}

/// One method of one path.
pub struct Endpoint {
    /// `GET`, `PUT`, `POST`, `DELETE`.
    pub method: &'static str,
    /// Below `/api/v1`.
    pub path: &'static str,
    /// Its name in generated clients.
    pub id: &'static str,
    /// The chapter it is told in.
    pub tag: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// What else is to be known.
    pub details: &'static str,
    /// Its query parameters, as an object.
    pub query: Option<SchemaOf>,
    /// Its JSON body, and whether it may be left out.
    pub body: Option<(SchemaOf, bool)>,
    /// Its answers.
    pub answers: Vec<Answer>,
    /// Answers carry an entity tag, and changes take `If-Match`.
    pub versioned: bool,
    /// Codes of its own errors with their status, beside those that any route has.
    pub problems: &'static [(u16, &'static str)],
    /// A body of an example, for the reference.
    pub example: &'static str,
    pub(super) handler: MethodRouter<Arc<dyn Api>>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl Endpoint {
    pub(super) fn new(
        (method, path): (&'static str, &'static str),
        (id, tag): (&'static str, &'static str),
        summary: &'static str,
        handler: MethodRouter<Arc<dyn Api>>,
    ) -> Self {
        Self {
            method,
            path,
            id,
            tag,
            summary,
            details: "",
            query: None,
            body: None,
            answers: Vec::new(),
            versioned: false,
            problems: &[],
            example: "",
            handler,
        }
    }

    pub(super) fn details(self, details: &'static str) -> Self {
        Self { details, ..self }
    }

    pub(super) fn query<T: JsonSchema>(self) -> Self {
        Self { query: Some(schema_of::<T>), ..self }
    }

    pub(super) fn body<T: JsonSchema>(self, example: &'static str) -> Self {
        Self { body: Some((schema_of::<T>, true)), example, ..self }
    }

    /// A body that may be left out.
    pub(super) fn reason<T: JsonSchema>(self) -> Self {
        let example = r#"{"reason": "CHG-4711"}"#;
        Self { body: Some((schema_of::<T>, false)), example, ..self }
    }

    pub(super) fn answers<T: JsonSchema>(self, status: u16, means: &'static str) -> Self {
        self.answers_as::<T>(status, means, "application/json")
    }

    pub(super) fn answers_as<T: JsonSchema>(
        mut self,
        status: u16,
        means: &'static str,
        media: &'static str,
    ) -> Self {
        self.answers.push(Answer { status, means, media, schema: schema_of::<T> });
        self
    }

    pub(super) fn versioned(self) -> Self {
        Self { versioned: true, ..self }
    }

    pub(super) fn problems(self, problems: &'static [(u16, &'static str)]) -> Self {
        Self { problems, ..self }
    }

    /// What it takes to be allowed to call it, by case.
    pub fn needs(&self) -> &'static [Need] {
        needs(self.id)
    }

    /// Whether anybody may call it.
    pub fn is_open(&self) -> bool {
        matches!(self.needs(), [Need { place: Place::Open, .. }])
    }

    /// Whether it asks for a change.
    pub fn changes(&self) -> bool {
        self.method != "GET"
    }

    /// The parts of its path that the caller fills in.
    pub fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}
