//! PowerDNS by its HTTP API: the way to LUA records, and to zones where nothing else is allowed.
//!
//! **This is no fence.** The API knows no condition. The companion is read right before the change
//! and writers of one process go one after the other, but two processes that race may both write,
//! and the later one wins. It also takes LUA records that cannot run: so each write is read back by
//! questions to the server itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use reqwest::{Client, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::api_text::{Escape, quoted, unquoted};
use super::{ProviderError, RecordProvider, http, within};
use crate::lookup;
use crate::records::plan::Change;
use crate::records::{Companion, Seen, Served, companion_name};
use crate::verify;

/// Tries of one change: SQLite answers 500 to one of two writers at a time.
const TRIES: u32 = 4;
/// Pause before the second try; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(40);
/// Types that are taken away where none of ours stand.
const TYPES: [&str; 5] = ["A", "AAAA", "LUA", "CNAME", "SRV"];

/// Where a PowerDNS is.
#[derive(Clone)]
pub struct PowerDnsAt {
    /// The API, such as `http://10.3.0.20:8081`.
    pub api: String,
    /// The API's key.
    pub key: String,
    /// Where it answers questions.
    pub dns: SocketAddr,
    /// The zone.
    pub zone: String,
    /// Longest time of one call or question.
    pub deadline: Duration,
}

/// A zone of a PowerDNS.
pub struct PowerDns {
    at: PowerDnsAt,
    zone: String,
    client: Client,
    /// Held while reading and changing.
    writing: Mutex<()>,
}

impl std::fmt::Debug for PowerDns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PowerDns({} at {})", self.zone, self.at.api)
    }
}

#[derive(Deserialize)]
struct Zone {
    rrsets: Vec<RrSet>,
}

#[derive(Deserialize)]
struct RrSet {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    ttl: u32,
    records: Vec<ApiRecord>,
}

#[derive(Deserialize)]
struct ApiRecord {
    content: String,
    #[serde(default)]
    disabled: bool,
}

#[derive(Deserialize)]
struct Setting {
    name: String,
    value: String,
}

impl PowerDns {
    /// The zone at a server. The process must have installed a TLS provider, as the binary does.
    pub fn new(at: PowerDnsAt) -> Result<Self, ProviderError> {
        let client = http::client(&format!("PowerDNS API {}", at.api), at.deadline)?;
        let zone = format!("{}.", at.zone.trim_end_matches('.').to_ascii_lowercase());
        Ok(Self { at, zone, client, writing: Mutex::new(()) })
    }

    /// Creates the zone unless it is there, with `servers` as its NS records.
    pub async fn ensure_zone(&self, servers: &[String]) -> Result<(), ProviderError> {
        let zone = json!({
            "name": self.zone, "kind": "Native", "nameservers": servers,
            "soa_edit_api": "INCREASE",
        });
        match self.call(Method::POST, "/zones", Some(zone)).await {
            Ok(_) => Ok(()),
            // 409: it is there already.
            Err(Refusal { status: Some(StatusCode::CONFLICT), .. }) => Ok(()),
            Err(refusal) => Err(refusal.error),
        }
    }

