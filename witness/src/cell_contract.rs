//! The contract of a cell store, as code. Every backend passes all of it before it may be an acceptor.
//!
//! Each part returns the first [`Violation`] it finds, so that the suite can itself be tested
//! against stores that are wrong on purpose.

use std::sync::Arc;

use continuum_runtime::seed;
use tokio::sync::Barrier;

use crate::cell_registers::CellRegisters;
use crate::cells::{CELL_BYTES_MAX, CELL_KEY_BYTES_MAX, Cell, CellStore, Put, Tag};
use crate::contract::Violation;
use crate::faulty;
use crate::faulty_cells::FaultyCells;
use crate::recorded::{self, Client, Plan, Tally};
use crate::register::StoreError;

/// Writers that compete for each tag.
const WRITERS: u64 = 32;

/// A backend under test.
#[derive(Clone)]
pub struct CellSubject {
    /// Opens one more client of the same cells.
    pub open: Arc<dyn Fn() -> Arc<dyn CellStore> + Send + Sync>,
    /// Prefix of the keys the suite may use; no cell under it was written before.
    pub space: String,
    /// Rounds of the parts that repeat.
    pub rounds: u64,
}

impl CellSubject {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.space)
    }
}

/// Runs every part.
pub async fn all(subject: &CellSubject) -> Result<(), Violation> {
    sequential(subject).await?;
    odd_keys_and_sizes(subject).await?;
    listing_and_removal(subject).await?;
    one_winner(subject).await
}

fn broken(part: &'static str, problem: impl Into<String>) -> Violation {
    Violation { part, problem: problem.into() }
}

fn answered<T>(
    part: &'static str,
    what: &str,
    answer: Result<T, StoreError>,
) -> Result<T, Violation> {
    answer.map_err(|error| broken(part, format!("{what}: {error}")))
}

fn written(
    part: &'static str,
    what: &str,
    answer: Result<Put, StoreError>,
) -> Result<Tag, Violation> {
    match answered(part, what, answer)? {
        Put::Written(tag) => Ok(tag),
        Put::Conflict(_) => Err(broken(part, format!("{what}: refused"))),
    }
}

fn refused(
    part: &'static str,
    what: &str,
    answer: Result<Put, StoreError>,
    held: Option<&[u8]>,
) -> Result<(), Violation> {
    match answered(part, what, answer)? {
        Put::Written(_) => Err(broken(part, format!("{what}: written"))),
        Put::Conflict(cell) if cell.as_ref().map(|cell| cell.bytes.as_slice()) == held => Ok(()),
        Put::Conflict(cell) => Err(broken(part, format!("{what}: refused, and shown {cell:?}"))),
    }
}

async fn reads(
    part: &'static str,
    store: &dyn CellStore,
    key: &str,
    due: Option<(&Tag, &[u8])>,
) -> Result<(), Violation> {
    let seen = answered(part, "a read", store.get(key).await)?;
    let due = due.map(|(tag, bytes)| Cell { tag: tag.clone(), bytes: bytes.to_vec() });
    if seen == due {
        return Ok(());
    }
    Err(broken(part, format!("a read of {key:?} showed {seen:?}, where {due:?} was due")))
}

/// One client, one cell: create, change, refuse, read. A refusal changes nothing and shows what the
/// cell holds; cells do not touch each other.
pub async fn sequential(subject: &CellSubject) -> Result<(), Violation> {
    const PART: &str = "sequential";
    let store = (subject.open)();
    let (key, other) = (subject.key("sequential"), subject.key("sequential-other"));
    let put = |expected: Option<Tag>, bytes: &'static str| {
        let (store, key) = (store.clone(), key.clone());
        async move { store.put(&key, expected.as_ref(), bytes.into()).await }
    };
    reads(PART, store.as_ref(), &key, None).await?;
    let one = written(PART, "a creation", put(None, "one").await)?;
    reads(PART, store.as_ref(), &key, Some((&one, b"one"))).await?;
    refused(PART, "a second creation", put(None, "other").await, Some(b"one"))?;
    let two = written(PART, "a change", put(Some(one.clone()), "two").await)?;
    refused(PART, "a change by an old tag", put(Some(one.clone()), "old").await, Some(b"two"))?;
    reads(PART, (subject.open)().as_ref(), &key, Some((&two, b"two"))).await?;
    let absent = store.put(&other, Some(&two), b"x".to_vec()).await;
    refused(PART, "a change of a cell that is not there", absent, None)?;
    reads(PART, store.as_ref(), &other, None).await
}

