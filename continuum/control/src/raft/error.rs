//! What can go wrong, as callers need to tell it apart.

use std::io;

use openraft::errors::{
    ChangeMembershipError, ClientWriteError, ForwardReason, ForwardToLeader, LinearizableReadError,
    RaftError,
};

use super::types::{LeaderId, Member, TypeConfig};

/// Why a proposal, a linearizable read or a change of members did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was proposed: another node leads, or none is known to.
    #[error("this node does not lead; {}", leader_text(.leader))]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<Member>,
    },
    /// Nothing was proposed: no quorum answers, or the node has stopped.
    #[error("the control core is unavailable: {0}")]
    Unavailable(String),
    /// The proposal may or may not take effect. Read before repeating it.
    #[error("the outcome is not known: {0}")]
    Indeterminate(String),
    /// Nothing was proposed, and repeating it as it is cannot help.
    #[error("refused: {0}")]
    Refused(String),
}

fn leader_text(leader: &Option<Member>) -> String {
    leader
        .as_ref()
        .map_or_else(|| "no leader is known".to_owned(), |member| format!("{member} leads"))
}

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error("control node configuration: {0}")]
    Config(String),
    /// The data directory cannot be used; nothing was changed in it.
    #[error("control node storage: {0}")]
    Storage(#[from] io::Error),
    /// The Raft core refused to start.
    #[error("control node: {0}")]
    Raft(String),
}

const NO_QUORUM: &str = "this node leads but no quorum answers it";

impl ProposeError {
    /// Whether this node was elected but has not yet heard enough answers to take a proposal.
    pub(super) fn lacks_quorum(&self) -> bool {
        matches!(self, ProposeError::Unavailable(text) if text == NO_QUORUM)
    }
}

impl From<ForwardToLeader<TypeConfig>> for ProposeError {
    fn from(forward: ForwardToLeader<TypeConfig>) -> Self {
        match forward.reason {
            ForwardReason::LeaseExpired => ProposeError::Unavailable(NO_QUORUM.to_owned()),
            ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => {
                ProposeError::NotLeader { leader: forward.leader_node }
            }
        }
    }
}

impl From<ClientWriteError<TypeConfig>> for ProposeError {
    fn from(error: ClientWriteError<TypeConfig>) -> Self {
        match error {
            ClientWriteError::ForwardToLeader(forward) => forward.into(),
            ClientWriteError::LogEntryDiscarded(_) => {
                ProposeError::Indeterminate("another leader took over meanwhile".to_owned())
            }
            ClientWriteError::ChangeMembershipError(error) => error.into(),
            ClientWriteError::PreconditionFailed(error) => ProposeError::Refused(error.to_string()),
        }
    }
}

impl From<ChangeMembershipError<LeaderId, u64>> for ProposeError {
    fn from(error: ChangeMembershipError<LeaderId, u64>) -> Self {
        match error {
            ChangeMembershipError::InProgress(_)
            | ChangeMembershipError::UncommittedLeaderLog(_) => {
                ProposeError::Unavailable(error.to_string())
            }
            ChangeMembershipError::EmptyMembership(_)
            | ChangeMembershipError::LearnerNotFound(_)
            | ChangeMembershipError::UnsupportedMembershipTransition(_)
            | ChangeMembershipError::NodeMetadataChanged(_) => {
                ProposeError::Refused(error.to_string())
            }
        }
    }
}

impl From<LinearizableReadError<TypeConfig>> for ProposeError {
    fn from(error: LinearizableReadError<TypeConfig>) -> Self {
        match error {
            LinearizableReadError::ForwardToLeader(forward) => forward.into(),
            LinearizableReadError::QuorumNotEnough(error) => {
                ProposeError::Unavailable(error.to_string())
            }
        }
    }
}

impl<E> From<RaftError<TypeConfig, E>> for ProposeError
where
    ProposeError: From<E>,
{
    fn from(error: RaftError<TypeConfig, E>) -> Self {
        match error {
            RaftError::APIError(error) => error.into(),
            // The core may have stopped after it had taken the proposal.
            RaftError::Fatal(fatal) => {
                ProposeError::Indeterminate(format!("the node has stopped: {fatal}"))
            }
        }
    }
}
