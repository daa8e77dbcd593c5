//! A call as the request of its route, and the answer back.

use axum::body::Body;
use axum::body::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tonic::Status;

use super::{KEPT, Rpc, Shape};
use crate::approvals::Approval;
use crate::rest::API;

/// What a part of a path may have as it is.
const PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// The request of the call's route. `headers` are those that were carried.
pub(super) fn request(
    rpc: &Rpc,
    message: &DynamicMessage,
    headers: HeaderMap,
) -> Result<Request<Body>, Status> {
    let mut fields = fields(message)?;
    let mut path = String::from(API);
    for part in rpc.path.split('/').skip(1) {
        path.push('/');
        match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => path.push_str(&path_part(name, fields.remove(name))?),
            None => path.push_str(part),
        }
    }
    let query: Vec<(String, String)> = rpc
        .query
        .iter()
        .filter_map(|name| fields.remove_entry(name))
        .map(|(name, value)| (name, scalar(value)))
        .collect();
    if !query.is_empty() {
        let text = serde_urlencoded::to_string(query)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        path.push('?');
        path.push_str(&text);
    }
    let body =
        if rpc.has_body { Body::from(Value::Object(fields).to_string()) } else { Body::empty() };
    let mut request = Request::new(body);
    *request.method_mut() = rpc.method.clone();
    *request.uri_mut() =
        path.parse().map_err(|_| Status::invalid_argument("a field does not fit into a path"))?;
    *request.headers_mut() = headers;
    Ok(request)
}

fn path_part(name: &str, value: Option<Value>) -> Result<String, Status> {
    match value.map(scalar) {
        Some(text) if !text.is_empty() => Ok(utf8_percent_encode(&text, PART).to_string()),
        _ => {
            let text = format!("{name}: is needed and not set; nothing was changed");
            Err(Status::invalid_argument(text))
        }
    }
}

fn scalar(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// The fields that are set, as the routes know them.
fn fields(message: &DynamicMessage) -> Result<Map<String, Value>, Status> {
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .skip_default_fields(true);
    let value = message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|error| Status::invalid_argument(format!("the message is refused: {error}")))?;
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err(Status::internal("a message that is no object")),
    }
}

/// The answer's body as the call's message. What a newer leader says beside it is left out.
pub(super) fn answer(
    rpc: &Rpc,
    (status, headers, body): (StatusCode, &HeaderMap, &Bytes),
) -> Result<DynamicMessage, Status> {
    let unread = |error: serde_json::Error| {
        tracing::error!(%error, path = rpc.path, "an answer does not fit the contract");
        let text = "the answer does not fit the contract; the call may have taken effect";
        Status::internal(text)
    };
    let mut value: Value = serde_json::from_slice(body).map_err(unread)?;
    // Beside an operation that goes on, the only thing that is accepted for later.
    if status == StatusCode::ACCEPTED
        && rpc.output.get_field_by_name(KEPT).is_some()
        && Approval::deserialize(&value).is_ok()
    {
        value = json!({ KEPT: value });
    }
    if rpc.shape == Shape::Items {
        value = match next_cursor(headers) {
            Some(next) => json!({ "items": value, "next_cursor": next }),
            None => json!({ "items": value }),
        };
    }
    read(&rpc.output, &value).map_err(unread)
}

/// JSON as a message.
pub(super) fn read(
    descriptor: &MessageDescriptor,
    value: &Value,
) -> Result<DynamicMessage, serde_json::Error> {
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    DynamicMessage::deserialize_with_options(descriptor.clone(), value, &options)
}

/// The cursor in the link to the next page.
fn next_cursor(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(header::LINK)?.to_str().ok()?;
    let (_, query) = link.strip_prefix('<')?.split_once('>')?.0.split_once('?')?;
    let fields: Vec<(String, String)> = serde_urlencoded::from_str(query).ok()?;
    fields.into_iter().find(|(name, _)| name == "cursor").map(|(_, value)| value)
}
