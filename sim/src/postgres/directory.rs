//! A data directory: WAL, timeline histories, `pg_control`, slots.
//!
//! WAL is one sequence of records, each with where it comes from. PostgreSQL knows positions and
//! timeline numbers only, and so does everything here that stands for a decision of PostgreSQL's or
//! the guard's; `id`, `previous` and `line` of a record are looked at only where bytes would be.
//!
//! Not modelled: segments as files (so no half copy of a fork's segment), pages (a directory that
//! took foreign WAL is one with a break in its sequence), archives, tablespaces.

use std::collections::BTreeMap;

use continuum_domain::observation::{ControlData, Lineage};
use continuum_domain::{DataDirectoryId, Lsn, TimelineId};

use super::judge::{Content, Record};

/// WAL compared with a primary's own before its bytes are believed to be the same.
const SAMPLE_BYTES: u64 = 8 * 1024;

/// A timeline that was left, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub timeline: u64,
    pub switch: Lsn,
}

/// History files: the timelines left on the way to each, oldest first.
pub(super) type Histories = BTreeMap<u64, Vec<Left>>;

/// The mark of R13 inside the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Pending,
    Ready(DataDirectoryId),
}

/// A replication slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// WAL from here on is kept for it.
    pub restart: Lsn,
    /// It fell behind what may be kept; the next confirmed position makes it usable again.
    pub lost: bool,
}

/// `pg_control`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Control {
    pub clean: bool,
    pub in_recovery: bool,
    /// Start of the latest checkpoint's record.
    pub checkpoint: Lsn,
    pub timeline: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Directory {
    pub system: u64,
    pub mark: Mark,
    pub wal: Vec<Record>,
    /// Records on disk for certain.
    pub flushed: usize,
    /// Records applied; in a stopped directory, what a start is certain to apply at least.
    pub applied: usize,
    pub histories: Histories,
    pub control: Control,
    pub slots: BTreeMap<usize, Slot>,
    /// Segments before this position are gone.
    pub kept_from: Lsn,
}

/// How two chains of timelines relate, by numbers and positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Within,
    Diverged { fork: Lsn },
}

/// What a comparison of bytes found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bytes {
    Same,
    Different,
    Gone,
}

impl Directory {
    pub fn end(&self) -> Lsn {
        self.wal.last().map_or(Lsn(0), |record| record.end)
    }

    pub fn flushed_to(&self) -> Lsn {
        self.end_of(self.flushed)
    }

    pub fn applied_to(&self) -> Lsn {
        self.end_of(self.applied)
    }

    fn end_of(&self, count: usize) -> Lsn {
        count.checked_sub(1).map_or(Lsn(0), |last| self.wal[last].end)
    }

    /// Number of the timeline of the newest WAL.
    pub fn timeline(&self) -> u64 {
        self.wal.last().map_or(self.control.timeline, |record| record.timeline.0)
    }

    /// Records that end at or before `position`.
    pub fn count_to(&self, position: Lsn) -> usize {
        self.wal.partition_point(|record| record.end <= position)
    }

    /// The ancestors of a timeline; `None` when its history file is missing.
    pub fn ancestors(&self, timeline: u64) -> Option<Vec<Left>> {
        if timeline <= 1 { Some(Vec::new()) } else { self.histories.get(&timeline).cloned() }
    }

    /// The newest timeline that PostgreSQL finds from `from` on: it counts up while there are
    /// history files.
    pub fn newest_timeline(&self, from: u64) -> u64 {
        let mut newest = from;
        while self.histories.contains_key(&(newest + 1)) {
            newest += 1;
        }
        newest
    }

    /// The timeline on which `position` lies, in the history of `timeline`.
    pub fn timeline_at(&self, timeline: u64, position: Lsn) -> u64 {
        let ancestors = self.ancestors(timeline).unwrap_or_default();
        ancestors.iter().find(|left| position < left.switch).map_or(timeline, |left| left.timeline)
    }

    /// Recovery that stands at `position` of timeline `now` goes on with the newest timeline known,
    /// unless that one is no child of `now` or left it before `position`.
    pub fn next_recovery_timeline(&self, now: u64, position: Lsn) -> Result<u64, String> {
        let newest = self.newest_timeline(now);
        if newest == now {
            return Ok(now);
        }
        let ancestors = self.ancestors(newest).unwrap_or_default();
        match ancestors.iter().find(|left| left.timeline == now) {
            None => Err(format!("new timeline {newest} is not a child of timeline {now}")),
            Some(left) if left.switch < position => Err(format!(
                "new timeline {newest} forked off timeline {now} at {}, before {position}",
                left.switch
            )),
            Some(_) => Ok(newest),
        }
    }

    /// A receiver fetches the history files it lacks, from its own timeline up to the sender's.
    pub fn learn(&mut self, histories: &Histories, from: u64, to: u64) {
        for (timeline, history) in histories.range(from..=to) {
            self.histories.entry(*timeline).or_insert_with(|| history.clone());
        }
    }

    /// Begins the next timeline after recovery on `timeline`: one more than the newest number known
    /// *here*. Two members promoted apart may take the same.
    pub fn fork(&mut self, timeline: u64) -> u64 {
        let next = self.newest_timeline(timeline) + 1;
        let mut history = self.ancestors(timeline).unwrap_or_default();
        history.push(Left { timeline, switch: self.end() });
        self.histories.insert(next, history);
        next
    }

    pub fn control_data(&self) -> ControlData {
        ControlData {
            system_identifier: self.system,
            clean_shutdown: self.control.clean,
            in_recovery: self.control.in_recovery,
            checkpoint: self.control.checkpoint,
            timeline: TimelineId(self.control.timeline),
        }
    }

