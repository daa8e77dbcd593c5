//! What a program of another version may have written: a part that is not understood takes nothing
//! else with it, and is kept as it came.
//!
//! Unknown *fields* of a message are ignored, so a new field must be one that may be. What must not be
//! ignored is a new kind of message or of fact. A spec is written by people and is understood as a
//! whole or not at all: a field that was asked for and is passed over would be a promise broken
//! silently.

use std::collections::BTreeMap;

use continuum_domain::{Epoch, OperationId, PairId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::link::{Fact, JournalEntry};

/// A part of a message that is understood, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard<T> {
    /// As this version knows it.
    Understood(T),
    /// Of another version.
    Other(Other),
}

/// What is not understood. It is written on as it came, so that nothing is lost on its way to a
/// reader that knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// As it came.
    pub value: Value,
    /// Which field or kind is not understood.
    pub problem: String,
}

impl<T> Heard<T> {
    /// The part, if it is understood.
    pub fn understood(&self) -> Option<&T> {
        match self {
            Heard::Understood(part) => Some(part),
            Heard::Other(_) => None,
        }
    }
}

impl<T> From<T> for Heard<T> {
    fn from(part: T) -> Self {
        Heard::Understood(part)
    }
}

impl<T: Serialize> Serialize for Heard<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Heard::Understood(part) => part.serialize(serializer),
            Heard::Other(other) => other.value.serialize(serializer),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Heard<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(match serde_path_to_error::deserialize(&value) {
            Ok(part) => Heard::Understood(part),
            Err(error) => Heard::Other(Other { problem: error.to_string(), value }),
        })
    }
}

/// Reads a map by pair; a pair whose very name is not understood can not run here, and takes no other
/// one with it.
pub fn by_pair<'de, D, T>(deserializer: D) -> Result<BTreeMap<PairId, T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let all = BTreeMap::<String, T>::deserialize(deserializer)?;
    let known = all.into_iter().filter_map(|(name, part)| match PairId::new(name) {
        Ok(pair) => Some((pair, part)),
        Err(error) => {
            tracing::warn!(code = NOT_UNDERSTOOD, %error, "the name of a pair is not understood");
            None
        }
    });
    Ok(known.collect())
}

/// Reads reports by pair; what is not understood was not reported (I7).
pub fn understood_by_pair<'de, D, T>(deserializer: D) -> Result<BTreeMap<PairId, T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let all: BTreeMap<PairId, Heard<T>> = by_pair(deserializer)?;
    let known = all.into_iter().filter_map(|(pair, part)| match part {
        Heard::Understood(part) => Some((pair, part)),
        Heard::Other(Other { problem, .. }) => {
            tracing::warn!(code = NOT_UNDERSTOOD, %pair, problem, "a report is not understood");
            None
        }
    });
    Ok(known.collect())
}

/// Reads reports by name that need not be there; what is not understood was not reported (I7).
pub fn understood_by_name<'de, D, T>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, T>>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let all = match Heard::<Option<BTreeMap<String, Heard<T>>>>::deserialize(deserializer)? {
        Heard::Understood(Some(all)) => all,
        Heard::Understood(None) => return Ok(None),
        Heard::Other(Other { problem, .. }) => {
            tracing::warn!(code = NOT_UNDERSTOOD, problem, "a report is not understood");
            return Ok(None);
        }
    };
    let known = all.into_iter().filter_map(|(name, part)| match part {
        Heard::Understood(part) => Some((name, part)),
        Heard::Other(Other { problem, .. }) => {
            tracing::warn!(code = NOT_UNDERSTOOD, name, problem, "a report is not understood");
            None
        }
    });
    Ok(Some(known.collect()))
}

/// Code of the log lines about what another version said and this one does not understand.
pub const NOT_UNDERSTOOD: &str = "not-understood";

/// What every entry of a journal has, in every version.
#[derive(Deserialize)]
struct Envelope {
    seq: u64,
    at_ms: i64,
    pair: PairId,
    epoch: Epoch,
    #[serde(default)]
    operation: Option<OperationId>,
    fact: Value,
}

impl Heard<JournalEntry> {
    /// Its sequence number, by which it is sent, taken and forgotten.
    pub fn seq(&self) -> Option<u64> {
        match self {
            Heard::Understood(entry) => Some(entry.seq),
            Heard::Other(other) => other.value.get("seq")?.as_u64(),
        }
    }

    /// The entry for the record; a fact that is not understood stands in it as it came. The error is
    /// an entry that does not even say where it belongs.
    pub fn into_entry(self) -> Result<JournalEntry, Other> {
        let Other { value, problem } = match self {
            Heard::Understood(entry) => return Ok(entry),
            Heard::Other(other) => other,
        };
        let envelope: Envelope = match serde_path_to_error::deserialize(&value) {
            Ok(envelope) => envelope,
            Err(error) => return Err(Other { problem: error.to_string(), value }),
        };
        let Envelope { seq, at_ms, pair, epoch, operation, fact } = envelope;
        let kind = fact.get("fact").and_then(Value::as_str).unwrap_or("unknown").to_owned();
        let fact = Fact::NotUnderstood { kind, problem, text: fact.to_string() };
        Ok(JournalEntry { seq, at_ms, pair, epoch, operation, fact })
    }
}

#[cfg(test)]
#[path = "heard_tests.rs"]
mod tests;
