//! What a renewal of a session costs on the wire: requests of a store, bytes of its connections.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::{SessionRecord, Version};
use continuum_runtime::{Identity, Role, seed};
use continuum_witness::quorum::{AcceptorState, found};
use continuum_witness::{
    Acceptor, Answer, Cell, CellStore, Put, QuorumStore, RegisterStore, StoreError, Tag,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long an acceptor may be behind the others.
const PATIENCE: Duration = Duration::from_secs(60);
/// Renewals that are counted.
pub const RENEWALS: u64 = 50;

/// A way to a server that counts the bytes that pass, as TCP carries them.
#[derive(Clone, Default)]
pub struct Wire {
    up: Arc<AtomicU64>,
    down: Arc<AtomicU64>,
}

impl Wire {
    /// Opens one to `port` of loopback; the port to use in its place.
    pub async fn to(port: u16) -> (Self, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (wire, at) = (Self::default(), listener.local_addr().unwrap().port());
        let counted = wire.clone();
        seed::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let ((near_in, near_out), (far_in, far_out)) =
                    (near.into_split(), far.into_split());
                seed::spawn(pass(near_in, far_out, counted.up.clone()));
                seed::spawn(pass(far_in, near_out, counted.down.clone()));
            }
        });
        (wire, at)
    }

    fn bytes(&self) -> (u64, u64) {
        (self.up.load(Ordering::SeqCst), self.down.load(Ordering::SeqCst))
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    counted: Arc<AtomicU64>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        counted.fetch_add(read as u64, Ordering::SeqCst);
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    // The other end may be gone already.
    let _closed = to.shutdown().await;
}

/// A store whose calls are counted.
pub struct Counting {
    inner: Arc<dyn CellStore>,
    pub puts: AtomicU64,
    pub others: AtomicU64,
}

impl Counting {
    pub fn new(inner: Arc<dyn CellStore>) -> Arc<Self> {
        Arc::new(Self { inner, puts: AtomicU64::new(0), others: AtomicU64::new(0) })
    }

    /// Puts and other calls.
    pub fn calls(&self) -> (u64, u64) {
        (self.puts.load(Ordering::SeqCst), self.others.load(Ordering::SeqCst))
    }
}

#[async_trait]
impl CellStore for Counting {
    async fn get(&self, key: &str) -> Result<Option<Cell>, StoreError> {
        self.others.fetch_add(1, Ordering::SeqCst);
        self.inner.get(key).await
    }
    async fn put(
        &self,
        key: &str,
        expected: Option<&Tag>,
        bytes: Vec<u8>,
    ) -> Result<Put, StoreError> {
        self.puts.fetch_add(1, Ordering::SeqCst);
        self.inner.put(key, expected, bytes).await
    }
    async fn delete(&self, key: &str, expected: &Tag) -> Result<bool, StoreError> {
        self.others.fetch_add(1, Ordering::SeqCst);
        self.inner.delete(key, expected).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.others.fetch_add(1, Ordering::SeqCst);
        self.inner.list(prefix).await
    }
}

/// Renews the session of `fsn` once, the version before being `version`.
pub async fn renew(quorum: &QuorumStore, version: u64) {
    let record = SessionRecord {
        incarnation: 1,
        beat: 1_000_000 + version,
        ttl_ms: 10_000,
        renew_ms: 2_000,
    };
    let value = serde_json::to_vec(&record).unwrap();
    let answer = quorum.compare_and_swap("session/fsn", Version(version), value).await;
    assert_eq!(answer, Ok(Answer::Accepted(Version(version + 1))));
}

/// A proposer of the region `fsn` over these acceptors, which are founded first; and the incarnation of
/// each.
pub async fn region_fsn(acceptors: Vec<Acceptor>) -> (QuorumStore, BTreeMap<String, String>) {
    let incarnations = found(&acceptors).await.unwrap();
    let me = Identity::new(Role::Region, "fsn");
    (QuorumStore::new(acceptors, me, Duration::from_secs(10)), incarnations)
}

/// Waits until the acceptor holds this version of a register: the slowest is not waited for by the
/// quorum.
pub async fn holds(store: &dyn CellStore, incarnation: &str, register: &str, version: u64) {
    let key = format!("g1/{incarnation}/{register}");
    let looking = async {
        loop {
            let cell = store.get(&key).await.unwrap();
            let state = cell.map(|cell| AcceptorState::decode(&cell.bytes).unwrap());
            if state.and_then(|state| state.accepted).is_some_and(|held| held.version == version) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let looked = tokio::time::timeout(PATIENCE, looking).await;
    looked.unwrap_or_else(|_| panic!("{key} never came to version {version}"));
}

/// One renewal is one put and one read one get, whatever the store; says how many bytes that is on the
/// wire.
pub async fn check_cost(kind: &str, store: Arc<dyn CellStore>, wire: &Wire) {
    let counting = Counting::new(store);
    let acceptors = vec![Acceptor { name: kind.into(), store: counting.clone() }];
    let (quorum, _) = region_fsn(acceptors.clone()).await;
    let me = Identity::new(Role::Region, "hel");
    let reader = QuorumStore::new(acceptors, me, Duration::from_secs(10));
    let read = async || {
        let seen = reader.read("session/fsn").await.unwrap();
        assert!(seen.is_some());
    };
    // The first ones read, make the cell and fill the connection's tables of headers.
    for version in 0..10 {
        renew(&quorum, version).await;
        read().await;
    }
    let (calls, bytes) = (counting.calls(), wire.bytes());
    for version in 10..10 + RENEWALS {
        renew(&quorum, version).await;
    }
    assert_eq!(counting.calls(), (calls.0 + RENEWALS, calls.1), "{kind}: puts, other calls");
    let renewed = wire.bytes();
    for _ in 0..RENEWALS {
        read().await;
    }
    assert_eq!(counting.calls(), (calls.0 + RENEWALS, calls.1 + RENEWALS), "{kind}: puts, gets");
    let seen = wire.bytes();
    let each = |(up, down): (u64, u64), (from_up, from_down): (u64, u64)| {
        ((up - from_up) / RENEWALS, (down - from_down) / RENEWALS)
    };
    for (what, (up, down)) in [("renewal", each(renewed, bytes)), ("read", each(seen, renewed))] {
        println!("{kind}: 1 request, {up} bytes up and {down} down for each {what}");
        assert!(up > 20 && up + down < 8_000, "{kind}: {up} up, {down} down");
    }
}
