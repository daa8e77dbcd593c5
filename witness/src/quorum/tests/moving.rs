//! Acceptors are replaced while the register is in use, by a procedure that is cut off and repeated.

use std::collections::BTreeSet;

use super::*;
use crate::cells::{Cell, Put, Tag};
use crate::quorum::{Mark, Phase, ReplaceError, Replacement, Step, replace};

/// Tries after which a replacement must have come through.
const TRIES: u32 = 200;

/// What becomes of an acceptor.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// It lives on and is replaced.
    Retired,
    /// It is down for good and replaced.
    Dead,
    /// It lost everything and is taken in again.
    Wiped,
}

struct Moving {
    /// Acceptors; one more store is spare.
    members: usize,
    stores: Vec<Arc<Flaky>>,
    acceptors: Vec<Acceptor>,
    recorder: Arc<Recorder>,
}

impl Moving {
    async fn new(members: usize, rng: &mut SmallRng) -> Result<Moving, String> {
        let stores: Vec<_> = (0..=members).map(|_| Arc::new(Flaky::new(rng.random()))).collect();
        let kind = stores.iter().enumerate().map(|(at, flaky)| acceptor(at, flaky.cells.clone()));
        let kind: Vec<_> = kind.take(members).collect();
        found(&kind).await.map_err(|error| error.to_string())?;
        let acceptors =
            stores.iter().enumerate().map(|(at, flaky)| acceptor(at, flaky.clone())).collect();
        Ok(Moving { members, stores, acceptors, recorder: Arc::default() })
    }

    /// Replaces by a procedure that is cut off now and then, as a person would: until it says so.
    async fn replace(&self, old: usize, new: usize, rng: &mut SmallRng) -> Result<(), String> {
        let (old, new) = (format!("w{old}"), format!("w{new}"));
        let mut last = String::new();
        for _try in 0..TRIES {
            let me = operator();
            let mut tell = |_: Step| {};
            let work = replace(&self.acceptors, (&old, &new), (&me, DEADLINE), &mut tell);
            let patience = Duration::from_millis(rng.random_range(1..3_000));
            match tokio::time::timeout(patience, work).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error @ (ReplaceError::UnderWay { .. } | ReplaceError::Refused(_)))) => {
                    return Err(error.to_string());
                }
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => {}
            }
        }
        Err(format!("{old} was not replaced by {new}: {last}"))
    }

    /// A reader who may not write, and so carries nothing over.
    async fn reader(&self, rng: SmallRng) {
        let store = quorum(&self.acceptors, Identity::new(Role::Dns, "d1"));
        let (recorder, mut rng) = (self.recorder.clone(), rng);
        for _call in 0..CALLS {
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..200))).await;
            let called = recorder.now();
            if let Ok(held) = store.read(KEY).await {
                recorder.record(called, Outcome::Saw(held));
            }
        }
    }
}

/// One world of so many acceptors, of which a minority is lost at once; the error says what is wrong.
async fn moving_world(number: u64, members: usize) -> Result<u64, String> {
    let mut rng = SmallRng::seed_from_u64(number);
    let moving = Arc::new(Moving::new(members, &mut rng).await?);
    let spare = moving.members;
    let recorder = moving.recorder.clone();
    let mut users = Vec::new();
    for number in 0..PROPOSERS {
        let store = quorum(&moving.acceptors, operator());
        let rng = SmallRng::seed_from_u64(rng.random());
        users.push(seed::spawn(client(number, store, recorder.clone(), rng)));
    }
    for _reader in 0..2 {
        let (moving, rng) = (moving.clone(), SmallRng::seed_from_u64(rng.random()));
        users.push(seed::spawn(async move { moving.reader(rng).await }));
    }
    // Often while the register is being made.
    let after = if rng.random_bool(0.5) { 150 } else { 1_500 };
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..after))).await;
    let turn = [Turn::Retired, Turn::Dead, Turn::Wiped][rng.random_range(0..3)];
    let new = match turn {
        Turn::Retired => spare,
        Turn::Dead => {
            moving.stores[0].set_down(true);
            spare
        }
        Turn::Wiped => {
            moving.stores[0].cells.wipe();
            0
        }
    };
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..300))).await;
    // Of five another one loses its state before that is done, or while it is.
    let second = (members > 3).then_some(1);
    let wiping = second.map(|second| {
        let (store, at) = (moving.stores[second].clone(), rng.random_range(0..2_000));
        seed::spawn(async move {
            tokio::time::sleep(Duration::from_millis(at)).await;
            store.cells.wipe();
            second
        })
    });
    moving.replace(0, new, &mut rng).await.map_err(|why| format!("{turn:?}: {why}"))?;
    if let Some(wiping) = wiping {
        let second = wiping.await.map_err(|error| error.to_string())?;
        moving.replace(second, second, &mut rng).await.map_err(|why| format!("second: {why}"))?;
    }
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..500))).await;
    // The quorum bears the loss of any one again.
    let next = [1, 2, new][rng.random_range(0..3)];
    moving.stores[next].cells.wipe();
    if rng.random_bool(0.5) {
        moving.replace(next, next, &mut rng).await.map_err(|why| format!("again: {why}"))?;
    }
    for user in users {
        user.await.map_err(|error| error.to_string())?;
    }
    moving.stores.iter().for_each(|store| store.be_kind());
    let called = recorder.now();
    let last = quorum(&moving.acceptors, operator()).read(KEY).await;
    let last = last.map_err(|error| format!("no read after the faults: {error}"))?;
    recorder.record(called, Outcome::Saw(last));
    let events = recorder.events.lock().unwrap_or_else(PoisonError::into_inner);
    history::check(&events).map_err(|error| format!("{turn:?}: {error}"))?;
    Ok(recorder.decided.load(Ordering::SeqCst))
}

