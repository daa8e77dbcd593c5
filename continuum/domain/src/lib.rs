//! Pure state machines of Continuum: no I/O, no async, no clock, no randomness.
//!
//! Everything that can lose data is decided here, as `step(state, event, now) -> effects`. The
//! edges (agent, witness, data plane, control core) perform effects and feed back events. Time is
//! handed in as [`Tick`]s of a local monotonic clock that counts suspend; no wall clock takes part
//! in any decision.
//!
//! Rule numbers (R1 to R22) in this crate name the rules of the lease, epoch and ledger protocol;
//! `docs/PROTOCOL-RULES.md` lists them with the place that keeps each.

pub mod access;
pub mod at_rest;
pub mod candidate;
pub mod corroborate;
pub mod duration_text;
pub mod ids;
pub mod mutation;
pub mod name_kind;
pub mod name_spec;
pub mod objective;
pub mod observation;
pub mod operation;
pub mod outbox;
pub mod pair;
pub mod record;
pub mod round_trips;
pub mod safety;
pub mod sequence;
pub mod session;
pub mod spec;
pub mod sync_names;
pub mod time;
pub mod timing;
pub mod trace;
pub mod traffic;

pub use ids::{
    AccessName, ApprovalId, DataDirectoryId, Epoch, Generation, Lsn, OperationId, PairId, RegionId,
    TimelineId,
};
pub use record::{PairRecord, SessionRecord, Version};
pub use sync_names::SyncNames;
pub use time::Tick;
pub use timing::Timing;
