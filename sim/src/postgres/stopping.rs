//! Stops: the deadline's, the fence, the orderly one; and what the end of PostgreSQL leaves.

use continuum_cnpg_pair::PlaneError;
use continuum_cnpg_pair::plane::StopMode;
use rand::RngExt;

use super::guard::{Ticket, failed};
use super::judge::{Content, Event};
use super::member::Process;
use super::reply::Reply;
use super::world::World;

impl World {
    pub fn stop(&mut self, r: usize, ticket: Ticket, mode: StopMode, reply: Reply<()>) {
        match mode {
            StopMode::Immediate => {
                self.guard(r).stops += 1;
                self.stop_now(r, "an immediate stop was ordered");
                self.wait_stopped(r, reply);
            }
            StopMode::Fast => self.enter_with(r, ticket, reply, move |w, reply| {
                w.guard(r).stops += 1;
                w.stop_fast(r);
                w.leave(r);
                w.wait_stopped(r, reply);
            }),
        }
    }

    fn wait_stopped(&mut self, r: usize, reply: Reply<()>) {
        if self.members[r].pg.is_some() {
            self.guard(r).stop_waiters.push(reply);
        } else {
            self.answer(r, reply, Ok(()));
        }
    }

    /// The durable fence: PostgreSQL is stopped first and the mark written then, because a full disk
    /// must not keep it alive.
    pub fn set_fence(&mut self, r: usize, reason: Option<String>, reply: Reply<()>) {
        let setting = reason.is_some();
        let guard = self.guard(r);
        guard.memory.fence = reason;
        guard.stops += u64::from(setting);
        if setting {
            self.stop_now(r, "the member was fenced");
        }
        self.notify(r);
        self.persist(r, move |w, written| match written {
            Ok(()) if setting => w.wait_stopped(r, reply),
            written => w.answer(r, reply, written),
        });
    }

    /// The fence (R11): SIGQUIT, then SIGKILL within the stop budget. Until the last process is
    /// gone backends may still send what they were about to send.
    pub fn stop_now(&mut self, r: usize, why: &str) {
        let budget = self.members[r].config.stop_budget;
        let Some(pg) = self.pg(r).filter(|pg| pg.stopping != Some(StopMode::Immediate)) else {
            return;
        };
        pg.stopping = Some(StopMode::Immediate);
        pg.why = Some(why.to_owned());
        self.notify(r);
        let slow = self.chance(self.settings.slow_stops);
        let takes = if slow {
            budget * 9 / 10
        } else {
            self.draw(self.settings.immediate_stop).min(budget)
        };
        self.after_in(r, takes, move |w| w.killed(r));
    }

    /// Every process got SIGKILL. One that waits for the disk in the kernel goes when the disk
    /// answers; it serves nobody any more.
    fn killed(&mut self, r: usize) {
        if let Some(pg) = self.pg(r) {
            pg.serving = false;
        }
        let member = &self.members[r];
        let unflushed = member.directory.as_ref().is_some_and(|d| d.flushed < d.wal.len());
        if member.host.fsync_hangs && unflushed {
            let pause = self.settings.retry;
            return self.after_in(r, pause, move |w| w.killed(r));
        }
        self.process_gone(r, false);
    }

    /// SIGINT: sessions end, what they wrote is checkpointed, and walsenders send all of it to who
    /// is connected before they end.
    fn stop_fast(&mut self, r: usize) {
        let Some(pg) = self.pg(r).filter(|pg| pg.stopping.is_none()) else { return };
        pg.stopping = Some(StopMode::Fast);
        pg.why = Some("a fast stop was ordered".into());
        self.notify(r);
        let takes = self.draw(self.settings.end_sessions);
        self.after_in(r, takes, move |w| {
            w.end_all_sessions(r);
            w.end_receiver(r);
            let takes = w.draw(w.settings.checkpoint);
            w.after_in(r, takes, move |w| w.shutdown_checkpoint(r));
        });
    }

    fn shutdown_checkpoint(&mut self, r: usize) {
        let member = &mut self.members[r];
        let Some(pg) = member.pg.as_mut() else { return };
        if pg.stopping != Some(StopMode::Fast) || std::mem::replace(&mut pg.shutting_down, true) {
            return;
        }
        if pg.primary {
            self.checkpoint_record(r, true);
        }
        self.finish_fast_stop(r);
    }

    fn finish_fast_stop(&mut self, r: usize) {
        let member = &self.members[r];
        let Some(directory) = &member.directory else { return };
        let Some(pg) = &member.pg else { return };
        if pg.stopping != Some(StopMode::Fast) {
            return;
        }
        let end = directory.end();
        let flushed = directory.flushed == directory.wal.len();
        // A walsender waits until its standby has flushed everything; one whose standby is silent
        // ends at its timeout, with the connection.
        let sent = pg.senders.values().all(|sender| sender.flush >= end);
        if flushed && sent {
            return self.process_gone(r, true);
        }
        let pause = self.settings.persist.least.max(std::time::Duration::from_millis(1));
        self.after_in(r, pause, move |w| w.finish_fast_stop(r));
    }

    /// Its end was nobody's order.
    pub fn ended_by_itself(&mut self, r: usize, why: &str) {
        if let Some(pg) = self.pg(r) {
            pg.why = Some(why.to_owned());
        }
        self.process_gone(r, false);
    }

