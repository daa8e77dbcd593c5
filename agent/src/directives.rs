//! What the agent tells of as spans: the core's directives it carries out, and what it does to
//! PostgreSQL meanwhile.
//!
//! It looks on. A directive is over when the journal says so, whoever wrote that line.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use continuum_control_api::link::{Directive, Fact, Order};
use continuum_domain::operation::{Step, StepOutcome};
use continuum_domain::trace::{SpanId, TraceContext};
use continuum_domain::{Epoch, OperationId, PairId, RegionId, Tick};
use continuum_runtime::SharedClock;
use continuum_runtime::traces::{Began, Span, SpanKind, Traces, Value};

/// Directives of one pair that are remembered; the oldest are forgotten.
const OPEN_MAX: usize = 8;
/// A directive of which nothing is heard for so long is told of as one that had no end.
const OPEN_FOR_MAX: Duration = Duration::from_secs(10 * 60);

/// A directive that is carried out, or was lately.
struct Open {
    directive: Directive,
    context: TraceContext,
    parent: SpanId,
    began: Began,
    since: Tick,
    over: bool,
}

struct Inner {
    traces: Traces,
    clock: SharedClock,
    region: RegionId,
    open: Mutex<BTreeMap<PairId, Vec<Open>>>,
}

/// Looks on at directives. Cloned handles share it.
#[derive(Clone)]
pub(crate) struct DirectiveDesk(Arc<Inner>);

impl DirectiveDesk {
    pub fn new(traces: &Traces, clock: &SharedClock, region: &RegionId) -> Self {
        Self(Arc::new(Inner {
            traces: traces.clone(),
            clock: clock.clone(),
            region: region.clone(),
            open: Mutex::default(),
        }))
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<PairId, Vec<Open>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A directive came. It is repeated until it shows, and counts once.
    pub fn taken(&self, directive: &Directive) {
        let Some(parent) = directive.trace.filter(|parent| parent.sampled) else { return };
        let Some(context) = self.0.traces.begin(Some(parent)) else { return };
        let mut all = self.open();
        let open = all.entry(directive.pair.clone()).or_default();
        let same = |one: &Open| {
            one.directive.operation == directive.operation
                && label(&one.directive.order) == label(&directive.order)
        };
        if open.iter().any(same) {
            return;
        }
        let now = self.0.clock.now();
        for one in open.iter_mut() {
            let aged = now.since(one.since) >= OPEN_FOR_MAX;
            if one.directive.operation != directive.operation || aged {
                self.end(one, Some("directive-unanswered"));
            }
        }
        if open.len() >= OPEN_MAX {
            let mut oldest = open.remove(0);
            self.end(&mut oldest, Some("directive-unanswered"));
        }
        let (directive, began) = (directive.clone(), Began::now(&self.0.clock));
        let parent = parent.span;
        let mut one = Open { directive, context, parent, began, since: now, over: false };
        // Nothing is said of it when it is done.
        if one.directive.order == Order::ReleaseTraffic {
            self.end(&mut one, None);
        }
        open.push(one);
    }

    /// A fact was noted.
    pub fn noted(&self, pair: &PairId, operation: Option<&OperationId>, fact: &Fact) {
        let mut all = self.open();
        let Some(open) = all.get_mut(pair) else { return };
        for one in open.iter_mut() {
            let belongs = operation.is_none_or(|id| *id == one.directive.operation);
            if let Some(error) = ending(&one.directive.order, fact).filter(|_| belongs) {
                self.end(one, error);
            }
        }
    }

    /// Something was done to PostgreSQL: below the newest directive of the pair, if there was one lately.
    pub fn commanded(
        &self,
        pair: &PairId,
        (what, epoch): (&str, Epoch),
        began: Began,
        failed: bool,
    ) {
        let all = self.open();
        let Some(newest) = all.get(pair).and_then(|open| open.last()) else { return };
        let Inner { traces, clock, region, .. } = self.0.as_ref();
        if clock.now().since(newest.since) >= OPEN_FOR_MAX {
            return;
        }
        let Some(context) = traces.begin(Some(newest.context)) else { return };
        let (start_ns, end_ns) = began.until_now(clock);
        let mut attributes = about(region, &newest.directive, epoch);
        attributes.push(("db.operation.name", what.into()));
        traces.tell(Span {
            context,
            parent: Some(newest.context.span),
            name: format!("postgresql {what}"),
            kind: SpanKind::Internal,
            start_ns,
            end_ns,
            attributes,
            error: failed.then(|| "command-failed".to_owned()),
        });
    }

    /// The agent stops: what is still carried out is told of as it stands.
    pub fn stop(&self) {
        for one in self.open().values_mut().flatten() {
            self.end(one, Some("agent-stopped"));
        }
    }

    fn end(&self, one: &mut Open, error: Option<&'static str>) {
        if std::mem::replace(&mut one.over, true) {
            return;
        }
        let Inner { traces, clock, region, .. } = self.0.as_ref();
        let (start_ns, end_ns) = one.began.until_now(clock);
        let order = label(&one.directive.order);
        let mut attributes = about(region, &one.directive, one.directive.epoch);
        attributes.push(("continuum.order", order.into()));
        traces.tell(Span {
            context: one.context,
            parent: Some(one.parent),
            name: format!("directive {order}"),
            kind: SpanKind::Consumer,
            start_ns,
            end_ns,
            attributes,
            error: error.map(str::to_owned),
        });
    }
}

fn about(region: &RegionId, directive: &Directive, epoch: Epoch) -> Vec<(&'static str, Value)> {
    let epoch = i64::try_from(epoch.0).unwrap_or(i64::MAX);
    vec![
        ("continuum.pair", directive.pair.as_str().into()),
        ("continuum.operation", directive.operation.as_str().into()),
        ("continuum.epoch", Value::Number(epoch)),
        ("continuum.region", region.as_str().into()),
        ("db.system.name", "postgresql".into()),
    ]
}

fn label(order: &Order) -> &'static str {
    match order {
        Order::SwitchOver { .. } => "switch-over",
        Order::Rest { .. } => "rest",
        Order::AbortSwitchOver => "abort-switch-over",
        Order::TakeOver { .. } => "take-over",
        Order::FailOver { .. } => "fail-over",
        Order::KeepOut { .. } => "keep-out",
        Order::Rejoin { .. } => "rejoin",
        Order::Checkpoint => "checkpoint",
        Order::HoldTraffic { .. } => "hold-traffic",
        Order::ReleaseTraffic => "release-traffic",
    }
}

