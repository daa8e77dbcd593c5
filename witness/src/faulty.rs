//! Any store, with faults from a script: lost requests, lost replies, delays, late landings.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::Version;

use crate::register::{Answer, RegisterStore, StoreError, Versioned};

/// What a caller asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// [`RegisterStore::read`].
    Read,
    /// [`RegisterStore::compare_and_swap`].
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
}

type Script = Box<dyn FnMut(&Call) -> Fault + Send>;

struct Held {
    key: String,
    expected: Version,
    value: Vec<u8>,
}

struct State {
    calls: u64,
    script: Script,
    held: Vec<Held>,
}

/// A store whose calls meet the faults that a script names.
pub struct FaultyStore {
    inner: Arc<dyn RegisterStore>,
    state: Mutex<State>,
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
        let state = State { calls: 0, script: Box::new(script), held: Vec::new() };
        Self { inner, state: Mutex::new(state) }
    }

    /// Wraps `inner`; the first calls meet `faults` in order, later ones none.
    pub fn in_order(inner: Arc<dyn RegisterStore>, faults: Vec<Fault>) -> Self {
        let mut faults = faults.into_iter();
        Self::new(inner, move |_| faults.next().unwrap_or(Fault::None))
    }

    /// Replaces the script.
    pub fn set_script(&self, script: impl FnMut(&Call) -> Fault + Send + 'static) {
        self.lock().script = Box::new(script);
    }

    /// Calls made so far.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Lets the held changes reach the store, oldest first, and returns what it decided. Nobody is
    /// told: their callers gave up long ago.
    pub async fn land_held(&self) -> Vec<Result<Answer, StoreError>> {
        let held = std::mem::take(&mut self.lock().held);
        let mut answers = Vec::with_capacity(held.len());
        for Held { key, expected, value } in held {
            answers.push(self.inner.compare_and_swap(&key, expected, value).await);
        }
        answers
    }

    fn next_fault(&self, operation: Operation, key: &str) -> Fault {
        let mut state = self.lock();
        let call = Call { number: state.calls, operation, key: key.to_owned() };
        state.calls += 1;
        (state.script)(&call)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lost(what: &str) -> StoreError {
    StoreError::Unanswered(format!("scripted fault: the {what} was lost"))
}

fn not_sent() -> StoreError {
    StoreError::NotSent("scripted fault".into())
}

#[async_trait]
impl RegisterStore for FaultyStore {
    async fn read(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        match self.next_fault(Operation::Read, key) {
            Fault::None => self.inner.read(key).await,
            Fault::NotSent => Err(not_sent()),
            Fault::LoseRequest | Fault::Hold => Err(lost("request")),
            Fault::LoseReply => self.inner.read(key).await.and(Err(lost("reply"))),
            Fault::DelayRequest(span) => {
                tokio::time::sleep(span).await;
                self.inner.read(key).await
            }
            Fault::DelayReply(span) => {
                let answer = self.inner.read(key).await;
                tokio::time::sleep(span).await;
                answer
            }
        }
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Version,
        value: Vec<u8>,
    ) -> Result<Answer, StoreError> {
        match self.next_fault(Operation::CompareAndSwap, key) {
            Fault::None => self.inner.compare_and_swap(key, expected, value).await,
            Fault::NotSent => Err(not_sent()),
            Fault::LoseRequest => Err(lost("request")),
            Fault::Hold => {
                self.lock().held.push(Held { key: key.to_owned(), expected, value });
                Err(lost("request, for now,"))
            }
            Fault::LoseReply => {
                let answer = self.inner.compare_and_swap(key, expected, value).await;
                answer.and(Err(lost("reply")))
            }
            Fault::DelayRequest(span) => {
                tokio::time::sleep(span).await;
                self.inner.compare_and_swap(key, expected, value).await
            }
            Fault::DelayReply(span) => {
                let answer = self.inner.compare_and_swap(key, expected, value).await;
                tokio::time::sleep(span).await;
                answer
            }
        }
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
}
