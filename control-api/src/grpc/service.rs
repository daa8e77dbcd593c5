//! The service that has a call for each route.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use futures_util::{Stream, StreamExt, stream};
use http::{Extensions, HeaderMap, HeaderName, Request, Response, header};
use prost_reflect::{DynamicMessage, Value as Field};
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic::{Code, Status};
use tower::ServiceExt;

use super::codec::DynamicCodec;
use super::{RPCS, Rpc, Shape, status, transcode};
use crate::problem::{ApiError, Problem};
use crate::routes::{BODY_BYTES_MAX, IDEMPOTENCY_KEY};

/// Largest answer that is read back; the routes' own limits are far below.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Metadata that is carried to the route, and headers that are carried back.
const CARRIED: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    IDEMPOTENCY_KEY,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
];
const CARRIED_BACK: [HeaderName; 4] =
    [header::ETAG, header::LOCATION, header::RETRY_AFTER, HeaderName::from_static("x-request-id")];

type Messages = Pin<Box<dyn Stream<Item = Result<DynamicMessage, Status>> + Send>>;
type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Answers calls by the router of the routes.
#[derive(Clone)]
pub struct GrpcApi {
    rest: Router,
}

impl std::fmt::Debug for GrpcApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrpcApi").finish_non_exhaustive()
    }
}

impl GrpcApi {
    /// The calls of `rest`, which is the whole service of a node: who calls is for it to say.
    pub fn new(rest: Router) -> Self {
        Self { rest }
    }

    /// The paths of all calls begin with it.
    pub fn path() -> String {
        format!("/{}/{{call}}", Self::NAME)
    }
}

impl NamedService for GrpcApi {
    const NAME: &'static str = "continuum.api.v1.Control";
}

impl tower::Service<Request<Body>> for GrpcApi {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Later<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(rpc) = RPCS.get(request.uri().path()) else {
            let text = format!("there is no call {}", request.uri().path());
            let answer = Status::unimplemented(text).into_http();
            return Box::pin(async { Ok(answer) });
        };
        let codec = DynamicCodec(rpc.input.clone());
        let call = Call { rest: self.rest.clone(), rpc };
        Box::pin(async move {
            let mut grpc = Grpc::new(codec)
                .max_decoding_message_size(BODY_BYTES_MAX)
                .max_encoding_message_size(ANSWER_BYTES_MAX);
            Ok(match rpc.shape {
                Shape::One | Shape::Items => grpc.unary(call, request).await,
                Shape::Events | Shape::Chunks => grpc.server_streaming(call, request).await,
            })
        })
    }
}

/// One call on its way.
#[derive(Clone)]
struct Call {
    rest: Router,
    rpc: &'static Rpc,
}

impl Call {
    /// Asks the route; an error where it answered one.
    async fn ask(&self, request: tonic::Request<DynamicMessage>) -> Result<Response<Body>, Status> {
        let (metadata, extensions, message) = request.into_parts();
        let given = metadata.into_headers();
        let mut asked = transcode::request(self.rpc, &message, carried(&given, &CARRIED))?;
        *asked.extensions_mut() = caller_of(extensions);
        let Ok(response) = self.rest.clone().oneshot(asked).await;
        if response.status().is_success() {
            return Ok(response);
        }
        let headers = carried(response.headers(), &CARRIED_BACK);
        let http = response.status().as_u16();
        let body = read(response.into_body()).await?;
        let mut status = match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => status::status(&ApiError { status: http, problem: Box::new(problem) }),
            Err(_) => Status::new(Code::Unknown, format!("answered {http} without a reason")),
        };
        *status.metadata_mut() = with(status.metadata().clone(), headers);
        Err(status)
    }
}

/// Who calls, as the listener left it. Nothing else that was put on a call reaches the routes.
fn caller_of(mut given: Extensions) -> Extensions {
    use axum::extract::ConnectInfo;
    use continuum_runtime::net::Caller;
    let mut kept = Extensions::new();
    if let Some(caller) = given.remove::<ConnectInfo<Caller>>() {
        kept.insert(caller);
    }
    kept
}

fn carried(from: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let one = |name: &HeaderName| Some((name.clone(), from.get(name)?.clone()));
    names.iter().filter_map(one).collect()
}

