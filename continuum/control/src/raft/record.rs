//! One record of a log segment: framing, checksum, and how a damaged place is told from a torn one.
//!
//! ```text
//!  0  magic "CtL"   3  format  4  kind  5..8 zero
//!  8  segment number                 (an old block of another segment never passes as ours)
//! 16  bytes of this segment that were durable when this record was written
//! 24  length of the payload         28  CRC-32 of bytes 0..28 and the payload
//! 32  payload
//! ```
//!
//! The third field decides what an unreadable place means. If any later record says that the place
//! was durable before it was written itself, acknowledged bytes are damaged and the log must not
//! be used. Otherwise the place belongs to the last write, whose sync never returned: it was never
//! acknowledged and is cut.

const MAGIC: [u8; 3] = *b"CtL";
const FORMAT: u8 = 1;
/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 32;
/// A longer payload is not ours: frames and commands are far smaller.
const PAYLOAD_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The state of the log when this segment began; the first record of every segment.
    Base,
    /// A log entry.
    Entry,
    /// Entries after a position are void.
    Truncate,
    /// Entries up to a position are covered by a snapshot and gone.
    Purge,
    /// Entries up to a position are known to be committed.
    Committed,
    /// The node stopped in good order; everything before is durable.
    Seal,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Kind::Base => 1,
            Kind::Entry => 2,
            Kind::Truncate => 3,
            Kind::Purge => 4,
            Kind::Committed => 5,
            Kind::Seal => 6,
        }
    }

    fn from_code(code: u8) -> Option<Kind> {
        [Kind::Base, Kind::Entry, Kind::Truncate, Kind::Purge, Kind::Committed, Kind::Seal]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// A record that was read and found whole.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub kind: Kind,
    pub durable: u64,
    pub payload: &'a [u8],
    /// Where the next record begins.
    pub next: usize,
}

/// Appends the encoding of one record to `out`.
pub(super) fn encode(out: &mut Vec<u8>, segment: u64, durable: u64, kind: Kind, payload: &[u8]) {
    let start = out.len();
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend(MAGIC);
    out.extend([FORMAT, kind.code(), 0, 0, 0]);
    out.extend(segment.to_le_bytes());
    out.extend(durable.to_le_bytes());
    out.extend(length.to_le_bytes());
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&out[start..]);
    checksum.update(payload);
    out.extend(checksum.finalize().to_le_bytes());
    out.extend(payload);
}

/// Reads the record at `offset`; the error says what is wrong with it.
pub(super) fn decode(bytes: &[u8], offset: usize, segment: u64) -> Result<Record<'_>, String> {
    let rest = bytes.get(offset..).unwrap_or_default();
    let Some((header, tail)) = rest.split_at_checked(HEADER_BYTES) else {
        return Err(format!("{} bytes are left, too few for a record", rest.len()));
    };
    if header[..3] != MAGIC {
        return Err("no record begins here".to_owned());
    }
    if header[3] != FORMAT {
        return Err(format!("record format {} is not known to this version", header[3]));
    }
    let kind = Kind::from_code(header[4])
        .ok_or_else(|| format!("record kind {} is unknown", header[4]))?;
    let length = u32::from_le_bytes(array(header, 24));
    if length > PAYLOAD_BYTES_MAX {
        return Err(format!("a length of {length} bytes cannot be"));
    }
    let payload = usize::try_from(length).ok().and_then(|length| tail.get(..length));
    let payload =
        payload.ok_or_else(|| format!("the file ends within {length} bytes of payload"))?;
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&header[..28]);
    checksum.update(payload);
    if checksum.finalize() != u32::from_le_bytes(array(header, 28)) {
        return Err("the checksum does not match".to_owned());
    }
    let found = u64::from_le_bytes(array(header, 8));
    if found != segment {
        return Err(format!("the record belongs to segment {found}"));
    }
    Ok(Record {
        kind,
        durable: u64::from_le_bytes(array(header, 16)),
        payload,
        next: offset + HEADER_BYTES + payload.len(),
    })
}

/// Whether some whole record after `bad` says that `bad` was already durable.
pub(super) fn was_durable(bytes: &[u8], bad: usize, segment: u64) -> bool {
    let limit = u64::try_from(bad).unwrap_or(u64::MAX);
    let rest = bytes.get(bad + 1..).unwrap_or_default();
    rest.windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC).any(
        |(position, _)| {
            decode(bytes, bad + 1 + position, segment).is_ok_and(|record| record.durable > limit)
        },
    )
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(part) = bytes.get(at..at + N) {
        out.copy_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_and_any_flipped_bit_is_noticed() {
        let mut bytes = Vec::new();
        encode(&mut bytes, 7, 99, Kind::Entry, b"payload");
        let record = decode(&bytes, 0, 7).unwrap();
        assert_eq!((record.kind, record.durable), (Kind::Entry, 99));
        assert_eq!((record.payload, record.next), (b"payload".as_slice(), bytes.len()));
        assert!(decode(&bytes, 0, 8).is_err(), "a record of another segment");
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged, 0, 7).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length], 0, 7).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn only_a_later_record_proves_that_a_place_was_durable() {
        let mut bytes = Vec::new();
        encode(&mut bytes, 1, 0, Kind::Base, b"base");
        let second = bytes.len();
        encode(&mut bytes, 1, second as u64, Kind::Entry, b"first of a batch");
        let third = bytes.len();
        encode(&mut bytes, 1, second as u64, Kind::Entry, b"second of the same batch");
        assert!(was_durable(&bytes, 0, 1), "the batch came after the base was synced");
        assert!(!was_durable(&bytes, second, 1), "its own batch proves nothing");
        let end = bytes.len();
        encode(&mut bytes, 1, end as u64, Kind::Committed, b"");
        assert!(was_durable(&bytes, second, 1));
        assert!(was_durable(&bytes, third, 1));
        assert!(!was_durable(&bytes, end, 1));
    }
}
