//! Jobs on the stopped data directory: initialise, compare, save, rewind, clone.
//!
//! Nothing is destroyed before the directory has lost its identity on disk, and it gets another one
//! after it is whole (R13). Cut short in between, it has none.

use continuum_cnpg_pair::PlaneError;
use continuum_cnpg_pair::plane::TailArtefact;
use continuum_domain::observation::{ControlData, Lineage};
use continuum_domain::{DataDirectoryId, Lsn, TimelineId};
use std::collections::BTreeMap;
use std::time::Duration;

use super::directory::{Control, Directory, Mark};
use super::guard::{Ticket, failed, refused};
use super::judge::{Content, Event, LineId, Record, RecordId};
use super::reply::Reply;
use super::world::World;

type Identity = Reply<DataDirectoryId>;

impl World {
    /// Takes the job slot: nothing else is under way and PostgreSQL is stopped.
    fn begin_job<T: Send + 'static>(
        &mut self,
        r: usize,
        ticket: Ticket,
        what: &'static str,
        reply: Reply<T>,
        work: impl FnOnce(&mut World, Reply<T>) + Send + 'static,
    ) {
        self.enter_with(r, ticket, reply, move |w, reply| {
            let running = w.members[r].pg.is_some();
            let guard = w.guard(r);
            let error = match guard.job {
                Some(other) => Some(refused(format!("{other} is under way"))),
                None if running => Some(refused(format!("PostgreSQL runs; stop it before {what}"))),
                None => None,
            };
            if let Some(error) = error {
                w.answer(r, reply, Err(error));
                return w.leave(r);
            }
            guard.job = Some(what);
            w.leave(r);
            work(w, reply);
        });
    }

    fn end_job<T: Send + 'static>(
        &mut self,
        r: usize,
        reply: Reply<T>,
        result: Result<T, PlaneError>,
    ) {
        self.guard(r).job = None;
        self.notify(r);
        self.answer(r, reply, result);
    }

    /// Work on the disk by the guard that runs now.
    fn after_job(
        &mut self,
        r: usize,
        delay: Duration,
        work: impl FnOnce(&mut World) + Send + 'static,
    ) {
        let boot = self.members[r].guard.boot;
        self.after_disk(r, delay, move |w| {
            if w.members[r].guard.boot == boot {
                work(w);
            }
        });
    }

    fn no_room(&self, r: usize, what: &str) -> Result<(), PlaneError> {
        let full = self.members[r].host.full;
        if full { Err(failed(what, "no space left on device")) } else { Ok(()) }
    }

    /// Creates the first primary's data directory.
    pub fn initialise(&mut self, r: usize, ticket: Ticket, reply: Identity) {
        self.begin_job(r, ticket, "initialising", reply, move |w, reply| {
            if w.members[r].directory.is_some() {
                return w.end_job(r, reply, Err(refused("the data directory is not empty")));
            }
            let takes = w.draw(w.settings.initialise);
            w.after_job(r, takes, move |w| {
                if let Err(error) = w.no_room(r, "initdb") {
                    return w.end_job(r, reply, Err(error));
                }
                let new = w.new_system();
                w.put_in_place(r, ticket, new, "initialised", reply);
            });
        });
    }

    fn new_system(&mut self) -> Directory {
        let (system, id, line) = (self.number(), RecordId(self.number()), LineId(self.number()));
        let begin = Record {
            id,
            previous: id,
            line,
            timeline: TimelineId(1),
            start: Lsn(8),
            behind: Lsn(0),
            end: Lsn(128),
            content: Content::Begin,
        };
        Directory {
            system,
            mark: Mark::Pending,
            control: Control {
                clean: true,
                in_recovery: false,
                checkpoint: begin.start,
                timeline: 1,
            },
            wal: vec![begin],
            flushed: 1,
            applied: 1,
            histories: BTreeMap::new(),
            slots: BTreeMap::new(),
            kept_from: Lsn(0),
        }
    }

    /// R13: from here on the directory has no identity, in memory, in the guard's state and in the
    /// directory itself, in that order.
    fn forget_identity(
        &mut self,
        r: usize,
        then: impl FnOnce(&mut World, Result<(), PlaneError>) + Send + 'static,
    ) {
        let guard = self.guard(r);
        guard.memory.expected = None;
        if let Some(id) = guard.identity.take() {
            let member = self.region(r);
            self.note(Event::Forgotten { member, id });
        }
        self.persist(r, move |w, written| {
            if let (Ok(()), Some(directory)) = (&written, w.members[r].directory.as_mut()) {
                directory.mark = Mark::Pending;
            }
            then(w, written);
        });
    }

    /// R13: records the identity that the directory already carries, and ends the job.
    fn adopt_identity(
        &mut self,
        r: usize,
        id: DataDirectoryId,
        how: &'static str,
        reply: Identity,
    ) {
        self.guard(r).memory.expected = Some(id.clone());
        self.persist(r, move |w, written| {
            if written.is_ok() {
                w.guard(r).identity = Some(id.clone());
                let member = w.region(r);
                w.note(Event::Directory { member, id: Some(id.clone()), how: how.into() });
            }
            w.end_job(r, reply, written.map(|()| id));
        });
    }

    /// Swaps `new` in for the data directory; up to there the old one is as it was.
    fn put_in_place(
        &mut self,
        r: usize,
        ticket: Ticket,
        mut new: Directory,
        how: &'static str,
        reply: Identity,
    ) {
        // R4: nothing is destroyed for an agent that was replaced meanwhile.
        if let Err(error) = self.recheck(r, &ticket) {
            return self.end_job(r, reply, Err(error));
        }
        self.forget_identity(r, move |w, written| {
            if let Err(error) = written {
                return w.end_job(r, reply, Err(error));
            }
            let takes = w.draw(w.settings.persist);
            w.after_job(r, takes, move |w| {
                let id = w.fresh_directory();
                new.mark = Mark::Ready(id.clone());
                w.members[r].directory = Some(new);
                w.adopt_identity(r, id, how, reply);
            });
        });
    }

    /// Asks another member's PostgreSQL, as a tool or a session of `r` does: there and back, at
    /// most the connection's own limit when nobody answers.
    fn ask_member<T: Send + 'static>(
        &mut self,
        r: usize,
        to: Option<usize>,
        ask: impl FnOnce(&mut World, usize) -> Result<T, PlaneError> + Send + 'static,
        then: impl FnOnce(&mut World, Result<T, PlaneError>) + Send + 'static,
    ) {
        let what = "connecting to PostgreSQL";
        let limit = self.settings.connect_timeout;
        let silent = move || Err(failed(what, "timeout expired"));
        let ways = to.and_then(|to| Some((to, self.wire(r, to)?, self.wire(to, r)?)));
        let dead = |to: usize| self.members[to].host.off || self.members[to].host.frozen;
        let Some((to, there, back)) = ways.filter(|(to, ..)| !dead(*to)) else {
            return self.after_on(r, limit, move |w| then(w, silent()));
        };
        self.after_on(to, there, move |w| {
            if w.members[to].host.off {
                return w.after_on(r, limit, move |w| then(w, silent()));
            }
            let role = w.region(r);
            let known = w.members[to].directory.as_ref().is_some_and(|d| d.has_role(&role));
            let result = match () {
                () if !w.members[to].accepts() => Err(failed(what, "connection refused")),
                () if !known => Err(failed(what, "no such role")),
                () => ask(w, to),
            };
            w.after_on(r, back, move |w| then(w, result));
        });
    }

    /// How this stopped member's history relates to a primary's.
    pub fn lineage(&mut self, r: usize, ticket: Ticket, to: Option<usize>, reply: Reply<Lineage>) {
        self.begin_job(r, ticket, "reading the history", reply, move |w, reply| {
            if w.members[r].guard.identity.is_none() {
                let reason = "there is no usable data directory".to_owned();
                return w.end_job(r, reply, Ok(Lineage::Foreign { reason }));
            }
            let takes = w.draw(w.settings.read_wal);
            w.after_job(r, takes, move |w| {
                w.guard(r).job = None;
                w.notify(r);
                let Some(own) = w.members[r].directory.clone() else { return };
                let reply = reply.or_else(failed("asking the primary", "the connection ended"));
                let ask = move |w: &mut World, to: usize| w.compare(&own, to);
                w.ask_member(r, to, ask, move |_, result| reply.send(result));
            });
        });
    }

    fn compare(&self, own: &Directory, to: usize) -> Result<Lineage, PlaneError> {
        let member = &self.members[to];
        let (Some(pg), Some(theirs)) = (&member.pg, &member.directory) else {
            return Err(failed("asking the primary", "the connection ended"));
        };
        if theirs.system != own.system {
            let reason = "this is another database system than the primary's".to_owned();
            return Ok(Lineage::Foreign { reason });
        }
        if !pg.primary {
            return Err(failed("asking the primary", "it is a standby; ask the new holder"));
        }
        Ok(own.lineage(theirs, self.settings.segment_bytes))
    }

    /// Saves WAL past the fork, before it is rewound away.
    pub fn save_tail(&mut self, r: usize, ticket: Ticket, fork: Lsn, reply: Reply<TailArtefact>) {
        self.begin_job(r, ticket, "saving the tail", reply, move |w, reply| {
            let takes = w.draw(w.settings.read_wal);
            w.after_job(r, takes, move |w| {
                let what = "copying WAL";
                let saved = w.no_room(r, what).and_then(|()| {
                    let directory = w.members[r].directory.as_ref();
                    let directory = directory.ok_or_else(|| failed(what, "no directory"))?;
                    let (end, timeline) = (directory.end(), directory.timeline());
                    let path = format!("tail-{timeline}-{:016X}", fork.0);
                    Ok(TailArtefact { path, fork, end, commits: directory.commits_after(fork) })
                });
                w.end_job(r, reply, saved);
            });
        });
    }

    pub fn control_data(&mut self, r: usize, reply: Reply<ControlData>) {
        let directory = self.members[r].directory.as_ref();
        let control = directory.map(Directory::control_data);
        let result = control.ok_or_else(|| failed("pg_controldata", "no such file or directory"));
        self.answer(r, reply, result);
    }

    /// The checkpoint on the source that `pg_rewind` needs to see its newest timeline.
    pub fn checkpoint_elsewhere(&mut self, r: usize, to: Option<usize>, reply: Reply<()>) {
        let takes = self.draw(self.settings.checkpoint);
        let reply = reply.or_else(failed("writing a checkpoint on the primary", "it ended"));
        let ask = |w: &mut World, to: usize| {
            if w.members[to].writes() {
                w.checkpoint_record(to, false);
            }
            Ok(())
        };
        self.ask_member(r, to, ask, move |w, result| {
            w.after_on(r, takes, move |_| reply.send(result))
        });
    }

    /// Rewinds the stopped directory to the source's history.
    pub fn rewind(&mut self, r: usize, ticket: Ticket, to: Option<usize>, reply: Identity) {
        self.begin_job(r, ticket, "rewinding", reply, move |w, reply| {
            if w.members[r].guard.identity.is_none() {
                let error = refused("there is no usable data directory to rewind; clone it");
                return w.end_job(r, reply, Err(error));
            }
            if let Err(error) = w.recheck(r, &ticket) {
                return w.end_job(r, reply, Err(error));
            }
            w.forget_identity(r, move |w, written| match written {
                Ok(()) => w.copy_from(r, to, w.settings.rewind, move |w, source| {
                    let point = source.and_then(|source| w.rewound(r, &source));
                    match point {
                        Ok(id) => w.adopt_identity(r, id, "rewound", reply),
                        Err(error) => w.end_job(r, reply, Err(error)),
                    }
                }),
                Err(error) => w.end_job(r, reply, Err(error)),
            });
        });
    }

    fn rewound(&mut self, r: usize, source: &Directory) -> Result<DataDirectoryId, PlaneError> {
        let what = "pg_rewind";
        self.no_room(r, what)?;
        let id = self.fresh_directory();
        let directory = self.members[r].directory.as_mut();
        let directory = directory.ok_or_else(|| failed(what, "no such directory"))?;
        if directory.system != source.system {
            return Err(failed(what, "source and target are from different systems"));
        }
        let point = directory.rewind_point(source).ok_or_else(|| {
            failed(what, "it sees no difference where the WAL differs; clone the member anew")
        })?;
        directory.rewind_to(source, point);
        directory.mark = Mark::Ready(id.clone());
        Ok(id)
    }

    /// Replaces the directory by a base backup. The old one stays until the copy is whole.
    pub fn reclone(&mut self, r: usize, ticket: Ticket, to: Option<usize>, reply: Identity) {
        self.begin_job(r, ticket, "cloning", reply, move |w, reply| {
            w.copy_from(r, to, w.settings.clone, move |w, source| {
                let copy = source.and_then(|source| w.no_room(r, "pg_basebackup").map(|()| source));
                match copy {
                    Ok(source) => {
                        w.put_in_place(r, ticket, Directory::clone_of(&source), "cloned", reply);
                    }
                    Err(error) => w.end_job(r, reply, Err(error)),
                }
            });
        });
    }

    /// Copies from another member: it is asked at the beginning and at the end, and must have lived
    /// and been in reach all the time. The copy is of the end.
    fn copy_from(
        &mut self,
        r: usize,
        to: Option<usize>,
        spans: super::settings::Spans,
        then: impl FnOnce(&mut World, Result<Directory, PlaneError>) + Send + 'static,
    ) {
        let (boot, takes) = (self.members[r].guard.boot, self.draw(spans));
        let begin = |w: &mut World, to: usize| {
            if w.members[to].writes() {
                w.checkpoint_record(to, false);
            }
            Ok(w.members[to].pg.as_ref().map(|pg| pg.life))
        };
        self.ask_member(r, to, begin, move |w, begun| {
            if w.members[r].guard.boot != boot {
                return;
            }
            let life = match begun {
                Ok(life) => life,
                Err(error) => return then(w, Err(error)),
            };
            w.after_job(r, takes, move |w| {
                let end = move |w: &mut World, to: usize| {
                    let now = w.members[to].pg.as_ref().map(|pg| pg.life);
                    let source = w.members[to].directory.clone().filter(|_| now == life);
                    source.ok_or_else(|| failed("copying", "the source was restarted meanwhile"))
                };
                w.ask_member(r, to, end, move |w, copied| {
                    if w.members[r].guard.boot == boot {
                        then(w, copied);
                    }
                });
            });
        });
    }
}
