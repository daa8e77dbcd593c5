//! A collector of spans: it takes OTLP over gRPC as any other does, and keeps what it was sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use continuum_runtime::seed;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

/// A span as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub trace: String,
    pub span: String,
    pub parent: Option<String>,
    pub name: String,
    /// Nanoseconds since 1970.
    pub times: (u64, u64),
    pub attributes: BTreeMap<String, String>,
    pub error: Option<String>,
}

impl Seen {
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// A span with the service that sent it.
type Sent = (String, Seen);

#[derive(Clone, Default)]
struct Taken(Arc<Mutex<Vec<Sent>>>);

pub struct Collector {
    pub endpoint: String,
    taken: Taken,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let taken = Taken::default();
        let service = TraceServiceServer::new(taken.clone());
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let task = seed::spawn(async move {
            let served = tonic::transport::Server::builder().add_service(service);
            served.serve_with_incoming(incoming).await.unwrap();
        });
        Self { endpoint: format!("http://{address}"), taken, task }
    }

    /// Everything that was sent, by service.
    pub fn sent(&self) -> Vec<(String, Seen)> {
        self.taken.0.lock().unwrap().clone()
    }

    /// The spans of a trace, each once. Fails when one was sent in two versions.
    pub fn trace(&self, trace: &str) -> Vec<Seen> {
        let mut spans: BTreeMap<String, Seen> = BTreeMap::new();
        for (_, seen) in self.sent().into_iter().filter(|(_, seen)| seen.trace == trace) {
            if let Some(before) = spans.insert(seen.span.clone(), seen.clone()) {
                assert_eq!(before, seen, "one span id, two versions");
            }
        }
        spans.into_values().collect()
    }
}

#[tonic::async_trait]
impl TraceService for Taken {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut taken = self.0.lock().unwrap();
        for group in request.into_inner().resource_spans {
            let about = attributes(group.resource.unwrap_or_default().attributes);
            let service = about.get("service.name").cloned().unwrap_or_default();
            let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
            taken.extend(spans.map(|span| (service.clone(), seen(span))));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<Value>| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => panic!("{other:?}"),
    };
    let pair = |pair: KeyValue| (pair.key, text(pair.value.and_then(|value| value.value)));
    pairs.into_iter().map(pair).collect()
}

fn seen(span: Span) -> Seen {
    assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
    Seen {
        trace: hex(&span.trace_id),
        span: hex(&span.span_id),
        parent: (!span.parent_span_id.is_empty()).then(|| hex(&span.parent_span_id)),
        name: span.name,
        times: (span.start_time_unix_nano, span.end_time_unix_nano),
        attributes: attributes(span.attributes),
        error: span.status.filter(|status| status.code == 2).map(|status| status.message),
    }
}
