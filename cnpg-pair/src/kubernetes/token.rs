//! The demotion token: what the shutdown of a demoted Cluster left, and whether another Cluster
//! stands exactly there.
//!
//! The operator checks it too, but where it finds the target ahead it gives the Cluster up as
//! unrecoverable. Here it is looked at before it is used, and a token that cannot be right is an
//! error and not a promotion.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use continuum_domain::{Lsn, TimelineId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::wal;

/// Longest text that is looked at; a real one has about 400 bytes.
const TEXT_BYTES_MAX: usize = 4096;
/// A shutdown checkpoint's record with the headers of the pages it may cross. Whoever has replayed it
/// stands past its start by no more than this.
const CHECKPOINT_BYTES_MAX: u64 = 200;
/// Where PostgreSQL's WAL begins; nothing is below.
const WAL_START: Lsn = Lsn(1024 * 1024);

/// Sizes a WAL segment can have: powers of two, 1 MiB to 1 GiB.
const SEGMENT_BYTES_MIN: u64 = 1 << 20;
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// The six fields on the wire, all text.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    #[serde(rename = "latestCheckpointTimelineID")]
    timeline: String,
    redo_wal_file: String,
    database_system_identifier: String,
    #[serde(rename = "latestCheckpointREDOLocation")]
    redo: String,
    time_of_latest_checkpoint: String,
    operator_version: String,
}

/// A demotion token, decoded and sound in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemotionToken {
    /// The timeline the demoted Cluster stopped on.
    pub timeline: TimelineId,
    /// The file that holds the shutdown checkpoint; the operator archives it as partial.
    pub redo_wal_file: String,
    /// The database system.
    pub system_id: u64,
    /// Where the shutdown checkpoint is.
    pub redo: Lsn,
    /// When it was written, as `pg_controldata` has it.
    pub checkpoint_time: String,
    /// Who made the token.
    pub operator_version: String,
}

/// A text that is no demotion token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Too long, or empty.
    #[error("it has {0} bytes: 1 to {TEXT_BYTES_MAX} are accepted")]
    Length(usize),
    /// Not base64.
    #[error("it is not base64: {0}")]
    Encoding(String),
    /// Not the JSON object with the six fields.
    #[error("it is not the JSON object with the six fields: {0}")]
    Fields(String),
    /// A field cannot be what it says.
    #[error("{field} {found:?}: {expected}")]
    Field {
        /// Its name on the wire.
        field: &'static str,
        /// What stands there.
        found: String,
        /// What is accepted.
        expected: String,
    },
    /// The size of WAL segments it was looked at with is none.
    #[error("{0} bytes is no size of a WAL segment")]
    Segment(u64),
}

/// What is remembered of a token that was used: enough to know it again, not enough to use it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenHash(String);

impl TokenHash {
    /// Of a token as it stands in the status.
    pub fn of(text: &str) -> Self {
        let digest = Sha256::digest(text.trim().as_bytes());
        Self(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether this is a token that is not among `known`: those that were used, and the one that stood
/// in the status before the demotion was asked for. An older one stays there until the Cluster has
/// been a primary again.
pub fn is_new(text: &str, known: &[TokenHash]) -> bool {
    !text.trim().is_empty() && !known.contains(&TokenHash::of(text))
}

/// Where a replica Cluster stands, by its own PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// `pg_control_system()`.
    pub system_id: u64,
    /// The timeline it receives and replays.
    pub timeline: TimelineId,
    /// `pg_last_wal_replay_lsn()`.
    pub replayed: Lsn,
    /// `pg_last_wal_receive_lsn()`, which is below `replayed` where the archive was read.
    pub received: Option<Lsn>,
    /// REDO of its own last restart point, by `pg_control_checkpoint()`.
    pub checkpoint_redo: Option<Lsn>,
}

/// How a target stands to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It has replayed the shutdown checkpoint and nothing after it.
    Exact,
    /// It has not replayed the shutdown checkpoint yet; `missing` bytes at least.
    Behind {
        /// Bytes of WAL.
        missing: u64,
    },
    /// It has WAL that the demoted Cluster did not have when it stopped.
    Ahead {
        /// Bytes of WAL.
        beyond: u64,
    },
    /// It is on another timeline.
    OtherTimeline,
    /// It is another database.
    OtherSystem,
}

impl Fit {
    /// Whether waiting can make it fit.
    pub fn may_come(self) -> bool {
        matches!(self, Fit::Behind { .. })
    }
}

impl DemotionToken {
    /// Reads a token. `segment_bytes` is the size of the demoted Cluster's WAL segments: with it the
    /// name of the file must be the one that holds the checkpoint.
    pub fn decode(text: &str, segment_bytes: u64) -> Result<Self, TokenError> {
        let sizes = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX;
        if !segment_bytes.is_power_of_two() || !sizes.contains(&segment_bytes) {
            return Err(TokenError::Segment(segment_bytes));
        }
        let text = text.trim();
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            return Err(TokenError::Length(text.len()));
        }
        let bytes =
            STANDARD.decode(text).map_err(|error| TokenError::Encoding(error.to_string()))?;
        let wire: Wire = serde_json::from_slice(&bytes)
            .map_err(|error| TokenError::Fields(error.to_string()))?;
        let timeline = timeline(&wire)?;
        let redo = redo(&wire)?;
        let file = wal::segment_name(timeline, redo, segment_bytes);
        if wire.redo_wal_file != file {
            return Err(TokenError::Field {
                field: "redoWalFile",
                found: wire.redo_wal_file,
                expected: format!("{redo} on timeline {timeline} lies in {file}"),
            });
        }
        filled("timeOfLatestCheckpoint", &wire.time_of_latest_checkpoint)?;
        filled("operatorVersion", &wire.operator_version)?;
        let system_id = system_id(&wire)?;
        Ok(Self {
            timeline,
            redo_wal_file: wire.redo_wal_file,
            system_id,
            redo,
            checkpoint_time: wire.time_of_latest_checkpoint,
            operator_version: wire.operator_version,
        })
    }

