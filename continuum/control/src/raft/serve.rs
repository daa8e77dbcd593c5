//! The server half of the Raft wire: frames from peers, handed to openraft.

use continuum_control_api::pb::RaftFrame;
use continuum_runtime::identity::Role;
use continuum_runtime::net::Caller;
use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::RaftError;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::Status;

use super::frame::{self, ChunkReply, Found, FoundReply, Kind};
use super::node::Node;
use super::types::{LogId, TypeConfig};
use super::{Machine, ProposeError};

fn read<T: DeserializeOwned>(frame: &RaftFrame) -> Result<T, Status> {
    frame::decode(frame).map_err(unreadable)
}

fn unreadable(error: postcard::Error) -> Status {
    Status::invalid_argument(format!("the frame cannot be read: {error}"))
}

fn answer<T: Serialize>(kind: Kind, value: &T) -> Result<RaftFrame, Status> {
    frame::encode(kind, value).map_err(|error| Status::internal(error.to_string()))
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

impl<M: Machine> Node<M> {
    /// Serves one frame of another control node. `caller` is who sent it, as the transport proved
    /// it; only control nodes are served.
    pub async fn handle_raft(
        &self,
        frame: RaftFrame,
        caller: Option<&Caller>,
    ) -> Result<RaftFrame, Status> {
        let identity = caller.and_then(|caller| caller.identity.as_ref());
        if identity.is_none_or(|identity| identity.role != Role::Core) {
            return Err(Status::permission_denied("only control nodes speak Raft"));
        }
        self.handle_frame(frame).await
    }

    async fn handle_frame(&self, frame: RaftFrame) -> Result<RaftFrame, Status> {
        let raft = self.raft();
        let kind = Kind::from_code(frame.kind).ok_or_else(|| {
            Status::unimplemented(format!("frame kind {} is not known here", frame.kind))
        })?;
        match kind {
            Kind::Append => self.append(&frame).await,
            Kind::Vote => {
                self.require_inside()?;
                answer(kind, &raft.vote(read(&frame)?).await.map_err(stopped)?)
            }
            Kind::PreVote => {
                self.require_inside()?;
                answer(kind, &raft.pre_vote(read(&frame)?).await.map_err(stopped)?)
            }
            Kind::TransferLeader => {
                self.require_inside()?;
                let response = raft.handle_transfer_leader(read(&frame)?).await;
                answer(kind, &response.map_err(stopped)?)
            }
            Kind::SnapshotChunk => self.snapshot_chunk(&frame).await,
            Kind::ReadIndex => answer(
                kind,
                &self.read_index().await.map_err(|error| match error {
                    ProposeError::NotLeader { .. } => {
                        Status::failed_precondition(error.to_string())
                    }
                    _ => stopped(error),
                })?,
            ),
            Kind::Found => {
                let question: Found = read(&frame)?;
                if raft.is_initialized().await.map_err(stopped)? {
                    return answer(kind, &FoundReply::Member);
                }
                if question.enter {
                    self.enter().await?;
                }
                answer(kind, &FoundReply::Fresh)
            }
        }
    }

    fn require_inside(&self) -> Result<(), Status> {
        if self.standing().is_inside() {
            return Ok(());
        }
        Err(Status::failed_precondition("this node has no past yet and does not vote"))
    }

    async fn enter(&self) -> Result<(), Status> {
        if self.standing().enter().await.map_err(stopped)? {
            self.raft().runtime_config().elect(true);
        }
        Ok(())
    }

    async fn append(&self, frame: &RaftFrame) -> Result<RaftFrame, Status> {
        let rpc: AppendEntriesRequest<TypeConfig> = read(frame)?;
        let committed = rpc.leader_commit;
        let response = self.raft().append_entries(rpc).await.map_err(stopped)?;
        if !matches!(response, AppendEntriesResponse::HigherVote(_)) {
            self.heard().now();
        }
        if response.is_success() && !self.standing().is_inside() && self.has_applied(committed) {
            self.enter().await?;
            tracing::info!("caught up with the cluster; this node votes from now on");
        }
        answer(Kind::Append, &response)
    }

    fn has_applied(&self, committed: Option<LogId>) -> bool {
        committed.is_some() && self.raft().metrics().borrow_watched().last_applied >= committed
    }

    async fn snapshot_chunk(&self, frame: &RaftFrame) -> Result<RaftFrame, Status> {
        let (header, bytes) = frame::decode_chunk(frame).map_err(unreadable)?;
        let complete = self.inbox().take(header, bytes)?;
        let reply = match complete {
            None => ChunkReply::More,
            Some((vote, snapshot)) => {
                let installed = self.raft().install_full_snapshot(vote, snapshot).await;
                ChunkReply::Done(installed.map_err(stopped)?)
            }
        };
        answer(Kind::SnapshotChunk, &reply)
    }

    /// Up to where a read on any node must have applied to see everything committed until now.
    /// Only the leader knows, and only after a round with a quorum.
    pub(super) async fn read_index(&self) -> Result<u64, ProposeError> {
        self.rounds().share(self.timings().election_max, || self.ask_read_index()).await
    }

    async fn ask_read_index(&self) -> Result<u64, ProposeError> {
        let found = self.raft().get_read_log_id(ReadPolicy::ReadIndex).await;
        match found {
            // A leader that was restarted within its term leads on without a new entry, and knows
            // less of what was committed than before: all of its log may have been.
            Ok((read, _)) => Ok(read.index().max(self.log_end_at_start())),
            Err(RaftError::APIError(error)) => Err(error.into()),
            Err(RaftError::Fatal(fatal)) => Err(ProposeError::Unavailable(fatal.to_string())),
        }
    }
}
