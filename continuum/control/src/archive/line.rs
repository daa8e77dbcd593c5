//! One record as a line of text, and what a line must be to follow another.
//!
//! A line is checked as bytes: its hash is taken over exactly what stands there, so that there is no
//! byte whose edit a reader's tolerance would hide, and a record with fields that only a newer version
//! knows verifies all the same.

use continuum_control_api::rest::{AuditHead, AuditRecord};
use sha2::{Digest, Sha256};

use crate::state::audit::ORIGIN;

/// What stands before the hash, which is the last field.
const BEFORE_HASH: &[u8] = br#","hash":""#;
const AFTER_HASH: &[u8] = br#""}"#;
const HASH_BYTES: usize = 64;

/// A record as it is written, without the line's end.
pub fn of(record: &AuditRecord) -> Vec<u8> {
    serde_json::to_vec(record).expect("audit records are plain data")
}

/// Reads a line whose content has the hash that it names.
pub fn read(line: &[u8]) -> Result<AuditRecord, String> {
    let changed = || "was changed: its content does not match its hash".to_owned();
    let rest = line.strip_suffix(AFTER_HASH).ok_or_else(changed)?;
    let cut = rest.len().checked_sub(HASH_BYTES).ok_or_else(changed)?;
    let (before, hash) = rest.split_at_checked(cut).ok_or_else(changed)?;
    if !before.ends_with(BEFORE_HASH) {
        return Err(changed());
    }
    let digest = Sha256::new().chain_update(before).chain_update(AFTER_HASH).finalize();
    let written = digest.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    if !written.eq(hash.iter().copied()) {
        return Err(changed());
    }
    serde_json::from_slice(line)
        .map_err(|error| format!("is written by a version that this one does not know: {error}"))
}

fn digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0' + value,
        _ => b'a' + value - 10,
    }
}

/// What is wrong with a chain, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Position of the first record that is wrong or missing.
    pub wrong: u64,
    /// For people, with the position.
    pub problem: String,
}

/// Walks a chain line by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Position of the record that was read last.
    index: u64,
    /// Its hash; absent where it is not known, after records that are not here.
    hash: Option<String>,
}

impl Default for Walk {
    /// From the very first record on.
    fn default() -> Self {
        Self { index: 0, hash: Some(ORIGIN.to_owned()) }
    }
}

impl Walk {
    /// From the record after a known one.
    pub fn after(head: &AuditHead) -> Self {
        Self { index: head.index, hash: Some(head.hash.clone()) }
    }

    /// From the record after one of which nothing else is known.
    pub fn after_unknown(index: u64) -> Self {
        Self { index, hash: None }
    }

    /// Position of the record that was read last.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The record that was read last.
    pub fn head(&self) -> Option<AuditHead> {
        Some(AuditHead { index: self.index, hash: self.hash.clone()? })
    }

    /// The next line.
    pub fn step(&mut self, line: &[u8]) -> Result<AuditRecord, Fault> {
        let expected = self.index + 1;
        let fault =
            |what: String| Fault { wrong: expected, problem: format!("record {expected} {what}") };
        let record = read(line).map_err(fault)?;
        if record.index != expected {
            let text = format!("is not in its place: record {} stands there", record.index);
            return Err(fault(text));
        }
        if self.hash.as_ref().is_some_and(|hash| *hash != record.previous_hash) {
            return Err(fault("does not name the hash of the record before it".into()));
        }
        *self = Self { index: record.index, hash: Some(record.hash.clone()) };
        Ok(record)
    }
}
