//! The guard: who may command, in which order, and the deadline (R4, R5).
//!
//! Not modelled: its orderly end (it is killed or loses power), locks against a second guard,
//! configuration it refuses, passwords. Its messages with the agent do not overtake one another by
//! themselves, but slow ones may come after later ones, as two connections of an agent's can.

use continuum_cnpg_pair::PlaneError;
use continuum_cnpg_pair::plane::Taken;
use continuum_domain::mutation::{Bug, planted};
use continuum_domain::observation::ActuatorStatus;
use continuum_domain::{Epoch, Generation, Tick};
use std::time::Duration;

use super::directory::Mark;
use super::member::{Durable, Watcher};
use super::reply::Reply;
use super::world::World;

/// How often the deadline is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How long a `changed` request waits before it is answered all the same.
const CHANGED_WAIT: Duration = Duration::from_secs(5);

/// What a command was admitted with; looked at again right before it takes effect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    pub generation: Generation,
    pub epoch: Option<Epoch>,
    stops: u64,
}

pub(super) fn refused(why: impl Into<String>) -> PlaneError {
    PlaneError::Refused(why.into())
}

pub(super) fn failed(what: &str, reason: impl ToString) -> PlaneError {
    PlaneError::Failed { what: what.into(), reason: reason.to_string() }
}

impl World {
    /// R4: admits a command of the current generation and of no older epoch, or refuses it.
    pub fn admit(
        &mut self,
        r: usize,
        generation: Generation,
        epoch: Option<Epoch>,
    ) -> Result<Ticket, PlaneError> {
        let guard = self.guard(r);
        if planted(Bug::BlindGuard) {
            return Ok(Ticket { generation, epoch, stops: guard.stops });
        }
        if generation != guard.memory.generation || generation == Generation(0) {
            return Err(refused(format!(
                "the command is of agent generation {generation}, the actuator is held by {}",
                guard.memory.generation
            )));
        }
        if let Some(epoch) = epoch {
            if epoch < guard.memory.epoch {
                let seen = guard.memory.epoch;
                return Err(refused(format!("epoch {epoch} is older than {seen}")));
            }
            guard.memory.epoch = epoch;
        }
        Ok(Ticket { generation, epoch, stops: guard.stops })
    }

    /// R4, right before a command takes effect.
    pub fn recheck(&self, r: usize, ticket: &Ticket) -> Result<(), PlaneError> {
        let guard = &self.members[r].guard;
        if planted(Bug::BlindGuard) {
            return Ok(());
        }
        if ticket.generation != guard.memory.generation {
            return Err(refused("another agent took the actuator meanwhile"));
        }
        if ticket.epoch.is_some_and(|epoch| epoch < guard.memory.epoch) {
            return Err(refused("a newer epoch was seen meanwhile"));
        }
        if ticket.stops != guard.stops {
            return Err(refused("a stop was ordered meanwhile"));
        }
        Ok(())
    }

    /// Waits for a turn at changing PostgreSQL; `work` gives it back by [`World::leave`].
    pub fn enter(&mut self, r: usize, work: impl FnOnce(&mut World) + Send + 'static) {
        let guard = self.guard(r);
        if guard.turn {
            guard.turns.push_back(Box::new(work));
        } else {
            guard.turn = true;
            work(self);
        }
    }

    pub fn leave(&mut self, r: usize) {
        let next = self.guard(r).turns.pop_front();
        match next {
            Some(next) => next(self),
            None => self.guard(r).turn = false,
        }
    }

