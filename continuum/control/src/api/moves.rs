//! Starting moves: plan on fresh facts, then propose.

use continuum_control_api::ask::Ask;
use continuum_control_api::rest::{
    FailbackRequest, FailoverRequest, PausePairRequest, Plan, RejoinRequest, ResumePairRequest,
    Started, SwitchoverRequest,
};
use continuum_control_api::routes::ApiError;
use continuum_domain::access::LOUD;
use continuum_domain::operation::{Operation, OperationKind};
use continuum_domain::sequence::TRIGGER_ORDERED;
use continuum_domain::spec::PairSpec;
use continuum_domain::{Epoch, PairId, PairRecord, RegionId};

use super::{operation_of, pair_not_found};
use crate::core::{Core, new_operation_id};
use crate::plan::{self, Inputs, Wish};
use crate::state::Change;
use crate::view::Reports;
use crate::{rejoin, rest};

pub(super) async fn switchover(
    core: &Core,
    ask: &Ask,
    pair: &PairId,
    body: SwitchoverRequest,
) -> Result<Started, ApiError> {
    if let Some(operation) = answered(core, ask).await? {
        return Ok(Started::Operation(operation));
    }
    let looked = look(core, pair, &body.to, Wish::Switchover(body.method), &ask.actor()).await?;
    if body.dry_run {
        return Ok(Started::Plan(looked.plan));
    }
    if let Some(running) = looked.same {
        return Ok(Started::Operation(running));
    }
    let (Some(record), Some(from), true) = (&looked.record, &looked.plan.from, looked.plan.allowed)
    else {
        return Err(refused(&move_to(&looked.plan), &looked.plan));
    };
    let method = looked.plan.method.unwrap_or_default();
    let kind = OperationKind::Switchover { from: from.clone(), to: body.to, method };
    start(core, ask, (pair, kind, record.epoch), body.reason).await
}

pub(super) async fn failover(
    core: &Core,
    ask: &Ask,
    pair: &PairId,
    body: FailoverRequest,
) -> Result<Started, ApiError> {
    if let Some(operation) = answered(core, ask).await? {
        return Ok(Started::Operation(operation));
    }
    let wish = Wish::Failover { allow_data_loss: body.allow_data_loss, loss_epoch: body.epoch };
    let looked = look(core, pair, &body.to, wish, &ask.actor()).await?;
    if body.dry_run {
        return Ok(Started::Plan(looked.plan));
    }
    if let Some(running) = looked.same {
        return Ok(Started::Operation(running));
    }
    let (Some(record), true) = (&looked.record, looked.plan.allowed) else {
        return Err(refused(&move_to(&looked.plan), &looked.plan));
    };
    // Without a loss the epoch may be left out; where it is named, it counts.
    if let Some(named) = body.epoch.filter(|named| *named != record.epoch) {
        let text = format!(
            "epoch {named} is not the pair's (it is at {}); nothing was changed; look and ask again",
            record.epoch
        );
        return Err(ApiError::new(409, "epoch-mismatch", text));
    }
    let kind = OperationKind::Failover {
        from: looked.plan.from.clone(),
        to: body.to,
        trigger: TRIGGER_ORDERED.into(),
        autonomous: false,
        allow_data_loss: body.allow_data_loss,
    };
    start(core, ask, (pair, kind, record.epoch), body.reason).await
}

/// A switchover to the member that the spec prefers.
pub(super) async fn failback(
    core: &Core,
    ask: &Ask,
    pair: &PairId,
    body: FailbackRequest,
) -> Result<Started, ApiError> {
    core.fresh().await?;
    let home = core.node.read(|state| state.spec(pair).map(|(_, spec)| home(spec)));
    let to = home.ok_or_else(|| pair_not_found(pair))?;
    let FailbackRequest { method, dry_run, reason } = body;
    switchover(core, ask, pair, SwitchoverRequest { to, method, dry_run, reason }).await
}

/// The member of the highest priority; among equals the first primary.
fn home(spec: &PairSpec) -> RegionId {
    let first = |region: &RegionId| *region == spec.first_primary;
    let best = spec.members.iter().max_by_key(|(region, member)| (member.priority, first(region)));
    best.map_or_else(|| spec.first_primary.clone(), |(region, _)| region.clone())
}

pub(super) async fn pause_pair(
    core: &Core,
    ask: &Ask,
    pair: &PairId,
    body: PausePairRequest,
) -> Result<Started, ApiError> {
    let wish = |inputs: &Inputs<'_>| {
        let from = inputs.register.and_then(|record| record.holder.as_ref());
        (rest::pause(inputs, from), from.map(|from| OperationKind::Pause { from: from.clone() }))
    };
    stand(core, ask, pair, (body.dry_run, body.reason, "the pause"), wish).await
}

pub(super) async fn resume_pair(
    core: &Core,
    ask: &Ask,
    pair: &PairId,
    body: ResumePairRequest,
) -> Result<Started, ApiError> {
    let wish = |inputs: &Inputs<'_>| {
        let plan = rest::resume(inputs, body.to.as_ref());
        let to = plan.to.clone();
        (plan, Some(OperationKind::Resume { to }))
    };
    stand(core, ask, pair, (body.dry_run, body.reason, "the resume"), wish).await
}

