//! Streaming replication: one connection per standby, in order both ways.
//!
//! A standby asks by timeline number and position, and is served by them alone. What it receives it
//! takes if the first record begins where its own WAL ends and names the position of its own last
//! record as the one before: content is looked at by nobody. One that is ahead on an equal number
//! is served too, reports its own positions, and goes on when the sender's records come past them.
//! So commits on the sender up to those positions count as replicated: PostgreSQL asks no more.
//!
//! Not modelled: archives, records received in part, conflicts of replay with queries, and what a
//! standby that is ahead does to its own files when it receives their segment anew.

use std::collections::VecDeque;
use std::time::Duration;

use continuum_domain::{Lsn, RegionId, SyncNames};

use super::directory::Directory;
use super::judge::{Event, Record};
use super::world::World;

/// Where a sender's WAL ended, and when it said so.
pub(super) type Said = (Lsn, Duration);

/// What goes down to a standby.
#[derive(Clone, Debug)]
pub(super) enum Down {
    Wal(Vec<Record>, Said),
    KeepAlive(Said),
    /// The timeline asked for ends here.
    TimelineEnds,
    Closed,
}

/// What goes up to a primary.
#[derive(Clone, Copy, Debug)]
pub(super) enum Up {
    Status { flush: Lsn, replay: Lsn },
    Closed,
}

/// The standby's end.
pub(super) struct Receiver {
    pub link: u64,
    pub from: usize,
    /// What the sender said last; nothing yet at first.
    pub said: Option<Said>,
    heard: Duration,
    coming: VecDeque<Down>,
}

/// The sender's end. One per standby: its slot lets no second one in.
pub(super) struct Sender {
    pub link: u64,
    /// Everything up to here is sent.
    sent: Lsn,
    /// Where the timeline that was asked for was left.
    until: Option<Lsn>,
    ended: bool,
    /// The standby knows that it is served.
    pub begun: bool,
    pub flush: Lsn,
    pub replay: Lsn,
    /// Names as this walsender last read them, and its standby's place among them; 0: none.
    pub names: SyncNames,
    pub priority: usize,
    /// It has sent everything at least once.
    pub streaming: bool,
    heard: Duration,
    coming: VecDeque<Up>,
}

impl Receiver {
    pub fn new(link: u64, from: usize, heard: Duration) -> Self {
        Self { link, from, said: None, heard, coming: VecDeque::new() }
    }
}

impl Sender {
    /// A sender that has sent nothing and heard of no position yet.
    pub fn new(link: u64, sent: Lsn, until: Option<Lsn>, heard: Duration) -> Self {
        Self {
            link,
            sent,
            until,
            ended: false,
            begun: false,
            flush: Lsn(0),
            replay: Lsn(0),
            names: SyncNames::default(),
            priority: 0,
            streaming: false,
            heard,
            coming: VecDeque::new(),
        }
    }

    /// It counts among those that commits wait for.
    pub fn counts(&self) -> bool {
        self.priority > 0 && self.streaming && self.flush > Lsn(0)
    }

    pub fn take_names(&mut self, names: SyncNames, region: &RegionId) {
        self.priority = names.members.iter().position(|name| name == region).map_or(0, |at| at + 1);
        self.names = names;
    }

    /// The timeline it serves was left here.
    pub fn timeline_ends(&mut self, at: Lsn) {
        self.until.get_or_insert(at);
    }
}

impl World {
    pub fn with_sender<T>(
        &mut self,
        r: usize,
        peer: usize,
        link: u64,
        work: impl FnOnce(&mut Sender, &RegionId) -> T,
    ) -> Option<T> {
        let region = self.region(peer);
        let sender = self.pg(r)?.senders.get_mut(&peer).filter(|sender| sender.link == link)?;
        Some(work(sender, &region))
    }

    /// Every walsender sends what is new and flushed.
    pub fn push_wal(&mut self, r: usize) {
        let peers: Vec<_> = self.pg(r).map_or_else(Vec::new, |pg| {
            pg.senders.iter().map(|(peer, sender)| (*peer, sender.link)).collect()
        });
        for (peer, link) in peers {
            self.send_wal(r, peer, link);
        }
    }

    fn send_wal(&mut self, r: usize, peer: usize, link: u64) {
        let now = self.now;
        let member = &mut self.members[r];
        let (Some(pg), Some(directory)) = (member.pg.as_mut(), member.directory.as_ref()) else {
            return;
        };
        // A standby passes on what it has applied.
        let ready = if pg.primary { directory.flushed } else { directory.applied };
        let serving = pg.serving;
        let Some(sender) =
            pg.senders.get_mut(&peer).filter(|s| serving && s.begun && s.link == link)
        else {
            return;
        };
        let limit = sender.until.map_or(ready, |until| directory.count_to(until).min(ready));
        let first = directory.count_to(sender.sent).min(limit);
        let records = directory.wal[first..limit].to_vec();
        let end = directory.flushed_to();
        sender.streaming = true;
        sender.sent = records.last().map_or(sender.sent, |record| record.end);
        let over = sender.until.is_some_and(|until| {
            directory.wal[..ready].last().is_some_and(|record| record.end >= until)
        });
        let tell = over && !std::mem::replace(&mut sender.ended, over);
        if !records.is_empty() {
            self.send_down(r, peer, link, Down::Wal(records, (end, now)));
        }
        if tell {
            self.send_down(r, peer, link, Down::TimelineEnds);
        }
    }

