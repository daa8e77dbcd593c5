//! A pool-domain-manager: a service that keeps records and is told of them by `POST /v1/commit`. The
//! contract is in `docs/pdm-openapi.yaml`.
//!
//! The service itself compares: it takes a commit only under a higher epoch than stands, or under the
//! same epoch and holder with a higher revision, and only while what was read still stands. Epoch and
//! revision are the idempotency key. This is a fence, as far as the service keeps the contract.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::name_spec::absolute;
use continuum_domain::{PairId, RegionId};
use reqwest::{Client, Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::patience::{Failure, Patience, TRIES};
use super::{ProviderError, RecordProvider, http, key_file, within};
use crate::records::plan::Change;
use crate::records::{Companion, Records, Seen};

/// Set on an answer that repeats the one to an earlier commit.
pub const REPLAYED: &str = "idempotent-replayed";

/// Where a pool-domain-manager is.
#[derive(Clone)]
pub struct PdmAt {
    /// The service, such as `https://pdm.example.net`.
    pub api: String,
    /// File with the bearer token, one line.
    pub token_file: PathBuf,
    /// The zone.
    pub zone: String,
    /// Longest time of one call. A change takes up to two, and each again when it is throttled.
    pub deadline: Duration,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Record {
    /// A, AAAA, CNAME or SRV.
    #[serde(rename = "type")]
    pub kind: String,
    /// As a zone file has it.
    pub content: String,
}

/// `POST /v1/commit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The zone, with its last dot.
    pub zone: String,
    /// The name, with its last dot.
    pub name: String,
    /// The pair that the name follows.
    pub pair: String,
    /// Under which epoch.
    pub epoch: u64,
    /// Counts the commits of one epoch, from 0.
    pub revision: u64,
    /// Who holds the epoch.
    pub holder: String,
    /// Hash of the records, for the companion record.
    pub sum: String,
    /// Nothing is changed unless this is the version of the name.
    pub expected_version: u64,
    /// Time to live, in seconds.
    pub ttl: u32,
    /// All records of the name.
    pub records: Vec<Record>,
}

/// What stands at a name: the answer to `GET`, and to a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// Counts every change of the name, also by others; 0 while nothing ever stood there.
    pub version: u64,
    /// Time to live, in seconds; 0 without records.
    pub ttl: u32,
    /// All records of the name.
    pub records: Vec<Record>,
    /// The commit that stands; absent when there is none.
    #[serde(default)]
    pub commit: Option<Committed>,
}

/// Who put the records of a name there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// As in the [`Commit`].
    pub pair: String,
    /// As in the [`Commit`].
    pub epoch: u64,
    /// As in the [`Commit`].
    pub revision: u64,
    /// As in the [`Commit`].
    pub holder: String,
    /// As in the [`Commit`].
    pub sum: String,
}

/// The body of every refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// One word; see `docs/pdm-openapi.yaml`.
    pub code: String,
    /// For people.
    pub message: String,
}

impl Name {
    fn companion(&self) -> Companion {
        let Some(commit) = &self.commit else { return Companion::default() };
        let Committed { pair, epoch, holder, sum, .. } = commit;
        // As a text, so that what is no stamp of ours is shown as it is.
        let text = format!("pair={pair} epoch={epoch} holder={holder} sum={sum}");
        Companion([vec![text.into_bytes()]].into())
    }

    fn seen(&self) -> Result<Seen, ProviderError> {
        let lines = self.records.iter().map(|record| format!("{} {}", record.kind, record.content));
        let records = Records::read(self.ttl, &lines.collect::<Vec<_>>()).ok_or_else(|| {
            let kinds: Vec<&str> = self.records.iter().map(|one| one.kind.as_str()).collect();
            let kinds = kinds.join(", ");
            ProviderError::Misconfigured(format!(
                "the service keeps records at this name that are not ours to change ({kinds}); \
                 remove them there"
            ))
        })?;
        Ok(Seen { companion: self.companion(), records })
    }

    /// The revision of the next commit under `epoch`.
    fn next_revision(&self, epoch: u64) -> u64 {
        let same = self.commit.as_ref().filter(|commit| commit.epoch == epoch);
        same.map_or(0, |commit| commit.revision.saturating_add(1))
    }
}

/// A zone of a pool-domain-manager.
pub struct Pdm {
    at: PdmAt,
    zone: String,
    client: Client,
    /// As it was read last, by name; good for one change.
    read: Mutex<BTreeMap<String, Name>>,
}

impl std::fmt::Debug for Pdm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pdm({} at {})", self.zone, self.at.api)
    }
}

