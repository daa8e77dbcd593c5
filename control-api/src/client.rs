//! The client of `/api/v1`.
//!
//! It tries the control nodes in turn, beginning with the one that answered last. Every change carries
//! a key of its own, so that a node that is asked after another one gave no answer repeats it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use continuum_domain::operation::Operation;
use continuum_domain::{OperationId, PairId};
use continuum_runtime::net::{TlsFiles, trusting};
use continuum_runtime::{Identity, Role, seed};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::approvals::Approval;
use crate::problem::Problem;
use crate::rest::{
    API, AddCoreNode, ApplyPair, AuditQuery, AuditRecord, AuditVerdict, AutomationPause, CoreView,
    DiffQuery, ExportQuery, FailbackRequest, FailoverRequest, Fleet, FleetQuery, HistoryEntry,
    HistoryQuery, LeaseView, OperationsQuery, PairView, PairsQuery, PausePairRequest, PauseQuery,
    PauseRequest, ReasonBody, RejoinRequest, ResumePairRequest, RollbackRequest, SpecDiff,
    SpecVersion, Started, Status, SwitchoverRequest, VerifyQuery,
};
use crate::routes::IDEMPOTENCY_KEY;
use crate::sinks::{DeadLetter, SinkRetried, SinkTested, SinkView};

mod access;
mod approvals;

/// How long one endpoint may take to be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one endpoint may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);
/// The same for a change of the core's members, which waits until a new one has caught up.
const MEMBERSHIP_TIMEOUT: Duration = Duration::from_secs(45);

/// How long an export may take in all.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3_600);

/// Why a request brought no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// The client could not be set up.
    #[error("the API client could not be set up: {0}")]
    Setup(String),
    /// The core answered with an error.
    #[error("{}: {}", problem.code, problem.detail)]
    Problem {
        /// HTTP status.
        status: u16,
        /// What it said.
        problem: Box<Problem>,
    },
    /// A safety rule holds for the request: nothing was changed until another person approves it.
    #[error("{} waits for another person's approval, by rule {}", .0.id, .0.rule)]
    Kept(Box<Approval>),
    /// No control node answered.
    #[error("no control node answered ({}); PostgreSQL does not depend on them", list(.tried))]
    Unreachable {
        /// Each endpoint and what went wrong there.
        tried: Vec<(String, String)>,
    },
    /// A node answered with something this version does not understand.
    #[error("{endpoint} answered with something that is not understood: {problem}")]
    NotUnderstood {
        /// Which.
        endpoint: String,
        /// Why.
        problem: String,
    },
}

fn list(tried: &[(String, String)]) -> String {
    let lines: Vec<_> = tried.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    lines.join("; ")
}

/// By what a client is known.
#[derive(Clone)]
pub enum Credentials {
    /// A certificate.
    Certificate(TlsFiles),
    /// A token, and the authority that the nodes' certificates are of.
    Bearer {
        /// PEM.
        authority: PathBuf,
        /// The token, a secret.
        token: String,
    },
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Credentials::Certificate(files) => files.fmt(f),
            Credentials::Bearer { .. } => f.write_str("Bearer"),
        }
    }
}

struct Target {
    label: String,
    base: String,
    client: reqwest::Client,
}

/// A client of the control core.
pub struct ApiClient {
    targets: Vec<Target>,
    /// The endpoint that answered last, asked first.
    preferred: AtomicUsize,
}

impl std::fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.targets.iter().map(|target| &target.label)).finish()
    }
}

impl ApiClient {
    /// A client of the control nodes `(name, host:port)`, with the caller's certificate. Each node
    /// must prove its name.
    pub fn new(endpoints: Vec<(String, String)>, files: &TlsFiles) -> Result<Self, ClientError> {
        Self::with(endpoints, &Credentials::Certificate(files.clone()))
    }

