//! One acceptor's memory of one register, as a value: what it may promise, accept, and refuse.
//!
//! The rules are those of CASPaxos (Rystsov 2018), which are those of single-decree Paxos (Lamport)
//! with one change: a later ballot may carry a value computed from the one before.

use continuum_domain::Version;
use serde::{Deserialize, Serialize};

use crate::register::{StoreError, Versioned};

/// Names one attempt of one proposer. No two attempts that may carry different values share one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Ballot {
    /// Counts attempts; the newest wins.
    pub round: u64,
    /// The proposer: drawn at random by each process for each of its stores, so that two never
    /// share one, not even the same host's before and after a restart.
    pub proposer: u64,
}

impl Ballot {
    /// Above every proposer's: who promised it accepts nothing any more.
    pub const SEAL: Ballot = Ballot { round: u64::MAX, proposer: u64::MAX };

    /// This proposer's next attempt after `seen`.
    pub fn after(seen: Ballot, proposer: u64) -> Ballot {
        Ballot { round: seen.round.saturating_add(1), proposer }
    }
}

/// A value that an acceptor accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The ballot it was accepted under.
    pub ballot: Ballot,
    /// The first ballot of the change that made it. Stays the same when somebody else completes the
    /// change, and so tells its author that it took effect.
    pub origin: Ballot,
    /// The register's version with it.
    pub version: u64,
    /// The register's value.
    pub value: Vec<u8>,
}

impl Accepted {
    /// The register as its readers see it.
    pub fn register(&self) -> Versioned {
        Versioned { version: Version(self.version), value: self.value.clone() }
    }
}

/// Why an acceptor refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It promised this newer ballot.
    Promised(Ballot),
    /// It is sealed: the quorum has other acceptors by now.
    Sealed,
    /// It holds another value than the proposer built on. Only where one acceptor is the quorum.
    Moved,
}

/// What one acceptor remembers of one register.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptorState {
    /// No older ballot is accepted.
    pub promised: Ballot,
    /// The newest value accepted.
    pub accepted: Option<Accepted>,
}

/// First byte of an encoded state: tells it from anything else that may lie in a cell.
const FORMAT: u8 = 1;

impl AcceptorState {
    /// A cell's first state: nothing promised. `nonce` is drawn at random, so that no two first
    /// states of a cell are alike, not even where a tag is a digest of the content.
    pub fn unproven(nonce: u64) -> AcceptorState {
        AcceptorState { promised: Ballot { round: 0, proposer: nonce }, accepted: None }
    }

    /// Whether the store may be one that lost its state: nothing in this state was written by
    /// anybody who saw the mark standing after the cell was made.
    pub fn is_unproven(&self) -> bool {
        self.promised.round == 0
    }

    /// Whether nothing will be accepted any more.
    pub fn is_sealed(&self) -> bool {
        self.promised == Ballot::SEAL
    }

    /// The newest ballot of a proposer in it.
    pub fn newest_ballot(&self) -> Ballot {
        let accepted = self.accepted.as_ref().map_or(Ballot::default(), |value| value.ballot);
        if self.is_sealed() { accepted } else { self.promised }
    }

    /// Promises to accept nothing any more, and shows what was accepted before.
    pub fn seal(&self) -> AcceptorState {
        AcceptorState { promised: Ballot::SEAL, accepted: self.accepted.clone() }
    }

    fn refusal(&self) -> Refusal {
        if self.is_sealed() { Refusal::Sealed } else { Refusal::Promised(self.promised) }
    }

    /// Phase 1: promises `ballot`, and shows what was accepted before.
    pub fn prepare(&self, ballot: Ballot) -> Result<AcceptorState, Refusal> {
        if self.promised > ballot {
            return Err(self.refusal());
        }
        Ok(AcceptorState { promised: ballot, accepted: self.accepted.clone() })
    }

    /// Phase 2: accepts a value, and promises the same proposer's next ballot in the same write, so
    /// that its next change needs no first phase.
    pub fn accept(&self, value: &Accepted) -> Result<AcceptorState, Refusal> {
        if self.promised > value.ballot {
            return Err(self.refusal());
        }
        let promised = Ballot::after(value.ballot, value.ballot.proposer);
        Ok(AcceptorState { promised, accepted: Some(value.clone()) })
    }

    /// Both phases in one write, where this acceptor alone is the quorum: the cell's compare-and-swap
    /// is the promise. `held` is the ballot of the value that the change was computed from.
    pub fn accept_alone(
        &self,
        held: Option<Ballot>,
        value: &Accepted,
    ) -> Result<AcceptorState, Refusal> {
        if self.accepted.as_ref().map(|accepted| accepted.ballot) != held {
            return Err(Refusal::Moved);
        }
        self.accept(value)
    }

    /// As bytes for a cell.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![FORMAT]).expect("a plain struct of plain fields")
    }

    /// From a cell; the error says that something else lies there.
    pub fn decode(bytes: &[u8]) -> Result<AcceptorState, StoreError> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|error| {
                StoreError::Misconfigured(format!("an acceptor's cell is damaged: {error}"))
            }),
            _ => Err(StoreError::Misconfigured("a cell holds no acceptor's state".into())),
        }
    }
}

/// What a majority of acceptors shows without a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The register's value: a majority accepted it under one ballot, or nothing.
    Settled(Option<Accepted>),
    /// A change is under way, or was left half-made: only a new ballot decides it. The newest value
    /// any of them accepted.
    Unsettled(Option<Accepted>),
    /// Some of them are sealed, so that the value may be held by other acceptors by now. What these
    /// would show otherwise: [`Shown::Settled`] or [`Shown::Unsettled`].
    Sealed(Box<Shown>),
}

/// Judges what was read from different acceptors; `None` when they are fewer than `majority`.
///
/// A value accepted by a majority under one ballot is chosen. Nothing newer was chosen before the
/// first of these reads was sent: it would have been accepted by one of this majority, under a newer
/// ballot. So the read is linearizable without a write. The same holds of other acceptors that came
/// after these: before they choose anything a majority of these is sealed, and of that one would
/// have been seen. So only those that are not sealed make a majority.
pub fn judge(states: &[AcceptorState], majority: usize) -> Option<Shown> {
    if states.len() < majority {
        return None;
    }
    let open: Vec<&AcceptorState> = states.iter().filter(|state| !state.is_sealed()).collect();
    if open.len() >= majority {
        return Some(agreed(&open, majority).unwrap_or_else(|| Shown::Unsettled(newest(states))));
    }
    let all: Vec<&AcceptorState> = states.iter().collect();
    let shown = agreed(&all, majority).unwrap_or_else(|| Shown::Unsettled(newest(states)));
    Some(Shown::Sealed(Box::new(shown)))
}

fn agreed(states: &[&AcceptorState], majority: usize) -> Option<Shown> {
    let ballot_of = |state: &AcceptorState| state.accepted.as_ref().map(|value| value.ballot);
    let same = |state: &AcceptorState| {
        states.iter().filter(|other| ballot_of(other) == ballot_of(state)).count()
    };
    let settled = states.iter().find(|state| same(state) >= majority)?;
    Some(Shown::Settled(settled.accepted.clone()))
}

/// The value accepted under the newest ballot.
pub fn newest(states: &[AcceptorState]) -> Option<Accepted> {
    states.iter().filter_map(|state| state.accepted.as_ref()).max_by_key(|a| a.ballot).cloned()
}