fn run_moving(number: u64, members: usize) -> Result<u64, String> {
    paused(number, moving_world(number, members))
}

#[test]
fn acceptors_are_replaced_under_way() {
    replaced_under_way(300, 3);
}

#[test]
fn of_five_acceptors_two_are_lost_at_once_and_replaced_under_way() {
    replaced_under_way(100, 5);
}

fn replaced_under_way(worlds: u64, members: usize) {
    let mut decided = 0;
    for number in 0..worlds {
        let ran = run_moving(number, members);
        decided += ran.unwrap_or_else(|why| panic!("world {number} of {members}: {why}"));
    }
    assert!(decided > worlds * 20, "{decided} decisions in {worlds}");
}

#[test]
fn planted_bugs_of_a_replacement_are_found() {
    for bug in [Bug::CarryUnsealed, Bug::AbsentWhileFilling] {
        PLANTED.set(Some(bug));
        let wrong = |number| run_moving(number, 3).err().filter(|why| why.contains("linearizable"));
        let found = (0..1_000).find_map(|number| Some((number, wrong(number)?)));
        PLANTED.set(None);
        assert!(found.is_some(), "{bug:?} was not found");
        println!("{bug:?} found: {found:?}");
    }
}

/// Cells with something that happens between two calls, or does not.
struct Staged {
    cells: Arc<MemoryCells>,
    /// Has a register made right after the cells were first listed.
    maker: Mutex<Option<QuorumStore>>,
    /// Whether the register's cells cannot be reached.
    deaf: bool,
}

impl Staged {
    fn hears(&self, key: &str) -> Result<(), StoreError> {
        match self.deaf && key.ends_with(KEY) {
            true => Err(StoreError::NotSent("deaf".into())),
            false => Ok(()),
        }
    }
}

#[async_trait::async_trait]
impl CellStore for Staged {
    async fn get(&self, key: &str) -> Result<Option<Cell>, StoreError> {
        self.hears(key)?;
        self.cells.get(key).await
    }
    async fn put(
        &self,
        key: &str,
        expected: Option<&Tag>,
        bytes: Vec<u8>,
    ) -> Result<Put, StoreError> {
        self.hears(key)?;
        self.cells.put(key, expected, bytes).await
    }
    async fn delete(&self, key: &str, expected: &Tag) -> Result<bool, StoreError> {
        self.cells.delete(key, expected).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let listed = self.cells.list(prefix).await;
        let maker = self.maker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(maker) = maker {
            let made = maker.compare_and_swap(KEY, Version(0), b"made".to_vec()).await;
            assert_eq!(made, Ok(Answer::Accepted(Version(1))));
        }
        listed
    }
}

