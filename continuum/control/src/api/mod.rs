//! The REST API's meaning, on the leader. Routes and bodies are `continuum_control_api::routes`.

use std::sync::Arc;

use async_trait::async_trait;
use continuum_control_api::approvals::Awaiting;
use continuum_control_api::ask::Ask;
use continuum_control_api::rest::{
    AddCoreNode, Applied, ApplyPair, ApplyQuery, AuditQuery, AuditRecord, AuditVerdict,
    AutomationPause, CoreView, DiffQuery, ExportQuery, FailbackRequest, FailoverRequest, Fleet,
    FleetQuery, HistoryEntry, HistoryQuery, LeaseView, OperationsQuery, Page, PairView, PairsQuery,
    PausePairRequest, PauseQuery, PauseRequest, ReasonBody, RegionView, RejoinRequest,
    ResumePairRequest, RollbackRequest, SpecDiff, SpecVersion, Started, Status, SwitchoverRequest,
    VerifyQuery,
};
use continuum_control_api::routes::{Api, ApiError, Events, Export, Sight};
use continuum_control_api::sinks::{DeadLetter, SinkRetried, SinkTested, SinkView};
use continuum_control_api::spec_diff;
use continuum_domain::operation::Operation;
use continuum_domain::{OperationId, PairId};

use crate::core::{Core, api_error};
use crate::outbox::view as sinks;
use crate::raft::Member;
use crate::state::{Change, Reply, version_not_found};

mod access;
mod approvals;
pub(crate) mod door;
mod events;
mod export;
pub(crate) mod fanout;
pub(crate) mod forward;
mod gate;
pub(crate) mod grpc;
mod look;
mod moves;
pub(crate) mod oidc;
mod origin;
mod pseudonym;
mod verify;

/// The API's meaning.
pub(crate) struct Service {
    pub(crate) core: Arc<Core>,
}

fn pair_not_found(pair: &PairId) -> ApiError {
    ApiError::new(404, "pair-not-found", format!("there is no pair {pair}"))
}

fn operation_not_found(id: &OperationId) -> ApiError {
    ApiError::new(404, "operation-not-found", format!("there is no operation {id}"))
}

/// A reply of another kind than the change calls for: a bug, told as one.
fn unexpected(reply: &Reply) -> ApiError {
    ApiError::new(
        500,
        "internal",
        format!("the change was answered with {reply}; please report it"),
    )
}

fn spec_version(reply: Reply) -> Result<SpecVersion, ApiError> {
    match reply {
        Reply::Pair(version) => Ok(version),
        other => Err(unexpected(&other)),
    }
}

fn operation_of(reply: Reply) -> Result<Operation, ApiError> {
    match reply {
        Reply::Operation(operation) => Ok(operation),
        other => Err(unexpected(&other)),
    }
}

impl Service {
    async fn note(&self, ask: &Ask, action: &str, before: String) {
        let change = Change::Note {
            action: action.into(),
            reason: String::new(),
            before,
            after: members_text(&self.core.view()),
        };
        // The members changed already; a lost note is logged, not a reason to say they did not.
        if let Err(error) = self.core.change(ask, change).await {
            tracing::warn!(%error, action, "the change of members could not be audited");
        }
    }
}

fn members_text(view: &CoreView) -> String {
    let names: Vec<_> =
        view.members.iter().map(|node| format!("{}={}", node.name, node.id)).collect();
    names.join(", ")
}

#[async_trait]
impl Api for Service {
    async fn pairs(&self, sight: &Sight, query: PairsQuery) -> Result<Page<PairView>, ApiError> {
        self.core.fresh().await?;
        look::pairs(&self.core, &sight.power, &query)
    }

    async fn pair(&self, pair: PairId) -> Result<PairView, ApiError> {
        self.core.fresh().await?;
        look::pair(&self.core, &pair).ok_or_else(|| pair_not_found(&pair))
    }

    async fn apply_pair(
        &self,
        ask: Ask,
        pair: PairId,
        query: ApplyQuery,
        body: ApplyPair,
    ) -> Result<Applied, ApiError> {
        if body.spec.id != pair {
            let text = format!(
                "spec.id: is {}, but the path names {pair}; nothing was changed",
                body.spec.id
            );
            return Err(ApiError::new(422, "spec-refused", text));
        }
        if query.dry_run {
            self.core.fresh().await?;
            let differs = |state: &crate::state::CoreState| {
                state.check_spec(&body.spec)?;
                let (version, old) = state.spec(&pair).unzip();
                Ok(spec_diff::diff((version, old), (None, Some(&body.spec))))
            };
            return self.core.node.read(differs).map(Applied::Diff);
        }
        let (spec, reason, condition) = (body.spec, body.reason, ask.condition);
        let change = Change::ApplyPair { spec, reason, condition };
        spec_version(self.core.change(&ask, change).await?)
            .map(|version| Applied::Version(Box::new(version)))
    }

