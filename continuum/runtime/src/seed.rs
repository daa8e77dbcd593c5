//! The randomness and task seam.
//!
//! Inside [`scope`] every draw comes from the scope's seed and each spawned task gets a child seed;
//! outside any scope draws come from the operating system. Production and simulation therefore run
//! the same code. A scope may also carry a [`Freezer`], which models a stopped process: none of
//! the scope's tasks is polled while it is frozen.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// What tasks inherit.
struct Scope {
    seed: Cell<u64>,
    freezer: Option<Freezer>,
}

tokio::task_local! { static SCOPE: Scope; }

/// Set by a simulator: a draw or a task outside any scope is then a defect, not a feature.
static SCOPE_REQUIRED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static OUTSIDE: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Runs `future` with all randomness derived from `seed`.
pub fn scope<F: Future>(seed: u64, future: F) -> impl Future<Output = F::Output> {
    SCOPE.scope(Scope { seed: Cell::new(seed), freezer: None }, future)
}

/// The same for a process that can be frozen: `future` and every task spawned below it stand still
/// while `freezer` is frozen.
pub fn freezable_scope<F: Future>(
    seed: u64,
    freezer: Freezer,
    future: F,
) -> impl Future<Output = F::Output> {
    let scope = Scope { seed: Cell::new(seed), freezer: Some(freezer.clone()) };
    SCOPE.scope(scope, Freezable { freezer, inner: Box::pin(future) })
}

/// From now on, draws and tasks outside any scope are noted; see [`outside_scope`].
pub fn require_scope() {
    SCOPE_REQUIRED.store(true, Ordering::Relaxed);
}

/// What was drawn or spawned outside any scope on this thread since the last call.
pub fn outside_scope() -> Vec<String> {
    OUTSIDE.take()
}

/// A generator for the current scope, or one seeded by the operating system outside a scope.
#[expect(clippy::disallowed_methods, reason = "this is the seam the ban points to")]
pub fn rng() -> SmallRng {
    match child_seed() {
        Some(seed) => SmallRng::seed_from_u64(seed),
        None => {
            note_outside("a draw");
            SmallRng::from_rng(&mut rand::rng())
        }
    }
}

/// A random lower-case identifier of `length` characters, starting with a letter.
pub fn random_id(length: usize) -> String {
    let mut rng = rng();
    (0..length)
        .map(|index| {
            let range = if index == 0 { 26 } else { 36 };
            char::from(b"abcdefghijklmnopqrstuvwxyz0123456789"[rng.random_range(0..range)])
        })
        .collect()
}

/// A secret of 256 bits, hexadecimal: from the operating system's generator for cryptography outside
/// any scope.
#[expect(clippy::disallowed_methods, reason = "this is the seam the ban points to")]
pub fn secret() -> String {
    let mut bytes = [0u8; 32];
    match child_seed() {
        Some(seed) => SmallRng::seed_from_u64(seed).fill(&mut bytes),
        None => {
            note_outside("a secret");
            rand::rng().fill(&mut bytes);
        }
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Spawns a task whose randomness derives from this one's, and which stands still with it.
#[expect(clippy::disallowed_methods, reason = "this is the seam the ban points to")]
#[track_caller]
pub fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match Inherited::here() {
        Some(Inherited { seed, freezer: Some(freezer) }) => {
            tokio::spawn(freezable_scope(seed, freezer, future))
        }
        Some(Inherited { seed, freezer: None }) => tokio::spawn(scope(seed, future)),
        None => {
            note_outside("a task");
            tokio::spawn(future)
        }
    }
}

/// Runs work that computes for long or waits for a disk on a thread of its own, so that it holds up
/// nothing else. Inside a scope it runs here: when another thread is done is nothing that a seed
/// could decide.
///
/// # Errors
/// The work panicked, or the runtime is shutting down.
#[expect(clippy::disallowed_methods, reason = "this is the seam the ban points to")]
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<T> {
    if SCOPE.try_with(|_| ()).is_ok() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)
}

/// Draws a seed for a child from the current scope, if there is one.
pub fn child_seed() -> Option<u64> {
    SCOPE.try_with(|scope| draw(&scope.seed)).ok()
}