    /// The same for a caller of any kind.
    pub fn with(
        endpoints: Vec<(String, String)>,
        credentials: &Credentials,
    ) -> Result<Self, ClientError> {
        if endpoints.is_empty() {
            return Err(ClientError::Setup("no control node is given".into()));
        }
        let targets = endpoints
            .into_iter()
            .map(|(name, address)| Target::new(&name, &address, credentials))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { targets, preferred: AtomicUsize::new(0) })
    }

    async fn call<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<T, ClientError> {
        let body = match body.map(serde_json::to_vec).transpose() {
            Ok(body) => body,
            Err(error) => return Err(ClientError::Setup(error.to_string())),
        };
        // One key for all nodes that are asked.
        let key = (method != Method::GET).then(|| seed::random_id(20));
        let mut tried = Vec::new();
        let mut busy = None;
        let first = self.preferred.load(Ordering::Relaxed);
        for offset in 0..self.targets.len() {
            let index = (first + offset) % self.targets.len();
            let Some(target) = self.targets.get(index) else { continue };
            match target.ask(&method, path, body.as_deref(), key.as_deref()).await {
                Err(why) => tried.push((target.label.clone(), why)),
                // This node has no leader in sight; another one may.
                Ok((503, bytes)) => busy = Some(understand::<T>(target, 503, &bytes)),
                Ok((status, bytes)) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return understand(target, status, &bytes);
                }
            }
        }
        busy.unwrap_or(Err(ClientError::Unreachable { tried }))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, None::<&()>).await
    }

    /// `GET /pairs`: a page.
    pub async fn pairs(&self, query: &PairsQuery) -> Result<Vec<PairView>, ClientError> {
        self.get(&with_query("/pairs", query)?).await
    }

    /// `GET /pairs`, page by page.
    pub async fn all_pairs(&self, selector: Option<&str>) -> Result<Vec<PairView>, ClientError> {
        const PAGE: usize = 500;
        let mut query =
            PairsQuery { selector: selector.map(Into::into), limit: Some(PAGE), cursor: None };
        let mut all = Vec::new();
        loop {
            let page = self.pairs(&query).await?;
            let is_full = page.len() >= PAGE;
            query.cursor = page.last().map(|last| last.spec.id.to_string());
            all.extend(page);
            if !is_full {
                return Ok(all);
            }
        }
    }

    /// `GET /fleet`.
    pub async fn fleet(&self, query: &FleetQuery) -> Result<Fleet, ClientError> {
        self.get(&with_query("/fleet", query)?).await
    }

    /// `GET /pairs/{id}`.
    pub async fn pair(&self, pair: &PairId) -> Result<PairView, ClientError> {
        self.get(&format!("/pairs/{pair}")).await
    }

    /// `GET /leases`.
    pub async fn leases(&self) -> Result<Vec<LeaseView>, ClientError> {
        self.get("/leases").await
    }

    /// `PUT /pairs/{id}`.
    pub async fn apply_pair(&self, body: &ApplyPair) -> Result<SpecVersion, ClientError> {
        self.call(Method::PUT, &format!("/pairs/{}", body.spec.id), Some(body)).await
    }

    /// `DELETE /pairs/{id}`.
    pub async fn remove_pair(
        &self,
        pair: &PairId,
        reason: &str,
    ) -> Result<SpecVersion, ClientError> {
        self.call(Method::DELETE, &format!("/pairs/{pair}"), Some(&because(reason))).await
    }

    /// `PUT /pairs/{id}` as a dry run.
    pub async fn check_pair(&self, body: &ApplyPair) -> Result<SpecDiff, ClientError> {
        let path = format!("/pairs/{}?dry_run=true", body.spec.id);
        self.call(Method::PUT, &path, Some(body)).await
    }

    /// `GET /pairs/{id}/versions`.
    pub async fn versions(&self, pair: &PairId) -> Result<Vec<SpecVersion>, ClientError> {
        self.get(&format!("/pairs/{pair}/versions")).await
    }

    /// `GET /pairs/{id}/history`.
    pub async fn history(
        &self,
        pair: &PairId,
        query: &HistoryQuery,
    ) -> Result<Vec<HistoryEntry>, ClientError> {
        self.get(&with_query(&format!("/pairs/{pair}/history"), query)?).await
    }

    /// `GET /pairs/{id}/diff`.
    pub async fn diff(&self, pair: &PairId, query: &DiffQuery) -> Result<SpecDiff, ClientError> {
        self.get(&with_query(&format!("/pairs/{pair}/diff"), query)?).await
    }

    /// `POST /pairs/{id}/rollback`.
    pub async fn roll_back(
        &self,
        pair: &PairId,
        body: &RollbackRequest,
    ) -> Result<SpecVersion, ClientError> {
        self.call(Method::POST, &format!("/pairs/{pair}/rollback"), Some(body)).await
    }

    /// `POST /pairs/{id}/switchover`.
    pub async fn switchover(
        &self,
        pair: &PairId,
        body: &SwitchoverRequest,
    ) -> Result<Started, ClientError> {
        self.call(Method::POST, &format!("/pairs/{pair}/switchover"), Some(body)).await
    }

    /// `POST /pairs/{id}/failover`.
    pub async fn failover(
        &self,
        pair: &PairId,
        body: &FailoverRequest,
    ) -> Result<Started, ClientError> {
        self.call(Method::POST, &format!("/pairs/{pair}/failover"), Some(body)).await
    }

    /// `POST /pairs/{id}/failback`.
    pub async fn failback(
        &self,
        pair: &PairId,
        body: &FailbackRequest,
    ) -> Result<Started, ClientError> {
        self.call(Method::POST, &format!("/pairs/{pair}/failback"), Some(body)).await
    }

    /// `POST /pairs/{id}/pause`.
    pub async fn pause_pair(
        &self,
        pair: &PairId,
        body: &PausePairRequest,
    ) -> Result<Started, ClientError> {
        self.call(Method::POST, &format!("/pairs/{pair}/pause"), Some(body)).await
    }

    /// `POST /pairs/{id}/resume`.
    pub async fn resume_pair(
        &self,
        pair: &PairId,
        body: &ResumePairRequest,
    ) -> Result<Started, ClientError> {
        self.call(Method::POST, &format!("/pairs/{pair}/resume"), Some(body)).await
    }

    /// `POST /pairs/{id}/rejoin`.
    pub async fn rejoin(
        &self,
        pair: &PairId,
        body: &RejoinRequest,
    ) -> Result<Started, ClientError> {
        self.call(Method::POST, &format!("/pairs/{pair}/rejoin"), Some(body)).await
    }

    /// `GET /operations`.
    pub async fn operations(&self, query: &OperationsQuery) -> Result<Vec<Operation>, ClientError> {
        self.get(&with_query("/operations", query)?).await
    }

    /// `GET /operations/{id}`.
    pub async fn operation(&self, operation: &OperationId) -> Result<Operation, ClientError> {
        self.get(&format!("/operations/{operation}")).await
    }

    /// `POST /operations/{id}/cancel`.
    pub async fn cancel(
        &self,
        operation: &OperationId,
        reason: &str,
    ) -> Result<Operation, ClientError> {
        let path = format!("/operations/{operation}/cancel");
        self.call(Method::POST, &path, Some(&because(reason))).await
    }

    /// `POST /operations/{id}/approve`.
    pub async fn approve(
        &self,
        operation: &OperationId,
        reason: &str,
    ) -> Result<Operation, ClientError> {
        let path = format!("/operations/{operation}/approve");
        self.call(Method::POST, &path, Some(&because(reason))).await
    }

    /// `GET /automation/pause`.
    pub async fn pauses(&self) -> Result<Vec<AutomationPause>, ClientError> {
        self.get("/automation/pause").await
    }

    /// `PUT /automation/pause`.
    pub async fn pause(&self, body: &PauseRequest) -> Result<AutomationPause, ClientError> {
        self.call(Method::PUT, "/automation/pause", Some(body)).await
    }

    /// `DELETE /automation/pause`.
    pub async fn resume(
        &self,
        query: &PauseQuery,
        reason: &str,
    ) -> Result<Vec<AutomationPause>, ClientError> {
        let path = with_query("/automation/pause", query)?;
        self.call(Method::DELETE, &path, Some(&because(reason))).await
    }

    /// `GET /audit`.
    pub async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditRecord>, ClientError> {
        self.get(&with_query("/audit", query)?).await
    }

    /// `GET /audit/verify`.
    pub async fn verify_audit(&self, query: &VerifyQuery) -> Result<AuditVerdict, ClientError> {
        self.get(&with_query("/audit/verify", query)?).await
    }

    /// `GET /audit/export`, from the first node that answers; `take` is given its text piece by piece.
    pub async fn export_audit(
        &self,
        query: &ExportQuery,
        mut take: impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let path = with_query("/audit/export", query)?;
        let mut tried = Vec::new();
        let first = self.preferred.load(Ordering::Relaxed);
        for offset in 0..self.targets.len() {
            let Some(target) = self.targets.get((first + offset) % self.targets.len()) else {
                continue;
            };
            let mut answer = match target.stream(&path).await {
                Ok(answer) => answer,
                Err(why) => {
                    tried.push((target.label.clone(), why));
                    continue;
                }
            };
            let status = answer.status().as_u16();
            if status != 200 {
                let bytes = answer.bytes().await.unwrap_or_default();
                return understand::<()>(target, status, &bytes);
            }
            // Once it has begun no other node is asked: what they have need not be alike.
            let broken = |error: reqwest::Error| ClientError::NotUnderstood {
                endpoint: target.label.clone(),
                problem: format!("the export broke off: {}", causes(&error)),
            };
            while let Some(piece) = answer.chunk().await.map_err(broken)? {
                take(&piece)?;
            }
            return Ok(());
        }
        Err(ClientError::Unreachable { tried })
    }

    /// `GET /sinks`.
    pub async fn sinks(&self) -> Result<Vec<SinkView>, ClientError> {
        self.get("/sinks").await
    }

    /// `GET /sinks/{sink}/dead-letters`.
    pub async fn dead_letters(&self, sink: &str) -> Result<Vec<DeadLetter>, ClientError> {
        self.get(&format!("/sinks/{sink}/dead-letters")).await
    }

    /// `POST /sinks/{sink}/dead-letters/retry`.
    pub async fn retry_dead_letters(&self, sink: &str) -> Result<SinkRetried, ClientError> {
        self.call(Method::POST, &format!("/sinks/{sink}/dead-letters/retry"), None::<&()>).await
    }

    /// `POST /sinks/{sink}/test`.
    pub async fn test_sink(&self, sink: &str) -> Result<SinkTested, ClientError> {
        self.call(Method::POST, &format!("/sinks/{sink}/test"), None::<&()>).await
    }

    /// `GET /status`.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/status").await
    }

    /// `GET /core`.
    pub async fn core(&self) -> Result<CoreView, ClientError> {
        self.get("/core").await
    }

    /// `POST /core/members`.
    pub async fn add_node(&self, body: &AddCoreNode) -> Result<CoreView, ClientError> {
        self.call(Method::POST, "/core/members", Some(body)).await
    }

    /// `DELETE /core/members/{id}`.
    pub async fn remove_node(&self, id: u64) -> Result<CoreView, ClientError> {
        self.call(Method::DELETE, &format!("/core/members/{id}"), None::<&()>).await
    }
}

