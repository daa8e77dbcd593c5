//! The audit chain: every change of state leaves a record that names its predecessor's hash (I4).

use std::collections::VecDeque;
use std::fmt::Write as _;

use continuum_control_api::rest::{AuditHead, AuditOrigin, AuditRecord, AuditVerdict};
use continuum_domain::{Epoch, OperationId, PairId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Records kept on the nodes; of older ones the last hash stays.
pub const RECORDS_MAX: usize = 50_000;

/// The hash before the first record.
pub const ORIGIN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What an audit record says, before it gets its place in the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// What, for example `switchover.start`.
    pub action: String,
    /// On which pair.
    pub pair: Option<PairId>,
    /// Under which epoch.
    pub epoch: Option<Epoch>,
    /// Under which operation.
    pub operation: Option<OperationId>,
    /// Why.
    pub reason: String,
    /// State before, for people.
    pub before: String,
    /// State after, for people.
    pub after: String,
}

/// The chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditChain {
    /// Position and hash of the newest record that was dropped.
    anchor: Option<(u64, String)>,
    records: VecDeque<AuditRecord>,
    /// From where the command comes that is applied now; never kept beyond it.
    #[serde(skip)]
    origin: Option<AuditOrigin>,
}

impl AuditChain {
    /// The records that follow come from there.
    pub fn speaks(&mut self, origin: Option<AuditOrigin>) {
        self.origin = origin;
    }

    /// Appends a record.
    pub fn append(&mut self, at_ms: i64, actor: &str, line: Line) {
        let (index, previous_hash) = match (self.records.back(), &self.anchor) {
            (Some(last), _) => (last.index + 1, last.hash.clone()),
            (None, Some((index, hash))) => (index + 1, hash.clone()),
            (None, None) => (1, ORIGIN.to_owned()),
        };
        let mut record = AuditRecord {
            index,
            at_ms,
            actor: actor.to_owned(),
            action: line.action,
            pair: line.pair,
            epoch: line.epoch,
            operation: line.operation,
            reason: line.reason,
            before: line.before,
            after: line.after,
            origin: self.origin.clone(),
            previous_hash,
            hash: String::new(),
        };
        record.hash = record_hash(&record);
        self.records.push_back(record);
        while self.records.len() > RECORDS_MAX {
            if let Some(old) = self.records.pop_front() {
                self.anchor = Some((old.index, old.hash));
            }
        }
    }

    /// All records, oldest first.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &AuditRecord> {
        self.records.iter()
    }

    /// Records after a position, oldest first; an error with the first position that is kept where
    /// some of them were dropped.
    pub fn after(&self, after: u64) -> Result<impl Iterator<Item = &AuditRecord>, u64> {
        let first = self.records.front().map_or(after + 1, |record| record.index);
        if after + 1 < first {
            return Err(first);
        }
        let skipped = usize::try_from(after + 1 - first).unwrap_or(usize::MAX);
        Ok(self.records.range(skipped.min(self.records.len())..))
    }

    /// Position and hash of the newest record that was dropped, and of all that are kept.
    pub fn hashes(&self) -> impl Iterator<Item = (u64, &str)> {
        let dropped = self.anchor.iter().map(|(index, hash)| (*index, hash.as_str()));
        dropped.chain(self.records.iter().map(|record| (record.index, record.hash.as_str())))
    }

    /// Walks the chain: every record must hash to what it says, name its predecessor's hash and
    /// stand one position after it.
    pub fn verify(&self) -> AuditVerdict {
        let start = self.anchor.clone().unwrap_or_else(|| (0, ORIGIN.to_owned()));
        verify_records(start, self.records.iter())
    }
}

/// Verifies records that follow a known position and hash, such as an exported copy.
pub fn verify_records<'a>(
    (mut index, mut hash): (u64, String),
    records: impl Iterator<Item = &'a AuditRecord>,
) -> AuditVerdict {
    let mut verdict = AuditVerdict { intact: true, ..AuditVerdict::default() };
    for record in records {
        verdict.first.get_or_insert(record.index);
        verdict.records += 1;
        let problem = if record.index != index + 1 {
            Some(format!("record {} follows record {index}: records are missing", record.index))
        } else if record.previous_hash != hash {
            Some(format!("record {} does not name the hash of the one before it", record.index))
        } else if record_hash(record) != record.hash {
            Some(format!(
                "record {} was changed: its content does not match its hash",
                record.index
            ))
        } else {
            None
        };
        if problem.is_some() {
            let wrong = Some(record.index);
            return AuditVerdict { intact: false, problem, wrong, ..verdict };
        }
        (index, hash) = (record.index, record.hash.clone());
        verdict.head = Some(AuditHead { index, hash: hash.clone() });
    }
    verdict
}

