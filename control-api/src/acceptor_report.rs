//! What an agent says of the acceptors of the witness's quorum.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An acceptor of the witness's quorum as one agent sees it. Ages are in milliseconds at the time of
/// sending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AcceptorReport {
    /// Since it last answered as an acceptor of this quorum; absent when it never did.
    pub answered_age_ms: Option<u64>,
    /// Requests in a row, since then, that came to nothing.
    pub failures: u64,
    /// Age and kind of the last of them: `unanswered`, `not-sent`, `unauthorised`, `misconfigured`.
    pub last_error: Option<(u64, String)>,
    /// Half of the answers of the last ten to twenty minutes took no longer, in microseconds
    /// (rounded up by at most a quarter); absent without any.
    pub p50_us: Option<u64>,
    /// 99 of 100 took no longer.
    pub p99_us: Option<u64>,
}

/// Whether an acceptor can be counted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptorStanding {
    /// It answers.
    Answers,
    /// It does not.
    Silent,
    /// It was not asked, or not lately.
    Unknown,
}

/// An agent renews its session more often; an acceptor that did not answer for so long was not asked.
const ANSWER_AGE_MS_MAX: u64 = 60_000;
/// A single request may be lost on the way.
const FAILURES_MIN: u64 = 2;

impl AcceptorReport {
    /// How it stands, by a report that is `report_age_ms` old.
    pub fn standing(&self, report_age_ms: u64) -> AcceptorStanding {
        let age = self.answered_age_ms.map(|age| age.saturating_add(report_age_ms));
        match age {
            _ if self.failures >= FAILURES_MIN => AcceptorStanding::Silent,
            Some(age) if age <= ANSWER_AGE_MS_MAX => AcceptorStanding::Answers,
            _ => AcceptorStanding::Unknown,
        }
    }
}
