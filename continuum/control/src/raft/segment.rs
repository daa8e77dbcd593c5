//! What the records of a log segment hold.

use openraft::EntryPayload;
use openraft::alias::CommittedLeaderIdOf;
use openraft::vote::RaftLeaderId;

use super::types::{CommandText, Entry, LogId, Membership, TypeConfig};

/// A segment is closed and a new one begun once it is larger.
pub(super) const SEGMENT_BYTES_MAX: u64 = 4 * 1024 * 1024;

const PREFIX: &str = "log-";
const SUFFIX: &str = ".segment";

/// The file name of segment `number`; names sort in the order of numbers.
pub(super) fn file_name(number: u64) -> String {
    format!("{PREFIX}{number:020}{SUFFIX}")
}

/// The number of the segment that `name` names.
pub(super) fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
}

/// Positions that describe a log without its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// Entries up to here are covered by a snapshot and gone.
    pub purged: Option<LogId>,
    /// The last entry, or `purged` when none is left.
    pub last: Option<LogId>,
    /// Entries up to here are known to be committed.
    pub committed: Option<LogId>,
}

impl Marks {
    /// Notes that entries up to `upto` are gone.
    ///
    /// Decided by positions alone: while a log is read back, later entries may be missing because
    /// a purge further on has already removed the segment they were in.
    pub fn purge(&mut self, upto: LogId) {
        self.purged = Some(upto);
        if self.last.is_none_or(|last| last.index <= upto.index) {
            self.last = Some(upto);
        }
    }

    /// The payload of a base record.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(3 * 25);
        for mark in [self.purged, self.last, self.committed] {
            put_mark(&mut out, mark);
        }
        out
    }

    /// Reads the payload of a base record.
    pub fn decode(payload: &[u8]) -> Option<Marks> {
        let mut reader = Reader(payload);
        Some(Marks { purged: reader.mark()?, last: reader.mark()?, committed: reader.mark()? })
    }
}

/// The payload of a record that holds one position.
pub(super) fn encode_mark(mark: Option<LogId>) -> Vec<u8> {
    let mut out = Vec::with_capacity(25);
    put_mark(&mut out, mark);
    out
}

/// Reads the payload of a record that holds one position.
pub(super) fn decode_mark(payload: &[u8]) -> Option<Option<LogId>> {
    Reader(payload).mark()
}

/// The payload of an entry record.
pub(super) fn encode_entry(entry: &Entry) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    put_log_id(&mut out, &entry.log_id);
    match &entry.payload {
        EntryPayload::Blank => out.push(0),
        EntryPayload::Normal(command) => {
            out.push(1);
            out.extend(command.0.as_bytes());
        }
        EntryPayload::Membership(membership) => {
            out.push(2);
            // By name, so that a member may gain fields without a new record format.
            serde_json::to_writer(&mut out, membership).map_err(std::io::Error::other)?;
        }
    }
    Ok(out)
}

/// Reads the payload of an entry record.
pub(super) fn decode_entry(payload: &[u8]) -> Option<Entry> {
    let mut reader = Reader(payload);
    let log_id = reader.log_id()?;
    let payload = match reader.byte()? {
        0 => EntryPayload::Blank,
        1 => EntryPayload::Normal(CommandText(String::from_utf8(reader.0.to_vec()).ok()?)),
        2 => EntryPayload::Membership(serde_json::from_slice::<Membership>(reader.0).ok()?),
        _ => return None,
    };
    Some(Entry { log_id, payload })
}

fn put_log_id(out: &mut Vec<u8>, id: &LogId) {
    out.extend(id.leader_id.term.to_le_bytes());
    out.extend(id.leader_id.node_id.to_le_bytes());
    out.extend(id.index.to_le_bytes());
}

fn put_mark(out: &mut Vec<u8>, mark: Option<LogId>) {
    out.push(u8::from(mark.is_some()));
    if let Some(id) = mark {
        put_log_id(out, &id);
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let (part, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*part))
    }

    fn log_id(&mut self) -> Option<LogId> {
        let (term, node_id) = (self.number()?, self.number()?);
        let leader = CommittedLeaderIdOf::<TypeConfig>::new(term, node_id);
        Some(LogId::new(leader, self.number()?))
    }

    fn mark(&mut self) -> Option<Option<LogId>> {
        match self.byte()? {
            0 => Some(None),
            1 => Some(Some(self.log_id()?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::types::Member;
    use super::*;

    fn id(index: u64) -> LogId {
        LogId::new(CommittedLeaderIdOf::<TypeConfig>::new(3, 2), index)
    }

    #[test]
    fn entries_and_marks_survive() {
        let member = Member { id: 2, name: "b".into(), ..Member::default() };
        let membership =
            Membership::new(vec![BTreeSet::from([2])], BTreeMap::from([(2, member)])).unwrap();
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(CommandText(r#"{"set":"x"}"#.into())),
            EntryPayload::Membership(membership),
        ] {
            let entry = Entry { log_id: id(7), payload };
            let bytes = encode_entry(&entry).unwrap();
            let read = decode_entry(&bytes).unwrap();
            assert_eq!(format!("{read:?}"), format!("{entry:?}"));
        }
        let marks = Marks { purged: None, last: Some(id(9)), committed: Some(id(8)) };
        assert_eq!(Marks::decode(&marks.encode()), Some(marks));
        assert_eq!(decode_mark(&encode_mark(None)), Some(None));
        assert_eq!(number_of(&file_name(12)), Some(12));
        assert_eq!(number_of("lock"), None);
    }
}
