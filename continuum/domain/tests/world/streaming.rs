//! Streaming replication: one connection per standby, in order both ways, with records and replies
//! under way in it.

use std::collections::VecDeque;

use continuum_domain::mutation::{Bug, planted};
use continuum_domain::{Lsn, SyncNames};

use super::postgres::Record;
use super::{Host, World, ms};

/// Where a sender's WAL ended, and when it said so.
type Said = (Lsn, u64);

/// The standby's end.
pub struct Receiver {
    pub connection: u64,
    pub from: usize,
    /// The end of the sender's WAL as it said last, and when it said so.
    pub upstream_end: Said,
    /// Sent and not yet here; `None` is the end of the connection.
    coming: VecDeque<Option<(Vec<Record>, Said)>>,
}

/// The primary's end.
pub struct Sender {
    pub connection: u64,
    sent: usize,
    push_due: bool,
    pub flush: Lsn,
    pub replay: Lsn,
    /// Names as this walsender has them.
    pub names: SyncNames,
    taken: u64,
    pub caught_up: bool,
    replies: VecDeque<(Lsn, Lsn)>,
}

impl Sender {
    pub fn take_names(&mut self, reload: u64, names: SyncNames) {
        if reload >= self.taken {
            self.taken = reload;
            self.names = names;
        }
    }
}

impl World {
    /// The standby `r` tries to reach its upstream until it does or is told otherwise.
    pub fn keep_connecting(&mut self, r: usize, life: u64) {
        let pg = &self.regions[r].pg;
        if pg.life != life || pg.primary || pg.process.is_none() {
            return;
        }
        if pg.running() && pg.receiver.is_none() {
            self.try_to_connect(r);
        }
        let pause = self.rng.between(ms(30), ms(250));
        self.after(pause, Host::Data(r), move |w| w.keep_connecting(r, life));
    }

    fn try_to_connect(&mut self, r: usize) {
        let Some(upstream) = self.regions[r].pg.upstream.filter(|upstream| *upstream != r) else {
            return;
        };
        let linked = self.net.linked(r, upstream, self.now);
        let (here, there) = (&self.regions[r].pg, &self.regions[upstream].pg);
        let ready = there.running() && there.primary && there.slots && !there.wal.is_empty();
        let frozen = self.regions[upstream].host_thaws > self.now;
        let served = there.serves_from(here.timeline(), here.end());
        if !linked || !ready || frozen || here.wal.is_empty() || !served {
            return;
        }
        if !here.begins(there) {
            self.judge_streams_apart(r, upstream);
        }
        let connection = self.fresh_id();
        let histories = self.regions[upstream].pg.histories.clone();
        let here = &mut self.regions[r].pg;
        here.learn_histories(&histories);
        let (flush, replay) = (here.end(), here.replayed_to());
        let there = &mut self.regions[upstream].pg;
        // Positions are all there is to go by.
        let sent = there.wal.partition_point(|record| record.end <= flush);
        let caught_up = sent == there.wal.len();
        let (names, upstream_end) = (there.names.clone(), (there.end(), self.now));
        let taken = there.reloads;
        there.senders.insert(
            r,
            Sender {
                connection,
                sent,
                push_due: false,
                flush,
                replay,
                names,
                taken,
                caught_up,
                replies: VecDeque::new(),
            },
        );
        self.regions[r].pg.receiver =
            Some(Receiver { connection, from: upstream, upstream_end, coming: VecDeque::new() });
        self.log(|| format!("{r} streams from {upstream}, from {flush}"));
        self.push_wal(upstream);
        self.release_waiting(upstream, r);
    }

    /// Sends what is new to every standby.
    pub fn push_wal(&mut self, r: usize) {
        let pg = &mut self.regions[r].pg;
        let mut due = Vec::new();
        for (peer, sender) in &mut pg.senders {
            if !std::mem::replace(&mut sender.push_due, true) {
                due.push((*peer, sender.connection));
            }
        }
        for (peer, connection) in due {
            let delay = self.rng.upto(ms(1));
            self.after(delay, Host::Data(r), move |w| w.send_wal(r, peer, connection));
        }
    }

    fn send_wal(&mut self, r: usize, peer: usize, connection: u64) {
        let now = self.now;
        let pg = &mut self.regions[r].pg;
        let Some(sender) = pg.senders.get_mut(&peer).filter(|s| s.connection == connection) else {
            return;
        };
        sender.push_due = false;
        sender.caught_up = true;
        let records = pg.wal[sender.sent..].to_vec();
        sender.sent = pg.wal.len();
        let said = (pg.end(), now);
        self.deliver(peer, connection, Some((records, said)));
    }

    /// The process at `r` ended: `peer` hears it behind everything that was sent before.
    pub fn hang_up(&mut self, _r: usize, peer: usize) {
        let Some(receiver) = &self.regions[peer].pg.receiver else { return };
        let connection = receiver.connection;
        self.deliver(peer, connection, None);
    }

