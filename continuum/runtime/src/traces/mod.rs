//! What happened, told as spans to an OpenTelemetry collector.
//!
//! Telling never holds anything up: a span goes into a bounded queue, or is dropped and counted. With
//! no collector configured there is no queue and no task, and nothing is drawn.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use continuum_domain::Tick;
use continuum_domain::trace::{SpanId, TraceContext, TraceId};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::{SharedClock, seed};

mod endpoint;
mod export;
mod otlp;
mod sampling;

/// Spans that wait for the collector at most.
const QUEUE_MAX: usize = 4_096;

/// Where spans are sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TracesConfig {
    /// The collector's OTLP over gRPC: `http://host:port` or `https://host:port`.
    pub endpoint: String,
    /// Certificates of the authority that signs the collector's, PEM; the system's when absent.
    #[serde(default)]
    pub authority: Option<PathBuf>,
    /// `service.name`; `continuum-server` or `continuum-agent` when absent.
    #[serde(default)]
    pub service_name: Option<String>,
    /// One in so many of the traces that begin here is kept. Of one that a caller began, the caller
    /// decided.
    #[serde(default = "default_sample_one_in")]
    pub sample_one_in: u32,
}

fn default_sample_one_in() -> u32 {
    1
}

impl TracesConfig {
    /// What cannot be used, by key.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if let Err(problem) = endpoint::parts(&self.endpoint) {
            found.push(("endpoint", problem));
        }
        if self.service_name.as_ref().is_some_and(String::is_empty) {
            found.push(("service_name", "must not be empty".into()));
        }
        if self.sample_one_in == 0 {
            let problem = "must be at least 1; to keep no trace, leave [traces] out";
            found.push(("sample_one_in", problem.into()));
        }
        found
    }
}

/// Which side of a call a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Work of this process for itself.
    Internal,
    /// A request that was answered.
    Server,
    /// An order that came as a message.
    Consumer,
}

/// What an attribute says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A word or name.
    Text(String),
    /// A number.
    Number(i64),
    /// Yes or no.
    Truth(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Something that happened, from when to when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where it is.
    pub context: TraceContext,
    /// The span it is part of.
    pub parent: Option<SpanId>,
    /// What it is called.
    pub name: String,
    /// Which side of a call it is.
    pub kind: SpanKind,
    /// Wall clock at its beginning, nanoseconds since 1970.
    pub start_ns: u64,
    /// And at its end.
    pub end_ns: u64,
    /// What is said of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// The stable code of what went wrong.
    pub error: Option<String>,
}

/// When something began, by both clocks: how long it took is measured by the one that does not jump.
#[derive(Clone, Copy, Debug)]
pub struct Began {
    tick: Tick,
    wall_ms: i64,
}

impl Began {
    /// Now.
    pub fn now(clock: &SharedClock) -> Self {
        Self { tick: clock.now(), wall_ms: clock.wall_ms() }
    }

    /// Since when and until now, nanoseconds since 1970.
    pub fn until_now(&self, clock: &SharedClock) -> (u64, u64) {
        let start_ns = nanoseconds(self.wall_ms);
        let took = u64::try_from(clock.now().since(self.tick).as_nanos()).unwrap_or(u64::MAX);
        (start_ns, start_ns.saturating_add(took))
    }
}

/// A wall clock's milliseconds as a span has them.
pub fn nanoseconds(wall_ms: i64) -> u64 {
    u64::try_from(wall_ms).unwrap_or(0).saturating_mul(1_000_000)
}

/// What became of spans.
#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    dropped: AtomicU64,
}

/// What the exporter is told.
enum Told {
    Span(Box<Span>),
    /// Everything before this is to be sent now; answered when that was tried.
    Flush(oneshot::Sender<()>),
}

struct Inner {
    queue: mpsc::Sender<Told>,
    counts: Arc<Counts>,
    sample_one_in: u32,
}

/// Takes spans. Cloned handles share one queue.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Inner>>);

impl std::fmt::Debug for Traces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Traces").field(&self.is_on()).finish()
    }
}

impl Traces {
    /// Takes nothing.
    pub fn off() -> Self {
        Self(None)
    }

    /// Starts sending to the configured collector, as one of the processes of `service`.
    ///
    /// # Errors
    /// The configuration cannot be used, or a file of it cannot be read.
    pub fn start(config: Option<&TracesConfig>, service: &str, instance: &str) -> io::Result<Self> {
        let Some(config) = config else { return Ok(Self::off()) };
        if let Some((key, problem)) = config.problems().into_iter().next() {
            return Err(io::Error::other(format!("traces.{key}: {problem}")));
        }
        let channel = endpoint::channel(config)?;
        let service = config.service_name.as_deref().unwrap_or(service);
        let resource = otlp::resource(service, instance);
        let (queue, told) = mpsc::channel(QUEUE_MAX);
        let counts = Arc::new(Counts::default());
        seed::spawn(export::run(channel, resource, told, counts.clone()));
        Ok(Self(Some(Arc::new(Inner { queue, counts, sample_one_in: config.sample_one_in }))))
    }

    /// Whether anything is sent.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A span for work that is asked for under `parent`, or that begins a trace; `None` where nothing is
    /// sent. One of a trace that nobody keeps has a name too, so that who is called knows of it.
    pub fn begin(&self, parent: Option<TraceContext>) -> Option<TraceContext> {
        let inner = self.0.as_ref()?;
        let mut rng = seed::rng();
        let span = SpanId(rng.random::<u64>().max(1).to_be_bytes());
        Some(match parent {
            Some(parent) => parent.at(span),
            None => {
                let trace = TraceId(rng.random::<u128>().max(1).to_be_bytes());
                let sampled = sampling::keeps(trace, inner.sample_one_in);
                TraceContext { trace, span, sampled }
            }
        })
    }

    /// Whether a trace that begins here, under a name that was not drawn, is kept; `None` where nothing
    /// is sent.
    pub fn keeps(&self, trace: TraceId) -> Option<bool> {
        Some(sampling::keeps(trace, self.0.as_ref()?.sample_one_in))
    }

    /// Sends a span, if its trace is kept. Never waits: one that finds the queue full is dropped and
    /// counted.
    pub fn tell(&self, span: Span) {
        let Some(inner) = &self.0 else { return };
        if span.context.sampled && inner.queue.try_send(Told::Span(Box::new(span))).is_err() {
            inner.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Spans that the collector took, and that were dropped; `None` where nothing is sent.
    pub fn counts(&self) -> Option<(u64, u64)> {
        let Counts { exported, dropped } = self.0.as_ref()?.counts.as_ref();
        Some((exported.load(Ordering::Relaxed), dropped.load(Ordering::Relaxed)))
    }

    /// Sends what waits, for the end of a process; gives up after `limit`.
    pub async fn flush(&self, limit: Duration) {
        let Some(inner) = &self.0 else { return };
        let (done, flushed) = oneshot::channel();
        let flush = async {
            if inner.queue.send(Told::Flush(done)).await.is_ok() {
                // A dropped sender means that the exporter has ended.
                let _ended = flushed.await;
            }
        };
        if tokio::time::timeout(limit, flush).await.is_err() {
            tracing::debug!("spans were left behind: the collector did not take them in time");
        }
    }
}
