//! Any store, with faults from a script: lost requests, lost replies, delays, late landings, calls
//! that are given up.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::Version;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::register::{Answer, RegisterStore, StoreError, Versioned};

/// Longest delay that [`seeded`] draws, in microseconds: about as long as a call takes, so that a call
/// that is given up is caught at any of its stages.
const SEEDED_SPAN_US_MAX: u64 = 6_000;

/// What a caller asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// [`RegisterStore::read`], or a cell's `get`.
    Read,
    /// [`RegisterStore::compare_and_swap`], or a cell's `put`.
    CompareAndSwap,
}

/// One call, as the script sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Calls before this one, on this store.
    pub number: u64,
    /// What was asked.
    pub operation: Operation,
    /// The key.
    pub key: String,
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: it is carried out and answered.
    None,
    /// It is refused before it is sent: certainly not carried out.
    NotSent,
    /// The request is lost: not carried out, and the caller does not know.
    LoseRequest,
    /// It is carried out and the reply is lost.
    LoseReply,
    /// It is given up unanswered and is carried out only at [`FaultyStore::land_held`]. A read is
    /// only lost.
    Hold,
    /// It waits before it is carried out.
    DelayRequest(Duration),
    /// It is carried out at once and the reply is late.
    DelayReply(Duration),
    /// It is dropped unfinished after the span, wherever it is by then.
    GiveUp(Duration),
}

/// Draws each call's fault by `seed`: about a third of the calls meet one, of every kind.
pub fn seeded(seed: u64) -> impl FnMut(&Call) -> Fault + Send + 'static {
    let mut rng = SmallRng::seed_from_u64(seed);
    move |_| {
        let span = Duration::from_micros(rng.random_range(0..SEEDED_SPAN_US_MAX));
        match rng.random_range(0..100) {
            0..2 => Fault::NotSent,
            2..6 => Fault::LoseRequest,
            6..13 => Fault::LoseReply,
            13..18 => Fault::Hold,
            18..23 => Fault::DelayRequest(span),
            23..28 => Fault::DelayReply(span),
            28..34 => Fault::GiveUp(span),
            _ => Fault::None,
        }
    }
}

type Script = Box<dyn FnMut(&Call) -> Fault + Send>;

type Change<A> = Pin<Box<dyn Future<Output = Result<A, StoreError>> + Send>>;

struct State<A> {
    calls: u64,
    script: Script,
    held: Vec<Change<A>>,
}

/// A script, and the changes that it holds back. `A` is the answer to a change.
pub(crate) struct Faults<A>(Mutex<State<A>>);

impl<A> Faults<A> {
    pub(crate) fn new(script: impl FnMut(&Call) -> Fault + Send + 'static) -> Self {
        Self(Mutex::new(State { calls: 0, script: Box::new(script), held: Vec::new() }))
    }

    /// Lets `call` meet the next fault.
    pub(crate) async fn read<T>(
        &self,
        key: &str,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        meet(self.next(Operation::Read, key), call).await
    }

    /// The same for a change, which may be held back.
    pub(crate) async fn change(
        &self,
        key: &str,
        call: impl Future<Output = Result<A, StoreError>> + Send + 'static,
    ) -> Result<A, StoreError> {
        match self.next(Operation::CompareAndSwap, key) {
            Fault::Hold => {
                self.lock().held.push(Box::pin(call));
                Err(lost("request, for now,"))
            }
            fault => meet(fault, call).await,
        }
    }

    /// Carries out what is held, oldest first.
    pub(crate) async fn land(&self) -> Vec<Result<A, StoreError>> {
        let held = std::mem::take(&mut self.lock().held);
        let mut answers = Vec::with_capacity(held.len());
        for change in held {
            answers.push(change.await);
        }
        answers
    }

    fn next(&self, operation: Operation, key: &str) -> Fault {
        let mut state = self.lock();
        let call = Call { number: state.calls, operation, key: key.to_owned() };
        state.calls += 1;
        (state.script)(&call)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<A>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn meet<T>(
    fault: Fault,
    call: impl Future<Output = Result<T, StoreError>> + Send,
) -> Result<T, StoreError> {
    match fault {
        Fault::None => call.await,
        Fault::NotSent => Err(StoreError::NotSent("scripted fault".into())),
        Fault::LoseRequest | Fault::Hold => Err(lost("request")),
        Fault::LoseReply => call.await.and(Err(lost("reply"))),
        Fault::DelayRequest(span) => {
            tokio::time::sleep(span).await;
            call.await
        }
        Fault::DelayReply(span) => {
            let answer = call.await;
            tokio::time::sleep(span).await;
            answer
        }
        Fault::GiveUp(span) => match tokio::time::timeout(span, call).await {
            Ok(answer) => answer,
            Err(_) => Err(lost("caller's patience")),
        },
    }
}

fn lost(what: &str) -> StoreError {
    StoreError::Unanswered(format!("scripted fault: the {what} was lost"))
}

/// A store that holds changes back.
#[async_trait]
pub trait Holding: Send + Sync + 'static {
    /// Lets the held changes reach the store, oldest first. Nobody is told what it decided: their
    /// callers gave up long ago.
    async fn land(&self);
}

/// A store whose calls meet the faults that a script names.
pub struct FaultyStore {
    inner: Arc<dyn RegisterStore>,
    faults: Faults<Answer>,
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

impl FaultyStore {
    /// Wraps `inner`; `script` is asked once for each call, in the order of the calls.
    pub fn new(
        inner: Arc<dyn RegisterStore>,
        script: impl FnMut(&Call) -> Fault + Send + 'static,
    ) -> Self {
        Self { inner, faults: Faults::new(script) }
    }

