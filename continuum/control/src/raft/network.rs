//! The client half of the Raft wire: frames to peers, each with a deadline.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use continuum_control_api::pb::RaftFrame;
use continuum_control_api::pb::core_node_client::CoreNodeClient;
use continuum_runtime::identity::{Identity, Role};
use continuum_runtime::net::{self, SharedNetwork};
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::v2::RaftNetworkV2;
use openraft::network::{RPCOption, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{EntryPayload, OptionalSend, RPCTypes};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::frame::{self, CHUNK_BYTES_MAX, ChunkHeader, ChunkReply, ENTRY_BYTES_MAX, Kind};
use super::types::{Entry, Member, Snapshot, TypeConfig, Vote};

/// After this many calls in a row without an answer the connection is given up: a stream that the
/// network has swallowed never recovers by itself, and waiting for keep-alives takes seconds.
const TIMEOUTS_BEFORE_REDIAL: u32 = 3;

/// Why a call brought no answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// No answer in time.
    Timeout(Duration),
    /// Nobody is there, or whoever is there will not serve this soon.
    Unreachable(String),
    /// The connection broke; the next attempt may well work.
    Broken(String),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CallError::Timeout(limit) => write!(f, "no answer within {limit:?}"),
            CallError::Unreachable(text) | CallError::Broken(text) => f.write_str(text),
        }
    }
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        let text = format!("{:?}: {}", status.code(), status.message());
        match status.code() {
            Code::Cancelled | Code::Aborted | Code::Internal | Code::Unknown => {
                CallError::Broken(text)
            }
            _ => CallError::Unreachable(text),
        }
    }
}

impl From<postcard::Error> for CallError {
    fn from(error: postcard::Error) -> Self {
        CallError::Unreachable(format!("a frame cannot be read: {error}"))
    }
}

/// All peers this node has talked to, one connection each.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    me: u64,
    network: SharedNetwork,
    known: Arc<Mutex<BTreeMap<u64, Arc<Peer>>>>,
}

#[derive(Debug)]
pub(super) struct Peer {
    network: SharedNetwork,
    member: Member,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    channel: Option<Channel>,
    timeouts: u32,
}

impl Peers {
    pub fn new(me: u64, network: SharedNetwork) -> Self {
        Self { me, network, known: Arc::default() }
    }

    /// The peer, with a new connection if its name or address has changed.
    pub fn get(&self, member: &Member) -> Arc<Peer> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = known.get(&member.id)
            && peer.member == *member
        {
            return peer.clone();
        }
        let peer = Arc::new(Peer {
            network: self.network.clone(),
            member: member.clone(),
            line: Mutex::default(),
        });
        known.insert(member.id, peer.clone());
        peer
    }
}

impl Peer {
    fn channel(&self) -> Channel {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let dial = || {
            let expect = Identity::new(Role::Core, self.member.name.as_str());
            net::channel(&self.network, &self.member.address, &expect)
        };
        line.channel.get_or_insert_with(dial).clone()
    }

    fn note(&self, answered: bool) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.timeouts = if answered { 0 } else { line.timeouts + 1 };
        if line.timeouts >= TIMEOUTS_BEFORE_REDIAL {
            *line = Line::default();
        }
    }

    /// Sends one frame and waits for the answer, at most `limit`.
    pub async fn call(&self, frame: RaftFrame, limit: Duration) -> Result<RaftFrame, CallError> {
        let mut client = CoreNodeClient::new(self.channel());
        let answer = tokio::time::timeout(limit, client.raft(frame)).await;
        self.note(answer.is_ok());
        match answer {
            Ok(reply) => Ok(reply?.into_inner()),
            Err(_) => Err(CallError::Timeout(limit)),
        }
    }

    /// Sends a question of `kind` and reads the answer.
    pub async fn ask<Q, A>(&self, kind: Kind, question: &Q, limit: Duration) -> Result<A, CallError>
    where
        Q: Serialize,
        A: DeserializeOwned,
    {
        let answer = self.call(frame::encode(kind, question)?, limit).await?;
        Ok(frame::decode(&answer)?)
    }
}