    /// A turn for an admitted command: `work` runs if it may still take effect.
    pub fn enter_with<T: Send + 'static>(
        &mut self,
        r: usize,
        ticket: Ticket,
        reply: Reply<T>,
        work: impl FnOnce(&mut World, Reply<T>) + Send + 'static,
    ) {
        self.enter(r, move |w| match w.recheck(r, &ticket) {
            Ok(()) => work(w, reply),
            Err(error) => {
                w.answer(r, reply, Err(error));
                w.leave(r);
            }
        });
    }

    /// Brings the guard's state on disk up to date, then goes on.
    pub fn persist(
        &mut self,
        r: usize,
        then: impl FnOnce(&mut World, Result<(), PlaneError>) + Send + 'static,
    ) {
        let (now, takes) = (self.now, self.draw(self.settings.persist));
        let guard = self.guard(r);
        if guard.durable == guard.memory {
            return then(self, Ok(()));
        }
        // One write after the other.
        guard.written = guard.written.max(now) + takes;
        let (delay, boot) = (guard.written - now, guard.boot);
        self.after_disk(r, delay, move |w| {
            if w.members[r].guard.boot != boot {
                return;
            }
            if w.members[r].host.full {
                let error = failed("writing the guard's state", "no space left on device");
                return then(w, Err(error));
            }
            let guard = w.guard(r);
            guard.durable = guard.memory.clone();
            then(w, Ok(()));
        });
    }

    /// An answer on its way back to the agent.
    pub fn answer<T: Send + 'static>(
        &mut self,
        r: usize,
        reply: Reply<T>,
        result: Result<T, PlaneError>,
    ) {
        let delay = self.local_delay(r);
        self.after_on(r, delay, move |_| reply.send(result));
    }

    /// R4: hands the actuator to a new agent. Older commands are refused from the first line on;
    /// one that was under way has finished when this is answered.
    pub fn take(&mut self, r: usize, reply: Reply<Taken>) {
        let guard = self.guard(r);
        let generation = guard.memory.generation.next();
        guard.memory.generation = generation;
        self.enter(r, move |w| {
            w.persist(r, move |w, written| {
                let taken = written.map(|()| Taken { generation, status: w.members[r].status() });
                w.end_older_agents(r, generation);
                w.answer(r, reply, taken);
                w.leave(r);
            });
        });
    }

    /// R5: in memory at once; a newer epoch is also written.
    pub fn arm(&mut self, r: usize, deadline: Tick, reply: Reply<()>) {
        self.guard(r).deadline = Some(deadline);
        self.persist(r, move |w, written| w.answer(r, reply, written));
    }

    pub fn status(&mut self, r: usize, reply: Reply<ActuatorStatus>) {
        let status = self.members[r].status();
        self.answer(r, reply, Ok(status));
    }

    pub fn changed(&mut self, r: usize, seen: ActuatorStatus, reply: Reply<ActuatorStatus>) {
        let status = self.members[r].status();
        if status.differs(&seen) {
            return self.answer(r, reply, Ok(status));
        }
        let number = self.number();
        self.guard(r).watchers.push(Watcher { seen, reply, number });
        self.after_by_guard(r, CHANGED_WAIT, move |w| {
            let watchers = &mut w.guard(r).watchers;
            let found = watchers.iter().position(|watcher| watcher.number == number);
            if let Some(index) = found {
                let watcher = watchers.remove(index);
                w.status(r, watcher.reply);
            }
        });
    }

    /// Tells everybody who waits for a change of status.
    pub fn notify(&mut self, r: usize) {
        let status = self.members[r].status();
        let watchers = std::mem::take(&mut self.guard(r).watchers);
        for watcher in watchers {
            if status.differs(&watcher.seen) {
                self.answer(r, watcher.reply, Ok(status.clone()));
            } else {
                self.guard(r).watchers.push(watcher);
            }
        }
    }

    /// R5: the guard's own loop. At the deadline PostgreSQL is stopped if it is a primary or may
    /// become one; a plain standby goes on.
    pub fn keep_looking_at_deadline(&mut self, r: usize) {
        let now = self.tick(r);
        let member = &self.members[r];
        let expired = member.guard.deadline.is_some_and(|deadline| deadline <= now)
            && !planted(Bug::NoDeadline);
        if expired && member.pg.as_ref().is_some_and(|pg| pg.promoted) {
            self.stop_now(r, "the armed deadline came");
        }
        self.after_by_guard(r, LOOK, move |w| w.keep_looking_at_deadline(r));
    }

    /// R5: a promotion needs a deadline armed beforehand and still to come.
    pub fn may_promote(&self, r: usize) -> Result<(), PlaneError> {
        self.not_barred(r)?;
        match self.members[r].guard.deadline {
            None => return Err(refused("no deadline is armed; arm one before promoting (R5)")),
            Some(deadline) if deadline <= self.tick(r) => {
                return Err(refused("the armed deadline has passed (R5)"));
            }
            Some(_) => {}
        }
        match &self.members[r].pg {
            None => Err(refused("PostgreSQL does not run")),
            Some(pg) if pg.stopping.is_some() => Err(refused("PostgreSQL is stopping")),
            Some(pg) if !pg.ready => Err(refused("PostgreSQL does not accept connections yet")),
            Some(_) => Ok(()),
        }
    }

    fn not_barred(&self, r: usize) -> Result<(), PlaneError> {
        match &self.members[r].guard.memory.fence {
            Some(reason) => Err(refused(format!("the member is fenced: {reason}"))),
            None => Ok(()),
        }
    }

    pub fn may_start(&self, r: usize) -> Result<(), PlaneError> {
        self.not_barred(r)?;
        if self.members[r].pg.is_some() {
            return Err(refused("PostgreSQL runs already"));
        }
        if let Some(job) = self.members[r].guard.job {
            return Err(refused(format!("{job} is under way")));
        }
        if self.members[r].guard.identity.is_none() {
            return Err(refused("there is no usable data directory (R13)"));
        }
        Ok(())
    }

    /// R13: the identity, if directory and record agree.
    pub fn refresh_identity(&mut self, r: usize) {
        let member = &mut self.members[r];
        let mark = member.directory.as_ref().map(|directory| directory.mark.clone());
        member.guard.identity = match mark {
            Some(Mark::Ready(id)) if Some(&id) == member.guard.memory.expected.as_ref() => Some(id),
            _ => None,
        };
    }

    /// The guard's process is gone, and everything it was about to do.
    pub fn end_guard(&mut self, r: usize) {
        let guard = self.guard(r);
        guard.up = false;
        guard.boot += 1;
        guard.deadline = None;
        guard.job = None;
        guard.turn = false;
        guard.turns.clear();
        guard.watchers.clear();
        guard.stop_waiters.clear();
        guard.memory = Durable::default();
        guard.identity = None;
    }

    /// A guard starts: from what is on disk, without a deadline, and with no PostgreSQL of its
    /// predecessor's alive (R5).
    pub fn begin_guard(&mut self, r: usize) {
        if self.members[r].pg.is_some() {
            self.process_gone(r, false);
        }
        let now = self.now;
        let guard = self.guard(r);
        guard.up = true;
        guard.boot += 1;
        guard.memory = guard.durable.clone();
        guard.exits = 0;
        guard.last_exit = None;
        guard.written = now;
        self.refresh_identity(r);
        self.keep_looking_at_deadline(r);
    }
}
