//! Cells in a Durable Object of Cloudflare, behind the worker in `witness/cloudflare-worker`.
//!
//! The worker decides; this is its client. An answer is taken for the worker's only where it names
//! one of the worker's codes: an error page of Cloudflare's edge says less. Each request is sent at
//! most once.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use continuum_domain::duration_text;
use continuum_witness::cells::check_cell_bounds;
use continuum_witness::{Cell, CellStore, Put, StoreError, Tag};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use serde::{Deserialize, Serialize};

use crate::causes::root;
use crate::http;

/// Largest answer that is read, in bytes: the largest cell as base64, or a page of keys.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// How the worker is reached. Holds no secret: the token has a file of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudflareConfig {
    /// Where the worker is deployed, without a path: `https://`, or `http://` with an address of
    /// this machine.
    pub url: String,
    /// Names the object that holds the cells: 1 to 60 letters, digits, `-` and `_`. One set of
    /// cells has a prefix of its own.
    pub prefix: String,
    /// A file with this region's bearer token, read once.
    pub token_file: PathBuf,
    /// Every call returns within this time; half of it is for connecting. Default 3 s.
    #[serde(default = "deadline", with = "duration_text")]
    pub deadline: Duration,
}

fn deadline() -> Duration {
    Duration::from_secs(3)
}

/// The worker as a store of cells.
pub struct CloudflareCells {
    client: Client,
    url: Url,
    authorization: HeaderValue,
    deadline: Duration,
}

impl fmt::Debug for CloudflareCells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloudflareCells({})", self.url)
    }
}

#[derive(Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Call<'a> {
    Get { key: &'a str },
    Put { key: &'a str, expected: Option<&'a str>, bytes: String },
    Delete { key: &'a str, expected: &'a str },
    List { prefix: &'a str, after: &'a str },
}

#[derive(Deserialize)]
struct Shown {
    tag: String,
    bytes: String,
}

#[derive(Deserialize)]
struct Got {
    // Must be there: an answer that is not the worker's would otherwise say that there is no cell.
    #[serde(deserialize_with = "Option::deserialize")]
    cell: Option<Shown>,
}

#[derive(Deserialize)]
struct Written {
    written: String,
}

#[derive(Deserialize)]
struct Gone {
    gone: bool,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<String>,
}

#[derive(Deserialize)]
struct Refusal {
    code: String,
    message: String,
}

impl CloudflareCells {
    /// Opens the worker that `config` names, without asking anything of it.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] when a setting or the token's file cannot be used.
    pub fn open(config: &CloudflareConfig) -> Result<Self, StoreError> {
        let wrong = |text: String| StoreError::Misconfigured(text);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let prefix = &config.prefix;
        if !(1..=60).contains(&prefix.len()) || !prefix.bytes().all(plain) {
            return Err(wrong(format!("prefix {prefix:?}: 1 to 60 letters, digits, '-' and '_'")));
        }
        let mut url = http::endpoint(&config.url)?;
        if !matches!(url.path(), "" | "/") {
            return Err(wrong(format!("url {url}: the worker answers at the root of its host")));
        }
        url.set_path(&format!("/v1/{prefix}"));
        let file = config.token_file.display();
        let token = std::fs::read_to_string(&config.token_file)
            .map_err(|error| wrong(format!("{file}: {error}")))?;
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| wrong(format!("{file}: is not one line of plain characters")))?;
        authorization.set_sensitive(true);
        let client = http::client(http::Plain::of(&url), config.deadline)?;
        Ok(Self { client, url, authorization, deadline: config.deadline })
    }

    /// Status and body of one answer, within the deadline.
    async fn ask(&self, call: &Call<'_>) -> Result<(StatusCode, Vec<u8>), StoreError> {
        let host = self.url.host_str().unwrap_or("the worker");
        let request = self
            .client
            .post(self.url.clone())
            .header(AUTHORIZATION, self.authorization.clone())
            .json(call);
        let exchange = async {
            let mut response = request.send().await?;
            let mut body = Vec::new();
            while let Some(part) = response.chunk().await? {
                body.extend_from_slice(&part);
                if body.len() > ANSWER_BYTES_MAX {
                    break;
                }
            }
            Ok((response.status(), body))
        };
        match tokio::time::timeout(self.deadline, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(lost(host, &error)),
            Err(_) => {
                Err(StoreError::Unanswered(format!("{host} gave none in {:?}", self.deadline)))
            }
        }
    }

    /// The answer of a call that was carried out.
    async fn done<T: for<'a> Deserialize<'a>>(&self, call: &Call<'_>) -> Result<T, StoreError> {
        let (status, body) = self.ask(call).await?;
        if status == StatusCode::OK { read(&body) } else { Err(refusal(status, &body)) }
    }
}

