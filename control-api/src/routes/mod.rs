//! The routes of `/api/v1`: what is accepted at which path. What it means is behind [`Api`].
//!
//! One table says what there is; the router and the OpenAPI document are made from it, so that
//! neither can know a route that the other does not. Every error answer is a [`Problem`] with a
//! stable code.
//!
//! [`Problem`]: crate::problem::Problem

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use continuum_domain::operation::Operation;
use continuum_domain::{OperationId, PairId};
use futures_util::Stream;

use crate::approvals::Awaiting;
use crate::ask::Ask;
pub use crate::problem::{ApiError, ErrorCode};
use crate::rest::{
    AddCoreNode, Applied, ApplyPair, ApplyQuery, AuditQuery, AuditRecord, AuditVerdict,
    AutomationPause, CoreView, DiffQuery, ExportQuery, FailbackRequest, FailoverRequest, Fleet,
    FleetQuery, HistoryEntry, HistoryQuery, LeaseView, OperationsQuery, Page, PairView, PairsQuery,
    PausePairRequest, PauseQuery, PauseRequest, ReasonBody, RegionView, RejoinRequest,
    ResumePairRequest, RollbackRequest, SpecDiff, SpecVersion, Started, Status, SwitchoverRequest,
    VerifyQuery,
};

use crate::sinks::{DeadLetter, SinkRetried, SinkTested, SinkView};

mod access;
mod approvals;
mod endpoint;
mod extract;
mod handlers;
mod needs;
#[cfg(test)]
mod needs_tests;
mod sse;
mod table;

pub use access::AccessApi;
pub use approvals::ApprovalApi;
pub use endpoint::{Answer, Endpoint};
pub use extract::{IDEMPOTENCY_KEY, Principal, Sight, request_key};
pub use needs::{Asked, Demand, Need, Place, Target, demands, needs, verb};
pub use sse::event;
pub use table::endpoints;

/// Largest request body.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Records of the audit chain as they are made, in order and without a gap, each as [`event`] writes it.
/// A piece holds one or more whole ones.
pub type Events = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// An export on its way: media type, and its text piece by piece.
pub struct Export {
    /// Media type.
    pub media: &'static str,
    /// The text.
    pub text: Pin<Box<dyn Stream<Item = Result<Bytes, std::io::Error>> + Send>>,
}

