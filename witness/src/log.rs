//! The log file: every accepted change, in frames that survive a crash or show that they did not.
//!
//! ```text
//! file   = magic (8) | format u32 | crc32 of the 12 bytes before | frame*
//! frame  = sequence u64 | length u32 | crc32 of payload | crc32 of the 16 bytes before | payload
//!          | 0xFF until the frame's end is a multiple of 16
//! ```
//!
//! Numbers are little-endian; the payload is a postcard list of [`Entry`]s. The first frame begins
//! with the store's id ([`Entry::Store`]). Format 2 had registers alone, a list of [`Record`]s; such
//! a log is read, and rewritten before anything is added to it. One frame is one group commit:
//! nothing in it is answered before the whole of it is on disk, and the next one is written only
//! after that. So only the last frame can be torn, and what is cut was never answered. A frame is *torn* when the file ends inside it, or when a sector of it reads as zeros,
//! which is how a file system shows a sector it never wrote. Anything else that does not add up
//! is damage to something that may have been answered: opening is refused.

use std::io;

use continuum_domain::Version;
use continuum_domain::mutation::{Bug, planted};
use continuum_runtime::disk::{Disk, DiskFile};
use serde::{Deserialize, Serialize};

use crate::cell_table::{CellTable, Held};
use crate::register::Versioned;
use crate::table::Registers;

const MAGIC: [u8; 8] = *b"CTMREGLG";
const FORMAT: u32 = 3;
/// Registers alone, and no store id.
const FORMAT_OF_REGISTERS: u32 = 2;
const FILE_HEADER_BYTES: usize = 16;
const FRAME_HEADER_BYTES: usize = 20;
const SECTOR_BYTES: usize = 512;
/// A run of zeros shorter than this, at the edge of a sector, is no evidence of an unwritten one.
/// Frames end at multiples of it, so that no sector holds less of one.
const ZEROS_BYTES_MIN: usize = 16;
const PADDING: u8 = 0xFF;
/// Payload bytes after which a rewrite starts a new frame.
const REWRITE_FRAME_BYTES: usize = 1024 * 1024;

/// The log's file.
pub(crate) const LOG_NAME: &str = "registers.log";

/// One accepted change of a register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub key: String,
    pub version: Version,
    pub value: Vec<u8>,
}

/// What a frame holds. Only ever add variants, at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Entry {
    /// Whose log this is, and how many writes of cells came before it.
    Store { id: String, writes: u64 },
    /// A register's new value.
    Register(Record),
    /// A cell's new content.
    Cell { key: String, number: u64, bytes: Vec<u8> },
    /// A cell is gone.
    Removed { key: String },
}

/// Everything a log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub registers: Registers,
    pub cells: CellTable,
}

/// What a log held when it was opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Replay {
    pub content: Content,
    /// Bytes of whole frames, file header included.
    pub good_bytes: usize,
    /// Bytes after them, of a torn frame.
    pub torn_bytes: usize,
    pub next_sequence: u64,
}

/// The log, open for appending.
pub(crate) struct Log {
    file: Box<dyn DiskFile>,
    next_sequence: u64,
    bytes: usize,
}

