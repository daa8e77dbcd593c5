//! Timelines as PostgreSQL knows them: by number and by position, never by content.
//!
//! Two members that are promoted apart both take the next number after the newest they know of,
//! and thus the same one. A walsender that is asked for that number serves it, and the standby
//! writes what comes behind what it has. Only records say here where they come from; what
//! PostgreSQL, `pg_rewind` and the guard's comparison look at is what they can look at.

use std::collections::BTreeMap;

use continuum_domain::Lsn;

use super::Postgres;

/// A walreceiver asks from the start of a segment on. No run writes more than one of them.
const SEGMENT: u64 = 16 << 20;

/// A timeline that was left, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    pub timeline: u64,
    pub switch: Lsn,
}

/// History files by timeline: the timelines that were left on the way to it, oldest first.
pub type Histories = BTreeMap<u64, Vec<Left>>;

/// How two chains of timelines relate, by numbers and positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Within,
    Diverged { fork: Lsn },
}

impl Postgres {
    /// The timelines this directory left, as its own history file says.
    pub fn ancestors(&self) -> Vec<Left> {
        self.histories.get(&self.timeline()).cloned().unwrap_or_default()
    }

    /// Its ancestors and its own timeline, with the end of what it has.
    fn chain(&self) -> Vec<Left> {
        let mut chain = self.ancestors();
        chain.push(Left { timeline: self.timeline(), switch: self.end() });
        chain
    }

    /// Begins the next timeline: the newest that this directory knows of, and one. Returns it.
    pub fn fork(&mut self) -> u64 {
        let chain = self.chain();
        let mut newest = self.timeline();
        while self.histories.contains_key(&(newest + 1)) {
            newest += 1;
        }
        self.histories.insert(newest + 1, chain);
        newest + 1
    }

    /// Whether a walsender here serves `timeline` from `start` on, to a standby that then goes on
    /// with it: a timeline that was left must not have been left before.
    pub fn serves_from(&self, timeline: u64, start: Lsn) -> bool {
        if timeline == self.timeline() {
            return start.0 - start.0 % SEGMENT <= self.end().0;
        }
        self.ancestors().iter().any(|left| left.timeline == timeline && start <= left.switch)
    }

    /// A walreceiver fetches the history files that it lacks; what it has it keeps.
    pub fn learn_histories(&mut self, upstream: &Histories) {
        let first = self.timeline();
        for (timeline, history) in upstream.range(first..) {
            self.histories.entry(*timeline).or_insert_with(|| history.clone());
        }
    }

    /// How far `pg_rewind` takes both to be the same, looking at history files alone; `None` when
    /// it sees nothing to rewind.
    pub fn rewind_point(&self, source: &Postgres) -> Option<Lsn> {
        if self.timeline() == source.timeline() {
            return None;
        }
        let (own, theirs) = (self.chain(), source.chain());
        let mut begin = (Lsn(0), Lsn(0));
        let mut point = Lsn(0);
        for (mine, its) in own.iter().zip(&theirs) {
            if mine.timeline != its.timeline || begin.0 != begin.1 {
                break;
            }
            point = mine.switch.min(its.switch);
            begin = (mine.switch, its.switch);
        }
        (self.end() > point).then_some(point)
    }

    /// Whether both hold the same record just before `position`.
    pub fn same_before(&self, other: &Postgres, position: Lsn) -> bool {
        let before = |pg: &Postgres| {
            let count = pg.wal.partition_point(|record| record.end <= position);
            count.checked_sub(1).map(|last| pg.wal[last].number)
        };
        before(self) == before(other)
    }

    /// The last place where this member left a timeline and both were still the same.
    pub fn last_shared_switch(&self, other: &Postgres) -> Lsn {
        let switches = self.ancestors().into_iter().map(|left| left.switch);
        switches.filter(|switch| self.same_before(other, *switch)).max().unwrap_or_default()
    }

    /// Whether each record stands behind the one it was written behind.
    pub fn is_one_history(&self) -> bool {
        self.wal.windows(2).all(|pair| pair[1].previous == pair[0].number)
    }
}

/// What the guard's comparison makes of two chains: the same code by another hand.
pub fn relate(own: &Postgres, primary: &Postgres) -> Relation {
    let (own, primary) = (own.chain(), primary.chain());
    let mut fork = Lsn(0);
    for (index, (mine, theirs)) in own.iter().zip(&primary).enumerate() {
        if mine.timeline != theirs.timeline {
            return Relation::Diverged { fork };
        }
        fork = mine.switch.min(theirs.switch);
        if index + 1 == own.len() {
            let within = mine.switch <= theirs.switch;
            return if within { Relation::Within } else { Relation::Diverged { fork } };
        }
        if index + 1 == primary.len() || mine.switch != theirs.switch {
            return Relation::Diverged { fork };
        }
    }
    Relation::Diverged { fork }
}
