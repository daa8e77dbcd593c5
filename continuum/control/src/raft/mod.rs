//! The Raft half of the control core: a replicated [`Machine`] with a durable log of our own.
//!
//! ```text
//!   propose / linearizable / add_member            peers (gRPC, mutual TLS)
//!                  |                                  ^            |
//!                  v                                  | frames     v
//!               Node<M> ----------> openraft ----> network      serve
//!                                    |     |
//!                       LogStore <---+     +---> MachineStore<M>
//!                          |                          |
//!                        writer                    snapshot
//!                          +----------> Disk <--------+
//! ```
//!
//! Guarantees kept here:
//!
//! - an entry, a vote or a snapshot that was acknowledged to anybody survives a power loss;
//! - a failed write or sync stops the node for good, it is never retried as if it had worked;
//! - damage in the middle of the log is refused with file and offset; only bytes that were never
//!   acknowledged are cut;
//! - a node that lost its disk neither votes nor campaigns until a leader has brought it up to
//!   date, so that an empty disk cannot help to elect a leader without committed entries;
//! - a cluster is founded once: the founder first makes sure that too few members can hold an
//!   older cluster for that cluster to have committed anything.
//!
//! openraft is named only in this module; everything above sees [`Node`] and [`Machine`].

mod error;
mod founding;
mod frame;
mod inbox;
mod leadership;
mod log_store;
mod machine_store;
mod membership;
mod network;
mod node;
mod record;
mod recovery;
mod rounds;
mod runtime;
mod segment;
mod serve;
mod snapshot;
mod types;
mod vote_file;
mod writer;

use std::fmt::{Debug, Display};

use serde::Serialize;
use serde::de::DeserializeOwned;

use continuum_runtime::disk;
pub use continuum_runtime::disk::{Disk, DiskFile, DiskLock, FsDisk, SharedDisk};
pub use error::{ProposeError, StartError};
pub use leadership::Leadership;
pub use log_store::LogStore;
pub use machine_store::MachineStore;
pub use membership::MemberState;
pub use node::{Node, NodeConfig, Timings};
pub use types::{Member, TypeConfig};

/// Largest accepted command, encoded. One command always fits one frame.
pub const COMMAND_BYTES_MAX: usize = 1024 * 1024;

/// The replicated state: pure and deterministic.
///
/// `apply` sees the same commands in the same order on every node and must do the same with them:
/// no clock, no randomness, no I/O. Time that matters travels inside the command.
pub trait Machine: Default + Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// A change of the state. Encoded as JSON in log and snapshots: an old node must be able to
    /// read what a newer one wrote, so only ever add variants and optional fields.
    type Command: Serialize + DeserializeOwned + Debug + Display + Clone + Send + Sync + 'static;
    /// What the proposer is told.
    type Reply: Serialize
        + DeserializeOwned
        + Debug
        + Display
        + Clone
        + Default
        + Send
        + Sync
        + 'static;

    /// Applies the committed command at log position `index`.
    fn apply(&mut self, index: u64, command: Self::Command) -> Self::Reply;
}