    async fn remove_pair(
        &self,
        ask: Ask,
        pair: PairId,
        body: ReasonBody,
    ) -> Result<SpecVersion, ApiError> {
        let change = Change::RemovePair { pair, reason: body.reason, condition: ask.condition };
        spec_version(self.core.change(&ask, change).await?)
    }

    async fn versions(&self, pair: PairId) -> Result<Vec<SpecVersion>, ApiError> {
        self.core.fresh().await?;
        self.core
            .node
            .read(|state| state.pair(&pair).map(|known| known.versions.clone()))
            .ok_or_else(|| pair_not_found(&pair))
    }

    async fn history(
        &self,
        pair: PairId,
        query: HistoryQuery,
    ) -> Result<Vec<HistoryEntry>, ApiError> {
        let limit = look::limit(query.limit)?;
        self.core.fresh().await?;
        self.core.node.read(|state| {
            let known = state.pair(&pair).ok_or_else(|| pair_not_found(&pair))?;
            Ok(known.history().take(limit).collect())
        })
    }

    async fn diff(&self, pair: PairId, query: DiffQuery) -> Result<SpecDiff, ApiError> {
        let versions = self.versions(pair.clone()).await?;
        let newest = versions.last().map_or(0, |last| last.version);
        let find = |wanted: u64| {
            let found = versions.iter().find(|one| one.version == wanted);
            found.ok_or_else(|| version_not_found(&pair, wanted))
        };
        let (from, to) = (find(query.from)?, find(query.to.unwrap_or(newest))?);
        let side = |version: &'_ SpecVersion| Some(version.version);
        Ok(spec_diff::diff((side(from), from.spec.as_ref()), (side(to), to.spec.as_ref())))
    }

    async fn roll_back(
        &self,
        ask: Ask,
        pair: PairId,
        body: RollbackRequest,
    ) -> Result<SpecVersion, ApiError> {
        let RollbackRequest { version, reason } = body;
        let change = Change::RollBack { pair, version, reason, condition: ask.condition };
        spec_version(self.core.change(&ask, change).await?)
    }

    async fn switchover(
        &self,
        ask: Ask,
        pair: PairId,
        body: SwitchoverRequest,
    ) -> Result<Started, ApiError> {
        moves::switchover(&self.core, &ask, &pair, body).await
    }

    async fn failover(
        &self,
        ask: Ask,
        pair: PairId,
        body: FailoverRequest,
    ) -> Result<Started, ApiError> {
        moves::failover(&self.core, &ask, &pair, body).await
    }

    async fn failback(
        &self,
        ask: Ask,
        pair: PairId,
        body: FailbackRequest,
    ) -> Result<Started, ApiError> {
        moves::failback(&self.core, &ask, &pair, body).await
    }

    async fn pause_pair(
        &self,
        ask: Ask,
        pair: PairId,
        body: PausePairRequest,
    ) -> Result<Started, ApiError> {
        moves::pause_pair(&self.core, &ask, &pair, body).await
    }

    async fn resume_pair(
        &self,
        ask: Ask,
        pair: PairId,
        body: ResumePairRequest,
    ) -> Result<Started, ApiError> {
        moves::resume_pair(&self.core, &ask, &pair, body).await
    }

    async fn rejoin(
        &self,
        ask: Ask,
        pair: PairId,
        body: RejoinRequest,
    ) -> Result<Started, ApiError> {
        moves::rejoin(&self.core, &ask, &pair, body).await
    }

    async fn operations(
        &self,
        sight: &Sight,
        query: OperationsQuery,
    ) -> Result<Page<Operation>, ApiError> {
        self.core.fresh().await?;
        look::operations(&self.core, &sight.power, &query)
    }

    async fn operation(&self, id: OperationId) -> Result<Operation, ApiError> {
        self.core.fresh().await?;
        self.core
            .node
            .read(|state| state.operation(&id).cloned())
            .ok_or_else(|| operation_not_found(&id))
    }

    async fn cancel(
        &self,
        ask: Ask,
        operation: OperationId,
        body: ReasonBody,
    ) -> Result<Operation, ApiError> {
        let change = Change::Cancel { operation, reason: body.reason };
        operation_of(self.core.change(&ask, change).await?)
    }

    async fn approve(
        &self,
        ask: Ask,
        operation: OperationId,
        body: ReasonBody,
    ) -> Result<Operation, ApiError> {
        let change = Change::Approve { operation, reason: body.reason };
        operation_of(self.core.change(&ask, change).await?)
    }

    async fn approvals(&self, sight: &Sight) -> Result<Vec<Awaiting>, ApiError> {
        self.core.fresh().await?;
        Ok(self.awaiting(&sight.power))
    }

    async fn pauses(&self, sight: &Sight) -> Result<Vec<AutomationPause>, ApiError> {
        self.core.fresh().await?;
        Ok(look::pauses(&self.core, &sight.power))
    }

