//! How long others are waited for: what a move takes is mostly the operator's time, and is told apart from
//! this agent's own.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use continuum_runtime::Clock;

use super::lock;
use crate::plane::OperatorWait;

/// Waits so far, by what was waited for.
#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<BTreeMap<&'static str, OperatorWait>>);

impl Waits {
    /// Waits for something, and counts how long. One that is given up counts as well.
    pub async fn of<T>(
        &self,
        what: &'static str,
        clock: &dyn Clock,
        waiting: impl Future<Output = T>,
    ) -> T {
        let _counted = Counted { waits: self, what, clock, began: clock.now() };
        waiting.await
    }

    /// All of them.
    pub fn all(&self) -> Vec<OperatorWait> {
        lock(&self.0).values().copied().collect()
    }

    fn count(&self, what: &'static str, took: Duration) {
        let mut waits = lock(&self.0);
        let none = OperatorWait { what, times: 0, took: Duration::ZERO };
        let wait = waits.entry(what).or_insert(none);
        wait.times += 1;
        wait.took += took;
    }
}

struct Counted<'a> {
    waits: &'a Waits,
    what: &'static str,
    clock: &'a dyn Clock,
    began: continuum_domain::Tick,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.waits.count(self.what, self.clock.now().since(self.began));
    }
}
