//! What all parts of a control node share.

use std::sync::Arc;
use std::time::Duration;

use continuum_control_api::ask::{Ask, RequestKey};
use continuum_control_api::audit::AuditOrigin;
use continuum_control_api::link::Order;
use continuum_control_api::rest::{CoreNodeView, CoreView};
use continuum_control_api::routes::ApiError;
use continuum_domain::operation::Operation;
use continuum_domain::record::pair_key;
use continuum_domain::trace::TraceContext;
use continuum_domain::{Epoch, PairId, PairRecord, RegionId, Version};
use continuum_runtime::clock::SharedClock;
use continuum_runtime::net::SharedNetwork;
use continuum_runtime::seed;
use continuum_runtime::traces::Traces;
use continuum_witness::{Answer, RegisterStore};
use tokio::sync::Semaphore;

use crate::api::door::Door;
use crate::api::fanout::Fanout;
use crate::archive::Archive;
use crate::config::CoreConfig;
use crate::crash::CrashPoint;
use crate::link::Asks;
use crate::link::registry::Links;
use crate::metrics::Requests;
use crate::outbox::Outbox;
use crate::raft::{Leadership, Node, ProposeError};
use crate::server::Onlooker;
use crate::state::{Change, Command, CoreState, Reply};
use crate::traces::{Place, directive_context};

/// How long the witness may take to answer a read.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(2);

/// One control node's parts.
pub struct Core {
    pub(crate) node: Node<CoreState>,
    pub(crate) config: CoreConfig,
    pub(crate) network: SharedNetwork,
    pub(crate) clock: SharedClock,
    pub(crate) register: Arc<dyn RegisterStore>,
    pub(crate) links: Links,
    pub(crate) asks: Asks,
    pub(crate) crash: Option<CrashPoint>,
    pub(crate) onlooker: Option<Onlooker>,
    /// Streams of events that may still be opened here.
    pub(crate) streams: Arc<Semaphore>,
    /// What their readers share.
    pub(crate) fanout: Fanout,
    /// Requests that were answered here.
    pub(crate) requests: Requests,
    /// Who called how often.
    pub(crate) door: Door,
    /// Every record this node has applied, on disk.
    pub(crate) archive: Archive,
    /// Where audit records are sent to.
    pub(crate) outbox: Outbox,
    /// Exports that may still be begun here.
    pub(crate) exports: Arc<Semaphore>,
    /// Takes what is told as spans.
    pub(crate) traces: Traces,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("name", &self.config.name).finish_non_exhaustive()
    }
}

impl Core {
    /// The core's time for people and for the patience of operations; no lease depends on it.
    pub(crate) fn now_ms(&self) -> i64 {
        let wall = self.clock.wall_ms();
        self.node.read(|state| state.now_ms(wall))
    }

    /// Who leads, as far as this node knows.
    pub(crate) fn leadership(&self) -> Leadership {
        self.node.leadership().borrow().clone()
    }

    /// Proposes a change; it is committed when this returns `Ok`.
    pub(crate) async fn propose(&self, actor: &str, change: Change) -> Result<Reply, ProposeError> {
        self.propose_once(actor, change, (None, None, None)).await
    }

    /// The same for a request that has a name.
    async fn propose_once(
        &self,
        actor: &str,
        change: Change,
        (key, origin, trace): (Option<RequestKey>, Option<AuditOrigin>, Option<TraceContext>),
    ) -> Result<Reply, ProposeError> {
        let reaches_state = matches!(change, Change::Start { .. } | Change::Become { .. });
        let at_ms = self.clock.wall_ms();
        let command = Command { at_ms, actor: actor.to_owned(), change, key, origin, trace };
        let reply = self.node.propose(command).await?;
        self.crash_if_drilled(&reply, reaches_state);
        Ok(reply)
    }

    /// Drills only: dies right after the chosen boundary was committed, before anything follows
    /// from it.
    fn crash_if_drilled(&self, reply: &Reply, reaches_state: bool) {
        let Some(point) = &self.crash else { return };
        let reached = match reply {
            Reply::Journalled { added, .. } => added.iter().any(|line| point.hits(line)),
            Reply::Operation(operation) => reaches_state && point.hits_state(operation),
            _ => false,
        };
        if reached {
            tracing::error!(?point, "crash point reached");
            std::process::abort();
        }
    }

    /// Proposes a change for an API caller.
    pub(crate) async fn change(&self, ask: &Ask, change: Change) -> Result<Reply, ApiError> {
        let named = (ask.key.clone(), ask.origin.clone(), ask.trace);
        let proposed = self.propose_once(&ask.actor(), change, named).await;
        match proposed.map_err(|error| api_error(&error))? {
            Reply::Refused(error) => Err(error),
            reply => Ok(reply),
        }
    }