    /// Wraps `inner`; the first calls meet `faults` in order, later ones none.
    pub fn in_order(inner: Arc<dyn RegisterStore>, faults: Vec<Fault>) -> Self {
        let mut faults = faults.into_iter();
        Self::new(inner, move |_| faults.next().unwrap_or(Fault::None))
    }

    /// Replaces the script.
    pub fn set_script(&self, script: impl FnMut(&Call) -> Fault + Send + 'static) {
        self.faults.lock().script = Box::new(script);
    }

    /// Calls made so far.
    pub fn calls(&self) -> u64 {
        self.faults.lock().calls
    }

    /// [`Holding::land`], and what the store decided.
    pub async fn land_held(&self) -> Vec<Result<Answer, StoreError>> {
        self.faults.land().await
    }
}

#[async_trait]
impl Holding for FaultyStore {
    async fn land(&self) {
        self.land_held().await;
    }
}

#[async_trait]
impl RegisterStore for FaultyStore {
    async fn read(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.faults.read(key, self.inner.read(key)).await
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Version,
        value: Vec<u8>,
    ) -> Result<Answer, StoreError> {
        let (inner, owned) = (self.inner.clone(), key.to_owned());
        let call = async move { inner.compare_and_swap(&owned, expected, value).await };
        self.faults.change(key, call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;

    #[tokio::test]
    async fn each_fault_does_what_it_says() {
        let memory = Arc::new(MemoryStore::new());
        let store = FaultyStore::in_order(
            memory.clone(),
            vec![Fault::NotSent, Fault::LoseRequest, Fault::LoseReply, Fault::Hold],
        );
        let swap = |expected, value: &'static [u8]| {
            store.compare_and_swap("k", Version(expected), value.to_vec())
        };
        assert!(matches!(swap(0, b"a").await, Err(StoreError::NotSent(_))));
        assert!(swap(0, b"b").await.unwrap_err().may_have_taken_effect());
        assert_eq!(memory.read("k").await, Ok(None));
        assert!(swap(0, b"c").await.unwrap_err().may_have_taken_effect());
        assert_eq!(memory.read("k").await.unwrap().unwrap().value, b"c");

        assert!(swap(1, b"late").await.unwrap_err().may_have_taken_effect());
        assert_eq!(memory.read("k").await.unwrap().unwrap().version, Version(1));
        assert_eq!(store.land_held().await, [Ok(Answer::Accepted(Version(2)))]);
        assert_eq!(store.read("k").await.unwrap().unwrap().value, b"late");
        assert_eq!(store.calls(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_given_up_where_it_is() {
        let memory = Arc::new(MemoryStore::new());
        let slow =
            |span| FaultyStore::in_order(memory.clone(), vec![Fault::DelayReply(ms(span)); 2]);
        let span = ms(5);
        let store = FaultyStore::in_order(Arc::new(slow(10)), vec![Fault::GiveUp(span)]);
        let answer = store.compare_and_swap("k", Version(0), b"a".to_vec()).await;
        assert!(answer.unwrap_err().may_have_taken_effect());
        assert_eq!(memory.read("k").await.unwrap().unwrap().value, b"a");
        let store = FaultyStore::in_order(Arc::new(slow(3)), vec![Fault::GiveUp(span)]);
        let answer = store.compare_and_swap("k", Version(1), b"b".to_vec()).await;
        assert_eq!(answer, Ok(Answer::Accepted(Version(2))));
    }

    #[test]
    fn a_seed_draws_every_fault_and_the_same_again() {
        let call = Call { number: 0, operation: Operation::Read, key: "k".into() };
        let draw = |seed| {
            let mut script = seeded(seed);
            (0..500).map(|_| script(&call)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let kinds: Vec<_> = draw(7).iter().map(std::mem::discriminant).collect();
        let different = kinds.iter().enumerate().filter(|(at, kind)| !kinds[..*at].contains(kind));
        assert_eq!(different.count(), 8);
    }

    fn ms(span: u64) -> Duration {
        Duration::from_millis(span)
    }
}