impl Log {
    /// Opens the log of a disk, cutting a torn last frame. `None` when there is no log.
    pub async fn open(disk: &dyn Disk) -> io::Result<Option<(Log, Replay)>> {
        let Some(bytes) = disk.read(LOG_NAME).await? else { return Ok(None) };
        let replay = replay(&bytes).map_err(|problem| {
            let text = format!("{}: {problem}", disk.describe(LOG_NAME));
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        let mut file = disk.open(LOG_NAME).await?;
        // Durable even when nothing is torn: what was whole may not have been synced yet when the
        // last server died.
        file.cut(replay.good_bytes as u64).await?;
        let log = Log { file, next_sequence: replay.next_sequence, bytes: replay.good_bytes };
        Ok(Some((log, replay)))
    }

    /// Writes a log that says `content` and nothing else, and puts it in the old one's place.
    pub async fn rewrite(disk: &dyn Disk, content: &Content) -> io::Result<Log> {
        let (content, next_sequence) = encode_all(content)?;
        let bytes = content.len();
        disk.replace(LOG_NAME, content).await?;
        // Nobody else writes: appending goes on behind what was just put there.
        Ok(Log { file: disk.open(LOG_NAME).await?, next_sequence, bytes })
    }

    /// Appends one frame and returns once it is on disk. After an error the log must not be used:
    /// what reached the disk is unknown.
    pub async fn commit(&mut self, entries: &[Entry]) -> io::Result<()> {
        let frame = encode_frame(self.next_sequence, entries)?;
        let length = frame.len();
        let sync = !planted(Bug::ChangeNotSynced);
        self.file.write_at(self.bytes as u64, frame, sync).await?;
        self.next_sequence += 1;
        self.bytes += length;
        Ok(())
    }

    /// Bytes in the file.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// About how many bytes a register or a cell takes in a log.
pub(crate) fn entry_bytes(key: &str, value: &[u8]) -> usize {
    key.len() + value.len() + 16
}

fn file_header(format: u32) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend(format.to_le_bytes());
    header.extend(crc32fast::hash(&header).to_le_bytes());
    header
}

fn encode_frame<T: Serialize>(sequence: u64, entries: &[T]) -> io::Result<Vec<u8>> {
    let payload = postcard::to_stdvec(entries).map_err(io::Error::other)?;
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(FRAME_HEADER_BYTES + payload.len());
    frame.extend(sequence.to_le_bytes());
    frame.extend(length.to_le_bytes());
    frame.extend(crc32fast::hash(&payload).to_le_bytes());
    frame.extend(crc32fast::hash(&frame).to_le_bytes());
    frame.extend(payload);
    frame.resize(frame.len().next_multiple_of(ZEROS_BYTES_MIN), PADDING);
    Ok(frame)
}

fn register_entry((key, held): (&String, &Versioned)) -> Entry {
    Entry::Register(Record { key: key.clone(), version: held.version, value: held.value.clone() })
}

fn cell_entry((key, held): (&String, &Held)) -> Entry {
    Entry::Cell { key: key.clone(), number: held.number, bytes: held.bytes.clone() }
}

fn encode_all(content: &Content) -> io::Result<(Vec<u8>, u64)> {
    let Content { registers, cells } = content;
    let (mut encoded, mut sequence) = (file_header(FORMAT), 1);
    let store = Entry::Store { id: cells.store().to_owned(), writes: cells.writes() };
    let (mut entries, mut entries_bytes) = (vec![store], 0);
    let all = registers.iter().map(register_entry).chain(cells.iter().map(cell_entry));
    for entry in all {
        entries_bytes += match &entry {
            Entry::Register(record) => entry_bytes(&record.key, &record.value),
            Entry::Cell { key, bytes, .. } => entry_bytes(key, bytes),
            Entry::Store { .. } | Entry::Removed { .. } => 0,
        };
        entries.push(entry);
        if entries_bytes >= REWRITE_FRAME_BYTES {
            encoded.extend(encode_frame(sequence, &entries)?);
            (entries, entries_bytes, sequence) = (Vec::new(), 0, sequence + 1);
        }
    }
    if !entries.is_empty() {
        encoded.extend(encode_frame(sequence, &entries)?);
        sequence += 1;
    }
    Ok((encoded, sequence))
}

struct FrameHeader {
    sequence: u64,
    length: usize,
    payload_crc: u32,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// The header at `at`, when all of it is there and its checksum fits.
fn frame_header(bytes: &[u8], at: usize) -> Option<FrameHeader> {
    let crc = u32::from_le_bytes(number(bytes, at + 16)?);
    (crc32fast::hash(bytes.get(at..at + 16)?) == crc).then_some(())?;
    Some(FrameHeader {
        sequence: u64::from_le_bytes(number(bytes, at)?),
        length: usize::try_from(u32::from_le_bytes(number(bytes, at + 8)?)).ok()?,
        payload_crc: u32::from_le_bytes(number(bytes, at + 12)?),
    })
}

/// Whether some sector's part of `from..to` is all zeros.
fn has_unwritten_sector(bytes: &[u8], from: usize, to: usize) -> bool {
    let mut start = from;
    while start < to {
        let end = to.min((start / SECTOR_BYTES + 1) * SECTOR_BYTES);
        let part = &bytes[start..end];
        if part.len() >= ZEROS_BYTES_MIN && part.iter().all(|byte| *byte == 0) {
            return true;
        }
        start = end;
    }
    false
}

/// Whether a later frame starts anywhere after `from`.
fn has_later_frame(bytes: &[u8], from: usize, sequence: u64) -> bool {
    (from + 1..bytes.len())
        .any(|at| frame_header(bytes, at).is_some_and(|header| header.sequence > sequence))
}

fn damage(at: usize, what: &str) -> String {
    format!(
        "damaged at byte {at}: {what}. Changes that were answered may be lost, so the witness does \
         not start on it; restore this directory from the same disk, or rebuild the witness by the \
         runbook for a lost one"
    )
}

fn replay(bytes: &[u8]) -> Result<Replay, String> {
    if bytes.get(..MAGIC.len()) != Some(&MAGIC[..]) {
        return Err(damage(0, "this is not a register log"));
    }
    let format = match number(bytes, MAGIC.len()).map(u32::from_le_bytes) {
        Some(known @ (FORMAT | FORMAT_OF_REGISTERS)) => known,
        Some(other) => return Err(format!("has format {other}; this server reads {FORMAT}")),
        None => return Err(damage(0, "the file header is incomplete")),
    };
    if bytes.get(..FILE_HEADER_BYTES) != Some(&file_header(format)[..]) {
        return Err(damage(0, "the file header's checksum does not fit"));
    }
    let mut replay =
        Replay { good_bytes: FILE_HEADER_BYTES, next_sequence: 1, ..Replay::default() };
    while replay.good_bytes < bytes.len() {
        if !replay_frame(bytes, format, &mut replay)? {
            replay.torn_bytes = bytes.len() - replay.good_bytes;
            break;
        }
    }
    Ok(replay)
}

/// Replays the next frame; false when it is torn.
fn replay_frame(bytes: &[u8], format: u32, replay: &mut Replay) -> Result<bool, String> {
    let at = replay.good_bytes;
    if bytes.len() - at < FRAME_HEADER_BYTES {
        return Ok(false);
    }
    let Some(header) = frame_header(bytes, at) else {
        let torn = has_unwritten_sector(bytes, at, bytes.len())
            && !has_later_frame(bytes, at, replay.next_sequence);
        return if torn { Ok(false) } else { Err(damage(at, "a frame header does not add up")) };
    };
    if header.sequence != replay.next_sequence {
        let what = format!("frame {} where {} was due", header.sequence, replay.next_sequence);
        return Err(damage(at, &what));
    }
    let end = at + (FRAME_HEADER_BYTES + header.length).next_multiple_of(ZEROS_BYTES_MIN);
    let Some(body) = bytes.get(at + FRAME_HEADER_BYTES..end) else { return Ok(false) };
    let (payload, padding) = body.split_at(header.length);
    let padded = padding.iter().all(|byte| *byte == PADDING);
    if !padded || crc32fast::hash(payload) != header.payload_crc {
        let torn = end == bytes.len() && has_unwritten_sector(bytes, at, end);
        return if torn { Ok(false) } else { Err(damage(at, "a frame's checksum does not fit")) };
    }
    for entry in decode_payload(format, payload)
        .map_err(|error| damage(at, &format!("a frame does not decode ({error})")))?
    {
        replay.content.take(entry).map_err(|what| damage(at, &what))?;
    }
    replay.good_bytes = end;
    replay.next_sequence += 1;
    Ok(true)
}

fn decode_payload(format: u32, payload: &[u8]) -> Result<Vec<Entry>, postcard::Error> {
    if format == FORMAT_OF_REGISTERS {
        let records: Vec<Record> = postcard::from_bytes(payload)?;
        return Ok(records.into_iter().map(Entry::Register).collect());
    }
    postcard::from_bytes(payload)
}

impl Content {
    /// Takes the next entry of a log; the error says why it cannot follow what came before.
    fn take(&mut self, entry: Entry) -> Result<(), String> {
        match entry {
            Entry::Store { id, writes } => {
                if id.is_empty() || !self.cells.store().is_empty() {
                    return Err("the store's id is empty, or comes a second time".into());
                }
                self.cells = CellTable::new(id, writes);
            }
            Entry::Register(Record { key, version, value }) => {
                let before = self.registers.get(&key).map_or(Version::ABSENT, |held| held.version);
                if version <= before {
                    return Err(format!("{key} goes from version {} back", before.0));
                }
                self.registers.put(key, Versioned { version, value });
            }
            Entry::Cell { key, number, bytes } => {
                let before = self.cells.get(&key).map_or(0, |held| held.number);
                if self.cells.store().is_empty() || number <= before {
                    return Err(format!("the cell {key} goes from write {before} back"));
                }
                self.cells.put(key, Held { number, bytes });
            }
            Entry::Removed { key } => self.cells.remove(&key),
        }
        Ok(())
    }
}

/// A log in the format of registers alone: `pair/app`, changed `frames` times.
#[cfg(test)]
pub(crate) fn old_log(frames: u64) -> Vec<u8> {
    let mut bytes = file_header(FORMAT_OF_REGISTERS);
    for version in 1..=frames {
        let (key, value) = ("pair/app".into(), b"old".to_vec());
        let record = Record { key, version: Version(version), value };
        bytes.extend(encode_frame(version, &[record]).expect("it encodes"));
    }
    bytes
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
