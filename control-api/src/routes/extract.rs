//! What requests carry, read strictly: what nobody knows is refused and named, so that a misspelt
//! option never passes for its default.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use continuum_domain::access::{Caller, Power};
use continuum_domain::trace::TraceContext;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, header};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::BODY_BYTES_MAX;
use crate::ask::{Ask, Condition, KEY_BYTES_MAX, RequestKey};
use crate::audit::AuditOrigin;
use crate::problem::ApiError;

/// Names a request, so that it can be repeated and takes effect once.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The authenticated caller of a request. The server puts it into the request's extensions; a
/// request without one is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal(pub Caller);

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<Principal>()
            .cloned()
            .ok_or_else(|| ApiError::new(403, "forbidden", "the caller is not known"))
    }
}

/// What the caller may see. The server puts it into the request's extensions once it has decided
/// about the request; one that nobody decided about is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The caller.
    pub caller: Caller,
    /// What it held when the request was decided about.
    pub power: Power,
}

impl<S: Send + Sync> FromRequestParts<S> for Sight {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Sight>().cloned().ok_or_else(|| {
            ApiError::new(403, "forbidden", "nobody decided whether the caller may do this")
        })
    }
}

/// A request for a change, with its JSON body. A body that is left out is an empty object.
pub struct Order<T> {
    pub ask: Ask,
    pub body: T,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Order<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let Principal(who) = Principal::from_request_parts(&mut parts, state).await?;
        Sight::from_request_parts(&mut parts, state).await?;
        let origin = parts.extensions.get::<AuditOrigin>().cloned();
        let trace = parts.extensions.get::<TraceContext>().copied();
        let condition = condition(&parts.headers)?;
        let key = key(&parts.headers)?;
        let method = parts.method.clone();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let bytes = read(Request::from_parts(parts, body), state).await?;
        let key = key.map(|key| RequestKey { key, digest: digest(&method, &path, &bytes) });
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        let body = serde_json::from_slice(text).map_err(|error| {
            let text = format!("the JSON body is refused: {error}; nothing was changed");
            ApiError::new(422, "body-refused", text)
        })?;
        Ok(Self { ask: Ask { who, key, condition, origin, trace }, body })
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, state).await.map_err(|error| {
        let text =
            format!("{error}; at most {BODY_BYTES_MAX} bytes are accepted; nothing was changed");
        ApiError::new(error.status().as_u16(), "body-unreadable", text)
    })
}

fn digest(method: &Method, path: &str, body: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(format!("{method} {path}\n"));
    hasher.update(body);
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name of a request, and what is asked under it. `path` is below the version prefix.
pub fn request_key(
    headers: &HeaderMap,
    method: &Method,
    path: &str,
    body: &[u8],
) -> Result<Option<RequestKey>, ApiError> {
    let key = key(headers)?;
    Ok(key.map(|key| RequestKey { key, digest: digest(method, path, body) }))
}

fn key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(&IDEMPOTENCY_KEY) else { return Ok(None) };
    let fits = |text: &&str| {
        (1..=KEY_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match value.to_str().ok().filter(fits) {
        Some(text) => Ok(Some(text.to_owned())),
        None => {
            let text = format!(
                "Idempotency-Key: 1 to {KEY_BYTES_MAX} visible ASCII characters are accepted; \
                 nothing was changed"
            );
            Err(ApiError::new(400, "idempotency-key-refused", text))
        }
    }
}

fn condition(headers: &HeaderMap) -> Result<Condition, ApiError> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default().trim());
    let (matching, absent) = (text(header::IF_MATCH), text(header::IF_NONE_MATCH));
    match (matching, absent) {
        (None, None) => Ok(Condition::None),
        (None, Some("*")) => Ok(Condition::Absent),
        (Some("*"), None) => Ok(Condition::Exists),
        (Some(tag), None) => version(tag).map(Condition::Version).ok_or_else(|| {
            let text = format!(
                "If-Match: {tag} is no entity tag of ours; one looks like \"3\", or * for any; \
                 nothing was changed"
            );
            ApiError::new(400, "condition-refused", text)
        }),
        (_, Some(_)) => {
            let text = "If-None-Match: only * is accepted, without If-Match; nothing was changed";
            Err(ApiError::new(400, "condition-refused", text))
        }
    }
}

fn version(tag: &str) -> Option<u64> {
    tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

/// Query parameters, every one known.
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(error) => {
                let text = format!("the query is refused: {}", error.body_text());
                Err(ApiError::new(400, "query-refused", text))
            }
        }
    }
}

/// The path's identifier.
pub struct Id<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Id<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(error) => {
                let text = format!("the path is refused: {}", error.body_text());
                Err(ApiError::new(400, "path-refused", text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a header"))])
    }

    #[test]
    fn conditions_are_read() {
        let of = |name, value| condition(&headers(name, value)).map_err(|error| error.status);
        assert_eq!(condition(&HeaderMap::new()).ok(), Some(Condition::None));
        assert_eq!(of(header::IF_MATCH, "\"7\""), Ok(Condition::Version(7)));
        assert_eq!(of(header::IF_MATCH, "*"), Ok(Condition::Exists));
        assert_eq!(of(header::IF_NONE_MATCH, "*"), Ok(Condition::Absent));
        for bad in ["7", "W/\"7\"", "\"x\"", "\"1\", \"2\""] {
            assert_eq!(of(header::IF_MATCH, bad), Err(400), "{bad}");
        }
        assert_eq!(of(header::IF_NONE_MATCH, "\"7\""), Err(400));
    }

    #[test]
    fn keys_are_bounded() {
        let of = |value| key(&headers(IDEMPOTENCY_KEY, value)).map_err(|error| error.status);
        assert_eq!(of("a-1"), Ok(Some("a-1".into())));
        assert_eq!(of(""), Err(400));
        assert_eq!(of("a b"), Err(400));
        let long: &'static str = "x".repeat(KEY_BYTES_MAX + 1).leak();
        assert_eq!(of(long), Err(400));
    }

    #[test]
    fn another_path_or_body_is_another_request() {
        let of = |path, body: &str| digest(&Method::POST, path, body.as_bytes());
        assert_eq!(of("/a", "{}"), of("/a", "{}"));
        assert_ne!(of("/a", "{}"), of("/b", "{}"));
        assert_ne!(of("/a?pair=x", "{}"), of("/a?pair=y", "{}"));
        assert_ne!(of("/a", "{}"), of("/a", "{ }"));
    }
}
