//! WAL from insertion to acknowledgement: flush, the wait for standbys, and who ends it.
//!
//! Whether a backend waits is a flag that only the checkpointer sets, when it gets round to a
//! reload (R12). Who is waited for is what each walsender read in its own reload. A wait ends by a
//! walsender that serves a synchronous standby and has just heard from it, by the checkpointer when
//! nobody is named any more, or by a cancel: never by a reload that merely shortens the list.

use std::collections::VecDeque;
use std::time::Duration;

use continuum_domain::mutation::{Bug, planted};
use continuum_domain::{Lsn, SyncNames, TimelineId};
use rand::RngExt;

use super::judge::{Content, Event, LineId, Record, RecordId, SessionId};
use super::member::{Commit, Release};
use super::world::World;

/// Positions are multiples of this.
const ALIGNMENT: u64 = 8;
/// How often it is seen whether a receiver that hangs runs again.
const STUCK_POLL: Duration = Duration::from_millis(50);

impl World {
    /// Writes a record at the end of a member's WAL and starts its flush. `None`: it has no WAL.
    pub fn insert(&mut self, r: usize, content: Content) -> Option<Record> {
        let id = RecordId(self.number());
        let (least, most) = self.settings.record_units;
        let size = ALIGNMENT * self.rng.random_range(least..=most);
        let member = &mut self.members[r];
        let (pg, directory) = (member.pg.as_mut()?, member.directory.as_mut()?);
        let start = directory.end();
        let last = directory.wal.last();
        let record = Record {
            id,
            previous: last.map_or(id, |record| record.id),
            line: LineId(pg.line),
            timeline: TimelineId(pg.timeline),
            start,
            behind: last.map_or(Lsn(0), |record| record.start),
            end: Lsn(start.0 + size),
            content,
        };
        directory.wal.push(record.clone());
        directory.applied = directory.wal.len();
        self.flush(r);
        Some(record)
    }

    /// Flushes what is not, if nobody does so already.
    pub fn flush(&mut self, r: usize) {
        let member = &mut self.members[r];
        let (Some(pg), Some(directory)) = (member.pg.as_mut(), member.directory.as_ref()) else {
            return;
        };
        let target = directory.wal.len();
        if directory.flushed >= target || std::mem::replace(&mut pg.flushing, true) {
            return;
        }
        let life = pg.life;
        let takes = self.draw(self.settings.fsync);
        self.after_disk(r, takes, move |w| {
            if w.members[r].alive(life).is_some() {
                w.flushed(r, target);
            }
        });
    }

    fn flushed(&mut self, r: usize, target: usize) {
        // A segment that was already there takes more; only now and then one must be made.
        if self.members[r].host.full && self.rng.random_ratio(1, 20) {
            return self
                .ended_by_itself(r, "PANIC: could not write to WAL: no space left on device");
        }
        let member = &mut self.members[r];
        let (Some(pg), Some(directory)) = (member.pg.as_mut(), member.directory.as_mut()) else {
            return;
        };
        pg.flushing = false;
        directory.flushed = directory.flushed.max(target.min(directory.wal.len()));
        let (flushed, primary) = (directory.flushed_to(), pg.primary);
        if !primary {
            pg.received = pg.received.max(Some(flushed));
        }
        self.flush(r);
        if primary {
            self.push_wal(r);
            self.commits_flushed(r, flushed);
        } else {
            self.send_status(r);
            self.replay_soon(r);
        }
    }

    /// A backend has inserted its commit record.
    pub fn commit(&mut self, r: usize, commit: Commit) {
        if let Some(pg) = self.pg(r) {
            pg.hidden.insert(commit.record);
            pg.commits.push_back(commit);
        }
    }

    fn commits_flushed(&mut self, r: usize, flushed: Lsn) {
        let Some(pg) = self.pg(r) else { return };
        let mut done = Vec::new();
        for commit in std::mem::take(&mut pg.commits) {
            if commit.end > flushed {
                pg.commits.push_back(commit);
            } else if commit.local || !pg.backends_wait || commit.end <= pg.released {
                done.push(commit);
            } else {
                pg.waiting.push(commit);
            }
        }
        self.end_waits(r, done, Release::Done);
    }

    fn end_waits(&mut self, r: usize, commits: Vec<Commit>, how: Release) {
        for commit in commits {
            // Nobody answers for a process that is gone.
            let Some(pg) = self.pg(r).filter(|pg| pg.serving) else { return };
            pg.hidden.remove(&commit.record);
            (commit.then)(self, how);
        }
    }

