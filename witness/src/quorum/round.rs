//! One phase at all acceptors at once: asks every lane, and is done with a majority.
//!
//! A lane that is slow goes on by itself; what it does then is still right, because an acceptor
//! judges each change by what it holds at that moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use continuum_runtime::seed;
use tokio::sync::{Mutex, mpsc};

use crate::register::StoreError;

use super::acceptor::{AcceptorState, Ballot, Refusal, Shown, judge};
use super::lane::{Lane, Stop, Told};
use super::planted::{Bug, planted};

/// Calls that may wait for one lane; more are told that it is busy.
const WAITING_MAX: usize = 3;
/// How long a majority that disagrees waits for the others, who may settle it.
const GRACE: Duration = Duration::from_millis(30);

/// What a change does to an acceptor's state.
pub(super) type Step = Arc<dyn Fn(&AcceptorState) -> Result<AcceptorState, Refusal> + Send + Sync>;

/// All lanes of one register.
pub(super) struct Lanes {
    lanes: Vec<(Arc<Mutex<Lane>>, Arc<AtomicUsize>)>,
    /// Acceptors of the quorum, those without a lane included.
    pub(super) members: usize,
}

/// How a phase ended.
pub(super) enum Ended {
    /// A majority did it; their states.
    Majority(Vec<AcceptorState>),
    /// It did not come about.
    Short(Shortfall),
}

/// Why a majority did not come about.
#[derive(Default)]
pub(super) struct Shortfall {
    /// Acceptors that did it nevertheless.
    pub(super) done: usize,
    /// The newest ballot that stood against it.
    pub(super) promised: Option<Ballot>,
    /// Whether somebody refused for a reason that trying again may mend.
    pub(super) refused: bool,
    /// Whether somebody said that the quorum has other acceptors by now.
    pub(super) moved: bool,
    pub(super) errors: Vec<StoreError>,
}

impl Shortfall {
    fn stopped(&mut self, stop: Stop) {
        match stop {
            Stop::Moved => self.moved = true,
            Stop::Failed(error) => self.errors.push(error),
        }
    }

    /// What to do about it: nothing of other acceptors was said, or that is what is to be done.
    pub(super) fn stop(&self, exposed: bool) -> Stop {
        if self.moved { Stop::Moved } else { Stop::Failed(self.error(exposed)) }
    }

    /// Whether an acceptor may hold, or may yet come to hold, what was sent.
    pub(super) fn may_have_taken_effect(&self) -> bool {
        self.done > 0 || self.errors.iter().any(StoreError::may_have_taken_effect)
    }

    /// What to tell the caller when `exposed` (something may have taken effect) or not.
    pub(super) fn error(&self, exposed: bool) -> StoreError {
        let told: Vec<String> = self.errors.iter().map(ToString::to_string).collect();
        let text = format!("no majority of the acceptors: {}", told.join("; "));
        let any = |wanted: fn(&StoreError) -> bool| self.errors.iter().any(wanted);
        match exposed {
            true => StoreError::Unanswered(text),
            false if any(|error| matches!(error, StoreError::Unauthorised(_))) => {
                StoreError::Unauthorised(text)
            }
            false if any(|error| matches!(error, StoreError::Misconfigured(_))) => {
                StoreError::Misconfigured(text)
            }
            false => StoreError::NotSent(text),
        }
    }
}

impl Lanes {
    pub(super) fn new(lanes: Vec<Lane>, members: usize) -> Self {
        let lanes = lanes.into_iter().map(|lane| (Arc::new(Mutex::new(lane)), Arc::default()));
        Self { lanes: lanes.collect(), members }
    }

    pub(super) fn majority(&self) -> usize {
        self.members / 2 + 1
    }

    /// Runs `work` on every lane, each in a task of its own.
    fn ask<T, F>(&self, work: impl Fn(Arc<Mutex<Lane>>) -> F, busy: fn() -> T) -> mpsc::Receiver<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (tell, told) = mpsc::channel(self.lanes.len().max(1));
        for (lane, waiting) in &self.lanes {
            let (tell, waiting) = (tell.clone(), waiting.clone());
            if waiting.fetch_add(1, Ordering::SeqCst) >= WAITING_MAX {
                waiting.fetch_sub(1, Ordering::SeqCst);
                // The channel has a place for each lane.
                let _full = tell.try_send(busy());
                continue;
            }
            let work = work(lane.clone());
            seed::spawn(async move {
                let answer = work.await;
                waiting.fetch_sub(1, Ordering::SeqCst);
                // Nobody listens any more once a majority has answered.
                let _done = tell.send(answer).await;
            });
        }
        told
    }

    /// Reads every cell until the register's value is settled or all have answered. `seen` becomes
    /// the newest ballot seen.
    pub(super) async fn read(&self, seen: &mut Ballot) -> Result<Shown, Shortfall> {
        let load = |lane: Arc<Mutex<Lane>>| async move { lane.lock().await.load().await };
        let mut told = self.ask(load, || Err(busy().into()));
        let (mut states, mut short) = (Vec::new(), Shortfall::default());
        loop {
            let answer = match judge(&states, self.majority()) {
                Some(shown @ (Shown::Settled(_) | Shown::Sealed(_))) => return Ok(shown),
                None => told.recv().await,
                Some(_) => tokio::time::timeout(GRACE, told.recv()).await.unwrap_or(None),
            };
            match answer {
                Some(Ok(state)) => {
                    *seen = state.newest_ballot().max(*seen);
                    states.push(state);
                }
                Some(Err(stop)) => short.stopped(stop),
                None => return judge(&states, self.majority()).ok_or(short),
            }
        }
    }

    /// Changes every cell by `step`, until a majority has done it or none can.
    pub(super) async fn change(&self, step: Step) -> Ended {
        let work = move |lane: Arc<Mutex<Lane>>| {
            let step = step.clone();
            async move { lane.lock().await.change(|state| step(state)).await }
        };
        let mut told = self.ask(work, || Told::Stopped(busy().into()));
        let (mut states, mut short) = (Vec::new(), Shortfall::default());
        while let Some(answer) = told.recv().await {
            match answer {
                Told::Done(state) => {
                    if planted(Bug::CountTwice) {
                        states.push(state.clone());
                    }
                    states.push(state);
                }
                Told::Refused(Refusal::Promised(ballot)) => {
                    short.refused = true;
                    short.promised = short.promised.max(Some(ballot));
                }
                Told::Refused(Refusal::Moved) => short.refused = true,
                Told::Refused(Refusal::Sealed) => short.moved = true,
                Told::Stopped(stop) => short.stopped(stop),
            }
            if states.len() >= self.majority() {
                return Ended::Majority(states);
            }
        }
        short.done = states.len();
        Ended::Short(short)
    }
}

fn busy() -> StoreError {
    StoreError::NotSent("earlier calls to this acceptor have not come back yet".into())
}
