//! The contract suite passes on every backend, and catches stores that are wrong on purpose.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::Version;
use continuum_runtime::seed;
use continuum_witness::cell_contract::{self, CellSubject};
use continuum_witness::contract::{self, Subject};
use continuum_witness::memory::MemoryStore;
use continuum_witness::memory_cells::MemoryCells;
use continuum_witness::recorded::Plan;
use continuum_witness::{Answer, CellStore, RegisterStore, ServerStore, StoreError, Versioned};

const DEADLINE: Duration = Duration::from_secs(5);

fn subject(store: Arc<dyn RegisterStore>) -> Subject {
    Subject { open: Arc::new(move || store.clone()), space: "probe/".into(), rounds: 30 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_keeps_the_contract() {
    contract::all(&subject(Arc::new(MemoryStore::new()))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cells_in_memory_keep_the_contract() {
    let store: Arc<dyn CellStore> = Arc::new(MemoryCells::new());
    let open = Arc::new(move || store.clone());
    let subject = CellSubject { open, space: "probe/".into(), rounds: 30 };
    cell_contract::all(&subject).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_keeps_the_contract_over_mutual_tls() {
    let lab = crate::common::Lab::new();
    let server = lab.start("w1").await;
    // Each client dials its own connection.
    let (network, address) = (lab.network("operator/tester"), server.address.clone());
    let open = move || {
        let store = ServerStore::new(network.clone(), address.clone(), "w1", DEADLINE);
        Arc::new(store) as Arc<dyn RegisterStore>
    };
    let subject = Subject { open: Arc::new(open), space: "probe/".into(), rounds: 10 };
    contract::all(&subject).await.unwrap();
    let tally = contract::history(&subject, Plan::of(10_000)).await.unwrap();
    tally.check_substance("server").unwrap();
    server.stop().await;
}

/// Swaps without comparing.
#[derive(Default)]
struct Blind(Mutex<Option<Versioned>>);

#[async_trait]
impl RegisterStore for Blind {
    async fn read(&self, _key: &str) -> Result<Option<Versioned>, StoreError> {
        Ok(self.0.lock().unwrap().clone())
    }
    async fn compare_and_swap(
        &self,
        _key: &str,
        expected: Version,
        value: Vec<u8>,
    ) -> Result<Answer, StoreError> {
        let version = expected.next_version();
        *self.0.lock().unwrap() = Some(Versioned { version, value });
        Ok(Answer::Accepted(version))
    }
}

trait NextVersion {
    fn next_version(self) -> Version;
}
impl NextVersion for Version {
    fn next_version(self) -> Version {
        Version(self.0.wrapping_add(1))
    }
}

/// Compares and swaps in two steps that others can come between.
struct Torn(MemoryStore);

#[async_trait]
impl RegisterStore for Torn {
    async fn read(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.0.read(key).await
    }
    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Version,
        value: Vec<u8>,
    ) -> Result<Answer, StoreError> {
        let held = self.0.read(key).await?;
        if held.as_ref().map_or(Version::ABSENT, |held| held.version) != expected {
            return Ok(Answer::Refused(held));
        }
        tokio::task::yield_now().await;
        self.0.compare_and_swap(key, expected, value).await?;
        Ok(Answer::Accepted(expected.next_version()))
    }
}

/// Answers first and applies later.
struct Hasty(Arc<MemoryStore>);

#[async_trait]
impl RegisterStore for Hasty {
    async fn read(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.0.read(key).await
    }
    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Version,
        value: Vec<u8>,
    ) -> Result<Answer, StoreError> {
        let held = self.0.read(key).await?;
        if held.as_ref().map_or(Version::ABSENT, |held| held.version) != expected {
            return Ok(Answer::Refused(held));
        }
        let (store, key) = (self.0.clone(), key.to_owned());
        seed::spawn(async move {
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            store.compare_and_swap(&key, expected, value).await
        });
        Ok(Answer::Accepted(expected.next_version()))
    }
}

/// Serves reads from a replica that is one change behind.
struct Stale {
    store: MemoryStore,
    replica: Mutex<std::collections::BTreeMap<String, Option<Versioned>>>,
}

#[async_trait]
impl RegisterStore for Stale {
    async fn read(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        Ok(self.replica.lock().unwrap().get(key).cloned().flatten())
    }
    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Version,
        value: Vec<u8>,
    ) -> Result<Answer, StoreError> {
        let before = self.store.read(key).await?;
        let answer = self.store.compare_and_swap(key, expected, value).await?;
        if matches!(answer, Answer::Accepted(_)) {
            self.replica.lock().unwrap().insert(key.into(), before);
        }
        Ok(answer)
    }
}

#[tokio::test]
async fn the_suite_catches_planted_bugs() {
    let violation = contract::sequential(&subject(Arc::new(Blind::default()))).await;
    assert!(violation.is_err(), "a swap without a compare passed");
    let hasty = || subject(Arc::new(Hasty(Arc::new(MemoryStore::new()))));
    assert!(contract::sequential(&hasty()).await.is_err(), "an early answer passed");
    assert!(contract::linearizable(&hasty()).await.is_err(), "an early answer is linearizable");
    let torn = || subject(Arc::new(Torn(MemoryStore::new())));
    assert_eq!(contract::sequential(&torn()).await, Ok(()));
    assert!(contract::one_winner(&torn()).await.is_err(), "a torn compare-and-swap passed");
    assert!(contract::linearizable(&torn()).await.is_err(), "it is linearizable");
    let stale = Stale { store: MemoryStore::new(), replica: Mutex::default() };
    assert!(contract::linearizable(&subject(Arc::new(stale))).await.is_err(), "stale reads passed");
}
