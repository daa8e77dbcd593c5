//! PostgreSQL as far as the protocol can tell: WAL, timelines, waiting commits, and the names as
//! they are configured against the names as committing backends and walsenders see them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use continuum_domain::observation::{ControlData, ProcessState, SqlView, StandbyView};
use continuum_domain::{DataDirectoryId, Epoch, Lsn, SyncNames, TimelineId};

use super::lineage::Histories;
use super::streaming::{Receiver, Sender};
use super::{Host, World, ms};

/// One WAL record. Its number is unique in the world: it says where the content comes from, which
/// PostgreSQL itself can not tell. `previous` is the record it was written behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub number: u64,
    pub previous: u64,
    /// Position at its end.
    pub end: Lsn,
    pub timeline: u64,
    /// The client's commit, if it is one.
    pub commit: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    pub end: Lsn,
    /// `None` is the canary.
    pub commit: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
pub struct Canary {
    pub waiting: bool,
}

#[derive(Default)]
pub struct Postgres {
    // On disk.
    pub directory: Option<DataDirectoryId>,
    pub wal: Vec<Record>,
    /// Timeline history files, those of the upstream's timelines among them.
    pub histories: Histories,
    pub control: Option<ControlData>,
    pub slots: bool,
    /// Names in the configuration.
    pub names: SyncNames,
    pub upstream: Option<usize>,

    // In memory.
    pub process: Option<ProcessState>,
    /// Rises with each start of the process.
    pub life: u64,
    /// The guard was asked to promote it.
    pub promoted: bool,
    /// It is out of recovery.
    pub primary: bool,
    /// Epoch it acts under, as the guard last heard.
    pub epoch: Epoch,
    pub replayed: usize,
    /// Whether committing backends wait: set by the checkpointer (R12).
    pub backends_wait: bool,
    pub reloads: u64,
    pub receiver: Option<Receiver>,
    pub senders: BTreeMap<usize, Sender>,
    pub waiting: VecDeque<Waiting>,
    pub canary: Option<Canary>,
}

impl Postgres {
    pub fn state(&self) -> ProcessState {
        self.process.unwrap_or(ProcessState::Stopped)
    }

    pub fn running(&self) -> bool {
        self.process == Some(ProcessState::Running)
    }

    /// Whether its backends still serve: until the process is really gone.
    pub fn serves(&self) -> bool {
        self.primary && matches!(self.process, Some(ProcessState::Running | ProcessState::Stopping))
    }

    pub fn end(&self) -> Lsn {
        self.wal.last().map_or(Lsn(0), |record| record.end)
    }

    pub fn timeline(&self) -> u64 {
        self.wal.last().map_or(1, |record| record.timeline)
    }

    pub fn replayed_to(&self) -> Lsn {
        self.replayed.checked_sub(1).map_or(Lsn(0), |last| self.wal[last].end)
    }

    /// The record that the next one is written behind.
    pub fn last_number(&self) -> u64 {
        self.wal.last().map_or(0, |record| record.number)
    }

    /// Whether this member's WAL is the beginning of `other`'s.
    pub fn begins(&self, other: &Postgres) -> bool {
        match self.wal.len().checked_sub(1) {
            None => true,
            Some(last) => other.wal.get(last).is_some_and(|r| r.number == self.wal[last].number),
        }
    }

    pub fn commits(&self) -> BTreeSet<u64> {
        self.wal.iter().filter_map(|record| record.commit).collect()
    }

    /// Where a commit that it holds ends.
    pub fn end_of(&self, commit: u64) -> Lsn {
        let found = self.wal.iter().rev().find(|record| record.commit == Some(commit));
        found.map_or(self.end(), |record| record.end)
    }

    pub fn holds(&self, commit: u64) -> bool {
        self.wal.iter().rev().any(|record| record.commit == Some(commit))
    }
}

impl World {
    /// Writes one record at the end of the WAL of `r`.
    pub fn write_record(&mut self, r: usize, commit: Option<u64>) -> Lsn {
        let number = self.fresh_id();
        let size = 8 * (5 + self.rng.below(40));
        let pg = &mut self.regions[r].pg;
        let (end, previous) = (Lsn(pg.end().0 + size), pg.last_number());
        let timeline = pg.timeline();
        pg.wal.push(Record { number, previous, end, timeline, commit });
        pg.replayed = pg.wal.len();
        self.push_wal(r);
        end
    }

    /// A backend of `r` commits; `None` is the canary.
    pub fn commit(&mut self, r: usize, commit: Option<u64>) {
        if self.now < self.net.flush_hangs[r] {
            let life = self.regions[r].pg.life;
            return self.after(ms(50), Host::Data(r), move |w| {
                if w.regions[r].pg.life == life && w.regions[r].pg.serves() {
                    w.commit(r, commit);
                }
            });
        }
        let end = self.write_record(r, commit);
        if self.regions[r].pg.backends_wait {
            self.regions[r].pg.waiting.push_back(Waiting { end, commit });
        } else {
            self.acknowledge(r, Waiting { end, commit });
        }
    }

    pub fn acknowledge(&mut self, r: usize, waiting: Waiting) {
        match waiting.commit {
            Some(commit) => self.judge_acknowledged(r, commit),
            None => {
                if let Some(canary) = &mut self.regions[r].pg.canary {
                    canary.waiting = false;
                }
            }
        }
    }

