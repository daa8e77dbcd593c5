//! CASPaxos in worlds where a minority of acceptors is down, slow, wiped, or silent about what it
//! did, judged by a linearizability check; and the bugs that the check must find.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use continuum_domain::Version;
use continuum_runtime::seed;
use continuum_runtime::{Identity, Role};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::mark::MARK_KEY;
use super::planted::{Bug, PLANTED};
use super::{Acceptor, FoundError, QuorumStore, found};
use crate::cells::CellStore;
use crate::contract::{self, Subject};
use crate::history::{self, Event, Outcome};
use crate::memory_cells::MemoryCells;
use crate::register::{Answer, RegisterStore, StoreError, Versioned};
use flaky::Flaky;

mod flaky;
mod health;
mod moving;

const DEADLINE: Duration = Duration::from_secs(1);
const KEY: &str = "probe/register";
const PROPOSERS: u64 = 4;
const CALLS: u64 = 25;

fn acceptor(at: usize, store: Arc<dyn CellStore>) -> Acceptor {
    Acceptor { name: format!("w{at}"), store }
}

fn operator() -> Identity {
    Identity::new(Role::Operator, "tester")
}

fn region(name: &str) -> Identity {
    Identity::new(Role::Region, name)
}

fn quorum(acceptors: &[Acceptor], me: Identity) -> QuorumStore {
    QuorumStore::new(acceptors.to_vec(), me, DEADLINE)
}

async fn in_memory(count: usize) -> (Vec<Arc<MemoryCells>>, Vec<Acceptor>) {
    let cells: Vec<_> = (0..count).map(|_| Arc::new(MemoryCells::new())).collect();
    let acceptors: Vec<_> =
        cells.iter().enumerate().map(|(at, cells)| acceptor(at, cells.clone())).collect();
    found(&acceptors).await.unwrap();
    (cells, acceptors)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quorums_of_one_three_and_five_keep_the_register_contract() {
    for count in [1, 3, 5] {
        let (_, acceptors) = in_memory(count).await;
        let open = move || {
            let store = QuorumStore::new(acceptors.clone(), operator(), Duration::from_secs(20));
            Arc::new(store) as Arc<dyn RegisterStore>
        };
        let subject = Subject { open: Arc::new(open), space: "probe/".into(), rounds: 5 };
        contract::all(&subject).await.unwrap_or_else(|violation| panic!("{count}: {violation}"));
    }
}

#[derive(Default)]
struct Recorder {
    clock: AtomicU64,
    events: Mutex<Vec<Event>>,
    /// Calls that brought a decision.
    decided: AtomicU64,
}

impl Recorder {
    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst) + 1
    }
    fn record(&self, called: u64, outcome: Outcome) {
        let event = Event { called, returned: self.now(), outcome };
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

async fn client(number: u64, store: QuorumStore, recorder: Arc<Recorder>, mut rng: SmallRng) {
    let mut at = Version::ABSENT;
    for call in 0..CALLS {
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..200))).await;
        let called = recorder.now();
        if rng.random_bool(0.4) {
            if let Ok(held) = store.read(KEY).await {
                at = held.as_ref().map_or(Version::ABSENT, |held| held.version);
                recorder.record(called, Outcome::Saw(held));
            }
            continue;
        }
        let value = format!("{number}/{call}").into_bytes();
        let wrote = Versioned { version: Version(at.0 + 1), value: value.clone() };
        match store.compare_and_swap(KEY, at, value).await {
            Ok(Answer::Accepted(version)) => {
                at = version;
                recorder.decided.fetch_add(1, Ordering::SeqCst);
                recorder.record(called, Outcome::Wrote(Versioned { version, ..wrote }));
            }
            Ok(Answer::Refused(held)) => {
                at = held.as_ref().map_or(Version::ABSENT, |held| held.version);
                recorder.decided.fetch_add(1, Ordering::SeqCst);
                recorder.record(called, Outcome::Saw(held));
            }
            Err(StoreError::Unanswered(_)) => {
                recorder.record(called, Outcome::MayHaveWritten(wrote));
            }
            // Certainly not carried out: the history must be right without it.
            Err(_) => {}
        }
    }
}

