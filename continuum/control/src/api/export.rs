//! Exports of the audit chain: JSON Lines and CSV, with people's names as they are or as pseudonyms.

use std::io;
use std::sync::Arc;

use axum::body::Bytes;
use continuum_control_api::audit::AuditOrigin;
use continuum_control_api::rest::{
    AuditRecord, ExportFormat, ExportHeader, ExportNote, ExportQuery,
};
use continuum_control_api::routes::{ApiError, Export};
use continuum_runtime::seed;
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;

use super::pseudonym::Pseudonyms;
use crate::archive::line;
use crate::archive::read::{Item, Reader};
use crate::core::Core;

const COLUMNS: [&str; 14] = [
    "index",
    "at_ms",
    "at",
    "actor",
    "action",
    "pair",
    "epoch",
    "operation",
    "reason",
    "before",
    "after",
    "address",
    "request",
    "hash",
];
/// What the names of columns end with whose values are pseudonyms.
const HASHED: &str = "_pseudonym";
/// The name of the hash where it is not that of what stands beside it.
const HASH_OF_ORIGINAL: &str = "hash_of_original";

/// How one export is written.
struct Shape {
    query: ExportQuery,
    pseudonyms: Option<Pseudonyms>,
}

struct Exporting {
    reader: Reader,
    shape: Arc<Shape>,
    /// The first lines, until they were sent.
    head: Option<Vec<u8>>,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

/// Begins an export of what this node has.
pub(super) async fn begin(core: &Arc<Core>, query: ExportQuery) -> Result<Export, ApiError> {
    let permit = core.exports.clone().try_acquire_owned().map_err(|_| {
        let text = "this node makes as many exports as it may; ask another one, or wait";
        ApiError::retryable(503, "too-many-streams", text)
    })?;
    let pseudonyms = match query.hash_personal {
        true => Some(Pseudonyms::load(core.config.audit.personal_key_file.as_deref()).await?),
        false => None,
    };
    let media = match query.format {
        ExportFormat::Jsonl => "application/jsonl",
        ExportFormat::Csv => "text/csv; charset=utf-8",
    };
    let shape = Shape { query, pseudonyms };
    let exporting = Exporting {
        reader: Reader::new(core.clone(), 0),
        head: Some(shape.head(&core.config.name, core.now_ms())),
        shape: Arc::new(shape),
        ended: false,
        _permit: permit,
    };
    Ok(Export { media, text: Box::pin(stream::unfold(exporting, next)) })
}

async fn next(mut exporting: Exporting) -> Option<(io::Result<Bytes>, Exporting)> {
    if let Some(head) = exporting.head.take() {
        return Some((Ok(head.into()), exporting));
    }
    while !exporting.ended {
        match exporting.piece().await {
            Ok(Some(text)) if text.is_empty() => {}
            Ok(Some(text)) => return Some((Ok(text.into()), exporting)),
            Ok(None) => exporting.ended = true,
            Err(error) => {
                tracing::warn!(%error, "an export of the audit chain was broken off");
                // The client sees a body that was cut, not one that ends here.
                exporting.ended = true;
                return Some((Err(error), exporting));
            }
        }
    }
    None
}

impl Exporting {
    async fn piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(items) = self.reader.piece().await? else { return Ok(None) };
        let shape = self.shape.clone();
        // Thousands of records: not on a thread that others wait for.
        seed::blocking(move || {
            items.into_iter().filter_map(|item| shape.text(item)).flatten().collect()
        })
        .await
        .map(Some)
    }
}

impl Shape {
    fn head(&self, node: &str, at_ms: i64) -> Vec<u8> {
        let hashed = self.pseudonyms.is_some();
        match self.query.format {
            ExportFormat::Jsonl => {
                let note = match (hashed, self.query.picks()) {
                    (true, _) => {
                        "names and addresses are pseudonyms: the records' hashes are those of the originals and can not be verified here"
                    }
                    (false, true) => "picked records: verify each one's own hash, not their chain",
                    (false, false) => "verify it with: continuum audit verify --file",
                };
                noted(&ExportNote::ContinuumAuditExport(ExportHeader {
                    node: node.into(),
                    at_ms,
                    picked: self.query.picks(),
                    personal_data_hashed: hashed,
                    note: note.into(),
                }))
            }
            ExportFormat::Csv => {
                let names = COLUMNS.map(|name| match (hashed, name) {
                    (true, "actor" | "address" | "request") => format!("{name}{HASHED}"),
                    (true, "hash") => HASH_OF_ORIGINAL.into(),
                    _ => name.into(),
                });
                row(&names)
            }
        }
    }