pub(super) async fn rejoin(
    core: &Core,
    ask: &Ask,
    pair: &PairId,
    body: RejoinRequest,
) -> Result<Started, ApiError> {
    let RejoinRequest { region, method, dry_run, reason } = body;
    let what = format!("the rejoin of {region}");
    let wish = |inputs: &Inputs<'_>| {
        let plan = rejoin::plan(inputs, &region, method);
        (plan, Some(OperationKind::Rejoin { region, method }))
    };
    stand(core, ask, pair, (dry_run, reason, &what), wish).await
}

/// Plans or starts what stops a pair, starts it again, or brings a member back.
async fn stand(
    core: &Core,
    ask: &Ask,
    pair: &PairId,
    (dry_run, reason, what): (bool, String, &str),
    wish: impl FnOnce(&Inputs<'_>) -> (Plan, Option<OperationKind>),
) -> Result<Started, ApiError> {
    if let Some(operation) = answered(core, ask).await? {
        return Ok(Started::Operation(operation));
    }
    let seen = see(core, pair).await?;
    let (plan, kind) = wish(&seen.inputs(core));
    if dry_run {
        return Ok(Started::Plan(plan));
    }
    let same = seen.running.filter(|running| {
        Some(&running.kind) == kind.as_ref()
            && quiet(&running.actor) == ask.actor()
            && !running.cancel_requested
    });
    if let Some(running) = same {
        return Ok(Started::Operation(running));
    }
    match (&seen.record, kind, plan.allowed) {
        (Some(record), Some(kind), true) => {
            start(core, ask, (pair, kind, record.epoch), reason).await
        }
        _ => Err(refused(what, &plan)),
    }
}

/// The operation that the same request started before, as it stands now.
async fn answered(core: &Core, ask: &Ask) -> Result<Option<Operation>, ApiError> {
    let Some(reply) = core.answered(ask).await? else { return Ok(None) };
    let then = operation_of(reply)?;
    let now = core.node.read(|state| state.operation(&then.id).cloned());
    Ok(Some(now.unwrap_or(then)))
}

/// An actor without the mark of broken glass.
fn quiet(actor: &str) -> &str {
    actor.strip_suffix(LOUD).unwrap_or(actor)
}

/// A pair as it stands now.
struct Seen {
    record: Option<PairRecord>,
    spec: PairSpec,
    running: Option<Operation>,
    reports: Reports,
}

impl Seen {
    fn inputs<'a>(&'a self, core: &'a Core) -> Inputs<'a> {
        Inputs {
            spec: &self.spec,
            register: self.record.as_ref(),
            reports: &self.reports,
            links: &core.links,
            under_way: self.running.as_ref().map(|operation| &operation.id),
        }
    }
}

async fn see(core: &Core, pair: &PairId) -> Result<Seen, ApiError> {
    let read = core.read_register(pair).await;
    if let Err(error) = &read {
        tracing::warn!(%pair, %error, "register not read for a plan");
    }
    let record = read.ok().flatten();
    let epoch = record.as_ref().map_or(Epoch(0), |record| record.epoch);
    core.fresh().await?;
    let found = core.node.read(|state| {
        let (_, spec) = state.spec(pair)?;
        Some((spec.clone(), state.barring(pair, epoch).cloned()))
    });
    let (spec, running) = found.ok_or_else(|| pair_not_found(pair))?;
    let reports = Reports::collect(&core.links, pair, &spec, core.clock.now());
    Ok(Seen { record, spec, running, reports })
}

struct Looked {
    plan: Plan,
    record: Option<PairRecord>,
    /// The same request's operation, when the answer to it was lost.
    same: Option<Operation>,
}

async fn look(
    core: &Core,
    pair: &PairId,
    to: &RegionId,
    wish: Wish,
    actor: &str,
) -> Result<Looked, ApiError> {
    let seen = see(core, pair).await?;
    let plan = plan::plan(&seen.inputs(core), to, wish);
    let Seen { record, running, .. } = seen;
    let same = running.filter(|running| {
        let same_move = match (&running.kind, wish) {
            (OperationKind::Switchover { to: running_to, method, .. }, Wish::Switchover(asked)) => {
                running_to == to && asked.is_none_or(|asked| asked == *method)
            }
            (
                OperationKind::Failover { to: running_to, trigger, allow_data_loss, .. },
                Wish::Failover { allow_data_loss: asked, .. },
            ) => running_to == to && trigger == TRIGGER_ORDERED && *allow_data_loss == asked,
            _ => false,
        };
        same_move && quiet(&running.actor) == actor && !running.cancel_requested
    });
    Ok(Looked { plan, record, same })
}

async fn start(
    core: &Core,
    ask: &Ask,
    (pair, kind, at_epoch): (&PairId, OperationKind, Epoch),
    reason: String,
) -> Result<Started, ApiError> {
    let change =
        Change::Start { id: new_operation_id(), pair: pair.clone(), kind, at_epoch, reason };
    let reply = core.change(ask, change).await?;
    Ok(Started::Operation(operation_of(reply)?))
}

fn move_to(plan: &Plan) -> String {
    format!("the move to {}", plan.to)
}

fn refused(what: &str, plan: &Plan) -> ApiError {
    let text = format!("{what} is refused; nothing was touched; see the reasons, and a dry run");
    ApiError::retryable(409, "move-refused", text).with_reasons(plan.refusals.clone())
}
