//! Reads that share a round of questions to the others.
//!
//! A read is no older than its caller if the round that it rests on began after the caller came. So all who
//! come while a round is on its way share the next one, and however many read, one round at a time is asked.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

/// The rounds of one node.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    came: AtomicU64,
    last: Mutex<Last>,
}

/// The newest round that had an answer.
#[derive(Debug, Default)]
struct Last {
    /// Those with this number and lower ones came before it began.
    covers: u64,
    index: u64,
}

impl Rounds {
    /// What a round says that begins after this call. One that was begun before is waited for, and no longer
    /// than `patience`: what hangs keeps nobody. Only an answer is shared; who finds an error asks anew.
    pub(super) async fn share<E, F: Future<Output = Result<u64, E>>>(
        &self,
        patience: Duration,
        ask: impl Fn() -> F,
    ) -> Result<u64, E> {
        let number = self.came.fetch_add(1, Ordering::SeqCst) + 1;
        let Ok(mut last) = tokio::time::timeout(patience, self.last.lock()).await else {
            return ask().await;
        };
        if last.covers >= number {
            return Ok(last.index);
        }
        let covers = self.came.load(Ordering::SeqCst);
        let index = ask().await?;
        *last = Last { covers, index };
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Poll;

    use futures_util::future::join_all;
    use futures_util::poll;
    use tokio::sync::oneshot;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    /// A round that the test answers: each one begun is counted, and says what was so when it began.
    #[derive(Default)]
    struct World {
        index: AtomicU64,
        begun: AtomicU64,
        ends: std::sync::Mutex<Vec<oneshot::Sender<bool>>>,
    }

    impl World {
        async fn ask(&self) -> Result<u64, ()> {
            self.begun.fetch_add(1, Ordering::SeqCst);
            let index = self.index.load(Ordering::SeqCst);
            let (send, answered) = oneshot::channel();
            self.ends.lock().unwrap().push(send);
            if answered.await == Ok(true) { Ok(index) } else { Err(()) }
        }

        fn end(&self, well: bool) {
            self.ends.lock().unwrap().pop().unwrap().send(well).unwrap();
        }

        fn begun(&self) -> u64 {
            self.begun.load(Ordering::SeqCst)
        }
    }

    fn read<'a>(
        rounds: &'a Rounds,
        world: &'a World,
    ) -> impl Future<Output = Result<u64, ()>> + 'a {
        rounds.share(LONG, || world.ask())
    }

    #[tokio::test]
    async fn whoever_came_during_a_round_shares_the_next_one_and_never_the_one_on_its_way() {
        let (rounds, world) = (Rounds::default(), World::default());
        world.index.store(5, Ordering::SeqCst);
        let mut first = Box::pin(read(&rounds, &world));
        assert!(poll!(&mut first).is_pending());
        // Committed after the first round began: only a later round may answer who comes now.
        world.index.store(6, Ordering::SeqCst);
        let mut later: Vec<_> = (0..20).map(|_| Box::pin(read(&rounds, &world))).collect();
        for one in &mut later {
            assert!(poll!(one).is_pending());
        }
        world.end(true);
        assert_eq!(first.await, Ok(5));
        let mut all = Box::pin(join_all(later));
        assert!(poll!(&mut all).is_pending());
        assert_eq!(world.begun(), 2);
        world.end(true);
        assert_eq!(all.await, vec![Ok(6); 20]);
        assert_eq!(world.begun(), 2);
    }

    #[tokio::test]
    async fn an_error_and_an_abandoned_round_are_nobody_elses() {
        let (rounds, world) = (Rounds::default(), World::default());
        let mut abandoned = Box::pin(read(&rounds, &world));
        assert!(poll!(&mut abandoned).is_pending());
        let mut second = Box::pin(read(&rounds, &world));
        let mut third = Box::pin(read(&rounds, &world));
        assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
        drop(abandoned);
        assert!(poll!(&mut second).is_pending());
        assert_eq!(world.begun(), 2);
        world.end(false);
        assert_eq!(poll!(&mut second), Poll::Ready(Err(())));
        drop(second);
        assert!(poll!(&mut third).is_pending());
        assert_eq!(world.begun(), 3);
        world.end(true);
        assert_eq!(third.await, Ok(0));
    }

    #[tokio::test]
    async fn a_round_that_hangs_keeps_nobody() {
        let (rounds, world) = (Arc::new(Rounds::default()), Arc::new(World::default()));
        let mut hangs = Box::pin(read(&rounds, &world));
        assert!(poll!(&mut hangs).is_pending());
        let mut next = Box::pin(rounds.share(Duration::ZERO, || world.ask()));
        while world.begun() < 2 {
            assert!(poll!(&mut next).is_pending());
            tokio::task::yield_now().await;
        }
        world.end(true);
        assert_eq!(next.await, Ok(0));
    }
}
