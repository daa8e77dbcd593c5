//! Reads a log back from its segments, or says clearly why it must not be used.

use std::collections::BTreeMap;
use std::io;

use super::disk::{DiskFile, SharedDisk};
use super::record::{self, Kind, Record};
use super::segment::{self, Marks};
use super::types::{Entry, LogId};

/// A closed segment that still exists.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed {
    pub number: u64,
    /// The highest index ever written into it, void or not.
    pub highest: Option<u64>,
}

/// The segment that is written to.
pub(super) struct Active {
    pub number: u64,
    pub file: Box<dyn DiskFile>,
    pub length: u64,
    /// How much of it is known to be durable.
    pub durable: u64,
    pub highest: Option<u64>,
}

/// A log as found on disk.
pub(super) struct Recovered {
    pub entries: BTreeMap<u64, Entry>,
    pub marks: Marks,
    pub closed: Vec<Closed>,
    pub active: Active,
}

/// Makes segment `number` with its base record, durably.
pub(super) async fn create(disk: &SharedDisk, number: u64, marks: &Marks) -> io::Result<Active> {
    let mut file = disk.open(&segment::file_name(number)).await?;
    // A crash may have left a torn base behind.
    file.cut(0).await?;
    let mut content = Vec::new();
    record::encode(&mut content, number, 0, Kind::Base, &marks.encode());
    let length = u64::try_from(content.len()).map_err(io::Error::other)?;
    file.write_at(0, content, true).await?;
    Ok(Active { number, file, length, durable: length, highest: None })
}

/// Reads all segments. Bytes that no sync ever covered are cut; any other damage is an error.
pub(super) async fn recover(disk: &SharedDisk) -> io::Result<Recovered> {
    let names = disk.list().await?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment::number_of(name)).collect();
    numbers.sort_unstable();
    let mut replay = Replay::default();
    let mut closed = Vec::new();
    let mut open: Option<(u64, Scanned)> = None;
    for (position, number) in numbers.iter().copied().enumerate() {
        if position > 0 && numbers[position - 1] + 1 != number {
            let text = format!("segment {} is missing", numbers[position - 1] + 1);
            return Err(damaged(disk, number, 0, &text));
        }
        let bytes = disk.read(&segment::file_name(number)).await?.unwrap_or_default();
        let is_last = position + 1 == numbers.len();
        match replay.segment(disk, number, &bytes, is_last)? {
            Some(scanned) => {
                closed.extend(open.take().map(|(number, before)| before.closed(number)));
                open = Some((number, scanned));
            }
            // Its base was never durable, so nothing in it was: the crash hit its creation.
            None => disk.remove(&segment::file_name(number)).await?,
        }
    }
    let active = match open {
        None => create(disk, 1, &replay.marks).await?,
        Some((number, scanned)) => reopen(disk, number, scanned).await?,
    };
    Ok(Recovered { entries: replay.entries, marks: replay.marks, closed, active })
}

async fn reopen(disk: &SharedDisk, number: u64, scanned: Scanned) -> io::Result<Active> {
    let mut file = disk.open(&segment::file_name(number)).await?;
    let length = u64::try_from(scanned.end).map_err(io::Error::other)?;
    if scanned.torn {
        tracing::warn!(
            file = disk.describe(&segment::file_name(number)),
            offset = length,
            "cutting a torn write that was never acknowledged"
        );
    }
    // Also the sync that the last process may not have lived to see.
    file.cut(length).await?;
    Ok(Active { number, file, length, durable: length, highest: scanned.highest })
}

fn damaged(disk: &SharedDisk, number: u64, offset: usize, text: &str) -> io::Error {
    let file = disk.describe(&segment::file_name(number));
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "{file} is damaged at byte {offset}: {text}. Acknowledged entries would be lost, so \
             this node does not start. Remove it from the cluster and add a node with a new id \
             and an empty directory"
        ),
    )
}

struct Scanned {
    /// Where the last whole record ends.
    end: usize,
    torn: bool,
    highest: Option<u64>,
}

impl Scanned {
    fn closed(self, number: u64) -> Closed {
        Closed { number, highest: self.highest }
    }
}

#[derive(Default)]
struct Replay {
    entries: BTreeMap<u64, Entry>,
    marks: Marks,
    begun: bool,
}

impl Replay {
    /// Replays one segment; `None` when not even its base was durable.
    fn segment(
        &mut self,
        disk: &SharedDisk,
        number: u64,
        bytes: &[u8],
        is_last: bool,
    ) -> io::Result<Option<Scanned>> {
        let mut scanned = Scanned { end: 0, torn: false, highest: None };
        while scanned.end < bytes.len() || scanned.end == 0 {
            let offset = scanned.end;
            let record = match record::decode(bytes, offset, number) {
                Ok(record) => record,
                Err(_) if is_last && !record::was_durable(bytes, offset, number) => {
                    scanned.torn = true;
                    break;
                }
                Err(text) => return Err(damaged(disk, number, offset, &text)),
            };
            self.record(&record, offset, &mut scanned.highest)
                .map_err(|text| damaged(disk, number, offset, &text))?;
            scanned.end = record.next;
        }
        Ok((scanned.end > 0).then_some(scanned))
    }

    fn record(
        &mut self,
        record: &Record<'_>,
        offset: usize,
        highest: &mut Option<u64>,
    ) -> Result<(), String> {
        let unreadable = || format!("a {:?} record has an unreadable payload", record.kind);
        match record.kind {
            Kind::Base if offset == 0 => {
                let base = Marks::decode(record.payload).ok_or_else(unreadable)?;
                if self.begun && base.last != self.marks.last {
                    return Err("the segment does not continue the one before".to_owned());
                }
                if !self.begun {
                    self.marks = base;
                    self.begun = true;
                }
            }
            _ if offset == 0 => return Err("the segment has no base record".to_owned()),
            Kind::Base => return Err("a base record inside a segment".to_owned()),
            Kind::Entry => {
                let entry = segment::decode_entry(record.payload).ok_or_else(unreadable)?;
                *highest = (*highest).max(Some(entry.log_id.index));
                self.entry(entry)?;
            }
            Kind::Truncate => {
                self.truncate(segment::decode_mark(record.payload).ok_or_else(unreadable)?);
            }
            Kind::Purge => {
                let upto = segment::decode_mark(record.payload).flatten().ok_or_else(unreadable)?;
                self.purge(upto);
            }
            Kind::Committed => {
                self.marks.committed =
                    segment::decode_mark(record.payload).ok_or_else(unreadable)?;
            }
            Kind::Seal => {}
        }
        Ok(())
    }

    fn entry(&mut self, entry: Entry) -> Result<(), String> {
        let index = entry.log_id.index;
        if let Some(last) = self.marks.last
            && last.index + 1 != index
        {
            return Err(format!("entry {index} follows entry {}", last.index));
        }
        self.marks.last = Some(entry.log_id);
        self.entries.insert(index, entry);
        Ok(())
    }

    fn truncate(&mut self, last: Option<LogId>) {
        self.entries.split_off(&last.map_or(0, |id| id.index + 1));
        self.marks.last = last;
    }

    fn purge(&mut self, upto: LogId) {
        self.entries = self.entries.split_off(&(upto.index + 1));
        self.marks.purge(upto);
    }
}
