//! The contract of a register store, as code. Every backend passes all of it.
//!
//! Each part returns the first [`Violation`] it finds, so that the suite can itself be tested
//! against stores that are wrong on purpose.

use std::sync::Arc;

use continuum_domain::Version;
use continuum_runtime::seed;
use tokio::sync::Barrier;
use tokio::task::JoinHandle;

use crate::faulty::{self, Fault, FaultyStore, Operation};
use crate::recorded::{self, Client, Plan, Tally};
use crate::register::{Answer, RegisterStore, StoreError, Versioned};
use crate::table::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// Writers that compete for each version.
const WRITERS: usize = 32;
/// Calls of the recorded history that is a part of [`all`].
const HISTORY_CALLS: u64 = 200;
/// Rounds of settling one change before it counts as never settling.
const SETTLING_ROUNDS_MAX: u32 = 100;

/// How a store broke the contract.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {problem}")]
pub struct Violation {
    /// The part of the contract.
    pub part: &'static str,
    /// What was seen, and what was due.
    pub problem: String,
}

/// A backend under test.
#[derive(Clone)]
pub struct Subject {
    /// Opens one more client of the same registers.
    pub open: Arc<dyn Fn() -> Arc<dyn RegisterStore> + Send + Sync>,
    /// Prefix of the keys the suite may use; no register under it was written before.
    pub space: String,
    /// Rounds of the parts that repeat.
    pub rounds: u64,
}

impl Subject {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.space)
    }
}

/// Runs every part.
pub async fn all(subject: &Subject) -> Result<(), Violation> {
    sequential(subject).await?;
    bounds_and_odd_keys(subject).await?;
    one_winner(subject).await?;
    lost_replies(subject).await?;
    linearizable(subject).await
}

fn expect<T: PartialEq + std::fmt::Debug>(
    part: &'static str,
    what: &str,
    seen: T,
    due: T,
) -> Result<(), Violation> {
    if seen == due {
        return Ok(());
    }
    Err(Violation { part, problem: format!("{what}: {seen:?}, where {due:?} was due") })
}

/// One client, one register: create, change, refuse, read; a refusal changes nothing and shows
/// what the register holds; registers do not touch each other.
pub async fn sequential(subject: &Subject) -> Result<(), Violation> {
    const PART: &str = "sequential";
    let store = (subject.open)();
    let (key, other) = (subject.key("sequential"), subject.key("sequential-other"));
    let swap = |version, value: &str| {
        store.compare_and_swap(&key, Version(version), value.as_bytes().to_vec())
    };
    let held =
        |version, value: &str| Some(Versioned { version: Version(version), value: value.into() });

    expect(PART, "a read of nothing", store.read(&key).await, Ok(None))?;
    expect(PART, "a change of nothing", swap(7, "x").await, Ok(Answer::Refused(None)))?;
    expect(PART, "a creation", swap(0, "one").await, Ok(Answer::Accepted(Version(1))))?;
    expect(PART, "a read", store.read(&key).await, Ok(held(1, "one")))?;
    expect(PART, "a second creation", swap(0, "x").await, Ok(Answer::Refused(held(1, "one"))))?;
    expect(PART, "a change ahead", swap(2, "x").await, Ok(Answer::Refused(held(1, "one"))))?;
    expect(PART, "a change", swap(1, "two").await, Ok(Answer::Accepted(Version(2))))?;
    expect(PART, "an old change", swap(1, "x").await, Ok(Answer::Refused(held(2, "two"))))?;
    expect(PART, "an empty value", swap(2, "").await, Ok(Answer::Accepted(Version(3))))?;
    expect(PART, "a read of it", store.read(&key).await, Ok(held(3, "")))?;
    expect(PART, "the same value again", swap(3, "").await, Ok(Answer::Accepted(Version(4))))?;
    expect(
        PART,
        "a version at the end",
        swap(u64::MAX, "x").await,
        Ok(Answer::Refused(held(4, ""))),
    )?;
    expect(PART, "another register", store.read(&other).await, Ok(None))
}

/// Keys and values up to their bounds pass unchanged, those beyond are refused without effect.
pub async fn bounds_and_odd_keys(subject: &Subject) -> Result<(), Violation> {
    const PART: &str = "bounds and odd keys";
    let store = (subject.open)();
    let longest = "k".repeat(KEY_BYTES_MAX - subject.space.len());
    let names =
        ["with space", "a//b/../c", "ümlaut-雪", "line\nbreak", "nul\0nul", "%2F?#", &longest];
    for name in names {
        let key = subject.key(name);
        let value = key.clone().into_bytes();
        let answer = store.compare_and_swap(&key, Version(0), value.clone()).await;
        expect(PART, &format!("creating {key:?}"), answer, Ok(Answer::Accepted(Version(1))))?;
        let due = Some(Versioned { version: Version(1), value });
        expect(PART, &format!("reading {key:?}"), store.read(&key).await, Ok(due))?;
    }
    let key = subject.key("large");
    let large: Vec<u8> = (0..VALUE_BYTES_MAX).map(|index| (index * 7 % 251) as u8).collect();
    let answer = store.compare_and_swap(&key, Version(0), large.clone()).await;
    expect(PART, "the largest value", answer, Ok(Answer::Accepted(Version(1))))?;
    let due = Some(Versioned { version: Version(1), value: large });
    let answer = store.compare_and_swap(&key, Version(1), vec![0; VALUE_BYTES_MAX + 1]).await;
    let refused = matches!(answer, Err(StoreError::Misconfigured(_)));
    expect(PART, "whether a larger value is refused", refused, true)?;
    expect(PART, "a read after it", store.read(&key).await, Ok(due))?;
    let too_long = format!("{}{longest}k", subject.space);
    for key in ["", &too_long] {
        let refused = matches!(store.read(key).await, Err(StoreError::Misconfigured(_)));
        expect(PART, "whether a bad key is refused", refused, true)?;
    }
    Ok(())
}

