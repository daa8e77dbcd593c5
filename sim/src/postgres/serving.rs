//! How a stream begins: a standby asks by timeline number and position, and is served or refused.

use continuum_domain::Lsn;

use super::directory::Histories;
use super::judge::Event;
use super::streaming::{Receiver, Sender};
use super::world::World;

/// What a standby asks with.
struct Ask {
    standby: usize,
    attempt: u64,
    system: u64,
    timeline: u64,
    flush: Lsn,
    /// Its earlier connection, which this one continues.
    replaces: Option<u64>,
}

/// What it is served with.
struct Begun {
    standby: usize,
    attempt: u64,
    from: usize,
    link: u64,
    timeline: u64,
    newest: u64,
    histories: Histories,
}

impl World {
    /// The member that the settings of `r` name as its upstream.
    pub fn upstream(&self, r: usize) -> Option<usize> {
        let upstream = self.members[r].guard.durable.upstream.as_ref()?;
        self.index(&upstream.region).filter(|index| *index != r)
    }

    /// A standby that streams from nobody tries to.
    pub fn connect_upstream(&mut self, r: usize) {
        self.ask_upstream(r, None);
    }

    pub fn ask_upstream(&mut self, r: usize, replaces: Option<u64>) {
        let upstream = self.upstream(r);
        let attempt = self.number();
        let (retry, limit) = (self.settings.retry, self.settings.connect_timeout);
        let stuck = self.members[r].host.receiver_stuck;
        let member = &mut self.members[r];
        let (Some(pg), Some(directory)) = (member.pg.as_mut(), member.directory.as_ref()) else {
            return;
        };
        let idle = pg.ready && !pg.primary && !pg.promoting && pg.stopping.is_none();
        let Some(to) = upstream.filter(|_| idle && pg.receiver.is_none()) else { return };
        if pg.connecting.is_some() {
            return;
        }
        pg.connecting = Some(attempt);
        if stuck {
            return self.after_in(r, retry, move |w| w.attempt_failed(r, attempt));
        }
        let ask = Ask {
            standby: r,
            attempt,
            system: directory.system,
            timeline: directory.timeline_at(pg.timeline, directory.end()),
            flush: directory.end(),
            replaces,
        };
        self.after_in(r, limit, move |w| w.attempt_failed(r, attempt));
        // Connecting, naming the system and the timelines, asking: three ways there.
        let ways: Option<Vec<_>> = (0..3).map(|_| self.wire(r, to)).collect();
        if let Some(ways) = ways {
            self.after_on(to, ways.iter().sum(), move |w| w.serve(to, &ask));
        }
    }

    fn attempt_failed(&mut self, r: usize, attempt: u64) {
        let retry = self.settings.retry;
        let Some(pg) = self.pg(r).filter(|pg| pg.connecting == Some(attempt)) else { return };
        pg.connecting = None;
        self.after_in(r, retry, move |w| w.connect_upstream(r));
    }

    /// A walsender is asked; it serves or refuses.
    fn serve(&mut self, r: usize, ask: &Ask) {
        if self.members[r].host.off {
            return;
        }
        let (standby, attempt) = (ask.standby, ask.attempt);
        let answer = self.may_serve(r, ask);
        let back = self.wire(r, standby);
        let until = match answer {
            Ok(until) => until,
            Err(why) => {
                let text =
                    format!("{} does not serve {}: {why}", self.region(r), self.region(standby));
                self.note(Event::Note(text));
                if let Some(back) = back {
                    self.after_on(standby, back, move |w| w.attempt_failed(standby, attempt));
                }
                return;
            }
        };
        let (link, region, now) = (self.number(), self.region(standby), self.now);
        let member = &mut self.members[r];
        let (Some(pg), Some(directory)) = (member.pg.as_mut(), member.directory.as_ref()) else {
            return;
        };
        let begun = Begun {
            standby,
            attempt,
            from: r,
            link,
            timeline: ask.timeline,
            newest: pg.timeline,
            histories: directory.histories.clone(),
        };
        let mut sender = Sender::new(link, ask.flush, until, now);
        sender.take_names(pg.names.clone(), &region);
        pg.senders.insert(standby, sender);
        self.keep_sender(r, standby, link);
        // An answer that is lost leaves the slot taken until the sender gives up.
        if let Some(back) = back {
            self.after_on(standby, back, move |w| w.stream_begins(&begun));
        }
    }

