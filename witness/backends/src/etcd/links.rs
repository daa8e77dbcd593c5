//! Connections to the members of an etcd, one in use at a time, and what a failed call proves.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use continuum_witness::StoreError;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Response, Status};

use super::EtcdConfig;
use super::proto::AuthenticateRequest;
use super::proto::auth_client::AuthClient;
use super::proto::kv_client::KvClient;
use crate::causes::{refused_certificate, root, sources};

/// etcd's calls on keys.
pub(super) type Client = KvClient<Channel>;

/// How often a connection without traffic is tried, and how long the answer may take.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// The link in use. The generation counts how often it was given up for the next.
#[derive(Clone)]
struct Link {
    generation: u64,
    channel: Channel,
}

/// The members, the link in use, and the login.
pub(super) struct Links {
    endpoints: Vec<Endpoint>,
    login: Option<(String, PathBuf)>,
    deadline: Duration,
    link: Mutex<Link>,
    token: Mutex<Option<AsciiMetadataValue>>,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let uris: Vec<_> = self.endpoints.iter().map(|endpoint| endpoint.uri()).collect();
        write!(f, "etcd at {uris:?}")
    }
}

/// What one attempt ran into.
enum Failure {
    /// At login: no call on keys was sent.
    Login(StoreError),
    /// The login could not be sent.
    Unreached(Status),
    /// At the call itself.
    Call(Status),
}

impl Links {
    pub(super) fn new(config: &EtcdConfig) -> Result<Self, StoreError> {
        let Some(count) = u32::try_from(config.endpoints.len()).ok().filter(|count| *count > 0)
        else {
            return Err(misconfigured("no endpoints are named"));
        };
        if config.deadline.is_zero() {
            return Err(misconfigured("the deadline is zero"));
        }
        let login = match (&config.user, &config.password_file) {
            (Some(user), Some(file)) => Some((user.clone(), file.clone())),
            (None, None) => None,
            _ => return Err(misconfigured("user and password_file go together")),
        };
        let tls = tls(config)?;
        // A member that is gone without a word must leave time for the others.
        let each = config.deadline / (count + 1);
        let endpoint = |text: &String| endpoint(text, tls.as_ref(), each);
        let endpoints = config.endpoints.iter().map(endpoint).collect::<Result<Vec<_>, _>>()?;
        let link = Mutex::new(Link { generation: 0, channel: endpoints[0].connect_lazy() });
        let (deadline, token) = (config.deadline, Mutex::new(None));
        Ok(Self { endpoints, login, deadline, link, token })
    }

    // A panic cannot leave a link or a token half changed, so a poisoned lock is taken over.
    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn token(&self) -> MutexGuard<'_, Option<AsciiMetadataValue>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a fresh connection to the next member in the place of `generation`, unless another call
    /// did so already.
    fn give_up(&self, generation: u64) {
        let mut link = self.lock();
        if link.generation == generation {
            let generation = generation + 1;
            let at = generation % self.endpoints.len() as u64;
            let channel = self.endpoints[at as usize].connect_lazy();
            *link = Link { generation, channel };
        }
    }

    /// Runs one call under the deadline, on each member until one connects.
    pub(super) async fn call<M, T, F>(
        &self,
        message: M,
        ask: impl Fn(Client, Request<M>) -> F + Send + Sync,
    ) -> Result<T, StoreError>
    where
        M: Clone + Send + Sync,
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        let used = AtomicU64::new(0);
        match tokio::time::timeout(self.deadline, self.attempts(message, &ask, &used)).await {
            Ok(answer) => answer,
            Err(_) => {
                // A peer that is frozen would hold the following calls back too.
                self.give_up(used.load(Ordering::Relaxed));
                let span = self.deadline;
                Err(StoreError::Unanswered(format!("etcd gave no answer in {span:?}")))
            }
        }
    }

    async fn attempts<M, T, F>(
        &self,
        message: M,
        ask: &(impl Fn(Client, Request<M>) -> F + Send + Sync),
        used: &AtomicU64,
    ) -> Result<T, StoreError>
    where
        M: Clone + Send + Sync,
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        let (mut unreached, mut logged_in_anew) = (0, false);
        loop {
            let Link { generation, channel } = self.lock().clone();
            used.store(generation, Ordering::Relaxed);
            let status = match self.attempt(channel, message.clone(), ask).await {
                Ok(response) => return Ok(response),
                Err(Failure::Login(error)) => return Err(error),
                Err(Failure::Unreached(status) | Failure::Call(status)) => status,
            };
            if never_connected(&status) {
                self.give_up(generation);
                unreached += 1;
                if unreached < self.endpoints.len() {
                    continue;
                }
            } else if self.login.is_some() && !logged_in_anew && token_refused(&status) {
                *self.token() = None;
                logged_in_anew = true;
                continue;
            } else if !decided(&status) {
                self.give_up(generation);
            }
            return Err(error_of(&status));
        }
    }

    async fn attempt<M, T, F>(
        &self,
        channel: Channel,
        message: M,
        ask: &(impl Fn(Client, Request<M>) -> F + Send + Sync),
    ) -> Result<T, Failure>
    where
        M: Send,
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        let mut request = Request::new(message);
        if let Some(token) = self.log_in(&channel).await? {
            request.metadata_mut().insert("token", token);
        }
        ask(KvClient::new(channel), request).await.map(Response::into_inner).map_err(Failure::Call)
    }

    /// The token of the login, fetched where there is none; it is good for every member.
    async fn log_in(&self, channel: &Channel) -> Result<Option<AsciiMetadataValue>, Failure> {
        let Some((user, file)) = &self.login else { return Ok(None) };
        if let Some(token) = self.token().clone() {
            return Ok(Some(token));
        }
        let password = String::from_utf8(read(file).map_err(Failure::Login)?)
            .map_err(|_| Failure::Login(misconfigured("the password is no UTF-8")))?;
        let password = password.trim_end_matches(['\r', '\n']).to_owned();
        let request = AuthenticateRequest { name: user.clone(), password };
        let answer = AuthClient::new(channel.clone()).authenticate(request).await;
        let token = match answer {
            Ok(response) => response.into_inner().token,
            Err(status) if never_connected(&status) => return Err(Failure::Unreached(status)),
            Err(status) => return Err(Failure::Login(login_error(user, &status))),
        };
        let token = AsciiMetadataValue::try_from(token)
            .map_err(|_| Failure::Login(misconfigured("the token is no header's value")))?;
        *self.token() = Some(token.clone());
        Ok(Some(token))
    }
}