/// One world; the error says what is wrong with it. Answers how many changes were decided.
async fn world(number: u64, count: usize) -> Result<u64, String> {
    let mut rng = SmallRng::seed_from_u64(number);
    let stores: Vec<_> = (0..count).map(|_| Arc::new(Flaky::new(rng.random()))).collect();
    let kind: Vec<_> =
        stores.iter().enumerate().map(|(at, flaky)| acceptor(at, flaky.cells.clone())).collect();
    found(&kind).await.map_err(|error| error.to_string())?;
    let acceptors: Vec<_> =
        stores.iter().enumerate().map(|(at, flaky)| acceptor(at, flaky.clone())).collect();
    let recorder = Arc::new(Recorder::default());
    let clients: Vec<_> = (0..PROPOSERS)
        .map(|number| {
            let store = quorum(&acceptors, operator());
            let rng = SmallRng::seed_from_u64(rng.random());
            seed::spawn(client(number, store, recorder.clone(), rng))
        })
        .collect();
    // Each loss ever is of one and the same minority: what was wiped stays out.
    let minority = count / 2;
    let wiped = rng.random_bool(0.5) && minority > 0;
    for turn in 0..6 {
        tokio::time::sleep(Duration::from_millis(rng.random_range(100..900))).await;
        for (at, store) in stores.iter().enumerate() {
            store.set_down(at < minority && rng.random_bool(0.5));
        }
        if turn == 2 && wiped {
            stores.iter().take(minority).for_each(|store| store.cells.wipe());
        }
    }
    for client in clients {
        client.await.map_err(|error| error.to_string())?;
    }
    stores.iter().for_each(|store| store.be_kind());
    let (called, last) = (recorder.now(), quorum(&acceptors, operator()).read(KEY).await);
    let last = last.map_err(|error| format!("no read after the faults: {error}"))?;
    recorder.record(called, Outcome::Saw(last));
    let events = recorder.events.lock().unwrap_or_else(PoisonError::into_inner);
    history::check(&events).map_err(|error| error.to_string())?;
    Ok(recorder.decided.load(Ordering::SeqCst))
}

fn run(number: u64, count: usize) -> Result<u64, String> {
    paused(number, world(number, count))
}

/// Runs a world under paused time, by its seed.
fn paused(number: u64, world: impl Future<Output = Result<u64, String>>) -> Result<u64, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(seed::scope(number, world))
}

#[test]
fn any_minority_may_be_down_slow_wiped_or_silent() {
    for (count, worlds) in [(1, 60), (3, 300), (5, 60)] {
        let mut decided = 0;
        for number in 0..worlds {
            decided += run(number, count)
                .unwrap_or_else(|why| panic!("{count} acceptors, world {number}: {why}"));
        }
        assert!(decided > worlds * 20, "{count} acceptors: {decided} decisions in {worlds}");
    }
}

#[test]
fn planted_bugs_are_found() {
    let bugs =
        [Bug::SkipPrepare, Bug::CountTwice, Bug::ReuseBallot, Bug::TrustEmpty, Bug::ForgetExposed];
    for bug in bugs {
        PLANTED.set(Some(bug));
        let found = (0..3_000).find(|number| run(*number, 3).is_err());
        PLANTED.set(None);
        assert!(found.is_some(), "{bug:?} was not found");
        println!("{bug:?} found in world {found:?}");
    }
}

#[test]
fn worlds_repeat() {
    assert_eq!(run(7, 3), run(7, 3));
}