impl RaftNetworkFactory<TypeConfig> for Peers {
    type Network = Link;

    async fn new_client(&mut self, target: u64, member: &Member) -> Link {
        Link { me: self.me, target, peer: self.get(member) }
    }
}

/// One user of the connection to a peer.
#[derive(Debug)]
pub(super) struct Link {
    me: u64,
    target: u64,
    peer: Arc<Peer>,
}

impl Link {
    fn error(&self, action: RPCTypes, error: CallError) -> RPCError<TypeConfig> {
        match error {
            CallError::Timeout(timeout) => {
                RPCError::Timeout(Timeout { action, id: self.me, target: self.target, timeout })
            }
            CallError::Unreachable(text) => RPCError::Unreachable(Unreachable::from_string(text)),
            CallError::Broken(text) => RPCError::Network(NetworkError::from_string(text)),
        }
    }

    async fn rpc<Q: Serialize, A: DeserializeOwned>(
        &self,
        kind: Kind,
        action: RPCTypes,
        question: &Q,
        option: &RPCOption,
    ) -> Result<A, RPCError<TypeConfig>> {
        let answer = self.peer.ask(kind, question, option.soft_ttl()).await;
        answer.map_err(|error| self.error(action, error))
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot,
        limit: Duration,
    ) -> Result<SnapshotResponse<TypeConfig>, CallError> {
        let total = u64::try_from(snapshot.snapshot.len()).unwrap_or(u64::MAX);
        let mut header = ChunkHeader { vote, meta: snapshot.meta, offset: 0, total };
        let mut rest = snapshot.snapshot.as_slice();
        loop {
            let (chunk, left) = rest.split_at(rest.len().min(CHUNK_BYTES_MAX));
            let answer = self.peer.call(frame::encode_chunk(&header, chunk)?, limit).await?;
            match frame::decode(&answer)? {
                ChunkReply::Done(response) => return Ok(response),
                ChunkReply::More if left.is_empty() => {
                    return Err(CallError::Broken("the peer waits for more than all".to_owned()));
                }
                ChunkReply::More => {
                    header.offset += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                    rest = left;
                }
            }
        }
    }
}

/// How many of `entries` go into one frame; at least one.
fn fitting(entries: &[Entry]) -> usize {
    let mut room = ENTRY_BYTES_MAX;
    let fits = entries.iter().take_while(|entry| {
        let bytes = match &entry.payload {
            EntryPayload::Normal(command) => command.0.len() + 64,
            EntryPayload::Blank | EntryPayload::Membership(_) => 4096,
        };
        let fits = bytes <= room;
        room = room.saturating_sub(bytes);
        fits
    });
    fits.count().max(1).min(entries.len())
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = Vec<u8>;

    async fn append_entries(
        &mut self,
        mut rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let fitting = fitting(&rpc.entries);
        let is_part = fitting < rpc.entries.len();
        rpc.entries.truncate(fitting);
        let last = rpc.entries.last().map(|entry| entry.log_id);
        let answer = self.rpc(Kind::Append, RPCTypes::AppendEntries, &rpc, &option).await?;
        match answer {
            AppendEntriesResponse::Success if is_part => {
                Ok(AppendEntriesResponse::PartialSuccess(last))
            }
            answer => Ok(answer),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.rpc(Kind::Vote, RPCTypes::Vote, &rpc, &option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.rpc(Kind::PreVote, RPCTypes::Vote, &rpc, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let limit = option.soft_ttl();
        let sending = tokio::time::timeout(limit, self.send_snapshot(vote, snapshot, limit));
        let sent = tokio::select! {
            biased;
            closed = cancel => return Err(StreamingError::Closed(closed)),
            sent = sending => sent.unwrap_or(Err(CallError::Timeout(limit))),
        };
        sent.map_err(|error| self.error(RPCTypes::InstallSnapshot, error).into())
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.rpc(Kind::TransferLeader, RPCTypes::TransferLeader, &request, &option).await
    }
}

impl From<CallError> for io::Error {
    fn from(error: CallError) -> Self {
        io::Error::other(error.to_string())
    }
}
