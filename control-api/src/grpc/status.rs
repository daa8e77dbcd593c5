//! Problem details as a gRPC status: the code stays in its details.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::problem::{ApiError, Problem};

/// The domain of our codes in `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "continuum";

/// Which gRPC code says the same as an HTTP status and a code of ours.
///
/// `UNAVAILABLE` is what clients repeat without being told: it stands only where nothing was done.
fn code(problem: &Problem) -> Code {
    match (problem.status, problem.code.as_str()) {
        (_, "outcome-unknown") => Code::Unknown,
        (400 | 413 | 422, _) => Code::InvalidArgument,
        (401, _) => Code::Unauthenticated,
        (403, _) => Code::PermissionDenied,
        (404, _) => Code::NotFound,
        (405, _) => Code::Unimplemented,
        (409 | 412, _) => Code::FailedPrecondition,
        (410, _) => Code::OutOfRange,
        (429, _) => Code::ResourceExhausted,
        (503, _) => Code::Unavailable,
        (504, _) => Code::DeadlineExceeded,
        _ => Code::Internal,
    }
}

/// The error as a status. `ErrorInfo` has the code as its reason, and whether the same call may
/// succeed later; each further reason is a `DebugInfo` entry.
pub(super) fn status(error: &ApiError) -> Status {
    let problem = &error.problem;
    let about = [
        ("retryable".to_owned(), problem.retryable.to_string()),
        ("status".to_owned(), problem.status.to_string()),
    ];
    let mut details = ErrorDetails::with_error_info(problem.code.clone(), DOMAIN, about);
    if !problem.reasons.is_empty() {
        details.set_debug_info(problem.reasons.clone(), String::new());
    }
    Status::with_error_details(code(problem), problem.detail.clone(), details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_and_the_reasons_stay_readable() {
        let reasons = vec!["hel is away".to_owned(), "ash lags".to_owned()];
        let error = ApiError::new(409, "move-refused", "refused").with_reasons(reasons.clone());
        let status = status(&error);
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "refused"));
        let details = status.get_error_details();
        let info = details.error_info().expect("an ErrorInfo");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("move-refused", DOMAIN));
        assert_eq!(info.metadata["retryable"], "false");
        assert_eq!(details.debug_info().map(|info| &info.stack_entries), Some(&reasons));
    }

    #[test]
    fn what_may_have_been_done_is_not_repeated_by_libraries() {
        let of = |error: ApiError| status(&error).code();
        assert_eq!(of(ApiError::retryable(503, "no-leader", "")), Code::Unavailable);
        assert_eq!(of(ApiError::retryable(503, "outcome-unknown", "")), Code::Unknown);
        assert_eq!(of(ApiError::retryable(504, "timeout", "")), Code::DeadlineExceeded);
    }
}
