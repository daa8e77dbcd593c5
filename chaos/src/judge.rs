//! The end of a run: stop the writers, read what the survivors hold, judge.

use std::time::Duration;

use continuum_domain::Tick;

use crate::history::Attempt;
use crate::lab::{Error, Lab};
use crate::ledger::{self, Move, Survivors, Verdict};

/// A stale answer lives no longer than its TTL and this.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// What a name server that probes by itself adds: its interval and a probe's longest time, seconds each.
const FOLLOW_PROBES: Duration = Duration::from_secs(2);
/// How long the pair may take to be whole before it is judged.
const WHOLE_LIMIT: Duration = Duration::from_secs(120);

/// Everything a verdict rests on.
#[derive(Debug)]
pub struct Judged {
    /// Every attempt of the run.
    pub attempts: Vec<Attempt>,
    /// The table of the surviving primary.
    pub survivors: Survivors,
    /// The findings.
    pub verdict: Verdict,
}

impl Lab {
    /// Stops the writers, waits until the pair is whole, reads the holder's table and judges.
    ///
    /// In `async` durability writes acknowledged from `loss_since` on may be lost: an approved
    /// failover. They are counted all the same.
    pub async fn judge(
        &mut self,
        moves: &[Move],
        loss_since: Option<Tick>,
    ) -> Result<Judged, Error> {
        let attempts = self.workload()?.stop().await;
        let holder = self.wait_healthy(WHOLE_LIMIT).await?.holder;
        let holder = holder.ok_or_else(|| Error::Options("nobody holds the lease".into()))?;
        let address = self.address(&holder)?;
        let survivors = self.workload()?.survivors(address).await?;
        let exposed =
            attempts.iter().filter(|attempt| loss_since.is_some_and(|since| attempt.done >= since));
        let allowed = match self.options.durability.is_synchronous() {
            true => 0,
            false => ledger::tally(exposed, &survivors).lost.len(),
        };
        let probed = match self.layout.probed {
            Some(_) => FOLLOW_PROBES,
            None => Duration::ZERO,
        };
        let settle = self.options.name_ttl + PROBE_INTERVAL + probed;
        let answers = self.names().answers();
        let allowed = u64::try_from(allowed).unwrap_or(u64::MAX);
        let verdict = Verdict::of(&attempts, &survivors, moves, &answers, settle, allowed);
        Ok(Judged { attempts, survivors, verdict })
    }
}
