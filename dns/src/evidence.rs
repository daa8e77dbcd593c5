//! What is known of one pair, how fresh it is, and the fence that keeps epochs from going back.

use std::time::Duration;

use continuum_domain::mutation::{Bug, planted};
use continuum_domain::{Epoch, PairRecord, RegionId, Tick};

/// What a pair's names may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known<'a> {
    /// Nothing recent enough, or things that contradict each other.
    Unknown,
    /// The register as of the newest epoch known.
    Lease {
        /// The newest epoch.
        epoch: Epoch,
        /// Who holds it, if anybody does.
        holder: Option<&'a RegionId>,
    },
}

/// Why a region's word is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// A newer epoch is known.
    Older {
        /// The newest one.
        newest: Epoch,
    },
    /// The epoch is known, and not this region's.
    NotHolder {
        /// Who holds it, if anybody does.
        holder: Option<RegionId>,
    },
    /// The register fell behind what was known: nobody's word is taken until it has caught up.
    Contradicted {
        /// The newest epoch known.
        newest: Epoch,
    },
}

/// What came of a read of the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// It stands.
    Taken,
    /// It was sent before something newer was learnt, and says nothing.
    Late,
    /// It was sent after a higher epoch was learnt, and does not show it.
    Contradiction,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Lease {
    epoch: Epoch,
    holder: Option<RegionId>,
    /// When `epoch` became known: a read sent later must show it.
    learnt_at: Tick,
    /// Last instant of which it is known that it stood.
    fresh_at: Tick,
}

/// What is known of one pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    lease: Option<Lease>,
    contradicted: bool,
}

impl Evidence {
    /// The newest epoch known; 0 when nothing is. Never goes back.
    pub fn newest(&self) -> Epoch {
        self.lease.as_ref().map_or(Epoch(0), |lease| lease.epoch)
    }

    /// Takes a successful read that was sent at `sent`; `None` for a register never written.
    pub fn observe(&mut self, record: Option<&PairRecord>, sent: Tick) -> Observed {
        let epoch = record.map_or(Epoch(0), |record| record.epoch);
        let holder = record.and_then(|record| record.holder.clone());
        match &mut self.lease {
            Some(lease) if epoch < lease.epoch => {
                if sent <= lease.learnt_at {
                    return Observed::Late;
                }
                self.contradicted = true;
                return Observed::Contradiction;
            }
            Some(lease) if epoch == lease.epoch => {
                // The register is the authority on who holds an epoch; a vouch was only a word.
                lease.holder = holder;
                lease.fresh_at = lease.fresh_at.max(sent);
            }
            _ => self.lease = Some(Lease { epoch, holder, learnt_at: sent, fresh_at: sent }),
        }
        self.contradicted = false;
        Observed::Taken
    }

    /// Takes the word of `region` itself that it holds `epoch` at `now`. Whether it may speak is
    /// the caller's to check.
    pub fn vouch(&mut self, epoch: Epoch, region: &RegionId, now: Tick) -> Result<(), NotTaken> {
        let newest = self.newest();
        if epoch < newest {
            return Err(NotTaken::Older { newest });
        }
        if self.contradicted {
            return Err(NotTaken::Contradicted { newest });
        }
        match &mut self.lease {
            Some(lease) if lease.epoch == epoch => {
                if lease.holder.as_ref() != Some(region) {
                    return Err(NotTaken::NotHolder { holder: lease.holder.clone() });
                }
                lease.fresh_at = lease.fresh_at.max(now);
            }
            _ => {
                let holder = Some(region.clone());
                self.lease = Some(Lease { epoch, holder, learnt_at: now, fresh_at: now });
            }
        }
        Ok(())
    }

    /// What may be said at `now`, when nothing older than `max_age` counts.
    pub fn at(&self, now: Tick, max_age: Duration) -> Known<'_> {
        match &self.lease {
            Some(lease)
                if !self.contradicted
                    && (now.since(lease.fresh_at) <= max_age || planted(Bug::NamesKeptForEver)) =>
            {
                Known::Lease { epoch: lease.epoch, holder: lease.holder.as_ref() }
            }
            _ => Known::Unknown,
        }
    }
}

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;