async fn joined<T>(part: &'static str, task: JoinHandle<T>) -> Result<T, Violation> {
    task.await.map_err(|error| Violation { part, problem: format!("a client ended: {error}") })
}

/// 32 clients at once, each version has exactly one winner, and the others are shown its value.
pub async fn one_winner(subject: &Subject) -> Result<(), Violation> {
    const PART: &str = "one winner";
    let key = subject.key("winner");
    let clients: Vec<_> = (0..WRITERS).map(|_| (subject.open)()).collect();
    for version in 0..subject.rounds {
        let start = Arc::new(Barrier::new(WRITERS));
        let tasks: Vec<_> = clients
            .iter()
            .enumerate()
            .map(|(index, store)| {
                let (store, key, start) = (store.clone(), key.clone(), start.clone());
                let value = format!("{version} by {index}").into_bytes();
                seed::spawn(async move {
                    start.wait().await;
                    let answer =
                        store.compare_and_swap(&key, Version(version), value.clone()).await;
                    (value, answer)
                })
            })
            .collect();
        let (mut winners, mut shown) = (Vec::new(), Vec::new());
        for task in tasks {
            match joined(PART, task).await? {
                (value, Ok(Answer::Accepted(version))) => {
                    winners.push(Versioned { version, value });
                }
                (_, Ok(Answer::Refused(current))) => shown.push(current),
                (_, Err(error)) => {
                    return Err(Violation { part: PART, problem: error.to_string() });
                }
            }
        }
        expect(PART, &format!("winners of version {}", version + 1), winners.len(), 1)?;
        let winner = winners.pop();
        let at = winner.as_ref().map(|winner| winner.version);
        expect(PART, "the winner's version", at, Some(Version(version + 1)))?;
        for current in shown {
            expect(PART, "what a loser was shown", current, winner.clone())?;
        }
        expect(PART, "a read after it", (subject.open)().read(&key).await, Ok(winner))?;
    }
    Ok(())
}

/// Changes whose request or reply is lost are settled by R9 and then took effect exactly once.
pub async fn lost_replies(subject: &Subject) -> Result<(), Violation> {
    const PART: &str = "lost replies";
    let key = subject.key("lost");
    let store =
        FaultyStore::new((subject.open)(), |call| match (call.operation, call.number % 3) {
            (Operation::CompareAndSwap, 0) => Fault::LoseReply,
            (Operation::CompareAndSwap, 1) => Fault::LoseRequest,
            _ => Fault::None,
        });
    for version in 0..subject.rounds {
        let value = format!("value {version}").into_bytes();
        settle(&store, &key, Version(version), &value).await?;
        let due = Some(Versioned { version: Version(version + 1), value });
        expect(PART, "a settled change", store.read(&key).await, Ok(due))?;
    }
    Ok(())
}

/// R9: while the version is unchanged the same change is made again, to use it up.
async fn settle(
    store: &FaultyStore,
    key: &str,
    expected: Version,
    value: &[u8],
) -> Result<(), Violation> {
    const PART: &str = "lost replies";
    for _ in 0..SETTLING_ROUNDS_MAX {
        match store.compare_and_swap(key, expected, value.to_vec()).await {
            Ok(Answer::Accepted(_)) => return Ok(()),
            Err(error) if !error.may_have_taken_effect() => {
                return Err(Violation { part: PART, problem: error.to_string() });
            }
            Ok(Answer::Refused(_)) | Err(_) => {}
        }
        let held = store.read(key).await;
        let held = held.map_err(|error| Violation { part: PART, problem: error.to_string() })?;
        let at = held.map_or(Version::ABSENT, |held| held.version);
        if at != expected {
            return expect(PART, "the version after it", at, Version(expected.0 + 1));
        }
    }
    Err(Violation { part: PART, problem: "a change never settled".into() })
}

/// A recorded concurrent history of one register is linearizable, lost replies included.
pub async fn linearizable(subject: &Subject) -> Result<(), Violation> {
    let plan = Plan { registers: 1, ..Plan::of(HISTORY_CALLS) };
    history(subject, plan).await.map(drop)
}

/// The same for histories of any length and width. Every client meets faults: requests and replies
/// that are lost or late, changes that land when nobody waits for them, calls that are given up.
pub async fn history(subject: &Subject, plan: Plan) -> Result<Tally, Violation> {
    const PART: &str = "linearizable";
    let clients = (0..plan.clients).map(|client| {
        let script = faulty::seeded(plan.seed.wrapping_add(client));
        let store = Arc::new(FaultyStore::new((subject.open)(), script));
        Client { held: vec![store.clone()], store }
    });
    let (reader, space) = ((subject.open)(), subject.key(&format!("history-{}/", plan.calls)));
    recorded::run(PART, plan, &space, clients.collect(), reader.as_ref()).await
}