/// Whether a fact ends a directive, and with what error.
fn ending(order: &Order, fact: &Fact) -> Option<Option<&'static str>> {
    let (step, outcome, took_us) = match fact {
        Fact::Step { step, outcome, took_us, .. } => (*step, outcome, *took_us),
        Fact::Acquired { by, .. } if by == "returned" => {
            return matches!(order, Order::AbortSwitchOver).then_some(None);
        }
        _ => return None,
    };
    let wrong = match outcome {
        StepOutcome::Failed { .. } => Some("step-failed"),
        StepOutcome::Undone => Some("step-undone"),
        StepOutcome::Started | StepOutcome::Done => None,
    };
    let done = *outcome == StepOutcome::Done;
    let over = match order {
        Order::SwitchOver { .. } => {
            let mine = matches!(step, Step::StopWrites | Step::ProveCatchUp | Step::HandOver);
            (mine && wrong.is_some()) || (step == Step::HandOver && done)
        }
        Order::Rest { .. } => step == Step::StopWrites && (done || wrong.is_some()),
        Order::TakeOver { .. } | Order::FailOver { .. } => {
            let mine = matches!(step, Step::StopWrites | Step::Commit | Step::Promote);
            (mine && wrong.is_some()) || (step == Step::Promote && done)
        }
        Order::KeepOut { .. } => step == Step::Bar && (done || wrong.is_some()),
        Order::Rejoin { .. } => step == Step::Rejoin && (done || wrong.is_some()),
        Order::HoldTraffic { .. } => step == Step::Drain && (done || wrong.is_some()),
        // Its line begins the drain, and says how long it took.
        Order::Checkpoint => step == Step::Drain && took_us.is_some(),
        // To have it undone is what was asked for.
        Order::AbortSwitchOver => return (*outcome == StepOutcome::Undone).then_some(None),
        Order::ReleaseTraffic => false,
    };
    over.then_some(wrong)
}