/// What the API does. Implemented by the control core's leader.
#[async_trait]
pub trait Api: AccessApi + ApprovalApi + Send + Sync + 'static {
    /// Pairs, by name.
    async fn pairs(&self, sight: &Sight, query: PairsQuery) -> Result<Page<PairView>, ApiError>;
    /// One pair.
    async fn pair(&self, pair: PairId) -> Result<PairView, ApiError>;
    /// Creates or changes a pair, or says what would change.
    async fn apply_pair(
        &self,
        ask: Ask,
        pair: PairId,
        query: ApplyQuery,
        body: ApplyPair,
    ) -> Result<Applied, ApiError>;
    /// Removes a pair's spec; its members and data are left alone.
    async fn remove_pair(
        &self,
        ask: Ask,
        pair: PairId,
        body: ReasonBody,
    ) -> Result<SpecVersion, ApiError>;
    /// All versions of a pair's spec, oldest first.
    async fn versions(&self, pair: PairId) -> Result<Vec<SpecVersion>, ApiError>;
    /// What differs between two versions.
    async fn diff(&self, pair: PairId, query: DiffQuery) -> Result<SpecDiff, ApiError>;
    /// Changes of holder, newest first.
    async fn history(
        &self,
        pair: PairId,
        query: HistoryQuery,
    ) -> Result<Vec<HistoryEntry>, ApiError>;
    /// Makes an older version's spec the newest.
    async fn roll_back(
        &self,
        ask: Ask,
        pair: PairId,
        body: RollbackRequest,
    ) -> Result<SpecVersion, ApiError>;
    /// Starts or plans a switchover.
    async fn switchover(
        &self,
        ask: Ask,
        pair: PairId,
        body: SwitchoverRequest,
    ) -> Result<Started, ApiError>;
    /// Starts or plans a failover that a person orders.
    async fn failover(
        &self,
        ask: Ask,
        pair: PairId,
        body: FailoverRequest,
    ) -> Result<Started, ApiError>;
    /// Plans or starts a switchover to where the pair belongs.
    async fn failback(
        &self,
        ask: Ask,
        pair: PairId,
        body: FailbackRequest,
    ) -> Result<Started, ApiError>;
    /// Plans or starts a pause of the pair itself.
    async fn pause_pair(
        &self,
        ask: Ask,
        pair: PairId,
        body: PausePairRequest,
    ) -> Result<Started, ApiError>;
    /// Plans or starts the end of a pause.
    async fn resume_pair(
        &self,
        ask: Ask,
        pair: PairId,
        body: ResumePairRequest,
    ) -> Result<Started, ApiError>;
    /// Plans or starts that a member rejoins at once.
    async fn rejoin(
        &self,
        ask: Ask,
        pair: PairId,
        body: RejoinRequest,
    ) -> Result<Started, ApiError>;
    /// Operations, newest first.
    async fn operations(
        &self,
        sight: &Sight,
        query: OperationsQuery,
    ) -> Result<Page<Operation>, ApiError>;
    /// One operation.
    async fn operation(&self, operation: OperationId) -> Result<Operation, ApiError>;
    /// Asks for an operation to be cancelled.
    async fn cancel(
        &self,
        ask: Ask,
        operation: OperationId,
        body: ReasonBody,
    ) -> Result<Operation, ApiError>;
    /// Approves an operation that waits for it.
    async fn approve(
        &self,
        ask: Ask,
        operation: OperationId,
        body: ReasonBody,
    ) -> Result<Operation, ApiError>;
    /// Requests and operations that wait for an approval.
    async fn approvals(&self, sight: &Sight) -> Result<Vec<Awaiting>, ApiError>;
    /// Pauses of automation in force.
    async fn pauses(&self, sight: &Sight) -> Result<Vec<AutomationPause>, ApiError>;
    /// Pauses automation.
    async fn pause(&self, ask: Ask, body: PauseRequest) -> Result<AutomationPause, ApiError>;
    /// Ends a pause; the pauses still in force.
    async fn resume(
        &self,
        ask: Ask,
        query: PauseQuery,
        body: ReasonBody,
    ) -> Result<Vec<AutomationPause>, ApiError>;
    /// A page of the audit chain.
    async fn audit(&self, sight: &Sight, query: AuditQuery) -> Result<Vec<AuditRecord>, ApiError>;
    /// Verifies the audit chain, and the archive of the node that is asked.
    async fn verify_audit(&self, query: VerifyQuery) -> Result<AuditVerdict, ApiError>;
    /// Audit records of any age. Answered by any node, from its own archive and what it has applied.
    async fn export_audit(&self, query: ExportQuery) -> Result<Export, ApiError>;
    /// The records after a position as they are made; from now on where there is none. Answered by
    /// any node, from what it has applied.
    async fn events(
        &self,
        sight: Sight,
        pair: Option<PairId>,
        after: Option<u64>,
    ) -> Result<Events, ApiError>;
    /// Where audit records are sent to, and how that goes.
    async fn sinks(&self) -> Result<Vec<SinkView>, ApiError>;
    /// What a sink refused for good, oldest first.
    async fn dead_letters(&self, sink: String) -> Result<Vec<DeadLetter>, ApiError>;
    /// Sends a sink's dead letters again.
    async fn retry_dead_letters(&self, ask: Ask, sink: String) -> Result<SinkRetried, ApiError>;
    /// Sends a sink a test event.
    async fn test_sink(&self, ask: Ask, sink: String) -> Result<SinkTested, ApiError>;
    /// Everything at a glance.
    async fn status(&self, sight: &Sight) -> Result<Status, ApiError>;
    /// How all pairs stand.
    async fn fleet(&self, sight: &Sight, query: FleetQuery) -> Result<Fleet, ApiError>;
    /// Who holds what.
    async fn leases(&self, sight: &Sight) -> Result<Vec<LeaseView>, ApiError>;
    /// All regions.
    async fn regions(&self, sight: &Sight) -> Result<Vec<RegionView>, ApiError>;
    /// The core as the answering node sees it.
    async fn core(&self) -> Result<CoreView, ApiError>;
    /// Adds a control node.
    async fn add_node(&self, ask: Ask, body: AddCoreNode) -> Result<CoreView, ApiError>;
    /// Removes a control node.
    async fn remove_node(&self, ask: Ask, id: u64) -> Result<CoreView, ApiError>;
}

type Handle = State<Arc<dyn Api>>;

/// The router of all routes below [`crate::rest::API`].
pub fn router(api: Arc<dyn Api>) -> Router {
    let routes = endpoints()
        .into_iter()
        .fold(Router::new(), |router, endpoint| router.route(endpoint.path, endpoint.handler));
    Router::new()
        .nest(crate::rest::API, routes)
        .fallback(handlers::no_route)
        .method_not_allowed_fallback(handlers::no_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}
