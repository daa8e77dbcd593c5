//! The guard: the one actuator of a member (R4), which holds the deadline (R5).

use std::time::Duration;

use continuum_domain::observation::{ActuatorStatus, ProcessState};
use continuum_domain::pair::types::Event;
use continuum_domain::{Epoch, Generation, Tick};

use super::{Host, World, ms};

#[derive(Default)]
pub struct Guard {
    pub up: bool,
    /// Rises with each start of the guard.
    pub boot: u64,
    // On disk.
    pub generation: Generation,
    pub epoch: Epoch,
    pub fence: Option<String>,
    // In memory.
    pub deadline: Option<Tick>,
    pub exits: u64,
    pub last_exit: Option<String>,
    /// A guard as it must not be (to show what R4 is for): it looks at no generation or epoch.
    pub blind: bool,
    /// A member like a CloudNativePG Cluster: it cannot be told to receive nothing more.
    pub always_receives: bool,
    /// Stops ordered so far: a command admitted before one does not take effect after it.
    pub stops: u64,
    pub job: bool,
    pub job_life: u64,
    /// A stop is under way; whether it is the immediate one.
    pub stopping: Option<bool>,
}

/// What a command was admitted with.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    pub boot: u64,
    pub generation: Generation,
    pub epoch: Epoch,
    pub stops: u64,
}

impl Guard {
    pub fn admit(&mut self, generation: Generation, epoch: Epoch) -> Result<Ticket, String> {
        if generation != self.generation && !self.blind {
            return Err(format!("generation {generation} is not {}", self.generation));
        }
        if epoch < self.epoch && !self.blind {
            return Err(format!("epoch {epoch} is older than {}", self.epoch));
        }
        self.epoch = self.epoch.max(epoch);
        Ok(Ticket { boot: self.boot, generation, epoch, stops: self.stops })
    }

    pub fn recheck(&self, ticket: &Ticket) -> Result<(), String> {
        let same = self.up
            && ticket.boot == self.boot
            && ticket.generation == self.generation
            && ticket.epoch >= self.epoch
            && ticket.stops == self.stops;
        if same { Ok(()) } else { Err("refused: overtaken".into()) }
    }
}

impl World {
    pub fn start_guard(&mut self, r: usize) {
        let guard = &mut self.regions[r].guard;
        if guard.up {
            return;
        }
        guard.up = true;
        guard.boot += 1;
        guard.deadline = None;
        guard.job = false;
        guard.stopping = None;
        self.log(|| format!("guard {r} started"));
    }

    /// The guard dies, and PostgreSQL with it (R5).
    pub fn stop_guard(&mut self, r: usize) {
        if !self.regions[r].guard.up {
            return;
        }
        self.pg_gone(r, "its guard died", false);
        let guard = &mut self.regions[r].guard;
        guard.up = false;
        guard.boot += 1;
        guard.deadline = None;
        if guard.job {
            // A rewind cut short leaves a directory without identity (R13).
            guard.job = false;
            guard.job_life += 1;
        }
        let Some(agent) = &self.regions[r].agent else { return };
        let life = agent.life;
        let delay = self.net.local(&mut self.rng);
        self.after(delay, Host::Agent(r), move |w| {
            w.feed_if(r, life, Event::GuardLost("the connection closed".into()));
        });
    }

    pub fn actuator_status(&self, r: usize) -> ActuatorStatus {
        let (guard, pg) = (&self.regions[r].guard, &self.regions[r].pg);
        let process = match pg.state() {
            ProcessState::Running if guard.stopping.is_some() => ProcessState::Stopping,
            process => process,
        };
        ActuatorStatus {
            process,
            epoch: guard.epoch,
            deadline: guard.deadline,
            promoted: pg.promoted,
            fenced: guard.fence.clone(),
            data_directory: pg.directory.clone().filter(|_| !guard.job),
            exits: guard.exits,
            last_exit: guard.last_exit.clone(),
            always_receives: guard.always_receives,
            hindrances: Vec::new(),
            against_leaving: Vec::new(),
            told_primary: None,
        }
    }

    /// Tells the agent that the actuator's state changed.
    pub fn notify(&mut self, r: usize) {
        if !self.regions[r].guard.up {
            return;
        }
        let Some(agent) = &mut self.regions[r].agent else { return };
        agent.status_sent += 1;
        let (life, number) = (agent.life, agent.status_sent);
        let (status, boot) = (self.actuator_status(r), self.regions[r].guard.boot);
        let delay = self.net.local(&mut self.rng);
        self.after(delay, Host::Agent(r), move |w| {
            let current = w.regions[r].guard.boot == boot;
            let Some(agent) = w.regions[r].agent.as_mut().filter(|agent| agent.life == life) else {
                return;
            };
            // The status is asked for in order; nothing is heard before the actuator is taken.
            if current && agent.status_seen < number && agent.generation.is_some() {
                agent.status_seen = number;
                w.feed(r, Event::Status(status));
            }
        });
    }

    pub fn arm(&mut self, r: usize, deadline: Tick) {
        self.regions[r].guard.deadline = Some(deadline);
        let boot = self.regions[r].guard.boot;
        let time = self.true_time(r, deadline);
        self.at(time, Host::Data(r), Box::new(move |w| w.look_at_deadline(r, boot)));
    }

    fn look_at_deadline(&mut self, r: usize, boot: u64) {
        let now = self.local(r);
        let guard = &self.regions[r].guard;
        let expired = guard.deadline.is_some_and(|deadline| deadline <= now);
        if guard.up && guard.boot == boot && expired && self.regions[r].pg.promoted {
            self.stop_now(r, "the armed deadline came");
        }
    }

    /// The immediate stop: it may take up to the stop budget, and backends may serve until then.
    pub fn stop_now(&mut self, r: usize, why: &'static str) {
        let guard = &self.regions[r].guard;
        if self.regions[r].pg.process.is_none() || guard.stopping == Some(true) {
            return;
        }
        let guard = &mut self.regions[r].guard;
        // A fast stop under way is cut short.
        guard.stopping = Some(true);
        guard.stops += 1;
        let life = self.regions[r].pg.life;
        self.log(|| format!("guard {r} stops PostgreSQL: {why}"));
        self.regions[r].pg.process = Some(ProcessState::Stopping);
        // The budget counts on this host's clock.
        let limit = self.timing.stop_budget * 19 / 20;
        let takes = if self.rng.chance(300) { limit } else { self.rng.upto(ms(60)) };
        self.after(takes, Host::Data(r), move |w| {
            if w.regions[r].pg.life == life {
                w.pg_gone(r, why, false);
                w.regions[r].guard.stopping = None;
            }
        });
        self.notify(r);
    }

    /// Break-glass: an operator's fence.
    pub fn operator_fence(&mut self, r: usize, set: bool) {
        let guard = &mut self.regions[r].guard;
        if guard.fence.is_some() == set {
            return;
        }
        guard.fence = set.then(|| "by hand".to_owned());
        guard.stops += u64::from(set);
        if set && guard.up {
            self.stop_now(r, "the member was fenced");
        }
        self.notify(r);
    }

    /// What it takes an agent to notice that nobody answers.
    pub fn guard_silence(&self) -> Duration {
        ms(40)
    }
}