fn misconfigured(text: impl std::fmt::Display) -> StoreError {
    StoreError::Misconfigured(format!("etcd: {text}"))
}

fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    std::fs::read(path).map_err(|error| misconfigured(format!("{}: {error}", path.display())))
}

fn tls(config: &EtcdConfig) -> Result<Option<ClientTlsConfig>, StoreError> {
    let identity = match (&config.certificate_file, &config.key_file) {
        (Some(certificate), Some(key)) => Some(Identity::from_pem(read(certificate)?, read(key)?)),
        (None, None) => None,
        _ => return Err(misconfigured("certificate_file and key_file go together")),
    };
    let Some(ca) = &config.ca_file else {
        if identity.is_some() {
            return Err(misconfigured("a client certificate needs a ca_file beside it"));
        }
        return Ok(None);
    };
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
    Ok(Some(match identity {
        Some(identity) => tls.identity(identity),
        None => tls,
    }))
}

fn endpoint(
    text: &str,
    tls: Option<&ClientTlsConfig>,
    each: Duration,
) -> Result<Endpoint, StoreError> {
    let bad = |error: &dyn std::fmt::Display| misconfigured(format!("endpoint {text:?}: {error}"));
    let endpoint = Endpoint::from_shared(text.to_owned()).map_err(|error| bad(&error))?;
    let endpoint = match (endpoint.uri().scheme_str(), tls) {
        (Some("http"), None) => endpoint,
        (Some("https"), Some(tls)) => {
            endpoint.tls_config(tls.clone()).map_err(|error| bad(&root(&error)))?
        }
        // A key or a password must not go out in the clear because of one letter.
        (Some("http"), Some(_)) => return Err(bad(&"a ca_file is given, but this is not https")),
        (Some("https"), None) => return Err(bad(&"https needs a ca_file")),
        _ => return Err(bad(&"it is neither http:// nor https://")),
    };
    Ok(endpoint
        .connect_timeout(each)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true))
}

/// A login changes no cell, so that whatever failed, the call was not carried out.
fn login_error(user: &str, status: &Status) -> StoreError {
    let text = format!("etcd: login of {user:?}: {}", status.message());
    match status.code() {
        Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated => {
            StoreError::Unauthorised(text)
        }
        Code::FailedPrecondition | Code::Unimplemented => StoreError::Misconfigured(text),
        _ => StoreError::NotSent(text),
    }
}

/// Whether etcd asks for another login. It decides so before the call is carried out.
fn token_refused(status: &Status) -> bool {
    status.code() == Code::Unauthenticated
        || status.message().contains("revision of auth store is old")
}

/// Whether the member itself decided, so that there is no reason to leave it.
fn decided(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::PermissionDenied
            | Code::Unauthenticated
            | Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::ResourceExhausted
    )
}

/// Only what certainly was not carried out may be said to be so; the rest is unanswered. Running
/// out of space is among the rest: etcd may say so of a change that it did carry out.
fn error_of(status: &Status) -> StoreError {
    let text = format!("etcd: {}", status.message());
    match status.code() {
        _ if never_connected(status) => match refused_certificate(status) {
            Some(why) => misconfigured(why),
            None => StoreError::NotSent(format!("etcd: {}", root(status))),
        },
        Code::PermissionDenied | Code::Unauthenticated => StoreError::Unauthorised(text),
        // What etcd with authentication says to a caller without a login.
        Code::InvalidArgument if text.contains("user name is empty") => {
            StoreError::Unauthorised(text)
        }
        Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented => {
            StoreError::Misconfigured(text)
        }
        _ => StoreError::Unanswered(text),
    }
}

/// Whether the request failed because no connection came about to send it on.
fn never_connected(status: &Status) -> bool {
    sources(status).any(|error| error.is::<tonic::ConnectError>())
}
