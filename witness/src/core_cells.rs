//! The client of the control core's cells: whichever node leads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use continuum_runtime::{Identity, Role, SharedNetwork};
use tokio::time::Instant;

use crate::cells_client::{Carrier, CellAnswer, CellCall};
use crate::line::{Failed, Line};
use crate::register::StoreError;

/// Between two rounds through all nodes, while none of them leads.
const PAUSE: Duration = Duration::from_millis(30);

/// The control core as one store of cells. Remembers who leads, asks the next node when one refuses or
/// cannot be reached, and goes on until the deadline.
///
/// A silent node is given up for a read, which is then asked of the next one. A write is asked of
/// no other node after that: it may have reached the log, so it is [`StoreError::Unanswered`], and
/// the next call begins with another node.
pub struct CoreCells {
    nodes: Vec<Line>,
    /// Index of the node that answered last.
    leader: AtomicUsize,
    deadline: Duration,
}

impl std::fmt::Debug for CoreCells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nodes: Vec<String> = self.nodes.iter().map(Line::to_string).collect();
        write!(f, "CoreCells({})", nodes.join(", "))
    }
}

impl CoreCells {
    /// The control nodes by name and address (`host:port` of their gRPC). Every call returns within
    /// `deadline`, dialling and asking further nodes included.
    pub fn new(
        network: &SharedNetwork,
        nodes: impl IntoIterator<Item = (String, String)>,
        deadline: Duration,
    ) -> Self {
        let line = |(name, address): (String, String)| {
            Line::new(network.clone(), address, Identity::new(Role::Core, name))
        };
        let nodes = nodes.into_iter().map(line).collect();
        Self { nodes, leader: AtomicUsize::new(0), deadline }
    }

    /// Where to go on after a node that did not answer: to the one it named, or to the next.
    fn next(&self, at: usize, failed: &Failed) -> usize {
        let named = failed.instead.as_deref();
        let named = self.nodes.iter().position(|node| Some(node.name()) == named);
        // A node that names itself has just begun or ceased to lead.
        named.filter(|named| *named != at).unwrap_or((at + 1) % self.nodes.len())
    }

    /// How long the node that is asked next may take.
    fn patience(&self, call: &CellCall, left: Duration) -> Duration {
        let nodes = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        if call.is_read() { left.min(self.deadline / nodes) } else { left }
    }
}

#[async_trait]
impl Carrier for CoreCells {
    async fn carry(&self, call: CellCall) -> Result<CellAnswer, StoreError> {
        if self.nodes.is_empty() {
            return Err(StoreError::Misconfigured("no control node is known".into()));
        }
        let end = Instant::now() + self.deadline;
        let mut at = self.leader.load(Ordering::Relaxed);
        let mut asked = 0;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let patience = self.patience(&call, left);
            let failed = match call.clone().ask(&self.nodes[at], patience).await {
                Ok(answer) => {
                    self.leader.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(failed) => failed,
            };
            let was_named = failed.instead.is_some();
            let next = self.next(at, &failed);
            self.leader.store(next, Ordering::Relaxed);
            let goes_on = match &failed.error {
                StoreError::NotSent(_) => true,
                StoreError::Unanswered(_) => call.is_read(),
                StoreError::Unauthorised(_) | StoreError::Misconfigured(_) => false,
            };
            (at, asked) = (next, asked + 1);
            let round_ended = asked % self.nodes.len() == 0;
            let pause =
                if round_ended || (was_named && asked > 1) { PAUSE } else { Duration::ZERO };
            if !goes_on || Instant::now() + pause >= end {
                return Err(failed.error);
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }
}
