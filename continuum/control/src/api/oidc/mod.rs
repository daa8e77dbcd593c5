//! People by the word of an identity provider: OpenID Connect discovery, its keys, its tokens.
//!
//! Keys are fetched when a token names one that is not known, at most once in ten seconds, and every
//! ten minutes; a key that the provider no longer names is not believed any more. While the provider
//! is away the keys that are known go on. Nothing of an operation under way waits for it.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use continuum_control_api::routes::ApiError;
use continuum_domain::Tick;
use continuum_domain::access::Caller;
use continuum_runtime::clock::SharedClock;
use continuum_runtime::net::trusting;
use serde::Deserialize;
use tokio::sync::Mutex;

use self::jwt::{Keys, Refusal, verify};
use super::door::unauthenticated;
use crate::config::{ConfigError, OidcConfig};

mod jwt;

/// How long discovery and keys may take together.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer of the provider.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Time between two fetches that tokens ask for.
const FETCH_PAUSE: Duration = Duration::from_secs(10);
/// How old keys may become before they are fetched again.
const REFRESH: Duration = Duration::from_secs(600);
/// The same while none are known.
const REFRESH_WITHOUT: Duration = Duration::from_secs(30);

/// What came of the last fetch, and when it was begun.
#[derive(Clone, Copy, Default)]
struct Last {
    begun: Option<Tick>,
    is_good: bool,
}

/// The identity provider.
pub(crate) struct Provider {
    config: OidcConfig,
    clock: SharedClock,
    http: reqwest::Client,
    keys: RwLock<Arc<Keys>>,
    last: Mutex<Last>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Provider {
    /// Prepares; nothing is fetched yet.
    pub(crate) fn new(config: &OidcConfig, clock: &SharedClock) -> Result<Self, ConfigError> {
        let fail = |problem: String| ConfigError { key: "access.oidc".into(), problem };
        let tls = trusting(config.authority.as_deref(), &[b"h2", b"http/1.1"])
            .map_err(|error| fail(error.to_string()))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(FETCH_TIMEOUT)
            .build()
            .map_err(|error| fail(error.to_string()))?;
        let (config, clock) = (config.clone(), clock.clone());
        Ok(Self { config, clock, http, keys: RwLock::default(), last: Mutex::default() })
    }

    /// Keeps the keys fresh, for as long as the node runs.
    pub(crate) async fn run(&self) {
        loop {
            let is_good = self.fetch_after(Duration::ZERO).await;
            let pause = if is_good { REFRESH } else { REFRESH_WITHOUT };
            tokio::time::sleep(pause).await;
        }
    }

    /// Who a token is of.
    pub(crate) async fn caller(&self, token: &str) -> Result<Caller, ApiError> {
        match self.verified(token) {
            Err(Refusal::UnknownKey) => {}
            settled => return settled.map_err(refused),
        }
        if !self.fetch_after(FETCH_PAUSE).await {
            let text = "the identity provider can not be asked for its keys, and the token is signed by \
                        one that is not known; nothing was changed; ask again, or use another way in";
            return Err(ApiError::retryable(503, "provider-away", text));
        }
        self.verified(token).map_err(refused)
    }

    fn verified(&self, token: &str) -> Result<Caller, Refusal> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        verify(token, &keys, &self.config, self.clock.wall_ms())
    }

    /// Fetches the keys, unless that was tried less than `pause` ago; whether the last fetch was good.
    /// Who comes while another one fetches waits for what that brings.
    async fn fetch_after(&self, pause: Duration) -> bool {
        let asked = self.clock.now();
        let mut last = self.last.lock().await;
        let is_recent = |begun: Tick| begun >= asked || asked.since(begun) < pause;
        if last.begun.is_some_and(is_recent) {
            return last.is_good;
        }
        last.begun = Some(self.clock.now());
        last.is_good = false;
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, self.fetch()).await;
        let fetched = fetched.unwrap_or_else(|_| Err(format!("no answer in {FETCH_TIMEOUT:?}")));
        match fetched {
            Ok(keys) => {
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
                last.is_good = true;
            }
            Err(why) => {
                let issuer = &self.config.issuer;
                tracing::warn!(issuer, why, "the identity provider's keys were not fetched");
            }
        }
        last.is_good
    }

    async fn fetch(&self) -> Result<Keys, String> {
        let issuer = self.config.issuer.trim_end_matches('/');
        let text = self.get(&format!("{issuer}/.well-known/openid-configuration")).await?;
        let found: Discovery = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        if found.issuer != self.config.issuer {
            return Err(format!("it says that it is {}", found.issuer));
        }
        Keys::read(&self.get(&found.jwks_uri).await?)
    }

    async fn get(&self, url: &str) -> Result<Vec<u8>, String> {
        let mut response = self.http.get(url).send().await.map_err(|error| format!("{error:?}"))?;
        if response.status() != http::StatusCode::OK {
            return Err(format!("{url} was answered with {}", response.status()));
        }
        let mut all = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| error.to_string())? {
            all.extend_from_slice(&part);
            if all.len() > ANSWER_BYTES_MAX {
                return Err(format!("{url} has more than {ANSWER_BYTES_MAX} bytes"));
            }
        }
        Ok(all)
    }
}

fn refused(refusal: Refusal) -> ApiError {
    let why = match refusal {
        Refusal::UnknownKey => "its key is not known",
        Refusal::Bad(why) => why,
    };
    tracing::debug!(why, "a token of the identity provider was refused");
    unauthenticated("the token is not good")
}
