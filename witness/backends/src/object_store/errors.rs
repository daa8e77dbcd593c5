//! What an object store's refusals mean for a caller that must know whether a change took effect.

use std::error::Error;

use continuum_witness::StoreError;

use crate::causes::{root, sources};
use crate::http::never_connected;

/// What the store's own error says of a change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The condition did not hold, or another change was under way. Not carried out.
    Refused(String),
    /// There is no such object.
    Absent,
    /// Anything else.
    Error(StoreError),
}

/// Sorts an error. Only what certainly was not carried out may be said to be so; what is not
/// recognised is unanswered.
pub(super) fn failure(error: &object_store::Error) -> Failure {
    use object_store::Error as Store;
    let text = describe(error);
    if let Some(missing) = missing_bucket(error) {
        return Failure::Error(StoreError::Misconfigured(missing));
    }
    match error {
        Store::AlreadyExists { .. } | Store::Precondition { .. } => Failure::Refused(text),
        Store::NotFound { .. } => Failure::Absent,
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => {
            Failure::Error(StoreError::Unauthorised(text))
        }
        Store::NotSupported { .. }
        | Store::NotImplemented { .. }
        | Store::InvalidPath { .. }
        | Store::UnknownConfigurationKey { .. } => Failure::Error(StoreError::Misconfigured(text)),
        _ => Failure::Error(other(error, text)),
    }
}

fn other(error: &(dyn Error + 'static), text: String) -> StoreError {
    if never_connected(error) {
        return StoreError::NotSent(text);
    }
    match status(error) {
        // The crate keeps no status of these.
        None if text.starts_with("Received redirect") => StoreError::Misconfigured(text),
        // Refused because of how much was asked, before anything was done.
        Some(429) => StoreError::NotSent(text),
        // Credentials are fetched before a change is sent, and their fetch may be refused so.
        Some(401 | 403) => StoreError::Unauthorised(text),
        // A request that timed out on the way may have arrived.
        Some(408) | None => StoreError::Unanswered(text),
        // Another host, or a request that this host does not understand.
        Some(300..=499) => StoreError::Misconfigured(text),
        Some(_) => StoreError::Unanswered(text),
    }
}

/// The HTTP status in the error's chain. The crate names it in text only, at the start of the
/// innermost cause.
fn status(error: &(dyn Error + 'static)) -> Option<u16> {
    let texts = sources(error).map(ToString::to_string).collect::<Vec<_>>();
    let (_, rest) = texts.last()?.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

fn missing_bucket(error: &object_store::Error) -> Option<String> {
    let text = root(error);
    // As S3, R2 and Google name it, and as Azure does.
    let code = code(&text).filter(|code| ["NoSuchBucket", "ContainerNotFound"].contains(code))?;
    Some(format!("there is no such bucket or container ({code})"))
}

/// The service's own name for what went wrong, in the body of its answer.
fn code(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code)
}

/// The error without URLs, which may carry a signature: the status and the service's own code.
fn describe(error: &object_store::Error) -> String {
    let text = root(error);
    let Some(status) = status(error) else {
        return text.chars().take(200).collect();
    };
    match code(&text) {
        Some(code) => format!("status {status}, {}", code.chars().take(60).collect::<String>()),
        None => format!("status {status}"),
    }
}