/// A path with a query's fields; those that are not set are left out.
fn with_query(path: &str, query: &impl Serialize) -> Result<String, ClientError> {
    let wrong = |error: serde_urlencoded::ser::Error| ClientError::Setup(error.to_string());
    let text = serde_urlencoded::to_string(query).map_err(wrong)?;
    Ok(if text.is_empty() { path.to_owned() } else { format!("{path}?{text}") })
}

fn because(reason: &str) -> ReasonBody {
    ReasonBody { reason: reason.into() }
}

fn understand<T: DeserializeOwned>(
    target: &Target,
    status: u16,
    bytes: &[u8],
) -> Result<T, ClientError> {
    let wrong = |error: serde_json::Error| ClientError::NotUnderstood {
        endpoint: target.label.clone(),
        problem: format!("status {status}, {error}"),
    };
    if status == 202
        && let Ok(kept) = serde_json::from_slice(bytes)
    {
        return Err(ClientError::Kept(Box::new(kept)));
    }
    if (200..300).contains(&status) {
        return serde_json::from_slice(bytes).map_err(wrong);
    }
    let problem = serde_json::from_slice(bytes).map_err(wrong)?;
    Err(ClientError::Problem { status, problem })
}

impl Target {
    fn new(name: &str, address: &str, credentials: &Credentials) -> Result<Self, ClientError> {
        let setup = |text: String| ClientError::Setup(format!("{name}={address}: {text}"));
        let protocols: [&[u8]; 2] = [b"h2", b"http/1.1"];
        let mut headers = HeaderMap::new();
        let tls = match credentials {
            Credentials::Certificate(files) => files.client_config(&protocols),
            Credentials::Bearer { authority, token } => {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                    .map_err(|_| setup("the token has characters that no token has".into()))?;
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
                trusting(Some(authority), &protocols)
            }
        };
        let tls = tls.map_err(|error| setup(error.to_string()))?;
        let host = Identity::new(Role::Core, name).dns_name();
        let (dialled, port) = address
            .rsplit_once(':')
            .and_then(|(dialled, port)| Some((dialled, port.parse::<u16>().ok()?)))
            .ok_or_else(|| setup("is not host:port".into()))?;
        let resolved =
            std::net::ToSocketAddrs::to_socket_addrs(&(dialled.trim_matches(['[', ']']), port))
                .map_err(|error| setup(error.to_string()))?
                .collect::<Vec<SocketAddr>>();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .default_headers(headers)
            .https_only(true)
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .resolve_to_addrs(&host, &resolved)
            .build()
            .map_err(|error| setup(error.to_string()))?;
        Ok(Self {
            label: format!("{name}={address}"),
            base: format!("https://{host}:{port}{API}"),
            client,
        })
    }

    /// A long answer, that may take as long as pieces of it arrive.
    async fn stream(&self, path: &str) -> Result<reqwest::Response, String> {
        let request = self.client.get(format!("{}{path}", self.base)).timeout(EXPORT_TIMEOUT);
        request.send().await.map_err(|error| causes(&error))
    }

    /// Status and body, or why there was none.
    async fn ask(
        &self,
        method: &Method,
        path: &str,
        body: Option<&[u8]>,
        key: Option<&str>,
    ) -> Result<(u16, Vec<u8>), String> {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.base));
        if let Some(key) = key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        if path.starts_with("/core/members") {
            request = request.timeout(MEMBERSHIP_TIMEOUT);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_vec());
        }
        let response = request.send().await.map_err(|error| causes(&error))?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.map_err(|error| causes(&error))?;
        Ok((status, bytes.to_vec()))
    }
}

/// reqwest's own text leaves out why; the chain of causes says it.
fn causes(error: &reqwest::Error) -> String {
    let mut text = Vec::new();
    let mut next: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push(cause.to_string());
        next = cause.source();
    }
    if text.is_empty() { error.to_string() } else { text.join(": ") }
}
