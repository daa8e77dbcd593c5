//! Data-plane commands, as the guard and PostgreSQL carry them out.

use std::time::Duration;

use continuum_domain::observation::{Lineage, ProcessState};
use continuum_domain::pair::types::{PlaneCommand, PlaneOutcome};
use continuum_domain::{DataDirectoryId, Lsn, RegionId, SyncNames, TimelineId};

use super::guard::Ticket;
use super::lineage::{Relation, relate};
use super::postgres::{Canary, Record};
use super::{Host, World, ms};

/// Who hears the outcome.
pub type Reply = Box<dyn FnOnce(&mut World, PlaneOutcome)>;

fn failed(reason: impl Into<String>) -> PlaneOutcome {
    PlaneOutcome::Failed(reason.into())
}

impl World {
    /// `command` was admitted by the guard of `r`.
    pub fn carry_out(&mut self, r: usize, ticket: Ticket, command: PlaneCommand, reply: Reply) {
        match command {
            PlaneCommand::Start { names, upstream } => {
                self.start(r, ticket, &names, upstream, reply)
            }
            PlaneCommand::Promote { names } => self.promote(r, ticket, &names, reply),
            PlaneCommand::SetNames(names) => {
                self.regions[r].pg.names = names;
                self.reload(r);
                reply(self, PlaneOutcome::Done);
            }
            PlaneCommand::Follow(upstream) => {
                let upstream = upstream.map(|region| self.index(&region));
                let pg = &mut self.regions[r].pg;
                if pg.upstream != upstream {
                    pg.upstream = upstream;
                    if let Some(from) = pg.receiver.as_ref().map(|receiver| receiver.from) {
                        self.drop_connection(r, from);
                    }
                }
                reply(self, PlaneOutcome::Done);
            }
            PlaneCommand::StopReceiving if self.regions[r].guard.always_receives => {
                reply(self, failed("it always receives"));
            }
            PlaneCommand::StopReceiving => self.stop_receiving(r, reply),
            PlaneCommand::StopFast => self.stop_fast(r, reply),
            PlaneCommand::Checkpoint => {
                let takes = self.rng.upto(ms(30));
                self.after(takes, Host::Data(r), move |w| reply(w, PlaneOutcome::Done));
            }
            PlaneCommand::ControlData => {
                let control = self.regions[r].pg.control.clone();
                let stopped = self.regions[r].pg.process.is_none();
                let outcome = control.filter(|_| stopped).map(PlaneOutcome::Control);
                reply(self, outcome.unwrap_or_else(|| failed("no control data")));
            }
            PlaneCommand::EnsureReplication
            | PlaneCommand::StartCanary
            | PlaneCommand::LookCanary
            | PlaneCommand::WakeWaiters => {
                let outcome = self.by_sql(r, &command);
                reply(self, outcome);
            }
            PlaneCommand::Lineage(holder) => {
                let outcome = self.compare(r, &holder);
                let takes = self.rng.between(ms(2), ms(40));
                self.after(takes, Host::Data(r), move |w| reply(w, outcome));
            }
            PlaneCommand::SaveTail { .. } => {
                let takes = self.rng.between(ms(5), ms(60));
                let tail = PlaneOutcome::Tail { path: "/tails/1".into(), commits: 1 };
                self.after(takes, Host::Data(r), move |w| reply(w, tail));
            }
            PlaneCommand::Initialise => self.initialise(r, reply),
            PlaneCommand::Rewind(holder) => self.copy(r, ticket, &holder, false, reply),
            PlaneCommand::Reclone(holder) => self.copy(r, ticket, &holder, true, reply),
        }
    }

    /// The upstream is taken away, and the receiver ends when it has a moment.
    fn stop_receiving(&mut self, r: usize, reply: Reply) {
        self.regions[r].pg.upstream = None;
        let takes = self.rng.between(ms(1), ms(12));
        self.after(takes, Host::Data(r), move |w| w.receiver_ends(r, reply, 0));
    }