    /// What is written of an item; nothing of a record that is not wanted.
    fn text(&self, item: Item) -> Option<Vec<u8>> {
        let is_csv = self.query.format == ExportFormat::Csv;
        match item {
            Item::Record(record) => {
                let record = self.wants(&record).then_some(record)?;
                let record = match &self.pseudonyms {
                    Some(pseudonyms) => pseudonyms.apply(*record),
                    None => *record,
                };
                Some(if is_csv { csv(&record) } else { terminated(line::of(&record)) })
            }
            Item::Missing(gap) if is_csv => {
                Some(remark(format!("{}-{}", gap.from, gap.to), "(not on this node)"))
            }
            Item::Damaged(index) if is_csv => Some(remark(index.to_string(), "(damaged)")),
            Item::Missing(gap) => Some(noted(&ExportNote::MissingRecords(gap))),
            Item::Damaged(index) => Some(noted(&ExportNote::DamagedRecord(index))),
        }
    }

    fn wants(&self, record: &AuditRecord) -> bool {
        let ExportQuery { from_ms, until_ms, pair, action, .. } = &self.query;
        from_ms.is_none_or(|from| record.at_ms >= from)
            && until_ms.is_none_or(|until| record.at_ms < until)
            && (pair.is_none() || record.pair == *pair)
            && action.as_ref().is_none_or(|action| record.action == *action)
    }
}

fn terminated(mut line: Vec<u8>) -> Vec<u8> {
    line.push(b'\n');
    line
}

fn noted(note: &ExportNote) -> Vec<u8> {
    terminated(serde_json::to_vec(note).expect("notes are plain data"))
}

fn csv(record: &AuditRecord) -> Vec<u8> {
    let text = |value: Option<String>| value.unwrap_or_default();
    let AuditOrigin { address, request } =
        record.origin.clone().unwrap_or(AuditOrigin { address: None, request: None });
    row(&[
        record.index.to_string(),
        record.at_ms.to_string(),
        crate::calendar::rfc3339(record.at_ms),
        record.actor.clone(),
        record.action.clone(),
        text(record.pair.as_ref().map(ToString::to_string)),
        text(record.epoch.map(|epoch| epoch.to_string())),
        text(record.operation.as_ref().map(ToString::to_string)),
        record.reason.clone(),
        record.before.clone(),
        record.after.clone(),
        text(address),
        text(request),
        record.hash.clone(),
    ])
}

/// A row that is no record.
fn remark(index: String, what: &str) -> Vec<u8> {
    let mut values = COLUMNS.map(|_| String::new());
    values[0] = index;
    values[4] = what.into();
    row(&values)
}

fn row(values: &[String; COLUMNS.len()]) -> Vec<u8> {
    let mut text = values.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(",");
    text.push_str("\r\n");
    text.into_bytes()
}

/// A value by RFC 4180. One that a spreadsheet would take for a formula gets an apostrophe before it,
/// which it shows as text.
fn quoted(value: &str) -> String {
    let is_number = value.parse::<f64>().is_ok();
    let is_formula = !is_number && value.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let guarded = if is_formula { format!("'{value}") } else { value.to_owned() };
    if guarded.contains(['"', ',', '\n', '\r']) || is_formula {
        return format!("\"{}\"", guarded.replace('"', "\"\""));
    }
    guarded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_and_no_formula_is_left() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"hi\"\nthere"), "\"say \"\"hi\"\"\nthere\"");
        assert_eq!(quoted("-12.5"), "-12.5");
        for formula in ["=1+1", "+cmd", "-x", "@SUM(A1)", "\t=1", "=HYPERLINK(\"x\")"] {
            assert!(quoted(formula).starts_with("\"'"), "{formula}");
        }
    }

    #[test]
    fn a_row_has_a_value_for_each_column() {
        let record = crate::archive::tests::records(1).remove(0);
        let text = String::from_utf8(csv(&record)).unwrap();
        assert_eq!(text.matches(',').count() + 1, COLUMNS.len(), "{text}");
        assert!(text.ends_with("\r\n"));
    }
}
