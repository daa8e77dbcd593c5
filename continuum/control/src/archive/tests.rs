//! The archive on a real directory: what is kept, what is found when it was touched.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use continuum_control_api::rest::AuditRecord;
use continuum_runtime::disk::FsDisk;

use super::verify::Found;
use super::writer::Writer;
use super::*;
use crate::state::audit::{AuditChain, Line};

/// The first records of a chain, of different kinds and lengths.
pub(crate) fn records(count: u64) -> Vec<AuditRecord> {
    let mut chain = AuditChain::default();
    for step in 0..count {
        let line = Line {
            action: format!("test.{step}"),
            reason: "x".repeat(step as usize % 7),
            pair: (step % 2 == 0).then(|| "shop".parse().unwrap()),
            ..Line::default()
        };
        chain.append(step as i64 * 1_000, "operator/test", line);
    }
    chain.records().cloned().collect()
}

struct Place {
    directory: tempfile::TempDir,
    archive: Archive,
}

impl Place {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let archive = opened(&directory).await;
        Self { directory, archive }
    }

    async fn with(records: &[AuditRecord]) -> Self {
        let place = Self::new().await;
        place.append(records).await;
        place
    }

    async fn append(&self, records: &[AuditRecord]) {
        Writer::new(&self.archive).append(records).await.unwrap();
    }

    async fn restart(&mut self) {
        self.archive = opened(&self.directory).await;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn verify(&self) -> Found {
        self.archive.verify(None, BTreeMap::new()).await.unwrap()
    }

    async fn wrong(&self) -> Option<u64> {
        self.verify().await.fault.map(|fault| fault.wrong)
    }
}

async fn opened(directory: &tempfile::TempDir) -> Archive {
    let archive = Archive::new(Arc::new(FsDisk::open(directory.path()).unwrap()));
    archive.open().await.unwrap();
    archive
}

#[tokio::test]
async fn every_edited_byte_is_found_and_its_record_named() {
    let place = Place::with(&records(7)).await;
    let path = place.path(&name_of(1));
    let honest = fs::read(&path).unwrap();
    let mut record = 1;
    for at in 0..honest.len() {
        for flipped in [1u8, 0x20] {
            let mut edited = honest.clone();
            edited[at] ^= flipped;
            fs::write(&path, &edited).unwrap();
            assert_eq!(place.wrong().await, Some(record), "byte {at}");
        }
        record += u64::from(honest[at] == b'\n');
    }
    fs::write(&path, &honest).unwrap();
    assert_eq!(place.wrong().await, None);
}

#[tokio::test]
async fn removed_doubled_swapped_and_rehashed_records_are_found() {
    let all = records(9);
    let place = Place::with(&all).await;
    let path = place.path(&name_of(1));
    let write = |lines: &[AuditRecord]| {
        let text: Vec<u8> =
            lines.iter().flat_map(|record| [line::of(record), b"\n".to_vec()].concat()).collect();
        fs::write(&path, text).unwrap();
    };
    for at in 0..9 {
        let mut lines = all.clone();
        lines.remove(at);
        write(&lines);
        assert_eq!(place.wrong().await, Some(at as u64 + 1), "removed");
        let mut lines = all.clone();
        lines.insert(at, all[at].clone());
        write(&lines);
        assert_eq!(place.wrong().await, Some(at as u64 + 2), "doubled");
    }
    for at in 0..8 {
        let mut lines = all.clone();
        lines.swap(at, at + 1);
        write(&lines);
        assert_eq!(place.wrong().await, Some(at as u64 + 1), "swapped");
    }
    // A forger who rehashes everything from there on is found by the replicated chain.
    let mut chain = AuditChain::default();
    for record in &all {
        let reason = if record.index == 4 { "y".repeat(3) } else { record.reason.clone() };
        let line = Line {
            action: record.action.clone(),
            pair: record.pair.clone(),
            reason,
            ..Line::default()
        };
        chain.append(record.at_ms, &record.actor, line);
    }
    write(&chain.records().cloned().collect::<Vec<_>>());
    assert_eq!(place.wrong().await, None);
    let known = verify::known(all.iter().map(|record| (record.index, record.hash.as_str())));
    let found = place.archive.verify(None, known).await.unwrap();
    assert_eq!(found.fault.map(|fault| fault.wrong), Some(4));
}