    /// Writes it as the operator does.
    pub fn encode(&self) -> String {
        let wire = Wire {
            timeline: self.timeline.to_string(),
            redo_wal_file: self.redo_wal_file.clone(),
            database_system_identifier: self.system_id.to_string(),
            redo: self.redo.to_string(),
            time_of_latest_checkpoint: self.checkpoint_time.clone(),
            operator_version: self.operator_version.clone(),
        };
        let json = serde_json::to_vec(&wire).unwrap_or_default();
        STANDARD.encode(json)
    }

    /// Whether it can be of a stop after this moment of the primary that was stopped: its database system,
    /// its timeline, and how far its WAL was flushed then. One that is left from an earlier stop is not.
    pub fn is_of_a_stop_since(&self, (system, timeline, flushed): (&str, TimelineId, Lsn)) -> bool {
        self.system_id.to_string() == system && self.timeline == timeline && self.redo >= flushed
    }

    /// How `target` stands to it. What is ahead is found by its restart point, by what it has
    /// replayed and by what it has received: each of them may be the only one that shows it.
    pub fn fits(&self, target: &Position) -> Fit {
        if target.system_id != self.system_id {
            return Fit::OtherSystem;
        }
        if target.timeline != self.timeline {
            return Fit::OtherTimeline;
        }
        if let Some(redo) = target.checkpoint_redo.filter(|redo| *redo > self.redo) {
            return Fit::Ahead { beyond: redo.bytes_since(self.redo) };
        }
        let furthest = target.received.unwrap_or(target.replayed).max(target.replayed);
        let end_at_most = Lsn(self.redo.0.saturating_add(CHECKPOINT_BYTES_MAX));
        if furthest > end_at_most {
            return Fit::Ahead { beyond: furthest.bytes_since(end_at_most) };
        }
        // The record starts at REDO: replayed up to there is everything but the record.
        if target.replayed <= self.redo {
            return Fit::Behind { missing: self.redo.bytes_since(target.replayed).max(1) };
        }
        Fit::Exact
    }
}

fn wrong(field: &'static str, found: &str, expected: &str) -> TokenError {
    TokenError::Field { field, found: found.into(), expected: expected.into() }
}

fn filled(field: &'static str, text: &str) -> Result<(), TokenError> {
    if text.trim().is_empty() { Err(wrong(field, text, "must not be empty")) } else { Ok(()) }
}

/// Digits only: `parse` alone takes a sign.
fn decimal<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn timeline(wire: &Wire) -> Result<TimelineId, TokenError> {
    let number: Option<u32> = decimal(&wire.timeline);
    match number.filter(|number| *number > 0) {
        Some(number) => Ok(TimelineId(number.into())),
        None => {
            Err(wrong("latestCheckpointTimelineID", &wire.timeline, "a number from 1 is accepted"))
        }
    }
}

fn redo(wire: &Wire) -> Result<Lsn, TokenError> {
    let field = "latestCheckpointREDOLocation";
    let text = &wire.redo;
    let lsn: Lsn =
        text.parse().map_err(|_| wrong(field, text, "two hexadecimal numbers joined by '/'"))?;
    if text.contains('+') || lsn < WAL_START {
        return Err(wrong(field, text, "no checkpoint lies there"));
    }
    Ok(lsn)
}

fn system_id(wire: &Wire) -> Result<u64, TokenError> {
    let text = &wire.database_system_identifier;
    let number: Option<u64> = decimal(text);
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| wrong("databaseSystemIdentifier", text, "a number from 1 is accepted"))
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
