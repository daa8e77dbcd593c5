//! Start, promotion, settings, and what PostgreSQL does on them.

use std::time::Duration;

use continuum_cnpg_pair::PlaneError;
use continuum_cnpg_pair::plane::{Promoted, Upstream};
use continuum_domain::{Lsn, SyncNames, TimelineId};

use super::guard::{Ticket, failed, refused};
use super::judge::{Content, Event};
use super::member::Process;
use super::reply::Reply;
use super::world::World;

/// How often an ending WAL receiver is looked at.
const RECEIVER_POLL: Duration = Duration::from_millis(2);

/// R10: names with `more` added; nothing is taken away.
fn add_names(to: &mut SyncNames, more: &SyncNames) {
    to.members.extend(more.members.iter().cloned());
    to.probe |= more.probe;
}

impl World {
    /// Starts PostgreSQL as a standby, always.
    pub fn start(
        &mut self,
        r: usize,
        ticket: Ticket,
        names: SyncNames,
        upstream: Option<Upstream>,
        reply: Reply<()>,
    ) {
        self.enter_with(r, ticket, reply, move |w, reply| {
            w.refresh_identity(r);
            if let Err(error) = w.may_start(r) {
                w.answer(r, reply, Err(error));
                return w.leave(r);
            }
            let memory = &mut w.guard(r).memory;
            add_names(&mut memory.names, &names);
            memory.upstream = upstream;
            w.persist(r, move |w, written| {
                let takes = w.draw(w.settings.persist);
                w.after_by_guard(r, takes, move |w| {
                    let full = w.members[r].host.full;
                    let room = || failed("preparing the start", "no space left on device");
                    let ready = written.and_then(|()| if full { Err(room()) } else { Ok(()) });
                    match ready.and_then(|()| w.recheck(r, &ticket)).and_then(|()| w.may_start(r)) {
                        Ok(()) => w.spawn(r, reply),
                        Err(error) => w.answer(r, reply, Err(error)),
                    }
                    w.leave(r);
                });
            });
        });
    }

    fn spawn(&mut self, r: usize, reply: Reply<()>) {
        let life = self.number();
        // The guard writes the whole configuration anew.
        self.members[r].tampered = None;
        let names = self.members[r].names_on_file();
        let starting = Some(reply);
        self.members[r].pg = Some(Process { starting, ..Process::new(life, names) });
        self.notify(r);
        let takes = self.draw(self.settings.start);
        self.after_in(r, takes, move |w| w.recover(r));
    }

    /// Recovery from the last checkpoint, with all WAL the directory holds.
    fn recover(&mut self, r: usize) {
        let host = &self.members[r].host;
        let Some(directory) = &self.members[r].directory else {
            return self.ended_by_itself(r, "its directory is gone");
        };
        if host.cannot_start || host.full {
            return self.ended_by_itself(r, "it could not start");
        }
        let control = directory.control;
        // The newest timeline known must contain the checkpoint.
        let newest = directory.newest_timeline(control.timeline);
        if directory.timeline_at(newest, control.checkpoint) != control.timeline {
            return self.ended_by_itself(
                r,
                "FATAL: requested timeline is not a child of this server's history",
            );
        }
        let stalled = host.replay_stalls;
        let mut takes = host.replay_by;
        if host.fsync_hangs {
            takes += self.settings.retry;
            return self.after_in(r, takes, move |w| w.recover(r));
        }
        self.after_in(r, takes, move |w| {
            if let Some(directory) = w.members[r].directory.as_mut() {
                // What it reads it also flushes before it relies on it.
                directory.flushed = directory.wal.len();
                if !stalled {
                    directory.applied = directory.wal.len();
                }
                directory.control.clean = false;
                directory.control.in_recovery = true;
                let shown = directory.timeline();
                if let Some(pg) = w.members[r].pg.as_mut() {
                    pg.timeline = newest;
                    pg.shown_timeline = shown;
                }
            }
            w.ready(r);
        });
    }

    fn ready(&mut self, r: usize) {
        let Some(pg) = self.pg(r) else { return };
        pg.ready = true;
        let starting = pg.starting.take();
        let reload = std::mem::take(&mut pg.reload_when_ready);
        let member = self.region(r);
        self.note(Event::Started { member });
        if reload {
            self.reload(r);
        }
        self.notify(r);
        if let Some(reply) = starting {
            self.answer(r, reply, Ok(()));
        }
        self.replay_soon(r);
        self.connect_upstream(r);
    }

    /// Sets the names exactly: the relax step is the agent's to decide (R10).
    pub fn set_names(&mut self, r: usize, ticket: Ticket, names: SyncNames, reply: Reply<()>) {
        self.enter_with(r, ticket, reply, move |w, reply| {
            w.guard(r).memory.names = names;
            w.apply_settings(r, move |w, result| {
                w.answer(r, reply, result);
                w.leave(r);
            });
        });
    }

    /// Points a standby elsewhere; no upstream ends its receiver.
    pub fn follow(
        &mut self,
        r: usize,
        ticket: Ticket,
        upstream: Option<Upstream>,
        reply: Reply<()>,
    ) {
        self.enter_with(r, ticket, reply, move |w, reply| {
            w.guard(r).memory.upstream = upstream;
            w.apply_settings(r, move |w, result| {
                w.answer(r, reply, result);
                w.leave(r);
            });
        });
    }