    /// What of the server's settings is not as LUA records need it; empty when all is.
    pub async fn advice(&self) -> Result<Vec<String>, ProviderError> {
        let text =
            self.call(Method::GET, "/config", None).await.map_err(|refusal| refusal.error)?;
        let settings: Vec<Setting> = self.parse(&text)?;
        let value = |name: &str| {
            settings.iter().find(|setting| setting.name == name).map(|setting| &*setting.value)
        };
        let mut advice = Vec::new();
        match value("enable-lua-records") {
            Some("shared") => {}
            Some("yes") => advice.push(
                "enable-lua-records=yes makes a Lua state for each question; set it to `shared`, \
                 which answers some fifty times as many"
                    .into(),
            ),
            other => advice.push(format!(
                "enable-lua-records={}: LUA records are not computed; set it to `shared`",
                other.unwrap_or_default()
            )),
        }
        Ok(advice)
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, text: &str) -> Result<T, ProviderError> {
        serde_json::from_str(text).map_err(|error| {
            let api = &self.at.api;
            ProviderError::Failed(format!("{api} answers what is not of its API ({error})"))
        })
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<String, Refusal> {
        let url = format!("{}/api/v1/servers/localhost{path}", self.at.api.trim_end_matches('/'));
        let mut request = self.client.request(method, &url).header("X-API-Key", &self.at.key);
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.map_err(|error| http::unsent(&error))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| http::unsent(&error))?;
        if status.is_success() {
            return Ok(text);
        }
        let told = format!("{url} answers {status}: {}", text.trim());
        let error = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ProviderError::Unauthorised(
                format!("{told}; check the API key and who may connect"),
            ),
            StatusCode::NOT_FOUND => {
                ProviderError::Misconfigured(format!("{told}; is the zone {} there?", self.zone))
            }
            status if status.is_client_error() => ProviderError::Misconfigured(told),
            _ => ProviderError::Failed(told),
        };
        Err(Refusal { status: Some(status), error })
    }

    fn path(&self) -> String {
        format!("/zones/{}", self.zone)
    }

    async fn look(&self, name: &str) -> Result<Seen, ProviderError> {
        // What lies outside might not be one path of the API either.
        within(&self.zone, name)?;
        let text = self.call(Method::GET, &self.path(), None).await;
        let zone: Zone = self.parse(&text.map_err(|refusal| refusal.error)?)?;
        let companion = companion_name(name);
        let mut seen = Seen::default();
        for set in &zone.rrsets {
            let contents = set.records.iter().filter(|record| !record.disabled);
            let mut contents = contents.map(|record| record.content.clone());
            if set.name == companion && set.kind == "TXT" {
                seen.companion = {
                    let texts = contents.map(|content| unquoted(&content, Escape::Decimal));
                    Companion(texts.collect())
                };
            } else if set.name == name && TYPES.contains(&set.kind.as_str()) {
                seen.records.ttl = seen.records.ttl.max(set.ttl);
                match set.kind.as_str() {
                    "LUA" => seen.records.lua.extend(contents),
                    "CNAME" => seen.records.alias = contents.next(),
                    "SRV" => {
                        seen.records.services.extend(contents.filter_map(|text| text.parse().ok()));
                    }
                    _ => seen
                        .records
                        .addresses
                        .extend(contents.filter_map(|text| text.parse::<IpAddr>().ok())),
                }
            }
        }
        Ok(seen)
    }

    /// Asks the server for what was written.
    async fn read_back(&self, change: &Change) -> Result<(), ProviderError> {
        let mut served = Served::default();
        for kind in verify::KINDS {
            let seen = self.ask(&change.name, kind).await?;
            let code = seen.metadata.response_code;
            // An alias of a name that is not there yet is an alias all the same.
            let dangles = change.records.alias.is_some() && code == ResponseCode::NXDomain;
            if code != ResponseCode::NoError && !dangles {
                let computed = change.records.lua.iter();
                let computed = computed.into_iter().any(|one| one.starts_with(&format!("{kind} ")));
                return Err(ProviderError::NotServed(format!(
                    "{} answers {code} to {kind} of {}; {}",
                    self.at.dns,
                    change.name,
                    if computed {
                        "a LUA record does not run: see the server's log, and enable-lua-records"
                    } else {
                        "does it serve this zone from the same database?"
                    }
                )));
            }
            verify::note(&mut served, &change.name, &seen);
        }
        // What LUA records compute may be nothing yet: that they ran is what is asked here.
        if change.records.lua.is_empty() && !change.records.is_served_by(&served) {
            return Err(ProviderError::NotServed(format!(
                "{} answers {served} for {} where {} was written; its caches (cache-ttl, \
                 query-cache-ttl), or another writer",
                self.at.dns,
                change.name,
                change.records.lines().join(", ")
            )));
        }
        let companion = self.ask(&companion_name(&change.name), RecordType::TXT).await?;
        let text = lookup::text(&companion);
        if text.as_deref() != Some(&change.stamp.to_string()) {
            return Err(ProviderError::NotServed(format!(
                "{} answers {text:?} as the companion of {}, where {} was written",
                self.at.dns, change.name, change.stamp
            )));
        }
        Ok(())
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Result<lookup::Message, ProviderError> {
        lookup::query_tcp(self.at.dns, name, kind, self.at.deadline)
            .await
            .map_err(|error| ProviderError::NotServed(error.to_string()))
    }
}

