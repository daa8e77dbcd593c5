use super::*;
use crate::contract::{self, Subject};
use continuum_runtime::disk::DiskFile;

async fn write(store: &DurableStore, version: u64, value: &[u8]) -> Result<Answer, StoreError> {
    store.compare_and_swap("k", Version(version), value.to_vec()).await
}

/// What a server started on the disk of one killed at this instant would see.
fn crash_copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for name in [log::LOG_NAME, MARK_NAME] {
        std::fs::copy(from.join(name), to.path().join(name)).unwrap();
    }
    to
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(DurableStore::open(directory.path()).await.unwrap());
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
    let store = DurableStore::open(directory.path()).await.unwrap();
    for version in 0..20 {
        write(&store, version, b"value").await.unwrap();
        let copy = crash_copy(directory.path());
        let reopened = DurableStore::open(copy.path()).await.unwrap();
        let held = reopened.read("k").await.unwrap().unwrap();
        assert_eq!(held.version, Version(version + 1));
        reopened.close().await;
    }
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_writing_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let store = DurableStore::open(directory.path()).await.unwrap();
    write(&store, 0, b"one").await.unwrap();
    write(&store, 1, b"two").await.unwrap();
    store.close().await;
    let path = directory.path().join(log::LOG_NAME);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();

    let store = DurableStore::open(directory.path()).await.unwrap();
    assert_eq!(store.read("k").await.unwrap().unwrap().value, b"one");
    assert_eq!(write(&store, 1, b"again").await, Ok(Answer::Accepted(Version(2))));
    store.close().await;
    let store = DurableStore::open(directory.path()).await.unwrap();
    assert_eq!(store.read("k").await.unwrap().unwrap().value, b"again");
}

#[tokio::test]
async fn damage_and_a_vanished_log_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = DurableStore::open(directory.path()).await.unwrap();
    write(&store, 0, b"one").await.unwrap();
    write(&store, 1, b"two").await.unwrap();
    store.close().await;
    let path = directory.path().join(log::LOG_NAME);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = DurableStore::open(directory.path()).await.err().unwrap();
    assert!(error.to_string().contains("damaged at byte 16"), "{error}");
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(DurableStore::open(directory.path()).await, Err(OpenError::LogGone(_))));
}

#[tokio::test]
async fn two_stores_cannot_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let first = DurableStore::open(directory.path()).await.unwrap();
    assert!(matches!(DurableStore::open(directory.path()).await, Err(OpenError::InUse(_))));
    first.close().await;
    DurableStore::open(directory.path()).await.unwrap();
}

#[tokio::test]
async fn a_large_log_is_rewritten_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(FsDisk::open(directory.path()).unwrap());
    let store = DurableStore::open_with(disk, 64 * 1024).await.unwrap();
    for version in 0..500 {
        write(&store, version, &vec![b'x'; 1000]).await.unwrap();
    }
    store.compare_and_swap("other", Version(0), b"kept".to_vec()).await.unwrap();
    store.close().await;
    let bytes = std::fs::metadata(directory.path().join(log::LOG_NAME)).unwrap().len();
    assert!(bytes < 100 * 1024, "the log has {bytes} bytes");
    let store = DurableStore::open(directory.path()).await.unwrap();
    assert_eq!(store.read("k").await.unwrap().unwrap().version, Version(500));
    assert_eq!(store.read("other").await.unwrap().unwrap().value, b"kept");
}

/// A disk that counts and delays the log's writes, or fails them.
#[derive(Clone, Debug)]
struct Scripted {
    disk: FsDisk,
    writes: Arc<std::sync::atomic::AtomicUsize>,
    fail: bool,
    pause: std::time::Duration,
}

struct ScriptedFile {
    file: Box<dyn DiskFile>,
    script: Scripted,
}

#[async_trait]
impl Disk for Scripted {
    async fn lock(&self) -> io::Result<DiskLock> {
        self.disk.lock().await
    }
    async fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list().await
    }
    async fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.disk.read(name).await
    }
    async fn replace(&self, name: &str, content: Vec<u8>) -> io::Result<()> {
        self.disk.replace(name, content).await
    }
    async fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name).await
    }
    async fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(ScriptedFile { file: self.disk.open(name).await?, script: self.clone() }))
    }
    fn describe(&self, name: &str) -> String {
        self.disk.describe(name)
    }
}

#[async_trait]
impl DiskFile for ScriptedFile {
    async fn write_at(&mut self, offset: u64, content: Vec<u8>, sync: bool) -> io::Result<()> {
        assert!(sync, "a change is answered only once it is on disk");
        tokio::time::sleep(self.script.pause).await;
        self.script.writes.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if self.script.fail {
            return Err(io::Error::other("EIO"));
        }
        self.file.write_at(offset, content, sync).await
    }
    async fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.cut(length).await
    }
}

async fn scripted(directory: &Path, fail: bool, pause_ms: u64) -> (DurableStore, Scripted) {
    let script = Scripted {
        disk: FsDisk::open(directory).unwrap(),
        writes: Arc::default(),
        fail,
        pause: std::time::Duration::from_millis(pause_ms),
    };
    (DurableStore::open_on(Arc::new(script.clone())).await.unwrap(), script)
}

#[tokio::test]
async fn a_failed_write_ends_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = scripted(directory.path(), true, 0).await;
    // What reached the disk is unknown, so this one is not said to be refused.
    assert!(write(&store, 0, b"x").await.unwrap_err().may_have_taken_effect());
    assert!(matches!(write(&store, 0, b"x").await, Err(StoreError::Misconfigured(_))));
    assert!(matches!(store.read("k").await, Err(StoreError::Misconfigured(_))));
    assert!(store.failure().borrow().is_some());
}

#[tokio::test]
async fn changes_that_wait_share_one_sync() {
    let directory = tempfile::tempdir().unwrap();
    let (store, script) = scripted(directory.path(), false, 20).await;
    let store = Arc::new(store);
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
    let syncs = script.writes.load(std::sync::atomic::Ordering::SeqCst);
    assert!(syncs <= 10, "100 changes took {syncs} syncs");
}

#[tokio::test]
async fn a_guard_sees_what_it_replaces_and_can_refuse() {
    let directory = tempfile::tempdir().unwrap();
    let store = DurableStore::open(directory.path()).await.unwrap();
    write(&store, 0, b"old").await.unwrap();
    let guard: Guard = Box::new(|old, new| {
        assert_eq!((old, new), (Some(&b"old"[..]), &b"new"[..]));
        Err(StoreError::Unauthorised("no".into()))
    });
    let answer = store.change("k", Version(1), b"new".to_vec(), Some(guard)).await;
    assert_eq!(answer, Err(StoreError::Unauthorised("no".into())));
    assert_eq!(store.read("k").await.unwrap().unwrap().value, b"old");
}
