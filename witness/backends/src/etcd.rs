//! Cells as keys of etcd v3.
//!
//! A key holds the SHA-256 of the content in hex, a line end, and the content. A tag names the key's
//! `mod_revision` and that digest, and a change is one transaction that compares both: the revision
//! alone would not do, because an etcd that lost its data counts revisions anew, and would then
//! accept an old tag for another content. The digest stands in front so that etcd can compare it by
//! order: of all values, exactly those that begin with a digest's line lie between it and the line's
//! successor.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::duration_text;
use continuum_witness::cells::check_cell_bounds;
use continuum_witness::{Cell, CellStore, Put, StoreError, Tag};
use serde::{Deserialize, Serialize};

mod links;

use crate::digest::hex_digest;
use links::Links;
use proto::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::request_op::Request as Op;
use proto::response_op::Response as Done;

/// The messages and services of `proto/etcd.proto`.
#[allow(missing_docs, clippy::all, clippy::disallowed_methods)]
mod proto {
    tonic::include_proto!("etcdserverpb");
}

/// Keys per page of a list.
const PAGE: i64 = 500;
/// Length of a digest in hex.
const DIGEST: usize = 64;

/// Where an etcd is and how to be let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EtcdConfig {
    /// Client addresses of the members of *one* cluster, `http://host:port` or `https://host:port`.
    /// The first that connects is used; the next when it fails.
    pub endpoints: Vec<String>,
    /// Authority that signed the members' certificates, PEM. Needed for `https`: the system's
    /// authorities are not asked. Files of certificates and keys are read once, at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Client certificate chain, PEM; goes with `key_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// Private key of the client certificate, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// User of etcd's own authentication; goes with `password_file`. It needs read and write
    /// permission on the prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// File with the user's password; line ends at its end do not count. Read at each login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// What every key in etcd starts with. Nothing else may write below it.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// Every call returns within this span, connecting and logging in included; of a list, each
    /// page of 500 keys.
    #[serde(default = "default_deadline", with = "duration_text")]
    pub deadline: Duration,
}

fn default_prefix() -> String {
    "continuum/".into()
}

fn default_deadline() -> Duration {
    Duration::from_secs(2)
}

/// An etcd cluster as a cell store.
#[derive(Debug)]
pub struct EtcdStore {
    links: Links,
    prefix: String,
}

impl EtcdStore {
    /// A client of the cluster; connects at the first call. Must be made inside a tokio runtime.
    ///
    /// [`StoreError::Misconfigured`] for settings that cannot work: no endpoint, an address that
    /// is none, half a pair of settings, a file that cannot be read.
    pub fn new(config: &EtcdConfig) -> Result<Self, StoreError> {
        if config.prefix.is_empty() {
            return Err(StoreError::Misconfigured("etcd: the prefix is empty".into()));
        }
        Ok(Self { links: Links::new(config)?, prefix: config.prefix.clone() })
    }

    fn place(&self, key: &str) -> Vec<u8> {
        format!("{}{key}", self.prefix).into_bytes()
    }

    async fn range(
        &self,
        request: proto::RangeRequest,
    ) -> Result<proto::RangeResponse, StoreError> {
        let ask = |mut client: links::Client, request| async move { client.range(request).await };
        self.links.call(request, ask).await
    }

    /// Carries out `change` iff the comparisons hold; otherwise shows the cell. `Ok` is the
    /// revision of the change.
    async fn change(
        &self,
        key: &str,
        compare: Vec<proto::Compare>,
        change: Op,
    ) -> Result<Result<i64, Option<Cell>>, StoreError> {
        let request = proto::TxnRequest {
            compare,
            success: vec![op(change)],
            failure: vec![op(Op::RequestRange(one(self.place(key))))],
        };
        let ask = |mut client: links::Client, request| async move { client.txn(request).await };
        let response = self.links.call(request, ask).await?;
        if response.succeeded {
            // A change that is answered without its revision did take effect: not to be denied.
            let header = response.header.ok_or_else(|| no_part("revision"))?;
            return Ok(Ok(header.revision));
        }
        match response.responses.into_iter().next().and_then(|op| op.response) {
            Some(Done::ResponseRange(range)) => Ok(Err(cell(key, range)?)),
            _ => Err(no_part("cell")),
        }
    }
}

fn no_part(what: &str) -> StoreError {
    StoreError::Unanswered(format!("etcd's answer carries no {what}"))
}

fn op(request: Op) -> proto::RequestOp {
    proto::RequestOp { request: Some(request) }
}

fn one(key: Vec<u8>) -> proto::RangeRequest {
    proto::RangeRequest { key, ..Default::default() }
}