    fn receiver_ends(&mut self, r: usize, reply: Reply, tries: u32) {
        let pg = &self.regions[r].pg;
        if !pg.running() || pg.primary || tries > 40 {
            return reply(self, failed("the WAL receiver does not end"));
        }
        if self.now < self.net.receiver_stuck[r] {
            return self
                .after(ms(50), Host::Data(r), move |w| w.receiver_ends(r, reply, tries + 1));
        }
        if let Some(from) = pg.receiver.as_ref().map(|receiver| receiver.from) {
            self.drop_connection(r, from);
        }
        let end = self.regions[r].pg.end();
        reply(self, PlaneOutcome::Stopped(end));
    }

    fn start(
        &mut self,
        r: usize,
        ticket: Ticket,
        names: &SyncNames,
        upstream: Option<RegionId>,
        reply: Reply,
    ) {
        let guard = &self.regions[r].guard;
        let pg = &self.regions[r].pg;
        let barred = guard.fence.is_some() || guard.job;
        if barred || pg.process.is_some() || pg.directory.is_none() {
            return reply(self, failed("refused: it may not start now"));
        }
        if let Err(reason) = guard.recheck(&ticket) {
            return reply(self, failed(reason));
        }
        let upstream = upstream.map(|region| self.index(&region));
        let pg = &mut self.regions[r].pg;
        // R10: starting only adds names.
        add_names(&mut pg.names, names);
        pg.upstream = upstream;
        pg.process = Some(ProcessState::Starting);
        pg.promoted = false;
        pg.primary = false;
        pg.life += 1;
        let life = pg.life;
        self.regions[r].guard.stopping = None;
        self.notify(r);
        let takes = self.rng.between(ms(10), ms(120));
        let fails = self.now < self.net.start_fails[r];
        self.after(takes, Host::Data(r), move |w| {
            let pg = &mut w.regions[r].pg;
            if pg.life != life || pg.process != Some(ProcessState::Starting) {
                return reply(w, failed("it ended while it started"));
            }
            if fails {
                w.pg_gone(r, "it can not start", false);
                return reply(w, failed("it can not start"));
            }
            pg.process = Some(ProcessState::Running);
            pg.replayed = pg.wal.len();
            // At startup the flag is set before the first client (R12).
            pg.backends_wait = !pg.names.is_empty();
            w.notify(r);
            w.keep_connecting(r, life);
            reply(w, PlaneOutcome::Done);
        });
    }

    fn promote(&mut self, r: usize, ticket: Ticket, names: &SyncNames, reply: Reply) {
        let now = self.local(r);
        let guard = &self.regions[r].guard;
        let armed = guard.deadline.is_some_and(|deadline| now < deadline)
            || self.judge.unarmed_promotions_allowed;
        let pg = &self.regions[r].pg;
        if guard.fence.is_some() || !armed || !pg.running() || guard.stopping.is_some() {
            return reply(self, failed("refused: it may not promote now"));
        }
        if let Err(reason) = guard.recheck(&ticket) {
            return reply(self, failed(reason));
        }
        let pg = &mut self.regions[r].pg;
        add_names(&mut pg.names, names);
        // From here on the deadline stops it.
        pg.promoted = true;
        let life = pg.life;
        if pg.primary {
            let timeline = TimelineId(pg.timeline());
            let starts_at = pg.end();
            return reply(self, PlaneOutcome::Promoted { timeline, starts_at });
        }
        if let Some(from) = pg.receiver.as_ref().map(|receiver| receiver.from) {
            self.drop_connection(r, from);
        }
        self.reload(r);
        self.regions[r].pg.epoch = ticket.epoch;
        let takes = if self.rng.chance(100) {
            self.rng.between(ms(200), ms(1_500))
        } else {
            self.rng.between(ms(5), ms(80))
        };
        self.after(takes, Host::Data(r), move |w| w.promoted(r, life, reply));
    }

    fn promoted(&mut self, r: usize, life: u64, reply: Reply) {
        let number = self.fresh_id();
        let pg = &mut self.regions[r].pg;
        if pg.life != life || !pg.running() {
            return reply(self, failed("it ended while it was promoted"));
        }
        let (starts_at, previous) = (pg.end(), pg.last_number());
        let timeline = pg.fork();
        let end = Lsn(starts_at.0 + 64);
        pg.wal.push(Record { number, previous, end, timeline, commit: None });
        pg.replayed = pg.wal.len();
        pg.primary = true;
        // Names stand in the configuration (R10), but whether backends wait is for the
        // checkpointer to say, which may not have got round to the reload yet.
        let epoch = pg.epoch;
        self.log(|| format!("pg {r} is a primary on timeline {timeline} under epoch {epoch}"));
        self.judge_promoted(r);
        reply(self, PlaneOutcome::Promoted { timeline: TimelineId(timeline), starts_at });
    }