#[tokio::test]
async fn a_torn_last_line_is_cut_and_written_again() {
    let all = records(9);
    let mut place = Place::with(&all[..5]).await;
    let path = place.path(&name_of(1));
    let whole = fs::read(&path).unwrap();
    let next = line::of(&all[5]);
    for torn in [1, next.len() / 2, next.len()] {
        fs::write(&path, [&whole[..], &next[..torn]].concat()).unwrap();
        place.restart().await;
        assert_eq!(place.archive.newest(), 5, "{torn}");
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    place.append(&all[5..]).await;
    place.restart().await;
    assert_eq!(place.archive.newest(), 9);
    assert_eq!(place.wrong().await, None);
    // Nothing but a torn line: as if the segment had not been begun.
    fs::write(&path, &next[..3]).unwrap();
    place.restart().await;
    assert_eq!(place.archive.newest(), 0);
    place.append(&all).await;
    assert_eq!(place.wrong().await, None);
}

#[tokio::test]
async fn what_was_never_seen_is_a_gap_that_is_known_also_after_a_restart() {
    let all = records(30);
    let mut place = Place::with(&all[9..12]).await;
    place.append(&all[20..]).await;
    for _ in 0..2 {
        let found = place.verify().await;
        assert_eq!(found.fault, None);
        let gaps: Vec<_> = found.verdict.missing.iter().map(|gap| (gap.from, gap.to)).collect();
        assert_eq!(gaps, [(1, 9), (13, 20)]);
        assert_eq!(found.verdict.records, 13);
        place.restart().await;
    }
    // A file that somebody removed is no gap.
    fs::remove_file(place.path(&name_of(10))).unwrap();
    assert_eq!(place.wrong().await, Some(10));
    place.restart().await;
    assert_eq!(place.wrong().await, Some(10));
}

#[tokio::test]
async fn the_archive_of_another_core_is_not_written_to() {
    let place = Place::with(&records(3)).await;
    let mut other = AuditChain::default();
    for _ in 0..4 {
        other.append(5, "operator/other", Line::default());
    }
    let next: Vec<_> = other.records().skip(3).cloned().collect();
    assert!(Writer::new(&place.archive).append(&next).await.is_err());
    assert_eq!((place.archive.newest(), place.wrong().await), (3, None));
}

#[tokio::test]
async fn old_segments_go_and_what_follows_still_verifies() {
    let all = records(SEGMENT_RECORDS * 2 + 5);
    let mut place = Place::with(&all).await;
    assert_eq!(place.archive.plan().segments, [1, 10_001, 20_001]);
    assert_eq!(place.wrong().await, None);
    let day = Duration::from_secs(86_400);
    // The newest record of the first segment is exactly as old as it may be.
    let kept = all[9_999].at_ms + 86_400_000;
    place.archive.expire(kept, day).await.unwrap();
    assert_eq!(place.archive.plan().segments.len(), 3);
    place.archive.expire(kept + 1, day).await.unwrap();
    for _ in 0..2 {
        let found = place.verify().await;
        assert_eq!((found.fault, found.verdict.first), (None, Some(10_001)));
        assert_eq!(found.verdict.expired.map(|head| head.index), Some(10_000));
        place.restart().await;
    }
    // The last segment stays, however old it is.
    place.archive.expire(i64::MAX, day).await.unwrap();
    assert_eq!(place.archive.plan().segments, [20_001]);
    // The node died between writing down what it removes and removing it.
    let text: Vec<u8> = all[10_000..20_000]
        .iter()
        .flat_map(|record| [line::of(record), b"\n".to_vec()].concat())
        .collect();
    fs::write(place.path(&name_of(10_001)), text).unwrap();
    place.restart().await;
    assert_eq!(place.archive.plan().segments, [20_001]);
    assert_eq!(place.wrong().await, None);
}

#[tokio::test]
async fn a_damaged_segment_is_not_removed_by_age() {
    let all = records(SEGMENT_RECORDS + 5);
    let place = Place::with(&all).await;
    let path = place.path(&name_of(1));
    let mut content = fs::read(&path).unwrap();
    let at = content.len() - 5;
    content[at] ^= 1;
    fs::write(&path, content).unwrap();
    place.archive.expire(i64::MAX, Duration::from_secs(86_400)).await.unwrap();
    assert_eq!(place.archive.plan().segments.len(), 2);
    assert_eq!(place.wrong().await, Some(SEGMENT_RECORDS));
}