    pub fn has_role(&self, region: &continuum_domain::RegionId) -> bool {
        let applied = &self.wal[..self.applied];
        applied.iter().any(|r| matches!(&r.content, Content::Role(role) if role == region))
    }

    pub fn commits_after(&self, fork: Lsn) -> u64 {
        let past = self.wal.iter().filter(|r| r.end > fork && r.content.is_commit());
        past.count() as u64
    }

    /// Own timelines in order, each with where it was left, the last with the end of WAL.
    /// Without a history file of its own the primary's stand in.
    fn chain(&self, primary: &[Left]) -> Vec<Left> {
        let timeline = self.timeline();
        let mut chain = self.ancestors(timeline).unwrap_or_else(|| {
            primary.iter().take_while(|left| left.timeline < timeline).copied().collect()
        });
        chain.push(Left { timeline, switch: self.end() });
        chain
    }

    fn primary_chain(&self) -> Vec<Left> {
        let timeline = self.timeline();
        let mut chain = self.ancestors(timeline).unwrap_or_default();
        chain.push(Left { timeline, switch: self.flushed_to() });
        chain
    }

    /// What the guard's comparison of histories says.
    fn relate(&self, primary: &Directory) -> Relation {
        let theirs = primary.primary_chain();
        let mine = self.chain(&theirs[..theirs.len() - 1]);
        let mut fork = Lsn(0);
        for (index, (own, its)) in mine.iter().zip(&theirs).enumerate() {
            if own.timeline != its.timeline {
                return Relation::Diverged { fork };
            }
            fork = own.switch.min(its.switch);
            if index + 1 == mine.len() && own.switch <= its.switch {
                return Relation::Within;
            }
            let last = index + 1 == mine.len() || index + 1 == theirs.len();
            if last || own.switch != its.switch {
                return Relation::Diverged { fork };
            }
        }
        Relation::Diverged { fork }
    }

    /// Compares the WAL just before `position` with the same positions of a primary's.
    fn compare(&self, primary: &Directory, position: Lsn, segment: u64) -> Bytes {
        let last = position.0.saturating_sub(1);
        let from = Lsn(position.0.saturating_sub(SAMPLE_BYTES).max(last - last % segment));
        let kept = Lsn(from.0 - from.0 % segment);
        if position == Lsn(0) || self.kept_from > kept || primary.kept_from > kept {
            return Bytes::Gone;
        }
        let of = |directory: &Directory| -> Vec<(Lsn, u64)> {
            let wal = directory.wal.iter().rev();
            let before = wal.skip_while(|r| r.start >= position).take_while(|r| r.end > from);
            before.map(|record| (record.start, record.id.0)).collect()
        };
        if of(self) == of(primary) { Bytes::Same } else { Bytes::Different }
    }

    /// How this stopped directory's history relates to a primary's, as agent and guard tell it:
    /// chains of switches first, then the bytes just before the end or before the fork.
    pub fn lineage(&self, primary: &Directory, segment: u64) -> Lineage {
        let (end, timeline) = (self.end(), TimelineId(self.timeline()));
        match self.relate(primary) {
            Relation::Within => match self.compare(primary, end, segment) {
                Bytes::Same => return Lineage::Follows,
                // What a standby holds came from a primary; a former primary's may be its own only.
                Bytes::Gone if self.control.in_recovery => {
                    let reason = format!("the primary no longer holds the WAL at {end}");
                    return Lineage::Unprovable { reason };
                }
                Bytes::Gone | Bytes::Different => {}
            },
            Relation::Diverged { fork } => {
                if self.compare(primary, fork, segment) == Bytes::Same {
                    return Lineage::Diverged { fork, end, timeline };
                }
            }
        }
        let mut chain = self.chain(&primary.ancestors(primary.timeline()).unwrap_or_default());
        chain.pop();
        let shared = |left: &&Left| self.compare(primary, left.switch, segment) == Bytes::Same;
        let fork = chain.iter().rev().find(shared).map_or(Lsn(0), |left| left.switch);
        Lineage::Apart { fork, end, timeline }
    }

    /// Up to where `pg_rewind` takes both to be the same, going by history files alone; `None` when
    /// it sees nothing to rewind.
    pub fn rewind_point(&self, source: &Directory) -> Option<Lsn> {
        if self.timeline() == source.timeline() {
            return None;
        }
        let theirs = source.primary_chain();
        let mine = self.chain(&theirs[..theirs.len() - 1]);
        let (mut point, mut begins) = (Lsn(0), (Lsn(0), Lsn(0)));
        for (own, its) in mine.iter().zip(&theirs) {
            if own.timeline != its.timeline || begins.0 != begins.1 {
                break;
            }
            point = own.switch.min(its.switch);
            begins = (own.switch, its.switch);
        }
        (self.end() > point).then_some(point)
    }

    /// Puts the source's pages and WAL over what lies past `point`.
    pub fn rewind_to(&mut self, source: &Directory, point: Lsn) {
        let keep = self.count_to(point);
        self.wal.truncate(keep);
        let end = self.end();
        let rest = source.wal[..source.flushed].iter().filter(|record| record.start >= end);
        self.wal.extend(rest.cloned());
        self.copy_state(source);
    }

    /// A base backup of `source`.
    pub fn clone_of(source: &Directory) -> Self {
        let mut copy = source.clone();
        copy.wal.truncate(source.flushed);
        copy.copy_state(source);
        copy
    }

    /// Histories and control file come from the source, slots from nobody.
    fn copy_state(&mut self, source: &Directory) {
        self.mark = Mark::Pending;
        self.flushed = self.wal.len();
        self.applied = self.wal.len();
        self.histories = source.histories.clone();
        self.control = source.control;
        self.control.clean = false;
        self.control.in_recovery = true;
        self.slots = BTreeMap::new();
        self.kept_from = source.kept_from;
    }
}
