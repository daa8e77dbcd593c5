//! Error answers: problem details (RFC 9457) with a code that stays.

use std::fmt::Write as _;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Media type of an error answer.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What a code says, wherever it is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The code.
    pub code: &'static str,
    /// In a few words.
    pub title: &'static str,
    /// What it means for the data, and what to do next.
    pub advice: &'static str,
}

const fn kind(code: &'static str, title: &'static str, advice: &'static str) -> Kind {
    Kind { code, title, advice }
}

/// Every code there is. None is ever given another meaning.
pub const KINDS: &[Kind] = &[
    kind(
        "approval-not-found",
        "There is no such request",
        "Nothing was changed. Requests are kept for a day; what became of one is in the audit chain.",
    ),
    kind(
        "approval-settled",
        "The request is settled",
        "Nothing was changed. Look at its state; one that is over must be asked for again.",
    ),
    kind(
        "body-refused",
        "The body does not fit",
        "Nothing was changed. The detail names the field; the schema is in the reference.",
    ),
    kind(
        "body-unreadable",
        "The body could not be read",
        "Nothing was changed. Send less, or send it again.",
    ),
    kind(
        "break-glass-refused",
        "The glass was not broken",
        "Nothing was changed. It takes a reason, and lasts an hour at most.",
    ),
    kind(
        "condition-refused",
        "The condition does not fit",
        "Nothing was changed. If-Match takes an ETag of ours or *, If-None-Match takes *.",
    ),
    kind(
        "epoch-mismatch",
        "The pair has moved on",
        "Nothing was changed. Look at the pair, and ask again with its epoch.",
    ),
    kind(
        "forbidden",
        "Not allowed",
        "Nothing was changed. Ask somebody whose certificate or role allows it.",
    ),
    kind("grant-not-found", "There is no such grant", "Nothing was changed."),
    kind("grant-refused", "The grant is refused", "Nothing was changed. The detail says why."),
    kind(
        "idempotency-key-refused",
        "The key does not fit",
        "Nothing was changed. A key has 1 to 128 visible ASCII characters, and the request has a body to be repeated.",
    ),
    kind(
        "idempotency-key-reused",
        "The key was used for another request",
        "Nothing was changed. Draw a new Idempotency-Key for a new request.",
    ),
    kind(
        "internal",
        "A fault of the control node",
        "Whether the request took effect is in the detail. Please report it.",
    ),
    kind(
        "move-refused",
        "The operation is refused",
        "Nothing was touched. The reasons say why; a dry run tells it for every candidate.",
    ),
    kind(
        "no-leader",
        "The control core has no leader in reach",
        "Writes to PostgreSQL go on. Ask again, or bring a majority of the control nodes back.",
    ),
    kind(
        "no-personal-key",
        "No key for pseudonyms is configured",
        "Nothing was exported. Set audit.personal_key_file on the node, or export without hash_personal.",
    ),
    kind(
        "no-such-method",
        "The route does not take this method",
        "Nothing was changed. The reference lists what it takes.",
    ),
    kind(
        "no-such-route",
        "There is no such route",
        "Nothing was changed. The reference lists the routes.",
    ),
    kind(
        "not-a-member",
        "The region is no member of the pair",
        "Nothing was changed. The pair lists its members.",
    ),
    kind(
        "nothing-to-approve",
        "The operation waits for no approval",
        "Nothing was changed. Look at its state.",
    ),
    kind(
        "operation-not-found",
        "There is no such operation",
        "Nothing was changed. Ended ones are kept for a time, then in the audit chain alone.",
    ),
    kind(
        "operation-under-way",
        "Another operation is under way on the pair",
        "Nothing was changed. Wait until it ends, or cancel it.",
    ),
    kind(
        "outcome-unknown",
        "Whether it took effect is not known",
        "Writes to PostgreSQL go on. Look before repeating it, or repeat it with the same Idempotency-Key.",
    ),
    kind("pair-not-found", "There is no such pair", "Nothing was changed."),
    kind(
        "path-refused",
        "The path does not fit",
        "Nothing was changed. The detail names the part.",
    ),
    kind(
        "pause-refused",
        "The pause is refused",
        "Nothing was changed. A pause needs a reason and an end.",
    ),
    kind(
        "precondition-failed",
        "The spec is not the one that If-Match names",
        "Nothing was changed. Read the pair, look at what changed, and send it again with its ETag.",
    ),
    kind(
        "provider-away",
        "The identity provider does not answer",
        "Nothing was changed. Ask again, or call with a certificate or a token of ours.",
    ),
    kind(
        "query-refused",
        "The query does not fit",
        "Nothing was changed. The detail names the parameter.",
    ),
    kind(
        "rate-limited",
        "Too many requests",
        "Nothing was changed. Ask again after the time that Retry-After names.",
    ),
    kind(
        "reason-needed",
        "A reason is needed",
        "Nothing was changed. Say why; it is kept in the audit chain.",
    ),
    kind(
        "records-dropped",
        "Older records were dropped",
        "Read what is kept from the position in the detail on; a copy kept elsewhere has the rest.",
    ),
    kind(
        "refused",
        "The control core refused the change",
        "Nothing was changed. The detail says why.",
    ),
    kind("rule-not-found", "There is no such rule", "Nothing was changed."),
    kind("rule-refused", "The rule is refused", "Nothing was changed. The detail says why."),
    kind(
        "same-person",
        "It takes another person",
        "Nothing was changed. Ask somebody else to approve it.",
    ),
    kind(
        "sink-not-found",
        "There is no such sink",
        "Nothing was sent. GET /sinks lists those that the leader is configured with.",
    ),
    kind("spec-refused", "The spec is refused", "Nothing was changed. The detail names the field."),
    kind(
        "timeout",
        "No answer in time",
        "Whether the request took effect is not known. Look before repeating it.",
    ),
    kind("token-not-found", "There is no such token", "Nothing was changed."),
    kind("token-refused", "The token is refused", "Nothing was made. The detail says why."),
    kind(
        "token-told-once",
        "The token's secret was told already",
        "The token is there. If its secret was lost, revoke it and make another one.",
    ),
    kind(
        "too-late-to-cancel",
        "It can not be cancelled any more",
        "The operation goes on to its end. Look at it.",
    ),
    kind(
        "too-many-streams",
        "The node keeps enough streams open",
        "Ask another node, or close a stream.",
    ),
    kind(
        "unauthenticated",
        "Who asks is not known",
        "Nothing was changed. Call with a client certificate, or with a token that has not ended.",
    ),
    kind(
        "version-not-found",
        "The pair never had this version",
        "Nothing was changed. The pair's versions are listed.",
    ),
];

