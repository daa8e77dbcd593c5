//! The durable log, the vote and the snapshot: openraft's conformance suite, restarts, damage.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use continuum_control::raft::{FsDisk, LogStore, Machine, MachineStore, SharedDisk, TypeConfig};
use openraft::EntryPayload;
use openraft::StorageError;
use openraft::alias::{CommittedLeaderIdOf, EntryOf, LeaderIdOf, LogIdOf, VoteOf};
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::vote::RaftLeaderId;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::task::JoinHandle;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Nothing;

impl Machine for Nothing {
    type Command = String;
    type Reply = String;
    fn apply(&mut self, _index: u64, command: String) -> String {
        command
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, MachineStore<Nothing>, TempDir> for Builder {
    async fn build(
        &self,
    ) -> Result<(TempDir, LogStore, MachineStore<Nothing>), StorageError<TypeConfig>> {
        let directory = tempfile::tempdir().unwrap();
        let (log, _) = open(directory.path()).await.unwrap();
        let machine = MachineStore::open(disk(directory.path())).await.unwrap();
        Ok((directory, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_and_machine_pass_the_conformance_suite() {
    Suite::test_all(Builder).await.unwrap();
}

fn disk(directory: &Path) -> SharedDisk {
    Arc::new(FsDisk::open(directory).unwrap())
}

async fn open(directory: &Path) -> std::io::Result<(LogStore, JoinHandle<()>)> {
    let disk = disk(directory);
    let lock = disk.lock().await?;
    LogStore::open(disk, lock).await
}

/// What an opener would say; opening must fail.
async fn refusal(directory: &Path) -> String {
    match open(directory).await {
        Ok(_) => panic!("the damaged log was opened"),
        Err(error) => error.to_string(),
    }
}

fn log_id(term: u64, index: u64) -> LogIdOf<TypeConfig> {
    LogIdOf::<TypeConfig>::new(CommittedLeaderIdOf::<TypeConfig>::new(term, 1), index)
}

fn entry(term: u64, index: u64) -> EntryOf<TypeConfig> {
    EntryOf::<TypeConfig> { log_id: log_id(term, index), payload: EntryPayload::Blank }
}

fn big_entry(index: u64, bytes: usize) -> EntryOf<TypeConfig> {
    let mut text: <TypeConfig as openraft::RaftTypeConfig>::D =
        serde_json::from_str("\"x\"").unwrap();
    text.0 = "x".repeat(bytes);
    EntryOf::<TypeConfig> { log_id: log_id(1, index), payload: EntryPayload::Normal(text) }
}

/// Appends each entry with a sync of its own.
async fn append(log: &mut LogStore, term: u64, indexes: std::ops::RangeInclusive<u64>) {
    for index in indexes {
        log.blocking_append([entry(term, index)]).await.unwrap();
    }
}

async fn indexes(log: &mut LogStore) -> Vec<u64> {
    let entries = log.get_log_reader().await.try_get_log_entries(..).await.unwrap();
    entries.iter().map(|entry| entry.log_id.index).collect()
}

/// Waits for the last write of a dropped log.
async fn close(log: LogStore, writer: JoinHandle<()>) {
    drop(log);
    writer.await.unwrap();
}

/// A crash as the file system sees it: the files as they are now, in another directory.
fn crash(directory: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(directory).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let mut segments: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|end| end == "segment")).collect();
    segments.sort();
    segments
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(path).unwrap();
    change(&mut content);
    fs::write(path, content).unwrap();
}

#[tokio::test]
async fn everything_acknowledged_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, writer) = open(directory.path()).await.unwrap();
    let vote = VoteOf::<TypeConfig>::new_committed(4, 1);
    log.save_vote(&vote).await.unwrap();
    append(&mut log, 1, 0..=9).await;
    log.truncate_after(Some(log_id(1, 6))).await.unwrap();
    append(&mut log, 2, 7..=8).await;
    log.purge(log_id(1, 2)).await.unwrap();
    log.save_committed(Some(log_id(2, 7))).await.unwrap();
    append(&mut log, 2, 9..=9).await;

    let crashed = crash(directory.path());
    close(log, writer).await;
    for found in [directory.path(), crashed.path()] {
        let (mut log, _writer) = open(found).await.unwrap();
        assert_eq!(indexes(&mut log).await, (3..=9).collect::<Vec<_>>());
        let state = log.get_log_state().await.unwrap();
        assert_eq!(state.last_purged_log_id, Some(log_id(1, 2)));
        assert_eq!(state.last_log_id, Some(log_id(2, 9)));
        assert_eq!(log.read_committed().await.unwrap(), Some(log_id(2, 7)));
        assert_eq!(log.get_log_reader().await.read_vote().await.unwrap(), Some(vote));
    }
}

#[tokio::test]
async fn purging_removes_whole_segments_and_a_hole_after_a_snapshot_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, writer) = open(directory.path()).await.unwrap();
    for index in 0..12 {
        log.blocking_append([big_entry(index, 1024 * 1024)]).await.unwrap();
    }
    let before = segments(directory.path()).len();
    assert!(before >= 3, "{before} segments");
    log.purge(log_id(1, 9)).await.unwrap();
    assert!(segments(directory.path()).len() < before);
    // A snapshot from the leader covers more than this log has.
    log.purge(log_id(3, 500)).await.unwrap();
    assert_eq!(segments(directory.path()).len(), 1);
    append(&mut log, 3, 501..=502).await;
    close(log, writer).await;

    let (mut log, _writer) = open(directory.path()).await.unwrap();
    assert_eq!(indexes(&mut log).await, [501, 502]);
    assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, Some(log_id(3, 500)));
}

