//! What the API says of the audit chain, its archive on a node's disk, and exports of both.

use continuum_domain::PairId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// From where a change was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditOrigin {
    /// The caller's address, as the node that was asked saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The request's name (`X-Request-Id`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// Where the audit chain ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditHead {
    /// Position of the newest record.
    pub index: u64,
    /// Its hash, hexadecimal.
    pub hash: String,
}

/// Records that are not here, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditGap {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

/// Query of `GET /audit/verify`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyQuery {
    /// Goes on with the archive after this position, as `archive.next` of the last answer says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// `GET /audit/verify`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditVerdict {
    /// Whether every record that was looked at hashes to what it says and names its predecessor, in
    /// the replicated chain and in the archive.
    pub intact: bool,
    /// Records of the replicated chain that were looked at.
    pub records: u64,
    /// Position of the first record looked at; older ones were dropped, their hash is kept.
    pub first: Option<u64>,
    /// Position and hash of the newest record, to be compared with a copy kept elsewhere.
    pub head: Option<AuditHead>,
    /// What is wrong, with the position.
    pub problem: Option<String>,
    /// Position of the first record that is wrong or missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong: Option<u64>,
    /// The node that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The archive on that node's disk; absent where it could not be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveVerdict>,
}

/// What was found in the archive of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArchiveVerdict {
    /// Records that were looked at.
    pub records: u64,
    /// Position of the first of them.
    pub first: Option<u64>,
    /// The newest record that was looked at.
    pub head: Option<AuditHead>,
    /// Where older records were removed because their time was over: the newest of those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired: Option<AuditHead>,
    /// Records that this node never had: it joined later, or was away for too long.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<AuditGap>,
    /// Where to go on (`after`); absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// Why nothing is written to it at present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// How an export is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExportFormat {
    /// One JSON object a line; the first line tells of the export.
    #[default]
    Jsonl,
    /// Comma-separated values (RFC 4180), with a line of names.
    Csv,
}

/// Query of `GET /audit/export`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportQuery {
    /// `jsonl` (default) or `csv`.
    #[serde(default)]
    pub format: ExportFormat,
    /// Only records from then on, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<i64>,
    /// Only records before then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    /// Only records on this pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<PairId>,
    /// Only records of this action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Names of people and where they called from are replaced by pseudonyms.
    #[serde(default)]
    pub hash_personal: bool,
}

impl ExportQuery {
    /// Whether records between the first and the last may be left out.
    pub fn picks(&self) -> bool {
        self.pair.is_some() || self.action.is_some()
    }
}

/// First line of an export as JSON Lines, under the key `continuum_audit_export`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportHeader {
    /// The node it was taken from.
    pub node: String,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// Records were chosen by pair or action: their chain cannot be followed, each one's own hash can.
    pub picked: bool,
    /// Names are pseudonyms: neither the records' hashes nor their chain can be verified.
    pub personal_data_hashed: bool,
    /// For people.
    pub note: String,
}

/// A line of an export that is no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportNote {
    /// The first line.
    ContinuumAuditExport(ExportHeader),
    /// Records that the node does not have.
    MissingRecords(AuditGap),
    /// A record that is damaged on the node's disk.
    DamagedRecord(u64),
}
