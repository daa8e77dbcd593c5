//! What an agent does by SQL: looks, probes, the canary, replication roles and slots.

use std::time::Duration;

use continuum_cnpg_pair::PlaneError;
use continuum_cnpg_pair::plane::CanaryLook;
use continuum_cnpg_pair::postgres::SenderClock;
use continuum_domain::observation::{SqlView, StandbyView};
use continuum_domain::{Generation, Lsn, RegionId, Tick, TimelineId};

use super::directory::Slot;
use super::guard::failed;
use super::judge::Content;
use super::member::{Canary, Commit, Release};
use super::plane::ProbeEnds;
use super::reply::Reply;
use super::stopping::not_accepting;
use super::world::World;

/// Whether a statement of the agent waits for standbys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    No,
    /// In a session that counts among those that wait.
    Counted,
    Uncounted,
}

/// What one look shows.
pub(super) struct Look {
    view: SqlView,
    heard: Option<Heard>,
    /// When, by the world's time.
    now: Duration,
}

/// What a standby's receiver heard last.
struct Heard {
    receiver: u64,
    sent: Duration,
}

impl Look {
    /// The view, with the age of what the primary said as `clock` knows it.
    pub fn dated(self, clock: &mut SenderClock) -> SqlView {
        let (now, heard) = (self.now, self.heard);
        let age = heard.and_then(|heard| {
            let sent_us = i64::try_from(heard.sent.as_micros()).unwrap_or(i64::MAX);
            let now = Tick(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
            clock.age(now, &heard.receiver.to_string(), sent_us)
        });
        let upstream_age_ms =
            age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX).saturating_add(1));
        SqlView { upstream_age_ms, ..self.view }
    }
}

impl World {
    /// One look by SQL.
    pub fn look(&mut self, r: usize, reply: Reply<Look>) {
        let view = self.view(r).ok_or_else(|| not_accepting("observing PostgreSQL"));
        let receiver = self.members[r].pg.as_ref().and_then(|pg| pg.receiver.as_ref());
        let heard = receiver.and_then(|receiver| {
            receiver.said.map(|(_, sent)| Heard { receiver: receiver.link, sent })
        });
        let look = view.map(|view| Look { view, heard, now: self.now });
        self.answer(r, reply, look);
    }

    fn view(&self, r: usize) -> Option<SqlView> {
        let member = &self.members[r];
        let (pg, directory) = (member.pg.as_ref()?, member.directory.as_ref()?);
        if !pg.accepts() {
            return None;
        }
        let received = pg.received.unwrap_or_default().max(directory.applied_to());
        let said = pg.receiver.as_ref().and_then(|receiver| receiver.said);
        let shown = if pg.primary { directory.flushed_to() } else { received };
        Some(SqlView {
            in_recovery: !pg.primary,
            timeline: TimelineId(if pg.primary { pg.timeline } else { pg.shown_timeline }),
            wal: Some(shown),
            replay: (!pg.primary).then(|| directory.applied_to()),
            receiver_streaming: pg.receiver.is_some(),
            upstream_end: said.map(|(end, _)| end),
            upstream_age_ms: None,
            sync_names: pg.names.to_string(),
            standbys: self.standbys(r),
            waiting_commits: u32::try_from(pg.waiting.iter().filter(|c| c.counted).count())
                .unwrap_or(u32::MAX),
            lowered_commit: pg.primary.then(|| member.lowered_commit()),
        })
    }

    fn standbys(&self, r: usize) -> std::collections::BTreeMap<RegionId, StandbyView> {
        let Some(pg) = &self.members[r].pg else { return Default::default() };
        let named = pg.names.members.len() + usize::from(pg.names.probe);
        let mut ranks: Vec<_> =
            pg.senders.values().filter(|s| s.counts()).map(|sender| sender.priority).collect();
        ranks.sort_unstable();
        ranks.truncate(named);
        let view = |(peer, sender): (&usize, &super::streaming::Sender)| {
            let standby = StandbyView {
                streaming: sender.streaming,
                sync: sender.counts() && ranks.contains(&sender.priority),
                flush: Some(sender.flush).filter(|flush| *flush > Lsn(0)),
                replay: Some(sender.replay).filter(|replay| *replay > Lsn(0)),
                lag_ms: None,
            };
            (self.region(*peer), standby)
        };
        pg.senders.iter().map(view).collect()
    }

    /// A commit without content by a session of the agent. `None`: it cannot write here.
    fn message(
        &mut self,
        r: usize,
        waits: Waits,
        then: impl FnOnce(&mut World, Release) + Send + 'static,
    ) -> Option<super::judge::RecordId> {
        if !self.members[r].accepts() || !self.members[r].writes() {
            return None;
        }
        let record = self.insert(r, Content::Message)?;
        self.commit(
            r,
            Commit {
                end: record.end,
                record: record.id,
                session: None,
                local: waits == Waits::No,
                counted: waits == Waits::Counted,
                then: Box::new(then),
            },
        );
        Some(record.id)
    }