    /// The configuration changed and a reload was signalled: the checkpointer and each walsender
    /// take it up in their own time.
    pub fn reload(&mut self, r: usize) {
        let pg = &mut self.regions[r].pg;
        if pg.process.is_none() {
            return;
        }
        pg.reloads += 1;
        let (life, names, reload) = (pg.life, pg.names.clone(), pg.reloads);
        let peers: Vec<_> = pg.senders.keys().copied().collect();
        for peer in peers {
            let delay = self.rng.between(ms(1), ms(40));
            let names = names.clone();
            self.after(delay, Host::Data(r), move |w| {
                let pg = &mut w.regions[r].pg;
                if pg.life == life
                    && let Some(sender) = pg.senders.get_mut(&peer)
                {
                    sender.take_names(reload, names);
                    w.release_waiting(r, peer);
                }
            });
        }
        let mut delay = self.rng.between(ms(1), ms(30));
        let slow = self.net.slow_checkpointer[r];
        if self.now < slow {
            delay += Duration::from_nanos(slow - self.now);
        }
        self.after(delay, Host::Data(r), move |w| w.checkpointer_reloads(r, life));
    }

    fn checkpointer_reloads(&mut self, r: usize, life: u64) {
        let pg = &mut self.regions[r].pg;
        if pg.life != life || pg.process.is_none() {
            return;
        }
        pg.backends_wait = !pg.names.is_empty();
        if !pg.backends_wait {
            // Nobody is waited for any more: everybody who waits is let go.
            let waiting = std::mem::take(&mut pg.waiting);
            for waiting in waiting {
                self.acknowledge(r, waiting);
            }
        }
    }

    /// One look by SQL.
    pub fn look(&self, r: usize) -> Option<SqlView> {
        let pg = &self.regions[r].pg;
        if !pg.running() {
            return None;
        }
        let standbys = pg.senders.iter().filter(|_| pg.primary).map(|(peer, sender)| {
            let region = self.regions[*peer].name.clone();
            let view = StandbyView {
                streaming: sender.caught_up,
                sync: sender.names.members.contains(&region),
                flush: Some(sender.flush),
                replay: Some(sender.replay),
                lag_ms: None,
            };
            (region, view)
        });
        let said = pg.receiver.as_ref().map(|receiver| receiver.upstream_end);
        Some(SqlView {
            in_recovery: !pg.primary,
            timeline: TimelineId(pg.timeline()),
            wal: Some(pg.end()),
            replay: (!pg.primary).then(|| pg.replayed_to()),
            receiver_streaming: pg.receiver.is_some(),
            upstream_end: said.map(|(end, _)| end),
            upstream_age_ms: said.map(|(_, at)| (self.now - at).div_ceil(1_000_000)),
            sync_names: pg.names.to_string(),
            standbys: standbys.collect(),
            waiting_commits: pg.waiting.len() as u32,
            lowered_commit: pg.primary.then(|| self.lowered_commit[r].clone()),
        })
    }

    /// The process is gone, however that came.
    pub fn pg_gone(&mut self, r: usize, why: &str, clean: bool) {
        let pg = &mut self.regions[r].pg;
        if pg.process.is_none() {
            return;
        }
        let was_primary = pg.primary;
        let end = pg.end();
        let timeline = TimelineId(pg.timeline());
        pg.control = Some(ControlData {
            system_identifier: 7,
            clean_shutdown: clean,
            in_recovery: !was_primary,
            checkpoint: end,
            timeline,
        });
        pg.process = None;
        pg.promoted = false;
        pg.primary = false;
        pg.backends_wait = false;
        pg.canary = None;
        pg.waiting.clear();
        pg.life += 1;
        let peers: Vec<_> = pg.senders.keys().copied().collect();
        pg.senders.clear();
        let upstream = pg.receiver.take().map(|receiver| receiver.from);
        self.log(|| format!("pg {r} ended: {why}"));
        // The other ends notice when what was under way has come through.
        for peer in peers {
            self.hang_up(r, peer);
        }
        if let Some(upstream) = upstream {
            let delay = self.rng.between(ms(1), ms(30));
            let receiver = r;
            self.after(delay, Host::Data(upstream), move |w| {
                if w.regions[receiver].pg.receiver.is_none() {
                    w.regions[upstream].pg.senders.remove(&receiver);
                }
            });
        }
        let guard = &mut self.regions[r].guard;
        guard.exits += 1;
        guard.last_exit = Some(why.into());
        self.notify(r);
    }

    /// A person puts an old copy of the data directory back: another directory by R13.
    pub fn bring_back_old_copy(&mut self, r: usize) {
        if self.spared(r) || self.regions[r].pg.wal.len() < 4 {
            return;
        }
        let mut wal = self.regions[r].pg.wal.clone();
        wal.truncate(wal.len() * 3 / 4);
        let histories = self.regions[r].pg.histories.clone();
        self.lose_disk(r);
        let id = self.fresh_directory();
        let pg = &mut self.regions[r].pg;
        pg.wal = wal;
        pg.directory = Some(id);
        // The copy knows the timelines of its own day.
        let newest = pg.timeline();
        pg.histories = histories.into_iter().filter(|(timeline, _)| *timeline <= newest).collect();
        self.notify(r);
    }

    /// Faults that take a disk away do so only while another listed member's disk is whole: more
    /// than that nothing survives.
    fn spared(&self, r: usize) -> bool {
        !self.listed().iter().any(|other| *other != r)
    }

    pub fn lose_disk(&mut self, r: usize) {
        if self.spared(r) {
            return;
        }
        self.pg_gone(r, "its disk is gone", false);
        let pg = &mut self.regions[r].pg;
        pg.directory = None;
        pg.wal.clear();
        pg.histories.clear();
        pg.replayed = 0;
        pg.control = None;
        pg.slots = false;
        pg.names = SyncNames::default();
        self.regions[r].guard.job_life += 1;
        self.regions[r].guard.job = false;
        self.judge.disks_lost += 1;
        self.notify(r);
    }
}