/// SHA-256 over the record as JSON with an empty hash: field order is the type's, so every node
/// and every exported copy hashes alike.
fn record_hash(record: &AuditRecord) -> String {
    let bare = AuditRecord { hash: String::new(), ..record.clone() };
    let json = serde_json::to_vec(&bare).expect("audit records are plain data");
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(&json) {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> AuditChain {
        let mut chain = AuditChain::default();
        for step in 0..20 {
            let line = Line { action: format!("test.{step}"), ..Line::default() };
            chain.append(step, "operator/test", line);
        }
        chain
    }

    #[test]
    fn an_honest_chain_is_intact_and_an_empty_one_too() {
        let verdict = chain().verify();
        assert!(verdict.intact, "{verdict:?}");
        assert_eq!(verdict.records, 20);
        assert_eq!(verdict.head.as_ref().map(|head| head.index), Some(20));
        assert!(AuditChain::default().verify().intact);
    }

    #[test]
    fn every_planted_edit_is_found() {
        type Edit = fn(&mut AuditRecord);
        let edits: [Edit; 8] = [
            |record| record.actor = "operator/other".into(),
            |record| record.at_ms += 1,
            |record| record.reason = "another".into(),
            |record| record.after = "x".into(),
            |record| record.epoch = Some(Epoch(9)),
            |record| record.index += 1,
            |record| record.previous_hash = ORIGIN.replace('0', "1"),
            |record| {
                // A forger who also mends the record's own hash breaks the next link.
                record.action = "forged".into();
                record.hash = record_hash(record);
            },
        ];
        for (number, edit) in edits.iter().enumerate() {
            for place in 0..19 {
                let mut chain = chain();
                edit(&mut chain.records[place]);
                let verdict = chain.verify();
                assert!(!verdict.intact, "edit {number} at {place} was not found");
            }
        }
    }

    #[test]
    fn records_of_versions_without_an_origin_hash_as_they_did() {
        let mut chain = AuditChain::default();
        chain.append(7, "operator/alice", Line { action: "pause".into(), ..Line::default() });
        let old = concat!(
            r#"{"index":1,"at_ms":7,"actor":"operator/alice","action":"pause","pair":null,"#,
            r#""epoch":null,"operation":null,"reason":"","before":"","after":"","#,
            r#""previous_hash":"0000000000000000000000000000000000000000000000000000000000000000","hash":""}"#
        );
        let record = &chain.records[0];
        let digest: String = Sha256::digest(old).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(record.hash, digest);
    }

    #[test]
    fn the_origin_is_part_of_what_is_hashed() {
        let mut chain = AuditChain::default();
        let origin = AuditOrigin { address: Some("10.0.0.9:5000".into()), request: None };
        chain.speaks(Some(origin));
        chain.append(7, "operator/alice", Line::default());
        chain.speaks(None);
        chain.append(8, "core/c1", Line::default());
        assert!(chain.verify().intact);
        assert!(chain.records[1].origin.is_none());
        chain.records[0].origin = None;
        assert_eq!(chain.verify().wrong, Some(1));
    }

    #[test]
    fn a_missing_record_is_found() {
        for place in 0..19 {
            let mut chain = chain();
            chain.records.remove(place);
            assert!(!chain.verify().intact, "record {place} is missing unseen");
        }
    }

    #[test]
    fn records_after_a_position_begin_where_it_ends() {
        let mut chain = chain();
        let after = |chain: &AuditChain, index| {
            chain.after(index).map(|records| records.map(|record| record.index).collect::<Vec<_>>())
        };
        assert_eq!(after(&chain, 18), Ok(vec![19, 20]));
        assert_eq!(after(&chain, 0).map(|all| all.len()), Ok(20));
        assert_eq!(after(&chain, 20), Ok(vec![]));
        assert_eq!(after(&chain, 99), Ok(vec![]));
        chain.records.drain(..5);
        assert_eq!(after(&chain, 4), Err(6));
        assert_eq!(after(&chain, 5).map(|all| all.len()), Ok(15));
        assert_eq!(after(&AuditChain::default(), 7), Ok(vec![]));
    }

    #[test]
    fn dropping_old_records_keeps_the_chain() {
        let mut chain = chain();
        for _ in 0..5 {
            let old = chain.records.pop_front().unwrap();
            chain.anchor = Some((old.index, old.hash));
        }
        chain.append(99, "operator/test", Line::default());
        let verdict = chain.verify();
        assert!(verdict.intact, "{verdict:?}");
        assert_eq!(verdict.first, Some(6));
    }
}
