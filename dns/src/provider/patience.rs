//! Patience with a place that is asked too often.

use std::time::Duration;

use super::ProviderError;
use crate::lookup;

/// Calls of one request that is throttled.
pub(super) const TRIES: u32 = 5;
/// Longest pause before the second try; each further one is twice as long, and each is drawn between
/// half of it and the whole, so that agents that were throttled together do not come back together.
const PAUSE: Duration = Duration::from_millis(200);

/// How one call failed.
pub(super) enum Failure {
    /// Throttled: it may be tried again, and nothing was changed.
    Later(String),
    /// Told.
    Error(ProviderError),
}

impl From<ProviderError> for Failure {
    fn from(error: ProviderError) -> Self {
        Self::Error(error)
    }
}

/// What is left of the patience with one request.
pub(super) struct Patience {
    tries: u32,
    pause: Duration,
}

impl Patience {
    pub fn new() -> Self {
        Self { tries: TRIES, pause: PAUSE }
    }

    /// Waits before the request is sent again; the error is why it is not to be.
    pub async fn after(&mut self, failure: Failure) -> Result<(), ProviderError> {
        self.tries -= 1;
        match failure {
            Failure::Later(_) if self.tries > 0 => {
                tokio::time::sleep(jittered(self.pause)).await;
                self.pause *= 2;
                Ok(())
            }
            Failure::Later(text) => Err(ProviderError::Failed(text)),
            Failure::Error(error) => Err(error),
        }
    }
}

/// Between half of `pause` and the whole of it.
fn jittered(pause: Duration) -> Duration {
    pause / 2 + pause / 2 * u32::from(lookup::random_number()) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use continuum_runtime::seed;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_are_drawn_and_end() {
        let later = || Failure::Later("too often".into());
        let mut spans = Vec::new();
        for seed in 0..4 {
            let from = tokio::time::Instant::now();
            let waiting = seed::scope(seed, async {
                let mut patience = Patience::new();
                for _ in 1..TRIES {
                    assert_eq!(patience.after(later()).await, Ok(()));
                }
                patience.after(later()).await
            });
            assert_eq!(waiting.await, Err(ProviderError::Failed("too often".into())));
            spans.push(from.elapsed());
        }
        // 200, 400, 800 and 1600 ms, each at least half.
        let whole = PAUSE * 15;
        assert!(spans.iter().all(|span| (whole / 2..=whole).contains(span)), "{spans:?}");
        spans.sort_unstable();
        spans.dedup();
        assert!(spans.len() > 1, "all waited alike");
        let told = ProviderError::Conflict("x".into());
        assert_eq!(Patience::new().after(told.clone().into()).await, Err(told));
    }
}
