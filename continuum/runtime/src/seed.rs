//! The randomness and task seam.
//!
//! Inside [`scope`] every draw comes from the scope's seed and each spawned task gets a child seed;
//! outside any scope draws come from the operating system. Production and simulation therefore run
//! the same code.

use std::cell::Cell;
use std::future::Future;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

tokio::task_local! { static SEED: Cell<u64>; }

/// Runs `future` with all randomness derived from `seed`.
pub fn scope<F: Future>(seed: u64, future: F) -> impl Future<Output = F::Output> {
    SEED.scope(Cell::new(seed), future)
}

/// A generator for the current scope, or one seeded by the operating system outside a scope.
#[expect(clippy::disallowed_methods, reason = "this is the seam the ban points to")]
pub fn rng() -> SmallRng {
    match child_seed() {
        Some(seed) => SmallRng::seed_from_u64(seed),
        None => SmallRng::from_rng(&mut rand::rng()),
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

/// Spawns a task whose randomness derives from this one's.
#[expect(clippy::disallowed_methods, reason = "this is the seam the ban points to")]
pub fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match child_seed() {
        Some(seed) => tokio::spawn(SEED.scope(Cell::new(seed), future)),
        None => tokio::spawn(future),
    }
}

/// Draws a seed for a child from the current scope, if there is one.
pub fn child_seed() -> Option<u64> {
    SEED.try_with(|cell| {
        let mut generator = SmallRng::seed_from_u64(cell.get());
        let out = generator.random();
        cell.set(generator.random());
        out
    })
    .ok()
}
