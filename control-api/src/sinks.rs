//! What the API says of sinks: where audit records are sent to.

use continuum_domain::PairId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a sink stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SinkStanding {
    /// It takes what it is sent.
    Delivering,
    /// It could not be reached, or did not take a record, and is tried again.
    Retrying,
    /// Nobody has tried yet.
    Unknown,
}

/// One sink. `GET /sinks`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SinkView {
    /// Its name.
    pub name: String,
    /// `nats`, `webhook`, `slack`, `pagerduty` or `smtp`.
    pub kind: String,
    /// How it stands, as the leader sees it.
    pub standing: SinkStanding,
    /// For how long it could not be sent anything, milliseconds; absent while it can be.
    pub retrying_ms: Option<u64>,
    /// Attempts in a row that failed.
    pub failures: u32,
    /// Position of the newest record that has an outcome; absent before the first.
    pub position: Option<u64>,
    /// Records that wait; absent when it is not known.
    pub lag_records: Option<u64>,
    /// For how long the oldest of them waits, milliseconds; 0 when none does, absent when it is not known.
    pub lag_ms: Option<u64>,
    /// Records it has taken.
    pub delivered: u64,
    /// Records it refused that are listed.
    pub dead_letters: u64,
    /// Records it refused that are not listed any more.
    pub dropped: u64,
    /// Records that were nowhere any more when their turn came.
    pub lost: u64,
    /// What went wrong last; also when it works again.
    pub last_error: Option<String>,
}

/// A record that a sink refused for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    /// The record's position.
    pub index: u64,
    /// When it was refused, milliseconds since 1970.
    pub at_ms: i64,
    /// The record's action.
    pub action: String,
    /// The record's pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<PairId>,
    /// What the sink said.
    pub why: String,
}

/// What a sink said to a test. `POST /sinks/{name}/test`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SinkTested {
    /// The event's id.
    pub id: String,
    /// Whether it was taken.
    pub taken: bool,
    /// What the sink said otherwise.
    pub said: Option<String>,
}

/// What came of dead letters that were sent again. `POST /sinks/{name}/dead-letters/retry`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SinkRetried {
    /// Taken by now.
    pub taken: u64,
    /// Refused again.
    pub refused: u64,
    /// Not tried, because time was over, the sink could not be reached, or the record is gone.
    pub left: u64,
    /// What the sink said last.
    pub said: Option<String>,
}
