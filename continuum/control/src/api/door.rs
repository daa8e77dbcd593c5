//! The front door: who calls, by certificate or by bearer, and how often.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use continuum_control_api::rest::API;
use continuum_control_api::routes::{ApiError, Principal};
use continuum_domain::access::rate::{Buckets, Limit};
use continuum_domain::access::{Caller, Over};
use continuum_runtime::clock::SharedClock;
use continuum_runtime::net::Caller as Connection;
use continuum_runtime::{Identity, Role};
use http::{HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::oidc::Provider;
use super::origin;
use crate::config::{AccessConfig, ConfigError};
use crate::core::Core;
use crate::state::SecretHash;

/// What the tokens of ours begin with.
pub(super) const TOKEN_MARK: &str = "ctm_";
/// Failed attempts of one address.
const FAILURES: Limit = Limit { per_second: 1, burst: 20 };
/// How long a token that was just made may take to reach the node that is asked.
const TOKEN_TRAVEL: Duration = Duration::from_millis(500);

/// What the door keeps between requests.
pub(crate) struct Door {
    rate: Mutex<Buckets>,
    failures: Mutex<Buckets>,
    pub(crate) provider: Option<Arc<Provider>>,
}

impl Door {
    pub(crate) fn new(config: &AccessConfig, clock: &SharedClock) -> Result<Self, ConfigError> {
        let rate = Limit { per_second: config.rate.per_second, burst: config.rate.burst };
        let of = |limit| Mutex::new(Buckets::new(limit));
        let provider = config.oidc.as_ref().map(|oidc| Provider::new(oidc, clock)).transpose()?;
        Ok(Self { rate: of(rate), failures: of(FAILURES), provider: provider.map(Arc::new) })
    }
}

/// Who a certificate is; `None` for one that may not call the API.
pub(super) fn caller_of(identity: &Identity) -> Option<Caller> {
    match identity.role {
        Role::Operator => Some(Caller::certificate(identity.name.clone())),
        Role::Core => Some(Caller::core(identity.name.clone())),
        Role::Region | Role::Witness | Role::Dns => None,
    }
}

pub(super) fn forbidden(who: &str) -> ApiError {
    let text = format!("{who} may not call the API: only operators and control nodes may");
    ApiError::new(403, "forbidden", text)
}

/// Why a caller is not known, in words that help no guesser.
pub(super) fn unauthenticated(why: &str) -> ApiError {
    let text =
        format!("{why}; nothing was changed; call with a certificate or a token that is good");
    ApiError::new(401, "unauthenticated", text)
}

fn rate_limited(what: &str) -> ApiError {
    ApiError::retryable(
        429,
        "rate-limited",
        format!("{what}; nothing was changed; ask again later"),
    )
}

/// What a client is to be told beside the problem.
fn told(error: ApiError, after: Option<Duration>) -> Response {
    let mut response = error.into_response();
    if let Some(after) = after {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    response
}

/// Whether anybody may ask: what the API is, is no secret.
fn is_open(path: &str) -> bool {
    let own = path.strip_prefix(API);
    own.is_some_and(|path| matches!(path, "/openapi.json" | "/reference"))
}

/// Puts the authenticated caller into the request, or refuses it.
pub(super) async fn identify(
    State(core): State<Arc<Core>>,
    mut request: Request,
    next: Next,
) -> Response {
    origin::note(&mut request);
    // A forwarded request carries its principal already; nothing from outside can put one here.
    if request.extensions().get::<Principal>().is_none() && !is_open(request.uri().path()) {
        match admit(&core, Shown::of(&request)).await {
            Ok(caller) => drop(request.extensions_mut().insert(Principal(caller))),
            Err(refusal) => return challenged(*refusal),
        }
    }
    challenged(next.run(request).await)
}

/// An answer that says how to be known, where that is what is missing: also where the leader found that
/// a token has ended.
fn challenged(mut response: Response) -> Response {
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge = "Bearer realm=\"continuum\", error=\"invalid_token\"";
        let challenge = HeaderValue::from_static(challenge);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// What a request shows of its caller.
pub(super) struct Shown {
    identity: Option<Identity>,
    remote: Option<IpAddr>,
    authorization: Vec<HeaderValue>,
}

impl Shown {
    pub(super) fn of(request: &Request) -> Self {
        let connection = request.extensions().get::<ConnectInfo<Connection>>();
        let connection = connection.map(|ConnectInfo(connection)| connection);
        Self {
            identity: connection.and_then(|connection| connection.identity.clone()),
            remote: connection.map(|connection| connection.remote.ip()),
            authorization: request
                .headers()
                .get_all(header::AUTHORIZATION)
                .iter()
                .cloned()
                .collect(),
        }
    }

    /// The certificate, where nothing else decides.
    fn certificate(&self) -> Option<&Identity> {
        self.identity.as_ref().filter(|_| self.authorization.is_empty())
    }

    /// The one bearer.
    fn bearer(&self) -> Option<&str> {
        let [one] = self.authorization.as_slice() else { return None };
        let (scheme, text) = one.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())
    }
}

/// Who asks, if it may ask now.
async fn admit(core: &Core, shown: Shown) -> Result<Caller, Box<Response>> {
    let caller = authenticate(core, &shown).await?;
    let taken = lock(&core.door.rate).take(&caller.to_string(), core.clock.now());
    taken.map_err(|after| {
        let error = rate_limited(&format!("{caller} asks too often"));
        Box::new(told(error, Some(after)))
    })?;
    Ok(caller)
}

fn lock(buckets: &Mutex<Buckets>) -> std::sync::MutexGuard<'_, Buckets> {
    buckets.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bearer decides where there is one: it must be possible to ask for less than a certificate gives.
async fn authenticate(core: &Core, shown: &Shown) -> Result<Caller, Box<Response>> {
    if let Some(identity) = shown.certificate() {
        let known = caller_of(identity);
        return known.ok_or_else(|| Box::new(told(forbidden(&identity.to_string()), None)));
    }
    let from = shown.remote.map(|ip| ip.to_string()).unwrap_or_default();
    let now = core.clock.now();
    if let Err(after) = lock(&core.door.failures).look(&from, now) {
        let error = rate_limited("too many attempts from this address failed");
        return Err(Box::new(told(error, Some(after))));
    }
    let found = match shown.bearer() {
        Some(text) => by_bearer(core, text).await,
        None => Err(unauthenticated("there is neither a certificate of ours nor a bearer token")),
    };
    found.map_err(|error| {
        if error.status == 401 {
            // The bucket was looked at; should another attempt have emptied it, this one has failed anyway.
            let _emptied = lock(&core.door.failures).take(&from, now);
        }
        Box::new(told(error, None))
    })
}

async fn by_bearer(core: &Core, text: &str) -> Result<Caller, ApiError> {
    match (text.strip_prefix(TOKEN_MARK), &core.door.provider) {
        (Some(token), _) => by_token(core, token).await,
        (None, Some(provider)) => provider.caller(text).await,
        (None, None) => Err(unauthenticated("the bearer is no token of ours")),
    }
}

/// What a token's secret is kept as.
pub(super) fn hashed(secret: &str) -> SecretHash {
    SecretHash(Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// By a token of ours. Whether it has ended meanwhile is looked at again by who decides.
async fn by_token(core: &Core, token: &str) -> Result<Caller, ApiError> {
    let unknown = || unauthenticated("the token is not known, or has ended");
    let (id, secret) = token.split_once('_').ok_or_else(unknown)?;
    let (shown, mut applied) = (hashed(secret), core.node.watch_applied());
    let look = || {
        let now_ms = core.now_ms();
        core.node.read(|state| {
            let (view, hash) = state.access().token(id, now_ms)?;
            let same = bool::from(hash.0.as_bytes().ct_eq(shown.0.as_bytes()));
            Some(same.then(|| Caller::token(id, view.name.as_str(), view.person.clone())))
        })
    };
    let found = async {
        loop {
            applied.borrow_and_update();
            match look() {
                Some(found) => return found,
                None => applied.changed().await.ok()?,
            }
        }
    };
    let found = if core.leadership().i_lead {
        look().flatten()
    } else {
        tokio::time::timeout(TOKEN_TRAVEL, found).await.ok().flatten()
    };
    found.ok_or_else(unknown)
}

/// Whether the metrics are told: to a certificate of ours, or to who may view everything.
pub(super) async fn may_scrape(core: &Core, shown: Shown) -> Result<(), Box<Response>> {
    if shown.certificate().is_some() {
        return Ok(());
    }
    let caller = admit(core, shown).await?;
    let seen = core.power(&caller).map(|power| power.tier(Over::All));
    match seen {
        Ok(Some(_)) => Ok(()),
        Ok(None) => {
            let text =
                format!("{caller} may not read the metrics: they take the tier viewer over all");
            Err(Box::new(told(ApiError::new(403, "forbidden", text), None)))
        }
        Err(error) => Err(Box::new(told(error, None))),
    }
}