    /// The answer has come to the standby.
    fn stream_begins(&mut self, begun: &Begun) {
        let (r, standby, link) = (begun.from, begun.standby, begun.link);
        if self.with_sender(r, standby, link, |sender, _| sender.begun = true).is_none() {
            return self.attempt_failed(standby, begun.attempt);
        }
        let (sound, upstream, now) = (self.contains(r, standby), self.upstream(standby), self.now);
        let member = &mut self.members[standby];
        let waiting = member.pg.as_mut().filter(|pg| pg.connecting == Some(begun.attempt));
        let (Some(pg), Some(directory)) = (waiting, member.directory.as_mut()) else {
            return self.hang_up_on_upstream(standby, r, link);
        };
        pg.connecting = None;
        if upstream != Some(r) || pg.promoting || pg.stopping.is_some() {
            self.hang_up_on_upstream(standby, r, link);
            return self.connect_upstream(standby);
        }
        directory.learn(&begun.histories, begun.timeline, begun.newest);
        pg.receiver = Some(Receiver::new(link, r, now));
        pg.shown_timeline = pg.shown_timeline.max(begun.timeline);
        let at = directory.end();
        let (member, from) = (self.region(standby), self.region(r));
        self.note(Event::Streams { member, from, at, sound });
        self.keep_receiver(standby, link);
        self.send_status(standby);
        self.push_wal(r);
    }

    /// PostgreSQL's own rules, by numbers and positions. `Some`: where the timeline ends.
    fn may_serve(&mut self, r: usize, ask: &Ask) -> Result<Option<Lsn>, String> {
        let segment = self.settings.segment_bytes;
        let asking = self.region(ask.standby);
        let member = &mut self.members[r];
        let pg = member.pg.as_mut().filter(|pg| pg.accepts()).ok_or("connection refused")?;
        let directory = member.directory.as_ref().ok_or("it has no directory")?;
        if !directory.has_role(&asking) {
            return Err("no such role".into());
        }
        if directory.system != ask.system {
            return Err("database system identifier differs".into());
        }
        if ask.timeline > pg.timeline {
            return Err(format!("highest timeline {} is behind {}", pg.timeline, ask.timeline));
        }
        if !directory.slots.contains_key(&ask.standby) {
            return Err("no such replication slot".into());
        }
        if pg.senders.get(&ask.standby).is_some_and(|old| Some(old.link) != ask.replaces) {
            return Err("the replication slot is active".into());
        }
        let start = Lsn(ask.flush.0 - ask.flush.0 % segment);
        if start < directory.kept_from {
            return Err("the requested WAL segment has already been removed".into());
        }
        if ask.timeline == pg.timeline {
            let ahead = start > directory.flushed_to();
            return if ahead { Err("ahead of the WAL flush position".into()) } else { Ok(None) };
        }
        let ancestors = directory.ancestors(pg.timeline).unwrap_or_default();
        match ancestors.iter().find(|left| left.timeline == ask.timeline) {
            Some(left) if start <= left.switch => Ok(Some(left.switch)),
            _ => Err("the requested timeline is not in this server's history".into()),
        }
    }

    /// Whether the WAL of `standby` is, by content, the beginning of what `r` holds.
    fn contains(&self, r: usize, standby: usize) -> bool {
        let (here, there) = (&self.members[r].directory, &self.members[standby].directory);
        let (Some(here), Some(there)) = (here, there) else { return false };
        let Some(last) = there.wal.len().checked_sub(1) else { return true };
        here.wal.get(last).is_some_and(|record| record.id == there.wal[last].id)
    }

    /// A checkpoint removes segments that neither recovery nor a slot within its cap needs.
    pub fn remove_old_wal(&mut self, r: usize, redo: Lsn) {
        let (segment, cap) = (self.settings.segment_bytes, self.settings.slot_cap_bytes);
        let floor = |position: Lsn| Lsn(position.0 - position.0 % segment);
        let Some(directory) = self.members[r].directory.as_mut() else { return };
        let oldest = floor(Lsn(directory.end().0.saturating_sub(cap)));
        let (mut keep, mut lost) = (floor(redo), Vec::new());
        for (peer, slot) in &mut directory.slots {
            if !slot.lost && slot.restart < oldest {
                slot.lost = true;
                lost.push(*peer);
            }
            if !slot.lost {
                keep = keep.min(floor(slot.restart));
            }
        }
        directory.kept_from = directory.kept_from.max(keep);
        for peer in lost {
            self.note(Event::SlotLost { member: self.region(r), standby: self.region(peer) });
            let Some(sender) = self.pg(r).and_then(|pg| pg.senders.remove(&peer)) else { continue };
            self.hang_up_on_standby(r, peer, sender.link);
        }
    }
}
