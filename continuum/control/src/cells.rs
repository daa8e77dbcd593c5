//! The core as one acceptor of the witness: cells in the replicated state.
//!
//! A write is a command of the log; the node that leads takes it, others say who leads. Reads are
//! linearizable on every node.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::{PairId, RegionId};
use continuum_runtime::clock::SharedClock;
use continuum_runtime::net::SharedNetwork;
use continuum_runtime::seed;
use continuum_witness::cell_rules::Members;
use continuum_witness::cell_service::CellHost;
use continuum_witness::cells::check_cell_bounds;
use continuum_witness::{Cell, CellStore, CoreCells, Put, StoreError, Tag};

use crate::raft::{Member, Node, ProposeError};
use crate::state::{Blob, CellPut, Change, Command, CoreState, Reply};

/// Who proposes changes of cells; the caller was checked where the call came in.
const ACTOR: &str = "cells";
/// Characters of 36 kinds that a proposer adds to a tag.
const NONCE_LENGTH: usize = 16;

/// The cells by way of one node: it writes only while it leads.
pub(crate) struct NodeCells {
    node: Node<CoreState>,
    clock: SharedClock,
}

fn store_error(error: ProposeError) -> StoreError {
    match error {
        ProposeError::NotLeader { .. } | ProposeError::Unavailable(_) => {
            StoreError::NotSent(error.to_string())
        }
        ProposeError::Indeterminate(why) => StoreError::Unanswered(why),
        ProposeError::Refused(why) => StoreError::Misconfigured(why),
    }
}

/// A reply of another kind than the change calls for: a bug, and nothing is known.
fn unexpected(reply: &Reply) -> StoreError {
    StoreError::Unanswered(format!("the change was answered with {reply}"))
}

impl NodeCells {
    pub(crate) fn new(node: Node<CoreState>, clock: SharedClock) -> Self {
        Self { node, clock }
    }

    async fn propose(&self, change: Change) -> Result<Reply, StoreError> {
        let command = Command::new(self.clock.wall_ms(), ACTOR, change);
        self.node.propose(command).await.map_err(store_error)
    }

    async fn fresh(&self) -> Result<(), StoreError> {
        self.node.linearizable().await.map_err(store_error)
    }

    fn leads(&self) -> bool {
        self.node.leadership().borrow().i_lead
    }
}

#[async_trait]
impl CellStore for NodeCells {
    async fn get(&self, key: &str) -> Result<Option<Cell>, StoreError> {
        check_cell_bounds(key, &[])?;
        self.fresh().await?;
        Ok(self.node.read(|state| state.cell(key).cloned()).map(Cell::from))
    }

    async fn put(
        &self,
        key: &str,
        expected: Option<&Tag>,
        bytes: Vec<u8>,
    ) -> Result<Put, StoreError> {
        check_cell_bounds(key, &bytes)?;
        let put = CellPut {
            key: key.to_owned(),
            expected: expected.map(|tag| tag.0.clone()),
            content: Blob(bytes),
            nonce: seed::random_id(NONCE_LENGTH),
        };
        match self.propose(Change::PutCell(put)).await? {
            Reply::CellWritten(tag) => Ok(Put::Written(Tag(tag))),
            Reply::CellConflict(current) => Ok(Put::Conflict(current.map(Cell::from))),
            other => Err(unexpected(&other)),
        }
    }

    async fn delete(&self, key: &str, expected: &Tag) -> Result<bool, StoreError> {
        check_cell_bounds(key, &[])?;
        let change = Change::DeleteCell { key: key.to_owned(), expected: expected.0.clone() };
        match self.propose(change).await? {
            Reply::CellGone(gone) => Ok(gone),
            other => Err(unexpected(&other)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.fresh().await?;
        Ok(self.node.read(|state| state.cell_keys(prefix)))
    }
}

impl Members for NodeCells {
    fn is_member(&self, pair: &PairId, region: &RegionId) -> Option<bool> {
        self.node.read(|state| {
            let (_, spec) = state.spec(pair)?;
            Some(spec.members.contains_key(region))
        })
    }
}

impl CellHost for NodeCells {
    fn cells(&self) -> &dyn CellStore {
        self
    }

    fn instead(&self) -> Option<String> {
        let leadership = self.node.leadership().borrow().clone();
        leadership.leader.filter(|leader| leader.id != self.node.id()).map(|leader| leader.name)
    }
}

struct Bound {
    here: NodeCells,
    network: SharedNetwork,
    /// The client of all nodes, and the members it was made for.
    others: Mutex<(Vec<Member>, Arc<CoreCells>)>,
}

/// The core's cells inside a control node: by its own handle where it can, and by the leader's
/// service otherwise.
///
/// Made before the node that serves it, because the node is given a register that may be built
/// on these cells; until it has started, every call is [`StoreError::NotSent`].
#[derive(Clone)]
pub struct OwnCells {
    bound: Arc<OnceLock<Bound>>,
    deadline: Duration,
}

impl std::fmt::Debug for OwnCells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnCells").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl OwnCells {
    /// Cells of a node that is to start; each call returns within `deadline`.
    pub fn new(deadline: Duration) -> Self {
        Self { bound: Arc::default(), deadline }
    }

    pub(crate) fn bind(&self, here: NodeCells, network: SharedNetwork) {
        let others =
            Mutex::new((Vec::new(), Arc::new(CoreCells::new(&network, [], self.deadline))));
        if self.bound.set(Bound { here, network, others }).is_err() {
            tracing::error!("the cells of one node were given to a second one");
        }
    }

    fn bound(&self) -> Result<&Bound, StoreError> {
        self.bound.get().ok_or_else(|| StoreError::NotSent("the node has not started yet".into()))
    }

    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        tokio::time::timeout(self.deadline, call).await.unwrap_or_else(|_| {
            Err(StoreError::Unanswered(format!("the core gave none in {:?}", self.deadline)))
        })
    }
}

impl Bound {
    /// A client of all nodes as they are now; who was found to lead is remembered while they stay.
    fn others(&self, deadline: Duration) -> Arc<CoreCells> {
        let members: Vec<Member> =
            self.here.node.members().into_iter().map(|state| state.member).collect();
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if others.0 != members {
            let nodes = members.iter().map(|node| (node.name.clone(), node.address.clone()));
            let client = Arc::new(CoreCells::new(&self.network, nodes, deadline));
            *others = (members, client);
        }
        others.1.clone()
    }
}

#[async_trait]
impl CellStore for OwnCells {
    async fn get(&self, key: &str) -> Result<Option<Cell>, StoreError> {
        let bound = self.bound()?;
        self.bounded(bound.here.get(key)).await
    }

    async fn put(
        &self,
        key: &str,
        expected: Option<&Tag>,
        bytes: Vec<u8>,
    ) -> Result<Put, StoreError> {
        let bound = self.bound()?;
        if bound.here.leads() {
            return self.bounded(bound.here.put(key, expected, bytes)).await;
        }
        bound.others(self.deadline).put(key, expected, bytes).await
    }

    async fn delete(&self, key: &str, expected: &Tag) -> Result<bool, StoreError> {
        let bound = self.bound()?;
        if bound.here.leads() {
            return self.bounded(bound.here.delete(key, expected)).await;
        }
        bound.others(self.deadline).delete(key, expected).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let bound = self.bound()?;
        self.bounded(bound.here.list(prefix)).await
    }
}