    fn deliver(&mut self, peer: usize, connection: u64, what: Option<(Vec<Record>, Said)>) {
        let Some(receiver) = &mut self.regions[peer].pg.receiver else { return };
        if receiver.connection != connection {
            return;
        }
        receiver.coming.push_back(what);
        let delay = self.net.far(&mut self.rng);
        self.after(delay, Host::Data(peer), move |w| w.arrives(peer, connection));
    }

    fn arrives(&mut self, peer: usize, connection: u64) {
        let linked = |w: &World, from| w.net.linked(peer, from, w.now);
        let Some(receiver) = &self.regions[peer].pg.receiver else { return };
        if receiver.connection != connection {
            return;
        }
        if !linked(self, receiver.from) || self.now < self.net.receiver_stuck[peer] {
            return self.after(ms(50), Host::Data(peer), move |w| w.arrives(peer, connection));
        }
        let pg = &mut self.regions[peer].pg;
        let Some(receiver) = &mut pg.receiver else { return };
        match receiver.coming.pop_front() {
            Some(Some((records, said))) => {
                receiver.upstream_end = said;
                pg.wal.extend(records);
                self.reply(peer);
                let life = self.regions[peer].pg.life;
                let mut delay = self.rng.upto(ms(8));
                let stalled = self.net.replay_stall[peer];
                if self.now < stalled {
                    delay += std::time::Duration::from_nanos(stalled - self.now);
                }
                self.after(delay, Host::Data(peer), move |w| w.replays(peer, life));
            }
            Some(None) => pg.receiver = None,
            None => {}
        }
    }

    pub fn replays(&mut self, r: usize, life: u64) {
        let now = self.now;
        let pg = &mut self.regions[r].pg;
        if pg.life == life && now >= self.net.replay_stall[r] {
            pg.replayed = pg.wal.len();
            self.reply(r);
        }
    }

    fn reply(&mut self, r: usize) {
        let pg = &self.regions[r].pg;
        let Some(receiver) = &pg.receiver else { return };
        let (from, connection) = (receiver.from, receiver.connection);
        let positions = (pg.end(), pg.replayed_to());
        let Some(sender) = self.regions[from].pg.senders.get_mut(&r) else { return };
        if sender.connection != connection {
            return;
        }
        sender.replies.push_back(positions);
        let delay = self.net.far(&mut self.rng);
        self.after(delay, Host::Data(from), move |w| w.reply_arrives(from, r, connection));
    }

    fn reply_arrives(&mut self, r: usize, peer: usize, connection: u64) {
        let linked = self.net.linked(r, peer, self.now);
        let pg = &mut self.regions[r].pg;
        let Some(sender) = pg.senders.get_mut(&peer).filter(|s| s.connection == connection) else {
            return;
        };
        if !linked {
            let later = move |w: &mut World| w.reply_arrives(r, peer, connection);
            return self.after(ms(50), Host::Data(r), later);
        }
        if let Some((flush, replay)) = sender.replies.pop_front() {
            sender.flush = sender.flush.max(flush);
            sender.replay = sender.replay.max(replay);
            self.release_waiting(r, peer);
        }
    }

    /// What a walsender does with a reply: if it serves a synchronous standby by the names as *it*
    /// has them, everything that all of those have applied is let go.
    pub fn release_waiting(&mut self, r: usize, peer: usize) {
        let name = self.regions[peer].name.clone();
        let members: Vec<usize> = {
            let pg = &self.regions[r].pg;
            let Some(sender) = pg.senders.get(&peer) else { return };
            if !pg.serves() || !sender.names.members.contains(&name) || sender.names.probe {
                return;
            }
            sender.names.members.iter().map(|member| self.index(member)).collect()
        };
        let pg = &mut self.regions[r].pg;
        let applied: Option<Vec<_>> = members
            .iter()
            .map(|member| pg.senders.get(member).filter(|s| s.caught_up).map(|s| s.replay))
            .collect();
        let all = if planted(Bug::NamesAnyOne) {
            members.iter().filter_map(|member| pg.senders.get(member)).map(|s| s.replay).max()
        } else {
            applied.and_then(|applied| applied.into_iter().min())
        };
        let Some(all) = all else { return };
        let mut released = Vec::new();
        while pg.waiting.front().is_some_and(|waiting| waiting.end <= all) {
            released.extend(pg.waiting.pop_front());
        }
        for waiting in released {
            self.acknowledge(r, waiting);
        }
    }

    /// Whether every standby that is connected has flushed everything.
    pub fn all_shipped(&self, r: usize) -> bool {
        let pg = &self.regions[r].pg;
        pg.senders.values().all(|sender| sender.flush >= pg.end())
    }

    /// The connection from standby `a` to `b` breaks, and what was under way in it is lost.
    pub fn drop_connection(&mut self, a: usize, b: usize) {
        let here = &mut self.regions[a].pg;
        if here.receiver.as_ref().is_some_and(|receiver| receiver.from == b) {
            here.receiver = None;
        }
        self.regions[b].pg.senders.remove(&a);
    }
}