async fn made_when_listed() -> Option<Versioned> {
    let (cells, acceptors) = in_memory(3).await;
    // It came to know the acceptors before any was replaced.
    let maker = quorum(&acceptors, operator());
    assert_eq!(maker.read("probe/other").await, Ok(None));
    let mut seen = acceptors.clone();
    let maker = Mutex::new(Some(maker));
    seen[2].store = Arc::new(Staged { cells: cells[2].clone(), maker, deaf: false });
    replaced(&seen, "w0", "w0").await.unwrap();
    quorum(&acceptors, operator()).read(KEY).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_is_made_while_an_acceptor_is_replaced_is_not_forgotten() {
    let made = Some(Versioned { version: Version(1), value: b"made".to_vec() });
    assert_eq!(made_when_listed().await, made);
    PLANTED.set(Some(Bug::ListFirst));
    let forgotten = made_when_listed().await;
    PLANTED.set(None);
    assert_eq!(forgotten, None, "listing before marking was not noticed");
}

/// The newest value lies at the one that lost everything and at one that cannot be reached.
async fn carried_from_the_others() -> Result<Option<Versioned>, ReplaceError> {
    let (cells, acceptors) = in_memory(3).await;
    let deaf = |at: usize| -> Arc<dyn CellStore> {
        Arc::new(Staged { cells: cells[at].clone(), maker: Mutex::default(), deaf: true })
    };
    quorum(&acceptors, operator()).compare_and_swap(KEY, Version(0), vec![1]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut without_last = acceptors.clone();
    without_last[2].store = deaf(2);
    let store = quorum(&without_last, operator());
    store.compare_and_swap(KEY, Version(1), vec![2]).await.unwrap();
    cells[0].wipe();
    let mut without_middle = acceptors.clone();
    without_middle[1].store = deaf(1);
    replaced(&without_middle, "w0", "w0").await?;
    Ok(quorum(&acceptors, operator()).read(KEY).await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn what_is_replaced_is_not_asked_what_it_held() {
    let refused = carried_from_the_others().await;
    assert!(matches!(refused, Err(ReplaceError::Register { .. })), "{refused:?}");
    PLANTED.set(Some(Bug::AskTheReplaced));
    let lost = carried_from_the_others().await;
    PLANTED.set(None);
    let old = Some(Versioned { version: Version(1), value: vec![1] });
    assert_eq!(lost, Ok(old), "asking what lost its state was not noticed");
}

async fn replaced(
    acceptors: &[Acceptor],
    old: &str,
    new: &str,
) -> Result<Replacement, ReplaceError> {
    replace(acceptors, (old, new), (&operator(), DEADLINE), &mut |_| {}).await
}

#[tokio::test(start_paused = true)]
async fn a_wiped_acceptor_is_taken_in_again_and_counts() {
    let (cells, acceptors) = in_memory(3).await;
    let store = quorum(&acceptors, operator());
    for version in 0..3 {
        store.compare_and_swap(KEY, Version(version), vec![version as u8]).await.unwrap();
    }
    cells[0].wipe();
    let done = replaced(&acceptors, "w0", "w0").await.unwrap();
    assert_eq!((done.now.generation, done.registers, done.carried, done.left), (2, 1, 1, 0));
    // Whoever used the quorum goes on without knowing, and the acceptor counts: another may go.
    cells[1].wipe();
    let answer = store.compare_and_swap(KEY, Version(3), b"on".to_vec()).await;
    assert_eq!(answer, Ok(Answer::Accepted(Version(4))));
    let fresh = quorum(&acceptors, operator()).read(KEY).await.unwrap().unwrap();
    assert_eq!(fresh, Versioned { version: Version(4), value: b"on".to_vec() });
    // Nothing of the generation before is left.
    for cells in &cells {
        assert!(cells.snapshot().keys().all(|key| !key.starts_with("g1/")), "{cells:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replacement_repeated_changes_nothing_and_the_only_acceptor_may_go() {
    let (cells, mut acceptors) = in_memory(1).await;
    acceptors.push(acceptor(1, Arc::new(MemoryCells::new())));
    let store = quorum(&acceptors, operator());
    store.compare_and_swap(KEY, Version(0), b"one".to_vec()).await.unwrap();
    let refused = replaced(&acceptors, "w0", "w0").await;
    assert!(matches!(refused, Err(ReplaceError::Refused(_))), "{refused:?}");
    replaced(&acceptors, "w0", "w1").await.unwrap();
    cells[0].wipe();
    let answer = store.compare_and_swap(KEY, Version(1), b"two".to_vec()).await;
    assert_eq!(answer, Ok(Answer::Accepted(Version(2))));
    let again = replaced(&acceptors, "w0", "w1").await.unwrap();
    assert_eq!((again.now.generation, again.carried), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let (cells, mut acceptors) = in_memory(3).await;
    let (_, others) = in_memory(3).await;
    let marks = || -> Vec<_> { cells.iter().map(|cells| cells.snapshot()).collect() };
    let before = marks();
    for (old, new, says) in [
        ("w7", "w3", "w7 is none of the acceptors"),
        ("w0", "w1", "w1 is an acceptor already"),
        ("w0", "w8", "the configuration lists no acceptor w8"),
    ] {
        let Err(ReplaceError::Refused(why)) = replaced(&acceptors, old, new).await else {
            panic!("{old} was replaced by {new}");
        };
        assert!(why.contains(says), "{why}");
    }
    acceptors.push(Acceptor { name: "w3".into(), ..others[0].clone() });
    let Err(ReplaceError::Refused(why)) = replaced(&acceptors, "w0", "w3").await else {
        panic!("an acceptor of another quorum was taken in");
    };
    assert!(why.contains("different quorums"), "{why}");
    acceptors.pop();
    assert_eq!(marks(), before);
    cells[0].wipe();
    cells[1].wipe();
    let Err(ReplaceError::Refused(why)) = replaced(&acceptors, "w0", "w0").await else {
        panic!("replaced without a majority that has its state");
    };
    assert!(why.contains("w1 has lost its state too"), "{why}");
}

/// A store that was taken in, has promised, and lost it before the others were told that all is carried
/// over: as one that lost its state at any other time.
#[tokio::test(start_paused = true)]
async fn what_is_lost_while_it_is_taken_in_is_not_taken_for_new() {
    let (cells, acceptors) = in_memory(3).await;
    quorum(&acceptors, operator()).compare_and_swap(KEY, Version(0), vec![1]).await.unwrap();
    replaced(&acceptors, "w0", "w0").await.unwrap();
    // As if it had been cut off before the last marks.
    for at in [1, 2] {
        let held = cells[at].get(MARK_KEY).await.unwrap().unwrap();
        let mark = Mark::decode(&held.bytes).unwrap();
        let mut from = mark.now.clone();
        from.generation = 1;
        from.members.insert("w0".into(), "0ld".into());
        let filling = Mark { phase: Phase::Filling, from: Some(from), ..mark };
        cells[at].put(MARK_KEY, Some(&held.tag), filling.encode()).await.unwrap();
    }
    cells[0].wipe();
    let done = replaced(&acceptors, "w0", "w0").await.unwrap();
    assert_eq!((done.now.generation, done.lost), (2, ["w0".to_owned()].into()));
    assert!(cells[0].snapshot().is_empty(), "it was taken in with nothing of what it had promised");
    let again = replaced(&acceptors, "w0", "w0").await.unwrap();
    assert_eq!((again.now.generation, again.lost), (3, BTreeSet::new()));
}

#[tokio::test(start_paused = true)]
async fn another_replacement_is_refused_while_one_is_under_way() {
    let (cells, mut acceptors) = in_memory(3).await;
    acceptors.push(acceptor(3, Arc::new(MemoryCells::new())));
    let down = Arc::new(Flaky::new(1));
    down.set_down(true);
    let mut cut = acceptors.clone();
    cut[3] = acceptor(3, down);
    // The one that comes cannot be marked: what was decided stays.
    let failed = replaced(&cut, "w0", "w3").await;
    assert!(matches!(failed, Err(ReplaceError::Store { .. })), "{failed:?}");
    cells[1].snapshot();
    replaced(&acceptors, "w0", "w3").await.unwrap();
    let done = replaced(&acceptors, "w1", "w0").await.unwrap();
    assert_eq!(done.now.names(), "w0, w2, w3");
}

/// An observation window must see each renewal that counts, and no value that comes back (R6, R7).
#[tokio::test(start_paused = true)]
async fn a_session_is_renewed_and_watched_through_a_replacement() {
    let (cells, acceptors) = in_memory(3).await;
    let owner = quorum(&acceptors, region("fsn"));
    let watcher = quorum(&acceptors, region("hel"));
    let mut at = Version(0);
    let beat = async |expected: &mut Version| {
        let answer = owner.compare_and_swap("session/fsn", *expected, b"beat".to_vec()).await;
        *expected = Version(expected.0 + 1);
        assert_eq!(answer, Ok(Answer::Accepted(*expected)));
        let seen = watcher.read("session/fsn").await.unwrap().map(|seen| seen.version);
        assert_eq!(seen, Some(*expected));
    };
    for _beat in 0..3 {
        beat(&mut at).await;
    }
    cells[0].wipe();
    let beats = async {
        for _beat in 0..10 {
            beat(&mut at).await;
            tokio::task::yield_now().await;
        }
    };
    let (done, ()) = tokio::join!(replaced(&acceptors, "w0", "w0"), beats);
    assert_eq!(done.unwrap().registers, 1);
    for _beat in 0..3 {
        beat(&mut at).await;
    }
}

/// Who decides by what was true before must not write it where something else is true now.
#[tokio::test(start_paused = true)]
async fn a_proposer_of_the_acceptors_before_writes_nothing_at_those_after() {
    let (cells, acceptors) = in_memory(3).await;
    let old = crate::quorum::view::look(&acceptors).await.unwrap();
    replaced(&acceptors, "w0", "w0").await.unwrap();
    let late = QuorumStore::at(acceptors.clone(), operator(), DEADLINE, old);
    let answer = late.compare_and_swap("next", Version(0), b"stale".to_vec()).await;
    assert!(answer.is_err(), "{answer:?}");
    let written =
        cells.iter().any(|cells| cells.snapshot().keys().any(|key| key.ends_with("/next")));
    assert!(!written, "{cells:?}");
}
