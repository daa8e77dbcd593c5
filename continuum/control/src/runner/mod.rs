//! The operation runner: on the leader only, it carries every unfinished operation on to its end.
//!
//! What to do next is decided by `continuum_domain::sequence` from the journal; the runner measures
//! the facts, writes journal lines (committed before anything follows from them) and sends
//! directives. It keeps nothing that a new leader would miss: after a change of leader the journal
//! alone says where each operation stands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use continuum_control_api::link::{Directive, Order, ToAgent};
use continuum_domain::operation::Operation;
use continuum_domain::sequence::{self, CoreEffect, CoreOrder};
use continuum_domain::{OperationId, Tick};
use futures_util::future::join_all;
use tokio::sync::watch;

use crate::core::Core;
use crate::link::registry::millis;
use crate::raft::Leadership;
use crate::state::{Change, Reply};

mod facts;

/// How often unfinished operations are looked at when nothing else wakes the runner.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// The same when there are none.
const IDLE_INTERVAL: Duration = Duration::from_secs(5);
/// Journal lines one look may write for one operation.
const ROUNDS_MAX: usize = 12;

/// What this runner remembers of one operation; losing it costs a repeated directive.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    directive_sent: Option<Tick>,
    aborting_since: Option<Tick>,
    drain_sent: Option<Tick>,
    checkpoint_sent: Option<Tick>,
    barred: Option<Tick>,
    unbarred: bool,
}

