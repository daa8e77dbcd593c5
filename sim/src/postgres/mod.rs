//! PostgreSQL and its guard, modelled where it matters to safety, behind the real `DataPlane`.
//!
//! ```text
//!   agent -- ModelPlane --> guard --> postgres ==WAL==> postgres <-- guard <-- ModelPlane -- agent
//!   client --- Session ------------->  (primary)        (standby)  <-------- Session ------ client
//!                         every arrow across places asks the Wire; all time comes from `advance`
//! ```
//!
//! One [`Cluster`] holds all members of one pair, what is on their disks and what is under way
//! between them, as one state behind one lock and one queue of what is due, ordered by time and
//! then by the order of asking. Asynchronous methods wait on channels that `advance` completes;
//! nothing here looks at a clock of its own, so that the same seed gives the same history in any
//! runtime.
//!
//! After a freeze all that was due is runnable at once, in any order: a backend may send an
//! acknowledgement whose standby's reply waited in its socket before the guard sees that its
//! deadline has passed, as real ones could (R1, R2); it needs every standby that is named all the
//! same.
//!
//! What is *not* modelled is said in the module that stands nearest to it.

mod cluster;
mod commit;
mod directory;
mod faults;
mod guard;
mod jobs;
mod judge;
mod lifecycle;
mod member;
mod plane;
mod reply;
mod serving;
mod sessions;
mod settings;
mod sql;
mod stopping;
mod streaming;
mod world;

pub use cluster::{Cluster, MemberConfig, Wire};
pub use judge::{
    Acknowledged, Content, Event, Happening, LineId, MemberView, Record, RecordId, SessionId,
};
pub use plane::ModelPlane;
pub use sessions::{ConnectError, Session, Unresolved, WriteError};
pub use settings::{Settings, Spans};