    /// Waits until the WAL receiver is gone, and says how far it has received.
    pub fn receiver_gone(&mut self, r: usize, until: Duration, reply: Reply<Lsn>) {
        let what = "stopping the WAL receiver";
        let member = &self.members[r];
        let (Some(pg), Some(directory)) = (&member.pg, &member.directory) else {
            return self.answer(r, reply, Err(failed(what, "PostgreSQL ended")));
        };
        if pg.receiver.is_none() && pg.connecting.is_none() {
            let received = pg.received.unwrap_or_default().max(directory.applied_to());
            return self.answer(r, reply, Ok(received));
        }
        if self.now >= until {
            return self.answer(r, reply, Err(failed(what, "it does not end")));
        }
        self.after_in(r, RECEIVER_POLL, move |w| w.receiver_gone(r, until, reply));
    }

    /// Writes names and upstream to state and configuration, and has PostgreSQL reload.
    fn apply_settings(
        &mut self,
        r: usize,
        then: impl FnOnce(&mut World, Result<(), PlaneError>) + Send + 'static,
    ) {
        self.persist(r, move |w, written| {
            if let Err(error) = written {
                return then(w, Err(error));
            }
            w.members[r].tampered = None;
            match w.pg(r) {
                Some(pg) if pg.ready => w.reload(r),
                Some(pg) => pg.reload_when_ready = true,
                None => {}
            }
            then(w, Ok(()));
        });
    }

    /// Promotes: the request that no statement of a dead agent can imitate (R4).
    pub fn promote(&mut self, r: usize, ticket: Ticket, names: SyncNames, reply: Reply<()>) {
        self.enter_with(r, ticket, reply, move |w, reply| {
            if let Err(error) = w.may_promote(r) {
                w.answer(r, reply, Err(error));
                return w.leave(r);
            }
            add_names(&mut w.guard(r).memory.names, &names);
            w.apply_settings(r, move |w, applied| {
                let may = applied.and_then(|()| w.recheck(r, &ticket));
                match may.and_then(|()| w.may_promote(r)) {
                    Ok(()) => w.request_promotion(r, ticket, reply),
                    Err(error) => {
                        w.answer(r, reply, Err(error));
                        w.leave(r);
                    }
                }
            });
        });
    }

    fn request_promotion(&mut self, r: usize, ticket: Ticket, reply: Reply<()>) {
        // R5: from here on the deadline stops it.
        if let Some(pg) = self.pg(r) {
            pg.promoted = true;
            pg.epoch = ticket.epoch.unwrap_or_default();
        }
        let takes = self.draw(self.settings.persist);
        self.after_by_guard(r, takes, move |w| {
            // The file that asks for it is withdrawn if the time has come meanwhile.
            let result = w.recheck(r, &ticket).and_then(|()| w.may_promote(r));
            if result.is_ok() {
                w.begin_promotion(r);
            }
            w.answer(r, reply, result);
            w.leave(r);
        });
    }

    fn begin_promotion(&mut self, r: usize) {
        let Some(pg) = self.pg(r) else { return };
        if pg.primary || std::mem::replace(&mut pg.promoting, true) {
            return;
        }
        pg.received_at_promotion = pg.receiver.is_some();
        self.end_receiver(r);
        let mut takes = self.draw(self.settings.promote);
        if self.chance(self.settings.slow_promotions) {
            takes *= 10;
        }
        self.after_in(r, takes, move |w| w.finish_promotion(r));
    }

    /// Recovery ends when all WAL that is there is applied.
    fn finish_promotion(&mut self, r: usize) {
        let host = &self.members[r].host;
        let hangs = host.fsync_hangs;
        if host.full {
            return self.ended_by_itself(r, "PANIC: no space left on device");
        }
        let Some(directory) = self.members[r].directory.as_mut() else { return };
        let waits = hangs || directory.applied < directory.wal.len();
        if waits {
            self.replay_soon(r);
            let pause = self.settings.retry / 10;
            return self.after_in(r, pause, move |w| w.finish_promotion(r));
        }
        let line = self.number();
        let member = &mut self.members[r];
        let (Some(pg), Some(directory)) = (member.pg.as_mut(), member.directory.as_mut()) else {
            return;
        };
        let starts_at = directory.end();
        let timeline = directory.fork(pg.timeline);
        pg.timeline = timeline;
        pg.line = line;
        pg.shown_timeline = timeline;
        pg.primary = true;
        pg.promoting = false;
        directory.control.in_recovery = false;
        let (epoch, waiters) = (pg.epoch, std::mem::take(&mut pg.promotions));
        let receiving = pg.received_at_promotion;
        let timeline = TimelineId(timeline);
        self.note(Event::Promoted {
            member: self.region(r),
            line: super::judge::LineId(line),
            timeline,
            starts_at,
            epoch,
            receiving,
        });
        self.insert(r, Content::EndOfRecovery);
        for reply in waiters {
            self.answer(r, reply, Ok(Promoted { timeline, starts_at }));
        }
        // Standbys of this one as a standby hear that the old timeline ends here.
        if let Some(pg) = self.pg(r) {
            pg.senders.values_mut().for_each(|sender| sender.timeline_ends(starts_at));
        }
        self.push_wal(r);
        let takes = self.draw(self.settings.checkpoint);
        self.after_in(r, takes, move |w| w.keep_checkpointing(r));
    }

    /// What an agent polls for after its request: out of recovery, on which timeline.
    pub fn wait_promoted(&mut self, r: usize, reply: Reply<Promoted>) {
        let reply = reply.or_else(failed("promoting", "PostgreSQL ended"));
        let member = &mut self.members[r];
        let (Some(pg), Some(directory)) = (member.pg.as_mut(), member.directory.as_ref()) else {
            return;
        };
        if !pg.primary {
            return pg.promotions.push(reply);
        }
        let timeline = TimelineId(pg.timeline);
        let switch = directory.ancestors(pg.timeline).and_then(|list| list.last().copied());
        let promoted = switch
            .map(|left| Promoted { timeline, starts_at: left.switch })
            .ok_or_else(|| refused("it was never promoted"));
        self.answer(r, reply, promoted);
    }
}
