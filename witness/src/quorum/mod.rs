//! One register out of 1, 3 or 5 independent stores, by CASPaxos (Rystsov, "CASPaxos: Replicated
//! State Machines without logs", 2018).
//!
//! ```text
//!  RegisterStore ── QuorumStore ──┬── lane ── CellStore (a server in a third site)
//!    read, compare_and_swap       ├── lane ── CellStore (the control core)
//!                                 └── lane ── CellStore (an object store)
//! ```
//!
//! A change is prepared at a majority (which promises to accept nothing older, and shows the newest
//! value accepted), then accepted by a majority. Whoever prepares later meets one of them. Writing
//! the same record to a majority by compare-and-swap would not do: two half-finished writers can
//! leave a higher epoch with an older in-sync set.
//!
//! - **One round trip**: an accepted change promises the same proposer's next ballot in the same
//!   write; while nobody else proposes, the next change is one conditional write per acceptor.
//! - **A read writes nothing** when a majority shows one accepted ballot.
//! - **A store that lost its state** is found by its missing mark and does not count.
//! - **An acceptor is replaced** ([`replace`]) under way: each register is sealed at the acceptors before
//!   and goes on at the new ones, within one call of whoever uses it next.
//! - **Who may not write a register reads it without completing it**: another region's session is
//!   read as the newest value that any of a majority accepted, and one reader is never shown an older ballot than before.
//!   That is what an observation window needs (R6, R7): a renewal that counts was accepted by a
//!   majority, so a read sent after it shows it or a newer one.

mod acceptor;
mod attempt;
mod found;
mod health;
mod inspect;
mod lane;
mod mark;
mod place;
mod planted;
mod replace;
mod round;
mod standing;
mod store;
mod view;

pub use acceptor::{Accepted, AcceptorState, Ballot, Refusal, Shown, judge, newest};
pub use found::{FoundError, found};
pub use health::{AcceptorHealth, QuorumHealth};
pub use inspect::{Inspection, inspect};
pub use mark::{MARK_KEY, Mark, Membership, Phase};
pub use replace::{ReplaceError, Replacement, Step, replace};
pub use store::{Acceptor, QuorumStore};

#[cfg(test)]
mod tests;
