use super::*;
use crate::contract::{self, Subject};

async fn write(store: &DurableStore, version: u64, value: &[u8]) -> Result<Answer, StoreError> {
    store.compare_and_swap("k", Version(version), value.to_vec()).await
}

/// What a server started on the disk of one killed at this instant would see.
fn crash_copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for name in [log::path(from).file_name().unwrap().to_str().unwrap(), MARK_NAME] {
        std::fs::copy(from.join(name), to.path().join(name)).unwrap();
    }
    to
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(DurableStore::open(directory.path()).unwrap());
    let subject = Subject {
        open: Arc::new(move || store.clone() as Arc<dyn RegisterStore>),
        space: "probe/".into(),
        rounds: 30,
    };
    contract::all(&subject).await.unwrap();
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let store = DurableStore::open(directory.path()).unwrap();
    for version in 0..20 {
        write(&store, version, b"value").await.unwrap();
        let copy = crash_copy(directory.path());
        let reopened = DurableStore::open(copy.path()).unwrap();
        let held = reopened.read("k").await.unwrap().unwrap();
        assert_eq!(held.version, Version(version + 1));
        reopened.close().await;
    }
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_writing_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let store = DurableStore::open(directory.path()).unwrap();
    write(&store, 0, b"one").await.unwrap();
    write(&store, 1, b"two").await.unwrap();
    store.close().await;
    let path = log::path(directory.path());
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();

    let store = DurableStore::open(directory.path()).unwrap();
    assert_eq!(store.read("k").await.unwrap().unwrap().value, b"one");
    assert_eq!(write(&store, 1, b"again").await, Ok(Answer::Accepted(Version(2))));
    store.close().await;
    let store = DurableStore::open(directory.path()).unwrap();
    assert_eq!(store.read("k").await.unwrap().unwrap().value, b"again");
}

#[tokio::test]
async fn damage_and_a_vanished_log_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = DurableStore::open(directory.path()).unwrap();
    write(&store, 0, b"one").await.unwrap();
    write(&store, 1, b"two").await.unwrap();
    store.close().await;
    let path = log::path(directory.path());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = DurableStore::open(directory.path()).err().unwrap();
    assert!(error.to_string().contains("damaged at byte 16"), "{error}");
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(DurableStore::open(directory.path()), Err(OpenError::LogGone(_))));
}

#[tokio::test]
async fn two_stores_cannot_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let first = DurableStore::open(directory.path()).unwrap();
    assert!(matches!(DurableStore::open(directory.path()), Err(OpenError::InUse(_))));
    first.close().await;
    DurableStore::open(directory.path()).unwrap();
}

#[tokio::test]
async fn a_large_log_is_rewritten_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = DurableStore::open_with(directory.path(), 64 * 1024, |log| log).unwrap();
    for version in 0..500 {
        write(&store, version, &vec![b'x'; 1000]).await.unwrap();
    }
    store.compare_and_swap("other", Version(0), b"kept".to_vec()).await.unwrap();
    store.close().await;
    let bytes = std::fs::metadata(log::path(directory.path())).unwrap().len();
    assert!(bytes < 100 * 1024, "the log has {bytes} bytes");
    let store = DurableStore::open(directory.path()).unwrap();
    assert_eq!(store.read("k").await.unwrap().unwrap().version, Version(500));
    assert_eq!(store.read("other").await.unwrap().unwrap().value, b"kept");
}

/// Counts syncs; fails them, or the writes, from a given call on.
struct Scripted {
    syncs: Arc<std::sync::atomic::AtomicUsize>,
    fail_append: bool,
    fail_sync: bool,
    pause: std::time::Duration,
}

impl log::Medium for Scripted {
    fn append(&mut self, _bytes: &[u8]) -> io::Result<()> {
        if self.fail_append { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
    #[expect(clippy::disallowed_methods, reason = "a slow disk, on the writer's own thread")]
    fn sync(&mut self) -> io::Result<()> {
        std::thread::sleep(self.pause);
        self.syncs.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if self.fail_sync { Err(io::Error::other("EIO")) } else { Ok(()) }
    }
}

fn scripted(directory: &Path, medium: Scripted) -> DurableStore {
    DurableStore::open_with(directory, COMPACTION_BYTES, |mut log| {
        log.replace_medium(Box::new(medium));
        log
    })
    .unwrap()
}

#[tokio::test]
async fn a_failed_write_or_sync_ends_the_store() {
    for (fail_append, fail_sync) in [(true, false), (false, true)] {
        let directory = tempfile::tempdir().unwrap();
        let pause = std::time::Duration::ZERO;
        let medium = Scripted { syncs: Arc::default(), fail_append, fail_sync, pause };
        let store = scripted(directory.path(), medium);
        // What reached the disk is unknown, so this one is not said to be refused.
        assert!(write(&store, 0, b"x").await.unwrap_err().may_have_taken_effect());
        assert!(matches!(write(&store, 0, b"x").await, Err(StoreError::Misconfigured(_))));
        assert!(matches!(store.read("k").await, Err(StoreError::Misconfigured(_))));
        assert!(store.failure().borrow().is_some());
    }
}

#[tokio::test]
async fn changes_that_wait_share_one_sync() {
    let directory = tempfile::tempdir().unwrap();
    let syncs = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let pause = std::time::Duration::from_millis(20);
    let medium = Scripted { syncs: syncs.clone(), fail_append: false, fail_sync: false, pause };
    let store = Arc::new(scripted(directory.path(), medium));
    let tasks: Vec<_> = (0..100)
        .map(|index| {
            let store = store.clone();
            continuum_runtime::seed::spawn(async move {
                let key = format!("key-{index}");
                store.compare_and_swap(&key, Version(0), b"v".to_vec()).await
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Ok(Answer::Accepted(Version(1))));
    }
    let syncs = syncs.load(std::sync::atomic::Ordering::SeqCst);
    assert!(syncs <= 10, "100 changes took {syncs} syncs");
}

#[tokio::test]
async fn a_guard_sees_what_it_replaces_and_can_refuse() {
    let directory = tempfile::tempdir().unwrap();
    let store = DurableStore::open(directory.path()).unwrap();
    write(&store, 0, b"old").await.unwrap();
    let guard: Guard = Box::new(|old, new| {
        assert_eq!((old, new), (Some(&b"old"[..]), &b"new"[..]));
        Err(StoreError::Unauthorised("no".into()))
    });
    let answer = store.change("k", Version(1), b"new".to_vec(), Some(guard)).await;
    assert_eq!(answer, Err(StoreError::Unauthorised("no".into())));
    assert_eq!(store.read("k").await.unwrap().unwrap().value, b"old");
}