fn with(metadata: MetadataMap, headers: HeaderMap) -> MetadataMap {
    let mut all = metadata.into_headers();
    all.extend(headers);
    MetadataMap::from_headers(all)
}

async fn read(body: Body) -> Result<Bytes, Status> {
    to_bytes(body, ANSWER_BYTES_MAX).await.map_err(|error| {
        Status::unknown(format!("the answer broke off: {error}; the call may have taken effect"))
    })
}

impl UnaryService<DynamicMessage> for Call {
    type Response = DynamicMessage;
    type Future = Later<Result<tonic::Response<DynamicMessage>, Status>>;

    fn call(&mut self, request: tonic::Request<DynamicMessage>) -> Self::Future {
        let call = self.clone();
        Box::pin(async move {
            let (parts, body) = call.ask(request).await?.into_parts();
            let body = read(body).await?;
            let message = transcode::answer(call.rpc, (parts.status, &parts.headers, &body))?;
            let mut answer = tonic::Response::new(message);
            *answer.metadata_mut() =
                MetadataMap::from_headers(carried(&parts.headers, &CARRIED_BACK));
            Ok(answer)
        })
    }
}

impl ServerStreamingService<DynamicMessage> for Call {
    type Response = DynamicMessage;
    type ResponseStream = Messages;
    type Future = Later<Result<tonic::Response<Messages>, Status>>;

    fn call(&mut self, request: tonic::Request<DynamicMessage>) -> Self::Future {
        let call = self.clone();
        Box::pin(async move {
            let output = call.rpc.output.clone();
            let body = call.ask(request).await?.into_body().into_data_stream();
            let pieces = body.map(|piece| {
                piece.map_err(|error| Status::unavailable(format!("the stream broke off: {error}")))
            });
            let messages: Messages = match call.rpc.shape {
                Shape::Events => Box::pin(events(pieces.boxed(), output)),
                _ => Box::pin(pieces.map(move |piece| {
                    let mut chunk = DynamicMessage::new(output.clone());
                    chunk.set_field_by_name("data", Field::Bytes(piece?));
                    Ok(chunk)
                })),
            };
            Ok(tonic::Response::new(messages))
        })
    }
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// The data of server-sent events, each as a message.
fn events(
    pieces: Pieces,
    output: prost_reflect::MessageDescriptor,
) -> impl Stream<Item = Result<DynamicMessage, Status>> + Send {
    stream::unfold(Some((pieces, Vec::new())), move |state| {
        let output = output.clone();
        async move {
            let (mut pieces, mut text) = state?;
            loop {
                while let Some(event) = take_event(&mut text) {
                    let Some(data) = event_data(&event) else { continue };
                    let message = serde_json::from_str(&data)
                        .and_then(|value| transcode::read(&output, &value))
                        .map_err(|error| Status::internal(format!("an unreadable event: {error}")));
                    return Some((message, Some((pieces, text))));
                }
                match pieces.next().await? {
                    Ok(piece) => text.extend_from_slice(&piece),
                    Err(status) => return Some((Err(status), None)),
                }
            }
        }
    })
}

/// Takes the first whole event off the text.
fn take_event(text: &mut Vec<u8>) -> Option<String> {
    let end = text.windows(2).position(|two| two == b"\n\n")?;
    let rest = text.split_off(end + 2);
    let event = std::mem::replace(text, rest);
    Some(String::from_utf8_lossy(&event).into_owned())
}

/// `None` for a comment, which only keeps the stream alive.
fn event_data(event: &str) -> Option<String> {
    let lines: Vec<&str> =
        event.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim_start).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_whole_wherever_they_are_cut() {
        let whole = b"id: 1\nevent: a\ndata: {\"x\":1}\n\n:\n\ndata: {}\n\n";
        for cut in 0..whole.len() {
            let mut text = whole[..cut].to_vec();
            let mut found = Vec::new();
            for piece in [&whole[cut..], &[]] {
                while let Some(event) = take_event(&mut text) {
                    found.extend(event_data(&event));
                }
                text.extend_from_slice(piece);
            }
            assert_eq!(found, ["{\"x\":1}", "{}"], "cut at {cut}");
            assert!(text.is_empty());
        }
    }
}
