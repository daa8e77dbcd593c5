//! Steps of a plan: faults that wait for their moment, as seen from outside.
//!
//! Random instants seldom meet the few milliseconds in which a rule alone keeps a promise. A step
//! waits until something is to be seen (a renewal landed, the set shrank) and then for a time drawn
//! from the seed.

use std::collections::VecDeque;
use std::time::Duration;

use continuum_domain::observation::ProcessState;
use continuum_domain::{RegionId, SessionRecord};
use serde::{Deserialize, Serialize};

use crate::judge::Judge;
use crate::plan::{Fault, Ms};

/// What a step waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// Nothing: the step before is done.
    Now,
    /// A renewal of this region's session lands.
    Beat(String),
    /// The register lists this many members.
    Listed(usize),
    /// The register names this holder.
    Held(String),
    /// No process of this region's PostgreSQL is left.
    Stopped(String),
    /// This region takes writes.
    Writes(String),
    /// The names of this region hold back every commit: a growth is being proven (R12).
    Probing(String),
    /// They do not.
    Probed(String),
    /// Nobody is named in this region: commits wait for nobody.
    Relaxed(String),
    /// The register says that the holder waits for every listed member.
    WaitsForAll,
}

/// A fault or an order that waits for its moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The moment.
    pub when: Moment,
    /// Time from then on.
    pub after: Ms,
    /// What happens; nothing, where the next step only must not come earlier.
    #[serde(default)]
    pub fault: Option<Fault>,
}

type Beat = Option<(u64, u64)>;

/// The steps of a plan under way.
#[derive(Default)]
pub struct Script {
    steps: VecDeque<Step>,
    /// When the first step is due, once its moment came.
    due: Option<Duration>,
    /// The session at which the wait for a renewal began.
    beat: Option<Beat>,
    last: Duration,
}

impl Script {
    /// The steps of a plan whose faults begin now.
    pub fn new(steps: &[Step], now: Duration) -> Self {
        let steps = steps.iter().cloned().collect();
        Self { steps, due: None, beat: None, last: now }
    }

    /// Whether every step was taken.
    pub fn is_over(&self) -> bool {
        self.steps.is_empty()
    }

    /// The next fault, if its time has come.
    pub fn due(&mut self, now: Duration, judge: &Judge) -> Option<Fault> {
        loop {
            let step = self.steps.front()?.clone();
            let after = Duration::from_millis(step.after);
            if self.due.is_none() && self.has_come(&step.when, judge) {
                // One step follows from the other, not from when that was noticed.
                let since = if step.when == Moment::Now { self.last } else { now };
                self.due = Some(since + after);
            }
            let at = self.due.filter(|due| *due <= now)?;
            (self.due, self.beat, self.last) = (None, None, at);
            self.steps.pop_front();
            if step.fault.is_some() {
                return step.fault;
            }
        }
    }

    fn has_come(&mut self, moment: &Moment, judge: &Judge) -> bool {
        let cluster = &judge.shared.members.cluster;
        let member = |name: &String| RegionId::new(name).ok().map(|region| cluster.member(&region));
        let record = judge.record();
        match moment {
            Moment::Now => true,
            Moment::Beat(region) => {
                let beat = beat_of(judge, region);
                *self.beat.get_or_insert(beat) != beat
            }
            Moment::Listed(count) => record.is_some_and(|record| record.in_sync.len() == *count),
            Moment::Held(region) => {
                let holder = record.and_then(|record| record.holder.as_ref());
                holder.is_some_and(|holder| holder.as_str() == region)
            }
            Moment::WaitsForAll => record.is_some_and(|record| record.waits_for_all),
            Moment::Stopped(region) => {
                member(region).is_some_and(|view| view.process == ProcessState::Stopped)
            }
            Moment::Writes(region) => member(region).is_some_and(|view| view.accepts_writes),
            Moment::Probing(region) => member(region).is_some_and(|view| view.names.probe),
            Moment::Probed(region) => member(region).is_some_and(|view| !view.names.probe),
            Moment::Relaxed(region) => {
                member(region).is_some_and(|view| view.names == Default::default())
            }
        }
    }
}

fn beat_of(judge: &Judge, region: &str) -> Beat {
    let held = judge.shared.register(&format!("session/{region}"))?;
    let session: SessionRecord = serde_json::from_slice(&held.value).ok()?;
    Some((session.incarnation, session.beat))
}