    fn cannot_write(&self, r: usize, what: &str) -> PlaneError {
        if self.members[r].accepts() {
            failed(what, "recovery is in progress")
        } else {
            not_accepting(what)
        }
    }

    /// The write probe, and the wake of R12: one record, flushed, waiting for nobody.
    pub fn wake(&mut self, r: usize, what: &'static str, reply: Reply<Lsn>) {
        let refused = self.cannot_write(r, what);
        let reply = reply.or_else(refused);
        self.message(r, Waits::No, move |w, _| {
            let position = w.members[r].directory.as_ref().map(|d| d.flushed_to());
            w.answer(r, reply, Ok(position.unwrap_or_default()));
        });
    }

    /// The probe beside the looks; it may never end.
    pub fn probe(&mut self, r: usize, ends: ProbeEnds) {
        self.message(r, Waits::No, move |w, _| ends.succeeded(w.tick(r)));
    }

    pub fn commit_probe(&mut self, r: usize, reply: Reply<()>) {
        let what = "committing a probe";
        let refused = self.cannot_write(r, what);
        let reply = reply.or_else(refused);
        self.message(r, Waits::Counted, move |w, how| {
            let cancelled = || failed(what, "its wait for the standbys was cancelled (R11)");
            let result = if how == Release::Done { Ok(()) } else { Err(cancelled()) };
            w.answer(r, reply, result);
        });
    }

    /// Starts a commit that must wait; the answer is its number.
    pub fn start_canary(&mut self, r: usize, generation: Generation, reply: Reply<u64>) {
        if !self.members[r].accepts() {
            let error = not_accepting("starting the canary");
            return self.answer(r, reply, Err(error));
        }
        let number = self.number();
        let record = self.message(r, Waits::Uncounted, move |w, _| {
            if let Some(pg) = w.pg(r) {
                pg.canaries.remove(&number);
            }
        });
        if let (Some(pg), Some(record)) = (self.pg(r), record) {
            pg.canaries.insert(number, Canary { record, generation });
        }
        self.answer(r, reply, Ok(number));
    }

    pub fn look_canary(&mut self, r: usize, number: u64, reply: Reply<CanaryLook>) {
        let member = &self.members[r];
        let (Some(pg), Some(directory)) = (&member.pg, &member.directory) else {
            let error = not_accepting("looking at the canary");
            return self.answer(r, reply, Err(error));
        };
        let result = if pg.accepts() {
            let canary = pg.canaries.get(&number);
            let waiting =
                canary.is_some_and(|canary| pg.waiting.iter().any(|c| c.record == canary.record));
            Ok(CanaryLook { waiting, commit_lsn: waiting.then(|| directory.flushed_to()) })
        } else {
            Err(not_accepting("looking at the canary"))
        };
        self.answer(r, reply, result);
    }

    /// R4: sessions of agents before this one end.
    pub fn end_older_agents(&mut self, r: usize, generation: Generation) {
        let Some(pg) = self.pg(r) else { return };
        let older: Vec<_> = pg
            .canaries
            .iter()
            .filter(|(_, c)| c.generation < generation)
            .map(|(number, canary)| (*number, canary.record))
            .collect();
        for (number, record) in older {
            pg.canaries.remove(&number);
            pg.hidden.remove(&record);
            pg.waiting.retain(|commit| commit.record != record);
        }
    }

    pub fn end_sessions(&mut self, r: usize, reply: Reply<u32>) {
        let result = if self.members[r].accepts() {
            Ok(self.end_client_sessions(r))
        } else {
            Err(not_accepting("ending client sessions"))
        };
        self.answer(r, reply, result);
    }

    /// A role and a slot for each standby; slots of nobody, that nobody uses, are dropped.
    pub fn ensure_replication(&mut self, r: usize, standbys: &[RegionId], reply: Reply<()>) {
        let what = "making replication roles and slots";
        if !self.members[r].accepts() || !self.members[r].writes() {
            let error = self.cannot_write(r, what);
            return self.answer(r, reply, Err(error));
        }
        for standby in standbys {
            let known = self.members[r].directory.as_ref().is_some_and(|d| d.has_role(standby));
            if !known {
                self.insert(r, Content::Role(standby.clone()));
            }
        }
        let wanted: Vec<_> = standbys.iter().filter_map(|region| self.index(region)).collect();
        let member = &mut self.members[r];
        if let (Some(pg), Some(directory)) = (member.pg.as_ref(), member.directory.as_mut()) {
            let restart = directory.control.checkpoint;
            for index in &wanted {
                directory.slots.entry(*index).or_insert(Slot { restart, lost: false });
            }
            directory
                .slots
                .retain(|index, _| wanted.contains(index) || pg.senders.contains_key(index));
        }
        let reply = reply.or_else(failed(what, "the connection ended"));
        self.message(r, Waits::No, move |w, _| w.answer(r, reply, Ok(())));
    }
}