fn draw(cell: &Cell<u64>) -> u64 {
    let mut generator = SmallRng::seed_from_u64(cell.get());
    let out = generator.random();
    cell.set(generator.random());
    out
}

#[track_caller]
fn note_outside(what: &str) {
    if SCOPE_REQUIRED.load(Ordering::Relaxed) {
        let place = std::panic::Location::caller();
        OUTSIDE.with_borrow_mut(|all| all.push(format!("{what} at {place}")));
    }
}

/// A scope to hand over to work that a library polls in tasks of its own.
#[derive(Clone)]
pub struct Inherited {
    seed: u64,
    freezer: Option<Freezer>,
}

impl Inherited {
    /// A child of the current scope; `None` outside any.
    pub fn here() -> Option<Self> {
        SCOPE
            .try_with(|scope| Self { seed: draw(&scope.seed), freezer: scope.freezer.clone() })
            .ok()
    }

    /// The scope of the `index`-th piece of work below this one.
    pub fn child(&self, index: u64) -> Self {
        let seed = SmallRng::seed_from_u64(self.seed ^ index.rotate_left(32)).random();
        Self { seed, freezer: self.freezer.clone() }
    }

    /// Runs `future` in this scope.
    pub fn run<F>(self, future: F) -> Pin<Box<dyn Future<Output = F::Output> + Send>>
    where
        F: Future + Send + 'static,
    {
        match self.freezer {
            Some(freezer) => Box::pin(freezable_scope(self.seed, freezer, future)),
            None => Box::pin(scope(self.seed, future)),
        }
    }
}

/// Stops and continues all tasks of one process of a simulation.
#[derive(Clone, Default)]
pub struct Freezer(Arc<Mutex<Frozen>>);

#[derive(Default)]
struct Frozen {
    frozen: bool,
    waiting: Vec<Waker>,
}

impl Freezer {
    /// A process that runs.
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Frozen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stands still from now on.
    pub fn freeze(&self) {
        self.inner().frozen = true;
    }

    /// Goes on; tasks are woken in the order in which they were stopped.
    pub fn thaw(&self) {
        let waiting = {
            let mut inner = self.inner();
            inner.frozen = false;
            std::mem::take(&mut inner.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whether it stands still.
    pub fn is_frozen(&self) -> bool {
        self.inner().frozen
    }

    /// Registers to be woken at the thaw, if frozen.
    fn holds(&self, waker: &Waker) -> bool {
        let mut inner = self.inner();
        if inner.frozen {
            inner.waiting.push(waker.clone());
        }
        inner.frozen
    }
}

struct Freezable<F> {
    freezer: Freezer,
    inner: Pin<Box<F>>,
}

impl<F: Future> Future for Freezable<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.freezer.holds(context.waker()) {
            return Poll::Pending;
        }
        self.inner.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn blocking_work_stays_on_this_thread_in_a_scope_and_leaves_it_outside() {
        let here = std::thread::current().id();
        let id = || std::thread::current().id();
        assert_eq!(scope(3, async { blocking(id).await.unwrap() }).await, here);
        assert_ne!(blocking(id).await.unwrap(), here);
    }

    #[tokio::test]
    async fn a_frozen_scope_stands_still_with_its_children_and_goes_on() {
        let freezer = Freezer::new();
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let work = freezable_scope(7, freezer.clone(), async move {
            spawn(async move {
                gone.await.unwrap();
                sender.send(child_seed()).unwrap();
            })
            .await
            .unwrap();
        });
        let task = tokio::task::JoinSet::from_iter([work]);
        tokio::task::yield_now().await;
        freezer.freeze();
        go.send(()).unwrap();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(receiver.try_recv().is_err(), "a frozen task ran");
        freezer.thaw();
        assert!(receiver.recv().await.unwrap().is_some());
        task.join_all().await;
    }

    #[tokio::test]
    async fn the_same_seed_draws_the_same() {
        let draws = || scope(9, async { (random_id(8), spawn(async { random_id(8) }).await) });
        let (first, second) = (draws().await, draws().await);
        assert_eq!((first.0, first.1.unwrap()), (second.0, second.1.unwrap()));
    }
}
