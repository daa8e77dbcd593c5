//! How a cluster begins, and how a node without a past takes part.
//!
//! A data directory starts *outside*: it has no past, or it lost it. An outside node answers a
//! leader, but it neither votes nor campaigns, because a lost disk may have held the only second
//! copy of a committed entry. It comes *inside* in one of two ways:
//!
//! - a leader has brought it up to what was committed when it answered;
//! - a founder asked it, and it belonged to no cluster.
//!
//! Of the peers a node is configured with, the lowest id is the founder. It founds only when so
//! many peers answered that they belong to no cluster that the rest cannot have been a quorum of
//! an older one, not even together with the founder's own lost disk. Only then does it ask them to
//! come inside: a question that leads to nothing changes nobody.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::errors::{InitializeError, RaftError};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::Machine;
use super::disk::SharedDisk;
use super::frame::{Found, FoundReply, Kind};
use super::network::Peers;
use super::node::Raft;
use super::types::Member;

const FILE: &str = "node.json";
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
const ASK_INTERVAL: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    format: u32,
    id: u64,
    inside: bool,
}

/// What this data directory is to the cluster.
#[derive(Debug)]
pub(super) struct Standing {
    disk: SharedDisk,
    id: u64,
    inside: AtomicBool,
    writing: Mutex<()>,
}

impl Standing {
    /// Reads the standing, or begins one in a directory without a log.
    pub async fn open(disk: SharedDisk, id: u64, log_is_fresh: bool) -> io::Result<Self> {
        let bad = |text: String| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {text}", disk.describe(FILE)))
        };
        let inside = match disk.read(FILE).await? {
            Some(content) => {
                let record: Record =
                    serde_json::from_slice(&content).map_err(|error| bad(error.to_string()))?;
                if record.id != id {
                    return Err(bad(format!("belongs to node {}, not to {id}", record.id)));
                }
                record.inside
            }
            None if log_is_fresh => false,
            None => return Err(bad("is missing beside an existing log".to_owned())),
        };
        let writing = Mutex::new(());
        let standing = Self { disk, id, inside: AtomicBool::new(inside), writing };
        standing.write(inside).await?;
        Ok(standing)
    }

    /// Whether this node may vote and campaign.
    pub fn is_inside(&self) -> bool {
        self.inside.load(Ordering::Acquire)
    }

    /// Comes inside, durably; true when it was outside before.
    pub async fn enter(&self) -> io::Result<bool> {
        let _writing = self.writing.lock().await;
        if self.is_inside() {
            return Ok(false);
        }
        self.write(true).await?;
        self.inside.store(true, Ordering::Release);
        Ok(true)
    }

    async fn write(&self, inside: bool) -> io::Result<()> {
        let record = Record { format: 1, id: self.id, inside };
        let content = serde_json::to_vec_pretty(&record).map_err(io::Error::other)?;
        self.disk.replace(FILE, content).await
    }
}

/// How many of `members - 1` peers must belong to no cluster before one is founded.
///
/// An older cluster of these members committed with a majority. The founder itself may have been
/// in it, so `majority - 1` peers would have been. One more answer than all the others leave over
/// means that at least one of them would have had to answer otherwise.
fn answers_needed(members: usize) -> usize {
    let majority = members / 2 + 1;
    (members - majority + 1).min(members - 1)
}

/// Founds the cluster of `members`, if this node is its founder and there is none yet. Returns
/// when there is nothing (more) to do.
pub(super) async fn found<M: Machine>(
    raft: Raft<M>,
    standing: Arc<Standing>,
    peers: Peers,
    me: u64,
    members: BTreeMap<u64, Member>,
) {
    if members.keys().next() != Some(&me) {
        return;
    }
    let others: Vec<&Member> = members.values().filter(|member| member.id != me).collect();
    let needed = answers_needed(members.len());
    let mut told = false;
    loop {
        match raft.is_initialized().await {
            Ok(false) => {}
            Ok(true) | Err(_) => return,
        }
        let mut fresh = count_fresh(&peers, &others, Found { enter: false }).await;
        if fresh >= needed {
            fresh = count_fresh(&peers, &others, Found { enter: true }).await;
        }
        if fresh >= needed {
            break;
        }
        if !told {
            tracing::info!(fresh, needed, "waiting for peers before founding the cluster");
            told = true;
        }
        tokio::time::sleep(ASK_INTERVAL).await;
    }
    if let Err(error) = standing.enter().await {
        tracing::error!(%error, "the cluster was not founded");
        return;
    }
    raft.runtime_config().elect(true);
    match raft.initialize(members.clone()).await {
        Ok(()) => tracing::info!(members = members.len(), "founded the cluster"),
        Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
        Err(error) => tracing::error!(%error, "the cluster was not founded"),
    }
}

async fn count_fresh(peers: &Peers, others: &[&Member], question: Found) -> usize {
    let ask = |member: &&Member| {
        let peer = peers.get(member);
        async move { peer.ask::<_, FoundReply>(Kind::Found, &question, ASK_TIMEOUT).await }
    };
    let answers = futures_util::future::join_all(others.iter().map(ask)).await;
    answers.into_iter().filter(|answer| matches!(answer, Ok(FoundReply::Fresh))).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_founder_hears_enough_peers_to_exclude_an_older_quorum() {
        for members in 1..=9 {
            let majority = members / 2 + 1;
            let silent = members - 1 - answers_needed(members);
            assert!(silent + 1 < majority || members == 1, "{members} members");
        }
        assert_eq!([1, 2, 3, 4, 5].map(answers_needed), [0, 1, 2, 2, 3]);
    }
}
