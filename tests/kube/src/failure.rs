//! What the server answers when it refuses: a `Status` object, as the real one words it.

use serde_json::{Value, json};

use crate::kinds::Resource;

/// A refused request.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The HTTP status.
    pub code: u16,
    reason: &'static str,
    message: String,
    details: Option<Value>,
    /// Seconds for the header that tells a client when to come back.
    pub retry_after: Option<u32>,
    /// Answered by a line of text alone.
    pub plain: bool,
}

/// One reason why an object is invalid or a field is somebody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The stable word, such as `FieldValueInvalid`.
    pub reason: &'static str,
    /// For a person.
    pub message: String,
    /// The field's path.
    pub field: String,
}

impl Failure {
    /// A refusal without details.
    #[must_use]
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            retry_after: None,
            plain: false,
        }
    }

    /// The request is not understood.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// Nothing is served at this path: the only refusal that is no `Status`.
    #[must_use]
    pub fn no_such_path() -> Self {
        let mut failure = Self::new(404, "NotFound", "404 page not found");
        failure.plain = true;
        failure
    }

    /// The server is not well; what happened to the change is not known to the client.
    #[must_use]
    pub fn server(code: u16) -> Self {
        match code {
            429 => {
                let mut failure =
                    Self::new(429, "TooManyRequests", "too many requests, please try again later");
                failure.retry_after = Some(1);
                failure
            }
            503 => Self::new(
                503,
                "ServiceUnavailable",
                "the server is currently unable to handle the request",
            ),
            504 => {
                Self::new(504, "Timeout", "request did not complete within the allotted timeout")
            }
            _ => Self::new(code, "InternalError", "Internal error occurred: injected by the test"),
        }
    }

    /// No object of that name.
    #[must_use]
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Self::new(404, "NotFound", message).about(resource, name)
    }

    /// An object of that name is there.
    #[must_use]
    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message).about(resource, name)
    }

    /// The object is no longer what the client took it for.
    #[must_use]
    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.qualified());
        Self::new(409, "Conflict", message).about(resource, name)
    }

    /// Fields are somebody else's.
    #[must_use]
    pub fn apply_conflict(message: String, causes: &[Cause]) -> Self {
        let mut failure = Self::new(409, "Conflict", message);
        failure.details = Some(json!({ "causes": causes_json(causes) }));
        failure
    }

    /// The object breaks its schema or its rules.
    #[must_use]
    pub fn invalid(resource: &Resource, name: &str, causes: &[Cause]) -> Self {
        let listed: Vec<String> =
            causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let listed = match listed.as_slice() {
            [one] => one.clone(),
            more => format!("[{}]", more.join(", ")),
        };
        let kind = match resource.group.as_str() {
            "" => resource.kind.clone(),
            group => format!("{}.{group}", resource.kind),
        };
        let mut failure =
            Self::new(422, "Invalid", format!("{kind} \"{name}\" is invalid: {listed}"));
        let mut details = json!({ "name": name, "kind": resource.kind });
        if !resource.group.is_empty() {
            details["group"] = json!(resource.group);
        }
        details["causes"] = causes_json(causes);
        failure.details = Some(details);
        failure
    }

    /// Says that it was a webhook that refused.
    #[must_use]
    pub fn denied_by(mut self, webhook: &str) -> Self {
        self.message =
            format!("admission webhook \"{webhook}\" denied the request: {}", self.message);
        self
    }

    /// A body of a type that the resource does not take.
    #[must_use]
    pub fn media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// The version asked for lies before what is remembered.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// Names the object in the details.
    #[must_use]
    pub fn about(mut self, resource: &Resource, name: &str) -> Self {
        let mut details = json!({ "name": name, "kind": resource.plural });
        if !resource.group.is_empty() {
            details["group"] = json!(resource.group);
        }
        self.details = Some(details);
        self
    }

    /// For a person.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The `Status` object.
    #[must_use]
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        });
        let mut details = self.details.clone();
        if let Some(seconds) = self.retry_after {
            details.get_or_insert_with(|| json!({}))["retryAfterSeconds"] = json!(seconds);
        }
        if let Some(details) = details {
            status["details"] = details;
        }
        status
    }
}

fn causes_json(causes: &[Cause]) -> Value {
    causes
        .iter()
        .map(|cause| json!({ "reason": cause.reason, "message": cause.message, "field": cause.field }))
        .collect()
}
