//! Long histories of many clients on a store with faults, recorded and judged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use continuum_domain::Version;
use continuum_runtime::seed;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::contract::Violation;
use crate::faulty::Holding;
use crate::history::{self, Event, Outcome};
use crate::register::{Answer, RegisterStore, StoreError, Versioned};

/// What a history is made of.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Calls of all clients together; rounded up to as many for each.
    pub calls: u64,
    /// Clients, each with one call under way at a time.
    pub clients: u64,
    /// Registers they share.
    pub registers: u64,
    /// What the clients ask, and which faults they meet, follows from this. How their calls fall
    /// together does not, where the store is a real one.
    pub seed: u64,
}

impl Plan {
    /// Eight clients on four registers: most calls meet another one's.
    pub fn of(calls: u64) -> Self {
        Self { calls, clients: 8, registers: 4, seed: 1 }
    }
}

/// One client and what goes wrong on its way.
pub struct Client {
    /// The store as it sees it.
    pub store: Arc<dyn RegisterStore>,
    /// What holds its changes back; they are let land now and then.
    pub held: Vec<Arc<dyn Holding>>,
}

/// What the calls of a history came to. A history whose calls all failed is linearizable too, so
/// whoever judges one looks at this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Reads that were answered.
    pub seen: u64,
    /// Changes that were accepted.
    pub written: u64,
    /// Changes that were refused.
    pub refused: u64,
    /// Calls that may have taken effect.
    pub unanswered: u64,
    /// Calls that certainly did not.
    pub not_sent: u64,
}

impl Tally {
    /// All calls.
    pub fn calls(&self) -> u64 {
        self.seen + self.written + self.refused + self.unanswered + self.not_sent
    }

    /// Fails where too little of some kind came about for the verdict to mean anything.
    pub fn check_substance(&self, part: &'static str) -> Result<(), Violation> {
        let tenth = self.calls() / 10;
        let enough = self.seen > tenth
            && self.written > tenth
            && self.refused > tenth / 10
            && self.unanswered > tenth / 2;
        match enough {
            true => Ok(()),
            false => Err(Violation { part, problem: format!("too little came about: {self:?}") }),
        }
    }
}

#[derive(Default)]
struct Recorder {
    clock: AtomicU64,
    events: Mutex<BTreeMap<String, Vec<Event>>>,
    tally: Mutex<Tally>,
}

impl Recorder {
    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn record(&self, key: &str, called: u64, outcome: Outcome) {
        let event = Event { called, returned: self.now(), outcome };
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.entry(key.to_owned()).or_default().push(event);
    }

    fn count(&self, what: impl FnOnce(&mut Tally) -> &mut u64) {
        *what(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner)) += 1;
    }
}

/// Lets the clients read and change the registers `<space>0`, `<space>1` and so on, which nobody
/// wrote before; reads each once more by `reader`, which meets no faults; and judges the whole.
pub async fn run(
    part: &'static str,
    plan: Plan,
    space: &str,
    clients: Vec<Client>,
    reader: &dyn RegisterStore,
) -> Result<Tally, Violation> {
    let keys: Arc<[String]> = (0..plan.registers).map(|at| format!("{space}{at}")).collect();
    let recorder = Arc::new(Recorder::default());
    let calls = plan.calls.div_ceil(clients.len().max(1) as u64);
    let mut seeds = SmallRng::seed_from_u64(plan.seed);
    let tasks: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(number, client)| {
            let (recorder, rng) = (recorder.clone(), SmallRng::seed_from_u64(seeds.random()));
            let caller =
                Caller { part, number, client, keys: keys.clone(), recorder, at: BTreeMap::new() };
            seed::spawn(caller.run(calls, rng))
        })
        .collect();
    for task in tasks {
        let ended = task.await;
        ended.map_err(|error| broken(part, format!("a client ended: {error}")))??;
    }
    for key in keys.iter() {
        let (called, held) = (recorder.now(), reader.read(key).await);
        let held = held.map_err(|error| broken(part, format!("the last read: {error}")))?;
        recorder.record(key, called, Outcome::Saw(held));
    }
    let events = recorder.events.lock().unwrap_or_else(PoisonError::into_inner);
    for (key, events) in events.iter() {
        history::check(events).map_err(|error| broken(part, format!("{key}: {error}")))?;
    }
    Ok(*recorder.tally.lock().unwrap_or_else(PoisonError::into_inner))
}

fn broken(part: &'static str, problem: impl Into<String>) -> Violation {
    Violation { part, problem: problem.into() }
}

struct Caller {
    part: &'static str,
    number: usize,
    client: Client,
    keys: Arc<[String]>,
    recorder: Arc<Recorder>,
    /// Of each register, the version this client was shown last.
    at: BTreeMap<usize, Version>,
}

impl Caller {
    async fn run(mut self, calls: u64, mut rng: SmallRng) -> Result<(), Violation> {
        for call in 0..calls {
            if rng.random_ratio(1, 8) {
                self.land().await;
            }
            let which = rng.random_range(0..self.keys.len());
            match rng.random_ratio(1, 3) {
                true => self.read(which).await?,
                false => self.change(which, call).await?,
            }
        }
        self.land().await;
        Ok(())
    }

    async fn land(&self) {
        for held in &self.client.held {
            held.land().await;
        }
    }

    async fn read(&mut self, which: usize) -> Result<(), Violation> {
        let (key, called) = (&self.keys[which], self.recorder.now());
        match self.client.store.read(key).await {
            Ok(held) => {
                self.at.insert(which, version_of(held.as_ref()));
                self.recorder.record(key, called, Outcome::Saw(held));
                self.recorder.count(|tally| &mut tally.seen);
                Ok(())
            }
            Err(error) => self.failed(error),
        }
    }

    async fn change(&mut self, which: usize, call: u64) -> Result<(), Violation> {
        let expected = self.at.get(&which).copied().unwrap_or(Version::ABSENT);
        let value = format!("{}/{call}", self.number).into_bytes();
        let wrote = Versioned { version: Version(expected.0 + 1), value: value.clone() };
        let (key, called) = (&self.keys[which], self.recorder.now());
        match self.client.store.compare_and_swap(key, expected, value).await {
            Ok(Answer::Accepted(version)) => {
                self.at.insert(which, version);
                self.recorder.record(key, called, Outcome::Wrote(Versioned { version, ..wrote }));
                self.recorder.count(|tally| &mut tally.written);
                Ok(())
            }
            Ok(Answer::Refused(held)) => {
                self.at.insert(which, version_of(held.as_ref()));
                self.recorder.record(key, called, Outcome::Refused { expected, held });
                self.recorder.count(|tally| &mut tally.refused);
                Ok(())
            }
            Err(error) => {
                if error.may_have_taken_effect() {
                    self.recorder.record(key, called, Outcome::MayHaveWritten(wrote));
                }
                self.failed(error)
            }
        }
    }

    /// A call without a decision. What certainly had no effect is left out of the history: if it has
    /// one after all, then the history has a change that nobody made.
    fn failed(&self, error: StoreError) -> Result<(), Violation> {
        match error {
            StoreError::Unanswered(_) => self.recorder.count(|tally| &mut tally.unanswered),
            StoreError::NotSent(_) => self.recorder.count(|tally| &mut tally.not_sent),
            StoreError::Unauthorised(_) | StoreError::Misconfigured(_) => {
                return Err(broken(self.part, format!("client {}: {error}", self.number)));
            }
        }
        Ok(())
    }
}

fn version_of(held: Option<&Versioned>) -> Version {
    held.map_or(Version::ABSENT, |held| held.version)
}