    /// A backend crashes: the postmaster ends all others and begins anew, in the same process, with
    /// the same names and under the same deadline. A primary stays one.
    pub fn crash_backend(&mut self, r: usize) {
        if !self.members[r].accepts() || self.members[r].host.frozen {
            return;
        }
        self.hang_up_on_all(r);
        self.lose_unflushed(r);
        let (life, names) = (self.number(), self.members[r].names_on_file());
        let member = self.region(r);
        let Some(pg) = self.pg(r) else { return };
        *pg = Process {
            ready: true,
            serving: false,
            promoted: pg.promoted,
            primary: pg.primary,
            epoch: pg.epoch,
            timeline: pg.timeline,
            line: pg.line,
            shown_timeline: pg.shown_timeline,
            ..Process::new(life, names)
        };
        self.note(Event::Note(format!("a backend of {member} crashed")));
        let takes = self.draw(self.settings.start);
        self.after_in(r, takes, move |w| w.begun_anew(r));
    }

    fn begun_anew(&mut self, r: usize) {
        let host = &self.members[r].host;
        if host.full || host.cannot_start {
            return self.ended_by_itself(r, "it could not begin anew after a crash");
        }
        if host.fsync_hangs {
            let pause = self.settings.retry;
            return self.after_in(r, pause, move |w| w.begun_anew(r));
        }
        let member = &mut self.members[r];
        let (Some(pg), Some(directory)) = (member.pg.as_mut(), member.directory.as_mut()) else {
            return;
        };
        pg.serving = true;
        if pg.primary {
            directory.applied = directory.wal.len();
            return self.keep_checkpointing(r);
        }
        self.replay_soon(r);
        self.connect_upstream(r);
    }

    /// No process of PostgreSQL is left on a host that is alive.
    pub fn process_gone(&mut self, r: usize, clean: bool) {
        self.hang_up_on_all(r);
        self.forget_process(r, clean);
    }

    /// The kernel closes what the dead had open.
    fn hang_up_on_all(&mut self, r: usize) {
        let Some(pg) = self.pg(r) else { return };
        let peers: Vec<_> = pg.senders.iter().map(|(peer, sender)| (*peer, sender.link)).collect();
        let upstream = pg.receiver.as_ref().map(|receiver| (receiver.from, receiver.link));
        for (peer, link) in peers {
            self.hang_up_on_standby(r, peer, link);
        }
        if let Some((from, link)) = upstream {
            self.hang_up_on_upstream(r, from, link);
        }
        self.close_clients_of(r);
    }

    /// Of what was not flushed the operating system may have got a part; what is left of it is on
    /// disk before anybody builds on it.
    fn lose_unflushed(&mut self, r: usize) {
        let Some(directory) = self.members[r].directory.as_mut() else { return };
        if directory.flushed < directory.wal.len() {
            let kept = self.rng.random_range(directory.flushed..=directory.wal.len());
            directory.wal.truncate(kept);
        }
        directory.flushed = directory.wal.len();
        directory.applied = directory.applied.min(directory.flushed);
    }

    /// What the end of all processes leaves, without a word to anybody else.
    pub fn forget_process(&mut self, r: usize, clean: bool) {
        let member = &mut self.members[r];
        let Some(pg) = member.pg.take() else { return };
        if let Some(directory) = member.directory.as_mut() {
            directory.control.clean = clean;
            directory.control.in_recovery = !pg.primary;
        }
        self.lose_unflushed(r);
        let member = &mut self.members[r];
        let why = pg.why.clone().unwrap_or_else(|| "it ended by itself".into());
        if member.guard.up {
            member.guard.exits += 1;
            member.guard.last_exit = Some(why.clone());
        }
        let waiters = std::mem::take(&mut member.guard.stop_waiters);
        let region = member.config.region.clone();
        self.note(Event::Stopped { member: region, primary: pg.primary, clean, why: why.clone() });
        if let Some(reply) = pg.starting {
            self.answer(r, reply, Err(failed("starting PostgreSQL", &why)));
        }
        for reply in waiters {
            self.answer(r, reply, Ok(()));
        }
        self.notify(r);
    }

    /// A checkpoint: control file, slots, and old segments.
    pub fn checkpoint_record(&mut self, r: usize, shutdown: bool) {
        let Some(record) = self.insert(r, Content::Checkpoint { shutdown }) else { return };
        let Some(directory) = self.members[r].directory.as_mut() else { return };
        directory.control.checkpoint = record.start;
        directory.control.timeline = record.timeline.0;
        self.remove_old_wal(r, record.start);
    }

    /// Checkpoints of a primary, again and again.
    pub fn keep_checkpointing(&mut self, r: usize) {
        if self.members[r].writes() {
            self.checkpoint_record(r, false);
        }
        let pause = self.settings.checkpoint_interval;
        self.after_in(r, pause, move |w| w.keep_checkpointing(r));
    }

    /// `CHECKPOINT` by SQL; on a standby a restartpoint.
    pub fn checkpoint_now(&mut self, r: usize, reply: Reply<()>) {
        let what = "writing a checkpoint";
        let reply = reply.or_else(failed(what, "the connection ended"));
        if !self.members[r].accepts() {
            return self.answer(r, reply, Err(not_accepting(what)));
        }
        let takes = self.draw(self.settings.checkpoint);
        let Some(life) = self.members[r].pg.as_ref().map(|pg| pg.life) else { return };
        self.after_disk(r, takes, move |w| {
            if w.members[r].alive(life).is_none() {
                return;
            }
            if w.members[r].writes() {
                w.checkpoint_record(r, false);
            }
            w.answer(r, reply, Ok(()));
        });
    }
}

/// What a connection to a PostgreSQL that is not there says.
pub(super) fn not_accepting(what: &str) -> PlaneError {
    failed(what, "connection refused")
}
