//! The reference of a pool-domain-manager, in memory: what docs/pdm-openapi.yaml says, as code.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use super::calls::{Calls, Fault};
use axum::extract::{Json, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, body::Bytes};
use continuum_dns::provider::pdm::{Commit, Committed, Name, REPLAYED, Record, Refusal};
use continuum_dns::records::routed::Srv;

pub const ZONE: &str = "db.example.";
/// Tokens that may write, by region; the third may not.
pub const TOKENS: [&str; 3] = ["token-fsn", "token-hel", "token-reader"];

/// Every code of a refusal, with its status.
pub const CODES: [(&str, StatusCode); 12] = [
    ("unauthorised", StatusCode::UNAUTHORIZED),
    ("forbidden", StatusCode::FORBIDDEN),
    ("no-such-zone", StatusCode::NOT_FOUND),
    ("invalid", StatusCode::UNPROCESSABLE_ENTITY),
    ("stale-epoch", StatusCode::CONFLICT),
    ("stale-revision", StatusCode::CONFLICT),
    ("epoch-taken", StatusCode::CONFLICT),
    ("body-differs", StatusCode::CONFLICT),
    ("other-pair", StatusCode::CONFLICT),
    ("changed", StatusCode::CONFLICT),
    ("throttled", StatusCode::TOO_MANY_REQUESTS),
    ("failed", StatusCode::INTERNAL_SERVER_ERROR),
];

/// A name, and the commit that stands with its answer, to be given again.
#[derive(Clone, Debug, Default)]
struct Entry {
    name: Name,
    last: Option<(Commit, Name)>,
}

/// How a reference is spoilt, for tests of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoilt {
    /// It takes a lower epoch.
    TakesStaleEpochs,
    /// It does not compare the version.
    IgnoresVersions,
    /// It takes one commit twice.
    ForgetsCommits,
}

#[derive(Default)]
pub struct Zone {
    names: BTreeMap<String, Entry>,
    pub calls: Calls,
    pub spoilt: Option<Spoilt>,
}

type Answer = Result<(Name, bool), (&'static str, String)>;

impl Zone {
    /// Records by hand, behind the writers' backs.
    pub fn put(&mut self, name: &str, records: &[(&str, &str)]) {
        let stands = &mut self.names.entry(name.into()).or_default().name;
        stands.version += 1;
        stands.ttl = 5;
        let record = |(kind, content): &(&str, &str)| Record {
            kind: (*kind).into(),
            content: (*content).into(),
        };
        stands.records = records.iter().map(record).collect();
    }

    /// Takes the commit away by hand, and leaves the records.
    pub fn forget(&mut self, name: &str) {
        let entry = self.names.entry(name.into()).or_default();
        entry.name.version += 1;
        (entry.name.commit, entry.last) = (None, None);
    }

    pub fn at(&self, name: &str) -> Name {
        self.names.get(name).map(|entry| entry.name.clone()).unwrap_or_default()
    }

    /// The contract: whether a commit is taken, and whether it was before.
    fn commit(&mut self, commit: Commit) -> Answer {
        let spoilt = self.spoilt;
        check(&commit)?;
        let entry = self.names.entry(commit.name.clone()).or_default();
        if let Some((last, answer)) = &entry.last {
            if last.pair != commit.pair {
                return Err(("other-pair", format!("it follows pair {}", last.pair)));
            }
            if commit.epoch < last.epoch && spoilt != Some(Spoilt::TakesStaleEpochs) {
                return Err(("stale-epoch", format!("epoch {} stands", last.epoch)));
            }
            if commit.epoch == last.epoch && last.holder != commit.holder {
                return Err(("epoch-taken", format!("{} holds epoch {}", last.holder, last.epoch)));
            }
            if commit.epoch == last.epoch && commit.revision < last.revision {
                return Err(("stale-revision", format!("revision {} stands", last.revision)));
            }
            let same = (commit.epoch, commit.revision) == (last.epoch, last.revision);
            if same && spoilt != Some(Spoilt::ForgetsCommits) {
                return if commit == *last {
                    Ok((answer.clone(), true))
                } else {
                    Err(("body-differs", "this epoch and revision had another body".into()))
                };
            }
        }
        if commit.expected_version != entry.name.version && spoilt != Some(Spoilt::IgnoresVersions)
        {
            return Err(("changed", format!("version {} stands", entry.name.version)));
        }
        entry.name = Name {
            version: entry.name.version + 1,
            ttl: if commit.records.is_empty() { 0 } else { commit.ttl },
            records: commit.records.clone(),
            commit: Some(Committed {
                pair: commit.pair.clone(),
                epoch: commit.epoch,
                revision: commit.revision,
                holder: commit.holder.clone(),
                sum: commit.sum.clone(),
            }),
        };
        entry.last = Some((commit, entry.name.clone()));
        Ok((entry.name.clone(), false))
    }
}

fn check(commit: &Commit) -> Result<(), (&'static str, String)> {
    let invalid = |why: &str| Err(("invalid", why.to_owned()));
    if commit.zone != ZONE {
        return Err(("no-such-zone", commit.zone.clone()));
    }
    if !commit.name.ends_with(&format!(".{ZONE}")) {
        return invalid("name: must lie under the zone");
    }
    if commit.ttl > 3600 {
        return invalid("ttl: at most 3600");
    }
    let aliases = commit.records.iter().filter(|record| record.kind == "CNAME").count();
    if aliases > 0 && commit.records.len() > 1 {
        return invalid("records: a CNAME stands alone");
    }
    for Record { kind, content } in &commit.records {
        let fits = match kind.as_str() {
            "A" => content.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()),
            "AAAA" => content.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()),
            "CNAME" => content.ends_with('.'),
            "SRV" => content.parse::<Srv>().is_ok_and(|srv| srv.target.ends_with('.')),
            _ => false,
        };
        if !fits {
            return invalid("records: A, AAAA, CNAME or SRV as a zone file has them");
        }
    }
    Ok(())
}

