//! Members of the cluster: who they are, adding, removing, handing over the lead.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use serde::{Deserialize, Serialize};

use super::node::Node;
use super::types::Member;
use super::{Machine, ProposeError};

/// A member as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberState {
    /// Who it is.
    pub member: Member,
    /// Whether it counts towards the quorum; otherwise it only follows.
    pub voter: bool,
    /// How far its log is known to agree with the leader's. `None` when this node does not lead or
    /// the member was not heard of since.
    pub matched: Option<u64>,
}

/// Waits at most `limit` for a change that may still happen afterwards.
async fn bounded<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, ProposeError>>,
) -> Result<T, ProposeError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(ProposeError::Indeterminate(format!("{what} did not finish within {limit:?}")))
    })
}

impl<M: Machine> Node<M> {
    /// All members, by id.
    pub fn members(&self) -> Vec<MemberState> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let matched = |id: &u64| {
            let progress = metrics.replication.as_ref()?.get(id)?.as_ref()?;
            Some(progress.index)
        };
        let state = |(id, member): (&u64, &Member)| MemberState {
            member: member.clone(),
            voter: voters.contains(id),
            matched: matched(id),
        };
        membership.nodes().map(state).collect()
    }

    /// Adds `member`: first it only follows, and once it has caught up it votes. Adding a member
    /// that is there already changes nothing, so an unfinished addition may be repeated.
    ///
    /// The id must never have belonged to another disk.
    pub async fn add_member(&self, member: Member) -> Result<(), ProposeError> {
        let id = member.id;
        let known = self.members().into_iter().find(|state| state.member.id == id);
        match known {
            Some(state) if state.member != member => {
                let text = format!("id {id} belongs to {}; choose another id", state.member);
                return Err(ProposeError::Refused(text));
            }
            Some(state) if state.voter => return Ok(()),
            Some(_) | None => {}
        }
        bounded(self.timings().membership, "adding the member", async {
            self.raft().add_learner(id, member, true).await?;
            let voters = ChangeMembers::AddVoterIds(BTreeSet::from([id]));
            self.raft().change_membership(voters, true).await?;
            Ok(())
        })
        .await
    }

    /// Removes the member with this id. Removing one that is not there changes nothing. A leader
    /// that removes itself hands over the lead.
    pub async fn remove_member(&self, id: u64) -> Result<(), ProposeError> {
        let Some(state) = self.members().into_iter().find(|state| state.member.id == id) else {
            return Ok(());
        };
        let ids = BTreeSet::from([id]);
        let change = if state.voter {
            ChangeMembers::RemoveVoters(ids)
        } else {
            ChangeMembers::RemoveNodes(ids)
        };
        bounded(self.timings().membership, "removing the member", async {
            self.raft().change_membership(change, false).await?;
            Ok(())
        })
        .await
    }

    /// Hands the lead to the member with this id and returns once it leads.
    pub async fn transfer_leadership(&self, id: u64) -> Result<(), ProposeError> {
        let mut leadership = self.leadership();
        let now = leadership.borrow_and_update().clone();
        if !now.i_lead {
            return Err(ProposeError::NotLeader { leader: now.leader });
        }
        if self.id() == id {
            return Ok(());
        }
        if !self.members().iter().any(|state| state.member.id == id && state.voter) {
            return Err(ProposeError::Refused(format!("no voter has id {id}")));
        }
        bounded(self.timings().propose, "handing over the lead", async {
            let asked = self.raft().trigger().transfer_leader(id).await;
            asked.map_err(|fatal| ProposeError::Unavailable(fatal.to_string()))?;
            let leads = |state: &super::Leadership| {
                state.leader.as_ref().is_some_and(|leader| leader.id == id)
            };
            match leadership.wait_for(leads).await {
                Ok(_) => Ok(()),
                Err(_) => Err(ProposeError::Unavailable("the node has stopped".to_owned())),
            }
        })
        .await
    }
}
