//! Spans as OTLP has them.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{self as wire, ResourceSpans, ScopeSpans, Status};

use super::{Span, SpanKind, Value};

/// What OTLP says of a span's trace in its flags: the sampled bit of W3C.
const SAMPLED: u32 = 1;

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::Text(value.to_owned()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text),
        Value::Number(number) => any_value::Value::IntValue(number),
        Value::Truth(truth) => any_value::Value::BoolValue(truth),
    };
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// Who tells.
pub(super) fn resource(service: &str, instance: &str) -> Resource {
    let attributes = vec![
        text("service.namespace", "continuum"),
        text("service.name", service),
        text("service.instance.id", instance),
        text("service.version", env!("CARGO_PKG_VERSION")),
    ];
    Resource { attributes, ..Resource::default() }
}

fn span(span: Span) -> wire::Span {
    let Span { context, parent, name, kind, start_ns, end_ns, attributes, error } = span;
    let kind = match kind {
        SpanKind::Internal => wire::span::SpanKind::Internal,
        SpanKind::Server => wire::span::SpanKind::Server,
        SpanKind::Consumer => wire::span::SpanKind::Consumer,
    };
    let mut attributes: Vec<KeyValue> =
        attributes.into_iter().map(|(key, value)| attribute(key, value)).collect();
    if let Some(code) = &error {
        attributes.push(text("error.type", code));
    }
    let status = error.map(|message| {
        let code = wire::status::StatusCode::Error.into();
        Status { message, code }
    });
    wire::Span {
        trace_id: context.trace.0.to_vec(),
        span_id: context.span.0.to_vec(),
        parent_span_id: parent.map(|parent| parent.0.to_vec()).unwrap_or_default(),
        flags: SAMPLED,
        name,
        kind: kind.into(),
        start_time_unix_nano: start_ns,
        end_time_unix_nano: end_ns.max(start_ns),
        attributes,
        status,
        ..wire::Span::default()
    }
}

/// One message with these spans.
pub(super) fn request(resource: &Resource, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope {
        name: "continuum".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    };
    let spans = spans.into_iter().map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }];
    let resource = Some(resource.clone());
    let resource_spans = vec![ResourceSpans { resource, scope_spans, schema_url: String::new() }];
    ExportTraceServiceRequest { resource_spans }
}
