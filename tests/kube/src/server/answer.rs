//! From a request to its answer.

use std::sync::{Arc, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::get;
use continuum_runtime::{BootClock, Clock};
use hyper::{Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::watch as channel;

use crate::cluster::patch::PatchKind;
use crate::cluster::{Ask, Cluster, read::served};
use crate::control::{Call, Effect, Side};
use crate::discovery;
use crate::failure::Failure;
use crate::path::{Query, Target};
use crate::server::{Dropped, Shared, exec, watch};

/// What of a body is read; the real server takes 3 MB.
const BODY: usize = 3 << 20;

/// Everything that is served, on one connection.
pub fn router(shared: Arc<Shared>, stop: channel::Receiver<bool>) -> Router {
    let of = |answer: fn(&Cluster) -> Value| {
        let shared = shared.clone();
        get(move || async move { json_response(200, &answer(&shared.cluster())) })
    };
    let here = shared.clone();
    let group = get(move |axum::extract::Path(name): axum::extract::Path<String>| async move {
        optional(discovery::groups(&here.cluster().kinds, Some(&name)))
    });
    let here = shared.clone();
    let core =
        get(move || async move { optional(discovery::resources(&here.cluster().kinds, "", "v1")) });
    let here = shared.clone();
    let version = get(
        move |axum::extract::Path((group, version)): axum::extract::Path<(String, String)>| async move {
            optional(discovery::resources(&here.cluster().kinds, &group, &version))
        },
    );
    let well = || get(|| async { "ok" });
    Router::new()
        .route("/version", of(|_| discovery::version()))
        .route("/healthz", well())
        .route("/livez", well())
        .route("/readyz", well())
        .route("/api", of(|_| discovery::core_versions()))
        .route("/api/v1", core)
        .route("/apis", of(|cluster| discovery::groups(&cluster.kinds, None).unwrap_or_default()))
        .route("/apis/{group}", group)
        .route("/apis/{group}/{version}", version)
        .fallback(move |request: Request| objects(shared.clone(), stop.clone(), request))
}

fn json_response(code: u16, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn optional(found: Option<Value>) -> Response {
    match found {
        Some(found) => json_response(200, &found),
        None => refused(&Failure::no_such_path()),
    }
}

fn refused(failure: &Failure) -> Response {
    if failure.plain {
        let mut response = Response::new(Body::from(format!("{}\n", failure.message())));
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    }
    let mut response = json_response(failure.code, &failure.status());
    if let Some(seconds) = failure.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn dropped() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Dropped);
    response
}

fn verb(request: &Request, target: &Target, query: &Query) -> &'static str {
    let named = target.name.is_some();
    match *request.method() {
        Method::GET if query.flag("watch") => "watch",
        Method::GET if named => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => "unknown",
    }
}

fn call(request: &Request, target: &Target, query: &Query) -> Call {
    let said = |name: header::HeaderName| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let user = said(header::AUTHORIZATION);
    let user = user.strip_prefix("Bearer ").unwrap_or("admin").to_owned();
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    Call {
        verb: verb(request, target, query).to_owned(),
        group: target.group.clone(),
        resource: target.plural.clone(),
        subresource: text(&target.subresource),
        namespace: text(&target.namespace),
        name: text(&target.name),
        user,
        agent: said(header::USER_AGENT),
        command: query.every("command").join(" "),
    }
}

/// Answers a request about objects, with whatever is to go wrong meanwhile.
async fn objects(shared: Arc<Shared>, stop: channel::Receiver<bool>, request: Request) -> Response {
    let query = Query::read(request.uri().query().unwrap_or_default());
    let Some(target) = Target::read(request.uri().path()) else {
        return refused(&Failure::no_such_path());
    };
    let call = call(&request, &target, &query);
    // A user that is cut off is not disturbed beside that.
    let (effect, told) = match shared.control.severed(&call) {
        Some((Side::Before, told)) => (Some(Effect::Drop), told),
        Some((Side::After, told)) => (Some(Effect::LoseReply), told),
        None => (shared.control.effect(&call), None),
    };
    let is_command = call.subresource == "exec";
    let lost = match effect {
        Some(Effect::LoseReply) if is_command => Some(exec::Lost(told.clone())),
        _ => None,
    };
    let whole = lost.is_some();
    let holding = shared.control.holding(&call);
    let before = match effect {
        Some(Effect::Drop) => Some(dropped()),
        Some(Effect::Answer(code)) => Some(refused(&Failure::server(code))),
        Some(Effect::RetryAfter(seconds)) => {
            let mut failure = Failure::server(429);
            failure.retry_after = Some(seconds);
            Some(refused(&failure))
        }
        Some(Effect::Delay(time)) => {
            tokio::time::sleep(time).await;
            None
        }
        _ => None,
    };
    let response = match before {
        Some(response) => response,
        None => match allowed(&shared, &call, target, query, (request, lost), stop).await {
            Ok(response) => response,
            Err(failure) => refused(&failure),
        },
    };
    if let Some(holding) = holding {
        holding.wait().await;
    }
    let response = match effect {
        // The answer of a command comes on the connection that it is carried out on.
        Some(Effect::LoseReply) if whole => response,
        Some(Effect::LoseReply) => dropped(),
        Some(Effect::AnswerAfter(code)) => refused(&Failure::server(code)),
        _ => response,
    };
    if let Some(told) = told.filter(|_| !whole) {
        told.send_replace(true);
    }
    let ended = response.extensions().get::<Dropped>().is_some();
    shared.control.note(call, if ended { 0 } else { response.status().as_u16() });
    response
}

async fn allowed(
    shared: &Arc<Shared>,
    call: &Call,
    target: Target,
    query: Query,
    (request, lost): (Request, Option<exec::Lost>),
    stop: channel::Receiver<bool>,
) -> Result<Response, Failure> {
    let found = shared.cluster().kinds.get(&target.group, &target.version, &target.plural);
    let resource = found.ok_or_else(Failure::no_such_path)?;
    if shared.control.is_forbidden(call) {
        return Err(forbidden(call, &resource.qualified()));
    }
    let known = match target.subresource.as_deref() {
        None => true,
        Some("status") => resource.status,
        Some("exec") => resource.kind == "Pod" && !resource.custom,
        Some(_) => false,
    };
    if !known {
        return Err(Failure::no_such_path());
    }
    let namespace = target.namespace.clone().unwrap_or_default();
    let agent = call.agent.split('/').next().filter(|agent| !agent.is_empty());
    let agent = agent.unwrap_or("unknown").to_owned();
    let subresource = target.subresource.clone();
    let ask = Ask { resource, namespace, subresource, query, agent, now: now() };
    if ask.subresource.as_deref() == Some("exec") {
        return run_exec(shared, &ask, &target, (request, lost), stop);
    }
    if call.verb == "watch" {
        return begin_watch(shared, ask, &target);
    }
    let media_type = request.headers().get(header::CONTENT_TYPE).cloned();
    let media_type = media_type.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.to_owned();
    let bytes = axum::body::to_bytes(request.into_body(), BODY)
        .await
        .map_err(|_| Failure::new(413, "RequestEntityTooLarge", "limit is 3145728"))?;
    let body = read(&bytes)?;
    let mut cluster = shared.cluster();
    let answer = verbs(&mut cluster, call, &ask, &target, &media_type, body);
    shared.tell(&cluster);
    answer.map(|(code, body)| json_response(code, &body))
}

/// JSON, or the YAML that an apply may be written in.
fn read(bytes: &[u8]) -> Result<Value, Failure> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(bytes).or_else(|error| {
        let yaml: Result<Value, _> = serde_yaml_ng::from_slice(bytes);
        yaml.map_err(|_| Failure::bad_request(format!("couldn't parse the body: {error}")))
    })
}

