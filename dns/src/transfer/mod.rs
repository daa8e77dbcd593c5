//! The hidden primary: secondaries of others transfer the zone from here and serve it.
//!
//! ```text
//!  reads of registers ──> cut ──> versions ──┬── AXFR, IXFR (messages, TSIG by keys) ──> secondaries
//!                                            └── notify: "there is a newer serial"   ──> secondaries
//! ```
//!
//! **The serial is derived, not counted.** A version of the zone is what stood in all registers at *one
//! instant* ([`cut`]), and its serial is the sum of their epochs above the configuration's edition.
//! Epochs never go back, so of two such instants the later one has no epoch that is lower: its serial
//! is the same only when its content is, and higher otherwise. That holds for every server of the zone,
//! and for one that starts anew, without their knowing of each other. A secondary that lists several
//! of them takes a higher serial only, so that one that is behind takes nothing back.

pub mod cut;
pub(crate) mod keys;
pub(crate) mod messages;
pub(crate) mod notify;
pub mod versions;

use std::sync::atomic::{AtomicU64, Ordering};

/// Transfers since this server started.
#[derive(Debug, Default)]
pub struct Transfers {
    whole: AtomicU64,
    changes: AtomicU64,
    refused: AtomicU64,
    contradicted: AtomicU64,
}

impl Transfers {
    /// Whole zones sent.
    pub fn whole(&self) -> u64 {
        self.whole.load(Ordering::Relaxed)
    }

    /// Times that only changes were sent.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Questions for a transfer that were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Times that a secondary was found to have another zone under the same serial: the configuration
    /// was changed without one more in `edition`.
    pub fn contradicted(&self) -> u64 {
        self.contradicted.load(Ordering::Relaxed)
    }

    pub(crate) fn count_contradicted(&self) {
        self.contradicted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_whole(&self) {
        self.whole.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_changes(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether serial `one` is older than `two`; they go round (RFC 1982).
pub fn older(one: u32, two: u32) -> bool {
    one != two && two.wrapping_sub(one) < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_go_round() {
        for (one, two, due) in
            [(1, 2, true), (2, 1, false), (3, 3, false), (u32::MAX, 0, true), (0, u32::MAX, false)]
        {
            assert_eq!(older(one, two), due, "{one} {two}");
        }
    }
}
