//! The registers as their acceptors hold them, seen by one who sees all of them at once.
//!
//! Of one witness server that is its own table. Of a quorum it is what a majority accepted under one
//! ballot; a value that some accepted is nobody's yet. An acceptor that is down keeps what it held.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use continuum_witness::Versioned;
use continuum_witness::quorum::{Accepted, AcceptorState, Ballot};
use continuum_witness::store::DurableStore;
use continuum_witness::table::Registers;

/// Clones are handles to the same acceptors.
#[derive(Clone)]
pub struct Acceptors {
    /// Of a quorum; 0 for one server without cells.
    count: usize,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// The store of each host while it runs, and after it was killed until it starts again.
    stores: BTreeMap<String, Arc<DurableStore>>,
    /// The cells of each host as they were last seen.
    cells: BTreeMap<(String, String), Vec<u8>>,
    /// The newest value that each host accepted of each register.
    accepted: BTreeMap<String, BTreeMap<String, Accepted>>,
    /// When each change was first seen at an acceptor, by its origin.
    began: BTreeMap<String, BTreeMap<Ballot, Duration>>,
    /// Ballots of the chosen values, and their origins.
    chosen: BTreeMap<String, (Ballot, Ballot)>,
    registers: Registers,
}

impl Acceptors {
    /// So many acceptors of a quorum, none of which runs yet; 0 for one plain server.
    pub fn new(count: usize) -> Self {
        Self { count, inner: Arc::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A host's store is this from now on; none while it starts.
    pub fn publish(&self, host: &str, store: Option<Arc<DurableStore>>) {
        let mut inner = self.inner();
        match store {
            Some(store) => inner.stores.insert(host.to_owned(), store),
            None => inner.stores.remove(host),
        };
    }

    /// When the value that a quorum chose for this register was first seen at one of them. What is
    /// counted from when it was sent, as a renewal, is not to be counted from when it was chosen.
    pub fn began(&self, register: &str) -> Option<Duration> {
        let inner = self.inner();
        let (_, origin) = inner.chosen.get(register)?;
        inner.began.get(register)?.get(origin).copied()
    }

    /// Shows `look` all registers as they are at `now`; nothing while the one server is down.
    pub fn registers<T>(&self, now: Duration, look: impl FnOnce(&Registers) -> T) -> Option<T> {
        let mut inner = self.inner();
        if self.count == 0 {
            return Some(inner.stores.values().next()?.inspect(look));
        }
        for (host, store) in inner.stores.clone() {
            store.inspect_cells(|key, bytes| inner.see(now, &host, key, bytes));
        }
        inner.choose(self.count / 2 + 1);
        Some(look(&inner.registers))
    }
}

impl Inner {
    fn see(&mut self, now: Duration, host: &str, key: &str, bytes: &[u8]) {
        // g<generation>/<incarnation>/<register>; the mark and probes are nobody's register.
        let mut parts = key.splitn(3, '/');
        let (Some(first), Some(_), Some(register)) = (parts.next(), parts.next(), parts.next())
        else {
            return;
        };
        let at = (host.to_owned(), key.to_owned());
        let known = self.cells.get(&at).is_some_and(|known| known == bytes);
        if known || !first.starts_with('g') {
            return;
        }
        self.cells.insert(at, bytes.to_owned());
        let Ok(AcceptorState { accepted: Some(accepted), .. }) = AcceptorState::decode(bytes)
        else {
            return;
        };
        let began = self.began.entry(register.to_owned()).or_default();
        began.entry(accepted.origin).or_insert(now);
        let of = self.accepted.entry(register.to_owned()).or_default();
        of.insert(host.to_owned(), accepted);
    }

    fn choose(&mut self, majority: usize) {
        for (register, accepted) in &self.accepted {
            let same = |ballot| accepted.values().filter(|other| other.ballot == ballot).count();
            let chosen = accepted.values().filter(|value| same(value.ballot) >= majority);
            let Some(value) = chosen.max_by_key(|value| value.ballot) else { continue };
            if self.chosen.get(register).is_none_or(|(before, _)| *before < value.ballot) {
                self.chosen.insert(register.clone(), (value.ballot, value.origin));
                let held: Versioned = value.register();
                self.registers.put(register.clone(), held);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(round: u64, version: u64) -> Vec<u8> {
        let ballot = Ballot { round, proposer: 7 };
        let value = vec![u8::try_from(version).unwrap()];
        let accepted = Accepted { ballot, origin: ballot, version, value };
        AcceptorState { promised: ballot, accepted: Some(accepted) }.encode()
    }

    #[test]
    fn a_register_is_what_a_majority_accepted_under_one_ballot() {
        let mut inner = Inner::default();
        let mut step = |host: &str, round, version| {
            inner.see(Duration::ZERO, host, "g1/ab/pair/app", &cell(round, version));
            inner.choose(2);
            inner.registers.get("pair/app").map(|held| held.version.0)
        };
        assert_eq!(step("w1", 1, 1), None);
        assert_eq!(step("w3", 2, 2), None);
        assert_eq!(step("w2", 2, 2), Some(2));
        // Half-made: nobody's yet, and what was chosen stays.
        assert_eq!(step("w1", 5, 3), Some(2));
        assert_eq!(step("w3", 6, 4), Some(2));
        assert_eq!(step("w2", 6, 4), Some(4));
    }
}