    async fn pause(&self, ask: Ask, body: PauseRequest) -> Result<AutomationPause, ApiError> {
        let change = Change::Pause { pair: body.pair, reason: body.reason, for_ms: body.for_ms };
        match self.core.change(&ask, change).await? {
            Reply::Pause(pause) => Ok(pause),
            other => Err(unexpected(&other)),
        }
    }

    async fn resume(
        &self,
        ask: Ask,
        query: PauseQuery,
        body: ReasonBody,
    ) -> Result<Vec<AutomationPause>, ApiError> {
        let change = Change::Resume { pair: query.pair, reason: body.reason };
        self.core.change(&ask, change).await?;
        let power = self.core.power(&ask.who)?;
        Ok(look::pauses(&self.core, &power))
    }

    async fn audit(&self, sight: &Sight, query: AuditQuery) -> Result<Vec<AuditRecord>, ApiError> {
        let limit = look::limit(query.limit)?;
        self.core.fresh().await?;
        let of_pair = |record: &AuditRecord| query.pair.is_none() || record.pair == query.pair;
        self.core.node.read(|state| {
            let wanted = |record: &&AuditRecord| {
                of_pair(record) && events::is_seen(state, &sight.power, record)
            };
            match query.after {
                Some(after) => {
                    let records =
                        state.audit_after(after).map_err(|first| events::dropped(after, first))?;
                    Ok(records.filter(wanted).take(limit).cloned().collect())
                }
                None => {
                    let mut newest: Vec<_> =
                        state.audit().rev().filter(wanted).take(limit).cloned().collect();
                    newest.reverse();
                    Ok(newest)
                }
            }
        })
    }

    async fn verify_audit(&self, query: VerifyQuery) -> Result<AuditVerdict, ApiError> {
        verify::run(&self.core, query).await
    }

    async fn export_audit(&self, query: ExportQuery) -> Result<Export, ApiError> {
        export::begin(&self.core, query).await
    }

    async fn events(
        &self,
        sight: Sight,
        pair: Option<PairId>,
        after: Option<u64>,
    ) -> Result<Events, ApiError> {
        events::follow(&self.core, sight, pair, after)
    }

    async fn sinks(&self) -> Result<Vec<SinkView>, ApiError> {
        self.core.fresh().await?;
        Ok(sinks::all(&self.core))
    }

    async fn dead_letters(&self, sink: String) -> Result<Vec<DeadLetter>, ApiError> {
        self.core.fresh().await?;
        sinks::dead_letters(&self.core, &sink)
    }

    async fn retry_dead_letters(&self, ask: Ask, sink: String) -> Result<SinkRetried, ApiError> {
        sinks::retry(&self.core, &ask, &sink).await
    }

    async fn test_sink(&self, ask: Ask, sink: String) -> Result<SinkTested, ApiError> {
        sinks::test(&self.core, &ask, &sink).await
    }

    async fn status(&self, sight: &Sight) -> Result<Status, ApiError> {
        self.core.fresh().await?;
        let (core, power) = (&self.core, &sight.power);
        let operations = core.node.read(|state| {
            let seen = |operation: &&Operation| look::sees(state, power, &operation.pair);
            state.unfinished().filter(seen).cloned().collect()
        });
        let automation = look::pauses(core, power);
        let (view, pairs, break_glass) = (core.view(), look::all(core, power), self.all_glass());
        Ok(Status { core: view, pairs, automation, operations, break_glass })
    }

    async fn fleet(&self, sight: &Sight, query: FleetQuery) -> Result<Fleet, ApiError> {
        self.core.fresh().await?;
        look::fleet(&self.core, &sight.power, &query)
    }

    async fn leases(&self, sight: &Sight) -> Result<Vec<LeaseView>, ApiError> {
        self.core.fresh().await?;
        Ok(look::leases(&self.core, &sight.power))
    }

    async fn regions(&self, sight: &Sight) -> Result<Vec<RegionView>, ApiError> {
        self.core.fresh().await?;
        Ok(look::regions(&self.core, &sight.power))
    }

    async fn core(&self) -> Result<CoreView, ApiError> {
        Ok(self.core.view())
    }

    async fn add_node(&self, ask: Ask, body: AddCoreNode) -> Result<CoreView, ApiError> {
        if self.core.answered(&ask).await?.is_some() {
            return Ok(self.core.view());
        }
        let before = members_text(&self.core.view());
        let member = Member {
            id: body.id,
            name: body.name,
            address: body.address,
            api_address: body.api_address,
        };
        self.core.node.add_member(member).await.map_err(|error| api_error(&error))?;
        self.note(&ask, "core.add-member", before).await;
        Ok(self.core.view())
    }

    async fn remove_node(&self, ask: Ask, id: u64) -> Result<CoreView, ApiError> {
        if self.core.answered(&ask).await?.is_some() {
            return Ok(self.core.view());
        }
        let before = members_text(&self.core.view());
        self.core.node.remove_member(id).await.map_err(|error| api_error(&error))?;
        self.note(&ask, "core.remove-member", before).await;
        Ok(self.core.view())
    }
}
