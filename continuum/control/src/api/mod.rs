//! The REST API's meaning, on the leader. Routes and bodies are `continuum_control_api::routes`.

use std::sync::Arc;

use async_trait::async_trait;
use continuum_control_api::rest::{
    AddCoreNode, ApplyPair, AuditQuery, AuditRecord, AuditVerdict, AutomationPause, CoreView,
    FailoverRequest, OperationsQuery, PairView, PauseQuery, PauseRequest, ReasonBody, SpecVersion,
    Started, Status, SwitchoverRequest,
};
use continuum_control_api::routes::{Api, ApiError, Principal};
use continuum_domain::operation::Operation;
use continuum_domain::{OperationId, PairId};

use crate::core::{Core, api_error};
use crate::raft::Member;
use crate::state::{Change, Reply};
use crate::view::pair_view;

pub(crate) mod forward;
mod moves;

/// Records per page of the audit chain when the query names no number.
const AUDIT_PAGE: usize = 100;
/// Most records per page.
const AUDIT_PAGE_MAX: usize = 1_000;

/// The API's meaning.
pub(crate) struct Service {
    pub(crate) core: Arc<Core>,
}

fn pair_not_found(pair: &PairId) -> ApiError {
    ApiError::new(404, "pair-not-found", format!("there is no pair {pair}"))
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
    fn views(&self) -> Vec<PairView> {
        let (now, now_ms) = (self.core.clock.now(), self.core.now_ms());
        self.core.node.read(|state| {
            state
                .specs()
                .map(|pair| pair_view(state, &self.core.links, pair, (now, now_ms)))
                .collect()
        })
    }

    async fn note(&self, who: &Principal, action: &str, before: String) {
        let change = Change::Note {
            action: action.into(),
            reason: String::new(),
            before,
            after: members_text(&self.core.view()),
        };
        // The members changed already; a lost note is logged, not a reason to say they did not.
        if let Err(error) = self.core.propose(&who.0.to_string(), change).await {
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
    async fn pairs(&self) -> Result<Vec<PairView>, ApiError> {
        self.core.fresh().await?;
        Ok(self.views())
    }

    async fn pair(&self, pair: PairId) -> Result<PairView, ApiError> {
        self.core.fresh().await?;
        self.views()
            .into_iter()
            .find(|view| view.spec.id == pair)
            .ok_or_else(|| pair_not_found(&pair))
    }

    async fn apply_pair(
        &self,
        who: Principal,
        pair: PairId,
        body: ApplyPair,
    ) -> Result<SpecVersion, ApiError> {
        if body.spec.id != pair {
            let text = format!(
                "spec.id: is {}, but the path names {pair}; nothing was changed",
                body.spec.id
            );
            return Err(ApiError::new(422, "spec-refused", text));
        }
        let change = Change::ApplyPair { spec: body.spec, reason: body.reason };
        spec_version(self.core.change(&who.0.to_string(), change).await?)
    }

    async fn remove_pair(
        &self,
        who: Principal,
        pair: PairId,
        body: ReasonBody,
    ) -> Result<SpecVersion, ApiError> {
        let change = Change::RemovePair { pair, reason: body.reason };
        spec_version(self.core.change(&who.0.to_string(), change).await?)
    }

    async fn history(&self, pair: PairId) -> Result<Vec<SpecVersion>, ApiError> {
        self.core.fresh().await?;
        self.core
            .node
            .read(|state| state.pair(&pair).map(|known| known.versions.clone()))
            .ok_or_else(|| pair_not_found(&pair))
    }

    async fn switchover(
        &self,
        who: Principal,
        pair: PairId,
        body: SwitchoverRequest,
    ) -> Result<Started, ApiError> {
        moves::switchover(&self.core, &who, &pair, body).await
    }

    async fn failover(
        &self,
        who: Principal,
        pair: PairId,
        body: FailoverRequest,
    ) -> Result<Started, ApiError> {
        moves::failover(&self.core, &who, &pair, body).await
    }

    async fn operations(&self, query: OperationsQuery) -> Result<Vec<Operation>, ApiError> {
        self.core.fresh().await?;
        let mut found: Vec<Operation> = self.core.node.read(|state| {
            let wanted = |operation: &&Operation| {
                query.pair.as_ref().is_none_or(|pair| *pair == operation.pair)
            };
            state.operations().filter(wanted).cloned().collect()
        });
        found.sort_by(|a, b| (b.created_ms, &b.id).cmp(&(a.created_ms, &a.id)));
        Ok(found)
    }

    async fn operation(&self, id: OperationId) -> Result<Operation, ApiError> {
        self.core.fresh().await?;
        self.core.node.read(|state| state.operation(&id).cloned()).ok_or_else(|| {
            ApiError::new(404, "operation-not-found", format!("there is no operation {id}"))
        })
    }

    async fn cancel(
        &self,
        who: Principal,
        operation: OperationId,
        body: ReasonBody,
    ) -> Result<Operation, ApiError> {
        let change = Change::Cancel { operation, reason: body.reason };
        operation_of(self.core.change(&who.0.to_string(), change).await?)
    }

    async fn approve(
        &self,
        who: Principal,
        operation: OperationId,
        body: ReasonBody,
    ) -> Result<Operation, ApiError> {
        let change = Change::Approve { operation, reason: body.reason };
        operation_of(self.core.change(&who.0.to_string(), change).await?)
    }

    async fn pauses(&self) -> Result<Vec<AutomationPause>, ApiError> {
        self.core.fresh().await?;
        let now_ms = self.core.now_ms();
        Ok(self.core.node.read(|state| state.pauses(now_ms)))
    }

    async fn pause(&self, who: Principal, body: PauseRequest) -> Result<AutomationPause, ApiError> {
        let change = Change::Pause { pair: body.pair, reason: body.reason, for_ms: body.for_ms };
        match self.core.change(&who.0.to_string(), change).await? {
            Reply::Pause(pause) => Ok(pause),
            other => Err(unexpected(&other)),
        }
    }

    async fn resume(
        &self,
        who: Principal,
        query: PauseQuery,
        body: ReasonBody,
    ) -> Result<Vec<AutomationPause>, ApiError> {
        let change = Change::Resume { pair: query.pair, reason: body.reason };
        self.core.change(&who.0.to_string(), change).await?;
        let now_ms = self.core.now_ms();
        Ok(self.core.node.read(|state| state.pauses(now_ms)))
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRecord>, ApiError> {
        let limit = query.limit.unwrap_or(AUDIT_PAGE);
        if !(1..=AUDIT_PAGE_MAX).contains(&limit) {
            let text = format!("limit: 1 to {AUDIT_PAGE_MAX} is accepted");
            return Err(ApiError::new(400, "query-refused", text));
        }
        self.core.fresh().await?;
        let wanted = |record: &&AuditRecord| query.pair.is_none() || record.pair == query.pair;
        Ok(self.core.node.read(|state| match query.after {
            Some(after) => state
                .audit()
                .filter(|record| record.index > after)
                .filter(wanted)
                .take(limit)
                .cloned()
                .collect(),
            None => {
                let mut newest: Vec<_> =
                    state.audit().rev().filter(wanted).take(limit).cloned().collect();
                newest.reverse();
                newest
            }
        }))
    }

    async fn verify_audit(&self) -> Result<AuditVerdict, ApiError> {
        self.core.fresh().await?;
        Ok(self.core.node.read(|state| state.verify_audit()))
    }

    async fn status(&self) -> Result<Status, ApiError> {
        self.core.fresh().await?;
        let now_ms = self.core.now_ms();
        let (automation, operations) = self
            .core
            .node
            .read(|state| (state.pauses(now_ms), state.unfinished().cloned().collect::<Vec<_>>()));
        Ok(Status { core: self.core.view(), pairs: self.views(), automation, operations })
    }

    async fn core(&self) -> Result<CoreView, ApiError> {
        Ok(self.core.view())
    }

    async fn add_node(&self, who: Principal, body: AddCoreNode) -> Result<CoreView, ApiError> {
        let before = members_text(&self.core.view());
        let member = Member {
            id: body.id,
            name: body.name,
            address: body.address,
            api_address: body.api_address,
        };
        self.core.node.add_member(member).await.map_err(|error| api_error(&error))?;
        self.note(&who, "core.add-member", before).await;
        Ok(self.core.view())
    }

    async fn remove_node(&self, who: Principal, id: u64) -> Result<CoreView, ApiError> {
        let before = members_text(&self.core.view());
        self.core.node.remove_member(id).await.map_err(|error| api_error(&error))?;
        self.note(&who, "core.remove-member", before).await;
        Ok(self.core.view())
    }
}
