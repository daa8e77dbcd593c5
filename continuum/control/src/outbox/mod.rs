//! Audit records on their way out: to NATS JetStream, webhooks, Slack, PagerDuty and mail.
//!
//! Only the leader sends, each sink in a task of its own that no operation waits for. The audit chain
//! is the outbox: what a change left there is sent once it is committed, in order, at least once, under
//! an id by which a receiver drops a repetition. How far a sink is, is replicated.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use continuum_control_api::rest::AuditRecord;
use continuum_domain::Tick;
use continuum_runtime::seed;
use tokio::task::JoinHandle;

use crate::core::Core;

pub mod config;
mod deliver;
pub mod event;
mod send;
pub(crate) mod view;

pub use config::SinkConfig;

/// How long after lost leadership, or a read that failed, it is looked again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What is known of a sink since this node leads.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// Position of the newest record that has an outcome; absent while this node does not lead.
    done: Option<u64>,
    failures: u32,
    failing_since: Option<Tick>,
    /// Whether any attempt ended.
    tried: bool,
    last_error: Option<String>,
}

/// One sink.
#[derive(Debug)]
pub(crate) struct Sink {
    pub config: SinkConfig,
    seen: Mutex<Seen>,
}

impl Sink {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All sinks of this node's configuration.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub sinks: Vec<Arc<Sink>>,
}

impl Outbox {
    pub(crate) fn new(configs: &[SinkConfig]) -> Self {
        let sink =
            |config: &SinkConfig| Arc::new(Sink { config: config.clone(), seen: Mutex::default() });
        Self { sinks: configs.iter().map(sink).collect() }
    }

    /// One of them.
    pub(crate) fn sink(&self, name: &str) -> Option<&Arc<Sink>> {
        self.sinks.iter().find(|sink| sink.config.name == name)
    }
}

/// Ends a task with its holder.
struct Ended(JoinHandle<()>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs until the node stops. With no sink there is nothing to do, nothing spawned and nothing drawn.
pub(crate) async fn run(core: Arc<Core>) {
    let mut leadership = core.node.leadership();
    loop {
        if leadership.wait_for(|now| now.i_lead).await.is_err() {
            return;
        }
        if core.node.linearizable().await.is_ok() {
            let work =
                |sink: &Arc<Sink>| Ended(seed::spawn(deliver::run(core.clone(), sink.clone())));
            let working: Vec<Ended> = core.outbox.sinks.iter().map(work).collect();
            let left = leadership.wait_for(|now| !now.i_lead).await.is_err();
            drop(working);
            for sink in &core.outbox.sinks {
                *sink.seen() = Seen::default();
            }
            if left {
                return;
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Records that are read one after the other.
pub(crate) fn newest(core: &Core) -> u64 {
    core.node.read(|state| state.audit().next_back().map_or(0, |record| record.index))
}

/// One record that is still among those in memory.
fn in_memory(core: &Core, index: u64) -> Option<AuditRecord> {
    core.node.read(|state| {
        let mut records = state.audit_after(index.checked_sub(1)?).ok()?;
        records.next().filter(|record| record.index == index).cloned()
    })
}
