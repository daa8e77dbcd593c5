//! TLS handshakes that are not finished yet: bounded in number, and in time only where somebody waits for
//! the place. A short time alone would drop honest callers of a machine that is busy, who then dial again
//! and make it busier.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

/// Handshakes of one listener at once; connections beyond wait in the kernel.
const UNFINISHED_MAX: usize = 256;
/// How long a handshake keeps its place while others wait for one.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long one may take at all.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a handshake did not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abandoned {
    /// It took longer than any may.
    Late,
    /// It was slow, and others waited for its place.
    Crowded,
}

/// The unfinished handshakes of one listener.
pub(crate) struct Unfinished {
    places: Arc<Semaphore>,
    /// The oldest first, with whom to tell that its place is needed.
    begun: VecDeque<(Instant, oneshot::Sender<()>)>,
}

/// A place for one handshake.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    needed: oneshot::Receiver<()>,
}

impl Default for Unfinished {
    fn default() -> Self {
        Self::at_most(UNFINISHED_MAX)
    }
}

impl Unfinished {
    fn at_most(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), begun: VecDeque::new() }
    }

    /// A place, once there is one: the oldest slow handshake gives its own up.
    pub(crate) async fn place(&mut self) -> Place {
        self.begun.retain(|(_, needed)| !needed.is_closed());
        let permit = loop {
            let free = self.places.clone().acquire_owned();
            let Some((since, _)) = self.begun.front() else { break free.await };
            tokio::select! {
                biased;
                permit = free => break permit,
                () = tokio::time::sleep_until(*since + PATIENCE) => {
                    let oldest = self.begun.pop_front();
                    if oldest.is_some_and(|(_, needed)| needed.send(()).is_ok()) {
                        // It frees its place when it is next polled; no other need give up for this one.
                        break self.places.clone().acquire_owned().await;
                    }
                }
            }
        };
        let permit = permit.expect("the semaphore is never closed");
        let (sender, needed) = oneshot::channel();
        self.begun.push_back((Instant::now(), sender));
        Place { _permit: permit, needed }
    }
}

impl Place {
    /// Carries a handshake out; the place is free afterwards.
    pub(crate) async fn carry_out<T>(self, work: impl Future<Output = T>) -> Result<T, Abandoned> {
        let Self { _permit, mut needed } = self;
        tokio::select! {
            biased;
            done = work => Ok(done),
            told = &mut needed => match told {
                Ok(()) => Err(Abandoned::Crowded),
                // The listener is gone.
                Err(_) => Err(Abandoned::Late),
            },
            () = tokio::time::sleep(TIMEOUT) => Err(Abandoned::Late),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn a_slow_handshake_goes_on_where_nobody_waits_for_its_place() {
        let mut unfinished = Unfinished::at_most(2);
        let place = unfinished.place().await;
        let _other = unfinished.place().await;
        let mut slow = Box::pin(place.carry_out(pending::<()>()));
        assert!(poll!(&mut slow).is_pending());
        unfinished.begun[0].0 -= PATIENCE * 5;
        tokio::task::yield_now().await;
        assert!(poll!(&mut slow).is_pending());
    }

    #[tokio::test]
    async fn the_oldest_slow_one_gives_its_place_up_and_no_other() {
        let mut unfinished = Unfinished::at_most(2);
        let (first, second) = (unfinished.place().await, unfinished.place().await);
        let mut first = Box::pin(first.carry_out(pending::<()>()));
        let mut second = Box::pin(second.carry_out(pending::<()>()));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        // Both are slow: one place is needed, and only one is taken away.
        unfinished.begun.iter_mut().for_each(|(since, _)| *since -= PATIENCE * 2);
        let (place, told) = tokio::join!(unfinished.place(), &mut first);
        assert_eq!(told, Err(Abandoned::Crowded));
        assert!(poll!(&mut second).is_pending());
        drop(place);
    }

    #[tokio::test]
    async fn one_that_is_not_slow_keeps_its_place_from_whoever_waits() {
        let mut unfinished = Unfinished::at_most(1);
        let place = unfinished.place().await;
        let mut young = Box::pin(place.carry_out(pending::<()>()));
        assert!(poll!(&mut young).is_pending());
        unfinished.begun[0].0 -= PATIENCE / 3;
        let mut waits = Box::pin(unfinished.place());
        assert!(poll!(&mut waits).is_pending());
        assert!(poll!(&mut young).is_pending());
    }

    #[tokio::test]
    async fn a_place_is_free_again_when_its_handshake_has_ended() {
        let mut unfinished = Unfinished::at_most(1);
        for number in 0..3 {
            let place = unfinished.place().await;
            assert_eq!(place.carry_out(async { number }).await, Ok(number));
        }
        assert!(unfinished.begun.len() <= 1, "what has ended is not remembered");
        let taken = unfinished.place().await;
        {
            let mut waits = Box::pin(unfinished.place());
            assert!(poll!(&mut waits).is_pending());
        }
        drop(taken);
        unfinished.place().await;
    }
}