    /// What the request was answered before, if it was: asked first where more than the replicated
    /// state decides about it.
    pub(crate) async fn answered(&self, ask: &Ask) -> Result<Option<Reply>, ApiError> {
        let Some(key) = &ask.key else { return Ok(None) };
        self.fresh().await?;
        let actor = ask.actor();
        self.node
            .read(|state| state.remembered(&actor, key).map(|found| found.cloned()))
            .transpose()
    }

    /// Makes sure that what is read next is not older than now.
    pub(crate) async fn fresh(&self) -> Result<(), ApiError> {
        self.node.linearizable().await.map_err(|error| api_error(&error))
    }

    /// Reads a pair's register from the witness. `Ok(None)`: it was never written.
    pub(crate) async fn read_register(&self, pair: &PairId) -> Result<Option<PairRecord>, String> {
        Ok(self.read_versioned(pair).await?.map(|(_, record)| record))
    }

    async fn read_versioned(&self, pair: &PairId) -> Result<Option<(Version, PairRecord)>, String> {
        let key = pair_key(pair);
        let read = tokio::time::timeout(REGISTER_TIMEOUT, self.register.read(&key)).await;
        let found = read
            .map_err(|_| format!("the witness did not answer within {REGISTER_TIMEOUT:?}"))?
            .map_err(|error| error.to_string())?;
        let Some(found) = found else { return Ok(None) };
        serde_json::from_slice(&found.value)
            .map(|record| Some((found.version, record)))
            .map_err(|error| format!("the register of {pair} does not parse: {error}"))
    }

    /// Writes `paused` into a pair's register and leaves everything else as it stands there (R14, R21).
    /// An unanswered write may have landed: who asks looks at the register again.
    pub(crate) async fn set_paused(
        &self,
        pair: &PairId,
        at_epoch: Epoch,
        paused: bool,
    ) -> Result<(), String> {
        let Some((version, record)) = self.read_versioned(pair).await? else {
            return Err("it was never written".into());
        };
        // Barred is only what was decided about; a pause is taken back whatever came since.
        if paused && record.epoch != at_epoch {
            return Err(format!("it is at epoch {} by now", record.epoch));
        }
        // Written also where it stands so already: that uses the version up, and with it every write
        // that was not answered (R9).
        let value = serde_json::to_vec(&PairRecord { paused, ..record })
            .map_err(|error| error.to_string())?;
        let key = pair_key(pair);
        let write = self.register.compare_and_swap(&key, version, value);
        match tokio::time::timeout(REGISTER_TIMEOUT, write).await {
            Ok(Ok(Answer::Accepted(_))) => Ok(()),
            Ok(Ok(_)) => Err("it changed meanwhile".into()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the witness did not answer within {REGISTER_TIMEOUT:?}")),
        }
    }

    /// Below which span a directive is carried out; `None` where nothing is told.
    pub(crate) fn trace_of(
        &self,
        operation: &Operation,
        sent: (&RegionId, &Order),
    ) -> Option<TraceContext> {
        let request = self.node.read(|state| state.trace(&operation.id));
        let place = Place::of(&self.traces, &operation.id, request)?;
        Some(directive_context(operation, place, sent))
    }

    /// The core as this node sees it.
    pub(crate) fn view(&self) -> CoreView {
        let leadership = self.leadership();
        let leader = leadership.leader_in_reach().cloned();
        let members = self
            .node
            .members()
            .into_iter()
            .map(|state| CoreNodeView {
                leader: leader.as_ref().is_some_and(|leader| leader.id == state.member.id),
                name: state.member.name,
                id: state.member.id,
                address: state.member.address,
                voter: state.voter,
            })
            .collect();
        let applied = *self.node.watch_applied().borrow();
        CoreView {
            node: self.config.name.clone(),
            leader: leader.map(|leader| leader.name),
            term: leadership.term,
            applied: (applied > 0).then_some(applied),
            members,
        }
    }
}

/// A name for a new operation.
pub(crate) fn new_operation_id() -> continuum_domain::OperationId {
    let text = format!("op-{}", seed::random_id(10));
    continuum_domain::OperationId::new(text).expect("a letter, then letters, digits and '-'")
}

/// What an API caller is told when nothing could be proposed or read.
pub(crate) fn api_error(error: &ProposeError) -> ApiError {
    match error {
        ProposeError::NotLeader { .. } | ProposeError::Unavailable(_) => {
            no_leader(&error.to_string())
        }
        ProposeError::Indeterminate(why) => ApiError::retryable(
            503,
            "outcome-unknown",
            format!(
                "whether the request took effect is not known ({why}); writes to PostgreSQL go on; \
                 look before repeating it"
            ),
        ),
        ProposeError::Refused(why) => {
            ApiError::new(422, "refused", format!("{why}; nothing was changed"))
        }
    }
}

/// No leader can be reached.
pub(crate) fn no_leader(why: &str) -> ApiError {
    ApiError::retryable(
        503,
        "no-leader",
        format!(
            "the control core has no leader that can be reached ({why}); writes to PostgreSQL go on, \
             agents fail over alone where their spec says so; ask again, or bring a majority of the \
             control nodes back"
        ),
    )
}
