//! A wish to fail over as a span: from when it came to when it was answered.
//!
//! It is told once, by the leader that decided it. A wish that was granted, or waits for a person, is part
//! of the trace of the failover; one that was denied is a trace of its own, because nothing came of it.

use continuum_control_api::link::{GrantAnswer, Order};
use continuum_domain::operation::{Operation, OperationKind};
use continuum_domain::sequence::TRIGGER_ORDERED;
use continuum_domain::trace::{SpanId, TraceContext};
use continuum_domain::{Epoch, OperationId, PairId, RegionId};
use continuum_runtime::traces::{Began, Span, SpanKind, Value};

use super::operation::{Place, derived, directive_context, root};
use crate::core::Core;

/// A wish, as far as it is told of.
pub(crate) struct Wish {
    /// The name that the failover has, or would have had.
    pub(crate) id: OperationId,
    pub(crate) pair: PairId,
    pub(crate) epoch: Epoch,
    pub(crate) region: RegionId,
    pub(crate) began: Began,
}

fn span_of(id: &OperationId) -> SpanId {
    SpanId(derived(&["grant", id.as_str()]))
}

/// Tells what a wish was answered when it was decided.
pub(crate) fn tell(core: &Core, wish: Wish, answer: &GrantAnswer) {
    let Some(place) = Place::of(&core.traces, &wish.id, None) else { return };
    let (decision, parent, error) = match answer {
        // Another wish was quicker: its own span says so.
        GrantAnswer::Granted { operation, .. } if *operation != wish.id => return,
        GrantAnswer::Granted { .. } => ("granted", Some(root(&wish.id)), None),
        GrantAnswer::WaitForApproval { .. } => ("waits", Some(root(&wish.id)), None),
        GrantAnswer::Denied { .. } => ("denied", None, Some("failover-denied".to_owned())),
    };
    let (start_ns, end_ns) = wish.began.until_now(&core.clock);
    let epoch = i64::try_from(wish.epoch.0).unwrap_or(i64::MAX);
    core.traces.tell(Span {
        context: place.at(span_of(&wish.id)),
        parent,
        name: "grant".into(),
        kind: SpanKind::Server,
        start_ns,
        end_ns,
        attributes: vec![
            ("continuum.pair", wish.pair.as_str().into()),
            ("continuum.region", wish.region.as_str().into()),
            ("continuum.epoch", Value::Number(epoch)),
            ("continuum.decision", decision.into()),
        ],
        error,
    });
}

/// Below which span the agent tells what comes of a grant: the grant, or the step that a person ordered.
pub(crate) fn grant_context(
    core: &Core,
    operation: &Operation,
    region: &RegionId,
) -> Option<TraceContext> {
    let request = core.node.read(|state| state.trace(&operation.id));
    let place = Place::of(&core.traces, &operation.id, request)?;
    Some(match &operation.kind {
        OperationKind::Failover { trigger, allow_data_loss, .. } if trigger == TRIGGER_ORDERED => {
            let order = Order::FailOver { allow_data_loss: *allow_data_loss };
            directive_context(operation, place, (region, &order))
        }
        _ => place.at(span_of(&operation.id)),
    })
}