    /// What a walsender does once its standby has reported: if by the names as *it* has them its
    /// standby is one of those waited for, everything that all of those have is let go.
    pub fn release_waiters(&mut self, r: usize, peer: usize) {
        let remote_apply = self.settings.remote_apply;
        let Some(pg) = self.pg(r).filter(|pg| pg.primary && pg.serving) else { return };
        let Some(own) = pg.senders.get(&peer) else { return };
        let any_one = planted(Bug::NamesAnyOne) && !own.names.probe && !own.names.is_empty();
        let wanted = if any_one { 1 } else { required(&own.names) };
        let candidates = pg.senders.iter().filter(|(_, s)| s.counts());
        let mut candidates: Vec<_> = candidates
            .map(|(index, s)| (s.priority, *index, if remote_apply { s.replay } else { s.flush }))
            .collect();
        if any_one {
            // `ANY 1`: the standby that is furthest.
            candidates.sort_unstable_by_key(|(_, index, at)| (std::cmp::Reverse(*at), *index));
        } else {
            candidates.sort_unstable();
        }
        candidates.truncate(wanted);
        let mine = candidates.iter().any(|(_, index, _)| *index == peer);
        if wanted == 0 || candidates.len() < wanted || !mine {
            return;
        }
        let all = candidates.iter().map(|(_, _, position)| *position).min().unwrap_or_default();
        if all <= pg.released {
            return;
        }
        pg.released = all;
        let waiting = std::mem::take(&mut pg.waiting);
        let (done, rest) = waiting.into_iter().partition(|commit| commit.end <= all);
        pg.waiting = rest;
        self.end_waits(r, done, Release::Done);
    }

    /// The settings changed and PostgreSQL was told: each process reads them in its own time.
    pub fn reload(&mut self, r: usize) {
        let names = self.members[r].names_on_file();
        let upstream = self.upstream(r);
        let Some(pg) = self.pg(r) else { return };
        pg.names = names;
        let links: Vec<_> = pg.senders.iter().map(|(peer, sender)| (*peer, sender.link)).collect();
        let moved = pg.receiver.as_ref().is_some_and(|receiver| Some(receiver.from) != upstream);
        for (peer, link) in links {
            let takes = self.draw(self.settings.reload);
            self.after_in(r, takes, move |w| {
                let names = w.members[r].names_on_file();
                w.with_sender(r, peer, link, |sender, region| sender.take_names(names, region));
            });
        }
        let takes = self.draw(self.settings.reload_checkpointer);
        self.after_in(r, takes, move |w| w.checkpointer_reloads(r));
        let takes = self.draw(self.settings.reload);
        self.after_in(r, takes, move |w| {
            let upstream = w.upstream(r);
            let receiver = w.pg(r).and_then(|pg| pg.receiver.as_ref());
            if moved && receiver.is_some_and(|receiver| Some(receiver.from) != upstream) {
                if w.members[r].host.receiver_stuck {
                    return w.end_receiver_in_time(r);
                }
                w.end_receiver(r);
            }
            w.connect_upstream(r);
        });
    }

    /// A receiver that hangs ends when it runs again.
    fn end_receiver_in_time(&mut self, r: usize) {
        self.after_in(r, STUCK_POLL, move |w| {
            let upstream = w.upstream(r);
            let receiver = w.pg(r).and_then(|pg| pg.receiver.as_ref());
            if receiver.is_none_or(|receiver| Some(receiver.from) == upstream) {
                return w.connect_upstream(r);
            }
            if w.members[r].host.receiver_stuck {
                return w.end_receiver_in_time(r);
            }
            w.end_receiver(r);
            w.connect_upstream(r);
        });
    }

    pub fn checkpointer_reloads(&mut self, r: usize) {
        let names = self.members[r].names_on_file();
        let slow = self.members[r].host.checkpointer_slow;
        let Some(pg) = self.pg(r) else { return };
        if slow {
            pg.reload_missed = true;
            return;
        }
        pg.backends_wait = !names.is_empty();
        if !pg.backends_wait {
            let waiting = std::mem::take(&mut pg.waiting);
            self.end_waits(r, waiting, Release::Done);
        }
    }

    /// Somebody cancels the client's commit that waits longest (R11).
    pub fn cancel_wait(&mut self, r: usize) -> Option<SessionId> {
        let pg = self.pg(r).filter(|pg| pg.serving)?;
        let index = pg.waiting.iter().position(|commit| commit.session.is_some())?;
        let commit = pg.waiting.remove(index);
        let session = commit.session;
        let member = self.region(r);
        self.note(Event::WaitCancelled { member, session });
        self.end_waits(r, vec![commit], Release::Cancelled);
        session
    }

    /// Sessions end: commits that were not answered never will be.
    pub fn drop_commits(&mut self, r: usize) {
        let Some(pg) = self.pg(r) else { return };
        pg.hidden.clear();
        drop((std::mem::take(&mut pg.commits), std::mem::take(&mut pg.waiting)));
        pg.row = None;
        pg.row_queue = VecDeque::new();
        pg.canaries.clear();
    }

    /// What the client sessions of a member see: the set in order, and the register.
    pub fn visible(&self, r: usize) -> (Vec<u64>, Option<u64>) {
        let member = &self.members[r];
        let (Some(pg), Some(directory)) = (&member.pg, &member.directory) else {
            return (Vec::new(), None);
        };
        let (mut set, mut register) = (Vec::new(), None);
        for record in &directory.wal[..directory.applied] {
            match record.content {
                _ if pg.hidden.contains(&record.id) => {}
                Content::Append(id) => set.push(id),
                Content::Register(value) => register = Some(value),
                _ => {}
            }
        }
        (set, register)
    }
}

/// How many standbys a commit waits for: all that are named.
fn required(names: &SyncNames) -> usize {
    names.members.len() + usize::from(names.probe)
}