type Shared = Arc<Mutex<Zone>>;

pub struct Pdm {
    zone: Shared,
    pub address: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Pdm {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Pdm {
    pub async fn start() -> Self {
        // More than one test of a process may do so; the first one wins.
        let _first = rustls::crypto::ring::default_provider().install_default();
        let zone = Shared::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new()
            .route("/v1/commit", post(commit))
            .route("/v1/zones/{zone}/names/{name}", get(read))
            .with_state(zone.clone());
        let serving = continuum_runtime::seed::spawn(async move {
            axum::serve(listener, app).await.unwrap();
        });
        Self { zone, address, serving }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn zone(&self) -> MutexGuard<'_, Zone> {
        self.zone.lock().unwrap()
    }

    /// Calls of an operation so far.
    pub fn made(&self, operation: &'static str) -> u32 {
        self.zone().calls.made(operation)
    }
}

fn refused(code: &str, message: impl Into<String>) -> Response {
    let (_, status) = CODES.into_iter().find(|(known, _)| *known == code).unwrap();
    (status, Json(Refusal { code: code.into(), message: message.into() })).into_response()
}

/// Whether the call may be made, and what goes wrong with it.
async fn begin(
    zone: &Shared,
    operation: &'static str,
    headers: &HeaderMap,
) -> Result<Option<Fault>, Response> {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if !TOKENS.contains(&token) {
        return Err(refused("unauthorised", "no such token"));
    }
    if operation == "commit" && token == TOKENS[2] {
        return Err(refused("forbidden", "this token may only read"));
    }
    let fault = zone.lock().unwrap().calls.next(operation);
    match fault {
        Some(Fault::Throttled | Fault::Prior) => Err(refused("throttled", "too often")),
        Some(Fault::Internal) => Err(refused("failed", "sorry")),
        Some(Fault::RequestLost) => std::future::pending().await,
        other => Ok(other),
    }
}

async fn end(fault: Option<Fault>, answer: Response) -> Response {
    match fault {
        Some(Fault::ReplyLost) => std::future::pending().await,
        Some(Fault::DoneAndUnavailable) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some(Fault::Garbled) => "{\"version\": ".into_response(),
        _ => answer,
    }
}

async fn commit(State(zone): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let fault = match begin(&zone, "commit", &headers).await {
        Ok(fault) => fault,
        Err(answer) => return answer,
    };
    let answer = match serde_json::from_slice(&body) {
        Ok(commit) => zone.lock().unwrap().commit(commit),
        Err(error) => Err(("invalid", error.to_string())),
    };
    let answer = match answer {
        Ok((name, true)) => ([(REPLAYED, "true")], Json(name)).into_response(),
        Ok((name, false)) => Json(name).into_response(),
        Err((code, message)) => refused(code, message),
    };
    end(fault, answer).await
}

async fn read(
    State(zone): State<Shared>,
    headers: HeaderMap,
    Path((within, name)): Path<(String, String)>,
) -> Response {
    let fault = match begin(&zone, "read", &headers).await {
        Ok(fault) => fault,
        Err(answer) => return answer,
    };
    if within != ZONE {
        return refused("no-such-zone", within);
    }
    let stands = zone.lock().unwrap().at(&name);
    end(fault, Json(stands).into_response()).await
}
