use super::*;
use crate::cell_contract::{self, CellSubject};

fn written(answer: Result<Put, StoreError>) -> Tag {
    match answer {
        Ok(Put::Written(tag)) => tag,
        other => panic!("{other:?}"),
    }
}

async fn put(store: &DurableStore, expected: Option<&Tag>, bytes: &[u8]) -> Tag {
    written(store.put("probe/c", expected, bytes.to_vec()).await)
}

/// What a server started on the disk of one killed at this instant would see.
async fn after_a_kill(from: &Path) -> (tempfile::TempDir, DurableStore) {
    let to = tempfile::tempdir().unwrap();
    for name in [log::LOG_NAME, MARK_NAME] {
        std::fs::copy(from.join(name), to.path().join(name)).unwrap();
    }
    let store = DurableStore::open(to.path()).await.unwrap();
    (to, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_cells_keep_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(DurableStore::open(directory.path()).await.unwrap());
    let open = Arc::new(move || store.clone() as Arc<dyn CellStore>);
    let subject = CellSubject { open, space: "probe/".into(), rounds: 30 };
    cell_contract::all(&subject).await.unwrap();
}

#[tokio::test]
async fn answered_writes_and_removals_survive_a_kill_with_their_tags() {
    let directory = tempfile::tempdir().unwrap();
    let store = DurableStore::open(directory.path()).await.unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..10u8 {
        let first = put(&store, None, &[round, 1]).await;
        let second = put(&store, Some(&first), &[round, 2]).await;
        let (_copy, killed) = after_a_kill(directory.path()).await;
        let held = Cell { tag: second.clone(), bytes: vec![round, 2] };
        assert_eq!(killed.get("probe/c").await, Ok(Some(held)));
        assert_eq!(store.delete("probe/c", &second).await, Ok(true));
        let (_copy, killed) = after_a_kill(directory.path()).await;
        assert_eq!(killed.get("probe/c").await, Ok(None));
        // Neither this store nor the one that went on from the same log repeats a tag.
        assert!(!seen.contains(&put(&killed, None, b"later").await));
        assert!(seen.insert(first) && seen.insert(second), "a tag came twice");
    }
}

#[tokio::test]
async fn a_wiped_directory_knows_no_tag_of_its_past() {
    let directory = tempfile::tempdir().unwrap();
    let store = DurableStore::open(directory.path()).await.unwrap();
    let old = put(&store, None, b"before").await;
    store.close().await;
    for name in [log::LOG_NAME, MARK_NAME] {
        std::fs::remove_file(directory.path().join(name)).unwrap();
    }
    let store = DurableStore::open(directory.path()).await.unwrap();
    let new = put(&store, None, b"after").await;
    assert_ne!(old, new);
    let late = store.put("probe/c", Some(&old), b"late".to_vec()).await;
    assert_eq!(late, Ok(Put::Conflict(Some(Cell { tag: new.clone(), bytes: b"after".into() }))));
    assert_eq!(store.delete("probe/c", &old).await, Ok(false));
}

#[tokio::test]
async fn a_rewritten_log_keeps_cells_and_repeats_no_tag() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(FsDisk::open(directory.path()).unwrap());
    let store = DurableStore::open_with(disk, 64 * 1024).await.unwrap();
    let kept = written(store.put("mark", None, b"kept".to_vec()).await);
    let mut last = put(&store, None, b"first").await;
    for at in 0..500u32 {
        let mut bytes = vec![b'x'; 1000];
        bytes.extend(at.to_le_bytes());
        last = put(&store, Some(&last), &bytes).await;
    }
    assert_eq!(store.delete("probe/c", &last).await, Ok(true));
    for _ in 0..100u32 {
        // The number of what was removed is in no entry that is left: only the count keeps it.
        let register = store.read("k").await.unwrap();
        let version = register.map_or(Version::ABSENT, |held| held.version);
        store.compare_and_swap("k", version, vec![b'x'; 1000]).await.unwrap();
    }
    store.close().await;
    let bytes = std::fs::metadata(directory.path().join(log::LOG_NAME)).unwrap().len();
    assert!(bytes < 100 * 1024, "the log has {bytes} bytes");
    let store = DurableStore::open(directory.path()).await.unwrap();
    assert_eq!(store.get("mark").await, Ok(Some(Cell { tag: kept, bytes: b"kept".into() })));
    assert_eq!(store.list("").await, Ok(vec!["mark".to_owned()]));
    let next = put(&store, None, b"next").await;
    let number = |tag: &Tag| tag.0.rsplit('.').next().unwrap().parse::<u64>().unwrap();
    assert!(number(&next) > number(&last), "{next} after {last}");
}

/// Opens a log as servers wrote it before there were cells.
#[tokio::test]
async fn an_old_log_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(log::LOG_NAME), log::old_log(3)).unwrap();
    let store = DurableStore::open(directory.path()).await.unwrap();
    assert_eq!(store.read("pair/app").await.unwrap().unwrap().version, Version(3));
    let tag = put(&store, None, b"new").await;
    store.close().await;
    let store = DurableStore::open(directory.path()).await.unwrap();
    assert_eq!(store.read("pair/app").await.unwrap().unwrap().version, Version(3));
    assert_eq!(store.get("probe/c").await.unwrap().unwrap().tag, tag);
}
