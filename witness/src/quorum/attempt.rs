//! One change of one register, tried until it is decided.

use std::sync::Arc;

use continuum_domain::Version;

use crate::register::StoreError;

use super::acceptor::{Accepted, AcceptorState, Ballot, Shown, newest};
use super::lane::Stop;
use super::place::{Memory, Place};
use super::planted::{Bug, planted};
use super::round::{Ended, Lanes, Shortfall};

/// A change that a caller asks for.
pub(super) struct Change {
    pub(super) expected: Version,
    pub(super) value: Vec<u8>,
}

/// What the register was brought to.
pub(super) enum Driven {
    /// The change took effect, at this version.
    Made(Version),
    /// The register holds this, and the change did not and will not take effect.
    Holds(Option<Accepted>),
}

/// One call's attempts, at whichever acceptors are in use. They share one origin, so that whichever
/// gets through is known as this one.
pub(super) struct Attempt<'a> {
    pub(super) proposer: u64,
    pub(super) change: Option<&'a Change>,
    origin: Option<Ballot>,
    /// Whether an acceptor may hold the change.
    pub(super) exposed: bool,
}

enum Learnt {
    Decided(Driven),
    BuildOn(Ballot, Option<Accepted>),
    Outrun,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(proposer: u64, change: Option<&'a Change>) -> Self {
        Self { proposer, change, origin: None, exposed: false }
    }

    /// Tries once; `None` when it was outrun.
    pub(super) async fn run(&mut self, place: &mut Place) -> Result<Option<Driven>, Stop> {
        let driven = self.decide(&place.lanes, &mut place.memory).await?;
        match &driven {
            Some(Driven::Holds(held)) if self.may_be_under(held.as_ref()) => {
                Err(Stop::Failed(StoreError::Unanswered(
                    "others changed the register meanwhile, perhaps after this change".into(),
                )))
            }
            _ => Ok(driven),
        }
    }

    async fn decide(&mut self, lanes: &Lanes, memory: &mut Memory) -> Result<Option<Driven>, Stop> {
        let (ballot, current) = match memory.lead.take() {
            // The lead may be stale; then its ballot is refused and nothing happens. But only a
            // change that fits may rest on it: a refusal must be read from a majority.
            Some((ballot, held)) if self.fits(Some(&held)) => (ballot, Some(held)),
            _ => match self.learn(lanes, memory).await? {
                Learnt::Decided(driven) => return Ok(Some(driven)),
                Learnt::Outrun => return Ok(None),
                Learnt::BuildOn(ballot, current) => (ballot, current),
            },
        };
        let proposal = match (&current, self.change) {
            (held, Some(change)) if !self.is_mine(held.as_ref()) && self.fits(held.as_ref()) => {
                let origin = *self.origin.get_or_insert(ballot);
                let version = change.expected.0 + 1;
                Accepted { ballot, origin, version, value: change.value.clone() }
            }
            (Some(held), _) => Accepted { ballot, ..held.clone() },
            // Prepared at a majority and nothing was ever accepted: that is the decision.
            (None, _) => return Ok(Some(Driven::Holds(None))),
        };
        let mine = self.origin == Some(proposal.origin);
        if !self.accept(lanes, memory, (current, &proposal), mine).await? {
            return Ok(None);
        }
        Ok(Some(match mine {
            true => Driven::Made(Version(proposal.version)),
            false => Driven::Holds(Some(proposal)),
        }))
    }

    fn version_of(held: Option<&Accepted>) -> Version {
        held.map_or(Version::ABSENT, |held| Version(held.version))
    }

    fn fits(&self, held: Option<&Accepted>) -> bool {
        let expected = self.change.map(|change| change.expected);
        expected == Some(Self::version_of(held)) && expected != Some(Version(u64::MAX))
    }