/// An error with the status that it came with, if any came.
struct Refusal {
    status: Option<StatusCode>,
    error: ProviderError,
}

impl From<ProviderError> for Refusal {
    fn from(error: ProviderError) -> Self {
        Self { status: None, error }
    }
}

/// The body of a change: what is wanted replaces, all else of our types goes.
fn patch(change: &Change) -> Value {
    let mut wanted = BTreeMap::<&str, Vec<String>>::new();
    for address in &change.records.addresses {
        let kind = if address.is_ipv4() { "A" } else { "AAAA" };
        wanted.entry(kind).or_default().push(address.to_string());
    }
    let lua = change.records.lua.iter().map(|content| ("LUA", content.clone()));
    let alias = change.records.alias.iter().map(|target| ("CNAME", target.clone()));
    let services = change.records.services.iter().map(|service| ("SRV", service.to_string()));
    for (kind, content) in lua.chain(alias).chain(services) {
        wanted.entry(kind).or_default().push(content);
    }
    let set = |name: &str, kind: &str, contents: &[String]| {
        let records: Vec<Value> = contents
            .iter()
            .map(|content| json!({ "content": content, "disabled": false }))
            .collect();
        let act = if records.is_empty() { "DELETE" } else { "REPLACE" };
        json!({ "name": name, "type": kind, "ttl": change.records.ttl, "changetype": act,
            "records": records })
    };
    let mut sets: Vec<Value> = TYPES
        .iter()
        .map(|kind| set(&change.name, kind, wanted.get(kind).map_or(&[], Vec::as_slice)))
        .collect();
    // A record set that is deleted comes before one that may not stand beside it.
    sets.sort_by_key(|set| set["changetype"] == "REPLACE");
    let companion = Companion::of(&change.stamp).0;
    let companion: Vec<String> =
        companion.iter().map(|text| quoted(text, Escape::Decimal)).collect();
    sets.push(set(&companion_name(&change.name), "TXT", &companion));
    json!({ "rrsets": sets })
}

#[async_trait]
impl RecordProvider for PowerDns {
    async fn read(&self, name: &str) -> Result<Seen, ProviderError> {
        self.look(name).await
    }

    async fn change(&self, change: &Change) -> Result<(), ProviderError> {
        if !change.records.routed.is_empty() {
            let text = "PowerDNS has no health checks of its own; use policy \"follow\", or a \
                        provider of kind route53";
            return Err(ProviderError::Misconfigured(text.into()));
        }
        let _alone = self.writing.lock().await;
        let mut pause = PAUSE;
        for attempt in 1.. {
            if self.look(&change.name).await?.companion != change.expected {
                return Err(ProviderError::Conflict(change.name.clone()));
            }
            match self.call(Method::PATCH, &self.path(), Some(patch(change))).await {
                Ok(_) => break,
                // Its transaction was undone, so the condition is looked at anew.
                Err(Refusal { error: ProviderError::Failed(_), .. }) if attempt < TRIES => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(refusal) => return Err(refusal.error),
            }
        }
        self.read_back(change).await
    }

    fn is_fence(&self) -> bool {
        false
    }
}
