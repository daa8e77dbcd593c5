//! The task that sends spans: in batches, each with a deadline, a few times, and then no more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::sync::{mpsc, oneshot};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::{Counts, Span, Told, otlp};

/// Spans in one message at most.
const BATCH_MAX: usize = 512;
/// How long the first span of a batch waits for others.
const LINGER: Duration = Duration::from_millis(500);
/// How long the collector may take for a batch.
const DEADLINE: Duration = Duration::from_secs(5);
/// Pauses before a batch is sent again; one that was refused after the last is dropped.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// Sends until nobody is left who tells.
pub(super) async fn run(
    channel: Channel,
    resource: Resource,
    mut told: mpsc::Receiver<Told>,
    counts: Arc<Counts>,
) {
    let mut exporter = Exporter { client: TraceServiceClient::new(channel), resource, counts };
    let mut failing = false;
    while let Some(first) = told.recv().await {
        let Batch { spans, flushed } = gather(first, &mut told).await;
        if !spans.is_empty() {
            let result = exporter.send(spans).await;
            // Said once per outage, not once per batch.
            match &result {
                Err(status) if !failing => tracing::warn!(
                    code = ?status.code(),
                    reason = status.message(),
                    "the collector does not take spans; they are dropped and counted"
                ),
                Ok(()) if failing => tracing::info!("the collector takes spans again"),
                _ => {}
            }
            failing = result.is_err();
        }
        for flushed in flushed {
            // Who asked may have given up.
            let _gone = flushed.send(());
        }
    }
}

struct Batch {
    spans: Vec<Span>,
    flushed: Vec<oneshot::Sender<()>>,
}

/// The first, and what comes within a short time after it.
async fn gather(first: Told, told: &mut mpsc::Receiver<Told>) -> Batch {
    let mut batch = Batch { spans: Vec::new(), flushed: Vec::new() };
    let until = tokio::time::Instant::now() + LINGER;
    let mut next = Some(first);
    while let Some(one) = next {
        match one {
            Told::Span(span) => batch.spans.push(*span),
            Told::Flush(done) => {
                batch.flushed.push(done);
                break;
            }
        }
        if batch.spans.len() >= BATCH_MAX {
            break;
        }
        next = tokio::time::timeout_at(until, told.recv()).await.unwrap_or(None);
    }
    batch
}

struct Exporter {
    client: TraceServiceClient<Channel>,
    resource: Resource,
    counts: Arc<Counts>,
}

impl Exporter {
    async fn send(&mut self, spans: Vec<Span>) -> Result<(), Status> {
        let count = u64::try_from(spans.len()).unwrap_or(u64::MAX);
        let message = otlp::request(&self.resource, spans);
        let mut pauses = PAUSES.into_iter();
        loop {
            let mut request = Request::new(message.clone());
            request.set_timeout(DEADLINE);
            let sent = tokio::time::timeout(DEADLINE, self.client.export(request)).await;
            let sent = sent.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
            match sent {
                Ok(answer) => {
                    let refused = answer.into_inner().partial_success.map_or(0, |partial| {
                        u64::try_from(partial.rejected_spans).unwrap_or(0).min(count)
                    });
                    self.counts.dropped.fetch_add(refused, Ordering::Relaxed);
                    self.counts.exported.fetch_add(count - refused, Ordering::Relaxed);
                    return Ok(());
                }
                Err(status) => match pauses.next().filter(|_| may_repeat(status.code())) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => {
                        self.counts.dropped.fetch_add(count, Ordering::Relaxed);
                        return Err(status);
                    }
                },
            }
        }
    }
}

/// What OTLP says may be sent again.
fn may_repeat(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
            | Code::ResourceExhausted
    )
}