/// What is known of a code.
pub fn kind_of(code: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.code == code)
}

/// An error answer's body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Where the reference tells of the code.
    #[serde(rename = "type", default)]
    pub type_uri: String,
    /// The code in a few words.
    #[serde(default)]
    pub title: String,
    /// HTTP status.
    #[serde(default)]
    pub status: u16,
    /// What happened, what it means for the data, what to do next.
    pub detail: String,
    /// Stable code, for example `pair-not-found`.
    pub code: String,
    /// One line per reason, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
}

/// An error answer with its HTTP status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {}", problem.code, problem.detail)]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub problem: Box<Problem>,
}

impl ApiError {
    /// An error that repeating will not cure. `code` is one of [`KINDS`].
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        let kind = kind_of(code);
        debug_assert!(kind.is_some(), "{code} is not among the codes");
        let problem = Problem {
            type_uri: format!("{}/reference#{code}", crate::rest::API),
            title: kind.map_or_else(String::new, |kind| kind.title.to_owned()),
            status,
            detail: detail.into(),
            code: code.into(),
            reasons: Vec::new(),
            retryable: false,
        };
        Self { status, problem: Box::new(problem) }
    }

    /// An error that the same request may not meet later.
    pub fn retryable(status: u16, code: &str, detail: impl Into<String>) -> Self {
        let mut error = Self::new(status, code, detail);
        error.problem.retryable = true;
        error
    }

    /// The same with one line per reason.
    #[must_use]
    pub fn with_reasons(mut self, reasons: Vec<String>) -> Self {
        self.problem.reasons = reasons;
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.problem).expect("a problem is plain data");
        let json = [(header::CONTENT_TYPE, PROBLEM_JSON)];
        let mut response = (status, json, Body::from(body)).into_response();
        response.extensions_mut().insert(ErrorCode(self.problem.code));
        response
    }
}

/// The code of an error answer, found beside it by who tells of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorCode(pub String);

/// The codes as a list for people.
pub(crate) fn kinds_html() -> String {
    let mut text = String::from("<dl>\n");
    for Kind { code, title, advice } in KINDS {
        // Writing to a String cannot fail.
        let _infallible =
            writeln!(text, "<dt id=\"{code}\"><code>{code}</code> {title}</dt><dd>{advice}</dd>");
    }
    text + "</dl>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_once() {
        let codes: Vec<_> = KINDS.iter().map(|kind| kind.code).collect();
        let mut sorted = codes.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(codes, sorted);
    }

    #[test]
    fn a_problem_tells_where_its_code_is_explained() {
        let problem = ApiError::new(404, "pair-not-found", "there is no pair shop").problem;
        let json = serde_json::to_value(&problem).expect("plain data");
        assert_eq!(json["type"], "/api/v1/reference#pair-not-found");
        assert_eq!(
            (json["status"].as_u64(), &json["title"]),
            (Some(404), &"There is no such pair".into())
        );
    }
}