    fn receiver(&mut self, r: usize, link: u64) -> Option<&mut Receiver> {
        self.pg(r)?.receiver.as_mut().filter(|receiver| receiver.link == link)
    }

    fn send_down(&mut self, r: usize, peer: usize, link: u64, what: Down) {
        // The other end may be gone, or not be made yet: a connection that never was.
        let Some(receiver) = self.receiver(peer, link) else { return };
        receiver.coming.push_back(what);
        self.carry_down(r, peer, link);
    }

    /// One message is on its way; what is lost is sent again, as long as both ends are there.
    fn carry_down(&mut self, r: usize, peer: usize, link: u64) {
        match self.wire(r, peer) {
            Some(delay) => self.after_on(peer, delay, move |w| w.arrives(peer, link)),
            None => {
                let pause = self.settings.retransmit;
                self.after(pause, move |w| {
                    if w.receiver(peer, link).is_some() && !w.members[r].host.off {
                        w.carry_down(r, peer, link);
                    }
                });
            }
        }
    }

    fn arrives(&mut self, r: usize, link: u64) {
        if self.members[r].host.receiver_stuck {
            let pause = self.settings.retry;
            return self.after_on(r, pause, move |w| w.arrives(r, link));
        }
        let now = self.now;
        let Some(receiver) = self.receiver(r, link) else { return };
        receiver.heard = now;
        match receiver.coming.pop_front() {
            Some(Down::Wal(records, said)) => {
                receiver.said = Some(said);
                self.receive(r, records);
            }
            Some(Down::KeepAlive(said)) => {
                receiver.said = Some(said);
                self.send_status(r);
            }
            Some(Down::TimelineEnds) => self.timeline_ended(r, link),
            Some(Down::Closed) => {
                if let Some(pg) = self.pg(r) {
                    pg.receiver = None;
                }
                let retry = self.settings.retry;
                self.after_in(r, retry, move |w| w.connect_upstream(r));
            }
            None => {}
        }
    }

    /// WAL came in. What lies before the end of the own WAL is written over it unseen.
    fn receive(&mut self, r: usize, records: Vec<Record>) {
        let Some(directory) = self.members[r].directory.as_mut() else { return };
        for record in records {
            let end = directory.end();
            if record.end <= end {
                continue;
            }
            let behind = directory.wal.last().map_or(Lsn(0), |last| last.start);
            if record.start != end || record.behind != behind {
                // "record with incorrect prev-link": recovery ends the receiver and tries again.
                self.end_receiver(r);
                let retry = self.settings.retry;
                return self.after_in(r, retry, move |w| w.connect_upstream(r));
            }
            directory.wal.push(record);
        }
        self.flush(r);
    }

    /// The timeline it asked for is over: recovery looks for a newer one that goes on from here.
    fn timeline_ended(&mut self, r: usize, link: u64) {
        let member = &mut self.members[r];
        let (Some(pg), Some(directory)) = (member.pg.as_mut(), member.directory.as_ref()) else {
            return;
        };
        pg.receiver = None;
        match directory.next_recovery_timeline(pg.timeline, directory.end()) {
            Ok(next) if next != pg.timeline => {
                pg.timeline = next;
                return self.ask_upstream(r, Some(link));
            }
            Ok(_) => {}
            Err(why) => {
                let text = format!("{}: {why}", self.region(r));
                self.note(Event::Note(text));
            }
        }
        let retry = self.settings.retry;
        self.after_in(r, retry, move |w| w.ask_upstream(r, Some(link)));
    }

    /// The standby says how far it is.
    pub fn send_status(&mut self, r: usize) {
        let member = &self.members[r];
        if member.host.receiver_stuck {
            return;
        }
        let (Some(pg), Some(directory)) = (&member.pg, &member.directory) else { return };
        let Some(receiver) = &pg.receiver else { return };
        let (from, link) = (receiver.from, receiver.link);
        let status = Up::Status { flush: directory.flushed_to(), replay: directory.applied_to() };
        self.send_up(r, from, link, status);
    }

    fn send_up(&mut self, r: usize, to: usize, link: u64, what: Up) {
        if self.with_sender(to, r, link, |sender, _| sender.coming.push_back(what)).is_some() {
            self.carry_up(r, to, link);
        }
    }

    fn carry_up(&mut self, r: usize, to: usize, link: u64) {
        match self.wire(r, to) {
            Some(delay) => self.after_on(to, delay, move |w| w.reply_arrives(to, r, link)),
            None => {
                let pause = self.settings.retransmit;
                self.after(pause, move |w| {
                    let there = w.with_sender(to, r, link, |_, _| ()).is_some();
                    if there && !w.members[r].host.off {
                        w.carry_up(r, to, link);
                    }
                });
            }
        }
    }

