//! What clients tried and what they were told.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use continuum_domain::Tick;
use serde::{Deserialize, Serialize};

/// What a client knows of one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// Command complete was received, and no warning that takes it back.
    Acknowledged,
    /// PostgreSQL said that it did not happen.
    Failed {
        /// Its SQLSTATE.
        sqlstate: String,
    },
    /// It may or may not have happened.
    Indeterminate {
        /// Why that is not known.
        why: String,
    },
}

/// A row's identity: unique over one run, used once whatever becomes of it.
pub type RowKey = (u32, u64);

/// One attempt to insert one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The writer.
    pub writer: u32,
    /// Its sequence number.
    pub seq: u64,
    /// Stays at one address and waits long; it takes no part in the write gap.
    pub pinned: bool,
    /// When the statement was sent.
    pub sent: Tick,
    /// When its fate was known, or given up on.
    pub done: Tick,
    /// The server it was sent to.
    pub address: IpAddr,
    /// What became of it.
    pub outcome: Outcome,
}

impl Attempt {
    /// The row it tried to write.
    pub fn key(&self) -> RowKey {
        (self.writer, self.seq)
    }

    /// Whether the client was told that it is done.
    pub fn is_acknowledged(&self) -> bool {
        self.outcome == Outcome::Acknowledged
    }
}

/// The record that all writers of a run share.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    shared: Arc<Mutex<Recorded>>,
}

#[derive(Debug, Default)]
struct Recorded {
    attempts: Vec<Attempt>,
    acknowledged: u64,
    last_acknowledged: Option<(Tick, IpAddr)>,
    trouble: Option<String>,
}

impl Recorder {
    fn with<R>(&self, work: impl FnOnce(&mut Recorded) -> R) -> R {
        // A writer that panicked leaves a complete list: every push is one step.
        work(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds one finished attempt.
    pub fn push(&self, attempt: Attempt) {
        self.with(|recorded| {
            if attempt.is_acknowledged() && !attempt.pinned {
                recorded.acknowledged += 1;
                recorded.last_acknowledged = Some((attempt.done, attempt.address));
            }
            recorded.attempts.push(attempt);
        });
    }

    /// Notes why a client could not even try; the newest is kept, for people.
    pub fn trouble(&self, text: String) {
        self.with(|recorded| recorded.trouble = Some(text));
    }

    /// The newest thing that kept a client from trying.
    pub fn last_trouble(&self) -> Option<String> {
        self.with(|recorded| recorded.trouble.clone())
    }

    /// Acknowledged so far, and the newest acknowledgement with its server; unpinned writers only.
    pub fn progress(&self) -> (u64, Option<(Tick, IpAddr)>) {
        self.with(|recorded| (recorded.acknowledged, recorded.last_acknowledged))
    }

    /// The first acknowledgement of a statement sent at or after `since`, from `address` if given.
    pub fn first_acknowledged(&self, since: Tick, address: Option<IpAddr>) -> Option<Tick> {
        self.with(|recorded| {
            let fits = |attempt: &&Attempt| {
                attempt.is_acknowledged()
                    && attempt.sent >= since
                    && address.is_none_or(|address| attempt.address == address)
            };
            recorded.attempts.iter().filter(fits).map(|attempt| attempt.done).min()
        })
    }

    /// The longest time without an acknowledgement between two instants.
    pub fn longest_gap(&self, from: Tick, until: Tick) -> Duration {
        self.with(|recorded| {
            let acknowledged = recorded.attempts.iter().filter(|attempt| attempt.is_acknowledged());
            let mut instants: Vec<Tick> = acknowledged.map(|attempt| attempt.done).collect();
            instants.retain(|at| (from..=until).contains(at));
            instants.extend([from, until]);
            instants.sort_unstable();
            instants
                .windows(2)
                .map(|pair| pair[0].until(pair[1]))
                .max()
                .expect("two instants at least")
        })
    }

    /// Everything recorded so far.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.with(|recorded| recorded.attempts.clone())
    }
}