    fn by_sql(&mut self, r: usize, command: &PlaneCommand) -> PlaneOutcome {
        let pg = &self.regions[r].pg;
        if !pg.running() || !pg.primary {
            return failed("not a running primary");
        }
        match command {
            PlaneCommand::EnsureReplication => {
                self.regions[r].pg.slots = true;
                PlaneOutcome::Done
            }
            PlaneCommand::StartCanary => {
                self.regions[r].pg.canary = Some(Canary { waiting: true });
                self.commit(r, None);
                PlaneOutcome::Done
            }
            PlaneCommand::LookCanary => {
                let Some(canary) = pg.canary else { return failed("no canary") };
                let commit_lsn = canary.waiting.then(|| pg.end());
                PlaneOutcome::Canary { waiting: canary.waiting, commit_lsn }
            }
            _ => PlaneOutcome::Woken(self.write_record(r, None)),
        }
    }

    /// A fast stop ends sessions, writes a shutdown checkpoint and ships everything to whoever is
    /// connected.
    fn stop_fast(&mut self, r: usize, reply: Reply) {
        self.regions[r].guard.stops += 1;
        if self.regions[r].pg.process.is_none() {
            return reply(self, PlaneOutcome::Done);
        }
        if self.regions[r].guard.stopping.is_none() {
            self.regions[r].guard.stopping = Some(false);
            let pg = &mut self.regions[r].pg;
            pg.process = Some(ProcessState::Stopping);
            pg.waiting.clear();
            pg.canary = None;
            if pg.primary {
                self.write_record(r, None);
            }
            self.notify(r);
            let (life, patience) = (self.regions[r].pg.life, self.now + 1_200_000_000);
            let takes = self.rng.between(ms(5), ms(80));
            self.after(takes, Host::Data(r), move |w| w.finish_fast_stop(r, life, patience));
        }
        self.wait_stopped(r, reply);
    }

    fn finish_fast_stop(&mut self, r: usize, life: u64, patience: u64) {
        if self.regions[r].pg.life != life {
            return;
        }
        if self.all_shipped(r) || self.now >= patience {
            self.pg_gone(r, "a fast stop was ordered", true);
            self.regions[r].guard.stopping = None;
            return;
        }
        self.after(ms(3), Host::Data(r), move |w| w.finish_fast_stop(r, life, patience));
    }

    pub fn wait_stopped(&mut self, r: usize, reply: Reply) {
        if self.regions[r].pg.process.is_none() {
            return reply(self, PlaneOutcome::Done);
        }
        self.after(ms(1), Host::Data(r), move |w| w.wait_stopped(r, reply));
    }

    fn compare(&self, r: usize, holder: &RegionId) -> PlaneOutcome {
        let upstream = self.index(holder);
        let (here, there) = (&self.regions[r].pg, &self.regions[upstream].pg);
        let frozen = self.regions[upstream].host_thaws > self.now;
        let reachable = self.net.linked(r, upstream, self.now) && !frozen;
        if here.process.is_some() || !reachable || !there.running() || !there.primary {
            return failed("the primary can not be asked");
        }
        let (end, timeline) = (here.end(), TimelineId(here.timeline()));
        // By numbers they are the same up to some place: the bytes just before it decide.
        let same = |place| here.same_before(there, place);
        let lineage = match relate(here, there) {
            Relation::Within if same(end) => Lineage::Follows,
            Relation::Diverged { fork } if same(fork) || self.judge.numbers_believed => {
                Lineage::Diverged { fork, end, timeline }
            }
            _ => Lineage::Apart { fork: here.last_shared_switch(there), end, timeline },
        };
        PlaneOutcome::Lineage(lineage)
    }

