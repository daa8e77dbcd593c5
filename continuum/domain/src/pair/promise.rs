//! Failsafe: going on without a witness while every other member promises to stay out (R20).

use std::collections::BTreeMap;
use std::time::Duration;

use super::PairMachine;
use super::types::Effect;
use crate::ids::{Epoch, RegionId};
use crate::spec::WitnessLossPolicy;
use crate::time::Tick;

#[derive(Clone, Debug)]
struct Cover {
    epoch: Epoch,
    until: Tick,
}

/// Promises given and received.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// This member stays out until then.
    given_until: Option<Tick>,
    storing: Option<(u64, Duration)>,
    received: BTreeMap<RegionId, Cover>,
    /// The members whose promise is needed; complete before any cover counts.
    needed: Vec<RegionId>,
    asked: Option<Tick>,
    refused: bool,
}

impl State {
    pub fn new(given_until: Option<Tick>) -> Self {
        Self { given_until, ..Self::default() }
    }

    /// Whether a given promise bars every way to acquire and promote.
    pub fn bars(&self, now: Tick) -> bool {
        self.storing.is_some() || self.given_until.is_some_and(|until| now < until)
    }

    /// Until when all other members promised to stay out of `epoch`.
    pub fn cover(&self, epoch: Epoch) -> Option<Tick> {
        if self.needed.is_empty() {
            return None;
        }
        let until = |region| {
            self.received.get(region).filter(|cover| cover.epoch == epoch).map(|cover| cover.until)
        };
        self.needed.iter().map(until).min().flatten()
    }

    /// Whether a promise was refused or stayed out.
    pub fn uncovered(&self) -> bool {
        self.refused
    }
}

impl PairMachine {
    /// The holder: asks every other member while the witness does not answer.
    pub(super) fn ask_for_promises(&mut self, now: Tick) {
        if self.spec.on_witness_loss != WitnessLossPolicy::Failsafe {
            return;
        }
        self.promise.needed = self.spec.others(&self.me).into_iter().collect();
        let silent = self
            .session
            .witness_answered
            .is_none_or(|answered| now.since(answered) > self.timing.renew + self.timing.renew / 2);
        if !silent {
            self.promise.refused = false;
            return;
        }
        let Some(confirmed) = self.confirmed else { return };
        if self.promise.asked.is_some_and(|asked| now.since(asked) < self.timing.renew / 2) {
            return;
        }
        self.promise.asked = Some(now);
        for region in self.promise.needed.clone() {
            let hold = self.timing.ttl;
            self.out.push(Effect::AskPromise { region, epoch: confirmed.epoch, hold });
        }
    }

    /// A promise counts from when it was asked for, with the stop and the margin off.
    pub(super) fn peer_promised(
        &mut self,
        region: RegionId,
        sent: Tick,
        hold: Duration,
        promised: bool,
    ) {
        self.promise.refused = !promised;
        let Some(confirmed) = self.confirmed else { return };
        if promised {
            let until = sent + hold.saturating_sub(self.timing.stop_budget + self.timing.guard);
            let cover = Cover { epoch: confirmed.epoch, until };
            self.promise.received.insert(region, cover);
        }
    }

    /// The member: promises only what it can keep, and only to the holder it knows.
    pub(super) fn promise_asked(
        &mut self,
        request: u64,
        from: &RegionId,
        epoch: Epoch,
        hold: Duration,
    ) {
        let refusal = if self.promise.storing.is_some() {
            Some("another promise is being written")
        } else if !self.spec.members.contains_key(from) {
            Some("the asker is not a member")
        } else if self.register.outstanding.is_some() {
            Some("an own write of the pair register is under way")
        } else if self.confirmed.is_some() {
            Some("this member holds the lease")
        } else {
            match self.record() {
                Some(record) if record.held_by(from) && record.epoch <= epoch => None,
                Some(_) => Some("the register as last read names another holder or epoch"),
                None => Some("the register was never read"),
            }
        };
        if let Some(reason) = refusal {
            self.out.push(Effect::AnswerPromise { request, answer: Err(reason.into()) });
            return;
        }
        // Served on this clock, which may run slower than the asker's.
        let drift = hold.as_nanos() * u128::from(self.timing.drift_ppm) / 1_000_000;
        let hold = hold + Duration::from_nanos(u64::try_from(drift).unwrap_or(u64::MAX));
        self.promise.storing = Some((request, hold));
        self.out.push(Effect::StorePromise { request, hold });
    }

    /// On disk before it is given; it is served from now.
    pub(super) fn promise_stored(&mut self, now: Tick, request: u64, stored: bool) {
        let Some((pending, hold)) = self.promise.storing.filter(|(pending, _)| *pending == request)
        else {
            return;
        };
        self.promise.storing = None;
        let answer = if stored {
            let until = now + hold;
            self.promise.given_until = self.promise.given_until.max(Some(until));
            Ok(())
        } else {
            Err("the promise could not be written to disk".into())
        };
        self.out.push(Effect::AnswerPromise { request: pending, answer });
    }

    /// Forgets promises that have run out.
    pub(super) fn keep_promises(&mut self, now: Tick) {
        self.promise.given_until = self.promise.given_until.filter(|until| now < *until);
        self.promise.received.retain(|_, cover| now < cover.until);
    }
}
