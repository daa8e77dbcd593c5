use proptest::prelude::*;

use super::*;

fn record(key: &str, version: u64, value: &[u8]) -> Entry {
    Entry::Register(Record { key: key.into(), version: Version(version), value: value.to_vec() })
}

fn cell(key: &str, number: u64, bytes: &[u8]) -> Entry {
    Entry::Cell { key: key.into(), number, bytes: bytes.to_vec() }
}

fn removed(key: &str) -> Entry {
    Entry::Removed { key: key.into() }
}

/// A log whose frames write the cell `c`, remove it, and so on, and where each frame ends.
fn sample_of_cells(frames: u64) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = file_header(FORMAT);
    let store = Entry::Store { id: "me".into(), writes: 0 };
    bytes.extend(encode_frame(1, &[store]).unwrap());
    let mut ends = vec![bytes.len()];
    for at in 1..=frames {
        let entry = if at % 2 == 1 { cell("c", at, b"content") } else { removed("c") };
        bytes.extend(encode_frame(at + 1, &[entry]).unwrap());
        ends.push(bytes.len());
    }
    (bytes, ends)
}

/// A log of `frames` frames with one change each, and where each frame ends.
fn sample(frames: u64, value_bytes: usize) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = file_header(FORMAT);
    let mut ends = vec![bytes.len()];
    for version in 1..=frames {
        let value = vec![b'a' + (version % 26) as u8; value_bytes];
        bytes.extend(encode_frame(version, &[record("pair/app", version, &value)]).unwrap());
        ends.push(bytes.len());
    }
    (bytes, ends)
}

fn version_in(replay: &Replay) -> u64 {
    replay.content.registers.get("pair/app").map_or(0, |held| held.version.0)
}

#[test]
fn a_whole_log_is_replayed() {
    let (bytes, _) = sample(5, 100);
    let replay = replay(&bytes).unwrap();
    assert_eq!((version_in(&replay), replay.torn_bytes, replay.next_sequence), (5, 0, 6));
}

#[test]
fn a_log_cut_anywhere_keeps_every_whole_frame() {
    let (bytes, ends) = sample(4, 60);
    for cut in FILE_HEADER_BYTES..bytes.len() {
        let replay = replay(&bytes[..cut]).unwrap();
        let whole = ends.iter().filter(|end| **end <= cut).count() as u64 - 1;
        assert_eq!(version_in(&replay), whole, "cut at {cut}");
        assert_eq!(replay.good_bytes + replay.torn_bytes, cut);
    }
}

#[test]
fn unwritten_sectors_of_the_last_frame_are_a_tear() {
    let (mut bytes, ends) = sample(3, 4000);
    let sector = (ends[2] / SECTOR_BYTES + 2) * SECTOR_BYTES;
    bytes[sector..sector + SECTOR_BYTES].fill(0);
    assert_eq!(version_in(&replay(&bytes).unwrap()), 2);
    let (mut bytes, ends) = sample(3, 4000);
    bytes[ends[2]..].fill(0);
    assert_eq!(version_in(&replay(&bytes).unwrap()), 2);
}

/// However little of the last frame lies in the last sector.
#[test]
fn an_unwritten_last_sector_is_a_tear_wherever_the_frame_ends() {
    for value_bytes in 0..2 * SECTOR_BYTES {
        let (mut bytes, ends) = sample(2, value_bytes);
        let sector = (bytes.len() - 1) / SECTOR_BYTES * SECTOR_BYTES;
        bytes[sector.max(ends[1])..].fill(0);
        let replay = replay(&bytes).unwrap_or_else(|why| panic!("{value_bytes}: {why}"));
        assert_eq!(version_in(&replay), 1, "{value_bytes}");
    }
}

#[test]
fn unwritten_sectors_in_the_middle_are_damage() {
    let (mut bytes, ends) = sample(3, 4000);
    let sector = (ends[1] / SECTOR_BYTES + 2) * SECTOR_BYTES;
    bytes[sector..sector + SECTOR_BYTES].fill(0);
    assert!(replay(&bytes).unwrap_err().contains("damaged"));
    let (mut bytes, ends) = sample(3, 4000);
    bytes[ends[0]..ends[1]].fill(0);
    assert!(replay(&bytes).unwrap_err().contains("damaged"));
}

#[test]
fn other_files_and_formats_are_refused() {
    assert!(replay(b"").is_err());
    assert!(replay(b"not a log at all").is_err());
    let mut other = file_header(FORMAT);
    other[8] = 1;
    assert!(replay(&other).unwrap_err().contains("format 1"));
}

#[test]
fn a_log_of_registers_alone_is_read() {
    let replay = replay(&old_log(3)).unwrap();
    assert_eq!((version_in(&replay), replay.next_sequence), (3, 4));
    assert_eq!(replay.content.cells.store(), "");
}

#[test]
fn writes_and_removals_of_cells_cut_anywhere_are_kept_frame_by_frame() {
    let (bytes, ends) = sample_of_cells(5);
    for cut in ends[0]..bytes.len() {
        let cells = replay(&bytes[..cut]).unwrap().content.cells;
        let whole = ends.iter().filter(|end| **end <= cut).count() as u64 - 1;
        let held = (whole % 2 == 1).then_some(whole);
        assert_eq!(cells.get("c").map(|held| held.number), held, "cut at {cut}");
        // The number of a removed write is not given out again.
        assert_eq!(cells.writes(), if whole % 2 == 1 { whole } else { whole.saturating_sub(1) });
    }
}

#[test]
fn a_rewritten_log_keeps_cells_their_numbers_and_the_count() {
    let (bytes, _) = sample_of_cells(6);
    let mut content = replay(&bytes).unwrap().content;
    content.take(cell("kept", 9, b"x")).unwrap();
    content.take(cell("gone", 12, b"x")).unwrap();
    content.take(removed("gone")).unwrap();
    content.take(record("pair/app", 3, b"value")).unwrap();
    let (rewritten, _) = encode_all(&content).unwrap();
    let again = replay(&rewritten).unwrap().content;
    assert_eq!(again, content);
    assert_eq!((again.cells.writes(), again.cells.tag(9).0), (12, "me.9".to_owned()));
}

#[test]
fn cells_that_go_back_or_belong_to_no_store_are_damage() {
    let mut content = Content::default();
    assert!(content.take(cell("c", 1, b"x")).is_err());
    content.take(Entry::Store { id: "me".into(), writes: 4 }).unwrap();
    content.take(cell("c", 5, b"x")).unwrap();
    assert!(content.take(cell("c", 5, b"y")).is_err());
    assert!(content.take(Entry::Store { id: "other".into(), writes: 0 }).is_err());
}

proptest! {
    /// The same in a log of cells.
    #[test]
    fn a_flipped_bit_in_a_log_of_cells_is_refused(
        position in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let (mut bytes, _) = sample_of_cells(4);
        let at = position.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(replay(&bytes).is_err(), "a flip at byte {} passed", at);
    }

    /// A flipped bit is never read as data and never costs an answered change: opening is refused.
    #[test]
    fn a_flipped_bit_anywhere_is_refused(position in any::<prop::sample::Index>(), bit in 0u8..8) {
        let (mut bytes, _) = sample(4, 200);
        let at = position.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(replay(&bytes).is_err(), "a flip at byte {} passed", at);
    }
}