    fn initialise(&mut self, r: usize, reply: Reply) {
        let takes = self.rng.between(ms(20), ms(200));
        let job = self.regions[r].guard.job_life;
        self.after(takes, Host::Data(r), move |w| {
            if w.regions[r].guard.job_life != job || w.regions[r].pg.directory.is_some() {
                return reply(w, failed("it can not be initialised"));
            }
            let number = w.fresh_id();
            let id = w.fresh_directory();
            let pg = &mut w.regions[r].pg;
            let end = Lsn(64);
            pg.wal = vec![Record { number, previous: 0, end, timeline: 1, commit: None }];
            pg.directory = Some(id.clone());
            w.notify(r);
            reply(w, PlaneOutcome::Directory(id));
        });
    }

    /// Rewind or base backup: the directory has no identity until it is whole (R13).
    fn copy(&mut self, r: usize, ticket: Ticket, holder: &RegionId, clone: bool, reply: Reply) {
        let upstream = self.index(holder);
        let guard = &self.regions[r].guard;
        let busy = guard.job || self.regions[r].pg.process.is_some();
        if busy || guard.recheck(&ticket).is_err() || !self.copyable(r, upstream) {
            let takes = self.rng.between(ms(2), ms(40));
            return self.after(takes, Host::Data(r), move |w| reply(w, failed("no source")));
        }
        if !clone {
            self.judge_destroyed(r);
            self.regions[r].pg.directory = None;
        }
        let guard = &mut self.regions[r].guard;
        guard.job = true;
        let job = guard.job_life;
        self.notify(r);
        let takes = self.rng.between(ms(40), ms(if clone { 900 } else { 300 }));
        self.after(takes, Host::Data(r), move |w| {
            if w.regions[r].guard.job_life != job {
                return reply(w, failed("it was cut short"));
            }
            w.regions[r].guard.job = false;
            w.notify(r);
            let overtaken = w.regions[r].guard.recheck(&ticket).is_err();
            if !w.copyable(r, upstream) || (clone && overtaken) {
                return reply(w, failed("the source went away"));
            }
            match w.finish_copy(r, upstream, clone) {
                Some(id) => reply(w, PlaneOutcome::Directory(id)),
                None => reply(w, failed("pg_rewind sees no difference")),
            }
        });
    }

    fn copyable(&self, r: usize, upstream: usize) -> bool {
        let there = &self.regions[upstream].pg;
        let frozen = self.regions[upstream].host_thaws > self.now;
        self.net.linked(r, upstream, self.now) && there.running() && there.primary && !frozen
    }

    /// `None`: by their numbers both are the same, and there is nothing to rewind.
    fn finish_copy(&mut self, r: usize, upstream: usize, clone: bool) -> Option<DataDirectoryId> {
        if clone {
            self.judge_destroyed(r);
        }
        let (here, there) = (&self.regions[r].pg, &self.regions[upstream].pg);
        let wal = if clone {
            there.wal.clone()
        } else {
            let point = here.rewind_point(there)?;
            here.wal.iter().copied().take_while(|record| record.end <= point).collect()
        };
        let histories = there.histories.clone();
        let id = self.fresh_directory();
        let pg = &mut self.regions[r].pg;
        pg.wal = wal;
        pg.histories = histories;
        pg.replayed = pg.wal.len();
        pg.directory = Some(id.clone());
        pg.slots = false;
        self.log(|| format!("{r} was copied from {upstream} (clone: {clone}), now {id}"));
        self.judge_copied(r, upstream);
        self.notify(r);
        Some(id)
    }

    pub fn fresh_directory(&mut self) -> DataDirectoryId {
        let id = self.fresh_id();
        DataDirectoryId::new(format!("dir{id}")).unwrap()
    }

    /// How long a command takes to reach the guard.
    pub fn command_delay(&mut self, r: usize) -> Duration {
        if let Some(delay) = self.net.delayed_command[r].take() {
            return delay;
        }
        if self.now < self.net.slow_commands[r] && self.rng.chance(300) {
            return self.rng.between(ms(50), ms(2_500));
        }
        self.net.local(&mut self.rng)
    }
}

/// R10: names with `more` added; nothing is taken away.
fn add_names(to: &mut SyncNames, more: &SyncNames) {
    to.members.extend(more.members.iter().cloned());
    to.probe |= more.probe;
}