/// Keys and contents up to their bounds pass unchanged, those beyond are refused without effect.
pub async fn odd_keys_and_sizes(subject: &CellSubject) -> Result<(), Violation> {
    const PART: &str = "odd keys and sizes";
    let store = (subject.open)();
    let longest = "k".repeat(CELL_KEY_BYTES_MAX - subject.space.len());
    let names =
        ["with space", "a//b/../c", "A", "ümlaut-雪", "line\nbreak", "nul\0nul", "%2F?#", &longest];
    for name in names {
        let key = subject.key(name);
        let tag = written(PART, &key, store.put(&key, None, key.clone().into_bytes()).await)?;
        reads(PART, store.as_ref(), &key, Some((&tag, key.as_bytes()))).await?;
    }
    reads(PART, store.as_ref(), &subject.key("a"), None).await?;
    let key = subject.key("large");
    let large: Vec<u8> = (0..CELL_BYTES_MAX).map(|index| (index * 7 % 251) as u8).collect();
    let tag = written(PART, "the largest", store.put(&key, None, large.clone()).await)?;
    let larger = store.put(&key, Some(&tag), vec![0; CELL_BYTES_MAX + 1]).await;
    if !matches!(larger, Err(StoreError::Misconfigured(_))) {
        return Err(broken(PART, format!("one larger than the largest: {larger:?}")));
    }
    reads(PART, store.as_ref(), &key, Some((&tag, &large))).await?;
    for key in ["", &format!("{}{longest}k", subject.space)] {
        let answer = store.get(key).await;
        if !matches!(answer, Err(StoreError::Misconfigured(_))) {
            return Err(broken(PART, format!("a bad key was answered {answer:?}")));
        }
    }
    Ok(())
}

/// A list shows what is there; a removal needs the tag, and a tag does not outlive its cell.
pub async fn listing_and_removal(subject: &CellSubject) -> Result<(), Violation> {
    const PART: &str = "listing and removal";
    let store = (subject.open)();
    let keys: Vec<String> = (0..3).map(|at| subject.key(&format!("list/{at}"))).collect();
    let mut tags = Vec::new();
    for key in &keys {
        tags.push(written(PART, key, store.put(key, None, key.clone().into_bytes()).await)?);
    }
    written(PART, "beside", store.put(&subject.key("listen"), None, b"beside".to_vec()).await)?;
    let mut listed = answered(PART, "a list", store.list(&subject.key("list/")).await)?;
    listed.sort();
    if listed != keys {
        return Err(broken(PART, format!("listed {listed:?}, where {keys:?} are")));
    }
    let changed =
        written(PART, "a change", store.put(&keys[0], Some(&tags[0]), b"new".to_vec()).await)?;
    if answered(PART, "a removal by an old tag", store.delete(&keys[0], &tags[0]).await)? {
        return Err(broken(PART, "a removal by an old tag was carried out"));
    }
    for _again in 0..2 {
        if !answered(PART, "a removal", store.delete(&keys[0], &changed).await)? {
            return Err(broken(PART, "a removal was refused"));
        }
    }
    reads(PART, store.as_ref(), &keys[0], None).await?;
    let late = store.put(&keys[0], Some(&changed), b"late".to_vec()).await;
    refused(PART, "a change of a removed cell", late, None)
}

/// 32 clients at once; of the puts that name one tag exactly one is written, and it is what is read.
pub async fn one_winner(subject: &CellSubject) -> Result<(), Violation> {
    const PART: &str = "one winner";
    let key = subject.key("winner");
    let clients: Vec<_> = (0..WRITERS).map(|_| (subject.open)()).collect();
    let mut at: Option<Tag> = None;
    for round in 0..subject.rounds {
        let start = Arc::new(Barrier::new(clients.len()));
        let tasks: Vec<_> = clients
            .iter()
            .enumerate()
            .map(|(index, store)| {
                let (store, key, start, at) =
                    (store.clone(), key.clone(), start.clone(), at.clone());
                let bytes = format!("round {round} by {index}").into_bytes();
                seed::spawn(async move {
                    start.wait().await;
                    let answer = store.put(&key, at.as_ref(), bytes.clone()).await;
                    (bytes, answer)
                })
            })
            .collect();
        let mut winners = Vec::new();
        for task in tasks {
            let (bytes, answer) =
                task.await.map_err(|error| broken(PART, format!("a client ended: {error}")))?;
            if let Put::Written(tag) = answered(PART, "a put", answer)? {
                winners.push((tag, bytes));
            }
        }
        let [(tag, bytes)] = winners.as_slice() else {
            return Err(broken(PART, format!("{} winners in round {round}", winners.len())));
        };
        reads(PART, (subject.open)().as_ref(), &key, Some((tag, bytes))).await?;
        at = Some(tag.clone());
    }
    Ok(())
}

/// A recorded concurrent history of cells is linearizable. Every client meets faults: requests and
/// replies that are lost or late, writes that land when nobody waits for them, calls that are given up.
/// Not a part of [`all`]: the length is the caller's, and so is the look at what came about.
pub async fn history(subject: &CellSubject, plan: Plan) -> Result<Tally, Violation> {
    const PART: &str = "linearizable";
    let clients = (0..plan.clients).map(|client| {
        let script = faulty::seeded(plan.seed.wrapping_add(client));
        let cells = Arc::new(FaultyCells::new((subject.open)(), script));
        Client { store: Arc::new(CellRegisters::new(cells.clone())), held: vec![cells] }
    });
    let reader = CellRegisters::new((subject.open)());
    let space = subject.key(&format!("history-{}/", plan.calls));
    recorded::run(PART, plan, &space, clients.collect(), &reader).await
}