    /// Whether the change may be under `held`, or may yet take effect. At the version that it would
    /// have made, its origin tells; beyond, nothing does. Nothing tells either where nothing is
    /// accepted: the change may lie at an acceptor that was not asked, and no newer value covers it.
    fn may_be_under(&self, held: Option<&Accepted>) -> bool {
        let made = self.change.map_or(u64::MAX, |change| change.expected.0.saturating_add(1));
        let version = held.map(|held| held.version);
        let uncovered = version.is_none();
        let beyond = version.is_some_and(|version| version > made) && !planted(Bug::ForgetExposed);
        self.exposed && (uncovered || beyond)
    }

    fn is_mine(&self, held: Option<&Accepted>) -> bool {
        self.origin.is_some() && self.origin == held.map(|held| held.origin)
    }

    /// Finds out what to build on: by a read, and a first phase where there is something to write.
    async fn learn(&mut self, lanes: &Lanes, memory: &mut Memory) -> Result<Learnt, Stop> {
        let shown = lanes.read(&mut memory.seen).await;
        let shown = shown.map_err(|short| short.stop(self.exposed))?;
        match &shown {
            Shown::Settled(settled) => {
                if self.is_mine(settled.as_ref()) {
                    return Ok(Learnt::Decided(Driven::Made(Self::version_of(settled.as_ref()))));
                }
                // Before anything was sent a read decides. After, an older ballot of ours may lie at
                // a minority, and only a newer one passes over it.
                if self.origin.is_none() && !self.fits(settled.as_ref()) {
                    return Ok(Learnt::Decided(Driven::Holds(settled.clone())));
                }
                if lanes.majority() == 1 {
                    let ballot = Ballot::after(memory.seen, self.proposer);
                    return Ok(Learnt::BuildOn(ballot, settled.clone()));
                }
            }
            Shown::Unsettled(_) => {}
            Shown::Sealed(_) => return Err(Stop::Moved),
        }
        let ballot = Ballot::after(memory.seen, self.proposer);
        if let Shown::Settled(found) | Shown::Unsettled(found) = &shown
            && planted(Bug::SkipPrepare)
        {
            return Ok(Learnt::BuildOn(ballot, found.clone()));
        }
        memory.seen = ballot;
        match lanes.change(Arc::new(move |state| state.prepare(ballot))).await {
            Ended::Majority(states) => Ok(Learnt::BuildOn(ballot, newest(&states))),
            Ended::Short(short) => self.short(memory, &short).map(|()| Learnt::Outrun),
        }
    }

    /// Second phase; whether a majority accepted.
    async fn accept(
        &mut self,
        lanes: &Lanes,
        memory: &mut Memory,
        (current, proposal): (Option<Accepted>, &Accepted),
        mine: bool,
    ) -> Result<bool, Stop> {
        let (value, held) = (proposal.clone(), current.as_ref().map(|current| current.ballot));
        let alone = lanes.members == 1;
        // Before the first send: a call that is given up must not leave its ballot free.
        memory.seen = memory.seen.max(proposal.ballot);
        let exposed_before = self.exposed;
        self.exposed |= mine;
        let step = move |state: &AcceptorState| match alone {
            true => state.accept_alone(held, &value),
            false => state.accept(&value),
        };
        match lanes.change(Arc::new(step)).await {
            Ended::Majority(_) => {
                let next = Ballot::after(proposal.ballot, self.proposer);
                memory.lead = Some((next, proposal.clone()));
                Ok(true)
            }
            Ended::Short(short) => {
                if planted(Bug::ReuseBallot) {
                    memory.lead = current.map(|current| (proposal.ballot, current));
                }
                self.exposed = exposed_before || (mine && short.may_have_taken_effect());
                self.short(memory, &short).map(|()| false)
            }
        }
    }

    /// A phase without a majority: worth another try when somebody newer stood in the way.
    fn short(&self, memory: &mut Memory, short: &Shortfall) -> Result<(), Stop> {
        memory.learn_of(short).map_err(|()| short.stop(self.exposed))
    }
}
