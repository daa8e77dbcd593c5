//! Which host reaches which: one table for the simulated network and for PostgreSQL's streams.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::postgres::Wire;

/// What troubles one direction of a link. Faults overlap, so each is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Trouble {
    cuts: u32,
    holds: u32,
    /// One end's process stands still: what else runs on its host is not concerned.
    stopped: u32,
    slow: Option<Duration>,
}

/// Why nobody answers on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Its process is not there: the host refuses.
    Process,
    /// The host is not there: nothing comes back.
    Host,
}

/// What becomes of an attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It arrives.
    Yes,
    /// It is refused at once.
    Refused,
    /// Nothing comes back.
    Silence,
}

struct Table {
    absent: BTreeMap<String, Absence>,
    /// By who sends and who should receive; healthy ones are left out.
    troubles: BTreeMap<(String, String), Trouble>,
    latency: (Duration, Duration),
    rng: SmallRng,
}

impl Wire for Links {
    fn delay(&self, from: &str, to: &str) -> Option<Duration> {
        let table = &mut *self.table();
        let trouble = if table.troubles.is_empty() {
            Trouble::default()
        } else {
            let trouble = table.troubles.get(&(from.to_owned(), to.to_owned()));
            trouble.copied().unwrap_or_default()
        };
        if trouble.cuts + trouble.holds > 0 {
            return None;
        }
        let (least, most) = table.latency;
        let most = trouble.slow.unwrap_or(most).max(least);
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Some(Duration::from_nanos(table.rng.random_range(nanos(least)..=nanos(most))))
    }
}

/// The table. Clones are handles to the same one.
#[derive(Clone)]
pub struct Links(Arc<Mutex<Table>>);

/// How a link is to be set in the simulated network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Messages wait until they are released.
    Held,
    /// Each direction is open or cut: first to second, second to first.
    Open(bool, bool),
}

impl Links {
    /// All healthy; latencies of PostgreSQL's streams are drawn from `seed`.
    pub fn new(seed: u64, latency: (Duration, Duration)) -> Self {
        let rng = SmallRng::seed_from_u64(seed);
        Self(Arc::new(Mutex::new(Table {
            absent: BTreeMap::new(),
            troubles: BTreeMap::new(),
            latency,
            rng,
        })))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, from: &str, to: &str, change: impl FnOnce(&mut Trouble)) {
        let mut table = self.table();
        change(table.troubles.entry((from.to_owned(), to.to_owned())).or_default());
        table.troubles.retain(|_, trouble| *trouble != Trouble::default());
    }

    /// A host's process, or the host, is not there; `None`: it is back.
    pub fn absent(&self, host: &str, absence: Option<Absence>) {
        let mut table = self.table();
        match absence {
            Some(absence) => table.absent.insert(host.to_owned(), absence),
            None => table.absent.remove(host),
        };
    }

    /// What becomes of an attempt to connect now.
    pub fn reach(&self, from: &str, to: &str) -> Reach {
        let table = self.table();
        let cut = |from: &str, to: &str| {
            let trouble = table.troubles.get(&(from.to_owned(), to.to_owned()));
            trouble.is_some_and(|trouble| trouble.cuts > 0)
        };
        match table.absent.get(to) {
            Some(Absence::Host) => Reach::Silence,
            _ if cut(from, to) || cut(to, from) => Reach::Silence,
            Some(Absence::Process) => Reach::Refused,
            None => Reach::Yes,
        }
    }

    /// Cuts one direction; cuts add up.
    pub fn cut(&self, from: &str, to: &str) {
        self.change(from, to, |trouble| trouble.cuts += 1);
    }

    /// Takes one cut back.
    pub fn mend(&self, from: &str, to: &str) {
        self.change(from, to, |trouble| trouble.cuts = trouble.cuts.saturating_sub(1));
    }

    /// Holds messages of one direction; holds add up.
    pub fn hold(&self, from: &str, to: &str) {
        self.change(from, to, |trouble| trouble.holds += 1);
    }

    /// Takes one hold back.
    pub fn release(&self, from: &str, to: &str) {
        self.change(from, to, |trouble| trouble.holds = trouble.holds.saturating_sub(1));
    }

    /// One end's process stands still: its messages wait, those of its host's others do not.
    pub fn stop(&self, from: &str, to: &str) {
        self.change(from, to, |trouble| trouble.stopped += 1);
    }

    /// It goes on.
    pub fn go_on(&self, from: &str, to: &str) {
        self.change(from, to, |trouble| trouble.stopped = trouble.stopped.saturating_sub(1));
    }

    /// Whether something of `from` can come to one of `to`: where it is `there`, over a link that is
    /// not cut; and in any case where messages wait for their link.
    pub fn is_heard(&self, from: &str, to: &[String], there: bool) -> bool {
        let table = self.table();
        if table.troubles.is_empty() {
            return there;
        }
        to.iter().any(|to| {
            let trouble = table.troubles.get(&(from.to_owned(), to.clone()));
            let trouble = trouble.copied().unwrap_or_default();
            trouble.holds + trouble.stopped > 0 || there && trouble.cuts == 0
        })
    }

    /// Makes one direction slow, or as quick as usual.
    pub fn slow(&self, from: &str, to: &str, most: Option<Duration>) {
        self.change(from, to, |trouble| trouble.slow = most);
    }

    /// Forgets all troubles; returns the pairs of hosts that had any.
    pub fn heal(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.table().troubles).into_keys().collect()
    }

    /// How the link between two hosts is to be set, and its longest latency when that is unusual.
    pub fn mode(&self, a: &str, b: &str) -> (Mode, Option<Duration>) {
        let table = self.table();
        let of = |from: &str, to: &str| {
            table.troubles.get(&(from.to_owned(), to.to_owned())).copied().unwrap_or_default()
        };
        let (there, back) = (of(a, b), of(b, a));
        let slow = there.slow.max(back.slow);
        let cut_both = there.cuts > 0 && back.cuts > 0;
        let waits = |trouble: Trouble| trouble.holds + trouble.stopped > 0;
        if (waits(there) || waits(back)) && !cut_both {
            return (Mode::Held, slow);
        }
        (Mode::Open(there.cuts == 0, back.cuts == 0), slow)
    }

    /// The usual latency, least and most.
    pub fn latency(&self) -> (Duration, Duration) {
        self.table().latency
    }
}