/// Runs until the node stops.
pub(crate) async fn run(core: Arc<Core>) {
    let mut leadership = core.node.leadership();
    loop {
        if leadership.wait_for(|now| now.i_lead).await.is_err() {
            return;
        }
        // Everything committed before must be seen, or an operation could be resumed from an old
        // journal.
        if core.node.linearizable().await.is_ok() {
            tracing::info!("leading: resuming unfinished operations");
            lead(&core, &mut leadership).await;
            core.links.clear();
            tracing::info!("no longer leading");
        }
        // A failed read means that leadership is lost or in doubt; both change the watch.
        tokio::select! {
            changed = leadership.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
    }
}

/// Carries operations on while this node leads.
async fn lead(core: &Core, leadership: &mut watch::Receiver<Leadership>) {
    let mut memories: BTreeMap<OperationId, Memory> = BTreeMap::new();
    let mut reports = core.links.changes();
    let mut applied = core.node.watch_applied();
    while leadership.borrow_and_update().i_lead {
        // Seen before looking, so that a change during the look wakes the next one at once.
        reports.borrow_and_update();
        applied.borrow_and_update();
        let operations: Vec<Operation> =
            core.node.read(|state| state.unfinished().cloned().collect());
        memories.retain(|id, _| operations.iter().any(|operation| operation.id == *id));
        let idle = operations.is_empty();
        let looks = operations.into_iter().map(|operation| {
            let memory = memories.get(&operation.id).copied().unwrap_or_default();
            carry_on(core, operation, memory)
        });
        memories.extend(join_all(looks).await);
        let pause = if idle { IDLE_INTERVAL } else { LOOK_INTERVAL };
        tokio::select! {
            changed = leadership.changed() => if changed.is_err() { return },
            changed = applied.changed() => if changed.is_err() { return },
            // Reports only matter to operations.
            _ = reports.changed(), if !idle => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Takes one operation as far as it goes now.
async fn carry_on(
    core: &Core,
    mut operation: Operation,
    mut memory: Memory,
) -> (OperationId, Memory) {
    let id = operation.id.clone();
    for _ in 0..ROUNDS_MAX {
        let facts = facts::measure(core, &operation, &ages(core, &memory)).await;
        let effects = sequence::decide(&operation, &facts, core.now_ms());
        if let Some(onlooker) = &core.onlooker {
            onlooker(&operation, &facts, &effects);
        }
        let mut journalled = false;
        for effect in effects {
            match effect {
                CoreEffect::Send { to, order } => send(core, &operation, &to, order, &mut memory),
                CoreEffect::SetPaused { paused } => {
                    memory.barred = Some(core.clock.now());
                    memory.unbarred |= set_paused(core, &operation, paused).await && !paused;
                }
                CoreEffect::Journal { step, outcome, detail } => {
                    let change = Change::Line { operation: id.clone(), step, outcome, detail };
                    journalled = commit(core, change).await;
                }
                CoreEffect::Become { state } => {
                    tracing::info!(operation = %id, pair = %operation.pair, epoch = %operation.at_epoch, ?state, "operation");
                    let change = Change::Become { operation: id.clone(), state };
                    journalled = commit(core, change).await;
                }
            }
        }
        if !journalled {
            break;
        }
        // Facts may have come in between: decide on the journal as it stands now.
        match core.node.read(|state| state.operation(&id).cloned()) {
            Some(now) => operation = now,
            None => break,
        }
    }
    (id, memory)
}

/// How long ago a runner did what it remembers, in milliseconds.
struct Ages {
    directive: Option<u64>,
    aborting: Option<u64>,
    drain: Option<u64>,
    checkpoint: Option<u64>,
    bar: Option<u64>,
    unbarred: bool,
}

fn ages(core: &Core, memory: &Memory) -> Ages {
    let now = core.clock.now();
    let age = |since: Option<Tick>| since.map(|since| millis(now.since(since)));
    Ages {
        directive: age(memory.directive_sent),
        aborting: age(memory.aborting_since),
        drain: age(memory.drain_sent),
        checkpoint: age(memory.checkpoint_sent),
        bar: age(memory.barred),
        unbarred: memory.unbarred,
    }
}

/// Whether it took effect is for the next look at the register to say.
async fn set_paused(core: &Core, operation: &Operation, paused: bool) -> bool {
    let written = core.set_paused(&operation.pair, operation.at_epoch, paused).await;
    let (id, pair) = (&operation.id, &operation.pair);
    match &written {
        Ok(()) => tracing::info!(operation = %id, %pair, paused, "paused of the register written"),
        Err(error) => {
            tracing::warn!(operation = %id, %pair, paused, %error, "paused of the register not written");
        }
    }
    written.is_ok()
}

/// Commits a change; `false` when it is not known to be committed, and nothing may follow from it.
async fn commit(core: &Core, change: Change) -> bool {
    let actor = format!("core/{}", core.config.name);
    match core.propose(&actor, change).await {
        Ok(Reply::Refused(error)) => {
            tracing::warn!(%error, "a change of the runner was refused");
            false
        }
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%error, "a change of the runner was not committed");
            false
        }
    }
}

fn send(
    core: &Core,
    operation: &Operation,
    to: &continuum_domain::RegionId,
    order: CoreOrder,
    memory: &mut Memory,
) {
    let now = core.clock.now();
    if order == CoreOrder::AbortSwitchOver {
        memory.aborting_since.get_or_insert(now);
    }
    let remembered = match order {
        CoreOrder::Checkpoint => &mut memory.checkpoint_sent,
        CoreOrder::HoldTraffic { .. } | CoreOrder::ReleaseTraffic => &mut memory.drain_sent,
        _ => &mut memory.directive_sent,
    };
    let order = match order {
        CoreOrder::HoldTraffic { drain_ms, hold_ms } => Order::HoldTraffic { drain_ms, hold_ms },
        CoreOrder::ReleaseTraffic => Order::ReleaseTraffic,
        CoreOrder::Checkpoint => Order::Checkpoint,
        CoreOrder::SwitchOver { to, deadline_ms } => Order::SwitchOver { to, deadline_ms },
        CoreOrder::AbortSwitchOver => Order::AbortSwitchOver,
        CoreOrder::Rest { deadline_ms } => Order::Rest { deadline_ms },
        CoreOrder::KeepOut { region, hold_ms } => Order::KeepOut { region, hold_ms },
        CoreOrder::Rejoin { clone, deadline_ms } => Order::Rejoin { clone, deadline_ms },
        CoreOrder::TakeOver { deadline_ms } => Order::TakeOver { deadline_ms },
        CoreOrder::FailOver { allow_data_loss } => Order::FailOver { allow_data_loss },
    };
    let directive = Directive {
        operation: operation.id.clone(),
        pair: operation.pair.clone(),
        epoch: operation.at_epoch,
        trace: core.trace_of(operation, (to, &order)),
        order,
    };
    let sent = core.links.send(to, &ToAgent::Directive(directive.clone()));
    tracing::info!(operation = %operation.id, pair = %operation.pair, epoch = %operation.at_epoch,
        region = %to, order = ?directive.order, sent, "directive");
    // One that could not be sent is tried again as soon as the agent is back.
    if sent {
        *remembered = Some(now);
    }
}