#[tokio::test(start_paused = true)]
async fn a_wiped_acceptor_does_not_count_and_is_not_founded_again() {
    let (cells, acceptors) = in_memory(3).await;
    let store = quorum(&acceptors, operator());
    assert_eq!(
        store.compare_and_swap(KEY, Version(0), b"a".to_vec()).await,
        Ok(Answer::Accepted(Version(1)))
    );
    cells[0].wipe();
    assert_eq!(found(&acceptors).await, Err(FoundError::Lost("w0".into())));
    assert_eq!(
        store.compare_and_swap(KEY, Version(1), b"b".to_vec()).await,
        Ok(Answer::Accepted(Version(2)))
    );
    cells[1].wipe();
    let fresh = quorum(&acceptors, operator());
    let answer = fresh.compare_and_swap(KEY, Version(2), b"c".to_vec()).await;
    let Err(StoreError::Misconfigured(text)) = answer else { panic!("{answer:?}") };
    assert!(text.contains("w0 has lost its state") && text.contains("w1"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn founding_is_repeated_after_it_was_cut_off_and_refuses_what_is_of_others() {
    let cells: Vec<_> = (0..3).map(|_| Arc::new(MemoryCells::new())).collect();
    let acceptors: Vec<_> =
        cells.iter().enumerate().map(|(at, cells)| acceptor(at, cells.clone())).collect();
    let unfounded = quorum(&acceptors, operator()).read(KEY).await;
    assert!(matches!(unfounded, Err(StoreError::Misconfigured(_))), "{unfounded:?}");
    // As if the first try had ended after its first mark.
    let first = found(&acceptors).await.unwrap();
    let mark = cells[0].get(MARK_KEY).await.unwrap().unwrap();
    let begun =
        super::Mark { phase: super::Phase::Founding, ..super::Mark::decode(&mark.bytes).unwrap() };
    cells[0].put(MARK_KEY, Some(&mark.tag), begun.encode()).await.unwrap();
    cells[1].wipe();
    cells[2].wipe();
    assert_eq!(found(&acceptors).await, Ok(first.clone()));
    assert_eq!(found(&acceptors).await, Ok(first));
    let other =
        [acceptors[0].clone(), acceptor(7, Arc::new(MemoryCells::new())), acceptors[2].clone()];
    assert!(matches!(found(&other).await, Err(FoundError::Lost(_) | FoundError::Other { .. })));
    assert!(matches!(found(&acceptors[..2]).await, Err(FoundError::Shape(_))));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_is_one_write_per_acceptor() {
    let (cells, acceptors) = in_memory(3).await;
    let store = quorum(&acceptors, region("fsn"));
    let writes = || -> Vec<u64> {
        let last = |cells: &Arc<MemoryCells>| {
            cells.snapshot().values().map(|cell| cell.tag.0.parse::<u64>().unwrap()).max()
        };
        cells.iter().map(|cells| last(cells).unwrap_or_default()).collect()
    };
    store.compare_and_swap("session/fsn", Version(0), b"0".to_vec()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let before = writes();
    for beat in 1..=10 {
        let answer = store.compare_and_swap("session/fsn", Version(beat), vec![beat as u8]).await;
        assert_eq!(answer, Ok(Answer::Accepted(Version(beat + 1))));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let after: Vec<_> = writes().iter().zip(before).map(|(after, before)| after - before).collect();
    assert_eq!(after, [10, 10, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_session_left_half_renewed_is_read_by_others_and_never_goes_back() {
    let (cells, acceptors) = in_memory(3).await;
    let owner = quorum(&acceptors, region("fsn"));
    for beat in 0..2 {
        owner.compare_and_swap("session/fsn", Version(beat), vec![beat as u8]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // A renewal that reached one acceptor, whose owner then died.
    let old: Vec<_> = cells.iter().map(|cells| cells.snapshot()).collect();
    owner.compare_and_swap("session/fsn", Version(2), vec![9]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    for at in [1, 2] {
        for (key, cell) in &old[at] {
            let now = cells[at].get(key).await.unwrap().unwrap();
            cells[at].put(key, Some(&now.tag), cell.bytes.clone()).await.unwrap();
        }
    }
    let reader = quorum(&acceptors[..2], region("hel"));
    let seen = reader.read("session/fsn").await.unwrap().unwrap();
    assert_eq!(seen, Versioned { version: Version(3), value: vec![9] });
    // The others show the beat before; this reader does not go back to it.
    let both = [acceptors[1].clone(), acceptors[2].clone()];
    let fresh = quorum(&both, region("hel")).read("session/fsn").await.unwrap().unwrap();
    assert_eq!(fresh.version, Version(2));
    let reader = quorum(&acceptors, region("hel"));
    let unsettled = reader.read("session/fsn").await.unwrap().unwrap();
    assert!([Version(2), Version(3)].contains(&unsettled.version));
}

/// With two addresses interchanged in one region's configuration, its majority and the others' would
/// not meet: two holders.
#[tokio::test(start_paused = true)]
async fn a_store_counts_under_its_own_name_only() {
    let (cells, acceptors) = in_memory(3).await;
    let right = quorum(&acceptors, operator());
    let made = right.compare_and_swap(KEY, Version(0), b"right".to_vec()).await;
    assert_eq!(made, Ok(Answer::Accepted(Version(1))));
    let swapped =
        [acceptor(0, cells[1].clone()), acceptor(1, cells[0].clone()), acceptors[2].clone()];
    let wrong = quorum(&swapped, operator());
    let answer = wrong.compare_and_swap(KEY, Version(0), b"wrong".to_vec()).await;
    assert!(matches!(answer, Err(StoreError::Misconfigured(_))), "{answer:?}");
    let answer = wrong.read(KEY).await;
    assert!(matches!(answer, Err(StoreError::Misconfigured(_))), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn one_store_is_not_two_acceptors() {
    let one = Arc::new(MemoryCells::new());
    let twice = [
        acceptor(0, one.clone()),
        acceptor(1, one.clone()),
        acceptor(2, Arc::new(MemoryCells::new())),
    ];
    let refused = found(&twice).await;
    assert!(matches!(refused, Err(FoundError::Other { .. })), "{refused:?}");
    let unfounded = quorum(&twice, operator()).read(KEY).await;
    assert!(matches!(unfounded, Err(StoreError::Misconfigured(_))), "{unfounded:?}");
}

#[tokio::test(start_paused = true)]
async fn stores_of_different_quorums_are_not_mixed() {
    let (_, one) = in_memory(3).await;
    let (_, other) = in_memory(3).await;
    let mixed = [one[0].clone(), other[1].clone(), other[2].clone()];
    let answer = quorum(&mixed, operator()).read(KEY).await;
    let Err(StoreError::Misconfigured(text)) = answer else { panic!("{answer:?}") };
    assert!(text.contains("different quorums"), "{text}");
}
