//! The types openraft is instantiated with.

use std::fmt;

use openraft::alias;
use serde::{Deserialize, Serialize};

use super::runtime::SeamRuntime;

/// A control node as every member knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// The Raft id; never given to another disk once used.
    pub id: u64,
    /// The name in its certificate.
    pub name: String,
    /// `host:port` where it answers gRPC.
    pub address: String,
    /// `host:port` of its REST interface, for redirects and the console.
    pub api_address: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.name, self.id, self.address)
    }
}

/// A command as JSON text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandText(pub String);

impl fmt::Display for CommandText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A reply as JSON text; empty for entries that carry no command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplyText(pub String);

openraft::declare_raft_types!(
    /// The instantiation of openraft: commands are opaque text, members are [`Member`]s.
    pub TypeConfig:
        D = CommandText,
        R = ReplyText,
        NodeId = u64,
        Node = Member,
        AsyncRuntime = SeamRuntime,
);

pub(super) type Vote = alias::VoteOf<TypeConfig>;
pub(super) type LogId = alias::LogIdOf<TypeConfig>;
pub(super) type Entry = alias::EntryOf<TypeConfig>;
pub(super) type LeaderId = alias::LeaderIdOf<TypeConfig>;
pub(super) type SnapshotMeta = alias::SnapshotMetaOf<TypeConfig>;
pub(super) type Snapshot = alias::SnapshotOf<TypeConfig, Vec<u8>>;
pub(super) type StoredMembership = alias::StoredMembershipOf<TypeConfig>;
pub(super) type Membership = openraft::Membership<u64, Member>;