#[tokio::test]
async fn a_torn_tail_is_cut_wherever_it_tore() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _writer) = open(directory.path()).await.unwrap();
    append(&mut log, 1, 0..=4).await;
    let acknowledged = fs::metadata(&segments(directory.path())[0]).unwrap().len();
    log.blocking_append([entry(1, 5), entry(1, 6)]).await.unwrap();
    let image = crash(directory.path());
    let file = segments(image.path())[0].clone();
    let full = fs::read(&file).unwrap();
    for cut in usize::try_from(acknowledged).unwrap()..full.len() {
        fs::write(&file, &full[..cut]).unwrap();
        let (mut log, writer) = open(image.path()).await.unwrap();
        let found = indexes(&mut log).await;
        assert!(found.len() >= 5 && found.len() <= 6, "cut at {cut}: {found:?}");
        // The log goes on where it was cut.
        append(&mut log, 2, u64::try_from(found.len()).unwrap()..=7).await;
        close(log, writer).await;
        let (mut log, writer) = open(image.path()).await.unwrap();
        assert_eq!(indexes(&mut log).await, (0..=7).collect::<Vec<_>>());
        close(log, writer).await;
    }
    // Half of an unsynced batch may be missing while the later half is there.
    let mut holed = full.clone();
    let start = usize::try_from(acknowledged).unwrap();
    holed[start..start + 40].fill(0);
    fs::write(&file, &holed).unwrap();
    let (mut log, _writer) = open(image.path()).await.unwrap();
    assert_eq!(indexes(&mut log).await, (0..=4).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_flipped_bit_in_acknowledged_entries_is_refused_with_file_and_offset() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, writer) = open(directory.path()).await.unwrap();
    append(&mut log, 1, 0..=4).await;
    close(log, writer).await;
    let file = segments(directory.path())[0].clone();
    let good = fs::read(&file).unwrap();
    // The seal at the end guards even the last entry.
    let guarded = good.len() - 32;
    for position in (0..guarded).step_by(7) {
        edit(&file, |content| content[position] ^= 0x10);
        let text = refusal(directory.path()).await;
        assert!(text.contains(file.to_str().unwrap()), "{text}");
        assert!(text.contains("is damaged at byte "), "{text}");
        fs::write(&file, &good).unwrap();
    }
    let (mut log, _writer) = open(directory.path()).await.unwrap();
    assert_eq!(indexes(&mut log).await, (0..=4).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_missing_or_shortened_closed_segment_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, writer) = open(directory.path()).await.unwrap();
    for index in 0..12 {
        log.blocking_append([big_entry(index, 1024 * 1024)]).await.unwrap();
    }
    close(log, writer).await;
    let files = segments(directory.path());
    assert!(files.len() >= 3);

    let shortened = crash(directory.path());
    edit(&segments(shortened.path())[0], |content| content.truncate(content.len() - 40));
    assert!(refusal(shortened.path()).await.contains("is damaged at byte"));

    fs::remove_file(&files[1]).unwrap();
    assert!(refusal(directory.path()).await.contains("segment 2 is missing"));
}

#[tokio::test]
async fn a_crash_while_a_segment_is_begun_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, writer) = open(directory.path()).await.unwrap();
    append(&mut log, 1, 0..=2).await;
    close(log, writer).await;
    let first = segments(directory.path())[0].clone();
    let second = directory.path().join("log-00000000000000000002.segment");
    let base = fs::read(&first).unwrap();
    for length in [0, 1, 31] {
        fs::write(&second, &base[..length]).unwrap();
        let (mut log, writer) = open(directory.path()).await.unwrap();
        assert_eq!(indexes(&mut log).await, [0, 1, 2]);
        close(log, writer).await;
        assert!(!second.exists());
    }
}

#[tokio::test]
async fn one_damaged_vote_slot_never_takes_back_a_vote_and_two_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, writer) = open(directory.path()).await.unwrap();
    let older = VoteOf::<TypeConfig>::from_leader(3, 1);
    let newer = VoteOf::<TypeConfig>::from_leader(7, 2);
    log.save_vote(&older).await.unwrap();
    log.save_vote(&newer).await.unwrap();
    close(log, writer).await;
    let file = directory.path().join("vote");
    let good = fs::read(&file).unwrap();
    let flip_first: fn(&mut Vec<u8>) = |content| content[17] ^= 1;
    let flip_second: fn(&mut Vec<u8>) = |content| content[4096 + 17] ^= 1;
    let truncate: fn(&mut Vec<u8>) = |content| content.truncate(100);
    for damage in [flip_first, flip_second, truncate] {
        fs::write(&file, &good).unwrap();
        edit(&file, damage);
        let (log, writer) = open(directory.path()).await.unwrap();
        let mut log = log;
        assert_eq!(log.get_log_reader().await.read_vote().await.unwrap(), Some(newer));
        close(log, writer).await;
        assert_eq!(fs::read(&file).unwrap(), good, "the damaged slot is mended");
    }
    edit(&file, |content| {
        flip_first(content);
        flip_second(content);
    });
    let text = refusal(directory.path()).await;
    assert!(text.contains("vote is damaged at bytes 0 and 4096"), "{text}");
}

#[tokio::test]
async fn two_processes_never_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let (log, writer) = open(directory.path()).await.unwrap();
    assert!(refusal(directory.path()).await.contains("another process uses this directory"));
    close(log, writer).await;
    open(directory.path()).await.unwrap();
}

trait FromLeader {
    fn from_leader(term: u64, node_id: u64) -> Self;
}

impl FromLeader for VoteOf<TypeConfig> {
    fn from_leader(term: u64, node_id: u64) -> Self {
        Self { leader_id: LeaderIdOf::<TypeConfig> { term, node_id }, committed: false }
    }
}