/// What is stored for a content, and its digest.
fn wrapped(bytes: &[u8]) -> (String, Vec<u8>) {
    let digest = hex_digest(bytes);
    let mut value = Vec::with_capacity(DIGEST + 1 + bytes.len());
    value.extend_from_slice(digest.as_bytes());
    value.push(b'\n');
    value.extend_from_slice(bytes);
    (digest, value)
}

fn tag(revision: i64, digest: &str) -> Tag {
    Tag(format!("{revision}.{digest}"))
}

/// The comparisons that hold exactly for the content a tag names.
fn holds(place: &[u8], tag: &Tag) -> Result<Vec<proto::Compare>, StoreError> {
    let bad = || StoreError::Misconfigured(format!("{tag} is no tag of an etcd"));
    let (revision, digest) = tag.0.split_once('.').ok_or_else(bad)?;
    let revision: i64 = revision.parse().map_err(|_| bad())?;
    if digest.len() != DIGEST || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(bad());
    }
    let compare = |result: CompareResult, target: CompareTarget, union: TargetUnion| {
        let (result, target) = (result.into(), target.into());
        proto::Compare { result, target, key: place.to_vec(), target_union: Some(union) }
    };
    let before = digest.as_bytes().to_vec();
    let after = [digest.as_bytes(), &[b'\n' + 1]].concat();
    Ok(vec![
        compare(CompareResult::Equal, CompareTarget::Mod, TargetUnion::ModRevision(revision)),
        compare(CompareResult::Greater, CompareTarget::Value, TargetUnion::Value(before)),
        compare(CompareResult::Less, CompareTarget::Value, TargetUnion::Value(after)),
    ])
}

/// The comparison that holds exactly where there is no key.
fn absent(place: &[u8]) -> Vec<proto::Compare> {
    vec![proto::Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key: place.to_vec(),
        target_union: Some(TargetUnion::CreateRevision(0)),
    }]
}

/// The cell in a range of one key. A value that does not carry its own digest was not written here.
fn cell(key: &str, range: proto::RangeResponse) -> Result<Option<Cell>, StoreError> {
    let Some(found) = range.kvs.into_iter().next() else { return Ok(None) };
    let bytes = found.value.get(DIGEST + 1..).unwrap_or_default();
    let (digest, whole) = wrapped(bytes);
    if whole != found.value {
        let text = format!("the value of {key:?} in etcd is damaged or not the witness's");
        return Err(StoreError::Misconfigured(text));
    }
    Ok(Some(Cell { tag: tag(found.mod_revision, &digest), bytes: bytes.to_vec() }))
}

/// The first key after all that start with `prefix`; empty, which etcd reads as "one key", never
/// comes about, because a prefix in UTF-8 has a byte below 0xff.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

#[async_trait]
impl CellStore for EtcdStore {
    async fn get(&self, key: &str) -> Result<Option<Cell>, StoreError> {
        check_cell_bounds(key, &[])?;
        cell(key, self.range(one(self.place(key))).await?)
    }

    async fn put(
        &self,
        key: &str,
        expected: Option<&Tag>,
        bytes: Vec<u8>,
    ) -> Result<Put, StoreError> {
        check_cell_bounds(key, &bytes)?;
        let place = self.place(key);
        let compare = match expected {
            Some(tag) => holds(&place, tag)?,
            None => absent(&place),
        };
        let (digest, value) = wrapped(&bytes);
        let put = Op::RequestPut(proto::PutRequest { key: place, value });
        match self.change(key, compare, put).await? {
            Ok(revision) => Ok(Put::Written(tag(revision, &digest))),
            Err(current) => Ok(Put::Conflict(current)),
        }
    }

    async fn delete(&self, key: &str, expected: &Tag) -> Result<bool, StoreError> {
        check_cell_bounds(key, &[])?;
        let place = self.place(key);
        let compare = holds(&place, expected)?;
        let delete = Op::RequestDeleteRange(proto::DeleteRangeRequest { key: place });
        Ok(matches!(self.change(key, compare, delete).await?, Ok(_) | Err(None)))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut from = self.place(prefix);
        let end = after(&from);
        let mut keys = Vec::new();
        loop {
            let page = self.range(proto::RangeRequest {
                key: from,
                range_end: end.clone(),
                limit: PAGE,
                keys_only: true,
                ..Default::default()
            });
            let page = page.await?;
            // Keys that are no UTF-8 are not the witness's.
            let text = |found: &proto::KeyValue| {
                let rest = found.key.strip_prefix(self.prefix.as_bytes())?;
                String::from_utf8(rest.to_vec()).ok()
            };
            keys.extend(page.kvs.iter().filter_map(text));
            match page.kvs.into_iter().next_back() {
                // The smallest key after the last one shown.
                Some(last) if page.more => from = [last.key.as_slice(), &[0]].concat(),
                _ => return Ok(keys),
            }
        }
    }
}