fn lost(host: &str, error: &reqwest::Error) -> StoreError {
    let text = format!("{host}: {}", root(error));
    if http::never_connected(error) {
        StoreError::NotSent(text)
    } else {
        StoreError::Unanswered(text)
    }
}

/// An answer that is not understood may follow a change that was carried out.
fn read<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(body)
        .map_err(|error| StoreError::Unanswered(format!("the answer is not the worker's: {error}")))
}

/// What a refusal means. The worker's code counts before the status; without one the answer comes
/// from something before the worker, and a request that was turned away there went no further.
fn refusal(status: StatusCode, body: &[u8]) -> StoreError {
    if let Ok(Refusal { code, message }) = serde_json::from_slice(body) {
        match code.as_str() {
            "unauthorised" => return StoreError::Unauthorised(message),
            "misconfigured" => return StoreError::Misconfigured(message),
            _ => {}
        }
    }
    let text = format!("status {}, and no code of the worker's", status.as_u16());
    match status.as_u16() {
        401 | 403 => StoreError::Unauthorised(text),
        408 => StoreError::Unanswered(text),
        429 => StoreError::NotSent(text),
        300..=499 => StoreError::Misconfigured(text),
        _ => StoreError::Unanswered(text),
    }
}

fn cell(shown: Option<Shown>) -> Result<Option<Cell>, StoreError> {
    let Some(Shown { tag, bytes }) = shown else {
        return Ok(None);
    };
    let bytes = BASE64_STANDARD
        .decode(bytes)
        .map_err(|error| StoreError::Misconfigured(format!("the cell's bytes: {error}")))?;
    Ok(Some(Cell { tag: Tag(tag), bytes }))
}

#[async_trait]
impl CellStore for CloudflareCells {
    async fn get(&self, key: &str) -> Result<Option<Cell>, StoreError> {
        check_cell_bounds(key, &[])?;
        let got: Got = self.done(&Call::Get { key }).await?;
        cell(got.cell)
    }

    async fn put(
        &self,
        key: &str,
        expected: Option<&Tag>,
        bytes: Vec<u8>,
    ) -> Result<Put, StoreError> {
        check_cell_bounds(key, &bytes)?;
        let expected = expected.map(|tag| tag.0.as_str());
        let call = Call::Put { key, expected, bytes: BASE64_STANDARD.encode(bytes) };
        let (status, body) = self.ask(&call).await?;
        match status {
            StatusCode::OK => Ok(Put::Written(Tag(read::<Written>(&body)?.written))),
            StatusCode::CONFLICT => {
                // A conflict of something else than the worker has no cell, and no meaning here.
                let conflict: Refusal = read(&body)?;
                if conflict.code != "conflict" {
                    return Err(refusal(status, &body));
                }
                Ok(Put::Conflict(cell(read::<Got>(&body)?.cell)?))
            }
            _ => Err(refusal(status, &body)),
        }
    }

    async fn delete(&self, key: &str, expected: &Tag) -> Result<bool, StoreError> {
        check_cell_bounds(key, &[])?;
        let gone: Gone = self.done(&Call::Delete { key, expected: &expected.0 }).await?;
        Ok(gone.gone)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let pages = async {
            let mut keys: Vec<String> = Vec::new();
            loop {
                let after = keys.last().map_or("", String::as_str);
                let page: Keys = self.done(&Call::List { prefix, after }).await?;
                if page.keys.is_empty() {
                    return Ok(keys);
                }
                keys.extend(page.keys);
            }
        };
        // Each page has the deadline; all of them together have it too.
        match tokio::time::timeout(self.deadline, pages).await {
            Ok(keys) => keys,
            Err(_) => Err(StoreError::Unanswered(format!("no list in {:?}", self.deadline))),
        }
    }
}