fn verbs(
    cluster: &mut Cluster,
    call: &Call,
    ask: &Ask,
    target: &Target,
    media_type: &str,
    body: Value,
) -> Result<(u16, Value), Failure> {
    let resource = &ask.resource;
    let name = target.name.as_deref().unwrap_or_default();
    let known = |object: &Value| served(object, resource);
    match call.verb.as_str() {
        "get" => Ok((200, known(&*cluster.kept(ask, name)?))),
        "list" => Ok((200, cluster.list(ask)?)),
        "create" if target.name.is_none() => {
            let object = cluster.create(ask, body)?;
            Ok((201, known(&object)))
        }
        "update" if target.name.is_some() => Ok((200, known(&*cluster.update(ask, name, body)?))),
        "patch" if target.name.is_some() => {
            let kind = PatchKind::read(media_type).ok_or_else(|| {
                Failure::media_type(&[
                    "application/json-patch+json",
                    "application/merge-patch+json",
                    "application/apply-patch+yaml",
                ])
            })?;
            let (object, new) = cluster.patch(ask, name, kind, &body)?;
            Ok((if new { 201 } else { 200 }, known(&object)))
        }
        "delete" => Ok((200, cluster.delete(ask, name, &body)?)),
        "deletecollection" => {
            let gone = cluster.delete_all(ask, &body)?;
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "details": { "kind": resource.plural, "names": gone },
            });
            Ok((200, status))
        }
        _ => Err(Failure::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )),
    }
}

fn begin_watch(shared: &Arc<Shared>, mut ask: Ask, target: &Target) -> Result<Response, Failure> {
    if let Some(name) = &target.name {
        let only = format!("fieldSelector=metadata.name%3D{name}");
        let rest = ask.query.get("resourceVersion").map(|at| format!("&resourceVersion={at}"));
        ask.query = Query::read(&(only + &rest.unwrap_or_default()));
    }
    let lines = watch::begin(shared, ask)?;
    let mut response = Response::new(Body::from_stream(lines));
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

fn run_exec(
    shared: &Arc<Shared>,
    ask: &Ask,
    target: &Target,
    (request, lost): (Request, Option<exec::Lost>),
    stop: channel::Receiver<bool>,
) -> Result<Response, Failure> {
    let pod = target.name.clone().unwrap_or_default();
    shared.cluster().kept(ask, &pod)?;
    let handler = shared.exec.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let handler = handler.ok_or_else(|| Failure::server(500))?;
    let command = exec::Command {
        namespace: ask.namespace.clone(),
        pod,
        container: ask.query.get("container").map(str::to_owned),
        line: ask.query.every("command"),
    };
    exec::upgrade(request, command, (handler, lost), stop)
}

fn forbidden(call: &Call, qualified: &str) -> Failure {
    let what = if call.name.is_empty() { String::new() } else { format!(" \"{}\"", call.name) };
    let part = match call.subresource.as_str() {
        "" => String::new(),
        part => format!("/{part}"),
    };
    let place = match call.namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace \"{namespace}\""),
    };
    let why = format!(
        "{qualified}{what} is forbidden: User \"{}\" cannot {} resource \"{}{part}\" in API group \"{}\" {place}",
        call.user, call.verb, call.resource, call.group
    );
    Failure::new(403, "Forbidden", why)
}

/// The time as objects write it: whole seconds.
fn now() -> String {
    let seconds = BootClock.wall_ms() / 1_000;
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    time.to_string()
}
