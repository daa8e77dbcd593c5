//! What control nodes say to each other: kinds of frames and their payloads.

use continuum_control_api::pb::RaftFrame;
use openraft::raft::SnapshotResponse;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::types::{SnapshotMeta, TypeConfig, Vote};

/// Bytes of log entries in one frame; more entries wait for the next. Together with one command of
/// the largest size this stays below the 4 MiB that gRPC takes by default.
pub(super) const ENTRY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of a snapshot in one frame.
pub(super) const CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// A larger snapshot is refused, so that a broken peer cannot fill the memory.
pub(super) const SNAPSHOT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// The kinds of frames. Numbers are never given a second meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Append,
    Vote,
    PreVote,
    SnapshotChunk,
    TransferLeader,
    ReadIndex,
    Found,
}

impl Kind {
    const ALL: [Kind; 7] = [
        Kind::Append,
        Kind::Vote,
        Kind::PreVote,
        Kind::SnapshotChunk,
        Kind::TransferLeader,
        Kind::ReadIndex,
        Kind::Found,
    ];

    pub fn code(self) -> u32 {
        match self {
            Kind::Append => 1,
            Kind::Vote => 2,
            Kind::PreVote => 3,
            Kind::SnapshotChunk => 4,
            Kind::TransferLeader => 5,
            Kind::ReadIndex => 6,
            Kind::Found => 7,
        }
    }

    pub fn from_code(code: u32) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// Makes a frame.
pub(super) fn encode<T: Serialize>(kind: Kind, value: &T) -> Result<RaftFrame, postcard::Error> {
    Ok(RaftFrame { kind: kind.code(), payload: postcard::to_stdvec(value)? })
}

/// Reads a frame's payload.
pub(super) fn decode<T: DeserializeOwned>(frame: &RaftFrame) -> Result<T, postcard::Error> {
    postcard::from_bytes(&frame.payload)
}

/// What precedes the bytes of a snapshot chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChunkHeader {
    /// The leader that sends.
    pub vote: Vote,
    /// The snapshot the bytes belong to.
    pub meta: SnapshotMeta,
    /// Where the bytes belong.
    pub offset: u64,
    /// Length of the whole snapshot.
    pub total: u64,
}

/// The answer to a snapshot chunk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum ChunkReply {
    /// Kept; the next one, please.
    More,
    /// That was the last one, and the snapshot is installed (or the sender no longer leads).
    Done(SnapshotResponse<TypeConfig>),
}

/// Makes a snapshot chunk: the header, then the bytes as they are.
pub(super) fn encode_chunk(
    header: &ChunkHeader,
    bytes: &[u8],
) -> Result<RaftFrame, postcard::Error> {
    let mut payload = postcard::to_stdvec(header)?;
    payload.extend(bytes);
    Ok(RaftFrame { kind: Kind::SnapshotChunk.code(), payload })
}

/// Reads a snapshot chunk.
pub(super) fn decode_chunk(frame: &RaftFrame) -> Result<(ChunkHeader, &[u8]), postcard::Error> {
    postcard::take_from_bytes(&frame.payload)
}

/// A founder's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Found {
    /// Whether the node shall take part from now on.
    pub enter: bool,
}

/// The answer to a founder's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FoundReply {
    /// The node belongs to no cluster.
    Fresh,
    /// The node already belongs to a cluster.
    Member,
}
