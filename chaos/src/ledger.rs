//! The judge: what clients were told against what the survivors hold.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use continuum_domain::Tick;
use serde::{Deserialize, Serialize};

use crate::history::{Attempt, Outcome, RowKey};
use crate::names::{NameAnswer, Seen};

/// How often each row of the run stands in the table of the surviving primary.
pub type Survivors = BTreeMap<RowKey, u64>;

/// One change of the writer's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// When it was asked for, or the fault that made it due.
    pub at: Tick,
    /// Where writes went before.
    pub from: IpAddr,
    /// Where they go after.
    pub to: IpAddr,
}

/// What became of all attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Tried.
    pub attempted: u64,
    /// Acknowledged to the client.
    pub acknowledged: u64,
    /// Acknowledged, and not there.
    pub lost: Vec<RowKey>,
    /// There more than once.
    pub duplicated: Vec<RowKey>,
    /// Not known to the client.
    pub indeterminate: u64,
    /// Of those, there.
    pub indeterminate_present: u64,
    /// Refused with a definite SQLSTATE.
    pub failed: u64,
    /// Of those, there all the same.
    pub failed_present: Vec<RowKey>,
    /// There without ever having been tried.
    pub invented: Vec<RowKey>,
}

/// Counts `attempts` against the survivors' table. `invented` looks at all of the table, so hand in
/// the whole history for it.
pub fn tally<'a>(attempts: impl IntoIterator<Item = &'a Attempt>, survivors: &Survivors) -> Tally {
    let mut tally = Tally::default();
    for attempt in attempts {
        let key = attempt.key();
        let copies = survivors.get(&key).copied().unwrap_or(0);
        tally.attempted += 1;
        if copies > 1 {
            tally.duplicated.push(key);
        }
        match &attempt.outcome {
            Outcome::Acknowledged => {
                tally.acknowledged += 1;
                if copies == 0 {
                    tally.lost.push(key);
                }
            }
            Outcome::Indeterminate { .. } => {
                tally.indeterminate += 1;
                tally.indeterminate_present += u64::from(copies > 0);
            }
            Outcome::Failed { .. } => {
                tally.failed += 1;
                if copies > 0 {
                    tally.failed_present.push(key);
                }
            }
        }
    }
    tally
}

/// Rows in the table that nobody tried to write.
pub fn invented(attempts: &[Attempt], survivors: &Survivors) -> Vec<RowKey> {
    let tried: std::collections::BTreeSet<RowKey> = attempts.iter().map(Attempt::key).collect();
    survivors.keys().filter(|key| !tried.contains(key)).copied().collect()
}

/// The longest time without an acknowledgement that ends after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The acknowledgement before it.
    pub from: Tick,
    /// The acknowledgement that ended it.
    pub to: Tick,
}

impl Gap {
    /// How long it was.
    pub fn length(&self) -> Duration {
        self.to.since(self.from)
    }
}

/// The client-visible write gap of an event at `at`: the longest gap between consecutive
/// acknowledgements of all unpinned writers that ends between the event and `until` (the next
/// event). `None` when nothing was acknowledged in that time: then the gap has not ended.
pub fn write_gap(attempts: &[Attempt], at: Tick, until: Option<Tick>) -> Option<Gap> {
    let mut acknowledged: Vec<Tick> = attempts
        .iter()
        .filter(|attempt| attempt.is_acknowledged() && !attempt.pinned)
        .map(|attempt| attempt.done)
        .collect();
    acknowledged.sort_unstable();
    acknowledged
        .windows(2)
        .map(|pair| Gap { from: pair[0], to: pair[1] })
        .filter(|gap| gap.to >= at && until.is_none_or(|until| gap.to < until))
        .max_by_key(Gap::length)
}

/// Acknowledgements by an old primary for statements sent after the new one's first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateAcknowledgements {
    /// All of them; harmless where the row survived (R1).
    pub late: u64,
    /// Those whose row the survivors do not have: I1 is broken.
    pub missing: Vec<RowKey>,
    /// How long after the new side's first acknowledgement the last of them came.
    pub window: Duration,
}

/// Looks for a second writer (I1). A move's old side is watched until the next move begins.
pub fn late_acknowledgements(
    attempts: &[Attempt],
    survivors: &Survivors,
    moves: &[Move],
) -> LateAcknowledgements {
    let mut found = LateAcknowledgements::default();
    for (index, step) in moves.iter().enumerate() {
        let until = moves.get(index + 1).map(|next| next.at);
        let Some(first_new) = first_acknowledged_by(attempts, step.to, step.at) else { continue };
        let late = attempts.iter().filter(|attempt| {
            attempt.is_acknowledged()
                && attempt.address == step.from
                && attempt.sent > first_new
                && until.is_none_or(|until| attempt.sent < until)
        });
        for attempt in late {
            found.late += 1;
            found.window = found.window.max(attempt.done.since(first_new));
            if !survivors.contains_key(&attempt.key()) {
                found.missing.push(attempt.key());
            }
        }
    }
    found
}

/// The first acknowledgement by `address` after `at`.
pub fn first_acknowledged_by(attempts: &[Attempt], address: IpAddr, at: Tick) -> Option<Tick> {
    attempts
        .iter()
        .filter(|a| a.is_acknowledged() && a.address == address && a.done > at)
        .map(|a| a.done)
        .min()
}

