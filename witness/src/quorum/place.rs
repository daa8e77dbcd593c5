//! Where one register is now, and how it gets from the acceptors before to those in use.
//!
//! Each register is carried over by itself: its cells at a majority of the acceptors before are
//! sealed, so that nothing is chosen there any more, and the newest value among those becomes the first of
//! the acceptors in use. Anybody who may write the register can do it, and a second time does nothing:
//! sealing what is sealed changes nothing, and the value is proposed by a ballot of its own, which
//! gives way to whatever was accepted before.

use std::sync::Arc;
use std::time::Duration;

use continuum_runtime::seed;
use rand::RngExt;

use crate::register::StoreError;

use super::acceptor::{Accepted, AcceptorState, Ballot, Shown, newest};
use super::lane::Stop;
use super::planted::{Bug, planted};
use super::round::{Ended, Lanes};
use super::view::{Reach, View};

/// Longest pause before a proposer that was outrun tries again.
const PAUSE_MS_MAX: u64 = 100;

/// What one proposer remembers of one register.
pub(super) struct Place {
    pub(super) view: View,
    /// At the acceptors in use.
    pub(super) lanes: Lanes,
    /// At the acceptors before, until the register is known to have been carried over.
    pub(super) before: Option<Lanes>,
    pub(super) memory: Memory,
}

#[derive(Default)]
pub(super) struct Memory {
    /// A ballot that a majority has promised, and the value to build on: no first phase is needed.
    pub(super) lead: Option<(Ballot, Accepted)>,
    /// The newest ballot seen anywhere. Kept when the acceptors change: no two changes of one
    /// proposer may have one origin.
    pub(super) seen: Ballot,
    /// The newest value shown to a reader who may not write.
    pub(super) shown: Option<Accepted>,
}

impl Place {
    pub(super) fn new(view: View, reach: &Reach, register: &str) -> Result<Place, StoreError> {
        let (lanes, before) = ways(&view, reach, register)?;
        Ok(Place { view, lanes, before, memory: Memory::default() })
    }

    /// Goes on at the acceptors of a newer view.
    pub(super) fn follow(
        &mut self,
        view: View,
        reach: &Reach,
        register: &str,
    ) -> Result<(), StoreError> {
        let (lanes, before) = ways(&view, reach, register)?;
        self.memory.lead = None;
        (self.view, self.lanes, self.before) = (view, lanes, before);
        Ok(())
    }

    /// Carries the register over, where that has not been done; whether it was this call that wrote
    /// its value.
    pub(super) async fn carry(&mut self, proposer: u64) -> Result<bool, Stop> {
        let Some(before) = &self.before else { return Ok(false) };
        // What cannot go on there is left where it is.
        if let Shown::Sealed(_) = read(&self.lanes, &mut self.memory.seen).await? {
            return Err(Stop::Moved);
        }
        let states = seal(before).await?;
        let newest_seen = states.iter().map(AcceptorState::newest_ballot).max();
        self.memory.seen = self.memory.seen.max(newest_seen.unwrap_or_default());
        let wrote = match newest(&states) {
            Some(value) => settle(&self.lanes, &mut self.memory, proposer, value).await?,
            None => false,
        };
        self.before = None;
        Ok(wrote)
    }

    /// Reads without a write; what is still with the acceptors before is read there.
    pub(super) async fn read(&mut self) -> Result<Shown, Stop> {
        let seen = &mut self.memory.seen;
        let before = match &self.before {
            Some(before) => match read(before, seen).await? {
                Shown::Sealed(shown) => Some(*shown),
                shown => return Ok(shown),
            },
            None => None,
        };
        let shown = read(&self.lanes, seen).await?;
        match (shown, before) {
            (Shown::Sealed(_), _) => Err(Stop::Moved),
            // Nothing was chosen here when this was asked, and nothing newer can be there.
            (Shown::Settled(None), Some(before)) if !planted(Bug::AbsentWhileFilling) => Ok(before),
            (shown, _) => Ok(shown),
        }
    }
}

fn ways(view: &View, reach: &Reach, register: &str) -> Result<(Lanes, Option<Lanes>), StoreError> {
    Ok((view.lanes(reach, register)?, view.lanes_before(reach, register)?))
}

async fn read(lanes: &Lanes, seen: &mut Ballot) -> Result<Shown, Stop> {
    lanes.read(seen).await.map_err(|short| short.stop(false))
}

/// Ends the register at the acceptors before; what a majority of them had accepted.
async fn seal(before: &Lanes) -> Result<Vec<AcceptorState>, Stop> {
    let step = |state: &AcceptorState| match planted(Bug::CarryUnsealed) {
        true => Ok(state.clone()),
        false => Ok(state.seal()),
    };
    match before.change(Arc::new(step)).await {
        Ended::Majority(states) => Ok(states),
        Ended::Short(short) => Err(short.stop(false)),
    }
}

/// Makes `value` the register's first, unless it has one; whether this call did.
async fn settle(
    lanes: &Lanes,
    memory: &mut Memory,
    proposer: u64,
    value: Accepted,
) -> Result<bool, Stop> {
    for tried in 0_u32.. {
        pause(tried).await;
        match read(lanes, &mut memory.seen).await? {
            Shown::Settled(Some(_)) => return Ok(tried > 0),
            Shown::Sealed(_) => return Err(Stop::Moved),
            Shown::Settled(None) | Shown::Unsettled(_) => {}
        }
        let ballot = Ballot::after(memory.seen, proposer);
        memory.seen = ballot;
        let states = match lanes.change(Arc::new(move |state| state.prepare(ballot))).await {
            Ended::Majority(states) => states,
            Ended::Short(short) => {
                memory.learn_of(&short).map_err(|()| short.stop(false))?;
                continue;
            }
        };
        let proposal = Accepted { ballot, ..newest(&states).unwrap_or_else(|| value.clone()) };
        match lanes.change(Arc::new(move |state| state.accept(&proposal))).await {
            Ended::Majority(_) => return Ok(true),
            Ended::Short(short) => memory.learn_of(&short).map_err(|()| short.stop(false))?,
        }
    }
    unreachable!("the loop has no end but the caller's deadline")
}

impl Memory {
    /// Takes in what stood against a phase; the error says that trying again mends nothing.
    pub(super) fn learn_of(&mut self, short: &super::round::Shortfall) -> Result<(), ()> {
        self.seen = self.seen.max(short.promised.unwrap_or_default());
        if short.refused && !short.moved { Ok(()) } else { Err(()) }
    }
}

/// Keeps two proposers from outrunning each other for ever.
pub(super) async fn pause(tried: u32) {
    if tried > 0 {
        let most = (4_u64 << tried.min(6)).min(PAUSE_MS_MAX);
        let pause = seed::rng().random_range(0..=most);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}