    fn reply_arrives(&mut self, r: usize, peer: usize, link: u64) {
        let now = self.now;
        let popped = self.with_sender(r, peer, link, |sender, _| {
            sender.heard = now;
            let what = sender.coming.pop_front();
            if let Some(Up::Status { flush, replay }) = what {
                sender.flush = flush;
                sender.replay = replay;
            }
            what
        });
        match popped.flatten() {
            Some(Up::Status { flush, .. }) => {
                if let Some(directory) = self.members[r].directory.as_mut()
                    && let Some(slot) = directory.slots.get_mut(&peer)
                {
                    slot.restart = flush;
                    slot.lost = false;
                }
                self.release_waiters(r, peer);
            }
            Some(Up::Closed) => {
                if let Some(pg) = self.pg(r) {
                    pg.senders.remove(&peer);
                }
            }
            None => {}
        }
    }

    /// Applies what is flushed, in time.
    pub fn replay_soon(&mut self, r: usize) {
        let by = self.members[r].host.replay_by;
        let member = &mut self.members[r];
        let (Some(pg), Some(directory)) = (member.pg.as_mut(), member.directory.as_ref()) else {
            return;
        };
        let behind = !pg.primary && pg.ready && directory.applied < directory.flushed;
        if !behind || member.host.replay_stalls || std::mem::replace(&mut pg.replaying, true) {
            return;
        }
        let target = directory.flushed;
        let takes = self.draw(self.settings.replay) + by;
        self.after_in(r, takes, move |w| w.replayed(r, target));
    }

    fn replayed(&mut self, r: usize, target: usize) {
        let member = &mut self.members[r];
        let (Some(pg), Some(directory)) = (member.pg.as_mut(), member.directory.as_mut()) else {
            return;
        };
        pg.replaying = false;
        if pg.primary || member.host.replay_stalls {
            return;
        }
        let target = target.min(directory.wal.len());
        let mut checkpoint = None;
        for record in &directory.wal[directory.applied.min(target)..target] {
            pg.shown_timeline = pg.shown_timeline.max(record.timeline.0);
            if matches!(record.content, super::judge::Content::Checkpoint { .. }) {
                checkpoint = Some((record.start, record.timeline.0));
            }
        }
        directory.applied = directory.applied.max(target);
        if let Some((start, timeline)) = checkpoint {
            directory.control.checkpoint = start;
            directory.control.timeline = timeline;
            self.remove_old_wal(r, start);
        }
        self.send_status(r);
        self.push_wal(r);
        self.replay_soon(r);
    }
}

/// The ends of connections.
impl World {
    /// Closes a standby's receiver, in order.
    pub fn end_receiver(&mut self, r: usize) {
        let Some(pg) = self.pg(r) else { return };
        pg.connecting = None;
        let Some(receiver) = pg.receiver.take() else { return };
        self.hang_up_on_upstream(r, receiver.from, receiver.link);
    }

    pub fn hang_up_on_upstream(&mut self, r: usize, to: usize, link: u64) {
        self.send_up(r, to, link, Up::Closed);
    }

    pub fn hang_up_on_standby(&mut self, r: usize, peer: usize, link: u64) {
        self.send_down(r, peer, link, Down::Closed);
    }

    /// The receiver's own clock: it reports at intervals and gives up on a sender that is silent.
    pub fn keep_receiver(&mut self, r: usize, link: u64) {
        let (interval, limit) = (self.settings.status_interval, self.settings.stream_timeout);
        self.after_in(r, interval, move |w| {
            let (now, stuck) = (w.now, w.members[r].host.receiver_stuck);
            let Some(receiver) = w.receiver(r, link) else { return };
            if now.saturating_sub(receiver.heard) >= limit && !stuck {
                w.end_receiver(r);
                return w.connect_upstream(r);
            }
            w.send_status(r);
            w.keep_receiver(r, link);
        });
    }

    /// The sender's: it asks a standby it did not hear from, and ends the connection in the end.
    pub fn keep_sender(&mut self, r: usize, peer: usize, link: u64) {
        let (interval, limit) = (self.settings.status_interval, self.settings.stream_timeout);
        self.after_in(r, interval, move |w| {
            let now = w.now;
            let end = w.members[r].directory.as_ref().map_or(Lsn(0), Directory::flushed_to);
            let heard = w.with_sender(r, peer, link, |sender, _| sender.heard);
            let Some(heard) = heard else { return };
            if now.saturating_sub(heard) >= limit {
                if let Some(pg) = w.pg(r) {
                    pg.senders.remove(&peer);
                }
                return w.hang_up_on_standby(r, peer, link);
            }
            w.send_down(r, peer, link, Down::KeepAlive((end, now)));
            w.keep_sender(r, peer, link);
        });
    }
}