impl Pdm {
    /// The zone at a service. The token is read for each call, so that it can be replaced while this
    /// runs. The process must have installed a TLS provider, as the binary does.
    pub fn new(at: PdmAt) -> Result<Self, ProviderError> {
        let client = http::client(&format!("pool-domain-manager {}", at.api), at.deadline)?;
        let zone = absolute(&at.zone);
        Ok(Self { at, zone, client, read: Mutex::default() })
    }

    fn memory(&self) -> MutexGuard<'_, BTreeMap<String, Name>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn get(&self, name: &str) -> Result<Name, ProviderError> {
        within(&self.zone, name)?;
        let path = format!("/v1/zones/{}/names/{name}", self.zone);
        let mut patience = Patience::new();
        loop {
            match self.call(Method::GET, &path, None).await {
                Ok((text, _)) => return self.parse(&text),
                Err(failure) => patience.after(failure).await?,
            }
        }
    }

    fn parse(&self, text: &str) -> Result<Name, ProviderError> {
        serde_json::from_str(text).map_err(|error| {
            let api = &self.at.api;
            ProviderError::Failed(format!("{api} answers what is not of its contract ({error})"))
        })
    }

    /// One call; whether the answer repeats an earlier one.
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Commit>,
    ) -> Result<(String, bool), Failure> {
        let file = &self.at.token_file;
        let token = key_file::line(file, tokio::fs::read_to_string(file).await)?;
        let url = format!("{}{path}", self.at.api.trim_end_matches('/'));
        let mut request = self.client.request(method, &url).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| http::unsent(&error))?;
        let status = answer.status();
        let replayed = answer.headers().contains_key(REPLAYED);
        let text = answer.text().await.map_err(|error| http::unsent(&error))?;
        if status.is_success() {
            return Ok((text, replayed));
        }
        let said = match serde_json::from_str(&text) {
            Ok(Refusal { code, message }) => format!("{code}: {message}"),
            Err(_) => text.trim().to_owned(),
        };
        let told = format!("{url} answers {status}: {said}");
        let error = match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                return Err(Failure::Later(format!("{told}, {TRIES} times")));
            }
            StatusCode::CONFLICT => ProviderError::Conflict(said),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ProviderError::Unauthorised(
                format!("{told}; check the token and what it may write"),
            ),
            StatusCode::NOT_FOUND => {
                ProviderError::Misconfigured(format!("{told}; does it keep zone {}?", self.zone))
            }
            status if status.is_client_error() => ProviderError::Misconfigured(told),
            _ => ProviderError::Failed(told),
        };
        Err(error.into())
    }

    /// What is sent for a change of what stands.
    fn commit(&self, stands: &Name, change: &Change) -> Result<Commit, ProviderError> {
        if !change.records.lua.is_empty() || !change.records.routed.is_empty() {
            return Err(ProviderError::Misconfigured(
                "a pool-domain-manager keeps plain records; use policy \"flip\" and routing \
                 \"simple\""
                    .into(),
            ));
        }
        let record = |line: String| {
            let (kind, content) = line.split_once(' ').unwrap_or((&line, ""));
            Record { kind: kind.to_owned(), content: content.to_owned() }
        };
        let epoch = change.stamp.epoch.0;
        Ok(Commit {
            zone: self.zone.clone(),
            name: change.name.clone(),
            pair: PairId::as_str(&change.stamp.pair).to_owned(),
            epoch,
            revision: stands.next_revision(epoch),
            holder: change.stamp.holder.as_ref().map_or("-", RegionId::as_str).to_owned(),
            sum: change.stamp.sum.clone().unwrap_or_default(),
            expected_version: stands.version,
            ttl: change.records.ttl,
            records: change.records.lines().into_iter().map(record).collect(),
        })
    }
}

#[async_trait]
impl RecordProvider for Pdm {
    async fn read(&self, name: &str) -> Result<Seen, ProviderError> {
        let stands = self.get(name).await?;
        let seen = stands.seen()?;
        self.memory().insert(name.to_owned(), stands);
        Ok(seen)
    }

    async fn change(&self, change: &Change) -> Result<(), ProviderError> {
        let known = self.memory().remove(&change.name);
        let stands = match known.filter(|known| known.companion() == change.expected) {
            Some(known) => known,
            None => self.get(&change.name).await?,
        };
        if stands.companion() != change.expected {
            return Err(ProviderError::Conflict(change.name.clone()));
        }
        let commit = self.commit(&stands, change)?;
        let mut patience = Patience::new();
        loop {
            match self.call(Method::POST, "/v1/commit", Some(&commit)).await {
                Ok((_, false)) => return Ok(()),
                // It stands, and was made by an earlier call: read again, and find that so.
                Ok((_, true)) => return Err(ProviderError::Conflict(change.name.clone())),
                Err(failure) => patience.after(failure).await?,
            }
        }
    }

    fn is_fence(&self) -> bool {
        true
    }
}