/// A name that pointed past its holder for longer than it may (I3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaleName {
    /// How long after the new side's first acknowledgement.
    pub after: Duration,
    /// What was answered.
    pub answered: Vec<IpAddr>,
    /// What should have been.
    pub holder: IpAddr,
}

/// Checks that from `settle` (TTL + probe interval) after each move until the next, every answer
/// names the holder and nobody else, and that there was such an answer. An empty or missing answer
/// misleads nobody and is not stale.
pub fn stale_names(
    answers: &[NameAnswer],
    attempts: &[Attempt],
    moves: &[Move],
    settle: Duration,
) -> Vec<StaleName> {
    let mut stale = Vec::new();
    for (index, step) in moves.iter().enumerate() {
        let until = moves.get(index + 1).map_or(Tick(u64::MAX), |next| next.at);
        let Some(moved) = first_acknowledged_by(attempts, step.to, step.at) else { continue };
        let from = moved + settle;
        let (mut looked, mut confirmed) = (false, false);
        for span in spans(answers) {
            // Names are led over at promotion, a moment before the first acknowledgement.
            if span.last >= step.at && span.first < until {
                confirmed |= span.addresses == Some(&[step.to][..]);
            }
            if span.last < from || span.first >= until {
                continue;
            }
            looked = true;
            let Some(addresses) = span.addresses else { continue };
            if addresses.iter().any(|address| *address != step.to) {
                stale.push(StaleName {
                    after: span.last.min(until).since(moved),
                    answered: addresses.to_vec(),
                    holder: step.to,
                });
            }
        }
        if looked && !confirmed {
            stale.push(StaleName { after: settle, answered: Vec::new(), holder: step.to });
        }
    }
    stale
}

/// A time over which one and the same answer was seen.
struct Span<'a> {
    first: Tick,
    last: Tick,
    addresses: Option<&'a [IpAddr]>,
}

/// The watch keeps only the first and the last of a row of equal answers; this joins them again.
fn spans(answers: &[NameAnswer]) -> impl Iterator<Item = Span<'_>> {
    answers.iter().enumerate().map(|(index, answer)| {
        let next = answers.get(index + 1).filter(|next| next.seen == answer.seen);
        let addresses = match &answer.seen {
            Seen::Addresses(addresses) => Some(addresses.as_slice()),
            Seen::Nothing(_) => None,
        };
        Span { first: answer.at, last: next.map_or(answer.at, |next| next.at), addresses }
    })
}

/// The three invariants a client can check, over one whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What became of all attempts.
    pub tally: Tally,
    /// I1, single writer.
    pub late: LateAcknowledgements,
    /// I3, names follow the lease.
    pub stale_names: Vec<StaleName>,
    /// Acknowledged writes that may be missing: an `async` pair's approved losses.
    pub loss_allowed: u64,
}

impl Verdict {
    /// Judges a run. `loss_allowed` is 0 unless an `async` pair was failed over under an approval.
    pub fn of(
        attempts: &[Attempt],
        survivors: &Survivors,
        moves: &[Move],
        answers: &[NameAnswer],
        settle: Duration,
        loss_allowed: u64,
    ) -> Self {
        let mut tally = tally(attempts, survivors);
        tally.invented = invented(attempts, survivors);
        Self {
            tally,
            late: late_acknowledgements(attempts, survivors, moves),
            stale_names: stale_names(answers, attempts, moves, settle),
            loss_allowed,
        }
    }

    /// Every way in which the run broke an invariant, for people; empty means that all held.
    pub fn violations(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut check = |broken: bool, text: String| {
            if broken {
                out.push(text);
            }
        };
        let Tally { lost, duplicated, failed_present, invented, .. } = &self.tally;
        let missing = &self.late.missing;
        check(
            !missing.is_empty(),
            format!(
                "I1: {} writes were acknowledged by an old primary after the new one's first acknowledgement and are not in its history, first {:?}",
                missing.len(),
                missing.first()
            ),
        );
        let lost_count = u64::try_from(lost.len()).unwrap_or(u64::MAX);
        check(
            lost_count > self.loss_allowed,
            format!(
                "I2: {lost_count} acknowledged writes are lost ({} allowed), first {:?}",
                self.loss_allowed,
                lost.first()
            ),
        );
        check(
            !duplicated.is_empty(),
            format!(
                "{} rows stand there more than once, first {:?}",
                duplicated.len(),
                duplicated.first()
            ),
        );
        check(
            !failed_present.is_empty(),
            format!(
                "{} writes were refused and stand there all the same, first {:?}",
                failed_present.len(),
                failed_present.first()
            ),
        );
        check(
            !invented.is_empty(),
            format!(
                "{} rows stand there that nobody wrote, first {:?}",
                invented.len(),
                invented.first()
            ),
        );
        for stale in self.stale_names.iter().take(3) {
            check(
                true,
                format!(
                    "I3: {:?} after the move the name answered {:?} instead of {}",
                    stale.after, stale.answered, stale.holder
                ),
            );
        }
        out
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
