//! Answers that somebody waits for in another task.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use continuum_cnpg_pair::PlaneError;
use tokio::sync::oneshot;

type Slot<T> = Mutex<Option<oneshot::Sender<Result<T, PlaneError>>>>;

/// Who waits for the answer to a command. Dropped unanswered, it says that the guard is gone (or
/// what [`Reply::or_else`] set).
pub(super) struct Reply<T> {
    slot: Arc<Slot<T>>,
    otherwise: Option<PlaneError>,
}

/// The same answer, for the clock of the one who waits: it may come first.
pub(super) struct Limit<T>(Weak<Slot<T>>);

impl<T> Reply<T> {
    /// A reply and where its answer comes out.
    pub fn new() -> (Self, oneshot::Receiver<Result<T, PlaneError>>) {
        let (sender, receiver) = oneshot::channel();
        let otherwise = PlaneError::GuardLost("the connection ended before the answer".into());
        (Self { slot: Arc::new(Mutex::new(Some(sender))), otherwise: Some(otherwise) }, receiver)
    }

    /// What is answered if nobody answers.
    pub fn or_else(mut self, error: PlaneError) -> Self {
        self.otherwise = Some(error);
        self
    }

    pub fn limit(&self) -> Limit<T> {
        Limit(Arc::downgrade(&self.slot))
    }

    /// Answers, now.
    pub fn send(self, result: Result<T, PlaneError>) {
        put(&self.slot, result);
    }
}

impl<T> Limit<T> {
    /// Answers unless it is answered.
    pub fn send(self, error: PlaneError) {
        if let Some(slot) = self.0.upgrade() {
            put(&slot, Err(error));
        }
    }
}

fn put<T>(slot: &Slot<T>, result: Result<T, PlaneError>) {
    let sender = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(sender) = sender {
        // Whoever asked may be gone; the command stands all the same.
        drop(sender.send(result));
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(error) = self.otherwise.take() {
            put(&self.slot, Err(error));
        }
    }
}
